//! Provisional answers, settled against the log.

use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use pulsegate_domain::time::Timestamp;
use pulsegate_projections::provisional::{Settled, Wanted};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer;
use crate::extract::{Limit, query};
use crate::instant::Instant;
use crate::problem::Problem;
use crate::schema;
use crate::state::ApiState;

/// How far back is looked where nothing is said, in milliseconds: an hour.
const SINCE_MS: u64 = 3_600_000;
/// How many are shown where nothing is said.
const LIMIT_DEFAULT: u32 = 1_000;
/// For how long the log is read.
const TIME_MAX: Duration = Duration::from_secs(20);

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(provisional))
}

/// Provisional answers beside the log's word.
#[derive(Serialize, ToSchema)]
struct Provisional {
    /// Oldest first; the newest if there are more than the limit.
    #[schema(value_type = Vec<schema::cluster::SettledAnswer>)]
    answers: Vec<Settled>,
}

/// List provisional answers
///
/// What was answered from less than the whole log, beside what the log says at the same place: who was let through or
/// refused wrongly, exactly. Reads the log; one asks at a time.
#[utoipa::path(
    get, path = "/v1/provisional", tag = "operation",
    params(
        ("since" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "Given then or later; an hour ago where absent."),
        ("until" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "Given before."),
        ("account" = Option<String>, Query, description = "Of this account."),
        ("limit" = Option<u32>, Query, description = "How many, up to 10 000; 1 000 where absent.",
         minimum = 1, maximum = 10000),
    ),
    responses((status = 200, description = "The answers.", body = Provisional))
)]
async fn provisional(State(api): State<ApiState>, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    let raw = raw.as_deref();
    let hour_ago = || Timestamp::from(chrono::Utc::now()).minus_ms(SINCE_MS);
    let wanted = Wanted {
        since: query::<Instant>(raw, "since")?.map_or_else(hour_ago, |Instant(at)| at),
        until: query::<Instant>(raw, "until")?.map(|Instant(at)| at),
        account: query(raw, "account")?,
        limit: query(raw, "limit")?.map_or(LIMIT_DEFAULT, |Limit::<10_000>(limit)| limit) as usize,
        time_max: TIME_MAX,
    };
    let answers = api.settle(wanted).await?;
    Ok(answer::ok(&Provisional { answers }))
}
