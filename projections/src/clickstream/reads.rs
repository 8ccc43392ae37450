//! The reads: events by who, what and when, and counts by time and name.

use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use pulsegate_domain::ids::{AccountId, AnonymousId, SessionId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::PgPool;
use thiserror::Error;
use uuid::Uuid;

use super::REGISTERED;
use crate::csv;
use crate::live::{self, AsOf, ReadError};
use crate::period::Period;

/// Most events of one page.
pub const EVENTS_MAX: u32 = 500;
/// Most events that are looked into for one page of those that a JSON path matches: a path is not indexed, so this is
/// what bounds its time. The page says where to go on.
pub const EXAMINED_MAX: u32 = 20_000;
/// Most rows of counts that one report has.
pub const COUNTS_MAX: u32 = 100_000;

/// Which events; each `None` is any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventsQuestion {
    /// Taken in at this instant or later, by the log's time.
    pub from: Option<DateTime<Utc>>,
    /// Taken in before this instant.
    pub until: Option<DateTime<Utc>>,
    /// Of this name.
    pub name: Option<String>,
    /// Of this account.
    pub account_id: Option<AccountId>,
    /// Of this visitor.
    pub anonymous_id: Option<AnonymousId>,
    /// Of this session.
    pub session_id: Option<SessionId>,
    /// Whose properties this SQL/JSON path finds something in, such as `$.price ? (@ > 10)`.
    pub path: Option<String>,
    /// Only those before this place: the next page.
    pub before: Option<Place>,
    /// How many, at most [`EVENTS_MAX`].
    pub limit: u32,
}

/// Where an event stands in the order of pages, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The log's time there, in milliseconds since the Unix epoch.
    pub logged_ms: i64,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

/// An event.
#[derive(Clone, Debug, Serialize)]
pub struct EventRow {
    /// Its id as its writer gave it.
    pub event_id: String,
    /// What was done.
    pub name: String,
    /// When the log took it in.
    pub logged_at: DateTime<Utc>,
    /// When its sender says that it happened.
    pub occurred_at: Option<DateTime<Utc>>,
    /// By which account.
    pub account_id: Option<String>,
    /// By which visitor.
    pub anonymous_id: Option<String>,
    /// In which session.
    pub session_id: Option<Uuid>,
    /// As they came.
    pub properties: Box<RawValue>,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

impl EventRow {
    /// The names of a line's fields.
    pub const CSV_HEAD: &str =
        "logged_at,occurred_at,name,account_id,anonymous_id,session_id,event_id,properties,partition,offset\r\n";

    /// Adds itself as a line of comma-separated values.
    pub fn push_csv(&self, text: &mut String) {
        let instant = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let session = self.session_id.map(|id| id.to_string());
        csv::line(
            text,
            [
                instant(self.logged_at).as_str(),
                self.occurred_at.map(instant).as_deref().unwrap_or_default(),
                &self.name,
                self.account_id.as_deref().unwrap_or_default(),
                self.anonymous_id.as_deref().unwrap_or_default(),
                session.as_deref().unwrap_or_default(),
                &self.event_id,
                self.properties.get(),
                &self.partition.to_string(),
                &self.offset.to_string(),
            ],
        );
    }
}

/// A page of events.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Page {
    /// Newest first.
    pub events: Vec<EventRow>,
    /// Where to go on; `None` on the last page. With a path a page may be short, or empty, and not the last.
    pub next: Option<Place>,
}

/// An event as its row says it.
#[derive(sqlx::FromRow)]
pub(super) struct Found {
    logged_at: DateTime<Utc>,
    partition: i32,
    log_offset: i64,
    occurred_at: Option<DateTime<Utc>>,
    event_id: String,
    name: String,
    account_id: Option<String>,
    anonymous_id: Option<String>,
    session_id: Option<Uuid>,
    properties: String,
}

impl Found {
    /// Where it stands.
    pub(super) const fn place(&self) -> Place {
        Place { logged_ms: self.logged_at.timestamp_millis(), partition: self.partition, offset: self.log_offset }
    }
}

#[derive(sqlx::FromRow)]
struct Judged {
    #[sqlx(flatten)]
    found: Found,
    /// Whether the path found something.
    is_hit: bool,
    /// Its number among those that were looked into, and how many these were.
    number: i64,
    examined: i64,
}

/// A page of events, newest first.
pub async fn events(pool: &PgPool, question: &EventsQuestion) -> Result<Page, ReadError> {
    let Some((mut tx, _)) = live::begin(pool, &REGISTERED).await? else { return Ok(Page::default()) };
    if let Some(path) = &question.path {
        let read = sqlx::query("select $1::text::jsonpath::text").bind(path).execute(&mut *tx).await;
        read.map_err(unreadable_path)?;
    }
    let limit = question.limit.min(EVENTS_MAX);
    let examined_max = if question.path.is_some() { EXAMINED_MAX } else { limit + 1 };
    // The last one looked into comes along, hit or not: it says where to go on.
    let rows = sqlx::query_as::<_, Judged>(
        "with examined as materialized (
           select * from events
           where ($1::timestamptz is null or logged_at >= $1) and ($2::timestamptz is null or logged_at < $2)
             and ($3::text is null or name = $3) and ($4::text is null or account_id = $4)
             and ($5::text is null or anonymous_id = $5) and ($6::uuid is null or session_id = $6)
             and ($8::timestamptz is null or logged_at <= $8)
             and ($8::timestamptz is null or (logged_at, partition, log_offset) < ($8, $9, $10))
           order by logged_at desc, partition desc, log_offset desc limit $11),
         numbered as (
           select *, row_number() over (order by logged_at desc, partition desc, log_offset desc) as number,
                  count(*) over () as examined
           from examined)
         select * from (
           select numbered.*,
                  $7::text is null
                    or coalesce(jsonb_path_exists(properties_of(properties), $7::jsonpath, '{}', true), false) as is_hit
           from numbered) as judged
         where is_hit or number = examined
         order by number limit $12",
    )
    .bind(question.from)
    .bind(question.until)
    .bind(&question.name)
    .bind(question.account_id.as_ref().map(AccountId::as_str))
    .bind(question.anonymous_id.as_ref().map(AnonymousId::as_str))
    .bind(question.session_id.map(SessionId::uuid))
    .bind(&question.path)
    .bind(question.before.and_then(|place| DateTime::from_timestamp_millis(place.logged_ms)))
    .bind(question.before.map(|place| place.partition))
    .bind(question.before.map(|place| place.offset))
    .bind(i64::from(examined_max))
    .bind(i64::from(limit) + 1)
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    page(rows, limit, i64::from(examined_max))
}

fn page(rows: Vec<Judged>, limit: u32, examined_max: i64) -> Result<Page, ReadError> {
    let mut page = Page::default();
    let mut last = None;
    for row in rows {
        if page.events.len() as u64 >= u64::from(limit) {
            // There is more.
            page.next = last;
            return Ok(page);
        }
        last = Some(row.found.place());
        // Behind the last one that was looked into there may be more.
        if row.number == row.examined && row.examined == examined_max {
            page.next = last;
        }
        if row.is_hit {
            page.events.push(row.found.try_into()?);
        }
    }
    Ok(page)
}

impl TryFrom<Found> for EventRow {
    type Error = sqlx::Error;

    fn try_from(row: Found) -> Result<Self, sqlx::Error> {
        Ok(Self {
            event_id: row.event_id,
            name: row.name,
            logged_at: row.logged_at,
            occurred_at: row.occurred_at,
            account_id: row.account_id,
            anonymous_id: row.anonymous_id,
            session_id: row.session_id,
            properties: RawValue::from_string(row.properties).map_err(|error| sqlx::Error::Decode(error.into()))?,
            partition: row.partition,
            offset: row.log_offset,
        })
    }
}

/// What the database says of a path that it can't read.
fn unreadable_path(error: sqlx::Error) -> ReadError {
    match error.as_database_error() {
        Some(database) if database.code().is_some_and(|code| code.starts_with("42") || code.starts_with("22")) => {
            ReadError::Path(database.message().to_owned())
        }
        _ => error.into(),
    }
}

/// How finely time is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// Minutes.
    Minute,
    /// Hours.
    Hour,
    /// Days, UTC.
    Day,
}

/// Not a resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be one of minute, hour, day")]
pub struct InvalidResolution;

impl Resolution {
    /// What suits a period: hours of a day, days of a month.
    #[must_use]
    pub fn of(period: &Period) -> Self {
        if period.first == period.last { Self::Hour } else { Self::Day }
    }

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

impl FromStr for Resolution {
    type Err = InvalidResolution;

    fn from_str(text: &str) -> Result<Self, InvalidResolution> {
        [Self::Minute, Self::Hour, Self::Day].into_iter().find(|one| one.as_str() == text).ok_or(InvalidResolution)
    }
}

/// Which counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountsQuestion {
    /// Which days, by the log's time.
    pub period: Period,
    /// How finely.
    pub by: Resolution,
    /// Of this name only.
    pub name: Option<String>,
}

/// How many events of each name the log took in, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// The period, as it was asked for.
    pub period: String,
    /// How finely time is counted.
    pub by: Resolution,
    /// In the order of time and name.
    pub rows: Vec<CountRow>,
    /// The sum over all rows.
    pub events: i64,
    /// What it rests on.
    pub as_of: Vec<AsOf>,
}

/// How many events of a name the log took in within a minute, an hour or a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct CountRow {
    /// When that begins.
    pub at: DateTime<Utc>,
    /// Of which name.
    pub name: String,
    /// How many.
    pub events: i64,
}

impl Counts {
    /// The rows as comma-separated values, with a line of names first.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut text = String::new();
        csv::line(&mut text, ["at", "name", "events"]);
        for row in &self.rows {
            let at = row.at.to_rfc3339_opts(SecondsFormat::Secs, true);
            csv::line(&mut text, [&at, row.name.as_str(), &row.events.to_string()]);
        }
        text
    }
}

/// Counts by time and name.
pub async fn counts(pool: &PgPool, question: &CountsQuestion) -> Result<Counts, ReadError> {
    let mut counts =
        Counts { period: question.period.to_string(), by: question.by, rows: Vec::new(), events: 0, as_of: Vec::new() };
    let Some((mut tx, as_of)) = live::begin(pool, &REGISTERED).await? else { return Ok(counts) };
    counts.as_of = as_of;
    counts.rows = sqlx::query_as::<_, CountRow>(
        "select date_trunc($1, minute, 'UTC') as at, name, sum(events)::bigint as events
         from counts
         where minute >= $2::date::timestamp at time zone 'UTC'
           and minute < ($3::date + 1)::timestamp at time zone 'UTC'
           and ($4::text is null or name = $4)
         group by 1, name order by 1, name collate \"C\" limit $5",
    )
    .bind(question.by.as_str())
    .bind(question.period.first)
    .bind(question.period.last)
    .bind(&question.name)
    .bind(i64::from(COUNTS_MAX) + 1)
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    if counts.rows.len() as u64 > u64::from(COUNTS_MAX) {
        return Err(ReadError::TooLong("it has more than 100 000 rows; ask for a name, a day or a coarser time"));
    }
    counts.events = counts.rows.iter().map(|row| row.events).sum();
    Ok(counts)
}
