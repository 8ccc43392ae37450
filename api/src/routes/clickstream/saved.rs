//! Saved questions: what is asked, under a name.

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use pulsegate_projections::clickstream::question::Question;
use pulsegate_projections::clickstream::{Saved, SavedName};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::questions::mistaken;
use crate::answer;
use crate::extract::{PathIds, pairs, query};
use crate::problem::Problem;
use crate::schema;
use crate::schema::clickstream as described;
use crate::state::ApiState;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get, save, delete))
}

/// A saved question and where it is asked.
#[derive(Serialize)]
struct WithPlaces {
    #[serde(flatten)]
    saved: Saved,
    /// Asks it again.
    answer: String,
    /// Shows it.
    page: String,
}

impl From<Saved> for WithPlaces {
    fn from(saved: Saved) -> Self {
        let answer = format!("/v1/clickstream/{}?{}", saved.kind, saved.query);
        let page = format!("/clickstream?ask={}&{}", saved.kind, saved.query);
        Self { saved, answer, page }
    }
}

/// The saved questions.
#[derive(Serialize, ToSchema)]
struct SavedQuestions {
    /// By name.
    #[schema(value_type = Vec<described::SavedQuestion>)]
    questions: Vec<WithPlaces>,
}

/// List the saved questions
#[utoipa::path(
    get, path = "/v1/clickstream/questions", tag = "reports",
    responses((status = 200, description = "All of them, 1 000 at most.", body = SavedQuestions))
)]
async fn list(State(api): State<ApiState>) -> Result<Response, Problem> {
    let questions = api.reads().saved_questions().await?.into_iter().map(WithPlaces::from).collect();
    Ok(answer::ok(&SavedQuestions { questions }))
}

/// Open a saved question
///
/// It says what is asked; its `answer` is the path that asks it.
#[utoipa::path(
    get, path = "/v1/clickstream/questions/{name}", tag = "reports",
    params(("name" = String, Path, description = "Its name.")),
    responses(
        (status = 200, description = "The question.", body = described::SavedQuestion),
        (status = 404, description = "`not-found`.", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
async fn get(State(api): State<ApiState>, ids: PathIds) -> Result<Response, Problem> {
    Ok(answer::ok(&WithPlaces::from(api.reads().saved_question(&name(&ids)?).await?)))
}

/// Save a question
///
/// `kind` says which, and the rest of the query string is as for asking it. What was saved under the name is replaced.
#[utoipa::path(
    put, path = "/v1/clickstream/questions/{name}", tag = "reports",
    params(
        ("name" = String, Path, description = "Its name: 1-100 characters."),
        ("kind" = described::Kind, Query, description = "Which question; all else is as for asking it."),
    ),
    responses((status = 200, description = "It is saved.", body = described::SavedQuestion))
)]
async fn save(State(api): State<ApiState>, ids: PathIds, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    let raw = raw.as_deref();
    let name = name(&ids)?;
    let kind: Option<String> = query(raw, "kind")?;
    let kind = kind.ok_or_else(|| Problem::invalid_field("/kind", "is required (in the query)"))?;
    let question = Question::read(&kind, &pairs(raw)?).map_err(mistaken)?;
    Ok(answer::ok(&WithPlaces::from(api.reads().save_question(&name, &question).await?)))
}

/// Delete a saved question
#[utoipa::path(
    delete, path = "/v1/clickstream/questions/{name}", tag = "reports",
    params(("name" = String, Path, description = "Its name.")),
    responses(
        (status = 204, description = "It is gone."),
        (status = 404, description = "`not-found`.", body = schema::Problem, content_type = "application/problem+json"),
    )
)]
async fn delete(State(api): State<ApiState>, ids: PathIds) -> Result<Response, Problem> {
    api.reads().delete_question(&name(&ids)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn name(ids: &PathIds) -> Result<SavedName, Problem> {
    ids.parsed("name", "/name")
}
