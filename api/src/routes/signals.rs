//! Signals: what licence, segment and manifest servers saw.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use chrono::Utc;
use pulsegate_write_side::adapter::{parse_delivery, parse_licence};
use pulsegate_write_side::request::parse_signal_batch;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer::{self, LicenceAnswer, LogAnswer, SignalsAnswer};
use crate::cluster::Hopped;
use crate::extract::{JsonBody, LinesBody};
use crate::problem::Problem;
use crate::refused;
use crate::schema;
use crate::schema::requests::{LicenceQuestion, LogDelivery, SignalBatch};
use crate::state::ApiState;

pub(super) fn taking_in() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(signals))
}

/// What these refuse is not kept: a log is kept by whoever wrote it, and a licence server has its answer.
pub(super) fn asking() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(licence)).routes(routes!(cloudfront))
}

/// Send signals
///
/// Of any accounts, up to 1 000, each answered by its own verdict: a licence server refuses on `block`. One that could
/// not be judged has an `error` instead.
#[utoipa::path(
    post, path = "/v1/signals", tag = "ingest", request_body = SignalBatch,
    responses((status = 200, description = "A verdict for each.", body = SignalsAnswer))
)]
async fn signals(
    State(api): State<ApiState>,
    Hopped(hopped): Hopped,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let batch = parse_signal_batch(&body)?;
    refused::keep(&api, refused::items("/v1/signals", &batch.rejected));
    let answered = api.cluster().signals(&api, batch, &body, hopped).await?;
    if !hopped {
        refused::keep(&api, refused::judged("/v1/signals", &body, "signals", answered.errors()));
    }
    Ok(answer::ok(&answered))
}

/// Ask before a licence is issued
///
/// For a licence server's callback, as JSON of any shape: the mapping says where in it account, device and title stand.
/// Issue on 200, refuse on 409 and 410, and on 503 issue: who can't be judged may watch.
#[utoipa::path(
    post, path = "/v1/signals/licence", tag = "ingest", request_body = LicenceQuestion,
    responses(
        (status = 200, description = "It may be issued.", body = LicenceAnswer),
        (status = 409, description = "`concurrency-limit-reached`, with the verdict.",
         body = schema::Problem, content_type = "application/problem+json"),
        (status = 410, description = "`session-ended`, with the verdict.",
         body = schema::Problem, content_type = "application/problem+json"),
    )
)]
async fn licence(
    State(api): State<ApiState>,
    Hopped(hopped): Hopped,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let question = parse_licence(&body, &api.settings().mapping)?;
    if !hopped && let Some(answer) = api.cluster().licence(&question.account_id, &body).await {
        return Ok(answer);
    }
    let answered = api.playback().licence(question).await?;
    Ok(answer::licence(answered, api.measures()))
}

/// Send lines of a delivery network's log
///
/// Amazon's: records of a real-time log, or a standard log with its `#Fields`, as text; or what Firehose delivers to an HTTP
/// endpoint. Each line is good or bad by itself. Of the many that one viewing makes, as few become signals as keep it
/// alive, and one that is older than its lease becomes none.
#[utoipa::path(
    post, path = "/v1/signals/cloudfront", tag = "ingest",
    request_body(content((String = "text/plain"), (LogDelivery = "application/json"))),
    responses((status = 200, description = "What became of the lines.", body = LogAnswer))
)]
async fn cloudfront(State(api): State<ApiState>, LinesBody(body): LinesBody) -> Result<Response, Problem> {
    // No line of a log begins so.
    let is_delivery = body.trim_ascii_start().starts_with(b"{");
    let (delivery, lines) = if is_delivery {
        let delivery = parse_delivery(&body)?;
        (Some(delivery.request_id), Bytes::from(delivery.lines))
    } else {
        (None, body)
    };
    let outcome = api.playback().cloudfront(lines, Arc::clone(&api.settings().mapping), api.thinner()).await?;
    let delivery = delivery.map(|id| (id, Utc::now().timestamp_millis()));
    Ok(answer::ok(&LogAnswer::of(outcome, delivery)))
}
