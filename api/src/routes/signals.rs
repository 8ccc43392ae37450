//! Signals: what licence, segment and manifest servers saw.

use axum::extract::State;
use axum::response::Response;
use pulsegate_write_side::request::parse_signal_batch;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer::{self, SignalsAnswer};
use crate::cluster::Hopped;
use crate::extract::JsonBody;
use crate::problem::Problem;
use crate::refused;
use crate::schema::requests::SignalBatch;
use crate::state::ApiState;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(signals))
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
    Ok(answer::ok(&api.cluster().signals(&api, batch, &body, hopped).await?))
}
