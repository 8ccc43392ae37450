//! Clickstream: any JSON that a front end sends, in and out.

mod export;
mod questions;
mod saved;

use std::str::FromStr;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use pulsegate_projections::clickstream::{EVENTS_MAX, EventRow, EventsQuestion, Place};
use pulsegate_write_side::request::parse_clickstream_batch;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer::{self, BatchAnswer};
use crate::callers::By;
use crate::extract::{JsonBody, Limit, Text, query};
use crate::instant::Instant;
use crate::problem::Problem;
use crate::refused;
use crate::schema;
use crate::schema::requests::ClickstreamBatch;
use crate::state::ApiState;

/// How many are shown where nothing is said.
const LIMIT_DEFAULT: u32 = 100;

pub(super) fn taking_in() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(clickstream))
}

pub(super) fn asking() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(events))
        .merge(export::routes())
        .merge(questions::routes())
        .merge(saved::routes())
}

/// Send clickstream events
///
/// Up to 1 000. Each stands for itself.
#[utoipa::path(
    post, path = "/v1/clickstream", tag = "ingest", request_body = ClickstreamBatch,
    responses((status = 202, description = "What became of them.", body = BatchAnswer))
)]
async fn clickstream(State(api): State<ApiState>, by: By, JsonBody(body): JsonBody) -> Result<Response, Problem> {
    let batch = parse_clickstream_batch(&body)?;
    by.clickstream(&batch)?;
    refused::keep(&api, refused::items("/v1/clickstream", &batch.rejected));
    let outcome = api.playback().clickstream(batch).await?;
    Ok(answer::json(StatusCode::ACCEPTED, &BatchAnswer::from(outcome)))
}

/// A page of clickstream events.
#[derive(Serialize, ToSchema)]
struct Events {
    /// Newest first.
    #[schema(value_type = Vec<schema::reports::ClickstreamEvent>)]
    events: Vec<EventRow>,
    /// What to ask as `before` for the next page; absent on the last. With a `path` a page may be short, or empty, and
    /// not the last: it looks into 20 000 events at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Find clickstream events
///
/// Newest first, by the log's time. From the read model in the database, for as long as it keeps their days.
#[utoipa::path(
    get, path = "/v1/clickstream", tag = "reports",
    params(
        ("from" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "Taken in then or later."),
        ("until" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "Taken in before."),
        ("name" = Option<String>, Query, description = "Of this name."),
        ("account" = Option<String>, Query, description = "Of this account."),
        ("anonymous" = Option<String>, Query, description = "Of this visitor."),
        ("session" = Option<uuid::Uuid>, Query, description = "Of this session."),
        ("path" = Option<String>, Query,
         description = "A SQL/JSON path that must find something in `properties`, such as `$.price ? (@ > 10)`."),
        ("limit" = Option<u32>, Query, description = "How many, up to 500; 100 where absent.",
         minimum = 1, maximum = 500),
        ("before" = Option<String>, Query, description = "The `next` of the page before."),
    ),
    responses((status = 200, description = "The events.", body = Events))
)]
async fn events(State(api): State<ApiState>, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    let raw = raw.as_deref();
    let page = api.reads().clickstream_events(&question(raw)?).await?;
    Ok(answer::ok(&Events { events: page.events, next: page.next.map(written) }))
}

fn written(place: Place) -> String {
    format!("{}.{}.{}", place.logged_ms, place.partition, place.offset)
}

fn question(raw: Option<&str>) -> Result<EventsQuestion, Problem> {
    let instant = |name| Ok::<_, Problem>(query::<Instant>(raw, name)?.map(|Instant(at)| at.to_utc()));
    Ok(EventsQuestion {
        from: instant("from")?,
        until: instant("until")?,
        name: query(raw, "name")?.map(|Text(name)| name),
        account_id: query(raw, "account")?,
        anonymous_id: query(raw, "anonymous")?,
        session_id: query(raw, "session")?,
        path: query(raw, "path")?.map(|Text(path)| path),
        before: query(raw, "before")?.map(|OfAPage(place)| place),
        limit: query(raw, "limit")?.map_or(LIMIT_DEFAULT, |Limit::<EVENTS_MAX>(limit)| limit),
    })
}

#[derive(Debug, PartialEq, Eq)]
struct OfAPage(Place);

impl FromStr for OfAPage {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, '.');
        let mut next = || parts.next()?.parse::<i64>().ok();
        let place = (|| {
            let (logged_ms, partition, offset) = (next()?, next()?, next()?);
            let is_time = chrono::DateTime::from_timestamp_millis(logged_ms).is_some();
            let partition = i32::try_from(partition).ok()?;
            is_time.then_some(Place { logged_ms, partition, offset })
        })();
        place.map(Self).ok_or("must be what a page gave as its next")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_at_a_place() {
        assert_eq!("7.2.1".parse(), Ok(OfAPage(Place { logged_ms: 7, partition: 2, offset: 1 })));
        for bad in ["", "7", "7.1", "7.1.x", "7.99999999999.1", "9223372036854775807.0.0", "1.2.3.4"] {
            assert!(bad.parse::<OfAPage>().is_err(), "{bad}");
        }
    }
}
