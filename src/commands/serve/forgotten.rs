//! Who was forgotten stands in the log as well: a database that was made anew, or restored, learns it from there.

use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_projections::forget;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::START_WAIT;

/// Brings the database's list up to what the catalog says; where that can't be read yet, as soon as it can.
pub(super) async fn begin(catalog: &CatalogView, pool: &PgPool, shutdown: &CancellationToken) {
    if catalog.is_whole() {
        restore(catalog, pool).await;
        return;
    }
    let (catalog, pool, shutdown) = (catalog.clone(), pool.clone(), shutdown.clone());
    tokio::spawn(async move {
        let waiting = async {
            while !catalog.caught_up(START_WAIT).await {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = waiting => restore(&catalog, &pool).await,
        }
    });
}

async fn restore(catalog: &CatalogView, pool: &PgPool) {
    match forget::restore(&catalog.read(|catalog| catalog.forgotten().clone()), pool).await {
        Ok(0) => {}
        Ok(accounts) => tracing::warn!(
            accounts,
            "the database did not know of accounts that were forgotten: if it is an older one, see docs/privacy.md"
        ),
        Err(error) => tracing::warn!(%error, "who was forgotten could not be brought from the log into the database"),
    }
}
