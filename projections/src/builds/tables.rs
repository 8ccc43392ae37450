//! The tables of a build, and the views that show them to readers.
//!
//! Names of schemas and tables are checked: those of the code by a test, those of copies when they are
//! made. So they may stand in a statement's text.

use sqlx::{AssertSqlSafe, PgTransaction};

use super::Build;

/// Makes a build's schema and its tables, without the indexes that only readers need.
pub(crate) async fn create(build: &Build, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
    let sql = format!("create schema {build}; set local search_path = {build};");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **tx).await?;
    sqlx::raw_sql(build.registered().ddl).execute(&mut **tx).await?;
    Ok(())
}

/// Makes the indexes that only readers need.
pub(crate) async fn index(build: &Build, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(format!("set local search_path = {build}"))).execute(&mut **tx).await?;
    sqlx::raw_sql(build.registered().indexes).execute(&mut **tx).await?;
    Ok(())
}

/// Lets the views, whose names stay the same, show this build.
///
/// A view is replaced rather than made anew where its columns stay the same, so that statements that were
/// prepared for it stay valid.
pub(crate) async fn point_views(build: &Build, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
    let name = build.registered().name;
    sqlx::raw_sql(AssertSqlSafe(format!("create schema if not exists {name}"))).execute(&mut **tx).await?;
    for table in build.registered().tables {
        let same = sqlx::query_scalar::<_, bool>(
            "with columns as (
               select attrelid, array_agg((attname, atttypid, atttypmod)::text order by attnum) as list
               from pg_attribute
               where attrelid in (to_regclass($1), to_regclass($2)) and attnum > 0 and not attisdropped
               group by attrelid)
             select count(*) = 2 and count(distinct list) = 1 from columns",
        )
        .bind(format!("{name}.{table}"))
        .bind(format!("{build}.{table}"))
        .fetch_one(&mut **tx)
        .await?;
        let begin = if same { "create or replace" } else { "create" };
        let drop = if same { String::new() } else { format!("drop view if exists {name}.{table};") };
        let point = format!("{drop} {begin} view {name}.{table} as select * from {build}.{table};");
        sqlx::raw_sql(AssertSqlSafe(point)).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Whether the build whose schema comes first holds what was written to it: a crash of the database empties unlogged
/// tables, and with them the one row of the marker.
pub(crate) async fn hold_their_rows(tx: &mut PgTransaction<'_>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select exists (select from unlogged_since)").fetch_one(&mut **tx).await
}
