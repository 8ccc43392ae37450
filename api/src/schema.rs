//! What the API's description says of the shapes that the domain and the write side define.
//!
//! The domain knows nothing of descriptions, so its shapes are told once more here, and a test in
//! [`crate::openapi`] compares them with what is really written. Answers that only the routes make
//! describe themselves, in [`crate::answer`].
#![expect(dead_code, reason = "these types are descriptions: nothing makes one")]
#![expect(clippy::struct_field_names, reason = "the names are those of the contract")]

use chrono::{DateTime, Utc};
use utoipa::ToSchema;
use uuid::Uuid;

pub(crate) mod catalog;
pub(crate) mod clickstream;
pub(crate) mod cluster;
pub(crate) mod projections;
pub(crate) mod reports;
pub(crate) mod requests;
pub(crate) mod statements;

/// What kind of device plays.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum DeviceClass {
    Tv,
    Mobile,
    Tablet,
    Web,
    Console,
    Other,
}

/// Recorded or live.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum ContentKind {
    Vod,
    Live,
}

/// What a player says that it is doing. `blocked` was told no and shows that.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum PlayerState {
    Playing,
    Paused,
    Buffering,
    Seeking,
    Blocked,
}

/// May it run?
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum VerdictDecision {
    Allow,
    Block,
}

/// Why a session must not run. `stopped`, `evicted`, `replaced`, `displaced` and `expired` are for ever.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Reason {
    LimitReached,
    PausedTooLong,
    LeaseExpired,
    NotAsked,
    Stopped,
    Evicted,
    Replaced,
    Displaced,
    Expired,
}

/// A session that stands in the way.
#[derive(ToSchema)]
pub(crate) struct Conflict {
    session_id: Uuid,
    device_id: String,
    device_class: DeviceClass,
    title_id: String,
    /// Its first sign of life.
    started_at: DateTime<Utc>,
    /// Its newest sign of life.
    last_seen_at: DateTime<Utc>,
}

/// The session that took over.
#[derive(ToSchema)]
pub(crate) struct Takeover {
    session_id: Uuid,
    device_id: String,
}

/// The answer to "am I blocked?".
#[derive(ToSchema)]
#[schema(example = json!({
    "decision": "block", "reason": "limit_reached", "policy": "standard@1", "rule": "account", "max": 2, "in_use": 2,
    "conflicts": [
        {"session_id": "3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e6f", "device_id": "tv-1", "device_class": "tv",
         "title_id": "the-long-tide", "started_at": "2026-11-22T20:12:40.008Z", "last_seen_at": "2026-11-22T20:46:58.310Z"},
        {"session_id": "8d1f6a70-2c4b-4b6e-a0d5-77e1c2f3a4b5", "device_id": "tablet-1", "device_class": "tablet",
         "title_id": "harbour-lights", "started_at": "2026-11-22T20:31:02.500Z", "last_seen_at": "2026-11-22T20:47:00.921Z"}
    ],
    "frees_in_ms": 20190, "room": false, "by": null
}))]
pub(crate) struct Verdict {
    decision: VerdictDecision,
    /// Why not; null on `allow`.
    #[schema(required = true)]
    reason: Option<Reason>,
    /// The policy version by which it was judged, `name@version`; null where only the session's end was heard.
    #[schema(required = true)]
    policy: Option<String>,
    /// The full rule; on `allow` the rule with the least room; null for an ended session. `account`, `title`,
    /// `territory`, `rights_holder`, `device_class:<class>` or `content_kind:<kind>`.
    #[schema(required = true)]
    rule: Option<String>,
    /// That rule's limit.
    #[schema(required = true)]
    max: Option<u32>,
    /// The slots taken in that rule's scope, this session's own among them if it holds one.
    #[schema(required = true)]
    in_use: Option<u32>,
    /// On `limit_reached` the sessions that the rule counts, longest first.
    conflicts: Vec<Conflict>,
    /// In how many milliseconds an ask would succeed if nothing more is heard of the others; 0 when there is room
    /// already, null if never.
    #[schema(required = true)]
    frees_in_ms: Option<u64>,
    /// Whether asking now would get a slot.
    room: bool,
    /// Who took over, for an ended session.
    #[schema(required = true)]
    by: Option<Takeover>,
}

/// The place in the log that an answer is as of. Whoever has the log can check the answer.
#[derive(ToSchema)]
#[schema(example = json!({"partition": 7, "offset": 48211, "at": "2026-11-22T20:47:03.120Z"}))]
pub(crate) struct AsOf {
    partition: i32,
    /// The last offset folded; -1 where the partition is empty.
    offset: i64,
    /// The log's time there; for a check the moment at which it was evaluated.
    at: DateTime<Utc>,
}

/// A live or waiting session.
#[derive(ToSchema)]
pub(crate) struct Session {
    account_id: String,
    session_id: Uuid,
    device_id: String,
    device_class: DeviceClass,
    title_id: String,
    content_kind: ContentKind,
    /// ISO 3166-1 alpha-2; `ZZ` where unknown.
    territory: String,
    /// Who owns the title, where known.
    #[schema(required = true)]
    rights_holder: Option<String>,
    /// Whether only servers spoke of it.
    inferred: bool,
    /// Its first sign of life.
    started_at: DateTime<Utc>,
    /// Its newest sign of life.
    last_seen_at: DateTime<Utc>,
    /// The end of its lease, if nothing more is heard.
    alive_until: DateTime<Utc>,
    /// Since when it is paused, if it is.
    #[schema(required = true)]
    paused_since: Option<DateTime<Utc>>,
    verdict: Verdict,
}

/// What was decided.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum DecisionKind {
    Grant,
    Refuse,
    End,
}

/// A grant, a refusal or an end, with what it rests on.
#[derive(ToSchema)]
#[schema(example = json!({
    "decision": "refuse", "account_id": "acc-1", "session_id": "c5e0b9d2-91a7-4f3d-8e64-0f1e2d3c4b5a",
    "device_id": "mobile-1", "device_class": "mobile", "title_id": "the-long-tide", "reason": "limit_reached",
    "policy": "standard@1", "rule": "account", "max": 2,
    "counted": ["3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e6f", "8d1f6a70-2c4b-4b6e-a0d5-77e1c2f3a4b5"],
    "by": null, "partition": 7, "offset": 48211, "at": "2026-11-22T20:47:03.120Z"
}))]
pub(crate) struct Decision {
    decision: DecisionKind,
    account_id: String,
    session_id: Uuid,
    #[schema(required = true)]
    device_id: Option<String>,
    #[schema(required = true)]
    device_class: Option<DeviceClass>,
    #[schema(required = true)]
    title_id: Option<String>,
    /// Why not; null for a grant.
    #[schema(required = true)]
    reason: Option<Reason>,
    /// The policy version by which it was decided.
    #[schema(required = true)]
    policy: Option<String>,
    /// The rule that refused or displaced; for a grant the one with the least room left.
    #[schema(required = true)]
    rule: Option<String>,
    /// That rule's limit.
    #[schema(required = true)]
    max: Option<u32>,
    /// The sessions that the rule counted, the asker not among them, longest first.
    counted: Vec<Uuid>,
    /// Who took over, for an end.
    #[schema(required = true)]
    by: Option<Takeover>,
    partition: i32,
    /// The record at which it was decided or noticed.
    offset: i64,
    /// Its number among the decisions of that record, from 0; absent among live figures.
    ordinal: Option<i32>,
    /// The log's time there; for an expiry the instant of the end.
    at: DateTime<Utc>,
    /// What each counted session rested on, in the same order; absent where it was not asked for.
    evidence: Option<Vec<Evidence>>,
}

/// The newest sign of life of a session that was counted.
#[derive(ToSchema)]
#[schema(example = json!({
    "session_id": "3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e6f", "device_id": "tv-1", "device_class": "tv",
    "title_id": "the-long-tide", "kind": "heartbeat", "state": "playing", "sequence": 208, "late_ms": 0,
    "source": "/v1/accounts/sessions/heartbeats", "offset": 48200, "at": "2026-11-22T20:46:58.310Z", "age_ms": 4810,
    "alive_until": "2026-11-22T20:47:23.310Z"
}))]
pub(crate) struct Evidence {
    session_id: Uuid,
    device_id: String,
    device_class: DeviceClass,
    title_id: String,
    /// `started`, `heartbeat` or `signal`.
    kind: String,
    /// What a heartbeat's player did.
    state: Option<PlayerState>,
    /// A heartbeat's number.
    sequence: Option<u64>,
    /// How long ago a heartbeat was when it was sent, in milliseconds.
    late_ms: Option<u64>,
    /// What a server saw: `drm_licence`, `drm_renewal`, `cdn_segment` or `manifest`.
    signal: Option<String>,
    /// Whether a signal named its session.
    named: Option<bool>,
    /// Who took it in: the route or command that stands in the record.
    source: String,
    /// The record, in the account's partition.
    offset: i64,
    at: DateTime<Utc>,
    /// How long before the decision that was, in milliseconds.
    age_ms: u64,
    /// Until when it kept the session alive.
    alive_until: DateTime<Utc>,
}

/// What runs now, as this node folded it.
#[derive(ToSchema)]
pub(crate) struct Live {
    /// Sessions that hold a slot and are live.
    streams_now: u64,
    /// Live sessions without a slot.
    waiting_now: u64,
    /// Accounts with a stream.
    accounts_now: u64,
    /// Heartbeats folded per second, over the last ten.
    heartbeats_per_s: f64,
    /// Refusals that were decisions, in the last minute.
    blocked_attempts_per_min: u64,
    /// Refusals that were decisions, since this node caught up.
    blocked_attempts_total: u64,
    /// The newest decisions, newest first.
    decisions: Vec<Decision>,
    as_of: LiveAsOf,
    /// How old the view is, in milliseconds; absent while it is fresh.
    stale_ms: Option<u64>,
}

/// When live figures were counted.
#[derive(ToSchema)]
pub(crate) struct LiveAsOf {
    /// By the node's clock.
    at: DateTime<Utc>,
}

/// One mistake in a request, with its place.
#[derive(ToSchema)]
pub(crate) struct FieldProblem {
    /// JSON pointer into the body; for a part of the path or the query, `/` and the field's name.
    pointer: String,
    /// What is wrong there.
    detail: String,
}

/// A problem, as RFC 9457 describes it.
#[derive(ToSchema)]
#[schema(example = json!({
    "type": "/problems/invalid", "title": "The request is well-formed but wrong", "status": 422,
    "detail": "/position_ms is required", "code": "invalid",
    "errors": [{"pointer": "/position_ms", "detail": "is required"}], "request_id": "6b0f27c2a1d94e35-1f4"
}))]
pub(crate) struct Problem {
    /// A path at which its type is explained.
    r#type: String,
    title: String,
    status: u16,
    /// What exactly happened.
    detail: String,
    /// The type as a word, for programs.
    code: String,
    /// Every mistake in the request, where it was wrong.
    errors: Option<Vec<FieldProblem>>,
    request_id: String,
    /// Which session was judged.
    session_id: Option<Uuid>,
    /// May it run, and why not; with 409 `concurrency-limit-reached` and 410.
    verdict: Option<Verdict>,
    as_of: Option<AsOf>,
    /// Whether the answer was made from less than the whole log up to its own event.
    provisional: Option<bool>,
    /// How old the node's view is, in milliseconds; absent while it is fresh.
    stale_ms: Option<u64>,
}
