//! Rights holders: who owns titles and is owed for their use.

use axum::extract::State;
use axum::response::Response;
use pulsegate_domain::event::RightsHolderRegistered;
use pulsegate_write_side::request::parse_rights_holder;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer;
use crate::callers::By;
use crate::extract::{JsonBody, PathIds};
use crate::problem::Problem;
use crate::schema;
use crate::schema::catalog::{RightsHolder, RightsHolderBody};
use crate::state::ApiState;

/// Most rights holders that one list tells.
const LISTED_MAX: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(put, get))
}

/// Rights holders in a list.
#[derive(Serialize, ToSchema)]
struct RightsHolders {
    #[schema(value_type = Vec<RightsHolder>)]
    rights_holders: Vec<RightsHolderRegistered>,
}

/// List rights holders
#[utoipa::path(
    get, path = "/v1/rights-holders", tag = "catalog",
    responses((status = 200, description = "The first 1 000, in the order of their ids.", body = RightsHolders))
)]
async fn list(State(api): State<ApiState>) -> Result<Response, Problem> {
    let mut rights_holders: Vec<_> =
        api.playback().catalog().read(|catalog| catalog.rights_holders().cloned().collect());
    rights_holders.sort_by(|a, b| a.rights_holder_id.cmp(&b.rights_holder_id));
    rights_holders.truncate(LISTED_MAX);
    Ok(answer::ok(&RightsHolders { rights_holders }))
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
