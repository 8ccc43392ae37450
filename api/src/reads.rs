//! The read models in the database, as the routes ask for them.

use std::time::Duration;

use chrono::Utc;
use pulsegate_domain::ids::{AccountId, SessionId};
use pulsegate_projections::active_sessions::{self, Before, DecisionRow};
use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_projections::licensing::{self, KnownTitle, Terms, UsageQuestion, UsageReport};
use pulsegate_projections::live::{AsOf, ReadError};
use pulsegate_projections::provisional::{self, ListError, Settled, Wanted};
use pulsegate_projections::reader::ReaderSettings;
use pulsegate_projections::statements::{
    self, About, Agreements, Beats, Closed, Head, LAG_WAIT, Largest, Listed, Recent, Rows, Selection, StatementError,
    StatementPage,
};
use pulsegate_projections::{ProjectionStatus, clickstream, concurrency};
use sqlx::PgPool;

use crate::problem::{Problem, ProblemKind, RETRY_AFTER_S};

/// How long the catalog may take to be read to its end.
const CATALOG_WAIT: Duration = Duration::from_secs(10);

/// The database's side of the answers; cheap to clone.
#[derive(Clone)]
pub struct Reads {
    pool: PgPool,
    log: ReaderSettings,
    recent: Recent,
}

impl Reads {
    /// Reads through `pool`; `log` says how far the read models could be.
    #[must_use]
    pub fn new(pool: PgPool, log: ReaderSettings) -> Self {
        Self { pool, log, recent: Recent::default() }
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

    /// The statements that were closed.
    pub(crate) async fn statements(&self) -> Result<Vec<Listed>, Problem> {
        statements::list(&self.pool).await.map_err(refused)
    }

    /// A statement: as it was closed or restated last, as of a revision, or as it is now.
    pub(crate) async fn statement(
        &self,
        about: &About,
        revision: Option<u32>,
        catalog: &CatalogView,
    ) -> Result<(Head, Rows), Problem> {
        if revision != Some(0)
            && let Some(kept) = statements::find(&self.pool, about, revision).await.map_err(refused)?
        {
            return Ok(kept);
        }
        if let Some(revision) = revision.filter(|revision| *revision > 0) {
            return Err(refused(StatementError::NoRevision(about.period.to_string(), revision)));
        }
        let (pool, catalog, wanted) = (self.pool.clone(), catalog.clone(), about.clone());
        let make = move || async move {
            statements::provisional(&pool, &wanted, async || agreements(&catalog, false).await).await
        };
        let statement = self.recent.get(about, make).await.map_err(|error| refused_of(&error))?;
        Ok((statement.head.clone(), Rows::of_shared(statement)))
    }

    /// What one revision of a statement added.
    pub(crate) async fn statement_added(&self, about: &About, revision: u32) -> Result<(Head, Rows), Problem> {
        let kept = statements::added(&self.pool, about, revision).await.map_err(refused)?;
        kept.ok_or_else(|| refused(StatementError::NoRevision(about.period.to_string(), revision)))
    }

    /// A part of a statement.
    pub(crate) async fn statement_page(
        &self,
        head: Head,
        rows: Rows,
        selection: &Selection,
        largest: Largest,
        limit: usize,
    ) -> Result<StatementPage, Problem> {
        statements::page(head, rows, selection, largest, limit).await.map_err(refused)
    }

    /// What was watched.
    pub(crate) async fn usage(&self, question: &UsageQuestion, catalog: &CatalogView) -> Result<UsageReport, Problem> {
        let look = |titles: &[String]| {
            catalog.read_at(|catalog, next_offset| {
                let known = |id: &String| {
                    let title = catalog.title(&id.parse().ok()?)?;
                    Some((id.clone(), KnownTitle { name: title.name.clone(), runtime_ms: title.runtime_ms }))
                };
                (titles.iter().filter_map(known).collect(), next_offset)
            })
        };
        licensing::usage(&self.pool, question, look).await.map_err(unreadable)
    }

    /// Closes a statement.
    pub(crate) async fn close(&self, about: &About, early: bool, catalog: &CatalogView) -> Result<Closed, Problem> {
        let (reads, about, catalog) = (self.clone(), about.clone(), catalog.clone());
        // What was begun is brought to its end, also when nobody waits for it any more.
        let closing = tokio::spawn(async move {
            let agreements = async || agreements(&catalog, true).await;
            let at_least = async || statements::caught_up(&reads.pool, &reads.log, &about.period, LAG_WAIT).await;
            statements::close(&reads.pool, &about, agreements, Utc::now(), early, at_least).await
        });
        closing.await.map_err(|panic| Problem::internal(&panic))?.map_err(refused)
    }

    /// Restates a closed statement; `None` where nothing changed.
    pub(crate) async fn restate(&self, about: &About, catalog: &CatalogView) -> Result<Option<Closed>, Problem> {
        let agreements = async || agreements(catalog, true).await;
        statements::restate(&self.pool, about, agreements, Utc::now()).await.map_err(refused)
    }

    /// The sessions behind a row.
    pub(crate) async fn sessions_behind(
        &self,
        question: &statements::SessionsQuestion,
        catalog: &CatalogView,
    ) -> Result<(Vec<statements::SessionBehind>, Vec<AsOf>), Problem> {
        let agreements = agreements(catalog, false).await.ok_or_else(|| refused(StatementError::CatalogAway))?;
        statements::sessions_behind(&self.pool, question, &agreements).await.map_err(refused)
    }

    /// A session's records in the log.
    pub(crate) async fn beats(&self, account: &AccountId, session: SessionId) -> Result<Beats, Problem> {
        let beats = statements::beats(&self.pool, &self.log, account, session).await.map_err(refused)?;
        beats.ok_or_else(|| Problem::new(ProblemKind::SessionUnknown, "licensing knows no such session"))
    }

    /// How many watched at once, and who could not.
    pub(crate) async fn concurrency(
        &self,
        question: &concurrency::Question,
        catalog: &CatalogView,
    ) -> Result<concurrency::Concurrency, Problem> {
        let mut report = concurrency::concurrency(&self.pool, question).await.map_err(unreadable)?;
        catalog.read(|catalog| {
            report.name_titles(|id| catalog.title(&id.parse().ok()?).map(|title| title.name.clone()));
        });
        Ok(report)
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

    /// What a question about the clickstream is answered with.
    pub(crate) async fn ask_clickstream(
        &self,
        question: &clickstream::question::Question,
    ) -> Result<clickstream::Answer, Problem> {
        clickstream::ask(&self.pool, question).await.map_err(unreadable)
    }

    /// What happened in one session, or to one person.
    pub(crate) async fn timeline(
        &self,
        question: &clickstream::TimelineQuestion,
    ) -> Result<clickstream::Timeline, Problem> {
        clickstream::timeline(&self.pool, question).await.map_err(unreadable)
    }

    /// The names of clickstream events.
    pub(crate) async fn clickstream_names(&self) -> Result<Vec<clickstream::SuggestedName>, Problem> {
        clickstream::names(&self.pool).await.map_err(unreadable)
    }

    /// The paths of their properties.
    pub(crate) async fn clickstream_paths(
        &self,
        name: Option<&str>,
    ) -> Result<Vec<clickstream::SuggestedPath>, Problem> {
        clickstream::paths(&self.pool, name).await.map_err(unreadable)
    }

    /// All saved questions.
    pub(crate) async fn saved_questions(&self) -> Result<Vec<clickstream::Saved>, Problem> {
        clickstream::saved(&self.pool).await.map_err(away)
    }

    /// A saved question.
    pub(crate) async fn saved_question(&self, name: &clickstream::SavedName) -> Result<clickstream::Saved, Problem> {
        let found = clickstream::find_saved(&self.pool, name).await.map_err(away)?;
        found.ok_or_else(|| Problem::new(ProblemKind::NotFound, "no question is saved under this name"))
    }

    /// Saves a question.
    pub(crate) async fn save_question(
        &self,
        name: &clickstream::SavedName,
        question: &clickstream::question::Question,
    ) -> Result<clickstream::Saved, Problem> {
        clickstream::save(&self.pool, name, question).await.map_err(|error| match error {
            clickstream::SaveError::Full => Problem::invalid_field("/name", error.to_string()),
            clickstream::SaveError::Database(error) => away(error),
        })
    }

    /// Deletes a saved question.
    pub(crate) async fn delete_question(&self, name: &clickstream::SavedName) -> Result<(), Problem> {
        let was_there = clickstream::delete_saved(&self.pool, name).await.map_err(away)?;
        if was_there {
            Ok(())
        } else {
            Err(Problem::new(ProblemKind::NotFound, "no question is saved under this name"))
        }
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

/// What was agreed on, as this node has read it; with `wait` at least as far as the catalog goes now.
async fn agreements(catalog: &CatalogView, wait: bool) -> Option<Agreements> {
    if !catalog.is_whole() || wait && !catalog.caught_up(CATALOG_WAIT).await {
        return None;
    }
    Some(catalog.read_at(Agreements::of))
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it over")]
pub(crate) fn refused(error: StatementError) -> Problem {
    refused_of(&error)
}

fn refused_of(error: &StatementError) -> Problem {
    let detail = error.to_string();
    match error {
        StatementError::Read(error) => unreadable_of(error),
        StatementError::OldLicensing
        | StatementError::NothingLive
        | StatementError::CatalogAway
        | StatementError::LogAway(_)
        | StatementError::Backwards
        | StatementError::Behind
        | StatementError::Making
        | StatementError::Lagging { .. } => Problem::new(ProblemKind::Unavailable, detail).retry_after(RETRY_AFTER_S),
        StatementError::ClosedAlready(_)
        | StatementError::NotClosed(_)
        | StatementError::TooEarly(..)
        | StatementError::Parked(_)
        | StatementError::Incomplete(_) => Problem::new(ProblemKind::StatementRefused, detail),
        StatementError::NoRevision(..) => Problem::new(ProblemKind::NotFound, detail),
        StatementError::TooLong => Problem::invalid_field("/period", detail),
        StatementError::Kept(_) | StatementError::Unmade(_) | StatementError::Unwritten(_) => {
            Problem::internal(&detail)
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it over")]
fn unreadable(error: ReadError) -> Problem {
    unreadable_of(&error)
}

fn unreadable_of(error: &ReadError) -> Problem {
    match error {
        ReadError::Database(error) => away_of(error),
        ReadError::TooSlow => Problem::new(ProblemKind::TimedOut, error.to_string()).retry_after(RETRY_AFTER_S),
        ReadError::TooLong(why) => Problem::invalid_field("/period", *why),
        ReadError::Old(why) => Problem::new(ProblemKind::Unavailable, *why),
        ReadError::Path(why) => Problem::invalid_field("/path", format!("{why} (in the query)")),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it over")]
fn away(error: sqlx::Error) -> Problem {
    away_of(&error)
}

fn away_of(error: &sqlx::Error) -> Problem {
    match error {
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) => {
            Problem::internal(error)
        }
        error => Problem::new(ProblemKind::Unavailable, "the read models cannot be read for now")
            .retry_after(RETRY_AFTER_S)
            .because(error),
    }
}
