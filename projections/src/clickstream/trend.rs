//! How many events of each name over time.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use sqlx::{PgTransaction, Postgres, QueryBuilder};

use super::question::{Bucket, Question};
use super::source::{Source, error_of};
use super::table::{Table, maybe};
use crate::live::ReadError;

/// Events of a name within an hour or a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trend {
    /// When that begins.
    pub at: DateTime<Utc>,
    /// Of which name; `None` is all names that aren't told apart.
    pub name: Option<String>,
    /// How many.
    pub events: i64,
    /// The most that this is off, in 95 of 100 samples; `None` where it is exact.
    pub error: Option<i64>,
}

/// Whether the counts alone answer it, of which there is no sample.
pub(super) fn is_counted(question: &Question) -> bool {
    let filter = &question.filter;
    filter.having.is_empty()
        && filter.account_id.is_none()
        && filter.anonymous_id.is_none()
        && filter.session_id.is_none()
}

pub(super) async fn rows(
    question: &Question,
    by: Bucket,
    top: u32,
    source: &Source,
    tx: &mut PgTransaction<'_>,
) -> Result<Vec<Trend>, ReadError> {
    if is_counted(question) {
        counted(question, by, top, source, tx).await
    } else {
        found(question, by, top, source, tx).await
    }
}

async fn counted(
    question: &Question,
    by: Bucket,
    top: u32,
    source: &Source,
    tx: &mut PgTransaction<'_>,
) -> Result<Vec<Trend>, ReadError> {
    let sql = match by {
        Bucket::Day => {
            "with asked as materialized (
               select day, name, sum(events)::bigint as events from counts_by_day
               where day >= ($1 at time zone 'UTC')::date and day < ($2 at time zone 'UTC')::date
                 and (cardinality($3::text[]) = 0 or name = any($3))
               group by day, name),
             named as (
               select name from asked group by name order by sum(events) desc, name collate \"C\" limit $4)
             select day::timestamp at time zone 'UTC', named.name, sum(events)::bigint
             from asked left join named using (name) group by day, named.name
             order by day, named.name collate \"C\" nulls last"
        }
        Bucket::Hour => {
            "with asked as materialized (
               select hour, name, sum(events)::bigint as events from counts_by_hour
               where hour >= $1 and hour < $2 and (cardinality($3::text[]) = 0 or name = any($3))
               group by hour, name),
             named as (
               select name from asked group by name order by sum(events) desc, name collate \"C\" limit $4)
             select hour, named.name, sum(events)::bigint
             from asked left join named using (name) group by hour, named.name
             order by hour, named.name collate \"C\" nulls last"
        }
    };
    let rows = sqlx::query_as::<_, (DateTime<Utc>, Option<String>, i64)>(sql)
        .bind(source.from)
        .bind(source.until)
        .bind(&question.filter.names)
        .bind(i64::from(top))
        .fetch_all(&mut **tx)
        .await?;
    Ok(rows.into_iter().map(|(at, name, events)| Trend { at, name, events, error: None }).collect())
}

/// With conditions that no count knows.
async fn found(
    question: &Question,
    by: Bucket,
    top: u32,
    source: &Source,
    tx: &mut PgTransaction<'_>,
) -> Result<Vec<Trend>, ReadError> {
    let bucket = if by == Bucket::Hour { "hour" } else { "day" };
    let mut sql = QueryBuilder::<Postgres>::new("with each as materialized (select date_trunc(");
    sql.push_bind(bucket).push(", logged_at, 'UTC') as at, name, person, count(*) as n from ");
    source.push(&mut sql, question);
    sql.push(
        " group by 1, 2, 3),
         named as (select name from each group by name order by sum(n) desc, name collate \"C\" limit ",
    );
    sql.push_bind(i64::from(top)).push(
        "),
         told as (
           select at, named.name, person, sum(n) as n from each left join named using (name) group by 1, 2, 3)
         select at, name, sum(n)::bigint, sum(n * n)::bigint from told group by 1, 2
         order by at, name collate \"C\" nulls last",
    );
    let rows: Vec<(DateTime<Utc>, Option<String>, i64, i64)> = sql.build_query_as().fetch_all(&mut **tx).await?;
    let one_in = source.one_in();
    let row = |(at, name, found, squares)| Trend { at, name, events: found * one_in, error: error_of(squares, one_in) };
    Ok(rows.into_iter().map(row).collect())
}

pub(super) fn table(rows: &[Trend]) -> Table {
    let cells = |row: &Trend| {
        vec![
            row.at.to_rfc3339_opts(SecondsFormat::Secs, true),
            row.name.clone().unwrap_or_default(),
            row.events.to_string(),
            maybe(row.error),
        ]
    };
    Table { columns: &["at", "name", "events", "error"], texts: 2, rows: rows.iter().map(cells).collect() }
}
