//! Contracts with rights holders.

use axum::extract::State;
use axum::response::Response;
use http::HeaderValue;
use http::header::ETAG;
use pulsegate_domain::contract::Contract as Versions;
use pulsegate_domain::event::ContractRegistered;
use pulsegate_domain::ids::ContractId;
use pulsegate_write_side::request::{parse_contract, parse_contract_end};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer;
use crate::callers::By;
use crate::extract::{JsonBody, PathIds, Precondition};
use crate::problem::Problem;
use crate::schema;
use crate::schema::catalog::{Contract, ContractBody, ContractEndBody};
use crate::state::ApiState;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(put, get)).routes(routes!(end)).routes(routes!(versions))
}

/// Read a contract
///
/// As it holds now. `ETag` is its version.
#[utoipa::path(
    get, path = "/v1/contracts/{id}", tag = "catalog",
    params(("id" = String, Path, description = "Which contract.")),
    responses(
        (status = 200, description = "The contract, as it was registered, amended or ended last.", body = Contract,
         headers(("etag" = String, description = "Its version, for `If-Match`."))),
        (status = 404, description = "`entity-unknown`.",
         body = schema::Problem, content_type = "application/problem+json"),
    )
)]
async fn get(State(api): State<ApiState>, ids: PathIds) -> Result<Response, Problem> {
    let id = ids.read("id", "/contract_id")?;
    let found = found(&api, &id)?;
    let contract = found.current().ok_or_else(|| Problem::entity_unknown("contract", &id))?;
    Ok(versioned(contract, Some(found.version())))
}

/// Register a contract
///
/// Or register it anew: the newest registration counts. With `If-Match: "3"` only if it is still at version 3, with
/// `If-None-Match: *` only if there is none yet. What is paid is checked; whatever else the parties agreed on is kept as
/// it comes.
#[utoipa::path(
    put, path = "/v1/contracts/{id}", tag = "catalog",
    params(
        ("id" = String, Path, description = "Which contract."),
        ("if-match" = Option<String>, Header, description = "The version that this was made from, as `ETag` says it."),
        ("if-none-match" = Option<String>, Header, description = "`*`: there must be none yet."),
    ),
    request_body = ContractBody,
    responses(
        (status = 200, description = "The contract, as it is registered now.", body = Contract,
         headers(("etag" = String, description = "Its version, for `If-Match`."))),
        (status = 412, description = "`version-conflict`.",
         body = schema::Problem, content_type = "application/problem+json"),
    )
)]
async fn put(
    State(api): State<ApiState>,
    by: By,
    ids: PathIds,
    Precondition(expected): Precondition,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let contract = parse_contract(ids.read("id", "/contract_id")?, &body)?;
    let registered = by.playback(&api).put_contract(contract, expected).await?;
    Ok(versioned(&registered.contract, registered.version))
}

/// End a contract
///
/// Says its last day; all else stays.
#[utoipa::path(
    post, path = "/v1/contracts/{id}/end", tag = "catalog",
    params(
        ("id" = String, Path, description = "Which contract."),
        ("if-match" = Option<String>, Header, description = "The version that was looked at, as `ETag` says it."),
    ),
    request_body = ContractEndBody,
    responses(
        (status = 200, description = "The contract, as it holds now.", body = Contract,
         headers(("etag" = String, description = "Its version, for `If-Match`."))),
        (status = 404, description = "`entity-unknown`.",
         body = schema::Problem, content_type = "application/problem+json"),
        (status = 412, description = "`version-conflict`.",
         body = schema::Problem, content_type = "application/problem+json"),
    )
)]
async fn end(
    State(api): State<ApiState>,
    by: By,
    ids: PathIds,
    Precondition(expected): Precondition,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let ended =
        by.playback(&api).end_contract(ids.read("id", "/contract_id")?, parse_contract_end(&body)?, expected).await?;
    Ok(versioned(&ended.contract, ended.version))
}

/// The versions of a contract.
#[derive(Serialize, ToSchema)]
struct ContractVersions<'a> {
    #[schema(value_type = String)]
    contract_id: &'a ContractId,
    /// Counts from 1; each as it held from then on.
    versions: Vec<OneVersion<'a>>,
}

/// One version of a contract.
#[derive(Serialize, ToSchema)]
struct OneVersion<'a> {
    version: u32,
    #[schema(value_type = Contract)]
    contract: &'a ContractRegistered,
}

/// List the versions of a contract
///
/// All that ever held, the first one first.
#[utoipa::path(
    get, path = "/v1/contracts/{id}/versions", tag = "catalog",
    params(("id" = String, Path, description = "Which contract.")),
    responses(
        (status = 200, description = "The versions.", body = ContractVersions),
        (status = 404, description = "`entity-unknown`.",
         body = schema::Problem, content_type = "application/problem+json"),
    )
)]
async fn versions(State(api): State<ApiState>, ids: PathIds) -> Result<Response, Problem> {
    let id = ids.read("id", "/contract_id")?;
    let found = found(&api, &id)?;
    let versions = (1..).zip(found.versions()).map(|(version, contract)| OneVersion { version, contract }).collect();
    Ok(answer::ok(&ContractVersions { contract_id: &id, versions }))
}

fn found(api: &ApiState, id: &ContractId) -> Result<Versions, Problem> {
    let found = api.playback().catalog().read(|catalog| catalog.contract_versions(id).cloned());
    found.ok_or_else(|| Problem::entity_unknown("contract", id))
}

fn versioned(contract: &ContractRegistered, version: Option<u32>) -> Response {
    let mut response = answer::ok(contract);
    if let Some(tag) = version.and_then(|version| HeaderValue::try_from(format!("\"{version}\"")).ok()) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}
