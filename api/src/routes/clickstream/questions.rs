//! Questions about the clickstream: over time, by property, sessions, funnels, retention, a timeline.

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use pulsegate_projections::clickstream::question::{Mistake, Question};
use pulsegate_projections::clickstream::{
    Answer, Decided, EventRow, SuggestedName, SuggestedPath, TIMELINE_MAX, TimelineQuestion, Whose,
};
use pulsegate_projections::live::AsOf;
use pulsegate_write_side::problems::FieldProblem;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{LIMIT_DEFAULT, OfAPage, written};
use crate::answer;
use crate::extract::{Limit, Text, pairs, query};
use crate::instant::Instant;
use crate::problem::Problem;
use crate::routes::reports::{AS_OF, Format, places};
use crate::schema;
use crate::schema::clickstream as described;
use crate::state::ApiState;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(trend))
        .routes(routes!(breakdown))
        .routes(routes!(sessions))
        .routes(routes!(funnel))
        .routes(routes!(retention))
        .routes(routes!(timeline))
        .routes(routes!(names))
        .routes(routes!(paths))
}

/// Ask how many events there were over time
///
/// Of each name. Without conditions it is counted, however many events there are; with some, see `exact`.
#[utoipa::path(
    get, path = "/v1/clickstream/trend", tag = "reports",
    params(
        ("period" = Option<String>, Query, description = "`7d`, the newest days of the log, or as for a report; `7d` where absent."),
        ("by" = Option<described::Bucket>, Query, description = "`day` where absent."),
        ("top" = Option<u32>, Query, description = "How many names are told apart, 1-100; 10 where absent."),
        described::OfNames,
        described::Asked,
    ),
    responses((status = 200, description = "The figures.",
               content((described::TrendAnswer = "application/json"), (String = "text/csv"))))
)]
async fn trend(State(api): State<ApiState>, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    asked(&api, "trend", raw.as_deref()).await
}

/// Ask how many events have which value
///
/// At a path of their properties, which nobody has to have declared.
#[utoipa::path(
    get, path = "/v1/clickstream/breakdown", tag = "reports",
    params(
        ("path" = String, Query, description = "`$.player.version`, `$.items[0]`, `$.\"a key. with dots\"`."),
        ("period" = Option<String>, Query, description = "As for a trend."),
        ("top" = Option<u32>, Query, description = "How many values are told apart, 1-100; 10 where absent."),
        described::OfNames,
        described::Asked,
    ),
    responses((status = 200, description = "The figures.",
               content((described::BreakdownAnswer = "application/json"), (String = "text/csv"))))
)]
async fn breakdown(State(api): State<ApiState>, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    asked(&api, "breakdown", raw.as_deref()).await
}

/// Ask how many sessions there were, how long and how rich
///
/// A person's events without a pause of more than `gap`, or those of one `session_id`. By the day on which they began.
#[utoipa::path(
    get, path = "/v1/clickstream/sessions", tag = "reports",
    params(
        ("period" = Option<String>, Query, description = "As for a trend; at most 92 days."),
        ("by" = Option<described::SessionsBy>, Query, description = "`gap` where absent."),
        ("gap" = Option<String>, Query, description = "The longest pause within a session; `30m` where absent."),
        described::OfNames,
        described::Asked,
    ),
    responses((status = 200, description = "The figures.",
               content((described::SessionsOfClickstreamAnswer = "application/json"), (String = "text/csv"))))
)]
async fn sessions(State(api): State<ApiState>, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    asked(&api, "sessions", raw.as_deref()).await
}

/// Ask how many people did one thing after another
///
/// Of a person the try counts that got furthest. `docs/clickstream.md` says it exactly.
#[utoipa::path(
    get, path = "/v1/clickstream/funnel", tag = "reports",
    params(
        ("step" = Vec<String>, Query, description = "The names of the steps' events, in order, 2-8."),
        ("where.1" = Option<Vec<String>>, Query, description = "What must hold for the first step, as `where` of a trend; `where.2` for the second, and so on."),
        ("window" = Option<String>, Query, description = "From the first step to the last, `30m`, `2h`, up to `31d`; `1d` where absent."),
        ("period" = Option<String>, Query, description = "As for a trend; at most 92 days."),
        described::Asked,
    ),
    responses((status = 200, description = "The figures.",
               content((described::FunnelAnswer = "application/json"), (String = "text/csv"))))
)]
async fn funnel(State(api): State<ApiState>, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    asked(&api, "funnel", raw.as_deref()).await
}

/// Ask how many people came back
///
/// Those who did something for the first time in a week of the period, and how many of them did something in each week
/// since. Weeks begin on Monday, UTC.
#[utoipa::path(
    get, path = "/v1/clickstream/retention", tag = "reports",
    params(
        ("first" = String, Query, description = "The name of the event that makes a newcomer."),
        ("back" = Option<String>, Query, description = "The name of the event that is coming back; any where absent."),
        ("period" = Option<String>, Query, description = "As for a trend, `56d` where absent; at most 183 days."),
        described::Asked,
    ),
    responses((status = 200, description = "The figures.",
               content((described::RetentionAnswer = "application/json"), (String = "text/csv"))))
)]
async fn retention(State(api): State<ApiState>, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    asked(&api, "retention", raw.as_deref()).await
}

async fn asked(api: &ApiState, kind: &'static str, raw: Option<&str>) -> Result<Response, Problem> {
    let question = Question::read(kind, &pairs(raw)?).map_err(mistaken)?;
    let format = query(raw, "format")?.unwrap_or(Format::Json);
    let answer = api.reads().ask_clickstream(&question).await?;
    Ok(match format {
        Format::Json => answer::ok(&answer),
        Format::Csv => csv(&answer),
    })
}

/// What is wrong with a question, with its places.
pub(super) fn mistaken(mistakes: Vec<Mistake>) -> Problem {
    let field = |mistake: Mistake| FieldProblem::new(mistake.pointer, format!("{} (in the query)", mistake.detail));
    Problem::invalid(mistakes.into_iter().map(field).collect())
}

fn csv(answer: &Answer) -> Response {
    let days = answer.first.zip(answer.last).map_or_else(String::new, |(first, last)| format!("-{first}--{last}"));
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"clickstream-{}{days}.csv\"", answer.kind)),
        (AS_OF, places(&answer.as_of)),
    ];
    (headers, answer.table().to_csv()).into_response()
}

/// A page of a timeline.
#[derive(Serialize, ToSchema)]
struct TimelineAnswer {
    /// Oldest first.
    #[schema(value_type = Vec<schema::reports::ClickstreamEvent>)]
    events: Vec<EventRow>,
    /// What playback decided for their account at that time, oldest first.
    #[schema(value_type = Vec<described::DecidedBeside>)]
    decisions: Vec<Decided>,
    /// What to ask as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[schema(value_type = Vec<schema::reports::ReportAsOf>)]
    as_of: Vec<AsOf>,
}

/// Read a timeline
///
/// All events of one session, account or visitor, in the order in which the log took them in, and what playback decided
/// for the account beside.
#[utoipa::path(
    get, path = "/v1/clickstream/timeline", tag = "reports",
    params(
        ("session" = Option<uuid::Uuid>, Query, description = "Of which session. One of `session`, `account`, `anonymous` is required."),
        ("account" = Option<String>, Query, description = "Of which account."),
        ("anonymous" = Option<String>, Query, description = "Of which visitor."),
        ("from" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "Taken in then or later."),
        ("until" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "Taken in before."),
        ("limit" = Option<u32>, Query, description = "How many, up to 1 000; 100 where absent.", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "The `next` of the page before."),
    ),
    responses((status = 200, description = "The events.", body = TimelineAnswer))
)]
async fn timeline(State(api): State<ApiState>, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    let raw = raw.as_deref();
    let instant = |name| Ok::<_, Problem>(query::<Instant>(raw, name)?.map(|Instant(at)| at.to_utc()));
    let whose = match (query(raw, "session")?, query(raw, "account")?, query(raw, "anonymous")?) {
        (Some(session), None, None) => Whose::Session(session),
        (None, Some(account), None) => Whose::Account(account),
        (None, None, Some(visitor)) => Whose::Visitor(visitor),
        _ => {
            return Err(Problem::invalid_field(
                "/session",
                "or account, or anonymous, one of them, is required (in the query)",
            ));
        }
    };
    let question = TimelineQuestion {
        whose,
        from: instant("from")?,
        until: instant("until")?,
        after: query(raw, "after")?.map(|OfAPage(place)| place),
        limit: query(raw, "limit")?.map_or(LIMIT_DEFAULT, |Limit::<TIMELINE_MAX>(limit)| limit),
    };
    let page = api.reads().timeline(&question).await?;
    Ok(answer::ok(&TimelineAnswer {
        events: page.events,
        decisions: page.decisions,
        next: page.next.map(written),
        as_of: page.as_of,
    }))
}

/// Names that events have.
#[derive(Serialize, ToSchema)]
struct Names {
    /// The most frequent first, up to 200.
    #[schema(value_type = Vec<described::NameThere>)]
    names: Vec<SuggestedName>,
}

/// List the names of events
///
/// Those of the newest 30 days of the log.
#[utoipa::path(
    get, path = "/v1/clickstream/names", tag = "reports",
    responses((status = 200, description = "The names.", body = Names))
)]
async fn names(State(api): State<ApiState>) -> Result<Response, Problem> {
    Ok(answer::ok(&Names { names: api.reads().clickstream_names().await? }))
}

/// Paths that properties have.
#[derive(Serialize, ToSchema)]
struct Paths {
    /// The most frequent first, up to 200.
    #[schema(value_type = Vec<described::PathThere>)]
    paths: Vec<SuggestedPath>,
}

/// List the paths of properties
///
/// Those in the newest 200 events, with some values that stand there.
#[utoipa::path(
    get, path = "/v1/clickstream/paths", tag = "reports",
    params(("name" = Option<String>, Query, description = "Only in events of this name.")),
    responses((status = 200, description = "The paths.", body = Paths))
)]
async fn paths(State(api): State<ApiState>, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    let name = query(raw.as_deref(), "name")?.map(|Text(name)| name);
    Ok(answer::ok(&Paths { paths: api.reads().clickstream_paths(name.as_deref()).await? }))
}
