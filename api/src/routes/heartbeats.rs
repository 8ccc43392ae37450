//! Heartbeats: one of a session, or many of any.

use axum::extract::State;
use axum::response::Response;
use pulsegate_write_side::request::{parse_heartbeat, parse_heartbeat_batch};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer::{self, BatchAnswer, HeartbeatAnswer};
use crate::callers::By;
use crate::cluster::Hopped;
use crate::extract::{JsonBody, PathIds};
use crate::problem::Problem;
use crate::refused;
use crate::schema;
use crate::schema::requests::{HeartbeatBatch, HeartbeatRequest};
use crate::state::ApiState;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(heartbeat)).routes(routes!(heartbeats))
}

/// Send a heartbeat
///
/// Answered once it is in the log. A session without a slot asks for one by it; refused is 200 with `block`. A
/// heartbeat of an ended session is kept too, and answered 410.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/sessions/{session}/heartbeats", tag = "playback",
    params(
        ("account" = String, Path, description = "Whose stream."),
        ("session" = uuid::Uuid, Path, description = "Which session."),
    ),
    request_body = HeartbeatRequest,
    responses(
        (status = 200, description = "It is in the log; the verdict.", body = HeartbeatAnswer),
        (status = 409, description = "`session-mismatch`.",
         body = schema::Problem, content_type = "application/problem+json"),
        (status = 410, description = "`session-ended`, with the verdict.",
         body = schema::Problem, content_type = "application/problem+json"),
    )
)]
async fn heartbeat(
    State(api): State<ApiState>,
    by: By,
    ids: PathIds,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let request = parse_heartbeat(ids.account()?, ids.session()?, &body)?;
    by.heartbeat(&request)?;
    let answered = api.playback().heartbeat(request).await?;
    Ok(answer::heartbeat(answered, api.settings().heartbeat_interval_ms, api.measures()))
}

/// Send many heartbeats
///
/// Of any accounts, up to 1 000. Each stands for itself; nothing waits for verdicts.
#[utoipa::path(
    post, path = "/v1/heartbeats", tag = "ingest", request_body = HeartbeatBatch,
    responses((status = 200, description = "What became of them.", body = BatchAnswer))
)]
async fn heartbeats(
    State(api): State<ApiState>,
    by: By,
    Hopped(hopped): Hopped,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let batch = parse_heartbeat_batch(&body)?;
    by.heartbeats(&batch)?;
    refused::keep(&api, refused::items("/v1/heartbeats", &batch.rejected));
    let outcome = api.cluster().heartbeats(&api, batch, &body, hopped).await?;
    if !hopped {
        refused::keep(&api, refused::judged("/v1/heartbeats", &body, "heartbeats", outcome.rejected()));
    }
    Ok(answer::ok(&BatchAnswer::from(outcome)))
}
