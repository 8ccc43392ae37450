//! The read models in the database, as the routes ask for them.

use pulsegate_domain::ids::AccountId;
use pulsegate_projections::ProjectionStatus;
use pulsegate_projections::active_sessions::{self, Before, DecisionRow};
use pulsegate_projections::reader::ReaderSettings;
use sqlx::PgPool;

use crate::problem::{Problem, ProblemKind, RETRY_AFTER_S};

/// The database's side of the answers; cheap to clone.
#[derive(Clone)]
pub struct Reads {
    pool: PgPool,
    log: ReaderSettings,
}

impl Reads {
    /// Reads through `pool`; `log` says how far the read models could be.
    #[must_use]
    pub const fn new(pool: PgPool, log: ReaderSettings) -> Self {
        Self { pool, log }
    }

    /// An account's decisions, newest first.
    pub(crate) async fn decisions(
        &self,
        account: &AccountId,
        limit: u32,
        before: Option<Before>,
    ) -> Result<Vec<DecisionRow>, Problem> {
        active_sessions::decisions(&self.pool, account, limit, before).await.map_err(away)
    }

    /// How every projection stands.
    pub(crate) async fn projections(&self) -> Result<Vec<ProjectionStatus>, Problem> {
        pulsegate_projections::status(&self.pool, &self.log.client, &self.log.topics).await.map_err(away)
    }
}

fn away(error: sqlx::Error) -> Problem {
    match error {
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) => {
            Problem::internal(&error)
        }
        error => Problem::new(ProblemKind::Unavailable, "the read models cannot be read for now")
            .retry_after(RETRY_AFTER_S)
            .because(&error),
    }
}
