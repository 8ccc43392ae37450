//! Visits: how many, how long, how rich.

use chrono::NaiveDate;
use serde::Serialize;
use sqlx::{PgTransaction, Postgres, QueryBuilder};

use super::question::{Question, SessionsBy};
use super::source::{Source, error_of};
use super::table::{Table, maybe};
use crate::live::ReadError;

/// The sessions that began on a day.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Visits {
    /// Which day, UTC; `None` is all together.
    pub day: Option<NaiveDate>,
    /// How many.
    pub sessions: i64,
    /// The most that this is off, in 95 of 100 samples; `None` where it is exact.
    pub error: Option<i64>,
    /// Of how many people.
    pub people: i64,
    /// The most that that is off, in 95 of 100 samples; `None` where it is exact.
    pub people_error: Option<i64>,
    /// With how many events.
    pub events: i64,
    /// How many have one event only.
    pub single: i64,
    /// From the first to the last event, of half of them at most so long.
    pub median_ms: i64,
    /// Of 95 in 100 at most so long.
    pub p95_ms: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    day: Option<NaiveDate>,
    sessions: i64,
    squares: i64,
    people: i64,
    events: i64,
    single: i64,
    median_ms: i64,
    p95_ms: i64,
}

pub(super) async fn rows(
    question: &Question,
    by: SessionsBy,
    source: &Source,
    tx: &mut PgTransaction<'_>,
) -> Result<Vec<Visits>, ReadError> {
    let mut sql = QueryBuilder::<Postgres>::new("with ");
    match by {
        SessionsBy::Gap(gap_ms) => {
            sql.push(
                "marked as (
                   select person, logged_at,
                          case when logged_at - lag(logged_at) over (partition by person order by logged_at)
                                    <= interval '1 millisecond' * ",
            );
            sql.push_bind(gap_ms).push(" then 0 else 1 end as begins from ");
            source.push(&mut sql, question);
            sql.push(
                "),
                 numbered as (
                   select person, logged_at, sum(begins) over (partition by person order by logged_at) as number
                   from marked),
                 visits as materialized (
                   select person, min(logged_at) as begun, max(logged_at) as ended, count(*) as n
                   from numbered group by person, number),",
            );
        }
        SessionsBy::SessionId => {
            sql.push(
                "visits as materialized (
                   select min(person) as person, min(logged_at) as begun, max(logged_at) as ended, count(*) as n from ",
            );
            source.push(&mut sql, question);
            sql.push(" and session_id is not null group by session_id),");
        }
    }
    sql.push(
        "told as (
           select person, (begun at time zone 'UTC')::date as day, (date_part('epoch', ended - begun) * 1000)::bigint as ms, n
           from visits),
         squares as (
           select day, sum(n * n)::bigint as squares
           from (select day, person, count(*) as n from told group by grouping sets ((day, person), (person))) as each
           group by day)
         select figures.*, squares.squares from (
           select day, count(*) as sessions, count(distinct person) as people, sum(n)::bigint as events,
                  count(*) filter (where n = 1) as single,
                  percentile_disc(0.5) within group (order by ms) as median_ms,
                  percentile_disc(0.95) within group (order by ms) as p95_ms
           from told group by grouping sets ((day), ())
           having count(*) > 0) as figures
         join squares on squares.day is not distinct from figures.day
         order by day nulls last",
    );
    let rows: Vec<Row> = sql.build_query_as().fetch_all(&mut **tx).await?;
    let one_in = source.one_in();
    let row = |row: Row| Visits {
        day: row.day,
        sessions: row.sessions * one_in,
        error: error_of(row.squares, one_in),
        people: row.people * one_in,
        // Each adds one.
        people_error: error_of(row.people, one_in),
        events: row.events * one_in,
        single: row.single * one_in,
        median_ms: row.median_ms,
        p95_ms: row.p95_ms,
    };
    Ok(rows.into_iter().map(row).collect())
}

pub(super) fn table(rows: &[Visits]) -> Table {
    let cells = |row: &Visits| {
        vec![
            row.day.map_or_else(|| "all".to_owned(), |day| day.to_string()),
            row.sessions.to_string(),
            maybe(row.error),
            row.people.to_string(),
            maybe(row.people_error),
            row.events.to_string(),
            row.single.to_string(),
            row.median_ms.to_string(),
            row.p95_ms.to_string(),
        ]
    };
    Table {
        columns: &["day", "sessions", "error", "people", "people_error", "events", "single", "median_ms", "p95_ms"],
        texts: 1,
        rows: rows.iter().map(cells).collect(),
    }
}
