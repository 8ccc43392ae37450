//! What is registered in the catalog.

use chrono::NaiveDate;
use utoipa::ToSchema;

use super::ContentKind;

/// What a full rule does to an asker.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum OnLimit {
    BlockNewest,
    DisplaceOldest,
}

/// Whether a device may have more than one stream.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum PerDevice {
    One,
    Many,
}

/// At most `max` streams at once in a scope.
#[derive(ToSchema)]
pub(crate) struct Rule {
    /// `account`, `title`, `territory`, `rights_holder`, `device_class:<class>` or `content_kind:<vod|live>`.
    scope: String,
    /// How many may hold a slot at once; 0 forbids.
    #[schema(maximum = 10_000)]
    max: u32,
    on_limit: OnLimit,
}

/// For how long each sign of life keeps its session alive, in milliseconds.
#[derive(ToSchema)]
pub(crate) struct Leases {
    /// 25000 where absent.
    started: Option<u64>,
    /// 25000 where absent.
    heartbeat: Option<u64>,
    /// 30000 where absent.
    cdn_segment: Option<u64>,
    /// 30000 where absent.
    manifest: Option<u64>,
    /// 330000 where absent.
    drm_licence: Option<u64>,
    /// 330000 where absent.
    drm_renewal: Option<u64>,
}

/// What a policy says.
#[derive(ToSchema)]
#[schema(example = json!({"rules": [
    {"scope": "account", "max": 4, "on_limit": "block_newest"},
    {"scope": "device_class:tv", "max": 2, "on_limit": "block_newest"}
]}))]
pub(crate) struct PolicyTerms {
    /// The limits, in the order in which they are asked.
    #[schema(min_items = 1, max_items = 32)]
    rules: Vec<Rule>,
    leases_ms: Option<Leases>,
    /// For how long a paused session may keep its slot; 600000 where absent.
    #[schema(maximum = 86_400_000)]
    paused_hold_ms: Option<u64>,
    /// `one` where absent.
    per_device: Option<PerDevice>,
}

/// One immutable version of a policy.
#[derive(ToSchema)]
#[schema(example = json!({
    "name": "premium", "version": 3, "rules": [{"scope": "account", "max": 4, "on_limit": "block_newest"}],
    "leases_ms": {"started": 25000, "heartbeat": 25000, "cdn_segment": 30000, "manifest": 30000,
                  "drm_licence": 330_000, "drm_renewal": 330_000},
    "paused_hold_ms": 600_000, "per_device": "one"
}))]
pub(crate) struct Policy {
    name: String,
    /// From 1.
    version: u32,
    rules: Vec<Rule>,
    leases_ms: Leases,
    paused_hold_ms: u64,
    per_device: PerDevice,
}

/// A version of a policy, and where it comes from.
#[derive(ToSchema)]
pub(crate) struct ListedPolicy {
    #[serde(flatten)]
    policy: Policy,
    /// Only where a contract's cap made this version.
    derived_from: Option<DerivedFrom>,
}

/// What a contract's cap was laid on.
#[derive(ToSchema)]
#[schema(example = json!({"policy": "premium@3", "max_streams_per_account": 2}))]
pub(crate) struct DerivedFrom {
    policy: String,
    max_streams_per_account: u32,
}

/// Which policy an account is given.
#[derive(ToSchema)]
#[schema(example = json!({"policy": "premium"}))]
pub(crate) struct EntitlementBody {
    /// The policy's name: its newest version is in force.
    policy: String,
}

/// A title, without its id.
#[derive(ToSchema)]
#[schema(example = json!({
    "name": "The Long Tide", "content_kind": "vod", "rights_holder_id": "north-sea-pictures", "runtime_ms": 5_400_000
}))]
pub(crate) struct TitleBody {
    name: String,
    content_kind: ContentKind,
    rights_holder_id: String,
    /// Where it has a length.
    runtime_ms: Option<u64>,
}

/// A title.
#[derive(ToSchema)]
pub(crate) struct Title {
    title_id: String,
    name: String,
    content_kind: ContentKind,
    rights_holder_id: String,
    runtime_ms: Option<u64>,
}

/// A rights holder, without its id.
#[derive(ToSchema)]
#[schema(example = json!({"name": "North Sea Pictures"}))]
pub(crate) struct RightsHolderBody {
    name: String,
}

/// A rights holder.
#[derive(ToSchema)]
pub(crate) struct RightsHolder {
    rights_holder_id: String,
    name: String,
}

/// How views are counted.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Views {
    /// Sessions whose watched time reached `view_threshold_ms`.
    Qualified,
    /// Hours watched of a title, divided by its runtime.
    HoursByRuntime,
}

/// How what lies half-way between two is rounded.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum RoundingRule {
    HalfEven,
    HalfUp,
}

/// What is rounded.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum RoundedOf {
    /// Each line; due is their sum.
    Lines,
    /// The exact sum, once.
    Sum,
}

/// How views are counted.
#[derive(ToSchema)]
pub(crate) struct Counting {
    views: Views,
    /// With `hours_by_runtime`: to a multiple of this; 1 where absent.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    round_to: Option<u64>,
    /// `half_up` where absent.
    rounding: Option<RoundingRule>,
}

/// A part of a pool, in proportion to the hours watched.
#[derive(ToSchema)]
pub(crate) struct RevenueShare {
    /// Of the pool, 0-100, as a string.
    percent: String,
    /// What is in the pool, by month: `{"2026-10": "100000.00"}`.
    #[schema(value_type = Option<Object>)]
    pools: Option<()>,
}

/// What is paid. Rates and amounts are decimals as strings. What is absent isn't paid; one at least must be there.
#[derive(ToSchema)]
pub(crate) struct Payment {
    /// ISO 4217.
    currency: String,
    /// `half_even` where absent.
    rounding: Option<RoundingRule>,
    /// `lines` where absent.
    rounded: Option<RoundedOf>,
    /// For each view, as the contract counts them.
    per_view: Option<String>,
    /// For each hour watched.
    per_hour: Option<String>,
    /// For each month, whatever was watched; by days for a part of one.
    fixed_per_month: Option<String>,
    revenue_share: Option<RevenueShare>,
    /// No less than this for each month; by days for a part of one.
    minimum_per_month: Option<String>,
}

/// A contract, without its id. Other members are kept as they come.
#[derive(ToSchema)]
#[schema(example = json!({
    "rights_holder_id": "north-sea-pictures", "territories": ["DE", "AT"], "valid_from": "2026-01-01",
    "valid_until": "2026-12-31",
    "payment": {"currency": "EUR", "per_view": "0.04", "minimum_per_month": "500.00"}
}))]
pub(crate) struct ContractBody {
    rights_holder_id: String,
    /// All of the rights holder's where absent.
    title_ids: Option<Vec<String>>,
    /// Everywhere where absent.
    territories: Option<Vec<String>>,
    /// The first day, UTC.
    valid_from: NaiveDate,
    /// The last day, UTC, inclusive; open where absent.
    valid_until: Option<NaiveDate>,
    /// From how much watched time on a play is a qualified view; 30000 where absent.
    view_threshold_ms: Option<u64>,
    /// How many streams of one account may show this rights holder's titles at once.
    #[schema(maximum = 10_000)]
    max_streams_per_account: Option<u32>,
    /// Qualified views where absent.
    counting: Option<Counting>,
    /// Absent where the contract says nothing of money.
    payment: Option<Payment>,
}

/// A contract. Other members are those that it was registered with.
#[derive(ToSchema)]
pub(crate) struct Contract {
    contract_id: String,
    rights_holder_id: String,
    title_ids: Option<Vec<String>>,
    territories: Option<Vec<String>>,
    valid_from: NaiveDate,
    valid_until: Option<NaiveDate>,
    view_threshold_ms: Option<u64>,
    max_streams_per_account: Option<u32>,
    counting: Option<Counting>,
    payment: Option<Payment>,
}

/// The end of a contract.
#[derive(ToSchema)]
#[schema(example = json!({"last_day": "2026-12-31"}))]
pub(crate) struct ContractEndBody {
    /// Inclusive, UTC.
    last_day: NaiveDate,
}
