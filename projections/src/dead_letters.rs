//! Dead letters: the records that a projection could not fold, with their bytes and the reason.

mod settle;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgPool, PgTransaction};

use crate::builds::Build;
use crate::runner::{Letter, Poison, Source, Waiting};

pub(crate) use settle::{Order, run};
pub use settle::{SettleError, Settled, parked, settle};

/// Most letters that one call lists.
pub const LIST_MAX: i64 = 500;

/// Keeps what a batch did not fold, in its transaction.
pub(crate) async fn keep(
    tx: &mut PgTransaction<'_>,
    build: &Build,
    source: Source,
    letters: &[Letter],
) -> Result<(), sqlx::Error> {
    // One statement a letter: they are rare, and a flood of them is bounded by the batch.
    for Letter { record, clock, poison, behind } in letters {
        let (kind, error) = match poison {
            Poison::Skip(error) => ("skipped", error),
            Poison::Park(error) => ("parked", error),
        };
        // Those that only wait may be many, and say nothing new.
        if behind.is_none() {
            tracing::warn!(projection = %build, %source, offset = record.offset, error, "{kind} a record");
        }
        sqlx::query(
            "insert into pulsegate.dead_letters
               (build, topic, partition, log_offset, logged_at, clock_ms, key, value, headers, error, kind, behind)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind(build.schema())
        .bind(source.topic.base_name())
        .bind(source.partition)
        .bind(record.offset)
        .bind(record.timestamp.map(crate::column_time))
        .bind((kind == "parked").then_some(clock.millis()))
        .bind(record.key.as_deref())
        .bind(record.value.as_deref())
        .bind(headers_json(&record.headers))
        // PostgreSQL's text holds no zero byte, and the reason may quote the record.
        .bind(error.replace('\0', "\u{fffd}"))
        .bind(kind)
        .bind(behind)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// The keys whose records wait in a partition, each with the offset of the record that they wait behind.
pub(crate) async fn waiting(tx: &mut PgTransaction<'_>, build: &Build, source: Source) -> Result<Waiting, sqlx::Error> {
    let heads = sqlx::query_as::<_, (Vec<u8>, i64)>(
        "select key, min(log_offset) from pulsegate.dead_letters
         where build = $1 and topic = $2 and partition = $3 and kind = 'parked' and key is not null
         group by key",
    )
    .bind(build.schema())
    .bind(source.topic.base_name())
    .bind(source.partition)
    .fetch_all(&mut **tx)
    .await?;
    Ok(heads.into_iter().map(|(key, head)| (key.into(), head)).collect())
}

/// Headers as `[[name, value or null], …]`, since a name may repeat; what isn't plain ASCII in a value is
/// escaped as in Rust, since it is bytes.
fn headers_json(headers: &[(String, Option<Vec<u8>>)]) -> Option<serde_json::Value> {
    let text = |bytes: &Vec<u8>| bytes.escape_ascii().to_string();
    (!headers.is_empty()).then(|| {
        headers
            .iter()
            .map(|(name, value)| serde_json::json!([name.replace('\0', "\u{fffd}"), value.as_ref().map(text)]))
            .collect()
    })
}

/// A record that could not be folded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct DeadLetter {
    /// Its number.
    pub id: i64,
    /// Which projection could not fold it.
    pub projection: String,
    /// Which build of it.
    pub build: String,
    /// Its topic, without the prefix.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub log_offset: i64,
    /// Its stamp.
    pub logged_at: Option<DateTime<Utc>>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Why.
    pub error: String,
    /// `skipped`, `parked`, or `retried`: parked once, and folded since.
    pub kind: String,
    /// The offset of the poison event of the same key that it waits behind; none if it is one itself.
    pub behind: Option<i64>,
    /// When it was folded after all, or given up.
    pub settled_at: Option<DateTime<Utc>>,
    /// Why it was given up.
    pub reason: Option<String>,
    /// When it was met first, by the database's clock.
    pub first_seen: DateTime<Utc>,
}

/// A letter, and what waits behind it.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// The letter.
    #[serde(flatten)]
    pub letter: DeadLetter,
    /// How many records of its key wait behind it.
    pub waiting: i64,
    /// The offsets of the first of them.
    pub waiting_offsets: Vec<i64>,
}

/// One letter, if there is one of this number.
pub async fn show(pool: &PgPool, id: i64) -> Result<Option<Shown>, sqlx::Error> {
    let letter = sqlx::query_as::<_, DeadLetter>(
        "select id, name as projection, build, topic, partition, log_offset, logged_at, key, value, error, kind,
                behind, settled_at, reason, first_seen
         from pulsegate.dead_letters join pulsegate.projection_builds using (build) where id = $1",
    )
    .bind(id)
    .fetch_optional(pool)
    .await?;
    let Some(letter) = letter else { return Ok(None) };
    let waiting = sqlx::query_scalar::<_, i64>(
        "select log_offset from pulsegate.dead_letters
         where build = $1 and topic = $2 and partition = $3 and kind = 'parked' and key = $4 and behind = $5
         order by log_offset",
    )
    .bind(&letter.build)
    .bind(&letter.topic)
    .bind(letter.partition)
    .bind(&letter.key)
    .bind(letter.log_offset)
    .fetch_all(pool)
    .await?;
    let count = i64::try_from(waiting.len()).unwrap_or(i64::MAX);
    Ok(Some(Shown { letter, waiting: count, waiting_offsets: waiting.into_iter().take(20).collect() }))
}

/// The newest letters of a projection, or of all, of every build, at most [`LIST_MAX`].
pub async fn list(pool: &PgPool, projection: Option<&str>, limit: i64) -> Result<Vec<DeadLetter>, sqlx::Error> {
    sqlx::query_as(
        "select id, name as projection, build, topic, partition, log_offset, logged_at, key, value, error, kind,
                behind, settled_at, reason, first_seen
         from pulsegate.dead_letters join pulsegate.projection_builds using (build)
         where $1::text is null or name = $1 order by id desc limit $2",
    )
    .bind(projection)
    .bind(limit.clamp(0, LIST_MAX))
    .fetch_all(pool)
    .await
}
