//! How every projection stands: for `GET /v1/projections` and the command line.

use chrono::{DateTime, Utc};
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::{Topic, TopicNames};
use rdkafka::ClientConfig;
use serde::Serialize;
use sqlx::PgPool;

use super::ends::{Ends, ends};

/// How many entries of each build's history are shown.
const HISTORY_MAX: i64 = 20;

/// One build of a projection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProjectionStatus {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: i32,
    /// The build, which is also the schema of its tables.
    pub build: String,
    /// `live`, `building`, `shadow`, `verified`, `retired`, `failed` or `copy`.
    pub state: String,
    /// When it was made.
    pub made_at: DateTime<Utc>,
    /// When it was found to say the same as the live one.
    pub verified_at: Option<DateTime<Utc>>,
    /// Since when nobody may fold it, because somebody said so.
    pub paused_at: Option<DateTime<Utc>>,
    /// The last instant of the log that a copy holds.
    pub as_of: Option<Timestamp>,
    /// Records folded a second, over the last few seconds.
    pub rate: f64,
    /// The rebuild that works on it.
    pub rebuild: Option<RebuildStatus>,
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
    /// What was done to it, the newest first.
    pub history: Vec<HistoryEntry>,
    /// Each partition.
    pub partitions: Vec<PartitionStatus>,
}

/// A rebuild under way, or one that was stopped and can go on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RebuildStatus {
    /// `planning`, `filling`, `indexing` or `catching_up`.
    pub phase: String,
    /// Since when.
    pub since: Option<DateTime<Utc>>,
    /// Offsets passed, in all partitions together.
    pub done_events: i64,
    /// Offsets to pass.
    pub total_events: i64,
    /// How long it will take at this rate; `null` while it stands.
    pub left_seconds: Option<f64>,
}

/// Something that was done to a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct HistoryEntry {
    /// To which.
    #[serde(skip)]
    build: String,
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub what: String,
    /// More about it; a forced switch says why.
    pub detail: Option<String>,
}

/// One build of a projection in one partition.
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
    /// Records folded a second, over the last few seconds.
    pub rate: f64,
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
    made_at: DateTime<Utc>,
    verified_at: Option<DateTime<Utc>>,
    paused_at: Option<DateTime<Utc>>,
    as_of_ms: Option<i64>,
    phase: Option<String>,
    phase_at: Option<DateTime<Utc>>,
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
    rate: f64,
    rebuild_end: Option<i64>,
    updated_at: DateTime<Utc>,
}

/// How every installed version stands. Kafka being away leaves ends and lags open, and is no error.
pub async fn status(
    pool: &PgPool,
    kafka: &ClientConfig,
    topics: &TopicNames,
) -> Result<Vec<ProjectionStatus>, sqlx::Error> {
    let versions = sqlx::query_as::<_, Installed>(
        "select name, version, build, state, switched_at, last_error, last_error_at, made_at, verified_at, paused_at,
                as_of_ms, phase, phase_at,
                count(*) filter (where kind = 'parked') as parked,
                count(*) filter (where kind = 'skipped') as skipped
         from pulsegate.projection_builds builds left join pulsegate.dead_letters using (build)
         group by builds.build order by name, version, number",
    )
    .fetch_all(pool)
    .await?;
    let rows = sqlx::query_as::<_, Row>(
        "select build, topic, partition, next_offset, clock_ms, rate, rebuild_end, updated_at
         from pulsegate.projection_offsets order by topic, partition",
    )
    .fetch_all(pool)
    .await?;
    let mut history = sqlx::query_as::<_, HistoryEntry>(
        "select build, at, what, nullif(detail, '') as detail
         from (select *, row_number() over (partition by build order by id desc) as place
               from pulsegate.projection_history where build is not null) as entries
         where place <= $1 order by id desc",
    )
    .bind(HISTORY_MAX)
    .fetch_all(pool)
    .await?;
    let asked = {
        let (kafka, topics) = (kafka.clone(), topics.clone());
        tokio::task::spawn_blocking(move || ends(&kafka, &topics)).await
    };
    let ends = asked.unwrap_or_default();
    let now = Timestamp::from(Utc::now());
    let mut judged: Vec<_> = versions.into_iter().map(|build| judge(build, &rows, &ends, now)).collect();
    for build in &mut judged {
        build.history = history.extract_if(.., |entry| entry.build == build.build).collect();
    }
    Ok(judged)
}

fn judge(version: Installed, rows: &[Row], ends: &Ends, now: Timestamp) -> ProjectionStatus {
    let own = rows.iter().filter(|row| row.build == version.build);
    let mut partitions: Vec<_> = own.map(|row| partition(row, ends, now)).collect();
    let rebuild = rebuild(&version, rows, now);
    // A partition that nobody has taken up yet is as far behind as it is long; a copy is behind nothing.
    let grows = !matches!(version.state.as_str(), "copy" | "retired");
    let registered = crate::registry::find(&version.name).filter(|_| grows);
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
                rate: 0.0,
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
        made_at: version.made_at,
        verified_at: version.verified_at,
        paused_at: version.paused_at,
        as_of: version.as_of_ms.map(Timestamp::from_millis),
        // A sum of nothing would be -0.
        rate: partitions.iter().map(|partition| partition.rate).fold(0.0, |sum, rate| sum + rate),
        rebuild,
        history: Vec::new(),
        switched_at: version.switched_at,
        parked: version.parked,
        skipped: version.skipped,
        last_error: version.last_error,
        last_error_at: version.last_error_at,
        partitions,
    }
}

/// How far the rebuild of a build is, if it isn't done.
#[expect(clippy::cast_precision_loss, reason = "no log has 2^52 records")]
fn rebuild(build: &Installed, rows: &[Row], now: Timestamp) -> Option<RebuildStatus> {
    let phase = build.phase.clone().filter(|phase| phase != "done" && build.state != "retired")?;
    if build.state == "copy" {
        return None;
    }
    let own = || rows.iter().filter(|row| row.build == build.build);
    let total_events: i64 = own().map(|row| row.rebuild_end.unwrap_or(row.next_offset)).sum();
    let done_events: i64 = own().map(|row| row.next_offset.min(row.rebuild_end.unwrap_or(row.next_offset))).sum();
    let rate: f64 = own().map(|row| recent_rate(row, now)).sum();
    let left_seconds = (rate >= 1.0).then(|| (total_events - done_events) as f64 / rate);
    Some(RebuildStatus { phase, since: build.phase_at, done_events, total_events, left_seconds })
}

/// A rate that was written some time ago, and nothing since.
#[expect(clippy::cast_precision_loss, reason = "an age of 2^52 ms is none but a wrong clock")]
fn recent_rate(row: &Row, now: Timestamp) -> f64 {
    let age_ms = now.ms_since(Timestamp::from(row.updated_at));
    // What is written every ten seconds, such as the batches of a rebuild, is still a rate.
    let faded = row.rate * (-(age_ms.saturating_sub(10_000) as f64) / 5e3).exp();
    if faded < 0.05 { 0.0 } else { (faded * 10.0).round() / 10.0 }
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
        rate: recent_rate(row, now),
        updated_at: Some(row.updated_at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(next_offset: i64, clock_ms: i64) -> Row {
        let (build, topic) = ("active_sessions_v1".to_owned(), "playback".to_owned());
        let updated_at = DateTime::UNIX_EPOCH;
        Row { build, topic, partition: 0, next_offset, clock_ms, rate: 50.0, rebuild_end: None, updated_at }
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

    #[test]
    fn a_rate_fades_once_nothing_is_folded() {
        let rate = |seconds: i64| recent_rate(&row(7, 0), Timestamp::from_millis(seconds * 1_000));
        assert!((rate(3) - 50.0).abs() < 0.1);
        assert!(rate(20) < 10.0);
        assert!(rate(60) == 0.0);
    }
}
