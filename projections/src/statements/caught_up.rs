//! Whether what a statement is made from has arrived: asked before one is closed.

use std::time::{Duration, Instant};

use chrono::{Days, NaiveTime};
use pulsegate_domain::topic::Topic;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use sqlx::PgPool;

use super::{LATE_DAYS, StatementError};
use crate::licensing::REGISTERED;
use crate::live::AsOf;
use crate::period::Period;
use crate::reader::ReaderSettings;

/// How long a read model that is nearly there should be waited for.
pub const LAG_WAIT: Duration = Duration::from_secs(10);
/// How long between two questions.
const AGAIN: Duration = Duration::from_millis(250);
/// How long the broker may take to say where a partition ends.
const ASK_MAX: Duration = Duration::from_secs(5);

/// Waits, for no longer than `wait`, until `licensing` has folded what may belong to the period, and says up to where
/// that is.
///
/// A partition is folded far enough at its end as of the question, or once its clock is past the days on which heartbeats
/// of the period may still come. What is closed must be no older than these offsets.
pub async fn caught_up(
    pool: &PgPool,
    log: &ReaderSettings,
    period: &Period,
    wait: Duration,
) -> Result<Vec<AsOf>, StatementError> {
    let ends = {
        let log = log.clone();
        let asked = tokio::task::spawn_blocking(move || ends(&log)).await;
        let away = |error: &dyn std::fmt::Display| StatementError::LogAway(error.to_string());
        asked.map_err(|error| away(&error))?.map_err(|error| away(&error))?
    };
    let after = period.last.checked_add_days(Days::new(LATE_DAYS + 1)).unwrap_or(period.last);
    let after_ms = after.and_time(NaiveTime::MIN).and_utc().timestamp_millis();
    let begun = Instant::now();
    loop {
        let stands = sqlx::query_as::<_, Stands>(
            "select partition, next_offset, clock_ms from pulsegate.live_offsets where name = $1 and topic = $2",
        )
        .bind(REGISTERED.name)
        .bind(Topic::Playback.base_name())
        .fetch_all(pool)
        .await?;
        match judge(&ends, &stands, after_ms) {
            Ok(needed) => return Ok(needed),
            Err(lag) if begun.elapsed() >= wait => return Err(lag),
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

#[derive(sqlx::FromRow)]
struct Stands {
    partition: i32,
    next_offset: i64,
    clock_ms: i64,
}

/// The end of each partition of the playback topic.
fn ends(log: &ReaderSettings) -> Result<Vec<(i32, i64)>, KafkaError> {
    let consumer = log.consumer("statements")?;
    let topic = log.topics.name(Topic::Playback);
    let end = |partition| consumer.fetch_watermarks(&topic, partition, ASK_MAX).map(|(_, end)| (partition, end));
    (0..log.partitions).map(end).collect()
}

fn judge(ends: &[(i32, i64)], stands: &[Stands], after_ms: i64) -> Result<Vec<AsOf>, StatementError> {
    let (mut needed, mut partitions, mut records) = (Vec::new(), 0, 0);
    for &(partition, end) in ends {
        let stands = stands.iter().find(|one| one.partition == partition);
        let next_offset = stands.map_or(0, |one| one.next_offset);
        if next_offset < end && stands.is_none_or(|one| one.clock_ms < after_ms) {
            (partitions, records) = (partitions + 1, records + end - next_offset);
        }
        needed.extend(AsOf::before(Topic::Playback, partition, next_offset.min(end)));
    }
    if partitions == 0 { Ok(needed) } else { Err(StatementError::Lagging { records, partitions }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_folded_far_enough_at_its_end_or_past_the_days_of_late_heartbeats() {
        let of = |partition, next_offset, clock_ms| Stands { partition, next_offset, clock_ms };
        let needed = judge(&[(0, 10), (1, 10), (2, 0)], &[of(0, 12, 5), of(1, 7, 1_000)], 1_000).unwrap();
        let needed: Vec<_> = needed.iter().map(|one| (one.partition, one.offset)).collect();
        assert_eq!(needed, [(0, 9), (1, 6)]);
        let lagging = judge(&[(0, 10), (1, 10), (2, 3)], &[of(0, 10, 5), of(1, 7, 999)], 1_000).unwrap_err();
        assert_eq!(
            lagging.to_string(),
            "licensing is 6 records behind the log, in 2 partitions; what is closed now would lack them"
        );
    }
}
