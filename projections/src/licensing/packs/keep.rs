//! Packing day by day, beside everything else.

use std::time::Duration;

use chrono::{DateTime, Days};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::make::pack;
use crate::licensing::REGISTERED;

/// How long it is until the next pass; what changed late is packed again by then.
const EVERY: Duration = Duration::from_mins(10);
/// How long it is until the next one, if it failed: somebody wrote for too long, perhaps.
const AGAIN_AFTER: Duration = Duration::from_mins(1);
/// How long a pass may take.
const PASS_MAX: Duration = Duration::from_hours(2);

/// Packs the days that are over, again and again, until `shutdown`; of several nodes one does.
pub async fn keep_packed(pool: PgPool, shutdown: CancellationToken) {
    loop {
        let is_done = tokio::select! {
            () = shutdown.cancelled() => return,
            is_done = pass(&pool) => is_done,
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(if is_done { EVERY } else { AGAIN_AFTER }) => {}
        }
    }
}

async fn pass(pool: &PgPool) -> bool {
    let passed = tokio::time::timeout(PASS_MAX, days_that_are_over(pool)).await;
    match &passed {
        Ok(Ok(())) => return true,
        // Readers read facts instead; there is another pass soon.
        Ok(Err(error)) => tracing::warn!(%error, "packing facts for statements"),
        Err(_) => tracing::warn!("packing facts for statements took too long"),
    }
    false
}

/// By the log's time: a log that is read again years later is packed as it would have been.
async fn days_that_are_over(pool: &PgPool) -> Result<(), sqlx::Error> {
    let newest = sqlx::query_scalar::<_, Option<i64>>(
        "select max(clock_ms) from pulsegate.live_offsets where name = $1 and next_offset > 0",
    )
    .bind(REGISTERED.name)
    .fetch_one(pool)
    .await?;
    let today = newest.and_then(DateTime::from_timestamp_millis).map(|clock| clock.date_naive());
    let Some(yesterday) = today.and_then(|today| today.checked_sub_days(Days::new(1))) else { return Ok(()) };
    if let Some(packed) = pack(pool, yesterday).await?.filter(|packed| packed.facts > 0) {
        tracing::info!(until = %yesterday, titles = packed.titles, facts = packed.facts, "packed facts for statements");
    }
    Ok(())
}
