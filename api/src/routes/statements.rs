//! Licensing statements: read, close, restate; and what is behind a figure.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use pulsegate_domain::event::Change;
use pulsegate_projections::live::AsOf;
use pulsegate_projections::statements::export::{Format, Writer};
use pulsegate_projections::statements::{About, Beats, Head, Listed, Rows, SessionBehind, SessionsQuestion};
use pulsegate_write_side::request::parse_statement;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer;
use crate::callers::By;
use crate::extract::{BeaconBody, Limit, PathIds, query};
use crate::problem::Problem;
use crate::reads::refused;
use crate::schema;
use crate::state::ApiState;

/// Most sessions of one page.
const PAGE_MAX: u32 = 1_000;
/// Sessions of a page, where nothing is said.
const PAGE: u32 = 100;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(close))
        .routes(routes!(restate))
        .routes(routes!(sessions))
        .routes(routes!(watch_time))
}

/// The statements that were closed.
#[derive(Serialize, ToSchema)]
struct Statements {
    /// The newest first, each revision by itself.
    #[schema(value_type = Vec<schema::statements::StatementListed>)]
    statements: Vec<Listed>,
}

/// List statements
///
/// Those that were closed and restated; a provisional one needs no list.
#[utoipa::path(
    get, path = "/v1/statements", tag = "statements",
    responses((status = 200, description = "The newest 1 000 revisions.", body = Statements))
)]
async fn list(State(api): State<ApiState>) -> Result<Response, Problem> {
    Ok(answer::ok(&Statements { statements: api.reads().statements().await? }))
}

/// Read a statement
///
/// As it was closed or restated last; while it isn't closed, as it is now. The rows are streamed. `docs/statements.md` says
/// what its figures mean and how its hash is made.
#[utoipa::path(
    get, path = "/v1/statements/{period}", tag = "statements",
    params(
        ("period" = String, Path,
         description = "A month, `2026-10`, a quarter, `2026-Q4`, a day, or days, `2026-10-01--2026-10-15`, UTC."),
        ("rights_holder" = Option<String>, Query, description = "The one to whom; everybody where absent."),
        ("revision" = Option<u32>, Query, description = "1: as it was closed; 0: as it is now; the newest where absent."),
        ("rows" = Option<schema::statements::WhichRows>, Query,
         description = "`added`: only what the revision added, signed."),
        ("format" = Option<schema::statements::StatementFormat>, Query, description = "`json` where absent."),
    ),
    responses(
        (status = 200, description = "The statement.",
         content((schema::statements::Statement = "application/json"), (String = "text/csv"),
                 (String = "text/tab-separated-values"),
                 (Vec<u8> = "application/vnd.apache.parquet"))),
        (status = 404, description = "`not-found`: there is no such revision.",
         body = schema::Problem, content_type = "application/problem+json"),
    )
)]
async fn get(State(api): State<ApiState>, ids: PathIds, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    let raw = raw.as_deref();
    let about = about(&ids, query(raw, "rights_holder")?)?;
    let format = query(raw, "format")?.unwrap_or(Format::Json);
    let revision: Option<u32> = query(raw, "revision")?;
    let which = query(raw, "rows")?.unwrap_or(WhichRows::All);
    let (head, rows) = of_which(&api, &about, revision, which).await?;
    streamed(&about, head, rows, format)
}

/// A statement, or what one revision of it added.
pub(super) async fn of_which(
    api: &ApiState,
    about: &About,
    revision: Option<u32>,
    which: WhichRows,
) -> Result<(Head, Rows), Problem> {
    match which {
        WhichRows::All => api.reads().statement(about, revision, api.playback().catalog()).await,
        WhichRows::Added => {
            let wanted = revision.filter(|revision| *revision > 0);
            let wanted =
                wanted.ok_or_else(|| Problem::invalid_field("/revision", "must be 1 or more with rows=added"))?;
            api.reads().statement_added(about, wanted).await
        }
    }
}

/// Which rows of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhichRows {
    All,
    Added,
}

impl std::str::FromStr for WhichRows {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Self::All),
            "added" => Ok(Self::Added),
            _ => Err("must be all or added"),
        }
    }
}

pub(super) fn about(
    ids: &PathIds,
    rights_holder: Option<pulsegate_domain::ids::RightsHolderId>,
) -> Result<About, Problem> {
    Ok(About { period: ids.parsed("period", "/period")?, rights_holder })
}

/// The file, while its rows come from the database.
fn streamed(about: &About, head: Head, rows: Rows, format: Format) -> Result<Response, Problem> {
    let headers = [
        (CONTENT_TYPE, format.media_type().to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", format.file_name(about, &head))),
    ];
    let (writer, begin) = Writer::begin(format, about, &head).map_err(refused)?;
    let pages = stream::unfold(Some((writer, head, rows)), |state| async {
        let (mut writer, head, mut rows) = state?;
        let (piece, rest) = match rows.next().await {
            Some(page) => (page.and_then(|page| writer.rows(&head, &page)), Some((writer, head, rows))),
            None => (writer.end(), None),
        };
        match piece {
            Ok(bytes) => Some((Ok(Bytes::from(bytes)), rest)),
            // A body that breaks off can't be taken for a whole one.
            Err(error) => {
                tracing::warn!(%error, "a statement broke off");
                Some((Err(std::io::Error::other(error)), None))
            }
        }
    });
    let body = Body::from_stream(stream::iter([Ok(Bytes::from(begin))]).chain(pages));
    Ok((headers, body).into_response())
}

/// A revision that was made.
#[derive(Serialize, ToSchema)]
struct StatementMade {
    #[schema(value_type = schema::statements::StatementHead)]
    statement: Head,
    /// How many rows it added.
    rows_added: usize,
}

/// Close a statement
///
/// From then on it stands: its rows, the offsets it is as of, and a hash over both. Refused until seven days after the
/// period's end, since heartbeats may still come, unless `early`; and while an amount can't be told.
#[utoipa::path(
    post, path = "/v1/statements/{period}/close", tag = "statements",
    params(("period" = String, Path, description = "As for reading it.")),
    request_body = schema::statements::StatementBody,
    responses(
        (status = 201, description = "It is closed.", body = StatementMade),
        (status = 409, description = "`statement-refused`.",
         body = schema::Problem, content_type = "application/problem+json"),
    )
)]
async fn close(
    State(api): State<ApiState>,
    by: By,
    ids: PathIds,
    BeaconBody(body): BeaconBody,
) -> Result<Response, Problem> {
    let request = parse_statement(&body)?;
    let about = about(&ids, request.rights_holder_id)?;
    let closed = api.reads().close(&about, request.early, api.playback().catalog()).await?;
    by.playback(&api).note(closed.head.noted(Change::StatementClosed), "/v1/statements/close").await;
    Ok(answer::json(StatusCode::CREATED, &StatementMade { statement: closed.head, rows_added: closed.rows }))
}

/// Restate a statement
///
/// What arrived since it was closed or restated last becomes a revision of its own, whose rows say what is more or less.
#[utoipa::path(
    post, path = "/v1/statements/{period}/restate", tag = "statements",
    params(("period" = String, Path, description = "As for reading it.")),
    request_body = schema::statements::StatementBody,
    responses(
        (status = 201, description = "There is a new revision.", body = StatementMade),
        (status = 204, description = "Nothing changed: the newest revision stands."),
        (status = 409, description = "`statement-refused`.",
         body = schema::Problem, content_type = "application/problem+json"),
    )
)]
async fn restate(
    State(api): State<ApiState>,
    by: By,
    ids: PathIds,
    BeaconBody(body): BeaconBody,
) -> Result<Response, Problem> {
    let about = about(&ids, parse_statement(&body)?.rights_holder_id)?;
    let made = api.reads().restate(&about, api.playback().catalog()).await?;
    if let Some(made) = &made {
        by.playback(&api).note(made.head.noted(Change::StatementRestated), "/v1/statements/restate").await;
    }
    Ok(match made {
        Some(made) => answer::json(StatusCode::CREATED, &StatementMade { statement: made.head, rows_added: made.rows }),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// The sessions behind a row.
#[derive(Serialize, ToSchema)]
struct SessionsBehind {
    /// In the order of the log.
    #[schema(value_type = Vec<schema::statements::SessionBehind>)]
    sessions: Vec<SessionBehind>,
    /// `after` of the next page; null behind the last one.
    #[schema(required = true)]
    next: Option<String>,
    #[schema(value_type = Vec<schema::reports::ReportAsOf>)]
    as_of: Vec<AsOf>,
}

/// List the sessions behind a figure
///
/// As the read model has them now, also of a statement that was closed.
#[utoipa::path(
    get, path = "/v1/statements/{period}/sessions", tag = "statements",
    params(
        ("period" = String, Path, description = "As for reading the statement."),
        ("title" = String, Query, description = "Of which title."),
        ("contract" = Option<String>, Query, description = "Under which contract; whatever holds where absent."),
        ("territory" = Option<String>, Query, description = "Only there."),
        ("device_class" = Option<schema::DeviceClass>, Query, description = "Only on such."),
        ("after" = Option<String>, Query, description = "`next` of the page before."),
        ("limit" = Option<u32>, Query, description = "1-1000; 100 where absent."),
    ),
    responses((status = 200, description = "A page of sessions.", body = SessionsBehind))
)]
async fn sessions(State(api): State<ApiState>, ids: PathIds, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    let raw = raw.as_deref();
    let title_id = query(raw, "title")?;
    let after: Option<Place> = query(raw, "after")?;
    let Limit(limit) = query::<Limit<PAGE_MAX>>(raw, "limit")?.unwrap_or(Limit(PAGE));
    let question = SessionsQuestion {
        about: about(&ids, None)?,
        contract_id: query(raw, "contract")?,
        title_id: title_id.ok_or_else(|| Problem::invalid_field("/title", "is required (in the query)"))?,
        territory: query(raw, "territory")?,
        device_class: query(raw, "device_class")?,
        after: after.map(|Place(partition, offset)| (partition, offset)),
        limit,
    };
    let (sessions, as_of) = api.reads().sessions_behind(&question, api.playback().catalog()).await?;
    let is_full = usize::try_from(limit).is_ok_and(|limit| sessions.len() >= limit);
    let next = sessions.last().filter(|_| is_full).map(|last| format!("{}.{}", last.partition, last.first_offset));
    Ok(answer::ok(&SessionsBehind { sessions, next, as_of }))
}

/// Where a page begins: a partition and an offset.
#[derive(Debug, PartialEq, Eq)]
struct Place(i32, i64);

impl std::str::FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (partition, offset) = text.split_once('.')?;
            Some(Self(partition.parse().ok()?, offset.parse().ok()?))
        };
        read().ok_or("must be next of the page before")
    }
}

/// Read a session's watch time
///
/// Its records as they stand in the log, topic, partition and offset, each with what it added to the figures.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/sessions/{session}/watch-time", tag = "statements",
    params(("account" = String, Path, description = "Whose."), ("session" = uuid::Uuid, Path, description = "Which.")),
    responses(
        (status = 200, description = "The records.", body = schema::statements::WatchTime),
        (status = 404, description = "`session-unknown`.",
         body = schema::Problem, content_type = "application/problem+json"),
    )
)]
async fn watch_time(State(api): State<ApiState>, ids: PathIds) -> Result<Response, Problem> {
    let beats: Beats = api.reads().beats(&ids.account()?, ids.session()?).await?;
    Ok(answer::ok(&beats))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_at_a_place() {
        assert_eq!("3.17".parse(), Ok(Place(3, 17)));
        assert!(["", "3", "3.", "x.1", "3.1.1"].iter().all(|bad| bad.parse::<Place>().is_err()));
    }
}
