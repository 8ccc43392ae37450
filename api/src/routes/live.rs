//! The figures of the live page.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer;
use crate::cluster::Hopped;
use crate::problem::Problem;
use crate::schema;
use crate::state::ApiState;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(live))
}

/// What runs now
///
/// As this node folded it, with the newest decisions of all accounts. Where nodes share the partitions, of all of them
/// together.
#[utoipa::path(
    get, path = "/v1/live", tag = "operation",
    responses((status = 200, description = "The figures.", body = schema::Live))
)]
async fn live(State(api): State<ApiState>, Hopped(hopped): Hopped) -> Response {
    let own = api.playback().live();
    if hopped || api.playback().view().is_whole() {
        return answer::ok(&own);
    }
    match serde_json::to_value(own) {
        Ok(own) => answer::ok(&api.cluster().add_live(own).await),
        Err(error) => Problem::internal(&error).into_response(),
    }
}
