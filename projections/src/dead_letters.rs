//! Dead letters: the records that a projection could not fold, with their bytes and the reason.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgPool, PgTransaction};

use crate::registry::Registered;
use crate::runner::{Record, Source};

/// Most letters that one call lists.
pub const LIST_MAX: i64 = 500;

/// Keeps skipped records, in the transaction of the batch that skipped them.
pub(crate) async fn keep_skipped(
    tx: &mut PgTransaction<'_>,
    version: &Registered,
    source: Source,
    skipped: &[(&Record, &str)],
) -> Result<(), sqlx::Error> {
    // One statement a letter: they are rare, and a flood of them is bounded by the batch.
    for (record, error) in skipped {
        tracing::warn!(projection = %version, %source, offset = record.offset, error, "skipped a record");
        sqlx::query(
            "insert into pulsegate.dead_letters
               (projection, version, topic, partition, log_offset, logged_at, key, value, headers, error, kind)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'skipped')",
        )
        .bind(version.name)
        .bind(version.version)
        .bind(source.topic.base_name())
        .bind(source.partition)
        .bind(record.offset)
        .bind(record.timestamp.map(crate::column_time))
        .bind(record.key.as_deref())
        .bind(record.value.as_deref())
        .bind(headers_json(&record.headers))
        // PostgreSQL's text holds no zero byte, and the reason may quote the record.
        .bind(error.replace('\0', "\u{fffd}"))
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
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
    /// Which version of it.
    pub version: i32,
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
    /// `skipped` or `parked`.
    pub kind: String,
    /// When it was met first, by the database's clock.
    pub first_seen: DateTime<Utc>,
}

/// The newest letters of a projection, all versions, at most [`LIST_MAX`].
pub async fn list(pool: &PgPool, projection: &str, limit: i64) -> Result<Vec<DeadLetter>, sqlx::Error> {
    sqlx::query_as(
        "select id, projection, version, topic, partition, log_offset, logged_at, key, value, error, kind, first_seen
         from pulsegate.dead_letters where projection = $1 order by id desc limit $2",
    )
    .bind(projection)
    .bind(limit.clamp(0, LIST_MAX))
    .fetch_all(pool)
    .await
}
