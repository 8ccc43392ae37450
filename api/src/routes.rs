//! The routes, one file a resource. A handler extracts, makes one call, and answers.

mod clickstream;
mod cluster;
mod contracts;
mod decisions;
mod entitlements;
mod heartbeats;
mod live;
pub(crate) mod pages;
mod policies;
mod projections;
mod provisional;
mod reports;
mod rights_holders;
mod sessions;
pub(crate) mod sign_in;
mod signals;
mod statement_rows;
mod statements;
mod titles;

use axum::Router;
use http::Method;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

use crate::callers::let_in;
use crate::cluster::pass_on;
use crate::middleware::{around, cors, keep_refused};
use crate::openapi::Description;
use crate::problem::{Problem, ProblemKind};
use crate::state::ApiState;

/// The whole HTTP surface.
pub fn router(state: ApiState) -> Router {
    router_with(state, Router::new())
}

/// The whole HTTP surface and more routes within it, which a test may need.
pub fn router_with(state: ApiState, more: Router<ApiState>) -> Router {
    let kept = axum::middleware::from_fn_with_state(state.clone(), keep_refused);
    let surrounded = axum::middleware::from_fn_with_state(state.clone(), around);
    let cors = cors(&state.settings().cors_origins);
    let sign_in_first = axum::middleware::from_fn_with_state(state.clone(), sign_in::sign_in_first);
    let mut described = taking_in().layer(kept).merge(asking());
    // A node that is alone spares its requests the layer.
    if state.cluster().shares() {
        described = described.layer(axum::middleware::from_fn_with_state(state.clone(), pass_on));
    }
    // Who calls is asked before anything is passed on: the other node then needn't.
    if state.settings().callers.are_asked() {
        described = described.layer(axum::middleware::from_fn_with_state(state.clone(), let_in));
    }
    let (described, _) = described.split_for_parts();
    // The fallbacks first: what is layered after them surrounds them too.
    let router = described
        .merge(pages::routes().layer(sign_in_first))
        .merge(sign_in::routes())
        .merge(more)
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(surrounded)
        .with_state(state);
    match cors {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

/// The routes that the API's description describes.
pub(crate) fn described() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(Description::openapi()).merge(taking_in()).merge(asking())
}

/// Routes that take events in: what they refuse is kept.
fn taking_in() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .merge(sessions::taking_in())
        .merge(heartbeats::routes())
        .merge(signals::taking_in())
        .merge(clickstream::taking_in())
}

/// All other routes of the API.
fn asking() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .merge(sessions::asking())
        .merge(signals::asking())
        .merge(decisions::routes())
        .merge(policies::routes())
        .merge(entitlements::routes())
        .merge(titles::routes())
        .merge(rights_holders::routes())
        .merge(contracts::routes())
        .merge(projections::routes())
        .merge(reports::routes())
        .merge(statements::routes())
        .merge(statement_rows::routes())
        .merge(clickstream::asking())
        .merge(live::routes())
        .merge(cluster::routes())
        .merge(provisional::routes())
        .merge(sign_in::described())
}

async fn not_found() -> Problem {
    Problem::new(ProblemKind::NotFound, "no endpoint, page or file has this path")
}

async fn method_not_allowed(method: Method) -> Problem {
    Problem::new(ProblemKind::MethodNotAllowed, format!("this path does not take {method}; Allow lists what it takes"))
}
