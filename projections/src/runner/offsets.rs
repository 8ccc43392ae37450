//! How far each partition is folded: the one truth, kept beside the rows in the database.

use pulsegate_domain::time::Timestamp;
use sqlx::{PgConnection, PgPool, PgTransaction};

use super::record::Source;
use crate::registry::Registered;

/// Where a version stands in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Every record before this offset is folded.
    pub next_offset: i64,
    /// The largest stamp of any of them; [`Timestamp::MIN`] before the first.
    pub clock: Timestamp,
}

impl Position {
    /// Before the first record.
    pub const START: Self = Self { next_offset: 0, clock: Timestamp::MIN };
}

/// Where `version` stands in a partition; at its start, if it was never there.
pub(super) async fn position(pool: &PgPool, version: &Registered, source: Source) -> Result<Position, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    sqlx::query(
        "insert into pulsegate.projection_offsets (name, version, topic, partition, next_offset, clock_ms)
         values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
    )
    .bind(version.name)
    .bind(version.version)
    .bind(source.topic.base_name())
    .bind(source.partition)
    .bind(Position::START.next_offset)
    .bind(Position::START.clock.millis())
    .execute(&mut *connection)
    .await?;
    stands_at(&mut connection, version, source).await
}

pub(super) async fn stands_at(
    connection: &mut PgConnection,
    version: &Registered,
    source: Source,
) -> Result<Position, sqlx::Error> {
    let (next_offset, clock) = sqlx::query_as::<_, (i64, i64)>(
        "select next_offset, clock_ms from pulsegate.projection_offsets
         where name = $1 and version = $2 and topic = $3 and partition = $4",
    )
    .bind(version.name)
    .bind(version.version)
    .bind(source.topic.base_name())
    .bind(source.partition)
    .fetch_one(connection)
    .await?;
    Ok(Position { next_offset, clock: Timestamp::from_millis(clock) })
}

/// Moves a partition from `from` to `to`, the first statement of a batch's transaction; `false` if it
/// doesn't stand at `from` (any more): then somebody else has folded these records.
///
/// The row stays locked until the transaction ends, so whoever also believes to own the partition waits
/// here and then sees where it stands. A worker that falls asleep here must not keep others waiting for
/// ever: the database ends its transaction. Behind this statement unqualified names are those of the
/// version's own schema.
pub(super) async fn advance(
    tx: &mut PgTransaction<'_>,
    version: &Registered,
    source: Source,
    from: Position,
    to: Position,
) -> Result<bool, sqlx::Error> {
    let moved = sqlx::query(
        "with settings as (
           select set_config('search_path', $1, true),
                  set_config('idle_in_transaction_session_timeout', '30s', true)
         )
         update pulsegate.projection_offsets set next_offset = $6, clock_ms = $7, updated_at = now()
         from settings
         where name = $2 and version = $3 and topic = $4 and partition = $5 and next_offset = $8",
    )
    .bind(version.schema())
    .bind(version.name)
    .bind(version.version)
    .bind(source.topic.base_name())
    .bind(source.partition)
    .bind(to.next_offset)
    .bind(to.clock.millis())
    .bind(from.next_offset)
    .execute(&mut **tx)
    .await?;
    Ok(moved.rows_affected() == 1)
}

/// Keeps the newest trouble for whoever asks for the status. Best effort: it may be the database itself
/// that is away.
pub(super) async fn note_error(pool: &PgPool, version: &Registered, error: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update pulsegate.projection_versions set last_error = $3, last_error_at = now()
         where name = $1 and version = $2",
    )
    .bind(version.name)
    .bind(version.version)
    .bind(error)
    .execute(pool)
    .await?;
    Ok(())
}
