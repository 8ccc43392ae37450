//! A heartbeat read as any program would that has only the shape of the event: `serde_json` into borrowed text, nothing
//! checked. What is consumed and read so is the raw limit of everything that replays the log; the product's own reader
//! checks every id and is no part of a limit.

use serde::Deserialize;

/// The event; what `CloudEvents` puts beside the data is passed over but for its id and type.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "what is read is only kept alive")]
pub(crate) struct PlainHeartbeat<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "what is read is only kept alive")]
struct Data<'a> {
    account_id: &'a str,
    session_id: &'a str,
    device_id: &'a str,
    device_class: Option<&'a str>,
    title_id: &'a str,
    content_kind: Option<&'a str>,
    territory: Option<&'a str>,
    rights_holder: Option<&'a str>,
    sequence: u64,
    elapsed_ms: u64,
    age_ms: u64,
    position_ms: u64,
    state: &'a str,
    rate_milli: u32,
    policy: &'a str,
}

/// Whether `value` is a heartbeat.
pub(crate) fn is_heartbeat(value: &[u8]) -> bool {
    std::hint::black_box(serde_json::from_slice::<PlainHeartbeat<'_>>(value)).is_ok()
}
