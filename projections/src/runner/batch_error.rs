//! Why a batch is not committed, and what that says about its records.

use std::time::Duration;

use pulsegate_privacy::KeyError;
use thiserror::Error;

use super::record::{Letter, Poison, Source};

/// Why a batch was not committed, or is not known to be.
#[derive(Debug, Error)]
pub enum BatchError {
    /// The database said no, or nothing.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The database took too long.
    #[error("database: no answer within {} s", .0.as_secs())]
    Slow(Duration),
    /// The projection's own code panicked.
    #[error("the fold panicked: {0}")]
    Panicked(String),
    /// More and more of its records were parked each time it was sorted.
    #[error("the batch does not come to rest: its fold parks other records each time")]
    Restless,
    /// A poison event, where none is to be parked.
    #[error("{partition} offset {offset}, key {key}, can't be folded: {error}")]
    Poison {
        /// Where.
        partition: Source,
        /// Its offset.
        offset: i64,
        /// Its key; what isn't plain ASCII is escaped.
        key: String,
        /// Why.
        error: String,
    },
    /// It can't be told who was forgotten, or what is sealed.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The build's unlogged tables have been emptied by a crash of the database.
    #[error("the database has crashed, and emptied the tables of {0}, which were not logged yet")]
    Emptied(String),
}

impl BatchError {
    /// Whether a record of the batch may be the cause, rather than something outside: then a smaller batch tells which.
    #[must_use]
    pub fn may_be_a_records_fault(&self) -> bool {
        match self {
            // Class 22: data exceptions. 23: a constraint. 54: too large, for an index for instance.
            Self::Database(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| ["22", "23", "54"].contains(&&code[..2.min(code.len())]))
            }
            Self::Database(sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. })
            | Self::Panicked(_)
            | Self::Restless => true,
            Self::Database(_) | Self::Slow(_) | Self::Emptied(_) | Self::Poison { .. } | Self::Keys(_) => false,
        }
    }

    pub(super) fn poison(source: Source, letter: &Letter) -> Self {
        let key = letter.record.key.as_deref().map_or_else(|| "none".to_owned(), |key| key.escape_ascii().to_string());
        let (Poison::Park(error) | Poison::Skip(error)) = letter.poison.clone();
        Self::Poison { partition: source, offset: letter.record.offset, key, error }
    }

    /// Whether the database could not be reached or did not answer.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        match self {
            Self::Database(error) | Self::Keys(KeyError::Database(error)) => matches!(
                error,
                sqlx::Error::Io(_)
                    | sqlx::Error::Tls(_)
                    | sqlx::Error::PoolTimedOut
                    | sqlx::Error::PoolClosed
                    | sqlx::Error::WorkerCrashed
            ),
            Self::Slow(_) => true,
            Self::Panicked(_) | Self::Restless | Self::Emptied(_) | Self::Poison { .. } | Self::Keys(_) => false,
        }
    }
}
