//! The figures of the live page.

use axum::extract::State;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer;
use crate::schema;
use crate::state::ApiState;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(live))
}

/// What runs now
///
/// As this node folded it, with the newest decisions of all accounts.
#[utoipa::path(
    get, path = "/v1/live", tag = "operation",
    responses((status = 200, description = "The figures.", body = schema::Live))
)]
async fn live(State(api): State<ApiState>) -> Response {
    answer::ok(&api.playback().live())
}
