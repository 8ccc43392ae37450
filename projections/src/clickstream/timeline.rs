//! What happened in one session, or to one person in a while: events in their order, and what playback decided beside.

use chrono::{DateTime, TimeDelta, Utc};
use pulsegate_domain::ids::{AccountId, AnonymousId, SessionId};
use serde::Serialize;
use sqlx::{PgPool, PgTransaction, Postgres, QueryBuilder};
use uuid::Uuid;

use super::ask::begin;
use super::reads::{EventRow, Found, Place};
use crate::live::{AsOf, ReadError};

/// Most events of one page.
pub const TIMELINE_MAX: u32 = 1_000;
/// Most decisions beside one page.
const DECISIONS_MAX: i64 = 500;
/// How far around the events of a page decisions are looked for.
const AROUND: TimeDelta = TimeDelta::minutes(1);

/// Whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Of a session.
    Session(SessionId),
    /// Of an account.
    Account(AccountId),
    /// Of a visitor.
    Visitor(AnonymousId),
}

/// Which events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineQuestion {
    /// Whose.
    pub whose: Whose,
    /// Taken in at this instant or later, by the log's time.
    pub from: Option<DateTime<Utc>>,
    /// Taken in before this instant.
    pub until: Option<DateTime<Utc>>,
    /// Only those behind this place: the next page.
    pub after: Option<Place>,
    /// How many, at most [`TIMELINE_MAX`].
    pub limit: u32,
}

/// A page of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Timeline {
    /// Oldest first.
    pub events: Vec<EventRow>,
    /// What was decided for the account at that time, oldest first; none where the events name no account, or several.
    pub decisions: Vec<Decided>,
    /// Where to go on; `None` on the last page.
    pub next: Option<Place>,
    /// What the events rest on.
    pub as_of: Vec<AsOf>,
}

/// What playback decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Decided {
    /// When, by the log's time.
    pub at: DateTime<Utc>,
    /// What.
    pub decision: String,
    /// For which session.
    pub session_id: Uuid,
    /// Showing what.
    pub title_id: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// The record that it was decided at.
    pub partition: i32,
    /// Its offset.
    #[sqlx(rename = "log_offset")]
    pub offset: i64,
}

/// A page of a timeline.
pub async fn timeline(pool: &PgPool, question: &TimelineQuestion) -> Result<Timeline, ReadError> {
    let Some((mut tx, as_of)) = begin(pool).await? else { return Ok(Timeline::default()) };
    let limit = question.limit.min(TIMELINE_MAX);
    let mut sql = QueryBuilder::<Postgres>::new(
        "select partition, log_offset, logged_at, occurred_at, event_id, name, account_id, anonymous_id, session_id,
                properties
         from events where ",
    );
    match &question.whose {
        Whose::Session(session) => sql.push("session_id = ").push_bind(session.uuid()),
        Whose::Account(account) => sql.push("account_id = ").push_bind(account.as_str().to_owned()),
        Whose::Visitor(visitor) => sql.push("anonymous_id = ").push_bind(visitor.as_str().to_owned()),
    };
    if let Some(from) = question.from {
        sql.push(" and logged_at >= ").push_bind(from);
    }
    if let Some(until) = question.until {
        sql.push(" and logged_at < ").push_bind(until);
    }
    if let Some(Place { logged_ms, partition, offset }) = question.after {
        let at = DateTime::from_timestamp_millis(logged_ms).unwrap_or_default();
        sql.push(" and logged_at >= ").push_bind(at);
        sql.push(" and (logged_at, partition, log_offset) > (").push_bind(at);
        sql.push(", ").push_bind(partition).push(", ").push_bind(offset).push(")");
    }
    sql.push(" order by logged_at, partition, log_offset limit ").push_bind(i64::from(limit) + 1);
    let mut rows: Vec<Found> = sql.build_query_as().fetch_all(&mut *tx).await?;
    let is_last = rows.len() as u64 <= u64::from(limit);
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = rows.last().filter(|_| !is_last).map(Found::place);
    let events = rows.into_iter().map(EventRow::try_from).collect::<Result<Vec<_>, _>>()?;
    let decisions = decisions(&events, &mut tx).await?;
    tx.commit().await?;
    Ok(Timeline { events, decisions, next, as_of })
}

async fn decisions(events: &[EventRow], tx: &mut PgTransaction<'_>) -> Result<Vec<Decided>, sqlx::Error> {
    let mut accounts: Vec<_> = events.iter().filter_map(|event| event.account_id.as_deref()).collect();
    accounts.sort_unstable();
    accounts.dedup();
    let ([account], Some(first), Some(last)) = (accounts.as_slice(), events.first(), events.last()) else {
        return Ok(Vec::new());
    };
    sqlx::query_as(
        "select at, decision, session_id, title_id, reason, partition, log_offset
         from active_sessions.decisions where account_id = $1 and at between $2 and $3
         order by at, log_offset, ordinal limit $4",
    )
    .bind(account)
    .bind(first.logged_at - AROUND)
    .bind(last.logged_at + AROUND)
    .bind(DECISIONS_MAX)
    .fetch_all(&mut **tx)
    .await
}
