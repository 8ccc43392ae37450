//! All events that a question finds, as a file that is streamed.

use std::str::FromStr;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use pulsegate_projections::clickstream::{EVENTS_MAX, EventRow, EventsQuestion, Page};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::question;
use crate::extract::query;
use crate::problem::Problem;
use crate::schema::clickstream as described;
use crate::state::ApiState;

/// Most events of one file.
const EXPORTED_MAX: usize = 1_000_000;
/// Most pages that are read for it, also where a path finds little in them.
const PAGES_MAX: u32 = 20_000;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(export))
}

/// Export clickstream events
///
/// All that the filters find, newest first, up to 1 000 000, streamed: a body that breaks off isn't whole.
#[utoipa::path(
    get, path = "/v1/clickstream/export", tag = "reports",
    params(
        ("from" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "Taken in then or later."),
        ("until" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "Taken in before."),
        ("name" = Option<String>, Query, description = "Of this name."),
        ("account" = Option<String>, Query, description = "Of this account."),
        ("anonymous" = Option<String>, Query, description = "Of this visitor."),
        ("session" = Option<uuid::Uuid>, Query, description = "Of this session."),
        ("path" = Option<String>, Query, description = "A SQL/JSON path that must find something in `properties`."),
        ("format" = Option<described::ExportFormat>, Query, description = "`jsonl`, a line of JSON an event, where absent."),
    ),
    responses((status = 200, description = "The events.",
               content((String = "application/x-ndjson"), (String = "text/csv"))))
)]
async fn export(State(api): State<ApiState>, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    let raw = raw.as_deref();
    let format = query(raw, "format")?.unwrap_or(Lines::Json);
    let question = EventsQuestion { limit: EVENTS_MAX, ..question(raw)? };
    // The first page at once: what is wrong with the question is told with a status.
    let first = api.reads().clickstream_events(&question).await?;
    let state = Pages { api, question, ready: Some(first), sent: 0, read: 1, format };
    let head = stream::iter([Ok(Bytes::from_static(format.head().as_bytes()))]);
    let body = Body::from_stream(futures_util::StreamExt::chain(head, stream::unfold(Some(state), Pages::next)));
    let headers = [
        (CONTENT_TYPE, format.media_type().to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"clickstream.{}\"", format.extension())),
    ];
    Ok((headers, body).into_response())
}

/// Where a file is.
struct Pages {
    api: ApiState,
    question: EventsQuestion,
    ready: Option<Page>,
    sent: usize,
    read: u32,
    format: Lines,
}

impl Pages {
    async fn next(state: Option<Self>) -> Option<(Result<Bytes, std::io::Error>, Option<Self>)> {
        let mut state = state?;
        let page = match state.ready.take() {
            Some(page) => page,
            None => match state.api.reads().clickstream_events(&state.question).await {
                Ok(page) => page,
                // A body that breaks off can't be taken for a whole one.
                Err(problem) => {
                    let why = std::io::Error::other(problem.detail().to_owned());
                    return Some((Err(why), None));
                }
            },
        };
        let mut lines = String::new();
        for event in page.events.iter().take(EXPORTED_MAX - state.sent) {
            state.format.line(&mut lines, event);
        }
        state.sent += page.events.len();
        state.read += 1;
        let goes_on = state.sent < EXPORTED_MAX && state.read < PAGES_MAX;
        let rest = page.next.filter(|_| goes_on).map(|place| {
            state.question.before = Some(place);
            state
        });
        Some((Ok(Bytes::from(lines)), rest))
    }
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    Json,
    Csv,
}

impl FromStr for Lines {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "jsonl" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            _ => Err("must be jsonl or csv"),
        }
    }
}

impl Lines {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
        }
    }

    const fn extension(self) -> &'static str {
        match self {
            Self::Json => "jsonl",
            Self::Csv => "csv",
        }
    }

    const fn head(self) -> &'static str {
        match self {
            Self::Json => "",
            Self::Csv => EventRow::CSV_HEAD,
        }
    }

    fn line(self, text: &mut String, event: &EventRow) {
        match self {
            Self::Json => {
                // It was read from JSON and is text and numbers beside; lines end in its properties only between tokens.
                let line = serde_json::to_string(event).unwrap_or_default();
                text.push_str(&line.replace(['\n', '\r'], " "));
                text.push('\n');
            }
            Self::Csv => event.push_csv(text),
        }
    }
}
