//! Reading the live tables of a projection as of one moment, with the offsets that they are as of.

use pulsegate_domain::topic::Topic;
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, PgTransaction, Postgres, Transaction};
use thiserror::Error;

use crate::registry::Registered;

/// Up to where in a partition something is folded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AsOf {
    /// The topic, without the prefix.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset of the last record folded.
    pub offset: i64,
}

impl AsOf {
    /// As of everything before `next_offset`; `None` at a partition's start.
    #[must_use]
    pub fn before(topic: Topic, partition: i32, next_offset: i64) -> Option<Self> {
        (next_offset > 0).then(|| Self { topic: topic.base_name().to_owned(), partition, offset: next_offset - 1 })
    }
}

/// Why something could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The tables can't be read.
    #[error("database: {0}")]
    Database(sqlx::Error),
    /// A statement took longer than it may.
    #[error("it took longer than 25 s; ask for less at once")]
    TooSlow,
    /// The answer would be longer than it may be.
    #[error("{0}")]
    TooLong(&'static str),
    /// The tables are of an older version, which hasn't what is asked for.
    #[error("{0}")]
    Old(&'static str),
    /// A SQL/JSON path that the database can't read, in its words.
    #[error("{0}")]
    Path(String),
}

impl From<sqlx::Error> for ReadError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        // 57014 is also a statement that an operator ended; then too it was asked for too much.
        if code.as_deref() == Some("57014") { Self::TooSlow } else { Self::Database(error) }
    }
}

/// Longest that one statement of a read may take, as the server reads it: an answer that nobody waits for any more must
/// not be worked on.
const STATEMENT_MAX: &str = "25s";

/// Begins a read of the live tables, which are then named without a schema; `None` while there are none.
///
/// Views may be switched at any moment, snapshot or not; so the live tables are read themselves, in one snapshot.
pub(crate) async fn begin(
    pool: &PgPool,
    projection: &Registered,
) -> Result<Option<(Transaction<'static, Postgres>, Vec<AsOf>)>, sqlx::Error> {
    let mut tx = snapshot(pool).await?;
    let live = sqlx::query_scalar::<_, String>(
        "select build from (
           select build, set_config('search_path', build, true), set_config('statement_timeout', $2, true)
           from pulsegate.projection_builds where name = $1 and state = 'live') as live",
    )
    .bind(projection.name)
    .bind(STATEMENT_MAX)
    .fetch_optional(&mut *tx)
    .await?;
    if live.is_none() {
        return Ok(None);
    }
    let as_of = as_of(projection, &mut tx).await?;
    Ok(Some((tx, as_of)))
}

/// Most connections in a row that are met within a transaction that somebody gave up as it began.
const GIVEN_UP_MAX: u32 = 10;

/// A transaction that sees one moment. Who asks and goes away may leave a connection within a transaction that nobody
/// knows of any more; such a one is ended, and another is begun.
async fn snapshot(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut given_up = 0;
    loop {
        let mut tx = pool.begin().await?;
        let begun = sqlx::query("set transaction isolation level repeatable read, read only").execute(&mut *tx).await;
        match begun {
            Ok(_) => return Ok(tx),
            Err(error) if given_up < GIVEN_UP_MAX && is_within_another(&error) => tx.rollback().await?,
            Err(error) => return Err(error),
        }
        given_up += 1;
    }
}

fn is_within_another(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.as_deref() == Some("25001")
}

async fn as_of(projection: &Registered, tx: &mut PgTransaction<'_>) -> Result<Vec<AsOf>, sqlx::Error> {
    let stands = sqlx::query_as::<_, (String, i32, i64)>(
        "select topic, partition, next_offset - 1 from pulsegate.live_offsets
         where name = $1 and next_offset > 0 order by topic, partition",
    )
    .bind(projection.name)
    .fetch_all(&mut **tx)
    .await?;
    Ok(stands.into_iter().map(|(topic, partition, offset)| AsOf { topic, partition, offset }).collect())
}
