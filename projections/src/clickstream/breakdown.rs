//! How many events have which value at a path.

use serde::Serialize;
use sqlx::{PgTransaction, Postgres, QueryBuilder};

use super::path::Path;
use super::question::Question;
use super::source::{Source, error_of};
use super::table::{Table, maybe};
use crate::live::ReadError;

/// Most characters of a value by which it is told apart.
const VALUE_CHARS_MAX: i32 = 200;

/// The events that have one value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Breakdown {
    /// One value, all others, or none.
    pub of: Of,
    /// The value as text: of a string its characters, of all else its JSON; cut after 200 characters.
    pub value: Option<String>,
    /// How many.
    pub events: i64,
    /// The most that this is off, in 95 of 100 samples; `None` where it is exact.
    pub error: Option<i64>,
    /// How many people did them.
    pub people: i64,
    /// The most that that is off, in 95 of 100 samples; `None` where it is exact.
    pub people_error: Option<i64>,
}

/// What a row of a breakdown is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// One value.
    Value,
    /// The values that aren't told apart.
    Other,
    /// Nothing stands there, or `null`.
    Missing,
}

impl Of {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Other => "other",
            Self::Missing => "missing",
        }
    }
}

pub(super) async fn rows(
    question: &Question,
    path: &Path,
    top: u32,
    source: &Source,
    tx: &mut PgTransaction<'_>,
) -> Result<Vec<Breakdown>, ReadError> {
    let mut sql = QueryBuilder::<Postgres>::new("with each as materialized (select left(properties #>> ");
    sql.push_bind(path.steps().to_vec()).push(", ").push_bind(VALUE_CHARS_MAX);
    sql.push(") as value, person, count(*) as n from ");
    source.push(&mut sql, question);
    sql.push(
        " group by 1, 2),
         named as (
           select value from each where value is not null
           group by value order by sum(n) desc, value collate \"C\" limit ",
    );
    sql.push_bind(i64::from(top)).push(
        "),
         told as (
           select case when each.value is null then 2 when named.value is null then 1 else 0 end as kind,
                  named.value, person, sum(n) as n
           from each left join named on named.value = each.value group by 1, 2, 3)
         select kind, value, sum(n)::bigint, sum(n * n)::bigint, count(*) from told group by 1, 2
         order by kind, 3 desc, value collate \"C\"",
    );
    let rows: Vec<(i32, Option<String>, i64, i64, i64)> = sql.build_query_as().fetch_all(&mut **tx).await?;
    let one_in = source.one_in();
    let row = |(kind, value, found, squares, people)| Breakdown {
        of: [Of::Value, Of::Other, Of::Missing][usize::try_from(kind).unwrap_or(2).min(2)],
        value,
        events: found * one_in,
        error: error_of(squares, one_in),
        people: people * one_in,
        // Each adds one.
        people_error: error_of(people, one_in),
    };
    Ok(rows.into_iter().map(row).collect())
}

pub(super) fn table(rows: &[Breakdown]) -> Table {
    let cells = |row: &Breakdown| {
        let value = row.value.clone().unwrap_or_default();
        let of = row.of.as_str().to_owned();
        let (events, people) = (row.events.to_string(), row.people.to_string());
        vec![of, value, events, maybe(row.error), people, maybe(row.people_error)]
    };
    Table {
        columns: &["of", "value", "events", "error", "people", "people_error"],
        texts: 2,
        rows: rows.iter().map(cells).collect(),
    }
}
