//! Questions that were saved under a name: what is asked, never what was answered.

use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use sqlx::PgPool;
use thiserror::Error;

use super::question::{Mistake, Question};
use super::table::Table;

/// Most questions that are kept.
pub const SAVED_MAX: i64 = 1_000;
/// Most characters of a name.
const NAME_CHARS_MAX: usize = 100;

/// The name of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedName(String);

/// Not such a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be 1-100 characters without control characters, not only spaces, and neither begin nor end with one")]
pub struct InvalidSavedName;

impl FromStr for SavedName {
    type Err = InvalidSavedName;

    fn from_str(text: &str) -> Result<Self, InvalidSavedName> {
        let is_plain = !text.is_empty() && text.trim() == text && !text.chars().any(char::is_control);
        if is_plain && text.chars().count() <= NAME_CHARS_MAX {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidSavedName)
        }
    }
}

impl SavedName {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A question that was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Saved {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// The question as a query string.
    pub query: String,
    /// When it was saved last.
    pub saved_at: DateTime<Utc>,
}

/// A saved question that can't be read any more.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("it was saved by another version and can't be read by this one: {}", join(.0))]
pub struct UnreadableQuestion(Vec<Mistake>);

fn join(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Saved {
    /// The question itself.
    pub fn question(&self) -> Result<Question, UnreadableQuestion> {
        Question::read_query(&self.kind, &self.query).map_err(UnreadableQuestion)
    }
}

/// Why a question could not be saved.
#[derive(Debug, Error)]
pub enum SaveError {
    /// There are as many as there may be.
    #[error("1 000 questions are saved, which is as many as are kept; delete one first")]
    Full,
    /// The table can't be written.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
}

/// All of them, by name.
pub async fn saved(pool: &PgPool) -> Result<Vec<Saved>, sqlx::Error> {
    sqlx::query_as(
        "select name, kind, query, saved_at from pulsegate.saved_questions order by name collate \"C\" limit $1",
    )
    .bind(SAVED_MAX)
    .fetch_all(pool)
    .await
}

/// These as a table.
#[must_use]
pub fn saved_table(saved: &[Saved]) -> Table {
    let cells = |one: &Saved| {
        let at = one.saved_at.to_rfc3339_opts(SecondsFormat::Secs, true);
        vec![one.name.clone(), one.kind.clone(), one.query.clone(), at]
    };
    Table { columns: &["name", "kind", "query", "saved_at"], texts: 4, rows: saved.iter().map(cells).collect() }
}

/// One of them.
pub async fn find_saved(pool: &PgPool, name: &SavedName) -> Result<Option<Saved>, sqlx::Error> {
    sqlx::query_as("select name, kind, query, saved_at from pulsegate.saved_questions where name = $1")
        .bind(&name.0)
        .fetch_optional(pool)
        .await
}

/// Saves a question under a name, in place of the one that had it.
pub async fn save(pool: &PgPool, name: &SavedName, question: &Question) -> Result<Saved, SaveError> {
    let saved = sqlx::query_as(
        "insert into pulsegate.saved_questions (name, kind, query)
         select $1, $2, $3
         where (select count(*) from pulsegate.saved_questions) < $4
            or exists (select from pulsegate.saved_questions where name = $1)
         on conflict on constraint saved_questions_pk
         do update set kind = excluded.kind, query = excluded.query, saved_at = now()
         returning name, kind, query, saved_at",
    )
    .bind(&name.0)
    .bind(question.kind())
    .bind(question.query())
    .bind(SAVED_MAX)
    .fetch_optional(pool)
    .await?;
    saved.ok_or(SaveError::Full)
}

/// Deletes one; whether there was one.
pub async fn delete_saved(pool: &PgPool, name: &SavedName) -> Result<bool, sqlx::Error> {
    let deleted =
        sqlx::query("delete from pulsegate.saved_questions where name = $1").bind(&name.0).execute(pool).await?;
    Ok(deleted.rows_affected() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_people_can_read() {
        for good in ["a", "Weekly: search → play", "größe", "a/b?c"] {
            assert!(good.parse::<SavedName>().is_ok(), "{good}");
        }
        for bad in ["", " ", " a", "a ", "a\nb", "a\0", &"x".repeat(101)] {
            assert!(bad.parse::<SavedName>().is_err(), "{bad}");
        }
    }
}
