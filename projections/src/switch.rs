//! Switch and rollback: readers are shown another build, in one transaction.
//!
//! **Invariant:** no statement sees two builds: it locks the views that it names before it reads, and the
//! switch needs all of them at once. Whoever reads with several statements in one transaction holds those
//! locks until it ends. The switch takes them in the order of [`Registered::tables`]; readers of several
//! views in that order never stand in its way for longer than they take.

use std::time::{Duration, Instant};

use serde::Serialize;
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, Postgres};
use thiserror::Error;

use crate::builds::{Build, Choice, ChoiceError, MeetError, meet, tables};
use crate::registry::Registered;
use crate::runner::outage::Backoff;

/// How long the other build may take to be where the live one is.
const MEET_MAX: Duration = Duration::from_secs(5);
/// The same where it is switched to whatever it says.
const MEET_FORCED_MAX: Duration = Duration::from_secs(2);
/// How often it is tried to have all views at once.
const TRIES_MAX: u32 = 60;
/// How long the first tries wait for readers, and the last ones; readers that come meanwhile wait as long. Below the
/// second after which the database would end one of those who wait for each other.
const LOCK_WAIT_MIN: Duration = Duration::from_millis(40);
const LOCK_WAIT_MAX: Duration = Duration::from_millis(400);

/// What was switched.
#[derive(Clone, Debug, Serialize)]
pub struct Switched {
    /// The build that readers see now.
    pub live: String,
    /// The one that they saw before.
    pub before: String,
    /// How long the transaction took, from its first statement to its commit.
    pub took_ms: f64,
    /// How often it was begun, because readers were in the way.
    pub tries: u32,
}

/// Why it was not switched.
#[derive(Debug, Error)]
pub enum SwitchError {
    /// There is nothing to switch to.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// The shadow was not compared, or differs.
    #[error("{0} was not verified: run `projection verify` first, or say with --force why it need not be")]
    NotVerified(String),
    /// The other build isn't where the live one is.
    #[error("it lags: {0} (--force switches all the same)")]
    Lags(MeetError),
    /// Readers hold the views all the time.
    #[error("readers of {0} were in the way at each of {TRIES_MAX} tries")]
    Readers(String),
    /// The database said no, or nothing.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
}

/// Shows readers a verified shadow: the newest one, or the one named. `force` says why one that lags or was
/// not verified is good enough.
pub async fn switch(
    pool: &PgPool,
    registered: &'static Registered,
    shadow: Option<&str>,
    force: Option<&str>,
) -> Result<Switched, SwitchError> {
    let mut connection = pool.acquire().await?;
    let choice = Choice::of(&mut connection, registered, shadow).await?;
    if force.is_none() && !choice.is_verified {
        return Err(SwitchError::NotVerified(choice.shadow.to_string()));
    }
    change(pool, connection, &choice, "switched", force).await
}

/// Shows readers the build again that was live before.
pub async fn rollback(
    pool: &PgPool,
    registered: &'static Registered,
    force: Option<&str>,
) -> Result<Switched, SwitchError> {
    let mut connection = pool.acquire().await?;
    let choice = Choice::of_the_one_before(&mut connection, registered).await?;
    change(pool, connection, &choice, "rolled back", force).await
}

async fn change(
    pool: &PgPool,
    connection: PoolConnection<Postgres>,
    choice: &Choice,
    what: &'static str,
    force: Option<&str>,
) -> Result<Switched, SwitchError> {
    let Choice { live, shadow: next, .. } = choice;
    // Both stand at one vector while readers change over: what they see never goes back in time.
    let wait = if force.is_some() { MEET_FORCED_MAX } else { MEET_MAX };
    match meet(connection, live.registered().name, [live.schema(), next.schema()], wait).await {
        Ok(mut meeting) => {
            let switched = flip(meeting.connection(), live, next, what, force).await;
            let released = meeting.release().await;
            let switched = switched?;
            released?;
            Ok(switched)
        }
        Err(MeetError::Behind { .. }) if force.is_some() => {
            flip(&mut *pool.acquire().await?, live, next, what, force).await
        }
        Err(MeetError::Database(error)) => Err(error.into()),
        Err(error) => Err(SwitchError::Lags(error)),
    }
}

async fn flip(
    connection: &mut PgConnection,
    live: &Build,
    next: &Build,
    what: &'static str,
    force: Option<&str>,
) -> Result<Switched, SwitchError> {
    let mut backoff = Backoff::default();
    for tries in 1..=TRIES_MAX {
        let begun = Instant::now();
        let patience = (LOCK_WAIT_MIN * tries.div_ceil(5)).min(LOCK_WAIT_MAX);
        match flip_once(connection, live, next, what, force, patience).await {
            Ok(()) => {
                let took_ms = begun.elapsed().as_secs_f64() * 1e3;
                return Ok(Switched { live: next.to_string(), before: live.to_string(), took_ms, tries });
            }
            Err(error) if is_in_the_way(&error) => {
                tracing::debug!(%error, tries, "readers are in the way");
                tokio::time::sleep(backoff.next().min(Duration::from_millis(200))).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(SwitchError::Readers(live.registered().name.to_owned()))
}

/// A lock that was not to be had in time, or a dead lock.
fn is_in_the_way(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == "55P03" || code == "40P01")
}

async fn flip_once(
    connection: &mut PgConnection,
    live: &Build,
    next: &Build,
    what: &'static str,
    force: Option<&str>,
    patience: Duration,
) -> Result<(), sqlx::Error> {
    let begin = format!("begin; set local lock_timeout = {}", patience.as_millis());
    let mut tx = connection.begin_with(AssertSqlSafe(begin)).await?;
    let point_views = tables::pointing_views(next, &mut tx).await?;
    let reason = force.map_or_else(String::new, |reason| format!(", forced: {reason}"));
    let left = sqlx::query(
        "with gone as (
           update pulsegate.projection_builds set state = 'shadow', replaced_at = now()
           where build = $1 and state = 'live' returning build
         )
         insert into pulsegate.projection_history (name, version, build, what, detail)
         select $2, $3, $4, $5, $6 from gone",
    )
    .bind(live.schema())
    .bind(next.registered().name)
    .bind(next.registered().version)
    .bind(next.schema())
    .bind(what)
    .bind(format!("from {live}{reason}"))
    .execute(&mut *tx)
    .await?;
    if left.rows_affected() != 1 {
        // Somebody else has switched meanwhile.
        return Err(sqlx::Error::RowNotFound);
    }
    // Views last, because readers that come from now on wait until the commit; so it must not wait long for those that
    // are there. All in one question: each may have to wait for a core.
    let come = format!(
        "update pulsegate.projection_builds set state = 'live', switched_at = now(), replaced_at = null
         where build = '{next}';
         {point_views}"
    );
    sqlx::raw_sql(AssertSqlSafe(come)).execute(&mut *tx).await?;
    tx.commit().await
}
