//! Projections: which versions there are and how far each is.

use axum::extract::State;
use axum::response::Response;
use pulsegate_projections::ProjectionStatus;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer;
use crate::problem::Problem;
use crate::schema;
use crate::state::ApiState;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(projections))
}

/// How every projection stands.
#[derive(Serialize, ToSchema)]
struct Projections {
    #[schema(value_type = Vec<schema::projections::Projection>)]
    projections: Vec<ProjectionStatus>,
}

/// List projections
///
/// Each build, with its state, its lag in events and seconds, its rate, what it parked, what was done to it, and the
/// rebuild that works on it.
#[utoipa::path(
    get, path = "/v1/projections", tag = "operation",
    responses((status = 200, description = "The projections.", body = Projections))
)]
async fn projections(State(api): State<ApiState>) -> Result<Response, Problem> {
    let projections = api.reads().projections().await?;
    Ok(answer::ok(&Projections { projections }))
}
