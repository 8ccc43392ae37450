//! How every projection stands: for `GET /v1/projections` and the command line.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::{Topic, TopicNames};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde::Serialize;
use sqlx::PgPool;

/// How long one question to the brokers may take.
const ASK_MAX: Duration = Duration::from_secs(3);

/// One version of a projection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProjectionStatus {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: i32,
    /// The build, which is also the schema of its tables.
    pub build: String,
    /// `live`, `shadow` or `retired`.
    pub state: String,
    /// When readers were switched to it.
    pub switched_at: Option<DateTime<Utc>>,
    /// How many records it is behind in all; `null` while Kafka doesn't say.
    pub lag_events: Option<i64>,
    /// How old, by the log's time, the last record folded is in the partition that is furthest behind;
    /// 0 at the end.
    pub lag_seconds: Option<f64>,
    /// Dead letters behind which their key waits.
    pub parked: i64,
    /// Dead letters that were left out.
    pub skipped: i64,
    /// The newest trouble that could be kept.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<DateTime<Utc>>,
    /// When it last committed anything.
    pub updated_at: Option<DateTime<Utc>>,
    /// Each partition.
    pub partitions: Vec<PartitionStatus>,
}

/// One version of a projection in one partition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartitionStatus {
    /// The topic, without the prefix.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Every record before this offset is folded.
    pub next_offset: i64,
    /// The offset that the next record will have; `null` while Kafka doesn't say.
    pub end_offset: Option<i64>,
    /// How many records it is behind.
    pub lag_events: Option<i64>,
    /// How old, by the log's time, the last record folded is; 0 at the end.
    pub lag_seconds: Option<f64>,
    /// The largest stamp of any record folded; `null` before the first.
    pub clock: Option<Timestamp>,
    /// When it last committed anything.
    pub updated_at: Option<DateTime<Utc>>,
}

#[derive(sqlx::FromRow)]
struct Installed {
    name: String,
    version: i32,
    build: String,
    state: String,
    switched_at: Option<DateTime<Utc>>,
    last_error: Option<String>,
    last_error_at: Option<DateTime<Utc>>,
    parked: i64,
    skipped: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    build: String,
    topic: String,
    partition: i32,
    next_offset: i64,
    clock_ms: i64,
    updated_at: DateTime<Utc>,
}

type Ends = HashMap<(Topic, i32), i64>;

/// How every installed version stands. Kafka being away leaves ends and lags open, and is no error.
pub async fn status(
    pool: &PgPool,
    kafka: &ClientConfig,
    topics: &TopicNames,
) -> Result<Vec<ProjectionStatus>, sqlx::Error> {
    let versions = sqlx::query_as::<_, Installed>(
        "select name, version, build, state, switched_at, last_error, last_error_at,
                count(*) filter (where kind = 'parked') as parked,
                count(*) filter (where kind = 'skipped') as skipped
         from pulsegate.projection_builds builds left join pulsegate.dead_letters using (build)
         group by builds.build order by name, version, number",
    )
    .fetch_all(pool)
    .await?;
    let rows = sqlx::query_as::<_, Row>(
        "select build, topic, partition, next_offset, clock_ms, updated_at
         from pulsegate.projection_offsets order by topic, partition",
    )
    .fetch_all(pool)
    .await?;
    let asked = {
        let (kafka, topics) = (kafka.clone(), topics.clone());
        tokio::task::spawn_blocking(move || ends(&kafka, &topics)).await
    };
    let ends = asked.unwrap_or_default();
    let now = Timestamp::from(Utc::now());
    Ok(versions.into_iter().map(|version| judge(version, &rows, &ends, now)).collect())
}

fn judge(version: Installed, rows: &[Row], ends: &Ends, now: Timestamp) -> ProjectionStatus {
    let own = rows.iter().filter(|row| row.build == version.build);
    let mut partitions: Vec<_> = own.map(|row| partition(row, ends, now)).collect();
    // A partition that nobody has taken up yet is as far behind as it is long.
    let registered = crate::registry::find(&version.name);
    let known_topics = registered.map_or(&[][..], |registered| registered.topics);
    for ((topic, number), end) in ends {
        let is_new = |status: &PartitionStatus| status.topic != topic.base_name() || status.partition != *number;
        if known_topics.contains(topic) && partitions.iter().all(is_new) {
            partitions.push(PartitionStatus {
                topic: topic.base_name().to_owned(),
                partition: *number,
                next_offset: 0,
                end_offset: Some(*end),
                lag_events: Some(*end),
                lag_seconds: (*end == 0).then_some(0.0),
                clock: None,
                updated_at: None,
            });
        }
    }
    partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    ProjectionStatus {
        lag_events: partitions.iter().map(|partition| partition.lag_events).sum(),
        lag_seconds: partitions.iter().map(|partition| partition.lag_seconds).try_fold(0.0, |most, lag| {
            let lag: f64 = lag?;
            Some(lag.max(most))
        }),
        updated_at: partitions.iter().filter_map(|partition| partition.updated_at).max(),
        name: version.name,
        version: version.version,
        build: version.build,
        state: version.state,
        switched_at: version.switched_at,
        parked: version.parked,
        skipped: version.skipped,
        last_error: version.last_error,
        last_error_at: version.last_error_at,
        partitions,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a lag of 2^52 ms is no lag but a wrong clock")]
fn partition(row: &Row, ends: &Ends, now: Timestamp) -> PartitionStatus {
    let topic = Topic::ALL.into_iter().find(|topic| topic.base_name() == row.topic);
    let end_offset = topic.and_then(|topic| ends.get(&(topic, row.partition)).copied());
    let clock = Some(Timestamp::from_millis(row.clock_ms)).filter(|clock| *clock != Timestamp::MIN);
    let lag_events = end_offset.map(|end| (end - row.next_offset).max(0));
    let lag_seconds = match (lag_events, clock) {
        (Some(0), _) => Some(0.0),
        (Some(_), Some(clock)) => Some(now.ms_since(clock) as f64 / 1e3),
        (Some(_), None) | (None, _) => None,
    };
    PartitionStatus {
        topic: row.topic.clone(),
        partition: row.partition,
        next_offset: row.next_offset,
        end_offset,
        lag_events,
        lag_seconds,
        clock,
        updated_at: Some(row.updated_at),
    }
}

/// The end of every partition of the deployment's topics, as far as the brokers say.
fn ends(kafka: &ClientConfig, topics: &TopicNames) -> Ends {
    let mut ends = Ends::new();
    let consumer: BaseConsumer = match kafka.create() {
        Ok(consumer) => consumer,
        Err(error) => {
            tracing::warn!(%error, "asking for the ends of the log");
            return ends;
        }
    };
    let metadata = match consumer.fetch_metadata(None, ASK_MAX) {
        Ok(metadata) => metadata,
        Err(error) => {
            tracing::debug!(%error, "asking for the ends of the log");
            return ends;
        }
    };
    for topic in Topic::ALL {
        let name = topics.name(topic);
        for found in metadata.topics().iter().filter(|found| found.name() == name) {
            for partition in found.partitions() {
                match consumer.fetch_watermarks(&name, partition.id(), ASK_MAX) {
                    Ok((_, end)) => _ = ends.insert((topic, partition.id()), end),
                    // One that doesn't answer must not be waited for once a partition.
                    Err(error) => {
                        tracing::debug!(%error, "asking for the ends of the log");
                        return ends;
                    }
                }
            }
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(next_offset: i64, clock_ms: i64) -> Row {
        let (build, topic) = ("active_sessions_v1".to_owned(), "playback".to_owned());
        Row { build, topic, partition: 0, next_offset, clock_ms, updated_at: DateTime::UNIX_EPOCH }
    }

    #[test]
    fn lag_is_counted_in_events_and_in_log_time() {
        let ends = Ends::from([((Topic::Playback, 0), 10)]);
        let now = Timestamp::from_millis(100_000);
        let behind = partition(&row(7, 98_500), &ends, now);
        assert_eq!((behind.lag_events, behind.lag_seconds), (Some(3), Some(1.5)));
        let at_the_end = partition(&row(10, 98_500), &ends, now);
        assert_eq!((at_the_end.lag_events, at_the_end.lag_seconds), (Some(0), Some(0.0)));
        let untouched = partition(&row(0, i64::MIN), &ends, now);
        assert_eq!((untouched.lag_events, untouched.lag_seconds, untouched.clock), (Some(10), None, None));
        let kafka_away = partition(&row(7, 98_500), &Ends::new(), now);
        assert_eq!((kafka_away.lag_events, kafka_away.lag_seconds), (None, None));
    }
}
