//! What a question is answered from: the counts, all events, or those of a sample of people.
//!
//! The counts say how many events a question is about before any is read. Up to [`EVENTS_MAX`] are read themselves, and
//! the answer is exact. Of more, everything that one person in 16, 256, 4 096 … did is read, and each figure is what was
//! found times that, with its error. So a question costs about the same however many events there are.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use serde::Serialize;
use sqlx::{PgTransaction, Postgres, QueryBuilder};

use super::path::Having;
use super::question::{Ask, Filter, Question};
use crate::live::ReadError;

/// Most events that are read themselves.
pub const EVENTS_MAX: i64 = 50_000;
/// The same where it was asked to be exact.
pub const EXACT_MAX: i64 = 5_000_000;
/// Most events of a sample that are read, by what the counts let expect; and of the larger one, whose rows lie far apart,
/// where their properties are read as well.
const SAMPLED_MAX: i64 = 200_000;
const WITH_PROPERTIES_MAX: i64 = 100_000;
/// The thinnest sample; from there on the statement's time limits.
const ONE_IN_MAX: i64 = 1 << 20;

/// How a figure was found that isn't exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Everything that one person in so many did.
    pub one_in: i64,
}

/// What is read.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) from: DateTime<Utc>,
    /// Exclusive.
    pub(super) until: DateTime<Utc>,
    pub(super) sample: Option<Sample>,
    /// How many events the days have of the names, all filters aside.
    pub(super) events: i64,
}

impl Source {
    /// Of these days, for this question.
    pub(super) async fn choose(
        question: &Question,
        (first, last): (NaiveDate, NaiveDate),
        tx: &mut PgTransaction<'_>,
    ) -> Result<Self, ReadError> {
        let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
        let (from, until) = (midnight(first), midnight(last.succ_opt().unwrap_or(last)));
        let names = names(question);
        let events: i64 = sqlx::query_scalar(
            "select coalesce(sum(events), 0)::bigint from counts_by_day
             where day between $1 and $2 and ($3::text[] is null or name = any($3))",
        )
        .bind(first)
        .bind(last)
        .bind(&names)
        .fetch_one(&mut **tx)
        .await?;
        let mut source = Self { from, until, sample: None, events };
        let max = if question.exact { EXACT_MAX } else { EVENTS_MAX };
        if events <= max {
            return Ok(source);
        }
        if is_indexed(&question.filter) {
            // Of one person, whom a sample has or hasn't.
            source.check_count(question, names, max, tx).await?;
            return Ok(source);
        }
        if question.exact {
            return Err(ReadError::TooLong(
                "it is about more than 5 000 000 events; ask for fewer days, or not for all",
            ));
        }
        let mut one_in = 16;
        let mut read_max = if needs_properties(question) { WITH_PROPERTIES_MAX } else { SAMPLED_MAX };
        while one_in < ONE_IN_MAX && events / one_in > read_max {
            one_in *= 16;
            read_max = SAMPLED_MAX;
        }
        source.sample = Some(Sample { one_in });
        Ok(source)
    }

    /// Counts what an index finds, no further than it matters.
    async fn check_count(
        &self,
        question: &Question,
        names: Option<Vec<String>>,
        max: i64,
        tx: &mut PgTransaction<'_>,
    ) -> Result<(), ReadError> {
        let mut sql = QueryBuilder::<Postgres>::new("select count(*) from (select from events where ");
        self.push_when(&mut sql);
        push_names(&mut sql, names);
        push_who(&mut sql, &question.filter);
        sql.push(" limit ").push_bind(max + 1).push(") as found");
        let count: i64 = sql.build_query_scalar().fetch_one(&mut **tx).await?;
        if count > max {
            return Err(ReadError::TooLong(if question.exact {
                "they did more than 5 000 000 things in that time; ask for fewer days"
            } else {
                "they did more than 50 000 things in that time; ask for fewer days, or with exact=true"
            }));
        }
        Ok(())
    }

    /// How many there are for each that was read.
    pub(super) fn one_in(&self) -> i64 {
        self.sample.map_or(1, |sample| sample.one_in)
    }

    /// `(select … from …) as asked`: the question's events, with the columns partition, `log_offset`, `logged_at`, name,
    /// person, `session_id` and properties.
    pub(super) fn push(&self, sql: &mut QueryBuilder<Postgres>, question: &Question) {
        // Nothing that anybody said stands in the text; it is all bound.
        sql.push(match self.sample {
            // Where nobody asks for properties they aren't read, and several workers may share the rows.
            None if !needs_properties(question) => {
                "(select partition, log_offset, logged_at, name, session_id, null::jsonb as properties,
                         coalesce('a' || account_id, 'v' || anonymous_id, 'e' || partition || '.' || log_offset) as person
                  from events where "
            }
            None => {
                "(select partition, log_offset, logged_at, name, session_id, properties_of(properties) as properties,
                         coalesce('a' || account_id, 'v' || anonymous_id, 'e' || partition || '.' || log_offset) as person
                  from events where "
            }
            Some(Sample { one_in: 16 }) => {
                "(select partition, log_offset, logged_at, name, session_id, properties, person from sample_16 where "
            }
            Some(_) => {
                "(select partition, log_offset, logged_at, name, session_id, properties, person from sample_256 where "
            }
        });
        self.push_when(sql);
        push_names(sql, names(question));
        match self.sample {
            None => push_who(sql, &question.filter),
            Some(Sample { one_in: 16 | 256 }) => {}
            Some(Sample { one_in }) => {
                sql.push(" and person & ").push_bind(one_in - 1).push(" = 0");
            }
        }
        // Behind an offset properties are read once a row, however often they are asked for.
        sql.push(if self.sample.is_none() && needs_properties(question) { " offset 0" } else { "" });
        sql.push(") as asked where true");
        for having in &question.filter.having {
            sql.push(" and ");
            push_having(sql, having);
        }
    }

    fn push_when(&self, sql: &mut QueryBuilder<Postgres>) {
        sql.push("logged_at >= ").push_bind(self.from).push(" and logged_at < ").push_bind(self.until);
    }
}

/// Of which names the question is; `None` is all.
fn names(question: &Question) -> Option<Vec<String>> {
    let names = match &question.ask {
        Ask::Funnel { steps, .. } => steps.iter().map(|step| step.name.clone()).collect(),
        Ask::Retention { first, back: Some(back) } => vec![first.clone(), back.clone()],
        Ask::Retention { back: None, .. } => Vec::new(),
        Ask::Trend { .. } | Ask::Breakdown { .. } | Ask::Sessions { .. } => question.filter.names.clone(),
    };
    (!names.is_empty()).then_some(names)
}

fn needs_properties(question: &Question) -> bool {
    !question.filter.having.is_empty()
        || match &question.ask {
            Ask::Breakdown { .. } => true,
            Ask::Funnel { steps, .. } => steps.iter().any(|step| !step.having.is_empty()),
            Ask::Trend { .. } | Ask::Sessions { .. } | Ask::Retention { .. } => false,
        }
}

const fn is_indexed(filter: &Filter) -> bool {
    filter.account_id.is_some() || filter.anonymous_id.is_some() || filter.session_id.is_some()
}

fn push_names(sql: &mut QueryBuilder<Postgres>, names: Option<Vec<String>>) {
    if let Some(names) = names {
        sql.push(" and name = any(").push_bind(names).push(")");
    }
}

fn push_who(sql: &mut QueryBuilder<Postgres>, filter: &Filter) {
    if let Some(account) = &filter.account_id {
        sql.push(" and account_id = ").push_bind(account.as_str().to_owned());
    }
    if let Some(visitor) = &filter.anonymous_id {
        sql.push(" and anonymous_id = ").push_bind(visitor.as_str().to_owned());
    }
    if let Some(session) = filter.session_id {
        sql.push(" and session_id = ").push_bind(session.uuid());
    }
}

/// A condition on the column properties.
pub(super) fn push_having(sql: &mut QueryBuilder<Postgres>, having: &Having) {
    sql.push("properties #>> ").push_bind(having.path.steps().to_vec());
    match &having.is {
        Some(value) => sql.push(" = ").push_bind(value.clone()),
        None => sql.push(" is not null"),
    };
}

/// The most that a figure of a sample is off, in 95 of 100 samples: `squares` is the sum over people of the square of what
/// each adds to it. (Each person is in the sample by a coin of their own: Horvitz and Thompson's estimate and its
/// variance.) Of nothing found, what one event more would say.
pub(super) fn error_of(squares: i64, one_in: i64) -> Option<i64> {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "an error is no exact figure")]
    let error = |squares: i64, one_in: i64| {
        (1.96 * (squares.max(1) as f64 * one_in as f64 * (one_in - 1) as f64).sqrt()).ceil() as i64
    };
    (one_in > 1).then(|| error(squares, one_in))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_of_a_sample_has_an_error() {
        assert_eq!(error_of(100, 1), None);
        // 100 people once each, of one in 16: 1 600, and 1.96 × √(100 × 16 × 15).
        assert_eq!(error_of(100, 16), Some(304));
        assert_eq!(error_of(0, 256), error_of(1, 256));
    }
}
