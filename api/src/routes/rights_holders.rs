//! Rights holders: who owns titles and is owed for their use.

use axum::extract::State;
use axum::response::Response;
use pulsegate_write_side::request::parse_rights_holder;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer;
use crate::callers::By;
use crate::extract::{JsonBody, PathIds};
use crate::problem::Problem;
use crate::schema;
use crate::schema::catalog::{RightsHolder, RightsHolderBody};
use crate::state::ApiState;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(put, get))
}

/// Read a rights holder
#[utoipa::path(
    get, path = "/v1/rights-holders/{id}", tag = "catalog",
    params(("id" = String, Path, description = "Which rights holder.")),
    responses(
        (status = 200, description = "The rights holder, as it was registered last.", body = RightsHolder),
        (status = 404, description = "`entity-unknown`.",
         body = schema::Problem, content_type = "application/problem+json"),
    )
)]
async fn get(State(api): State<ApiState>, ids: PathIds) -> Result<Response, Problem> {
    let id = ids.read("id", "/rights_holder_id")?;
    let found = api.playback().catalog().read(|catalog| catalog.rights_holder(&id).cloned());
    Ok(answer::ok(&found.ok_or_else(|| Problem::entity_unknown("rights holder", &id))?))
}

/// Register a rights holder
///
/// Or register it anew: the newest registration counts.
#[utoipa::path(
    put, path = "/v1/rights-holders/{id}", tag = "catalog",
    params(("id" = String, Path, description = "Which rights holder.")),
    request_body = RightsHolderBody,
    responses((status = 200, description = "The rights holder, as it is registered now.", body = RightsHolder))
)]
async fn put(State(api): State<ApiState>, by: By, ids: PathIds, JsonBody(body): JsonBody) -> Result<Response, Problem> {
    let registered =
        by.playback(&api).put_rights_holder(parse_rights_holder(ids.read("id", "/rights_holder_id")?, &body)?).await?;
    Ok(answer::ok(&registered))
}
