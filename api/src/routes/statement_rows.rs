//! A part of a statement, for somebody who looks at it.

use std::collections::BTreeMap;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use pulsegate_projections::statements::{Largest, Selection, StatementPage};
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::statements::{WhichRows, about, of_which};
use crate::answer;
use crate::extract::{Limit, PathIds, query};
use crate::problem::Problem;
use crate::schema;
use crate::state::ApiState;

/// Most rows of one answer.
const ROWS_MAX: u32 = 1_000;
/// Rows of an answer, where nothing is said.
const ROWS: u32 = 200;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(rows))
}

/// A part of a statement, with names for its ids.
#[derive(Serialize)]
struct Named {
    #[serde(flatten)]
    page: StatementPage,
    names: BTreeMap<String, String>,
}

/// Look at a statement
///
/// The largest of the rows that are asked for, with sums over all of these. For a file, and to verify, read the statement
/// itself.
#[utoipa::path(
    get, path = "/v1/statements/{period}/rows", tag = "statements",
    params(
        ("period" = String, Path, description = "As for reading the statement."),
        ("rights_holder" = Option<String>, Query, description = "The one to whom; everybody where absent."),
        ("revision" = Option<u32>, Query, description = "1: as it was closed; 0: as it is now; the newest where absent."),
        ("rows" = Option<schema::statements::WhichRows>, Query,
         description = "`added`: only what the revision added, signed."),
        ("contract" = Option<String>, Query, description = "Only under it."),
        ("title" = Option<String>, Query, description = "Only of it."),
        ("territory" = Option<String>, Query, description = "Only there."),
        ("device_class" = Option<schema::DeviceClass>, Query, description = "Only on such."),
        ("sort" = Option<schema::statements::Largest>, Query, description = "What is largest; `amount` where absent."),
        ("limit" = Option<u32>, Query, description = "1-1000; 200 where absent."),
    ),
    responses(
        (status = 200, description = "The part.", body = schema::statements::StatementPage),
        (status = 404, description = "`not-found`: there is no such revision.",
         body = schema::Problem, content_type = "application/problem+json"),
    )
)]
async fn rows(State(api): State<ApiState>, ids: PathIds, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    let raw = raw.as_deref();
    let about = about(&ids, query(raw, "rights_holder")?)?;
    let selection = Selection {
        contract_id: query(raw, "contract")?,
        title_id: query(raw, "title")?,
        territory: query(raw, "territory")?,
        device_class: query(raw, "device_class")?,
    };
    let largest: Largest = query(raw, "sort")?.unwrap_or_default();
    let Limit(limit) = query::<Limit<ROWS_MAX>>(raw, "limit")?.unwrap_or(Limit(ROWS));
    let which = query(raw, "rows")?.unwrap_or(WhichRows::All);
    let (head, rows) = of_which(&api, &about, query(raw, "revision")?, which).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let page = api.reads().statement_page(head, rows, &selection, largest, limit).await?;
    let names = names(&api, &page);
    Ok(answer::ok(&Named { page, names }))
}

/// What the catalog calls what is in a part.
fn names(api: &ApiState, page: &StatementPage) -> BTreeMap<String, String> {
    let titles = page.rows.iter().map(|row| row.key.title_id.as_str());
    let of_rows = page.rows.iter().map(|row| row.key.rights_holder_id.as_str());
    let holders = of_rows.chain(page.statement.contracts.iter().map(|one| one.rights_holder_id.as_str()));
    api.playback().catalog().read(|catalog| {
        let title = |id: &str| Some((id.to_owned(), catalog.title(&id.parse().ok()?)?.name.clone()));
        let holder = |id: &str| Some((id.to_owned(), catalog.rights_holder(&id.parse().ok()?)?.name.clone()));
        // A title and a rights holder of one id are told apart by nobody; the title's name is what rows are read by.
        holders.filter_map(holder).chain(titles.filter_map(title)).collect()
    })
}
