//! The reads: a whole start for the hot view, one account for a cold check, an account's decisions.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use pulsegate_domain::account::{Account, Decision, SessionState, Takeover};
use pulsegate_domain::ids::{AccountId, SessionId};
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::partition_of;
use serde::de::DeserializeOwned;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection, PgPool};
use uuid::Uuid;

use super::accounts::{read_id, read_state};
use crate::hot_view::Snapshot;
use crate::runner::Position;

/// Most decisions that one call returns.
pub const DECISIONS_MAX: u32 = 500;

/// Every session and every partition's position, as of one moment: what the hot view starts from.
pub async fn load_partitions(pool: &PgPool) -> Result<Snapshot, sqlx::Error> {
    load(pool, None).await
}

/// The same of one partition.
pub async fn load_partition(pool: &PgPool, partition: i32) -> Result<Snapshot, sqlx::Error> {
    load(pool, Some(partition)).await
}

async fn load(pool: &PgPool, only: Option<i32>) -> Result<Snapshot, sqlx::Error> {
    // A connection of its own: one of the pool may still be within a transaction that was given up as it began, and
    // would then see more than one moment.
    let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
    let mut tx = connection.begin_with("begin isolation level repeatable read read only").await?;
    // Views may be switched at any moment, snapshot or not; so the live version's tables are read themselves.
    let live = sqlx::query_scalar::<_, String>(
        "select build from (
           select build, set_config('search_path', build, true)
           from pulsegate.projection_builds where name = 'active_sessions' and state = 'live') as live",
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(live) = live else { return Ok(Snapshot::default()) };
    let mut snapshot = Snapshot::default();
    let mut positions = sqlx::query_as::<_, (i32, i64, i64)>(
        "select partition, next_offset, clock_ms from pulsegate.projection_offsets
         where build = $1 and topic = 'playback' and ($2::int is null or partition = $2) order by partition",
    )
    .bind(live)
    .bind(only)
    .fetch(&mut *tx);
    while let Some((partition, next_offset, clock)) = positions.try_next().await? {
        snapshot.partitions.push((partition, next_offset, Timestamp::from_millis(clock)));
    }
    drop(positions);
    let asked = match only {
        None => sqlx::query_as("select partition, account_id, state from session_states"),
        Some(partition) => {
            sqlx::query_as("select partition, account_id, state from session_states where partition = $1")
                .bind(partition)
        }
    };
    let mut sessions = asked.fetch(&mut *tx);
    while let Some((partition, account, state)) = sessions.try_next().await? {
        let (account, state): (String, String) = (account, state);
        snapshot.sessions.push((partition, read_id(&account)?, read_state(&state)?));
    }
    drop(sessions);
    tx.commit().await?;
    connection.close().await?;
    Ok(snapshot)
}

/// An account as the tables know it.
#[derive(Clone, Debug)]
pub struct KnownAccount {
    /// What is remembered of it.
    pub account: Account,
    /// Its partition; `None` before any was taken up.
    pub partition: Option<i32>,
    /// Up to where that partition is folded.
    pub position: Position,
}

/// These accounts, for answers while the hot view doesn't fold their partitions. Each is as of its partition's position.
pub async fn accounts(pool: &PgPool, ids: &[AccountId]) -> Result<HashMap<AccountId, KnownAccount>, sqlx::Error> {
    let names: Vec<_> = ids.iter().map(AccountId::as_str).collect();
    // One statement sees one state of the database.
    let rows = sqlx::query_as::<_, (i32, i64, i64, Option<String>, Option<String>)>(
        "with states as (select account_id, partition, state from active_sessions.sessions where account_id = any($1))
         select partition, next_offset, clock_ms, account_id, state
         from pulsegate.live_offsets left join states using (partition)
         where name = 'active_sessions' and topic = 'playback'",
    )
    .bind(names)
    .fetch_all(pool)
    .await?;
    let mut positions = HashMap::new();
    let mut states: HashMap<AccountId, Vec<SessionState>> = HashMap::new();
    for (partition, next_offset, clock, account, state) in rows {
        positions.insert(partition, Position { next_offset, clock: Timestamp::from_millis(clock) });
        if let (Some(account), Some(state)) = (account, state) {
            states.entry(read_id(&account)?).or_default().push(read_state(&state)?);
        }
    }
    // There is a position for each partition of the topic.
    let Some(partitions) = i32::try_from(positions.len()).ok().filter(|count| *count > 0) else {
        return Ok(HashMap::new());
    };
    let known = ids.iter().filter_map(|id| {
        let partition = partition_of(id.as_str().as_bytes(), partitions);
        let position = *positions.get(&partition)?;
        let account = Account::from_sessions(states.remove(id).unwrap_or_default());
        Some((id.clone(), KnownAccount { account, partition: Some(partition), position }))
    });
    Ok(known.collect())
}

/// One account, for an answer while the hot view doesn't fold its partition.
pub async fn account(pool: &PgPool, id: &AccountId) -> Result<KnownAccount, sqlx::Error> {
    let nothing = KnownAccount { account: Account::default(), partition: None, position: Position::START };
    Ok(accounts(pool, std::slice::from_ref(id)).await?.remove(id).unwrap_or(nothing))
}

/// Where a page of decisions ended: the next one holds what stands before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The offset of the last decision shown.
    pub offset: i64,
    /// Its number among those of its record.
    pub ordinal: i32,
}

/// A decision, with the rest of its place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecisionRow {
    /// What was decided.
    #[serde(flatten)]
    pub decision: Decision,
    /// The account's partition.
    pub partition: i32,
    /// Its number among the decisions of its record, from 0.
    pub ordinal: i32,
}

#[derive(sqlx::FromRow)]
struct Row {
    partition: i32,
    log_offset: i64,
    ordinal: i32,
    decision: String,
    session_id: Uuid,
    device_id: Option<String>,
    device_class: Option<String>,
    title_id: Option<String>,
    reason: Option<String>,
    policy: Option<String>,
    rule: Option<String>,
    max: Option<i32>,
    counted: Vec<Uuid>,
    by_session: Option<Uuid>,
    by_device: Option<String>,
    at: DateTime<Utc>,
}

/// An account's decisions, newest first, at most [`DECISIONS_MAX`].
pub async fn decisions(
    pool: &PgPool,
    id: &AccountId,
    limit: u32,
    before: Option<Before>,
) -> Result<Vec<DecisionRow>, sqlx::Error> {
    let before = before.unwrap_or(Before { offset: i64::MAX, ordinal: 0 });
    let rows = sqlx::query_as::<_, Row>(
        "select partition, log_offset, ordinal, decision, session_id, device_id, device_class, title_id, reason,
                policy, rule, max, counted, by_session, by_device, at
         from active_sessions.decisions
         where account_id = $1 and (log_offset, ordinal) < ($2, $3)
         order by log_offset desc, ordinal desc limit $4",
    )
    .bind(id.as_str())
    .bind(before.offset)
    .bind(before.ordinal)
    .bind(i64::from(limit.min(DECISIONS_MAX)))
    .fetch_all(pool)
    .await?;
    rows.into_iter().map(DecisionRow::try_from).collect()
}

impl TryFrom<Row> for DecisionRow {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let by = match (row.by_session, row.by_device) {
            (Some(session), Some(device)) => {
                Some(Takeover { session_id: session_id(session)?, device_id: word(&device)? })
            }
            (None, _) | (_, None) => None,
        };
        let decision = Decision {
            decision: word(&row.decision)?,
            session_id: session_id(row.session_id)?,
            device_id: row.device_id.as_deref().map(word).transpose()?,
            device_class: row.device_class.as_deref().map(word).transpose()?,
            title_id: row.title_id.as_deref().map(word).transpose()?,
            reason: row.reason.as_deref().map(word).transpose()?,
            policy: row.policy.as_deref().map(word).transpose()?,
            rule: row.rule.as_deref().map(word).transpose()?,
            max: row.max.and_then(|max| u32::try_from(max).ok()),
            counted: row.counted.into_iter().map(session_id).collect::<Result<_, _>>()?,
            by,
            offset: row.log_offset,
            at: row.at.into(),
        };
        Ok(Self { decision, partition: row.partition, ordinal: row.ordinal })
    }
}

fn session_id(uuid: Uuid) -> Result<SessionId, sqlx::Error> {
    SessionId::new(uuid).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// An id or a word of a closed vocabulary, as it stands in a text column.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, sqlx::Error> {
    T::deserialize(StrDeserializer::<ValueError>::new(text)).map_err(|error| sqlx::Error::Decode(error.into()))
}
