//! Decisions: each grant, refusal and end of an account, with what it rests on.

use std::str::FromStr;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use pulsegate_domain::account::explain::Evidence;
use pulsegate_domain::ids::AccountId;
use pulsegate_projections::active_sessions::{Before, DECISIONS_MAX, DecisionRow};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer;
use crate::extract::{Limit, PathIds, query};
use crate::playback::Wanted;
use crate::problem::Problem;
use crate::schema;
use crate::state::ApiState;

/// How many are shown where nothing is said.
const LIMIT_DEFAULT: u32 = 100;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(decisions))
}

/// A decision with its account.
#[derive(Serialize)]
struct AccountDecision<'a> {
    account_id: &'a AccountId,
    #[serde(flatten)]
    row: &'a DecisionRow,
    /// Where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Vec<Evidence>>,
}

/// A page of an account's decisions.
#[derive(Serialize, ToSchema)]
struct Decisions<'a> {
    /// Newest first.
    #[schema(value_type = Vec<schema::Decision>)]
    decisions: Vec<AccountDecision<'a>>,
    /// The path of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// List an account's decisions
///
/// Each grant, refusal and end, with its rule, the sessions that were counted, and its place in the log. From the read
/// model in the database, so a moment behind the verdicts. With `evidence=true` also the newest sign of life of each session
/// that was counted, its sender and its age: read from the log, which takes as long as the account's partition is.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/decisions", tag = "playback",
    params(
        ("account" = String, Path, description = "Whose."),
        ("limit" = Option<u32>, Query, description = "How many, up to 500; 100 where absent.",
         minimum = 1, maximum = 500),
        ("before" = Option<String>, Query, description = "Only those before this place, `offset.ordinal`."),
        ("evidence" = Option<bool>, Query, description = "Whether to say what each counted session rested on."),
    ),
    responses((status = 200, description = "The decisions, newest first.", body = Decisions))
)]
async fn decisions(State(api): State<ApiState>, ids: PathIds, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    let account = ids.account()?;
    let limit = query(raw.as_deref(), "limit")?.map_or(LIMIT_DEFAULT, |Limit::<DECISIONS_MAX>(limit)| limit);
    let before = query(raw.as_deref(), "before")?.map(|Place(before)| before);
    let rows = api.reads().decisions(&account, limit, before).await?;
    let is_full = u32::try_from(rows.len()).is_ok_and(|count| count == limit);
    let next = rows.last().filter(|_| is_full).map(|last| {
        let (offset, ordinal) = (last.decision.offset, last.ordinal);
        format!("/v1/accounts/{account}/decisions?limit={limit}&before={offset}.{ordinal}")
    });
    let mut evidence = None;
    if query(raw.as_deref(), "evidence")? == Some(true) {
        let wanted: Wanted = rows.iter().map(|row| (row.decision.offset, row.ordinal)).collect();
        evidence = Some(api.playback().evidence(&account, &wanted).await?);
    }
    let mut of_row = |row: &DecisionRow| {
        evidence.as_mut().map(|found| found.remove(&(row.decision.offset, row.ordinal)).unwrap_or_default())
    };
    let decisions =
        rows.iter().map(|row| AccountDecision { account_id: &account, row, evidence: of_row(row) }).collect();
    Ok(answer::ok(&Decisions { decisions, next }))
}

#[derive(Debug, PartialEq, Eq)]
struct Place(Before);

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (offset, ordinal) = text.split_once('.').unwrap_or((text, "0"));
        match (offset.parse(), ordinal.parse()) {
            (Ok(offset), Ok(ordinal)) if offset >= 0 && ordinal >= 0 => Ok(Self(Before { offset, ordinal })),
            _ => Err("must be an offset, or offset.ordinal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_at_a_place() {
        assert_eq!("7.2".parse(), Ok(Place(Before { offset: 7, ordinal: 2 })));
        assert_eq!("7".parse(), Ok(Place(Before { offset: 7, ordinal: 0 })));
        assert!(["", "-7", "7.", "7.-1", "x"].iter().all(|bad| bad.parse::<Place>().is_err()));
    }
}
