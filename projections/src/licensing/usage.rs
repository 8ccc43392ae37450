//! What was watched, by day, title, territory or class of device: the figures that a statement has, whoever is owed.

mod packed;

use std::collections::HashMap;
use std::str::FromStr;

use pulsegate_domain::ids::{DeviceClass, Territory, TitleId};
use pulsegate_domain::topic::Topic;
use serde::Serialize;
use sqlx::{PgPool, PgTransaction};

use super::REGISTERED;
use crate::csv;
use crate::live::{self, AsOf, ReadError};
use crate::period::Period;

/// By what it is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageBy {
    /// By UTC day, in their order.
    Day,
    /// By title, the most first.
    Title,
    /// By territory, the most first.
    Territory,
    /// By class of device, the most first.
    DeviceClass,
}

impl UsageBy {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Title => "title",
            Self::Territory => "territory",
            Self::DeviceClass => "device_class",
        }
    }
}

impl FromStr for UsageBy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Day, Self::Title, Self::Territory, Self::DeviceClass];
        all.into_iter().find(|one| one.as_str() == text).ok_or("must be one of day, title, territory, device_class")
    }
}

/// Which figure says what is most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MostBy {
    /// Watched time.
    #[default]
    Watched,
    /// Plays.
    Plays,
    /// Accounts.
    Accounts,
}

impl MostBy {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Watched => "watched_ms",
            Self::Plays => "plays",
            Self::Accounts => "distinct_accounts",
        }
    }
}

impl FromStr for MostBy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Watched, Self::Plays, Self::Accounts];
        all.into_iter().find(|one| one.as_str() == text).ok_or("must be one of watched_ms, plays, distinct_accounts")
    }
}

/// Which usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageQuestion {
    /// Which days.
    pub period: Period,
    /// Apart by what.
    pub by: UsageBy,
    /// Only of this title.
    pub title: Option<TitleId>,
    /// Only in this territory.
    pub territory: Option<Territory>,
    /// Only on such devices.
    pub device_class: Option<DeviceClass>,
    /// What is most.
    pub most_by: MostBy,
    /// At most so many rows.
    pub limit: u32,
}

/// What was watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsageReport {
    /// The period, as it was asked for.
    pub period: String,
    /// Apart by what.
    pub by: UsageBy,
    /// Days in their order, all else with the most first.
    pub rows: Vec<UsageRow>,
    /// How many rows there are, of which `rows` may be the first.
    pub rows_in_all: i64,
    /// Over everything, also what isn't among the rows.
    pub total: UsageFigures,
    /// What it rests on.
    pub as_of: Vec<AsOf>,
}

/// What was watched of something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsageRow {
    /// Which day, title, territory or class of device.
    pub of: String,
    /// A title's name, where the catalog has one.
    pub name: Option<String>,
    /// How much.
    #[serde(flatten)]
    pub figures: UsageFigures,
}

/// How much was watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UsageFigures {
    /// Sessions that began to play.
    pub plays: i64,
    /// Watched time.
    pub watched_ms: i64,
    /// The part of it that arrived late.
    pub aged_ms: i64,
    /// Content that its session had not seen before.
    pub content_ms: i64,
    /// Accounts that watched or began to play.
    pub distinct_accounts: i64,
    /// How much of the title a play saw, on average, in thousandths; `None` where it is not of one title with a length.
    pub completion_per_mille: Option<i64>,
}

/// What the catalog says of a title.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownTitle {
    /// Its name.
    pub name: String,
    /// Its length.
    pub runtime_ms: Option<u64>,
}

/// How much of a title a play saw, on average: content ÷ (plays × runtime), in thousandths; `None` where the title has no
/// length or nobody began to play.
#[must_use]
pub fn completion_per_mille(plays: i64, runtime_ms: i64, content_ms: i64) -> Option<i64> {
    let of_ms = i128::from(plays) * i128::from(runtime_ms);
    (of_ms > 0).then(|| i64::try_from(i128::from(content_ms) * 1_000 / of_ms).unwrap_or(i64::MAX))
}

#[derive(sqlx::FromRow)]
struct Sums {
    is_total: bool,
    of: String,
    plays: i64,
    watched_ms: i64,
    aged_ms: i64,
    content_ms: i64,
    distinct_accounts: i64,
    rows_in_all: i64,
}

/// Reads the report; `look` says what the catalog knows of titles, and the offset behind the last record it rests on.
pub async fn usage(
    pool: &PgPool,
    question: &UsageQuestion,
    look: impl FnOnce(&[String]) -> (HashMap<String, KnownTitle>, i64),
) -> Result<UsageReport, ReadError> {
    let mut report = UsageReport {
        period: question.period.to_string(),
        by: question.by,
        rows: Vec::new(),
        rows_in_all: 0,
        total: UsageFigures::default(),
        as_of: Vec::new(),
    };
    let Some((mut tx, as_of)) = live::begin(pool, &REGISTERED).await? else { return Ok(report) };
    report.as_of = as_of;
    // What it groups by fits into memory, or most of it.
    sqlx::query("set local work_mem = '64MB'").execute(&mut *tx).await?;
    let sums = match packed::sums(question, &mut tx).await? {
        Some(sums) => sums,
        None => sums(question, &mut tx).await?,
    };
    tx.commit().await?;
    let asked = |sums: &Sums| match (question.by, &question.title) {
        (_, Some(title)) => Some(title.as_str().to_owned()),
        (UsageBy::Title, None) if !sums.is_total => Some(sums.of.clone()),
        _ => None,
    };
    let titles: Vec<_> = sums.iter().filter_map(asked).collect();
    let (known, next_offset) = if titles.is_empty() { (HashMap::new(), 0) } else { look(&titles) };
    report.as_of.extend(AsOf::before(Topic::Catalog, 0, next_offset));
    report.as_of.sort();
    for one in &sums {
        let title = asked(one).and_then(|title| known.get(&title));
        let runtime_ms = title.and_then(|title| title.runtime_ms).unwrap_or(0);
        let figures = UsageFigures {
            plays: one.plays,
            watched_ms: one.watched_ms,
            aged_ms: one.aged_ms,
            content_ms: one.content_ms,
            distinct_accounts: one.distinct_accounts,
            completion_per_mille: completion_per_mille(
                one.plays,
                i64::try_from(runtime_ms).unwrap_or(i64::MAX),
                one.content_ms,
            ),
        };
        if one.is_total {
            (report.total, report.rows_in_all) = (figures, one.rows_in_all);
        } else {
            let name = title.filter(|_| question.by == UsageBy::Title).map(|title| title.name.clone());
            report.rows.push(UsageRow { of: one.of.clone(), name, figures });
        }
    }
    Ok(report)
}

async fn sums(question: &UsageQuestion, tx: &mut PgTransaction<'_>) -> Result<Vec<Sums>, sqlx::Error> {
    // The total comes first, whatever the limit. An account that watched two titles is one account of both; summed account
    // by account, nothing has to be sorted to count them.
    const SUMS: &str = "
        with of_accounts as (
          select case $3 when 'day' then day::text when 'title' then title_id when 'territory' then territory
                         else device_class end as of,
                 account_id collate \"C\" as account_id, count(*) filter (where played) as plays,
                 sum(watched_ms)::bigint as watched_ms, sum(aged_ms)::bigint as aged_ms,
                 sum(content_ms)::bigint as content_ms
          from facts
          where day between $1 and $2 and ($4::text is null or title_id = $4)
            and ($5::text is null or territory = $5) and ($6::text is null or device_class = $6)
          group by 1, 2),
        sums as (
          select false as is_total, of, sum(plays)::bigint as plays, sum(watched_ms)::bigint as watched_ms,
                 sum(aged_ms)::bigint as aged_ms, sum(content_ms)::bigint as content_ms, count(*) as distinct_accounts
          from of_accounts group by of
          union all
          select true, '', coalesce(sum(plays), 0)::bigint, coalesce(sum(watched_ms), 0)::bigint,
                 coalesce(sum(aged_ms), 0)::bigint, coalesce(sum(content_ms), 0)::bigint,
                 (select count(*) from (select from of_accounts group by account_id) as accounts)
          from of_accounts)
        select sums.*, count(*) over () - 1 as rows_in_all from sums
        order by is_total desc, case when $3 = 'day' then of end collate \"C\",
                 case $7 when 'plays' then plays when 'distinct_accounts' then distinct_accounts else watched_ms end desc,
                 of collate \"C\"
        limit $8";
    sqlx::query_as(SUMS)
        .bind(question.period.first)
        .bind(question.period.last)
        .bind(question.by.as_str())
        .bind(question.title.as_ref().map(|title| title.as_str().to_owned()))
        .bind(question.territory.map(|territory| territory.as_str().to_owned()))
        .bind(question.device_class.map(DeviceClass::as_str))
        .bind(question.most_by.as_str())
        .bind(i64::from(question.limit) + 1)
        .fetch_all(&mut **tx)
        .await
}

impl UsageReport {
    /// The rows as comma-separated values, with a line of names first.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut text = String::new();
        let names = ["plays", "watched_ms", "aged_ms", "content_ms", "distinct_accounts", "completion_per_mille"];
        csv::line(&mut text, ["period", self.by.as_str(), "name"].into_iter().chain(names));
        for UsageRow { of, name, figures } in &self.rows {
            let numbers =
                [figures.plays, figures.watched_ms, figures.aged_ms, figures.content_ms, figures.distinct_accounts];
            let numbers = numbers.map(|number| number.to_string());
            let completion = figures.completion_per_mille.map(|number| number.to_string()).unwrap_or_default();
            let ids = [self.period.as_str(), of, name.as_deref().unwrap_or_default()];
            csv::line(
                &mut text,
                ids.into_iter().chain(numbers.iter().map(String::as_str)).chain([completion.as_str()]),
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_play_saw_needs_a_length_and_a_play() {
        assert_eq!(completion_per_mille(2, 1_000, 1_500), Some(750));
        assert_eq!((completion_per_mille(0, 1_000, 0), completion_per_mille(1, 0, 5)), (None, None));
    }

    #[test]
    fn a_table_says_what_its_rows_are_of() {
        let figures = UsageFigures { plays: 2, completion_per_mille: Some(750), ..UsageFigures::default() };
        let rows = vec![UsageRow { of: "film".into(), name: Some("A, B".into()), figures }];
        let (by, total) = (UsageBy::Title, figures);
        let report = UsageReport { period: "2026-10".into(), by, rows, rows_in_all: 1, total, as_of: Vec::new() };
        assert_eq!(
            report.to_csv(),
            "period,title,name,plays,watched_ms,aged_ms,content_ms,distinct_accounts,completion_per_mille\r\n\
             2026-10,film,\"A, B\",2,0,0,0,0,750\r\n"
        );
    }
}
