//! The read models in the database, as the routes ask for them.

use pulsegate_domain::ids::AccountId;
use pulsegate_projections::active_sessions::{self, Before, DecisionRow};
use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_projections::licensing::{self, Terms};
use pulsegate_projections::live::ReadError;
use pulsegate_projections::provisional::{self, ListError, Settled, Wanted};
use pulsegate_projections::reader::ReaderSettings;
use pulsegate_projections::{ProjectionStatus, clickstream};
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

    /// What is owed for, with the contracts of the catalog as of now.
    pub(crate) async fn licensing(
        &self,
        question: &licensing::Question,
        catalog: &CatalogView,
    ) -> Result<licensing::Report, Problem> {
        // Without its contracts a report would be wrong and look right.
        if !catalog.is_whole() {
            return Err(Problem::new(ProblemKind::Unavailable, "the catalog has not been read to its end yet")
                .retry_after(RETRY_AFTER_S));
        }
        let terms = |titles: &[String]| {
            catalog.read_at(|catalog, next_offset| Terms::of(catalog, next_offset, titles, &question.period))
        };
        licensing::report(&self.pool, question, terms).await.map_err(unreadable)
    }

    /// How many clickstream events there were.
    pub(crate) async fn clickstream_counts(
        &self,
        question: &clickstream::CountsQuestion,
    ) -> Result<clickstream::Counts, Problem> {
        clickstream::counts(&self.pool, question).await.map_err(unreadable)
    }

    /// A page of clickstream events.
    pub(crate) async fn clickstream_events(
        &self,
        question: &clickstream::EventsQuestion,
    ) -> Result<clickstream::Page, Problem> {
        clickstream::events(&self.pool, question).await.map_err(unreadable)
    }

    /// Provisional answers beside the log's word; this reads the log itself.
    pub(crate) async fn provisional(&self, catalog: &CatalogView, wanted: Wanted) -> Result<Vec<Settled>, Problem> {
        let (log, catalog) = (self.log.clone(), catalog.clone());
        let listed = tokio::task::spawn_blocking(move || provisional::list(&log, &catalog.policies(), &wanted)).await;
        match listed {
            Ok(Ok(answers)) => Ok(answers),
            Ok(Err(error @ ListError::TooSlow)) => {
                Err(Problem::new(ProblemKind::TimedOut, error.to_string()).retry_after(RETRY_AFTER_S))
            }
            Ok(Err(error @ ListError::Kafka(_))) => {
                let detail = "the log cannot be read for now";
                Err(Problem::new(ProblemKind::Unavailable, detail).retry_after(RETRY_AFTER_S).because(&error))
            }
            Err(panic) => Err(Problem::internal(&panic)),
        }
    }

    /// How every projection stands.
    pub(crate) async fn projections(&self) -> Result<Vec<ProjectionStatus>, Problem> {
        pulsegate_projections::status(&self.pool, &self.log.client, &self.log.topics).await.map_err(away)
    }
}

fn unreadable(error: ReadError) -> Problem {
    match error {
        ReadError::Database(error) => away(error),
        ReadError::TooSlow => Problem::new(ProblemKind::TimedOut, error.to_string()).retry_after(RETRY_AFTER_S),
        ReadError::TooLong(why) => Problem::invalid_field("/period", why),
        ReadError::Path(why) => Problem::invalid_field("/path", format!("{why} (in the query)")),
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
