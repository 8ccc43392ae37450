//! Making the tables: those that belong to no single projection, then each version's own schema.

use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, PgTransaction};
use thiserror::Error;

use super::{REGISTERED, Registered};

static SHARED: Migrator = sqlx::migrate!("../migrations");

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
/// A version that is the first of its name is live from the start; any other begins as a shadow.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
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
    for version in REGISTERED {
        install(version, &mut tx).await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn install(version: &Registered, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
    let installed = sqlx::query_scalar::<_, String>(
        "insert into pulsegate.projection_versions (name, version, state, switched_at)
         select $1, $2, case when first then 'live' else 'shadow' end, case when first then now() end
         from (select not exists (select from pulsegate.projection_versions where name = $1) as first) as others
         on conflict do nothing
         returning state",
    )
    .bind(version.name)
    .bind(version.version)
    .fetch_optional(&mut **tx)
    .await?;
    let Some(state) = installed else { return Ok(()) };

    // The names are constants of the code, and a test says that they are plain identifiers.
    let schema = version.schema();
    sqlx::raw_sql(AssertSqlSafe(format!("create schema {schema}; set local search_path = {schema};")))
        .execute(&mut **tx)
        .await?;
    sqlx::raw_sql(version.ddl).execute(&mut **tx).await?;
    if state == "live" {
        point_views(version, tx).await?;
    }
    sqlx::query(
        "insert into pulsegate.projection_history (name, version, what, detail) values ($1, $2, 'installed', $3)",
    )
    .bind(version.name)
    .bind(version.version)
    .bind(state)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Lets the views, whose names stay the same, show this version.
async fn point_views(version: &Registered, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
    let (name, schema) = (version.name, version.schema());
    sqlx::raw_sql(AssertSqlSafe(format!("create schema if not exists {name}"))).execute(&mut **tx).await?;
    for table in version.tables {
        let point = format!(
            "drop view if exists {name}.{table}; create view {name}.{table} as select * from {schema}.{table};"
        );
        sqlx::raw_sql(AssertSqlSafe(point)).execute(&mut **tx).await?;
    }
    Ok(())
}
