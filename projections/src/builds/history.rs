//! What was done to builds, when and why.

use sqlx::PgExecutor;

use super::Build;

/// Notes what was done to a build.
pub(crate) async fn note(
    executor: impl PgExecutor<'_>,
    build: &Build,
    what: &'static str,
    detail: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into pulsegate.projection_history (name, version, build, what, detail) values ($1, $2, $3, $4, $5)",
    )
    .bind(build.registered().name)
    .bind(build.registered().version)
    .bind(build.schema())
    .bind(what)
    .bind(detail)
    .execute(executor)
    .await?;
    Ok(())
}
