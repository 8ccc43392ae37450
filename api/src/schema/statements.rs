//! Licensing statements.

use chrono::{DateTime, NaiveDate, Utc};
use utoipa::ToSchema;
use uuid::Uuid;

use super::reports::ReportAsOf;
use super::{DeviceClass, PlayerState};

/// How a statement is written.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum StatementFormat {
    /// All of it, so that who receives it can verify it.
    Json,
    /// The rows.
    Csv,
    /// Shaped like a digital sales report, and not claimed to be one.
    Tsv,
    /// The rows in columns, the rest in the file's metadata.
    Parquet,
}

/// Which rows of a statement.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum WhichRows {
    All,
    Added,
}

/// How final a statement is.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum StatementState {
    Provisional,
    Closed,
    Restated,
}

/// A revision of a statement, in a list.
#[derive(ToSchema)]
pub(crate) struct StatementListed {
    period: String,
    /// Null: everybody.
    #[schema(required = true)]
    rights_holder_id: Option<String>,
    revision: i32,
    closed_at: DateTime<Utc>,
    /// How many rows it added.
    rows: i64,
    sha256: String,
}

/// Asks to close or restate a statement.
#[derive(ToSchema)]
#[schema(example = json!({"rights_holder_id": "north-sea-pictures"}))]
pub(crate) struct StatementBody {
    /// To whom; everybody where absent.
    rights_holder_id: Option<String>,
    /// Close although heartbeats may still come.
    early: Option<bool>,
}

/// A statement.
#[derive(ToSchema)]
pub(crate) struct Statement {
    statement: StatementHead,
    /// In the order of rights holder, contract, title, territory, class of device and currency; what has none comes first.
    rows: Vec<StatementRow>,
}

/// Everything of a statement but its rows.
#[derive(ToSchema)]
pub(crate) struct StatementHead {
    period: String,
    /// Null: everybody.
    #[schema(required = true)]
    rights_holder_id: Option<String>,
    /// 0: provisional; 1: as it was closed; from 2 on restatements.
    revision: u32,
    state: StatementState,
    #[schema(required = true)]
    closed_at: Option<DateTime<Utc>>,
    /// Over its figures, contracts and offsets, in hexadecimal.
    sha256: String,
    /// That of the revision before.
    #[schema(required = true)]
    previous_sha256: Option<String>,
    /// Every record before or at these offsets is in it.
    as_of: Vec<ReportAsOf>,
    /// Watched of everything in the period by anybody.
    service_watched_ms: i64,
    contracts: Vec<StatementContract>,
    /// Why amounts can't be told; closed statements have none.
    problems: Vec<StatementProblem>,
}

/// A contract that a statement rests on.
#[derive(ToSchema)]
pub(crate) struct StatementContract {
    contract_id: String,
    rights_holder_id: String,
    version: u32,
    /// Its words.
    #[schema(value_type = super::catalog::Contract)]
    contract: (),
    /// Null where it says nothing of money.
    #[schema(required = true)]
    due: Option<StatementDue>,
}

/// What is due under a contract. Amounts are decimals as strings.
#[derive(ToSchema)]
pub(crate) struct StatementDue {
    currency: String,
    /// The rounded lines and monthly parts, summed.
    sum_of_rounded: String,
    /// Their exact sum, rounded once.
    rounded_sum: String,
    /// What is due, no less than the guarantee.
    amount: String,
    /// What belongs to no row, step by step.
    #[schema(value_type = Vec<Object>)]
    working: (),
}

/// Why an amount can't be told.
#[derive(ToSchema)]
pub(crate) struct StatementProblem {
    contract_id: String,
    #[schema(required = true)]
    title_id: Option<String>,
    detail: String,
}

/// What was used of a title in a territory on a class of device, and what is due for it.
#[derive(ToSchema)]
pub(crate) struct StatementRow {
    /// Null where the title isn't in the catalog.
    #[schema(required = true)]
    rights_holder_id: Option<String>,
    /// Null where no contract was in force.
    #[schema(required = true)]
    contract_id: Option<String>,
    title_id: String,
    /// Null in the row of views that are counted over a whole title.
    #[schema(required = true)]
    territory: Option<String>,
    #[schema(required = true)]
    device_class: Option<DeviceClass>,
    plays: i64,
    qualified_views: i64,
    /// As the contract counts them.
    views: i64,
    watched_ms: i64,
    aged_ms: i64,
    content_ms: i64,
    distinct_accounts: i64,
    peak_concurrent: i64,
    blocked_attempts: i64,
    /// Watched while no contract of the title was in force.
    outside_window_ms: i64,
    /// Watched where none that was in force holds.
    outside_territory_ms: i64,
    /// 0 where the title has no length.
    runtime_ms: i64,
    /// How much of the title a play saw, on average.
    #[schema(required = true)]
    completion_per_mille: Option<i64>,
    #[schema(required = true)]
    currency: Option<String>,
    #[schema(required = true)]
    amount: Option<String>,
}

/// Which rows of a statement come first.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Largest {
    Amount,
    WatchedMs,
    Plays,
}

/// A part of a statement.
#[derive(ToSchema)]
pub(crate) struct StatementPage {
    statement: StatementHead,
    /// The largest of the chosen rows.
    rows: Vec<StatementRow>,
    /// How many were chosen.
    rows_in_all: usize,
    totals: StatementRowTotals,
    /// What is due under all contracts of the statement, guarantees and shares with it, by currency: decimals as strings.
    due: std::collections::BTreeMap<String, String>,
    /// Where anything of the statement was watched, chosen or not.
    territories: Vec<String>,
    /// What the catalog calls the titles of these rows and the rights holders of the statement, by their ids.
    names: std::collections::BTreeMap<String, String>,
}

/// Sums over the chosen rows: what two contracts are in force for counts under each. What can't be summed, such as
/// accounts, isn't here.
#[derive(ToSchema)]
pub(crate) struct StatementRowTotals {
    plays: i64,
    qualified_views: i64,
    views: i64,
    watched_ms: i64,
    aged_ms: i64,
    content_ms: i64,
    blocked_attempts: i64,
    outside_window_ms: i64,
    outside_territory_ms: i64,
    /// What is due for the rows themselves, each rounded, by currency: decimals as strings.
    amounts: std::collections::BTreeMap<String, String>,
}

/// A session behind a figure: what of it falls there.
#[derive(ToSchema)]
pub(crate) struct SessionBehind {
    account_id: String,
    session_id: Uuid,
    partition: i32,
    first_offset: i64,
    first_day: NaiveDate,
    last_day: NaiveDate,
    played: bool,
    qualified: bool,
    watched_ms: i64,
    aged_ms: i64,
    content_ms: i64,
}

/// A session's records in the log.
#[derive(ToSchema)]
pub(crate) struct WatchTime {
    topic: String,
    partition: i32,
    records: Vec<WatchTimeRecord>,
    /// Whether these are all there were.
    is_whole: bool,
}

/// A record of a session, and what it added.
#[derive(ToSchema)]
pub(crate) struct WatchTimeRecord {
    offset: i64,
    at: DateTime<Utc>,
    /// `started`, `heartbeat`, `stopped`, `evicted` or `signal`.
    kind: String,
    #[schema(required = true)]
    sequence: Option<u64>,
    #[schema(required = true)]
    elapsed_ms: Option<u64>,
    #[schema(required = true)]
    age_ms: Option<u64>,
    #[schema(required = true)]
    position_ms: Option<u64>,
    #[schema(required = true)]
    state: Option<PlayerState>,
    watched_ms: u64,
    aged_ms: u64,
    content_ms: u64,
    played: bool,
}
