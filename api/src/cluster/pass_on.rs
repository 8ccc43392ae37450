//! A request on an account is passed on to the node that has its partition in memory.

use std::convert::Infallible;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderName, Method};
use pulsegate_domain::ids::AccountId;
use serde::Deserialize;

use super::client::Lost;
use super::{Cluster, Owned};
use crate::problem::{Problem, ProblemKind, RETRY_AFTER_S};
use crate::state::ApiState;

/// Says that a request was passed on already, and by whom: it is answered where it is.
pub(crate) const HOP: HeaderName = HeaderName::from_static("pulsegate-hop");

/// How many nodes are tried before a request is answered here.
const ATTEMPTS_MAX: usize = 2;

/// Whether a request was passed on to this node.
pub(crate) struct Hopped(pub(crate) bool);

impl FromRequestParts<ApiState> for Hopped {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, Infallible> {
        Ok(Self(parts.headers.contains_key(HOP)))
    }
}

/// Around every route of the API: passes on what another node has in memory.
pub(crate) async fn pass_on(State(api): State<ApiState>, request: Request, next: Next) -> Response {
    let cluster = api.cluster();
    let Some(owned) = &cluster.inner.owned else { return next.run(request).await };
    if request.headers().contains_key(HOP) {
        return next.run(request).await;
    }
    let Some(account) = account_of(request.uri().path()) else { return next.run(request).await };
    let Some(mut peer) = cluster.peer_of(&account) else { return next.run(request).await };
    let (parts, body) = request.into_parts();
    let settings = api.settings();
    let body = match tokio::time::timeout(settings.body_time_max, to_bytes(body, settings.body_bytes_max)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let detail = format!("the body is longer than {} bytes, or broke off", settings.body_bytes_max);
            return Problem::new(ProblemKind::TooLarge, detail).into_response();
        }
        Err(_) => return Problem::new(ProblemKind::RequestTimeout, "the body did not arrive in time").into_response(),
    };
    for _ in 0..ATTEMPTS_MAX {
        match cluster.send(owned, &peer, &parts, body.clone()).await {
            Ok(answer) => return answer,
            Err(lost) if lost.sent && !is_repeatable(&parts, &body) => {
                let detail = "the node that has this account in memory went away while it was asked";
                return Problem::new(ProblemKind::Unavailable, detail).retry_after(RETRY_AFTER_S).into_response();
            }
            Err(_) => match cluster.peer_of(&account) {
                Some(other) if other != peer => peer = other,
                Some(_) | None => break,
            },
        }
    }
    // Nobody else can be asked: answered from what is known here.
    next.run(Request::from_parts(parts, Body::from(body))).await
}

impl Cluster {
    /// A licence server's question, whose account only its mapping finds, asked of who has it in memory; `None` where that
    /// is this node, or nobody who can be asked.
    pub(crate) async fn licence(&self, account: &AccountId, body: &Bytes) -> Option<Response> {
        let owned = self.inner.owned.as_ref()?;
        let peer = self.peer_of(account)?;
        let asked =
            http::Request::post("/v1/signals/licence").header(CONTENT_TYPE, "application/json").body(()).ok()?;
        let (parts, ()) = asked.into_parts();
        // A signal that arrives twice is a sign of life twice.
        self.send(owned, &peer, &parts, body.clone()).await.ok()
    }

    /// Passes a request on; gives up as soon as the node is known to be lost.
    async fn send(&self, owned: &Owned, peer: &str, parts: &Parts, body: Bytes) -> Result<Response, Lost> {
        let asked = owned.peers.pass_on(peer, &parts.method, &parts.uri, &parts.headers, body);
        let answer = tokio::select! {
            answer = asked => answer,
            () = owned.lost(peer) => Err(Lost { sent: true, error: "it is lost".to_owned() }),
        };
        self.note(peer, &answer);
        answer
    }

    /// Counts what became of something passed on.
    pub(super) fn note<T>(&self, peer: &str, answer: &Result<T, Lost>) {
        let outcome = match answer {
            Ok(_) => "answered",
            Err(lost) => {
                self.note_lost(peer, lost);
                "lost"
            }
        };
        metrics::counter!("pulsegate_cluster_passed_on_total", "outcome" => outcome).increment(1);
    }
}

/// The account of a path whose answer is in somebody's memory. Decisions are in the database, which every node reads,
/// and an entitlement is in the catalog.
fn account_of(path: &str) -> Option<AccountId> {
    let (account, what) = path.strip_prefix("/v1/accounts/")?.split_once('/')?;
    match what {
        "decisions" | "entitlement" => None,
        _ => account.parse().ok(),
    }
}

/// Whether it makes no difference that a request may be done twice: everything that names its session.
fn is_repeatable(parts: &Parts, body: &Bytes) -> bool {
    #[derive(Deserialize)]
    struct Start {
        session_id: Option<serde::de::IgnoredAny>,
    }

    let is_start = parts.method == Method::POST && parts.uri.path().ends_with("/sessions");
    let is_plain = !parts.headers.contains_key(CONTENT_ENCODING);
    !is_start || is_plain && serde_json::from_slice::<Start>(body).is_ok_and(|start| start.session_id.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_memory_is_passed_on() {
        let passed = |path: &str| account_of(path).map(|account| account.to_string());
        for path in ["sessions", "sessions/x/verdict", "sessions/x/heartbeats", "verdicts"] {
            assert_eq!(passed(&format!("/v1/accounts/a.b/{path}")), Some("a.b".to_owned()), "{path}");
        }
        for path in ["/v1/accounts/a/decisions", "/v1/accounts/a/entitlement", "/v1/accounts//sessions", "/v1/live"] {
            assert_eq!(passed(path), None, "{path}");
        }
    }

    #[test]
    fn a_start_that_names_no_session_is_not_repeated() {
        let repeatable = |method: &str, path: &str, body: &'static str| {
            let (parts, ()) = http::Request::builder().method(method).uri(path).body(()).unwrap().into_parts();
            is_repeatable(&parts, &Bytes::from_static(body.as_bytes()))
        };
        let sessions = "/v1/accounts/a/sessions";
        assert!(!repeatable("POST", sessions, r#"{"device_id":"d"}"#));
        assert!(!repeatable("POST", sessions, r#"{"session_id":null}"#));
        assert!(!repeatable("POST", sessions, "{"));
        assert!(repeatable("POST", sessions, r#"{"session_id":"x"}"#));
        assert!(repeatable("GET", sessions, ""));
        assert!(repeatable("POST", "/v1/accounts/a/sessions/x/heartbeats", "{}"));
    }
}
