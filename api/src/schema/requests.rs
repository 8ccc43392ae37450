//! What is sent in about playback and clicks.

use chrono::{DateTime, Utc};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ContentKind, DeviceClass, PlayerState};

/// A player asks to play.
#[derive(ToSchema)]
#[schema(example = json!({
    "session_id": "3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e6f", "device_id": "tv-1", "device_class": "tv",
    "title_id": "the-long-tide", "territory": "DE"
}))]
pub(crate) struct StartRequest {
    /// Chosen by the player, so that a retried start is the same start; else by the server.
    session_id: Option<Uuid>,
    #[schema(min_length = 1, max_length = 128)]
    device_id: String,
    device_class: Option<DeviceClass>,
    #[schema(min_length = 1, max_length = 128)]
    title_id: String,
    /// That of the title, or `vod`, where absent.
    content_kind: Option<ContentKind>,
    /// ISO 3166-1 alpha-2; `ZZ` where absent.
    #[schema(pattern = "^[A-Z]{2}$")]
    territory: Option<String>,
    /// Sessions of the account that end if this one gets its slot.
    #[schema(max_items = 32)]
    evict: Option<Vec<Uuid>>,
}

/// A player says what it is doing.
#[derive(ToSchema)]
#[schema(example = json!({
    "device_id": "tv-1", "title_id": "the-long-tide", "sequence": 3, "elapsed_ms": 30012, "position_ms": 29480,
    "state": "playing", "rate": 1
}))]
pub(crate) struct HeartbeatRequest {
    #[schema(min_length = 1, max_length = 128)]
    device_id: String,
    device_class: Option<DeviceClass>,
    #[schema(min_length = 1, max_length = 128)]
    title_id: String,
    content_kind: Option<ContentKind>,
    /// ISO 3166-1 alpha-2.
    #[schema(pattern = "^[A-Z]{2}$")]
    territory: Option<String>,
    /// Counts the session's heartbeats from 0.
    sequence: u64,
    /// The device's monotonic clock since the session began.
    elapsed_ms: u64,
    /// How long ago, by that clock, the heartbeat happened; at most 7 days.
    #[schema(maximum = 604_800_000)]
    age_ms: Option<u64>,
    /// Where in the title the player stands.
    position_ms: u64,
    state: PlayerState,
    /// Speed of playback; 1 is as filmed.
    #[schema(minimum = 0, maximum = 16)]
    rate: Option<f64>,
}

/// A heartbeat that names its account and session.
#[derive(ToSchema)]
pub(crate) struct BatchedHeartbeat {
    #[schema(min_length = 1, max_length = 128)]
    account_id: String,
    session_id: Uuid,
    #[schema(min_length = 1, max_length = 128)]
    device_id: String,
    device_class: Option<DeviceClass>,
    #[schema(min_length = 1, max_length = 128)]
    title_id: String,
    content_kind: Option<ContentKind>,
    /// ISO 3166-1 alpha-2.
    #[schema(pattern = "^[A-Z]{2}$")]
    territory: Option<String>,
    /// Counts the session's heartbeats from 0.
    sequence: u64,
    /// The device's monotonic clock since the session began.
    elapsed_ms: u64,
    /// How long ago, by that clock, the heartbeat happened; at most 7 days.
    #[schema(maximum = 604_800_000)]
    age_ms: Option<u64>,
    /// Where in the title the player stands.
    position_ms: u64,
    state: PlayerState,
    /// Speed of playback; 1 is as filmed.
    #[schema(minimum = 0, maximum = 16)]
    rate: Option<f64>,
}

/// Many heartbeats, of any accounts.
#[derive(ToSchema)]
#[schema(example = json!({"heartbeats": [
    {"account_id": "acc-1", "session_id": "3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e6f", "device_id": "tv-1",
     "title_id": "the-long-tide", "sequence": 4, "elapsed_ms": 40015, "age_ms": 95000, "position_ms": 39480,
     "state": "playing"}
]}))]
pub(crate) struct HeartbeatBatch {
    #[schema(min_items = 1, max_items = 1_000)]
    heartbeats: Vec<BatchedHeartbeat>,
}

/// A player is done. Every field may be left out, and the body too.
#[derive(ToSchema)]
#[schema(example = json!({"sequence": 5, "elapsed_ms": 51200, "position_ms": 50660}))]
pub(crate) struct StopRequest {
    /// The last heartbeat's number.
    sequence: Option<u64>,
    /// The device's monotonic clock since the session began; counts as a last heartbeat.
    elapsed_ms: Option<u64>,
    position_ms: Option<u64>,
}

/// Who ends a session from outside.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum EvictedBy {
    Operator,
    Viewer,
}

/// Somebody ends a session from outside. The body may be left out.
#[derive(ToSchema)]
#[schema(example = json!({"by": "operator"}))]
pub(crate) struct EvictRequest {
    /// `operator` where absent.
    by: Option<EvictedBy>,
}

/// What a server saw of a player.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum SignalKind {
    DrmLicence,
    DrmRenewal,
    CdnSegment,
    Manifest,
}

/// A licence, segment or manifest server saw a player.
#[derive(ToSchema)]
pub(crate) struct SignalRequest {
    #[schema(min_length = 1, max_length = 128)]
    account_id: String,
    /// Where the server knows it; else the session is found by the device.
    session_id: Option<Uuid>,
    #[schema(min_length = 1, max_length = 128)]
    device_id: String,
    device_class: Option<DeviceClass>,
    #[schema(min_length = 1, max_length = 128)]
    title_id: String,
    content_kind: Option<ContentKind>,
    /// ISO 3166-1 alpha-2; `ZZ` where absent.
    #[schema(pattern = "^[A-Z]{2}$")]
    territory: Option<String>,
    kind: SignalKind,
}

/// Many signals, of any accounts.
#[derive(ToSchema)]
#[schema(example = json!({"signals": [
    {"account_id": "acc-1", "device_id": "tv-1", "title_id": "the-long-tide", "kind": "drm_licence"}
]}))]
pub(crate) struct SignalBatch {
    #[schema(min_items = 1, max_items = 1_000)]
    signals: Vec<SignalRequest>,
}

/// What a licence server asks, by the default mapping. `kind` is `drm_renewal` for a renewal.
#[derive(ToSchema)]
#[schema(example = json!({
    "account_id": "acc-1", "device_id": "tv-1", "title_id": "the-long-tide", "kind": "drm_licence"
}))]
pub(crate) struct LicenceQuestion {
    account_id: String,
    device_id: String,
    title_id: String,
    session_id: Option<Uuid>,
    device_class: Option<DeviceClass>,
    content_kind: Option<ContentKind>,
    territory: Option<String>,
    kind: Option<String>,
}

/// What Firehose delivers to an HTTP endpoint.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[schema(example = json!({"requestId": "ed4acda5-034f-9f42-bba1-f29aea6d7d8f", "timestamp": 1_578_090_901_599_u64,
                          "records": [{"data": "MTc5NTM4MDQyMw=="}]}))]
pub(crate) struct LogDelivery {
    request_id: String,
    timestamp: Option<u64>,
    records: Vec<LogRecord>,
}

/// A record, in base64.
#[derive(ToSchema)]
pub(crate) struct LogRecord {
    data: String,
}

/// Something that a person did in a front end.
#[derive(ToSchema)]
pub(crate) struct ClickstreamItem {
    /// What was done, in the front end's words.
    name: String,
    /// When; when it was received, where absent.
    occurred_at: Option<DateTime<Utc>>,
    account_id: Option<String>,
    anonymous_id: Option<String>,
    session_id: Option<Uuid>,
    /// Any JSON object, kept as it came.
    #[schema(value_type = Object)]
    properties: serde_json::Value,
}

/// Many clickstream events.
#[derive(ToSchema)]
#[schema(example = json!({"events": [
    {"name": "page_viewed", "occurred_at": "2026-11-22T20:47:03.120Z", "anonymous_id": "visitor-7",
     "properties": {"path": "/titles/the-long-tide"}}
]}))]
pub(crate) struct ClickstreamBatch {
    #[schema(min_items = 1, max_items = 1_000)]
    events: Vec<ClickstreamItem>,
}
