//! Verify: whether a shadow says the same as the live build, row for row.
//!
//! Both are brought to one offset vector and read in one snapshot taken there; while they are compared,
//! they go on. A table's checksum is the sum of its rows' hashes, so that their order doesn't matter.

mod compare;

use std::time::Duration;

use serde::Serialize;
use sqlx::PgPool;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::builds::{Build, Choice, ChoiceError, MeetError, history, meet};
use crate::registry::{Dependencies, Job, Registered};
use crate::runner::Ownership;

pub use compare::{Difference, TableVerdict};

/// How long both builds may take to come to stand at one vector.
const MEET_MAX: Duration = Duration::from_mins(2);
/// After this long somebody else should have brought them there; then it is done here.
const HELP_AFTER: Duration = Duration::from_secs(2);

/// What a comparison found.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The live build.
    pub live: String,
    /// The shadow that was compared with it.
    pub shadow: String,
    /// Whether every table says the same.
    pub same: bool,
    /// Each table, and the dead letters.
    pub tables: Vec<TableVerdict>,
    /// Where both stood: the sum of the next offsets of all partitions.
    pub records: i64,
}

/// Why builds could not be compared.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// There are no two to compare.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// They don't come to stand at one vector.
    #[error(transparent)]
    Meet(#[from] MeetError),
    /// Somebody set the offsets of one back meanwhile.
    #[error("the builds did not stay at one offset vector: try again")]
    Moved,
    /// The database said no, or nothing.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
}

/// Compares the newest shadow of a projection, or the one named, with the live build, and keeps the verdict.
pub async fn verify(
    registered: &'static Registered,
    shadow: Option<&str>,
    with: &Dependencies,
) -> Result<Verdict, VerifyError> {
    let pool = &with.pool;
    let mut connection = pool.acquire().await?;
    let Choice { live, shadow, .. } = Choice::of(&mut connection, registered, shadow).await?;
    let meeting = {
        let helped = CancellationToken::new();
        let _ends_help = helped.clone().drop_guard();
        let help = tokio::spawn(help([live.clone(), shadow.clone()], with.clone(), helped));
        let meeting = meet(connection, registered.name, [live.schema(), shadow.schema()], MEET_MAX).await;
        drop(help);
        meeting?
    };
    let begun = compare::Snapshot::begin(pool, &live, &shadow).await;
    meeting.release().await?;
    let mut snapshot = begun?.ok_or(VerifyError::Moved)?;
    let tables = snapshot.compare().await?;
    let verdict = Verdict {
        live: live.to_string(),
        shadow: shadow.to_string(),
        same: tables.iter().all(|table| table.same),
        records: snapshot.records,
        tables,
    };
    keep(pool, &shadow, &verdict).await?;
    Ok(verdict)
}

/// Folds both for as long as nobody else brings them to where they are to stand.
async fn help(builds: [Build; 2], with: Dependencies, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => return,
        () = tokio::time::sleep(HELP_AFTER) => {}
    }
    let follow = |build: Build| Job::follow(build, with.clone(), Ownership::Everything, stop.clone()).run();
    let [live, shadow] = builds;
    for ended in <[_; 2]>::from(tokio::join!(follow(live), follow(shadow))) {
        if let Err(error) = ended {
            tracing::warn!(%error, "helping a build along");
        }
    }
}

async fn keep(pool: &PgPool, shadow: &Build, verdict: &Verdict) -> Result<(), sqlx::Error> {
    let state = if verdict.same { "verified" } else { "shadow" };
    sqlx::query(
        "update pulsegate.projection_builds
         set state = $2, verified_at = case when $2 = 'verified' then now() end
         where build = $1 and state in ('shadow', 'verified')",
    )
    .bind(shadow.schema())
    .bind(state)
    .execute(pool)
    .await?;
    let rows: i64 = verdict.tables.iter().map(|table| table.shadow_rows).sum();
    let differing: Vec<_> =
        verdict.tables.iter().filter(|table| !table.same).map(|table| table.table.as_str()).collect();
    let (what, detail) = if verdict.same {
        ("verified", format!("{rows} rows as in {}, after {} records", verdict.live, verdict.records))
    } else {
        ("verify found differences", format!("from {} in {}", verdict.live, differing.join(", ")))
    };
    history::note(pool, shadow, what, &detail).await
}
