//! Answers that take as long as nothing changes: a verdict that is waited for, and the stream of an account's verdicts.
//!
//! Their head is sent at once and their body when there is something to say, so that a wait holds no slot of the requests
//! under way and isn't cut off by the limit of an answer's time. While there is nothing to say, a blank or a comment goes
//! out each 15 s: whoever stands between sees a connection that lives, and a client that has gone is noticed.

use std::convert::Infallible;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::HeaderValue;
use http::header::{CONTENT_TYPE, HeaderName};
use pulsegate_domain::account::{Reason, Verdict};
use pulsegate_domain::ids::{AccountId, DeviceId, SessionId, TitleId};
use pulsegate_projections::hot_view::AsOf;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::answer;
use crate::playback::{Answered, Following, News, WAIT_MAX};
use crate::schema;
use crate::state::ApiState;

/// After how long without anything to say something is sent all the same.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// After how long a browser comes back to a stream that has ended.
const RETRY_MS: u64 = 1_000;
/// Tells a proxy in front not to collect a stream before it passes it on.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// How long a verdict is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaitTime(pub(crate) Duration);

impl FromStr for WaitTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| {
            let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_plain.then(|| digits.parse::<u64>().ok()).flatten()
        };
        let wait = match text.strip_suffix("ms") {
            Some(digits) => number(digits).map(Duration::from_millis),
            None => text.strip_suffix('s').and_then(number).map(Duration::from_secs),
        };
        wait.filter(|wait| *wait <= WAIT_MAX)
            .map(Self)
            .ok_or_else(|| format!("must be a time of up to {} s, e.g. 30s or 1500ms", WAIT_MAX.as_secs()))
    }
}

/// The word of a verdict that is known already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Since(pub(crate) &'static str);

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = || ["allow", "room"].into_iter().chain(Reason::ALL.iter().map(|reason| reason.as_str()));
        let known = words().find(|word| *word == text);
        known.map(Self).ok_or_else(|| format!("must be one of {}", words().collect::<Vec<_>>().join(", ")))
    }
}

/// A verdict that is waited for.
pub(crate) fn verdict(api: ApiState, answered: impl Future<Output = Answered> + Send + 'static) -> Response {
    let began = Instant::now();
    let body = async move {
        let answered = answered.await;
        let waited_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        answer::verdict_body(answered, api.settings().heartbeat_interval_ms, Some(waited_ms), api.measures())
    };
    let blanks = stream::unfold(Some(Box::pin(body)), async |body| {
        let mut body = body?;
        tokio::select! {
            bytes = &mut body => Some((Ok::<_, Infallible>(Bytes::from(bytes)), None)),
            // JSON may have blanks in front of it.
            () = tokio::time::sleep(KEEP_ALIVE) => Some((Ok(Bytes::from_static(b" ")), Some(body))),
        }
    });
    streamed("application/json", Body::from_stream(blanks))
}

/// A session's verdict, as an account's stream tells it.
#[derive(Serialize, ToSchema)]
pub(crate) struct VerdictEvent<'a> {
    #[schema(value_type = String)]
    account_id: &'a AccountId,
    #[schema(value_type = uuid::Uuid)]
    session_id: SessionId,
    /// Null where it is not live any more.
    #[schema(value_type = Option<String>, required = true)]
    device_id: Option<&'a DeviceId>,
    /// Null where it is not live any more.
    #[schema(value_type = Option<String>, required = true)]
    title_id: Option<&'a TitleId>,
    #[schema(value_type = schema::Verdict)]
    verdict: &'a Verdict,
    #[schema(value_type = schema::AsOf)]
    as_of: AsOf,
    /// Whether it was read from less than the whole log; absent where not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    provisional: bool,
    /// How old the node's view is, in milliseconds; absent while it is fresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_ms: Option<u64>,
}

/// The verdicts of an account as server-sent events.
pub(crate) fn verdicts(api: ApiState, following: Following) -> Response {
    let events = stream::unfold(Some((api, following)), async |state| {
        let (api, mut following) = state?;
        tokio::select! {
            news = following.news() => Some(match news {
                Some(news) => (Ok::<_, Infallible>(events(&api, following.account(), &news)), Some((api, following))),
                None => (Ok(Bytes::from(format!("retry: {RETRY_MS}\nevent: bye\ndata: {{}}\n\n"))), None),
            }),
            () = tokio::time::sleep(KEEP_ALIVE) => Some((Ok(Bytes::from_static(b":\n\n")), Some((api, following)))),
        }
    });
    let mut response = streamed("text/event-stream", Body::from_stream(events));
    response.headers_mut().insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// One event a verdict; a comment where there is none, so that the first bytes say that the stream is there.
fn events(api: &ApiState, account_id: &AccountId, news: &[News]) -> Bytes {
    if news.is_empty() {
        return Bytes::from_static(b":\n\n");
    }
    let mut text = Vec::new();
    for News { session_id, about, verdict, stamp } in news {
        api.measures().verdict(verdict, stamp);
        let event = VerdictEvent {
            account_id,
            session_id: *session_id,
            device_id: about.as_ref().map(|(device, _)| device),
            title_id: about.as_ref().map(|(_, title)| title),
            verdict,
            as_of: stamp.as_of,
            provisional: stamp.provisional,
            stale_ms: stamp.stale_ms,
        };
        text.extend_from_slice(b"event: verdict\ndata: ");
        // Writing to memory fails only where a map's key is not text, and there is no map here.
        let _ = serde_json::to_writer(&mut text, &event);
        text.extend_from_slice(b"\n\n");
    }
    Bytes::from(text)
}

fn streamed(media_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_has_a_unit_and_an_end() {
        let read = |text: &str| text.parse::<WaitTime>().map(|wait| wait.0.as_millis());
        assert_eq!((read("30s"), read("1500ms"), read("0s"), read("60s")), (Ok(30_000), Ok(1_500), Ok(0), Ok(60_000)));
        for bad in ["", "30", "s", "ms", "61s", "60001ms", "-1s", "+1s", "1.5s", "1 s", "99999999999999999999s"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_known_verdict_is_a_word() {
        assert_eq!("limit_reached".parse(), Ok(Since("limit_reached")));
        assert_eq!("room".parse(), Ok(Since("room")));
        assert!("block".parse::<Since>().unwrap_err().starts_with("must be one of allow, room, limit_reached"));
    }
}
