//! The end of a rebuild: the tables become safe, get their indexes, and the build becomes a shadow.

use super::RebuildError;
use crate::builds::{Build, history, tables};
use crate::registry::Dependencies;

/// Makes the tables logged, then the indexes that only readers need, then the build a shadow or a copy: all or nothing.
///
/// Logged first: making a table logged writes it anew together with whatever indexes it has.
pub(super) async fn finish(build: &Build, with: &Dependencies, copy: bool) -> Result<(), RebuildError> {
    let mut tx = with.pool.begin().await?;
    // What the build's index needs to be made in memory where it can; for this transaction only.
    sqlx::raw_sql("set local maintenance_work_mem = '256MB'; set local lock_timeout = '30s'").execute(&mut *tx).await?;
    tables::log(build, &mut tx).await?;
    tables::index(build, &mut tx).await?;
    let state = if copy { "copy" } else { "shadow" };
    sqlx::query(
        "update pulsegate.projection_builds set state = $2, last_error = null, last_error_at = null where build = $1",
    )
    .bind(build.schema())
    .bind(state)
    .execute(&mut *tx)
    .await?;
    let records: i64 = sqlx::query_scalar(
        "select coalesce(sum(next_offset), 0)::bigint from pulsegate.projection_offsets where build = $1",
    )
    .bind(build.schema())
    .fetch_one(&mut *tx)
    .await?;
    history::note(
        &mut *tx,
        build,
        "rebuilt",
        &format!("{state}, up to the offset {records} in all partitions together"),
    )
    .await?;
    tx.commit().await?;
    // Readers' plans need to know how large the tables are; no harm if it fails, autovacuum comes by as well.
    if let Err(error) = tables::analyze(build, &with.pool).await {
        tracing::debug!(%error, "analyzing the build's tables");
    }
    Ok(())
}
