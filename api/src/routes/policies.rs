//! Policies: immutable versions of the rules by which streams are limited.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use pulsegate_domain::policy::{DerivedFrom, Policy, PolicyRef, PolicySet};
use pulsegate_write_side::request::parse_policy;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer;
use crate::callers::By;
use crate::extract::{JsonBody, PathIds};
use crate::problem::Problem;
use crate::schema;
use crate::schema::catalog::PolicyTerms;
use crate::state::ApiState;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(put, newest))
}

/// Every version of every policy.
#[derive(Serialize, ToSchema)]
struct Policies {
    #[schema(value_type = Vec<schema::catalog::ListedPolicy>)]
    policies: Vec<Shown>,
}

/// A version, and what it was derived from.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    policy: Arc<Policy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    derived_from: Option<Derived>,
}

/// A contract's cap, laid on a policy.
#[derive(Serialize)]
struct Derived {
    policy: PolicyRef,
    max_streams_per_account: u32,
}

impl Shown {
    fn of(policy: &Arc<Policy>, policies: &PolicySet) -> Self {
        let derived_from = policies.derived_from(&policy.reference());
        let derived = |from: &DerivedFrom| Derived { policy: from.base.clone(), max_streams_per_account: from.cap };
        Self { policy: Arc::clone(policy), derived_from: derived_from.map(derived) }
    }
}

/// List policies
///
/// Every version of each, by name and version. One that comes of a contract's cap says what it was derived from.
#[utoipa::path(
    get, path = "/v1/policies", tag = "catalog",
    responses((status = 200, description = "The policies.", body = Policies))
)]
async fn list(State(api): State<ApiState>) -> Response {
    let known = api.playback().catalog().policies();
    let mut policies: Vec<_> = known.iter().collect();
    policies.sort_unstable_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
    answer::ok(&Policies { policies: policies.into_iter().map(|policy| Shown::of(policy, &known)).collect() })
}

/// Read a policy
///
/// Its newest version.
#[utoipa::path(
    get, path = "/v1/policies/{name}", tag = "catalog",
    params(("name" = String, Path, description = "Which policy.")),
    responses(
        (status = 200, description = "Its newest version.", body = schema::catalog::ListedPolicy),
        (status = 404, description = "`entity-unknown`.",
         body = schema::Problem, content_type = "application/problem+json"),
    )
)]
async fn newest(State(api): State<ApiState>, ids: PathIds) -> Result<Response, Problem> {
    let name = ids.read("name", "/name")?;
    let policies = api.playback().catalog().policies();
    let newest = policies.newest(&name).ok_or_else(|| Problem::entity_unknown("policy", &name))?;
    Ok(answer::ok(&Shown::of(newest, &policies)))
}

/// Publish a version of a policy
///
/// The next version; the same terms again are the same version. It is in force on this node at once, and on the
/// others within a second. Sessions that run are ended by no policy: their next ask meets it.
#[utoipa::path(
    put, path = "/v1/policies/{name}", tag = "catalog",
    params(("name" = String, Path, description = "Which policy.")),
    request_body = PolicyTerms,
    responses((status = 200, description = "The version that is in force now.", body = schema::catalog::Policy))
)]
async fn put(State(api): State<ApiState>, by: By, ids: PathIds, JsonBody(body): JsonBody) -> Result<Response, Problem> {
    let published = by.playback(&api).put_policy(ids.read("name", "/name")?, parse_policy(&body)?).await?;
    Ok(answer::ok(&published))
}
