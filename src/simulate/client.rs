//! The HTTP calls of a player, and their answers as types.

use std::time::Duration;

use anyhow::Context;
use pulsegate_domain::account::Verdict;
use pulsegate_domain::ids::SessionId;
use pulsegate_domain::time::Timestamp;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

/// Longest wait for a connection.
const CONNECT_MS_MAX: u64 = 2_000;
/// Longest wait for a whole answer.
const ANSWER_MS_MAX: u64 = 5_000;
/// The wait before another try where a 503 doesn't say one.
const RETRY_MS: u64 = 1_000;
/// The longest wait before another try that is honoured.
const RETRY_MS_MAX: u64 = 30_000;

/// An answer, sorted by what a player makes of it.
#[derive(Debug)]
pub(crate) enum Answer {
    /// An answer in the contract's form: done, or a verdict.
    Told(Box<Told>),
    /// The request was wrong.
    Refused {
        /// The status, 400–499.
        status: u16,
        /// The problem's code, if it said one.
        code: String,
    },
    /// Not now: 503 or 429.
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
    /// Another status of the server's own fault.
    Failed {
        /// The status, 500 or above.
        status: u16,
    },
    /// No answer: no connection, or none in time.
    Lost,
    /// An answer that isn't in the contract's form.
    Unreadable(String),
}

/// What an answer said.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Its status.
    pub(crate) status: u16,
    /// Its body; empty for 204.
    pub(crate) body: Body,
}

/// The union of the bodies that players read; what an answer doesn't have stays empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Body {
    /// May the session run?
    pub(crate) verdict: Option<Verdict>,
    /// The place in the log that the verdict is of.
    pub(crate) as_of: Option<AsOf>,
    /// Whether it was given before the own event was folded.
    pub(crate) provisional: bool,
    /// How old the view is, where that matters.
    pub(crate) stale_ms: Option<u64>,
    /// A problem's code.
    pub(crate) code: String,
    /// Heartbeats of a batch that were taken.
    pub(crate) accepted: u64,
    /// Those that weren't.
    pub(crate) rejected: Vec<Value>,
    /// The verdicts on signals.
    pub(crate) verdicts: Vec<OnSignal>,
}

/// The place in the log that an answer is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct AsOf {
    /// The account's partition.
    pub(crate) partition: i32,
    /// The last event that counts.
    pub(crate) offset: i64,
    /// The moment for which it was judged.
    pub(crate) at: Timestamp,
}

/// The verdict on one signal of a batch.
#[derive(Debug, Deserialize)]
pub(crate) struct OnSignal {
    /// The session that the signal was given to.
    #[serde(default)]
    pub(crate) session_id: Option<SessionId>,
    /// May it run?
    #[serde(default)]
    pub(crate) verdict: Option<Verdict>,
    /// The place in the log.
    #[serde(default)]
    pub(crate) as_of: Option<AsOf>,
}

/// A connection pool to one service.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    /// A client of the service at `url`; connects at the first call.
    pub(crate) fn new(url: &str) -> anyhow::Result<Self> {
        let parsed = Url::parse(url).with_context(|| format!("{url} is not a URL"))?;
        anyhow::ensure!(matches!(parsed.scheme(), "http" | "https"), "{url} must begin with http:// or https://");
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_millis(CONNECT_MS_MAX))
            .timeout(Duration::from_millis(ANSWER_MS_MAX))
            .user_agent(concat!("pulsegate-simulate/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("failed to set up HTTP")?;
        Ok(Self { http, base: url.trim_end_matches('/').to_owned() })
    }

    /// The address as given, without a slash at its end.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Fails if nobody listens there, so that a wrong address is one clear message and not a table of losses.
    pub(crate) async fn probe(&self) -> anyhow::Result<()> {
        let url = format!("{}/v1/policies", self.base);
        let attempt = self.http.get(&url).send().await;
        attempt.map(drop).with_context(|| format!("failed to reach {}: is `pulsegate up` running there", self.base))
    }

    /// Starts a session.
    pub(crate) async fn start(&self, account: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, &format!("/v1/accounts/{account}/sessions")).json(body)).await
    }

    /// Sends one heartbeat.
    pub(crate) async fn heartbeat(&self, account: &str, session: SessionId, body: &Value) -> Answer {
        self.send(self.request(Method::POST, &session_path(account, session, "/heartbeats")).json(body)).await
    }

    /// Sends text as if it were a heartbeat.
    pub(crate) async fn heartbeat_text(&self, account: &str, session: SessionId, text: &'static str) -> Answer {
        let request = self.request(Method::POST, &session_path(account, session, "/heartbeats"));
        self.send(request.header(CONTENT_TYPE, "application/json").body(text)).await
    }

    /// Sends heartbeats that were kept.
    pub(crate) async fn heartbeats(&self, body: &Value) -> Answer {
        self.send(self.request(Method::POST, "/v1/heartbeats").json(body)).await
    }

    /// Asks whether a session may run.
    pub(crate) async fn check(&self, account: &str, session: SessionId) -> Answer {
        self.send(self.request(Method::GET, &session_path(account, session, "/verdict"))).await
    }

    /// Stops a session.
    pub(crate) async fn stop(&self, account: &str, session: SessionId) -> Answer {
        self.send(self.request(Method::DELETE, &session_path(account, session, ""))).await
    }

    /// Stops a session as a closing page does, in plain text.
    pub(crate) async fn stop_by_beacon(&self, account: &str, session: SessionId, body: &Value) -> Answer {
        let request = self.request(Method::POST, &session_path(account, session, "/stop"));
        self.send(request.header(CONTENT_TYPE, "text/plain;charset=UTF-8").body(body.to_string())).await
    }

    /// Ends a session from outside.
    pub(crate) async fn evict(&self, account: &str, session: SessionId) -> Answer {
        self.send(self.request(Method::POST, &session_path(account, session, "/evict"))).await
    }

    /// Reports what servers saw.
    pub(crate) async fn signals(&self, body: &Value) -> Answer {
        self.send(self.request(Method::POST, "/v1/signals").json(body)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    async fn send(&self, request: RequestBuilder) -> Answer {
        let Ok(response) = request.send().await else { return Answer::Lost };
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let Ok(bytes) = response.bytes().await else { return Answer::Lost };
        sort(status, retry_after.as_deref(), &bytes)
    }
}

fn session_path(account: &str, session: SessionId, rest: &str) -> String {
    format!("/v1/accounts/{account}/sessions/{session}{rest}")
}

fn sort(status: StatusCode, retry_after: Option<&str>, bytes: &[u8]) -> Answer {
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        let asked_ms = retry_after.and_then(|text| text.trim().parse::<u64>().ok()).map(|s| s.saturating_mul(1_000));
        return Answer::Unavailable {
            retry_after: Duration::from_millis(asked_ms.unwrap_or(RETRY_MS).clamp(1, RETRY_MS_MAX)),
        };
    }
    if status.is_server_error() {
        return Answer::Failed { status: status.as_u16() };
    }
    let body = if bytes.is_empty() { Ok(Body::default()) } else { serde_json::from_slice::<Body>(bytes) };
    let body = match body {
        Ok(body) => body,
        // A proxy's error page is a refusal all the same; a success has to be readable.
        Err(_) if status.is_client_error() => Body::default(),
        Err(error) => return Answer::Unreadable(format!("{} with {error}", status.as_u16())),
    };
    let blocked = matches!(status, StatusCode::CONFLICT | StatusCode::GONE) && body.verdict.is_some();
    let status = status.as_u16();
    match status {
        200..=299 => Answer::Told(Box::new(Told { status, body })),
        _ if blocked && body.code != "session-mismatch" => Answer::Told(Box::new(Told { status, body })),
        400..=499 => Answer::Refused { status, code: body.code },
        _ => Answer::Unreadable(format!("an unexpected status {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(status: u16, retry_after: Option<&str>, body: &str) -> Answer {
        sort(StatusCode::from_u16(status).unwrap(), retry_after, body.as_bytes())
    }

    #[test]
    fn a_blocked_start_is_an_answer_and_a_mismatch_a_refusal() {
        let verdict = r#"{"decision":"block","reason":"limit_reached","policy":"standard@1","rule":"account","max":2,
            "in_use":2,"conflicts":[],"frees_in_ms":9000,"room":false,"by":null}"#;
        let told = sorted(409, None, &format!(r#"{{"code":"concurrency-limit-reached","verdict":{verdict}}}"#));
        assert!(matches!(told, Answer::Told(told) if told.body.verdict.is_some()));
        let mismatch = sorted(409, None, r#"{"code":"session-mismatch"}"#);
        assert!(matches!(mismatch, Answer::Refused { status: 409, code } if code == "session-mismatch"));
    }

    #[test]
    fn retry_after_is_honoured_within_bounds() {
        for (header, ms) in [(Some("2"), 2_000), (None, 1_000), (Some("soon"), 1_000), (Some("86400"), 30_000)] {
            let answer = sorted(503, header, "");
            assert!(
                matches!(answer, Answer::Unavailable { retry_after } if retry_after == Duration::from_millis(ms)),
                "{header:?}: {answer:?}"
            );
        }
    }

    #[test]
    fn a_success_has_to_be_readable_and_an_error_page_need_not() {
        assert!(matches!(sorted(200, None, "<html>"), Answer::Unreadable(_)));
        assert!(matches!(sorted(404, None, "<html>"), Answer::Refused { status: 404, .. }));
        assert!(matches!(sorted(204, None, ""), Answer::Told(told) if told.status == 204));
        assert!(matches!(sorted(500, None, ""), Answer::Failed { status: 500 }));
    }
}
