//! Finds out who calls, and whether they may.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::RequestExt as _;
use axum::extract::{ConnectInfo, MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use chrono::Utc;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use pulsegate_callers::key::{self, KeyError};
use pulsegate_callers::limit::Buckets;
use pulsegate_callers::token::{Player, TokenError};
use pulsegate_callers::{Scope, Scopes};

use super::binds::not_own;
use super::needs::{self, Need};
use super::{Caller, Callers, Cookie, NODE, Wall, is_own};
use crate::cluster::HOP;
use crate::problem::{Problem, ProblemKind, RETRY_AFTER_S};
use crate::state::ApiState;

/// Where Amazon's Firehose shows the key that its stream was given.
const FIREHOSE_KEY: HeaderName = HeaderName::from_static("x-amz-firehose-access-key");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Around every route of the API: nobody passes who may not.
pub(crate) async fn let_in(State(api): State<ApiState>, mut request: Request, next: Next) -> Response {
    let callers = &api.settings().callers;
    match callers.admit(&api, &mut request).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => {
            metrics::counter!("pulsegate_callers_turned_away_total", "reason" => problem.kind().code()).increment(1);
            problem.into_response()
        }
    }
}

/// What a request shows.
enum Shown {
    Nothing,
    Key(String),
    Token(String),
    Session(String),
}

impl Callers {
    /// Whether another node passed a request on: behind a wall it shows the nodes' secret.
    pub(crate) fn is_neighbour(&self, headers: &HeaderMap) -> bool {
        let knows = |wall: &Wall| headers.get(NODE).is_some_and(|shown| wall.is_node_secret(shown.as_bytes()));
        headers.contains_key(HOP) && self.inner.wall.as_ref().is_none_or(knows)
    }

    async fn admit(&self, api: &ApiState, request: &mut Request) -> Result<Caller, Problem> {
        let Some(wall) = &self.inner.wall else {
            self.limit_address(request)?;
            return Ok(Caller::Anyone);
        };
        if request.headers().get(NODE).is_some_and(|shown| wall.is_node_secret(shown.as_bytes())) {
            // The other node has asked whether they may. What a token binds in a body is looked at where the body is read.
            return match shown(request.headers(), wall) {
                Ok(Shown::Token(token)) => wall.player(&token).await.map(Caller::Player),
                _ => Ok(Caller::Node),
            };
        }
        // Whoever is no node must not say that a node has asked already.
        for name in [NODE, HOP] {
            request.headers_mut().remove(name);
        }
        let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let need = path.and_then(|path| needs::need(request.method(), path));
        let need = need.ok_or_else(|| forbidden("this route is not open to anybody yet"))?;
        match shown(request.headers(), wall)? {
            Shown::Key(key) => {
                let server = wall.keys.check(&key, now()).map_err(|error| match error {
                    KeyError::KeysAway => away(error.to_string()),
                    error => self.nobody(request, error.to_string()),
                })?;
                take(self.inner.limits.key.as_ref(), &server.id)?;
                need.permits(server.scopes, "the key")?;
                Ok(Caller::Server(server))
            }
            Shown::Token(token) => {
                // Before the signature is looked at, which costs something.
                self.limit_address(request)?;
                let player = wall.player(&token).await?;
                take(self.inner.limits.account.as_ref(), &player.account_id)?;
                player_may(api, &player, need, request).await?;
                Ok(Caller::Player(player))
            }
            Shown::Session(cookie) => {
                let sign_in =
                    wall.sign_in.as_ref().filter(|sign_in| is_own(request.method(), request.headers(), sign_in));
                let Some(sign_in) = sign_in else {
                    return Err(forbidden("a session changes things only from this deployment's own pages"));
                };
                let person = sign_in.person(&cookie, now());
                let person = person.ok_or_else(|| self.nobody(request, "the session has ended".to_owned()))?;
                take(self.inner.limits.account.as_ref(), &person.subject)?;
                need.permits(person.scopes, "your role")?;
                Ok(Caller::Person(Arc::new(person)))
            }
            Shown::Nothing => Err(self.nobody(request, "no token and no key: see docs/access.md".to_owned())),
        }
    }

    /// Nobody who is known. Who tries often is held up.
    fn nobody(&self, request: &Request, detail: String) -> Problem {
        match self.limit_address(request) {
            Ok(()) => unauthenticated(detail),
            Err(problem) => problem,
        }
    }

    /// Whoever tries to sign in again and again is held up: each attempt asks the provider something.
    pub(crate) fn limit_sign_in(&self, request: &Request) -> Result<(), Problem> {
        let Some(buckets) = &self.inner.limits.sign_in else { return Ok(()) };
        take(Some(buckets), bucket_of(self.address(request)))
    }

    fn limit_address(&self, request: &Request) -> Result<(), Problem> {
        let Some(buckets) = &self.inner.limits.address else { return Ok(()) };
        take(Some(buckets), bucket_of(self.address(request)))
    }

    /// From where a request comes, as far as the proxies before this node can be believed.
    fn address(&self, request: &Request) -> IpAddr {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        forwarded_for(request.headers(), self.inner.proxies).unwrap_or(peer)
    }
}

impl Wall {
    async fn player(&self, token: &str) -> Result<Arc<Player>, Problem> {
        let Some(tokens) = &self.tokens else {
            return Err(unauthenticated("players' tokens are not accepted here".to_owned()));
        };
        tokens.check(token, now()).await.map_err(|error| match error {
            TokenError::KeysAway => away(error.to_string()),
            error => unauthenticated(error.to_string()),
        })
    }
}

impl Need {
    fn permits(self, scopes: Scopes, who: &str) -> Result<(), Problem> {
        let (Self::Player(wanted) | Self::Scope(wanted)) = self else { return Ok(()) };
        if scopes.hold_one_of(wanted) {
            return Ok(());
        }
        let wanted: Vec<_> = wanted.iter().map(|scope| Scope::as_str(*scope)).collect();
        Err(forbidden(format!("{who} has not the scope that this asks for: {}", wanted.join(" or "))))
    }
}

/// Whether a player may ask this: of its own account, and as its token binds it.
async fn player_may(api: &ApiState, player: &Player, need: Need, request: &mut Request) -> Result<(), Problem> {
    if matches!(need, Need::Scope(_)) {
        return Err(forbidden("a player's token is not for this"));
    }
    if let Some(policy) = &player.policy {
        let is_in_force =
            api.playback().catalog().read(|catalog| catalog.policy_in_force(&player.account_id).name == *policy);
        if !is_in_force {
            let detail = format!("the token is for as long as its account has the policy {policy}, which it has not");
            return Err(unauthenticated(detail));
        }
    }
    let Ok(params) = request.extract_parts::<RawPathParams>().await else { return Ok(()) };
    for (name, value) in &params {
        match name {
            "account" if value != player.account_id.as_str() => {
                return Err(not_own(player));
            }
            "session" => {
                let is_bound = player.session_id.is_some_and(|bound| value.parse() != Ok(bound));
                if is_bound {
                    return Err(forbidden("the token is of another session"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// A token or a key, as a header shows it.
fn shown(headers: &HeaderMap, wall: &Wall) -> Result<Shown, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(unauthenticated("there must be one Authorization header".to_owned()));
    }
    if let Some(value) = first {
        let text = value.to_str().unwrap_or_default();
        let (scheme, credential) = text.split_once(' ').unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(unauthenticated("the Authorization header must be `Bearer` and a token or key".to_owned()));
        }
        let credential = credential.trim().to_owned();
        let is_key = credential.starts_with(key::PREFIX);
        return Ok(if is_key { Shown::Key(credential) } else { Shown::Token(credential) });
    }
    if let Some(key) = headers.get(FIREHOSE_KEY).and_then(|value| value.to_str().ok()) {
        return Ok(Shown::Key(key.to_owned()));
    }
    let session = wall.sign_in.as_ref().and_then(|sign_in| Cookie::Session.of(sign_in, headers));
    Ok(session.map_or(Shown::Nothing, Shown::Session))
}

/// The address that the outermost of `proxies` saw.
fn forwarded_for(headers: &HeaderMap, proxies: usize) -> Option<IpAddr> {
    let from_the_end = proxies.checked_sub(1)?;
    let values: Vec<_> = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    let address = values.iter().rev().flat_map(|value| value.rsplit(',')).nth(from_the_end)?.trim();
    // Some write the port, too.
    address.parse().ok().or_else(|| address.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// Who shares a bucket: an address, or the network that one customer has in IPv6.
fn bucket_of(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64 | 1 << 63,
    }
}

fn take(buckets: Option<&Buckets>, caller: impl std::hash::Hash) -> Result<(), Problem> {
    let Some(buckets) = buckets else { return Ok(()) };
    buckets.take(caller).map_err(|wait: Duration| {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let detail = "more requests than one caller may make; ask again later".to_owned();
        Problem::new(ProblemKind::RateLimited, detail).retry_after(seconds.max(1))
    })
}

fn unauthenticated(detail: String) -> Problem {
    Problem::new(ProblemKind::Unauthenticated, detail)
}

pub(super) fn forbidden(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ProblemKind::Forbidden, detail)
}

fn away(detail: String) -> Problem {
    Problem::new(ProblemKind::Unavailable, detail).retry_after(RETRY_AFTER_S)
}

fn now() -> i64 {
    Utc::now().timestamp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_believed_as_far_as_there_are_some() {
        let forwarded = |values: &[&str], proxies| {
            let values = values.iter().map(|value| (FORWARDED_FOR, value.parse().unwrap()));
            let mut headers = HeaderMap::new();
            for (name, value) in values {
                headers.append(name, value);
            }
            forwarded_for(&headers, proxies).map(|address| address.to_string())
        };
        let one = ["6.6.6.6, 9.9.9.9", "10.0.0.1"];
        assert_eq!(forwarded(&one, 0), None, "anybody may write it");
        assert_eq!(forwarded(&one, 1).as_deref(), Some("10.0.0.1"));
        assert_eq!(forwarded(&one, 2).as_deref(), Some("9.9.9.9"));
        assert_eq!(forwarded(&one, 4), None);
        assert_eq!(forwarded(&["1.2.3.4:567"], 1).as_deref(), Some("1.2.3.4"));
        assert_eq!(forwarded(&["nonsense"], 1), None);
    }

    #[test]
    fn a_customers_network_is_one_caller() {
        let bucket = |address: &str| bucket_of(address.parse().unwrap());
        assert_eq!(bucket("2001:db8:0:1::1"), bucket("2001:db8:0:1:ffff::9"));
        assert_ne!(bucket("2001:db8:0:1::1"), bucket("2001:db8:0:2::1"));
        assert_ne!(bucket("1.2.3.4"), bucket("1.2.3.5"));
        assert_eq!(bucket("::ffff:1.2.3.4"), bucket("1.2.3.4"));
    }
}
