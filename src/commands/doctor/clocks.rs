//! Whether the clocks of this machine, the database and the broker agree.
//!
//! The broker's clock is seen only in the stamps of records. One that arrives while this looks was stamped in between; of
//! an old one it is only known that the broker's clock has been there already.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use pulsegate_domain::time::{Timestamp, ahead_ms};
use pulsegate_domain::topic::Topic;
use rdkafka::Offset;
use rdkafka::consumer::Consumer as _;
use rdkafka::message::Message as _;
use sqlx::PgPool;

use super::finding::Report;
use crate::commands::topic_reader::{POLL, TopicReader};
use crate::config::Config;

/// How long a new record is waited for.
const LISTEN: Duration = Duration::from_secs(1);
/// What nobody need bother about.
const AGREE_MS: u64 = 500;
/// From here on leases end visibly early or late.
const OFF_MS: u64 = 2_000;

pub(super) async fn look(config: &Config, kafka: bool, database: Option<&PgPool>, report: &mut Report) {
    match database {
        Some(pool) => match of_database(pool).await {
            Ok(ahead) => told("the database's", ahead, report),
            Err(error) => report.unknown("clock", "the database's", format!("does not say: {error}")),
        },
        None => report.unknown("clock", "the database's", "the database must answer first"),
    }
    if !kafka {
        report.unknown("clock", "the broker's", "Kafka must answer first");
        return;
    }
    let config = config.clone();
    match tokio::task::spawn_blocking(move || of_broker(&config)).await {
        Ok(Ok(Some(ahead))) => told("the broker's", ahead, report),
        Ok(Ok(None)) => {
            let says =
                "no record has come while this looked; a running node measures it: `pulsegate_clock_ahead_seconds`";
            report.unknown("clock", "the broker's", says);
        }
        Ok(Err(error)) => report.unknown("clock", "the broker's", format!("{error:#}")),
        Err(error) => report.unknown("clock", "the broker's", error.to_string()),
    }
}

/// Judges by how much this machine is ahead.
fn told(of: &str, ahead_ms: i64, report: &mut Report) {
    let (by, way) = (ahead_ms.unsigned_abs(), if ahead_ms > 0 { "ahead of" } else { "behind" });
    let says = format!("this machine is {by} ms {way} {of} or more");
    let fix = "mend time synchronisation on the machine that is off (`timedatectl`, `chronyc tracking`)";
    match by {
        0..AGREE_MS => report.ok("clock", of, "agrees with this machine's"),
        AGREE_MS..OFF_MS => report.note("clock", of, says, fix),
        OFF_MS.. => report.wrong("clock", of, says, fix),
    }
}

fn now() -> Timestamp {
    Timestamp::from(Utc::now())
}

async fn of_database(pool: &PgPool) -> Result<i64, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let asked = now();
    let stamp = sqlx::query_scalar::<_, DateTime<Utc>>("select clock_timestamp()").fetch_one(&mut *connection).await?;
    Ok(ahead_ms(asked, stamp.into(), now()))
}

/// `None` if no record says.
fn of_broker(config: &Config) -> anyhow::Result<Option<i64>> {
    let reader = TopicReader::open(config, Topic::Playback)?;
    let asked = now();
    // Each partition's last record, and what comes behind it.
    reader.assign(|partition| {
        let (end, begin) = (reader.ends.get(&partition)?, reader.beginnings.get(&partition)?);
        Some(Offset::Offset((end - 1).max(*begin)))
    })?;
    let deadline = Instant::now() + LISTEN;
    let mut known = None;
    while Instant::now() < deadline {
        let Some(Ok(message)) = reader.consumer.poll(POLL) else { continue };
        let Some(stamp) = message.timestamp().to_millis().map(Timestamp::from_millis) else { continue };
        let received = now();
        if reader.ends.get(&message.partition()).is_some_and(|end| message.offset() >= *end) {
            known = Some(ahead_ms(asked, stamp, received));
            break;
        }
        if stamp > received {
            known = known.min(Some(ahead_ms(received, stamp, received))).or(Some(ahead_ms(received, stamp, received)));
        }
    }
    drop(reader.consumer.unassign());
    Ok(known)
}
