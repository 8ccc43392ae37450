//! Entitlements: which policy an account has.

use axum::extract::State;
use axum::response::Response;
use pulsegate_domain::event::EntitlementChanged;
use pulsegate_domain::ids::{AccountId, PolicyName};
use pulsegate_domain::policy::PolicyRef;
use pulsegate_write_side::request::parse_entitlement;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer;
use crate::callers::By;
use crate::extract::{JsonBody, PathIds};
use crate::problem::Problem;
use crate::schema::catalog::EntitlementBody;
use crate::state::ApiState;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(put, get))
}

/// Which policy an account has.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"account_id": "acc-1", "policy": "premium", "in_force": "premium@3"}))]
struct Entitlement {
    #[schema(value_type = String)]
    account_id: AccountId,
    /// The policy that it was given, else `standard`.
    #[schema(value_type = String)]
    policy: PolicyName,
    /// The version by which its next event is judged.
    #[schema(value_type = String)]
    in_force: PolicyRef,
}

impl Entitlement {
    fn of(api: &ApiState, account_id: AccountId) -> Self {
        api.playback().catalog().read(|catalog| {
            let policy = catalog.policy_in_force(&account_id);
            Self { policy: policy.name.clone(), in_force: policy.reference(), account_id }
        })
    }
}

/// Read an account's entitlement
#[utoipa::path(
    get, path = "/v1/accounts/{account}/entitlement", tag = "catalog",
    params(("account" = String, Path, description = "Whose.")),
    responses((status = 200, description = "The policy that it has.", body = Entitlement))
)]
async fn get(State(api): State<ApiState>, ids: PathIds) -> Result<Response, Problem> {
    Ok(answer::ok(&Entitlement::of(&api, ids.account()?)))
}

/// Give an account a policy
///
/// In force on this node at once, and on the others within a second.
#[utoipa::path(
    put, path = "/v1/accounts/{account}/entitlement", tag = "catalog",
    params(("account" = String, Path, description = "Whose.")),
    request_body = EntitlementBody,
    responses((status = 200, description = "The policy that it has now.", body = Entitlement))
)]
async fn put(State(api): State<ApiState>, by: By, ids: PathIds, JsonBody(body): JsonBody) -> Result<Response, Problem> {
    let EntitlementChanged { account_id, policy } = parse_entitlement(ids.account()?, &body)?;
    let changed = by.playback(&api).put_entitlement(account_id, policy).await?;
    Ok(answer::ok(&Entitlement::of(&api, changed.account_id)))
}
