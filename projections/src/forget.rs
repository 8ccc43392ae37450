//! Forgetting an account: its key goes, and no row of any build names it any more.
//!
//! The order matters. First the key is destroyed and the account put on the list of the forgotten: a build that is made
//! from then on never names it. Then each build that there is is taken through the same: within one transaction its
//! partitions stand still, its rows are changed, and whoever folds it is told to read the list again. A batch that was
//! under way is done before, or is thrown away and read anew; until then the build is folded as ever. So whatever dies in
//! between, doing all of it again is right, and a build that is made from the log later has the same rows.

mod traces;

use std::collections::BTreeSet;

use pulsegate_domain::ids::AccountId;
use pulsegate_privacy::{Forgotten, KeyError, MasterKey, Veil, Who};
use serde::Serialize;
use sqlx::postgres::{PgArguments, PgPool};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres};
use thiserror::Error;

use crate::builds::Build;
use crate::registry::Registered;

/// How often it is tried again where a build's own transactions stand in the way.
const TRIES_MAX: u32 = 5;

/// Who is forgotten, as a projection needs it.
#[derive(Clone, Debug)]
pub struct Gone {
    /// The account, which is named one last time.
    pub account: AccountId,
    /// What stands in its place.
    pub who: Who,
}

impl Gone {
    /// A statement with the account as `$1`, its pseudonym as `$2`, and what the names of its devices are made from as
    /// `$3`; all three must stand in it.
    pub fn bound<'q>(&self, query: Query<'q, Postgres, PgArguments>) -> Query<'q, Postgres, PgArguments> {
        query.bind(self.account.to_string()).bind(self.who.to_string()).bind(self.who.as_bytes().to_vec())
    }
}

/// What forgetting changed somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cleared {
    /// In which build, or which part of what belongs to no build.
    pub of: String,
    /// In which table.
    pub table: String,
    /// How many rows.
    pub rows: u64,
}

/// What forgetting an account did.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What stands in its place from now on.
    pub pseudonym: AccountId,
    /// Whether it was forgotten by this, and not before.
    pub is_new: bool,
    /// What was changed.
    pub cleared: Vec<Cleared>,
    /// The builds that this program can't take it out of: they are to be retired, or built anew.
    pub left: Vec<String>,
}

/// Why an account was not forgotten, or not to the end: to be done again.
#[derive(Debug, Error)]
pub enum ForgetError {
    /// The database said no, or nothing.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// Keys are kept under another master key.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// A build's own transactions were in the way again and again.
    #[error("{0} is too busy to be changed: try again")]
    Busy(String),
}

/// Destroys the account's key and puts it on the list, in the database alone. Returns whether it wasn't there.
pub async fn destroy(gone: &Gone, master: &MasterKey, pool: &PgPool) -> Result<bool, ForgetError> {
    Ok(Forgotten::destroy(master, gone.who, pool).await?)
}

/// Puts everybody on the list of whom the log says that they were forgotten. Returns how many weren't there: of them the
/// read models may hold rows, as of a backup.
pub async fn restore(pseudonyms: &BTreeSet<String>, pool: &PgPool) -> Result<usize, ForgetError> {
    Ok(Forgotten::restore(pseudonyms, pool).await?)
}

/// Takes an account that is on the list out of everything in the database.
pub async fn clear(
    registered: &[&'static Registered],
    gone: &Gone,
    master: &MasterKey,
    is_new: bool,
    pool: &PgPool,
) -> Result<Report, ForgetError> {
    let mut report = Report { pseudonym: gone.who.pseudonym(), is_new, cleared: Vec::new(), left: Vec::new() };
    let builds = sqlx::query_as::<_, (String, String, i32)>(
        "select build, name, version from pulsegate.projection_builds where to_regnamespace(build) is not null
         order by build",
    )
    .fetch_all(pool)
    .await?;
    for (schema, name, version) in builds {
        let code = registered.iter().copied().find(|one| one.name == name && one.version == version);
        let Some((code, forget)) = code.and_then(|code| Some((code, code.forget?))) else {
            report.left.push(schema);
            continue;
        };
        let build = Build::named(code, &schema);
        let cleared = in_build(&build, forget, gone, pool).await?;
        report.cleared.extend(cleared.into_iter().map(|(table, rows)| Cleared {
            of: schema.clone(),
            table: table.to_owned(),
            rows,
        }));
    }
    let veil = Veil::over(master.clone(), gone.who);
    report.cleared.extend(traces::clear(gone, &veil, pool).await?);
    Ok(report)
}

async fn in_build(
    build: &Build,
    forget: crate::registry::Forget,
    gone: &Gone,
    pool: &PgPool,
) -> Result<Vec<(&'static str, u64)>, ForgetError> {
    for _ in 0..TRIES_MAX {
        match try_in_build(build, forget, gone, pool).await {
            // A deadlock or a lock that wasn't to be had: with what folds it, or what drops old days.
            Err(sqlx::Error::Database(error)) if matches!(error.code().as_deref(), Some("40P01" | "55P03")) => {}
            outcome => return Ok(outcome?),
        }
    }
    Err(ForgetError::Busy(build.to_string()))
}

async fn try_in_build(
    build: &Build,
    forget: crate::registry::Forget,
    gone: &Gone,
    pool: &PgPool,
) -> Result<Vec<(&'static str, u64)>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    // Whoever folds it waits at its partitions' rows, and then reads the list anew.
    let stand = format!("set local search_path = {build}; set local lock_timeout = '30s'");
    sqlx::raw_sql(AssertSqlSafe(stand)).execute(&mut *tx).await?;
    sqlx::query("update pulsegate.projection_offsets set interventions = interventions + 1 where build = $1")
        .bind(build.schema())
        .execute(&mut *tx)
        .await?;
    let cleared = forget(gone, &mut tx).await?;
    Forgotten::taken_out(gone.who, build.schema(), &mut tx).await?;
    tx.commit().await?;
    Ok(cleared)
}
