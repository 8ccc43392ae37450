//! The report of concurrency: how many watched at once, who was told no and why, and how long they waited.
//!
//! A read over two read models: `licensing` knows when somebody watched, `active_sessions` what was decided.

mod packed;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use chrono::{DateTime, Utc};
use pulsegate_domain::ids::{DeviceClass, Territory, TitleId};
use serde::Serialize;
use sqlx::{PgPool, PgTransaction};

use crate::clickstream::Resolution;
use crate::csv;
use crate::licensing::REGISTERED;
use crate::live::{self, AsOf, ReadError};
use crate::period::Period;

/// Most rows of streams.
const ROWS_MAX: usize = 100_000;
/// Most titles, rules and accounts that are told, those with the most refusals first.
const TOLD_MAX: i64 = 100;
/// An interval stands by the log's time, its fact by the day on which it was watched, which may be so much earlier.
const LATE_DAYS: i32 = 8;
const DAY_MS: i64 = 86_400_000;

/// By what streams are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// Not at all.
    #[default]
    Everything,
    /// By class of device.
    DeviceClass,
    /// By title.
    Title,
    /// By territory.
    Territory,
}

impl Per {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::DeviceClass => "device_class",
            Self::Title => "title",
            Self::Territory => "territory",
        }
    }
}

impl FromStr for Per {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Everything, Self::DeviceClass, Self::Title, Self::Territory];
        all.into_iter()
            .find(|one| one.as_str() == text)
            .ok_or("must be one of everything, device_class, title, territory")
    }
}

/// Which concurrency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Which days, by the log's time.
    pub period: Period,
    /// How finely.
    pub by: Resolution,
    /// Apart by what.
    pub per: Per,
    /// Only streams of this title.
    pub title: Option<TitleId>,
    /// Only streams in this territory.
    pub territory: Option<Territory>,
    /// Only streams on such devices.
    pub device_class: Option<DeviceClass>,
    /// Only so many of what they are apart by: those with the highest peaks.
    pub top: Option<u32>,
}

impl Question {
    /// Of everything in a period.
    #[must_use]
    pub const fn of(period: Period, by: Resolution, per: Per) -> Self {
        Self { period, by, per, title: None, territory: None, device_class: None, top: None }
    }
}

/// How many watched at once, and who could not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Concurrency {
    /// The period, as it was asked for.
    pub period: String,
    /// How finely time is told.
    pub by: Resolution,
    /// Apart by what.
    pub per: Per,
    /// In the order of what they are of and of time; a time in which nobody watched is left out.
    pub streams: Vec<Streams>,
    /// Who was told no.
    pub blocked: Blocked,
    /// The accounts that were at their limit most often.
    pub accounts: Vec<AtLimit>,
    /// What the titles above are called, where that is known: by their ids.
    pub titles: BTreeMap<String, String>,
    /// What it rests on.
    pub as_of: Vec<AsOf>,
}

impl Concurrency {
    /// Says what its titles are called, as `name_of` knows it.
    pub fn name_titles(&mut self, name_of: impl Fn(&str) -> Option<String>) {
        let apart = self.streams.iter().filter(|_| self.per == Per::Title).map(|streams| &streams.of);
        let refused = self.blocked.by_title.iter().map(|title| &title.of);
        let ids: BTreeSet<_> = apart.chain(refused).collect();
        self.titles = ids.into_iter().filter_map(|id| Some((id.clone(), name_of(id)?))).collect();
    }
}

/// The most streams at one instant of a minute, an hour or a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Streams {
    /// Of which class of device, title or territory; empty: of all.
    pub of: String,
    /// When that begins.
    pub at: DateTime<Utc>,
    /// How many.
    pub peak: i64,
}

/// Who was told no.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Blocked {
    /// How often.
    pub attempts: i64,
    /// How many accounts.
    pub accounts: i64,
    /// How many sessions.
    pub sessions: i64,
    /// Of these, how many got a slot later.
    pub let_in: i64,
    /// How long half of those waited at most, in milliseconds.
    pub waited_ms_median: Option<f64>,
    /// How long 95 of 100 of those waited at most, in milliseconds.
    pub waited_ms_p95: Option<f64>,
    /// By which rule, the most frequent first.
    pub by_rule: Vec<ByRule>,
    /// On what.
    pub by_device_class: Vec<ByWhat>,
    /// The titles that were asked for most often in vain.
    pub by_title: Vec<ByWhat>,
}

/// Refusals by a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct ByRule {
    /// Of which version of which policy.
    pub policy: Option<String>,
    /// Its scope.
    pub rule: Option<String>,
    /// Its limit.
    pub max: Option<i32>,
    /// How many refusals.
    pub attempts: i64,
}

/// Refusals of something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct ByWhat {
    /// Of what.
    pub of: String,
    /// How many.
    pub attempts: i64,
}

/// An account at its limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct AtLimit {
    /// Which.
    pub account_id: String,
    /// How often it was told no.
    pub refused: i64,
    /// How often it took the last slot that there was.
    pub took_the_last: i64,
}

/// Reads the report.
pub async fn concurrency(pool: &PgPool, question: &Question) -> Result<Concurrency, ReadError> {
    let mut report = Concurrency {
        period: question.period.to_string(),
        by: question.by,
        per: question.per,
        streams: Vec::new(),
        blocked: Blocked::default(),
        accounts: Vec::new(),
        titles: BTreeMap::new(),
        as_of: Vec::new(),
    };
    let Some((mut tx, as_of)) = live::begin(pool, &REGISTERED).await? else { return Ok(report) };
    report.as_of = as_of;
    report.streams = streams(question, &mut tx).await?;
    report.blocked = blocked(&question.period, &mut tx).await?;
    report.accounts = accounts(&question.period, &mut tx).await?;
    tx.commit().await?;
    Ok(report)
}

#[derive(sqlx::FromRow)]
struct Level {
    of: String,
    bucket: i64,
    peak: i64,
    last: i64,
}

const fn bucket_ms(by: Resolution) -> i64 {
    match by {
        Resolution::Minute => 60_000,
        Resolution::Hour => 3_600_000,
        Resolution::Day => DAY_MS,
    }
}

/// The first instant of a period and the first one after it, in milliseconds since the Unix epoch.
fn instants(period: &Period) -> (i64, i64) {
    let begin = |day: chrono::NaiveDate| day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis();
    (begin(period.first), begin(period.last).saturating_add(DAY_MS))
}

async fn streams(question: &Question, tx: &mut PgTransaction<'_>) -> Result<Vec<Streams>, ReadError> {
    // What ends with a bucket ends in it: intervals are half open.
    const LEVELS: &str = "
        with pieces as (
          select case $6 when 'device_class' then device_class when 'title' then title_id
                         when 'territory' then territory else '' end as of,
                 unnest(intervals * int8multirange(int8range($3, $4))) as piece
          from facts where day between $1::date - $5::int and $2
            and ($8::text is null or title_id = $8) and ($9::text is null or territory = $9)
            and ($10::text is null or device_class = $10)),
        edges as (
          select of, edge.at, edge.step, (edge.at - case when edge.step < 0 then 1 else 0 end) / $7 as bucket
          from pieces, lateral (values (lower(piece), 1), (upper(piece), -1)) as edge (at, step)),
        levels as (
          select of, bucket, sum(step) over running as level, row_number() over running as place
          from edges window running as (partition by of order by at, step rows unbounded preceding)),
        buckets as (
          select of, bucket, max(level) as peak, (array_agg(level order by place desc))[1] as last
          from levels group by of, bucket),
        highest as (
          select of from buckets group by of order by max(peak) desc, of collate \"C\" limit $11)
        select of, bucket, peak, last from buckets where of in (select of from highest)
        order by of collate \"C\", bucket";
    if let Some(levels) = packed::levels(question, tx).await? {
        return filled(&levels, bucket_ms(question.by));
    }
    let (period, (from, until)) = (&question.period, instants(&question.period));
    let levels = sqlx::query_as::<_, Level>(LEVELS)
        .bind(period.first)
        .bind(period.last)
        .bind(from)
        .bind(until)
        .bind(LATE_DAYS)
        .bind(question.per.as_str())
        .bind(bucket_ms(question.by))
        .bind(question.title.as_ref().map(|title| title.as_str().to_owned()))
        .bind(question.territory.map(|territory| territory.as_str().to_owned()))
        .bind(question.device_class.map(DeviceClass::as_str))
        .bind(question.top.map(i64::from))
        .fetch_all(&mut **tx)
        .await?;
    filled(&levels, bucket_ms(question.by))
}

/// Who watches on through a bucket without beginning or ending in it, watches in it all the same.
fn filled(levels: &[Level], bucket_ms: i64) -> Result<Vec<Streams>, ReadError> {
    let mut streams: Vec<Streams> = Vec::new();
    let mut push = |of: &str, bucket: i64, peak: i64| {
        if peak > 0 {
            let at = DateTime::from_timestamp_millis(bucket.saturating_mul(bucket_ms)).unwrap_or_default();
            streams.push(Streams { of: of.to_owned(), at, peak });
        }
        if streams.len() > ROWS_MAX {
            return Err(ReadError::TooLong("it has more than 100 000 rows; ask for less time, or less finely"));
        }
        Ok(())
    };
    let mut before: Option<&Level> = None;
    for level in levels {
        let carried = before.filter(|before| before.of == level.of);
        if let Some(before) = carried.filter(|before| before.last > 0) {
            for bucket in before.bucket + 1..level.bucket {
                push(&level.of, bucket, before.last)?;
            }
        }
        push(&level.of, level.bucket, level.peak.max(carried.map_or(0, |before| before.last)))?;
        before = Some(level);
    }
    Ok(streams)
}

#[derive(sqlx::FromRow)]
struct Waited {
    attempts: i64,
    accounts: i64,
    sessions: i64,
    let_in: i64,
    median: Option<f64>,
    p95: Option<f64>,
}

async fn blocked(period: &Period, tx: &mut PgTransaction<'_>) -> Result<Blocked, sqlx::Error> {
    let waited = sqlx::query_as::<_, Waited>(
        "with refused as (
           select account_id, session_id, count(*) as attempts, min(at) as at, min(log_offset) as log_offset
           from active_sessions.decisions
           where decision = 'refuse' and at >= $1::date::timestamp at time zone 'UTC'
             and at < ($2::date + 1)::timestamp at time zone 'UTC'
           group by account_id, session_id),
         waited as (
           select refused.*, extract(epoch from granted.at - refused.at) * 1000 as waited_ms
           from refused left join lateral (
             select min(later.at) as at from active_sessions.decisions later
             where later.account_id = refused.account_id and later.log_offset > refused.log_offset
               and later.session_id = refused.session_id and later.decision = 'grant') as granted on true)
         select coalesce(sum(attempts), 0)::bigint as attempts, count(distinct account_id) as accounts,
                count(*) as sessions, count(waited_ms) as let_in,
                percentile_cont(0.5) within group (order by waited_ms::float8) as median,
                percentile_cont(0.95) within group (order by waited_ms::float8) as p95
         from waited",
    )
    .bind(period.first)
    .bind(period.last)
    .fetch_one(&mut **tx)
    .await?;
    let by_rule = sqlx::query_as(
        "select policy, rule, max, count(*) as attempts from active_sessions.decisions
         where decision = 'refuse' and at >= $1::date::timestamp at time zone 'UTC'
           and at < ($2::date + 1)::timestamp at time zone 'UTC'
         group by policy, rule, max order by attempts desc, policy, rule, max limit $3",
    )
    .bind(period.first)
    .bind(period.last)
    .bind(TOLD_MAX)
    .fetch_all(&mut **tx)
    .await?;
    Ok(Blocked {
        attempts: waited.attempts,
        accounts: waited.accounts,
        sessions: waited.sessions,
        let_in: waited.let_in,
        waited_ms_median: waited.median,
        waited_ms_p95: waited.p95,
        by_rule,
        by_device_class: by_what("device_class", period, tx).await?,
        by_title: by_what("title", period, tx).await?,
    })
}

async fn by_what(what: &str, period: &Period, tx: &mut PgTransaction<'_>) -> Result<Vec<ByWhat>, sqlx::Error> {
    sqlx::query_as(
        "select case $3 when 'title' then coalesce(title_id, '') else coalesce(device_class, 'other') end as of,
                count(*) as attempts
         from active_sessions.decisions
         where decision = 'refuse' and at >= $1::date::timestamp at time zone 'UTC'
           and at < ($2::date + 1)::timestamp at time zone 'UTC'
         group by 1 order by attempts desc, 1 limit $4",
    )
    .bind(period.first)
    .bind(period.last)
    .bind(what.to_owned())
    .bind(TOLD_MAX)
    .fetch_all(&mut **tx)
    .await
}

async fn accounts(period: &Period, tx: &mut PgTransaction<'_>) -> Result<Vec<AtLimit>, sqlx::Error> {
    sqlx::query_as(
        "select account_id, refused, took_the_last from (
           select account_id, count(*) filter (where decision = 'refuse') as refused,
                  count(*) filter (where decision = 'grant' and cardinality(counted) + 1 >= max) as took_the_last
           from active_sessions.decisions
           where decision <> 'end' and at >= $1::date::timestamp at time zone 'UTC'
             and at < ($2::date + 1)::timestamp at time zone 'UTC'
           group by account_id) as accounts
         where refused > 0 or took_the_last > 0
         order by refused desc, took_the_last desc, account_id limit $3",
    )
    .bind(period.first)
    .bind(period.last)
    .bind(TOLD_MAX)
    .fetch_all(&mut **tx)
    .await
}

impl Concurrency {
    /// The streams as comma-separated values, with a line of names first.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut text = String::new();
        csv::line(&mut text, ["period", "of", "at", "peak"]);
        for row in &self.streams {
            let at = row.at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            csv::line(&mut text, [self.period.as_str(), &row.of, &at, &row.peak.to_string()]);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_watches_through_a_bucket_watches_in_it() {
        let level = |of: &str, bucket, peak, last| Level { of: of.to_owned(), bucket, peak, last };
        let levels = [level("a", 0, 2, 1), level("a", 3, 0, 0), level("b", 2, 1, 0), level("b", 9, 1, 0)];
        let streams = filled(&levels, 60_000).unwrap();
        let told: Vec<_> = streams.iter().map(|one| (one.of.as_str(), one.at.timestamp() / 60, one.peak)).collect();
        assert_eq!(told, [("a", 0, 2), ("a", 1, 1), ("a", 2, 1), ("a", 3, 1), ("b", 2, 1), ("b", 9, 1)]);
    }
}
