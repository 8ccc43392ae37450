//! Contracts with rights holders.

use axum::extract::State;
use axum::response::Response;
use pulsegate_write_side::request::parse_contract;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer;
use crate::extract::{JsonBody, PathIds};
use crate::problem::Problem;
use crate::schema;
use crate::schema::catalog::{Contract, ContractBody};
use crate::state::ApiState;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(put, get))
}

/// Read a contract
#[utoipa::path(
    get, path = "/v1/contracts/{id}", tag = "catalog",
    params(("id" = String, Path, description = "Which contract.")),
    responses(
        (status = 200, description = "The contract, as it was registered last.", body = Contract),
        (status = 404, description = "`entity-unknown`.",
         body = schema::Problem, content_type = "application/problem+json"),
    )
)]
async fn get(State(api): State<ApiState>, ids: PathIds) -> Result<Response, Problem> {
    let id = ids.read("id", "/contract_id")?;
    let found = api.playback().catalog().read(|catalog| catalog.contract(&id).cloned());
    Ok(answer::ok(&found.ok_or_else(|| Problem::entity_unknown("contract", &id))?))
}

/// Register a contract
///
/// Or register it anew: the newest registration counts.
#[utoipa::path(
    put, path = "/v1/contracts/{id}", tag = "catalog",
    params(("id" = String, Path, description = "Which contract.")),
    request_body = ContractBody,
    responses((status = 200, description = "The contract, as it is registered now.", body = Contract))
)]
async fn put(State(api): State<ApiState>, ids: PathIds, JsonBody(body): JsonBody) -> Result<Response, Problem> {
    let registered = api.playback().put_contract(parse_contract(ids.read("id", "/contract_id")?, &body)?).await?;
    Ok(answer::ok(&registered))
}
