//! Asking: a question in, figures out, as of one moment.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use sqlx::{PgPool, PgTransaction, Postgres, Transaction};

use super::breakdown::{self, Breakdown};
use super::funnel::{self, Reached};
use super::question::{Ask, Question};
use super::retained::{self, Retained};
use super::sessions::{self, Visits};
use super::source::{Sample, Source};
use super::trend::{self, Trend};
use super::{REGISTERED, table::Table};
use crate::live::{self, AsOf, ReadError};

/// What a question is answered with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// The question's kind.
    pub kind: &'static str,
    /// The question, in the one way in which it is written.
    pub question: String,
    /// The first of its days; `None` while the log has no time.
    pub first: Option<NaiveDate>,
    /// The last of them.
    pub last: Option<NaiveDate>,
    /// How many events of its names these days have, other conditions aside.
    pub events: i64,
    /// Where not all of these were looked into.
    pub sample: Option<Sample>,
    /// The figures.
    pub rows: Rows,
    /// The newest instant of the log that is in it.
    pub as_of_time: Option<DateTime<Utc>>,
    /// What it rests on.
    pub as_of: Vec<AsOf>,
}

/// Figures of one kind of question.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Rows {
    /// Of a trend, in the order of time and name.
    Trend(Vec<Trend>),
    /// Of a breakdown, the most frequent first, then the others and those without.
    Breakdown(Vec<Breakdown>),
    /// Of sessions, day by day, all together last.
    Sessions(Vec<Visits>),
    /// Of a funnel, step by step.
    Funnel(Vec<Reached>),
    /// Of retention, a row for each week of newcomers and each week since.
    Retention(Vec<Retained>),
}

impl Answer {
    /// The figures as a table.
    #[must_use]
    pub fn table(&self) -> Table {
        match &self.rows {
            Rows::Trend(rows) => trend::table(rows),
            Rows::Breakdown(rows) => breakdown::table(rows),
            Rows::Sessions(rows) => sessions::table(rows),
            Rows::Funnel(rows) => funnel::table(rows),
            Rows::Retention(rows) => retained::table(rows),
        }
    }
}

/// Answers a question.
pub async fn ask(pool: &PgPool, question: &Question) -> Result<Answer, ReadError> {
    let mut answer = Answer {
        kind: question.kind(),
        question: question.query(),
        first: None,
        last: None,
        events: 0,
        sample: None,
        rows: nothing(&question.ask),
        as_of_time: None,
        as_of: Vec::new(),
    };
    let Some((mut tx, as_of)) = begin(pool).await? else { return Ok(answer) };
    answer.as_of = as_of;
    let clock_ms = clock_ms(&mut tx).await?;
    answer.as_of_time = clock_ms.and_then(DateTime::from_timestamp_millis);
    let Some((first, last)) = question.span.resolve(clock_ms) else { return Ok(answer) };
    // Weeks are whole.
    let first = if matches!(question.ask, Ask::Retention { .. }) { retained::monday(first) } else { first };
    (answer.first, answer.last) = (Some(first), Some(last));
    let source = Source::choose(question, (first, last), &mut tx).await?;
    answer.events = source.events;
    answer.sample = source.sample;
    answer.rows = match &question.ask {
        Ask::Trend { by, top } => {
            let rows = trend::rows(question, *by, *top, &source, &mut tx).await?;
            if trend::is_counted(question) {
                answer.sample = None;
            }
            Rows::Trend(rows)
        }
        Ask::Breakdown { path, top } => Rows::Breakdown(breakdown::rows(question, path, *top, &source, &mut tx).await?),
        Ask::Sessions { by } => Rows::Sessions(sessions::rows(question, *by, &source, &mut tx).await?),
        Ask::Funnel { steps, window_ms } => {
            Rows::Funnel(funnel::rows(question, steps, *window_ms, &source, &mut tx).await?)
        }
        Ask::Retention { first, back } => {
            Rows::Retention(retained::rows(question, first, back.as_deref(), &source, &mut tx).await?)
        }
    };
    tx.commit().await?;
    Ok(answer)
}

const fn nothing(ask: &Ask) -> Rows {
    match ask {
        Ask::Trend { .. } => Rows::Trend(Vec::new()),
        Ask::Breakdown { .. } => Rows::Breakdown(Vec::new()),
        Ask::Sessions { .. } => Rows::Sessions(Vec::new()),
        Ask::Funnel { .. } => Rows::Funnel(Vec::new()),
        Ask::Retention { .. } => Rows::Retention(Vec::new()),
    }
}

/// Begins a read of tables that only this version has.
pub(super) async fn begin(pool: &PgPool) -> Result<Option<(Transaction<'static, Postgres>, Vec<AsOf>)>, ReadError> {
    let Some((mut tx, as_of)) = live::begin(pool, &REGISTERED).await? else { return Ok(None) };
    let is_old: bool = sqlx::query_scalar("select to_regclass('sample_256') is null").fetch_one(&mut *tx).await?;
    if is_old {
        return Err(ReadError::Old(
            "the read model clickstream is of version 1, which can't say this: \
             `pulsegate projection rebuild clickstream`, then `switch`",
        ));
    }
    Ok(Some((tx, as_of)))
}

/// The log's newest instant, as far as it is folded.
pub(super) async fn clock_ms(tx: &mut PgTransaction<'_>) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar("select max(clock_ms) from pulsegate.live_offsets where name = $1 and next_offset > 0")
        .bind(REGISTERED.name)
        .fetch_one(&mut **tx)
        .await
}
