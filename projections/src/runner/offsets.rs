//! How far each partition is folded: the one truth, kept beside the rows in the database.

use std::collections::HashMap;

use pulsegate_domain::time::Timestamp;
use sqlx::{PgConnection, PgPool, PgTransaction};

use super::record::Source;
use crate::builds::Build;

/// Where a build stands in a partition.
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

/// Where `build` stands in a partition; at its start, if it was never there.
pub(crate) async fn position(pool: &PgPool, build: &Build, source: Source) -> Result<Position, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    sqlx::query(
        "insert into pulsegate.projection_offsets (build, topic, partition, next_offset, clock_ms)
         values ($1, $2, $3, $4, $5) on conflict do nothing",
    )
    .bind(build.schema())
    .bind(source.topic.base_name())
    .bind(source.partition)
    .bind(Position::START.next_offset)
    .bind(Position::START.clock.millis())
    .execute(&mut *connection)
    .await?;
    stands_at(&mut connection, build, source).await
}

pub(crate) async fn stands_at(
    connection: &mut PgConnection,
    build: &Build,
    source: Source,
) -> Result<Position, sqlx::Error> {
    let (next_offset, clock) = sqlx::query_as::<_, (i64, i64)>(
        "select next_offset, clock_ms from pulsegate.projection_offsets
         where build = $1 and topic = $2 and partition = $3",
    )
    .bind(build.schema())
    .bind(source.topic.base_name())
    .bind(source.partition)
    .fetch_one(connection)
    .await?;
    Ok(Position { next_offset, clock: Timestamp::from_millis(clock) })
}

/// How moving a partition on went.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Advance {
    /// It moved.
    Moved {
        /// How often others than the fold have changed something there.
        interventions: i64,
    },
    /// Nobody may move it beyond this offset for now.
    HeldAt(i64),
    /// It doesn't stand where it was believed to stand (any more), but here.
    StandsAt(Position),
}

/// Moves a partition from `from` to `to`, the first statement of a batch's transaction. If it doesn't
/// stand at `from` (any more), somebody else has folded these records.
///
/// The row stays locked until the transaction ends, so whoever also believes to own the partition waits
/// here and then sees where it stands. A worker that falls asleep here must not keep others waiting for
/// ever: the database ends its transaction. Nor need its commit wait for the disk: what a crash of the database
/// takes back, it takes back together with the offset, and it is folded again. Behind this statement unqualified names are those of the
/// build's own schema.
pub(crate) async fn advance(
    tx: &mut PgTransaction<'_>,
    build: &Build,
    source: Source,
    from: Position,
    to: Position,
) -> Result<Advance, sqlx::Error> {
    let moved = sqlx::query_scalar::<_, i64>(
        "with settings as (
           select set_config('search_path', $1, true),
                  set_config('idle_in_transaction_session_timeout', '30s', true),
                  set_config('synchronous_commit', 'off', true)
         )
         update pulsegate.projection_offsets set
           next_offset = $5, clock_ms = $6, updated_at = clock_timestamp(),
           rate = pulsegate.smoothed_rate(rate, $5 - $7, extract(epoch from clock_timestamp() - updated_at)::float8)
         from settings
         where build = $2 and topic = $3 and partition = $4 and next_offset = $7
           and (hold_until is null or hold_until < clock_timestamp() or hold_at >= $5)
         returning interventions",
    )
    .bind(build.schema())
    .bind(build.schema())
    .bind(source.topic.base_name())
    .bind(source.partition)
    .bind(to.next_offset)
    .bind(to.clock.millis())
    .bind(from.next_offset)
    .fetch_optional(&mut **tx)
    .await?;
    if let Some(interventions) = moved {
        return Ok(Advance::Moved { interventions });
    }
    let stands = stands_at(tx, build, source).await?;
    if stands.next_offset != from.next_offset {
        return Ok(Advance::StandsAt(stands));
    }
    let held = sqlx::query_scalar::<_, Option<i64>>(
        "select hold_at from pulsegate.projection_offsets
         where build = $1 and topic = $2 and partition = $3 and hold_until >= clock_timestamp()",
    )
    .bind(build.schema())
    .bind(source.topic.base_name())
    .bind(source.partition)
    .fetch_optional(&mut **tx)
    .await?;
    // A hold that ended between the statements is one that is tried again.
    Ok(Advance::HeldAt(held.flatten().unwrap_or(from.next_offset)))
}

/// Moves several partitions on, each from where it is believed to stand, as [`advance`] does one. Returns those that moved,
/// with how often others than the fold have changed something there.
pub(crate) async fn advance_together(
    tx: &mut PgTransaction<'_>,
    build: &Build,
    moves: &[(Source, Position, Position)],
) -> Result<HashMap<Source, i64>, sqlx::Error> {
    let topics: Vec<_> = moves.iter().map(|(source, ..)| source.topic.base_name()).collect();
    let partitions: Vec<_> = moves.iter().map(|(source, ..)| source.partition).collect();
    let begins: Vec<_> = moves.iter().map(|(_, from, _)| from.next_offset).collect();
    let ends: Vec<_> = moves.iter().map(|(.., to)| to.next_offset).collect();
    let clocks: Vec<_> = moves.iter().map(|(.., to)| to.clock.millis()).collect();
    let rows = sqlx::query_as::<_, (i64, i64)>(
        "with settings as (
           select set_config('search_path', $1, true),
                  set_config('idle_in_transaction_session_timeout', '30s', true),
                  set_config('synchronous_commit', 'off', true)
         )
         update pulsegate.projection_offsets as stands set
           next_offset = ends_at, clock_ms = moving.clock_ms, updated_at = clock_timestamp(),
           rate = pulsegate.smoothed_rate(rate, ends_at - begins_at,
                                          extract(epoch from clock_timestamp() - updated_at)::float8)
         from settings, unnest($3::text[], $4::int[], $5::bigint[], $6::bigint[], $7::bigint[]) with ordinality
           as moving (topic, partition, begins_at, ends_at, clock_ms, place)
         where stands.build = $2 and stands.topic = moving.topic and stands.partition = moving.partition
           and stands.next_offset = begins_at
           and (hold_until is null or hold_until < clock_timestamp() or hold_at >= ends_at)
         returning place, interventions",
    )
    .bind(build.schema())
    .bind(build.schema())
    .bind(topics)
    .bind(partitions)
    .bind(begins)
    .bind(ends)
    .bind(clocks)
    .fetch_all(&mut **tx)
    .await?;
    let source_at = |place: i64| usize::try_from(place - 1).ok().and_then(|index| moves.get(index));
    Ok(rows.into_iter().filter_map(|(place, count)| Some((source_at(place)?.0, count))).collect())
}

/// Keeps the newest trouble for whoever asks for the status. Best effort: it may be the database itself
/// that is away.
pub(crate) async fn note_error(pool: &PgPool, build: &Build, error: &str) -> Result<(), sqlx::Error> {
    sqlx::query("update pulsegate.projection_builds set last_error = $2, last_error_at = now() where build = $1")
        .bind(build.schema())
        .bind(error.replace('\0', "\u{fffd}"))
        .execute(pool)
        .await?;
    Ok(())
}
