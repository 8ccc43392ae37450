//! Titles: films, episodes, live channels.

use axum::extract::State;
use axum::response::Response;
use pulsegate_write_side::request::parse_title;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer;
use crate::callers::By;
use crate::extract::{JsonBody, PathIds};
use crate::problem::Problem;
use crate::schema;
use crate::schema::catalog::{Title, TitleBody};
use crate::state::ApiState;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(put, get))
}

/// Read a title
#[utoipa::path(
    get, path = "/v1/titles/{id}", tag = "catalog",
    params(("id" = String, Path, description = "Which title.")),
    responses(
        (status = 200, description = "The title, as it was registered last.", body = Title),
        (status = 404, description = "`entity-unknown`.",
         body = schema::Problem, content_type = "application/problem+json"),
    )
)]
async fn get(State(api): State<ApiState>, ids: PathIds) -> Result<Response, Problem> {
    let id = ids.read("id", "/title_id")?;
    let found = api.playback().catalog().read(|catalog| catalog.title(&id).cloned());
    Ok(answer::ok(&found.ok_or_else(|| Problem::entity_unknown("title", &id))?))
}

/// Register a title
///
/// Or register it anew: the newest registration counts.
#[utoipa::path(
    put, path = "/v1/titles/{id}", tag = "catalog",
    params(("id" = String, Path, description = "Which title.")),
    request_body = TitleBody,
    responses((status = 200, description = "The title, as it is registered now.", body = Title))
)]
async fn put(State(api): State<ApiState>, by: By, ids: PathIds, JsonBody(body): JsonBody) -> Result<Response, Problem> {
    let registered = by.playback(&api).put_title(parse_title(ids.read("id", "/title_id")?, &body)?).await?;
    Ok(answer::ok(&registered))
}
