//! How many people came back, week by week.

use chrono::{Datelike as _, Days, NaiveDate};
use serde::Serialize;
use sqlx::{PgTransaction, Postgres, QueryBuilder};

use super::question::Question;
use super::source::{Source, error_of};
use super::table::{Table, maybe};
use crate::live::ReadError;

/// The newcomers of a week, or those of them who came back in a later one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retained {
    /// The Monday of the week in which they came first.
    pub week: NaiveDate,
    /// How many weeks later; 0 is all of them.
    pub after: i32,
    /// How many.
    pub people: i64,
    /// The most that this is off, in 95 of 100 samples; `None` where it is exact.
    pub error: Option<i64>,
}

/// The Monday of a day's week.
pub(super) fn monday(day: NaiveDate) -> NaiveDate {
    let since = u64::from(day.weekday().num_days_from_monday());
    day.checked_sub_days(Days::new(since)).unwrap_or(day)
}

pub(super) async fn rows(
    question: &Question,
    first: &str,
    back: Option<&str>,
    source: &Source,
    tx: &mut PgTransaction<'_>,
) -> Result<Vec<Retained>, ReadError> {
    let mut sql = QueryBuilder::<Postgres>::new(
        "with weeks as materialized (
           select person, date_trunc('week', logged_at at time zone 'UTC')::date as week, bool_or(name = ",
    );
    sql.push_bind(first.to_owned()).push(") as is_first, ");
    match back {
        Some(back) => sql.push("bool_or(name = ").push_bind(back.to_owned()).push(")"),
        None => sql.push("true"),
    };
    sql.push(" as is_back from ");
    source.push(&mut sql, question);
    sql.push(
        " group by 1, 2),
         newcomers as (
           select person, min(week) as first_week from weeks where is_first group by person)
         select first_week, (week - first_week) / 7 as after, count(*)
         from newcomers join weeks using (person)
         where week = first_week or week > first_week and is_back
         group by 1, 2 order by 1, 2",
    );
    let rows: Vec<(NaiveDate, i32, i64)> = sql.build_query_as().fetch_all(&mut **tx).await?;
    let one_in = source.one_in();
    let row = |(week, after, found)| Retained { week, after, people: found * one_in, error: error_of(found, one_in) };
    Ok(rows.into_iter().map(row).collect())
}

pub(super) fn table(rows: &[Retained]) -> Table {
    let cells =
        |row: &Retained| vec![row.week.to_string(), row.after.to_string(), row.people.to_string(), maybe(row.error)];
    Table { columns: &["week", "after", "people", "error"], texts: 1, rows: rows.iter().map(cells).collect() }
}
