//! The tables of a build, and the views that show them to readers.
//!
//! Names of schemas and tables are checked: those of the code by a test, those of copies when they are
//! made. So they may stand in a statement's text.

use sqlx::{AssertSqlSafe, PgConnection, PgPool, PgTransaction};

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

/// The statements that let the views, whose names stay the same, show this build.
///
/// A view is replaced rather than made anew where its columns stay the same, so that statements that were
/// prepared for it stay valid. To be executed at once: readers wait from the first view's lock on.
pub(crate) async fn pointing_views(build: &Build, connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    let name = build.registered().name;
    // Of each table whether this build has it (one of another version may not), and whether its view has its columns.
    let standing = sqlx::query_as::<_, (bool, bool)>(
        "select to_regclass(kept) is not null, coalesce(of_view.list = of_table.list, false)
         from unnest($1::text[], $2::text[]) with ordinality as table_of (shown, kept, place),
              lateral (select array_agg((attname, atttypid, atttypmod)::text order by attnum) as list from pg_attribute
                       where attrelid = to_regclass(shown) and attnum > 0 and not attisdropped) as of_view,
              lateral (select array_agg((attname, atttypid, atttypmod)::text order by attnum) as list from pg_attribute
                       where attrelid = to_regclass(kept) and attnum > 0 and not attisdropped) as of_table
         order by place",
    )
    .bind(build.registered().tables.iter().map(|table| format!("{name}.{table}")).collect::<Vec<_>>())
    .bind(build.registered().tables.iter().map(|table| format!("{build}.{table}")).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let mut ddl = vec![format!("create schema if not exists {name};")];
    for (table, (is_kept, is_same)) in build.registered().tables.iter().zip(standing) {
        if !is_same {
            ddl.push(format!("drop view if exists {name}.{table};"));
        }
        if is_kept {
            let replace = if is_same { " or replace" } else { "" };
            ddl.push(format!("create{replace} view {name}.{table} as select * from {build}.{table};"));
        }
    }
    Ok(ddl.join("\n"))
}

/// Whether the build whose schema comes first holds what was written to it: a crash of the database empties unlogged
/// tables, and with them the one row of the marker.
pub(crate) async fn hold_their_rows(tx: &mut PgTransaction<'_>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select exists (select from unlogged_since)").fetch_one(&mut **tx).await
}

/// The tables that hold rows of the build whose schema comes first: partitions, but not what they are partitions of.
async fn with_rows(tx: &mut PgTransaction<'_>, persistence: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select quote_ident(relname) from pg_class
         where relnamespace = current_schema::regnamespace and relkind = 'r' and relpersistence = $1::\"char\"
           and relname <> 'unlogged_since'
         order by relname",
    )
    .bind(persistence)
    .fetch_all(&mut **tx)
    .await
}

/// Makes a new build's tables unlogged, and the marker whose one row a crash takes away with theirs.
pub(crate) async fn unlog(build: &Build, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
    for table in with_rows(tx, "p").await? {
        sqlx::raw_sql(AssertSqlSafe(format!("alter table {build}.{table} set unlogged"))).execute(&mut **tx).await?;
    }
    let marker = format!(
        "create unlogged table {build}.unlogged_since (at timestamptz not null);
         insert into {build}.unlogged_since values (now());"
    );
    sqlx::raw_sql(AssertSqlSafe(marker)).execute(&mut **tx).await?;
    Ok(())
}

/// Empties a build's tables, and lets the marker say that this is how it begins.
pub(crate) async fn empty(build: &Build, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(format!("set local search_path = {build}"))).execute(&mut **tx).await?;
    for persistence in ["u", "p"] {
        for table in with_rows(tx, persistence).await? {
            sqlx::raw_sql(AssertSqlSafe(format!("truncate {build}.{table}"))).execute(&mut **tx).await?;
        }
    }
    let mark = "truncate unlogged_since; insert into unlogged_since values (now());";
    sqlx::raw_sql(mark).execute(&mut **tx).await?;
    Ok(())
}

/// Makes a build's tables safe from crashes: those that were made unlogged, each partition of its own.
pub(crate) async fn log(build: &Build, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(format!("set local search_path = {build}"))).execute(&mut **tx).await?;
    for table in with_rows(tx, "u").await? {
        sqlx::raw_sql(AssertSqlSafe(format!("alter table {build}.{table} set logged"))).execute(&mut **tx).await?;
    }
    sqlx::raw_sql("drop table unlogged_since").execute(&mut **tx).await?;
    Ok(())
}

/// Lets the planner know how large a build's tables are.
pub(crate) async fn analyze(build: &Build, pool: &PgPool) -> Result<(), sqlx::Error> {
    for table in build.registered().tables {
        sqlx::raw_sql(AssertSqlSafe(format!("analyze {build}.{table}"))).execute(pool).await?;
    }
    Ok(())
}
