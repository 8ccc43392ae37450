//! Reports: what is owed for, and what people did, in figures.

use std::str::FromStr;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName};
use pulsegate_projections::clickstream::{CountsQuestion, Resolution};
use pulsegate_projections::concurrency;
use pulsegate_projections::licensing::{MostBy, Question, UsageBy, UsageQuestion};
use pulsegate_projections::live::AsOf;
use pulsegate_projections::period::Period;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer;
use crate::extract::{Limit, Text, query};
use crate::problem::Problem;
use crate::schema;
use crate::schema::reports::{ClickstreamReport, ConcurrencyReport, LicensingReport, UsageReport};
use crate::state::ApiState;

/// Most of what streams are apart by, where only the highest are asked for.
const TOP_MAX: u32 = 100;
/// Most rows of usage.
const USAGE_MAX: u32 = 10_000;
/// Rows of usage, where nothing is said.
const USAGE: u32 = 1_000;
const PARQUET: &str = "application/vnd.apache.parquet";
/// Tells a table, which has no room for it, what its rows are as of.
pub(super) const AS_OF: HeaderName = HeaderName::from_static("pulsegate-as-of");

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(licensing))
        .routes(routes!(usage))
        .routes(routes!(clickstream))
        .routes(routes!(concurrency))
}

/// Report what is owed for
///
/// A row for each contract, title and territory, as `docs/licensing.md` says. A title that isn't in the catalog has nulls;
/// two contracts in force for one play make two rows, and the totals say over what they sum.
#[utoipa::path(
    get, path = "/v1/reports/licensing", tag = "reports",
    params(
        ("period" = String, Query, description = "A month, `2026-10`, a quarter, `2026-Q4`, a day, or days, `2026-10-01--2026-10-15`, UTC."),
        ("rights_holder" = Option<String>, Query, description = "Only what is owed to one."),
        ("territory" = Option<String>, Query, description = "Only what was watched in one."),
        ("format" = Option<schema::reports::LicensingFormat>, Query, description = "`json` where absent."),
    ),
    responses((status = 200, description = "The report. As `csv` its rows, and `pulsegate-as-of` says the rest, which as `parquet` stands in \
                the file's metadata, too.",
               content((LicensingReport = "application/json"), (String = "text/csv"),
                       (Vec<u8> = "application/vnd.apache.parquet"))))
)]
async fn licensing(State(api): State<ApiState>, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    let raw = raw.as_deref();
    let question = Question {
        period: period(raw)?,
        rights_holder: query(raw, "rights_holder")?,
        territory: query(raw, "territory")?,
    };
    let format = query(raw, "format")?.unwrap_or(LicensingFormat::Json);
    let report = api.reads().licensing(&question, api.playback().catalog()).await?;
    Ok(match format {
        LicensingFormat::Json => answer::ok(&report),
        LicensingFormat::Csv => csv(report.to_csv(), "licensing", &report.period, &report.as_of),
        LicensingFormat::Parquet => {
            let file = report.to_parquet().map_err(|error| Problem::internal(&error))?;
            file_of(file, PARQUET, &format!("licensing-{}.parquet", report.period), &report.as_of)
        }
    })
}

/// Report what was watched
///
/// The figures of a statement, whoever is owed: by day, title, territory or class of device. `total` is over everything that
/// was asked for, also beyond the rows; an account that watched two titles is one account of both.
#[utoipa::path(
    get, path = "/v1/reports/usage", tag = "reports",
    params(
        ("period" = String, Query, description = "A month, a quarter, a day or days, UTC, as for a statement."),
        ("by" = Option<schema::reports::UsageBy>, Query, description = "`day` where absent."),
        ("title" = Option<String>, Query, description = "Only of it."),
        ("territory" = Option<String>, Query, description = "Only there."),
        ("device_class" = Option<schema::DeviceClass>, Query, description = "Only on such."),
        ("sort" = Option<schema::reports::MostBy>, Query,
         description = "Which figure's largest come first, except of days; `watched_ms` where absent."),
        ("limit" = Option<u32>, Query, description = "1-10000; 1000 where absent."),
        ("format" = Option<schema::reports::Format>, Query, description = "`json` where absent."),
    ),
    responses((status = 200, description = "The report. As `csv` its rows, and `pulsegate-as-of` says the rest.",
               content((UsageReport = "application/json"), (String = "text/csv"))))
)]
async fn usage(State(api): State<ApiState>, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    let raw = raw.as_deref();
    let question = UsageQuestion {
        period: period(raw)?,
        by: query(raw, "by")?.unwrap_or(UsageBy::Day),
        title: query(raw, "title")?,
        territory: query(raw, "territory")?,
        device_class: query(raw, "device_class")?,
        most_by: query::<MostBy>(raw, "sort")?.unwrap_or_default(),
        limit: query::<Limit<USAGE_MAX>>(raw, "limit")?.map_or(USAGE, |Limit(limit)| limit),
    };
    let format = query(raw, "format")?.unwrap_or(Format::Json);
    let report = api.reads().usage(&question, api.playback().catalog()).await?;
    Ok(match format {
        Format::Json => answer::ok(&report),
        Format::Csv => csv(report.to_csv(), "usage", &report.period, &report.as_of),
    })
}

/// Report what people did
///
/// How many clickstream events of each name the log took in, by its own time.
#[utoipa::path(
    get, path = "/v1/reports/clickstream", tag = "reports",
    params(
        ("period" = String, Query, description = "A month, `2026-10`, a quarter, `2026-Q4`, a day, or days, `2026-10-01--2026-10-15`, UTC."),
        ("by" = Option<schema::reports::Resolution>, Query,
         description = "`hour` for a day and `day` for a month where absent."),
        ("name" = Option<String>, Query, description = "Only events of one name."),
        ("format" = Option<schema::reports::Format>, Query, description = "`json` where absent."),
    ),
    responses((status = 200, description = "The report. As `csv` its rows, and `pulsegate-as-of` says the rest.",
               content((ClickstreamReport = "application/json"), (String = "text/csv"))))
)]
async fn clickstream(State(api): State<ApiState>, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    let raw = raw.as_deref();
    let period = period(raw)?;
    let by = query(raw, "by")?.unwrap_or_else(|| Resolution::of(&period));
    let format = query(raw, "format")?.unwrap_or(Format::Json);
    let question = CountsQuestion { period, by, name: query(raw, "name")?.map(|Text(name)| name) };
    let counts = api.reads().clickstream_counts(&question).await?;
    Ok(match format {
        Format::Json => answer::ok(&counts),
        Format::Csv => csv(counts.to_csv(), "clickstream", &counts.period, &counts.as_of),
    })
}

/// Report concurrency
///
/// The most streams at one instant of each minute, hour or day, by the log's time; who was told no, by which rule, and how
/// long those waited who got a slot later; the accounts that were at their limit.
#[utoipa::path(
    get, path = "/v1/reports/concurrency", tag = "reports",
    params(
        ("period" = String, Query, description = "A month, a quarter, a day or days, UTC, as for a statement."),
        ("by" = Option<schema::reports::Resolution>, Query,
         description = "`hour` for a day and `day` for more where absent."),
        ("per" = Option<schema::reports::Per>, Query, description = "`everything` where absent."),
        ("title" = Option<String>, Query, description = "Only streams of it."),
        ("territory" = Option<String>, Query, description = "Only streams there."),
        ("device_class" = Option<schema::DeviceClass>, Query, description = "Only streams on such."),
        ("top" = Option<u32>, Query,
         description = "1-100: of what they are apart by, only so many with the highest peaks; all where absent."),
        ("format" = Option<schema::reports::Format>, Query, description = "`json` where absent."),
    ),
    responses((status = 200, description = "The report. As `csv` its streams, and `pulsegate-as-of` says the rest.",
               content((ConcurrencyReport = "application/json"), (String = "text/csv"))))
)]
async fn concurrency(State(api): State<ApiState>, RawQuery(raw): RawQuery) -> Result<Response, Problem> {
    let raw = raw.as_deref();
    let period = period(raw)?;
    let by = query(raw, "by")?.unwrap_or_else(|| Resolution::of(&period));
    let format = query(raw, "format")?.unwrap_or(Format::Json);
    let question = concurrency::Question {
        period,
        by,
        per: query(raw, "per")?.unwrap_or_default(),
        title: query(raw, "title")?,
        territory: query(raw, "territory")?,
        device_class: query(raw, "device_class")?,
        top: query::<Limit<TOP_MAX>>(raw, "top")?.map(|Limit(top)| top),
    };
    let report = api.reads().concurrency(&question, api.playback().catalog()).await?;
    Ok(match format {
        Format::Json => answer::ok(&report),
        Format::Csv => csv(report.to_csv(), "concurrency", &report.period, &report.as_of),
    })
}

fn period(raw: Option<&str>) -> Result<Period, Problem> {
    query(raw, "period")?.ok_or_else(|| Problem::invalid_field("/period", "is required (in the query)"))
}

fn csv(text: String, report: &str, period: &str, as_of: &[AsOf]) -> Response {
    file_of(text, "text/csv; charset=utf-8", &format!("{report}-{period}.csv"), as_of)
}

fn file_of(content: impl Into<Body>, media: &str, name: &str, as_of: &[AsOf]) -> Response {
    let headers = [
        (CONTENT_TYPE, media.to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (AS_OF, places(as_of)),
    ];
    (headers, content.into()).into_response()
}

/// What rows are as of, for a header.
pub(super) fn places(as_of: &[AsOf]) -> String {
    let places: Vec<_> = as_of.iter().map(|one| format!("{}/{}@{}", one.topic, one.partition, one.offset)).collect();
    places.join(", ")
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Csv,
}

impl FromStr for Format {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            _ => Err("must be json or csv"),
        }
    }
}

/// How a licensing report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LicensingFormat {
    Json,
    Csv,
    Parquet,
}

impl FromStr for LicensingFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            "parquet" => Ok(Self::Parquet),
            _ => Err("must be json, csv or parquet"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_what_it_is_as_of() {
        let as_of = [AsOf::before(pulsegate_domain::topic::Topic::Playback, 3, 8).unwrap()];
        let answer = csv("a\r\n".into(), "licensing", "2026-10", &as_of);
        assert_eq!(answer.headers()["pulsegate-as-of"], "playback/3@7");
        assert_eq!(answer.headers()["content-disposition"], "attachment; filename=\"licensing-2026-10.csv\"");
        assert_eq!(answer.headers()["content-type"], "text/csv; charset=utf-8");
    }
}
