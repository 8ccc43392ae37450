//! What a person tells builds: pause, resume, be gone.

use sqlx::{AssertSqlSafe, PgPool};
use thiserror::Error;

use super::{Build, history};
use crate::registry::Registered;

/// Why it was not done.
#[derive(Debug, Error)]
pub enum ControlError {
    /// There is no such build.
    #[error("{0} is no build of {1}")]
    NotABuild(String, String),
    /// Readers see it.
    #[error("{0} is live: switch to another first")]
    Live(String),
    /// The database said no, or nothing.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
}

/// Lets nobody fold a projection, whichever build, until [`resume`]; runners obey within seconds. Returns how many
/// builds it concerns.
pub async fn pause(pool: &PgPool, registered: &'static Registered) -> Result<u64, ControlError> {
    set_paused(pool, registered, true).await
}

/// Lets a projection be folded again.
pub async fn resume(pool: &PgPool, registered: &'static Registered) -> Result<u64, ControlError> {
    set_paused(pool, registered, false).await
}

async fn set_paused(pool: &PgPool, registered: &'static Registered, paused: bool) -> Result<u64, ControlError> {
    let mut tx = pool.begin().await?;
    let changed = sqlx::query_scalar::<_, String>(
        "update pulsegate.projection_builds set paused_at = case when $2 then now() end
         where name = $1 and state in ('live', 'shadow', 'verified') and (paused_at is null) = $2
         returning build",
    )
    .bind(registered.name)
    .bind(paused)
    .fetch_all(&mut *tx)
    .await?;
    for build in &changed {
        let what = if paused { "paused" } else { "resumed" };
        history::note(&mut *tx, &Build::named(registered, build), what, "").await?;
    }
    tx.commit().await?;
    Ok(changed.len() as u64)
}

/// Takes a build's tables, offsets and dead letters away for good; its history stays.
pub async fn retire(pool: &PgPool, registered: &'static Registered, build: &str) -> Result<(), ControlError> {
    let mut tx = pool.begin().await?;
    // A batch that is under way is waited for, but not for ever.
    sqlx::query("set local lock_timeout = '30s'").execute(&mut *tx).await?;
    let state = sqlx::query_scalar::<_, String>(
        "select state from pulsegate.projection_builds where name = $1 and build = $2 for update",
    )
    .bind(registered.name)
    .bind(build)
    .fetch_optional(&mut *tx)
    .await?;
    let unknown = || ControlError::NotABuild(build.to_owned(), registered.name.to_owned());
    match state.as_deref() {
        None | Some("retired") => return Err(unknown()),
        Some("live") => return Err(ControlError::Live(build.to_owned())),
        Some(_) => {}
    }
    sqlx::query("update pulsegate.projection_builds set state = 'retired', phase = null where build = $1")
        .bind(build)
        .execute(&mut *tx)
        .await?;
    for sql in [
        "delete from pulsegate.projection_offsets where build = $1",
        "delete from pulsegate.dead_letters where build = $1",
    ] {
        sqlx::query(sql).bind(build).execute(&mut *tx).await?;
    }
    // The name is that of a build, which the database has just confirmed.
    sqlx::raw_sql(AssertSqlSafe(format!("drop schema {build} cascade"))).execute(&mut *tx).await?;
    history::note(&mut *tx, &Build::named(registered, build), "retired", "its tables are gone").await?;
    tx.commit().await?;
    Ok(())
}
