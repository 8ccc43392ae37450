//! Clickstream: any JSON that a front end sends.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use pulsegate_write_side::request::parse_clickstream_batch;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer::{self, BatchAnswer};
use crate::extract::JsonBody;
use crate::problem::Problem;
use crate::refused;
use crate::schema::requests::ClickstreamBatch;
use crate::state::ApiState;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(clickstream))
}

/// Send clickstream events
///
/// Up to 1 000. Each stands for itself.
#[utoipa::path(
    post, path = "/v1/clickstream", tag = "ingest", request_body = ClickstreamBatch,
    responses((status = 202, description = "What became of them.", body = BatchAnswer))
)]
async fn clickstream(State(api): State<ApiState>, JsonBody(body): JsonBody) -> Result<Response, Problem> {
    let batch = parse_clickstream_batch(&body)?;
    refused::keep(&api, refused::items("/v1/clickstream", &batch.rejected));
    let outcome = api.playback().clickstream(batch).await?;
    Ok(answer::json(StatusCode::ACCEPTED, &BatchAnswer::from(outcome)))
}
