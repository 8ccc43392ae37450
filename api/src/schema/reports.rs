//! Reports and what they are made from.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use utoipa::ToSchema;
use uuid::Uuid;

/// How a report is written.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Format {
    Json,
    Csv,
}

/// How a licensing report is written.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum LicensingFormat {
    Json,
    Csv,
    Parquet,
}

/// How finely time is counted.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Resolution {
    Minute,
    Hour,
    Day,
}

/// Up to where in a partition something is folded.
#[derive(ToSchema)]
pub(crate) struct ReportAsOf {
    /// The topic, without the deployment's prefix.
    topic: String,
    partition: i32,
    /// The offset of the last record folded.
    offset: i64,
}

/// What is owed for in a period.
#[derive(ToSchema)]
pub(crate) struct LicensingReport {
    period: String,
    /// In the order of rights holder, contract, title and territory; what has none comes last.
    rows: Vec<LicensingRow>,
    totals: LicensingTotals,
    /// Sessions of which only servers told, all over the period whatever was asked for: they have no watch time.
    inferred_sessions: i64,
    as_of: Vec<ReportAsOf>,
}

/// What is owed for one title in one territory under one contract.
#[derive(ToSchema)]
pub(crate) struct LicensingRow {
    period: String,
    /// Null where the title isn't in the catalog.
    #[schema(required = true)]
    rights_holder_id: Option<String>,
    /// Null where no contract was in force.
    #[schema(required = true)]
    contract_id: Option<String>,
    title_id: String,
    territory: String,
    /// Sessions that began to play.
    plays: i64,
    /// Sessions whose watched time reached the contract's threshold.
    qualified_views: i64,
    watched_ms: i64,
    /// The part of it that arrived late.
    aged_ms: i64,
    /// Content that its session had not seen before.
    content_ms: i64,
    /// Accounts that watched or began to play.
    distinct_accounts: i64,
    /// Most sessions that watched at one instant.
    peak_concurrent: i64,
}

/// Sums, each saying over what.
#[derive(ToSchema)]
pub(crate) struct LicensingTotals {
    of_rows: LicensingTotalsOfRows,
    of_plays: LicensingTotalsOfPlays,
}

/// Sums over the rows: what two contracts are in force for counts twice.
#[derive(ToSchema)]
pub(crate) struct LicensingTotalsOfRows {
    plays: i64,
    qualified_views: i64,
    watched_ms: i64,
    aged_ms: i64,
    content_ms: i64,
}

/// Sums over what was watched: each play once, however many contracts are in force for it.
#[derive(ToSchema)]
pub(crate) struct LicensingTotalsOfPlays {
    plays: i64,
    watched_ms: i64,
    aged_ms: i64,
    content_ms: i64,
    distinct_accounts: i64,
}

/// By what usage is told apart.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum UsageBy {
    Day,
    Title,
    Territory,
    DeviceClass,
}

/// Which figure says what is most.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum MostBy {
    WatchedMs,
    Plays,
    DistinctAccounts,
}

/// What was watched in a period.
#[derive(ToSchema)]
pub(crate) struct UsageReport {
    period: String,
    by: UsageBy,
    /// Days in their order, all else with the most first.
    rows: Vec<UsageRow>,
    /// How many rows there are, of which `rows` may be the first.
    rows_in_all: i64,
    total: UsageFigures,
    as_of: Vec<ReportAsOf>,
}

/// What was watched of something.
#[derive(ToSchema)]
pub(crate) struct UsageRow {
    /// Which day, title, territory or class of device.
    of: String,
    /// A title's name, where the catalog has one.
    #[schema(required = true)]
    name: Option<String>,
    #[serde(flatten)]
    figures: UsageFigures,
}

/// How much was watched.
#[derive(ToSchema)]
pub(crate) struct UsageFigures {
    /// Sessions that began to play.
    plays: i64,
    watched_ms: i64,
    /// The part of it that arrived late.
    aged_ms: i64,
    /// Content that its session had not seen before.
    content_ms: i64,
    /// Accounts that watched or began to play.
    distinct_accounts: i64,
    /// How much of the title a play saw, on average; null where it is not of one title with a length.
    #[schema(required = true)]
    completion_per_mille: Option<i64>,
}

/// How many clickstream events there were in a period.
#[derive(ToSchema)]
pub(crate) struct ClickstreamReport {
    period: String,
    by: Resolution,
    /// In the order of time and name.
    rows: Vec<ClickstreamCount>,
    /// The sum over all rows.
    events: i64,
    as_of: Vec<ReportAsOf>,
}

/// How many events of a name the log took in within a minute, an hour or a day.
#[derive(ToSchema)]
pub(crate) struct ClickstreamCount {
    /// When that begins.
    at: DateTime<Utc>,
    name: String,
    events: i64,
}

/// By what streams are told apart.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Per {
    Everything,
    DeviceClass,
    Title,
    Territory,
}

/// How many watched at once, and who could not.
#[derive(ToSchema)]
pub(crate) struct ConcurrencyReport {
    period: String,
    by: Resolution,
    per: Per,
    /// In the order of what they are of and of time; a time in which nobody watched is left out.
    streams: Vec<ConcurrencyStreams>,
    blocked: ConcurrencyBlocked,
    /// The 100 accounts that were told no, or took their last slot, most often.
    accounts: Vec<ConcurrencyAccount>,
    /// What the titles above are called, where that is known: by their ids.
    #[schema(example = json!({"t-northern-lights": "Northern Lights"}))]
    titles: BTreeMap<String, String>,
    as_of: Vec<ReportAsOf>,
}

/// The most streams at one instant of a minute, an hour or a day.
#[derive(ToSchema)]
pub(crate) struct ConcurrencyStreams {
    /// Which class of device, title or territory; empty: all.
    of: String,
    /// When that begins.
    at: DateTime<Utc>,
    peak: i64,
}

/// Who was told no.
#[derive(ToSchema)]
pub(crate) struct ConcurrencyBlocked {
    attempts: i64,
    accounts: i64,
    sessions: i64,
    /// Sessions of these that got a slot later.
    let_in: i64,
    #[schema(required = true)]
    waited_ms_median: Option<f64>,
    #[schema(required = true)]
    waited_ms_p95: Option<f64>,
    by_rule: Vec<ConcurrencyByRule>,
    by_device_class: Vec<ConcurrencyByWhat>,
    /// The 100 titles that were asked for most often in vain.
    by_title: Vec<ConcurrencyByWhat>,
}

/// Refusals by a rule.
#[derive(ToSchema)]
pub(crate) struct ConcurrencyByRule {
    #[schema(required = true)]
    policy: Option<String>,
    #[schema(required = true)]
    rule: Option<String>,
    #[schema(required = true)]
    max: Option<i32>,
    attempts: i64,
}

/// Refusals of something.
#[derive(ToSchema)]
pub(crate) struct ConcurrencyByWhat {
    of: String,
    attempts: i64,
}

/// An account at its limit.
#[derive(ToSchema)]
pub(crate) struct ConcurrencyAccount {
    account_id: String,
    refused: i64,
    /// How often it took the last slot that there was.
    took_the_last: i64,
}

/// A clickstream event as the log took it in.
#[derive(ToSchema)]
pub(crate) struct ClickstreamEvent {
    event_id: String,
    name: String,
    /// When the log took it in: the order of pages.
    logged_at: DateTime<Utc>,
    /// When its sender says that it happened.
    #[schema(required = true)]
    occurred_at: Option<DateTime<Utc>>,
    #[schema(required = true)]
    account_id: Option<String>,
    #[schema(required = true)]
    anonymous_id: Option<String>,
    #[schema(required = true)]
    session_id: Option<Uuid>,
    /// As they came.
    #[schema(value_type = Object)]
    properties: (),
    partition: i32,
    offset: i64,
}
