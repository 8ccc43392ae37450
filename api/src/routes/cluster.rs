//! Nodes: which there are, and which partitions each has in memory.

use axum::extract::State;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer;
use crate::cluster::{ClusterReport, NodeReport};
use crate::state::ApiState;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(cluster)).routes(routes!(node))
}

/// List nodes
///
/// As the node that answers knows them: which partitions each owns, and how far it is with those that it folds.
#[utoipa::path(
    get, path = "/v1/cluster", tag = "operation",
    responses((status = 200, description = "The nodes.", body = ClusterReport))
)]
async fn cluster(State(api): State<ApiState>) -> Response {
    answer::ok(&api.cluster().report())
}

/// Ask this node how it is
///
/// What the other nodes ask several times a second.
#[utoipa::path(
    get, path = "/v1/cluster/node", tag = "operation",
    responses((status = 200, description = "What it folds.", body = NodeReport))
)]
async fn node(State(api): State<ApiState>) -> Response {
    answer::ok(&api.cluster().node_report())
}
