//! Making the tables: those that belong to no single projection, then each version's own schema.

use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, PgTransaction};
use thiserror::Error;

use super::{REGISTERED, Registered};
use crate::builds::{Build, history, tables};

pub(super) static SHARED: Migrator = sqlx::migrate!("../migrations");

/// Why the tables could not be made.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// A migration failed, or the database holds other ones.
    #[error("migrations: {0}")]
    Shared(#[from] sqlx::migrate::MigrateError),
    /// A projection's tables could not be made.
    #[error("tables of the projections: {0}")]
    Projections(#[from] sqlx::Error),
}

/// Makes every table and view that is not there yet. Any number of nodes may call it at once and again.
///
/// A version that is the first of its name is live from the start; of any other a rebuild makes the tables.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    migrate_with(pool, REGISTERED).await
}

/// The same for other projections than those of this repository.
pub async fn migrate_with(pool: &PgPool, registered: &[&'static Registered]) -> Result<(), MigrateError> {
    // Its lock belongs to the connection: one of its own lets go of it however this ends. The path is said because the
    // default one starts with the user's name, and a user named as our schema would keep a second list of migrations.
    let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
    sqlx::raw_sql(
        "set search_path = public; set lock_timeout = '60s'; select pg_advisory_lock(hashtext('pulsegate.migrations'))",
    )
    .execute(&mut connection)
    .await?;
    SHARED.run(&mut connection).await?;
    connection.close().await?;
    let mut tx = pool.begin().await?;
    // One node installs, the others wait here and then find everything done.
    sqlx::query("select pg_advisory_xact_lock(hashtext('pulsegate.projections'))").execute(&mut *tx).await?;
    for version in registered {
        install(version, &mut tx).await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn install(version: &'static Registered, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
    let build = Build::first(version);
    let installed = sqlx::query(
        "insert into pulsegate.projection_builds (build, name, version, number, state, switched_at)
         select $1, $2, $3, 1, 'live', now()
         where not exists (select from pulsegate.projection_builds where name = $2)",
    )
    .bind(build.schema())
    .bind(version.name)
    .bind(version.version)
    .execute(&mut **tx)
    .await?;
    if installed.rows_affected() == 0 {
        return Ok(());
    }
    tables::create(&build, tx).await?;
    tables::index(&build, tx).await?;
    let point_views = tables::pointing_views(&build, tx).await?;
    sqlx::raw_sql(AssertSqlSafe(point_views)).execute(&mut **tx).await?;
    history::note(&mut **tx, &build, "installed", "live").await
}
