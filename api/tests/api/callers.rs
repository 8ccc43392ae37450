//! Who is let in, and to what.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use chrono::Utc;
use http::{Request, StatusCode};
use pulsegate_api::callers::{Callers, Limits, Wall};
use pulsegate_api::{ApiSettings, router};
use pulsegate_callers::Scope;
use pulsegate_callers::issue::{Kind, SigningKey, jwks};
use pulsegate_callers::key::{KeyRing, Server};
use pulsegate_callers::limit::Buckets;
use pulsegate_callers::sign_in::{SignIn, SignInSettings, read_url};
use pulsegate_callers::token::{TokenSettings, Tokens};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::surface::{Answer, SESSION, START, ask_of, of_session, state};

const OTHER: &str = "019ab0c4-7e1a-7abc-8def-0123456789ab";

/// A deployment that lets nobody in without a word: its login service, and a key with each scope.
struct Guarded {
    signing: SigningKey,
    tokens: Tokens,
    ring: KeyRing,
    keys: Vec<(Scope, String)>,
    _file: tempfile::NamedTempFile,
}

impl Guarded {
    fn new() -> Self {
        let signing = SigningKey::generate(Kind::Es256).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), jwks([&signing]).to_string()).unwrap();
        let keys = file.path().to_str().unwrap().parse().unwrap();
        let tokens = Tokens::new(TokenSettings { keys, issuer: None, audience: None, leeway: Duration::ZERO });
        let made = Scope::ALL.map(|scope| (scope, Server::new(scope.as_str(), [scope].into_iter().collect()).unwrap()));
        let (mut servers, mut keys) = (Vec::new(), Vec::new());
        for (scope, (server, shown)) in made {
            servers.push(server);
            keys.push((scope, shown));
        }
        Self { signing, tokens, ring: KeyRing::of(servers), keys, _file: file }
    }

    fn wall(&self) -> Wall {
        let node_secret = Some("what nodes share".to_owned());
        Wall { tokens: Some(self.tokens.clone()), keys: self.ring.clone(), sign_in: None, node_secret }
    }

    fn settings(&self) -> ApiSettings {
        ApiSettings { callers: Callers::new(Some(self.wall()), Limits::default(), 0), ..ApiSettings::default() }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let router = router(state(self.settings()));
        if path.ends_with("/verdicts") {
            // A stream, which has no end for as long as anybody reads it.
            let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
            let body = if parts.status.is_success() { Bytes::new() } else { to_bytes(body, usize::MAX).await.unwrap() };
            return Answer { status: parts.status, headers: parts.headers, body };
        }
        ask_of(router, request).await
    }

    async fn by(&self, credential: &str, method: &str, path: &str, body: &str) -> Answer {
        self.ask(method, path, &[("authorization", &format!("Bearer {credential}"))], body).await
    }

    fn token(&self, more: &Value) -> String {
        let mut claims = json!({"sub": "a", "exp": Utc::now().timestamp() + 60});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.signing.sign(&claims).unwrap()
    }

    fn key(&self, scope: Scope) -> &str {
        &self.keys.iter().find(|(of, _)| *of == scope).unwrap().1
    }
}

fn was_let_in(answer: &Answer) -> bool {
    !matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// Every operation of the API's description: method, a path, the scopes of which a key needs one, and whether a player may.
fn operations() -> Vec<(String, String, BTreeSet<String>, bool)> {
    let document: Value = serde_json::from_str(&pulsegate_api::openapi_json()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let ways = operation["security"].as_array().unwrap_or_else(|| panic!("{method} {path} is anybody's"));
            let keys = ways.iter().filter_map(|way| way["api_key"][0].as_str().map(str::to_owned)).collect();
            let player = ways.iter().any(|way| way.get("player_token").is_some());
            let path = path.replace("{account}", "a").replace("{session}", SESSION).replace("{period}", "2026-10");
            let path = path.replace("{name}", "n").replace("{id}", "n");
            assert!(!path.contains('{'), "{path}");
            operations.push((method.to_uppercase(), path, keys, player));
        }
    }
    operations
}

#[tokio::test]
async fn each_route_asks_for_what_its_description_says_and_for_nothing_less() {
    let guarded = Guarded::new();
    let token = guarded.token(&json!({}));
    for (method, path, scopes, player) in operations() {
        // What is no JSON comes no further than who may send it.
        let nobody = guarded.ask(&method, &path, &[], "x").await;
        assert_eq!(nobody.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        nobody.problem("unauthenticated");
        assert_eq!(nobody.header("www-authenticate"), "Bearer realm=\"pulsegate\"");
        for (scope, key) in &guarded.keys {
            let answer = guarded.by(key, &method, &path, "x").await;
            let may = scopes.contains(scope.as_str());
            assert_eq!(was_let_in(&answer), may, "{method} {path} by {scope}: {}", answer.status);
            if !may {
                answer.problem("forbidden");
            }
        }
        let answer = guarded.by(&token, &method, &path, "x").await;
        assert_eq!(was_let_in(&answer), player, "{method} {path} by a player: {}", answer.status);
    }
}

#[tokio::test]
async fn a_token_of_one_account_never_touches_another() {
    let guarded = Guarded::new();
    let token = guarded.token(&json!({}));
    for (method, path, body) in [
        ("POST", "/v1/accounts/b/sessions", START),
        ("GET", "/v1/accounts/b/sessions", ""),
        ("GET", "/v1/accounts/%62/sessions", ""),
        ("GET", "/v1/accounts/a%2F..%2Fb/sessions", ""),
        ("GET", "/v1/accounts/A/sessions", ""),
        ("GET", "/v1/accounts/b/verdicts", ""),
        ("DELETE", "/v1/accounts/b/sessions/3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e6f", ""),
        ("POST", "/v1/accounts/b/sessions/3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e6f/stop", ""),
        ("POST", "/v1/accounts/b/sessions/3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e6f/evict", "{}"),
        ("GET", "/v1/accounts/a/sessions?as_of=2026-11-22T20:47:03Z", ""),
    ] {
        let answer = guarded.by(&token, method, path, body).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}");
        answer.problem("forbidden");
    }
    for path in ["/v1/accounts/a/sessions", "/v1/accounts/%61/sessions"] {
        assert_eq!(guarded.by(&token, "GET", path, "").await.status, StatusCode::OK, "{path}");
    }
}

fn beat(account: &str, session: &str, device: &str) -> Value {
    json!({"account_id": account, "session_id": session, "device_id": device, "title_id": "t", "sequence": 0,
           "elapsed_ms": 0, "position_ms": 0, "state": "playing"})
}

#[tokio::test]
async fn a_batch_with_one_item_of_another_account_is_refused_whole() {
    let guarded = Guarded::new();
    let token = guarded.token(&json!({}));
    let send = async |path: &str, body: Value| guarded.by(&token, "POST", path, &body.to_string()).await.status;
    let unreadable = json!({"account_id": "b", "device_id": "d"});
    for (status, path, body) in [
        // The log is away: that far it comes.
        (503, "/v1/heartbeats", json!({"heartbeats": [beat("a", SESSION, "d")]})),
        (403, "/v1/heartbeats", json!({"heartbeats": [beat("a", SESSION, "d"), beat("b", SESSION, "d")]})),
        (403, "/v1/heartbeats", json!({"heartbeats": [beat("a", SESSION, "d"), unreadable]})),
        (
            503,
            "/v1/clickstream",
            json!({"events": [{"name": "n", "account_id": "a"}, {"name": "n", "anonymous_id": "v"}]}),
        ),
        (
            403,
            "/v1/clickstream",
            json!({"events": [{"name": "n", "account_id": "a"}, {"name": "n", "account_id": "b"}]}),
        ),
    ] {
        assert_eq!(send(path, body.clone()).await.as_u16(), status, "{path} {body}");
    }
    let server = guarded
        .by(
            guarded.key(Scope::Ingest),
            "POST",
            "/v1/heartbeats",
            &json!({"heartbeats": [beat("b", SESSION, "d")]}).to_string(),
        )
        .await;
    assert_eq!(server.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn replays_of_another_session_or_device_are_refused() {
    let guarded = Guarded::new();
    let of_session_alone = guarded.token(&json!({"session": SESSION}));
    let of_device = guarded.token(&json!({"device": "tv-1"}));
    let start = |session: Option<&str>, device: &str| {
        let mut start = json!({"device_id": device, "title_id": "t"});
        if let Some(session) = session {
            start["session_id"] = session.into();
        }
        start.to_string()
    };
    let beats = |session: &str, device: &str| beat("a", session, device).to_string();
    let (starts, own, other) =
        ("/v1/accounts/a/sessions", of_session("/heartbeats"), format!("/v1/accounts/a/sessions/{OTHER}"));
    for (token, method, path, body, may) in [
        (&of_session_alone, "POST", starts, start(Some(SESSION), "d"), true),
        (&of_session_alone, "POST", starts, start(None, "d"), true),
        (&of_session_alone, "POST", starts, start(Some(OTHER), "d"), false),
        (&of_session_alone, "POST", &own, beats(SESSION, "d"), true),
        (&of_session_alone, "POST", &format!("{other}/heartbeats"), beats(OTHER, "d"), false),
        (&of_session_alone, "GET", &format!("{other}/verdict"), String::new(), false),
        (&of_session_alone, "DELETE", &other, String::new(), false),
        (
            &of_session_alone,
            "POST",
            "/v1/heartbeats",
            json!({"heartbeats": [beat("a", OTHER, "d")]}).to_string(),
            false,
        ),
        (&of_device, "POST", starts, start(None, "tv-1"), true),
        (&of_device, "POST", starts, start(None, "tv-2"), false),
        (&of_device, "POST", &own, beats(SESSION, "tv-1"), true),
        (&of_device, "POST", &own, beats(SESSION, "tv-2"), false),
        (&of_device, "POST", "/v1/heartbeats", json!({"heartbeats": [beat("a", SESSION, "tv-2")]}).to_string(), false),
    ] {
        let answer = guarded.by(token, method, path, &body).await;
        assert_eq!(was_let_in(&answer), may, "{method} {path} {body}: {}", answer.status);
    }
}

#[tokio::test]
async fn a_token_for_a_policy_ends_with_it() {
    let guarded = Guarded::new();
    let standard = guarded.token(&json!({"policy": "standard"}));
    assert_eq!(guarded.by(&standard, "GET", "/v1/accounts/a/sessions", "").await.status, StatusCode::OK);
    let premium = guarded.token(&json!({"policy": "premium"}));
    let answer = guarded.by(&premium, "GET", "/v1/accounts/a/sessions", "").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_is_not_good_says_why() {
    let guarded = Guarded::new();
    let live = "/v1/accounts/a/sessions";
    let expired = guarded.token(&json!({"exp": Utc::now().timestamp() - 1}));
    let stranger = SigningKey::generate(Kind::Es256).unwrap();
    let strange = stranger.sign(&json!({"sub": "a", "exp": Utc::now().timestamp() + 60})).unwrap();
    for (header, says) in [
        (format!("Bearer {expired}"), "has run out"),
        (format!("Bearer {strange}"), "is not one of the issuer's"),
        ("Bearer pgk_nobody_nothing".to_owned(), "there is no such key"),
        ("Basic YTpi".to_owned(), "must be `Bearer`"),
        ("Bearer".to_owned(), "no signed JWT"),
    ] {
        let answer = guarded.ask("GET", live, &[("authorization", &header)], "").await;
        let detail = answer.problem("unauthenticated")["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(says), "{header}: {detail}");
    }
    let two = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
    guarded.ask("GET", live, &two, "").await.problem("unauthenticated");
}

#[tokio::test]
async fn firehose_shows_its_key_in_its_own_way() {
    let guarded = Guarded::new();
    let key = guarded.key(Scope::Signals);
    let delivery = json!({"requestId": "r", "timestamp": 1, "records": []}).to_string();
    let answer = guarded.ask("POST", "/v1/signals/cloudfront", &[("x-amz-firehose-access-key", key)], &delivery).await;
    assert!(was_let_in(&answer), "{}", answer.status);
}

#[tokio::test]
async fn pages_files_and_explanations_are_anybodys() {
    let guarded = Guarded::new();
    for path in ["/", "/player", "/docs", "/openapi.json", "/problems/forbidden", "/sdk/pulsegate.js"] {
        assert_eq!(guarded.ask("GET", path, &[], "").await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(guarded.ask("GET", "/nothing", &[], "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_node_that_shows_the_secret_is_let_in_and_one_that_only_says_so_is_not() {
    let guarded = Guarded::new();
    let node = |secret| [("pulsegate-node", secret), ("pulsegate-hop", "10.0.0.1:80")];
    assert!(was_let_in(&guarded.ask("GET", "/v1/cluster/node", &node("what nodes share"), "").await));
    for wrong in ["", "what nodes shar", "what nodes share!"] {
        assert!(!was_let_in(&guarded.ask("GET", "/v1/cluster/node", &node(wrong), "").await), "{wrong:?}");
    }
    let settings = || {
        let wall = Wall { node_secret: Some(String::new()), ..guarded.wall() };
        ApiSettings { callers: Callers::new(Some(wall), Limits::default(), 0), ..ApiSettings::default() }
    };
    let request = Request::get("/v1/cluster/node").header("pulsegate-node", "").body(Body::empty()).unwrap();
    assert_eq!(ask_of(router(state(settings())), request).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_ask_again() {
    let guarded = Guarded::new();
    let limits = |account, key, address| Limits {
        account: Buckets::new(account),
        key: Buckets::new(key),
        address: Buckets::new(address),
        sign_in: None,
    };
    let (token, key) = (guarded.token(&json!({})), guarded.key(Scope::Operate));
    for ((account, key_limit, address), credential) in
        [((1, 0, 0), Some(token.as_str())), ((0, 1, 0), Some(key)), ((0, 0, 1), None), ((0, 0, 1), Some("x"))]
    {
        let limits = limits(account, key_limit, address);
        let callers = Callers::new(Some(guarded.wall()), limits, 0);
        let router = router(state(ApiSettings { callers, ..ApiSettings::default() }));
        let ask = async || {
            let request = Request::get("/v1/accounts/a/sessions");
            let request = match credential {
                Some(credential) => request.header("authorization", format!("Bearer {credential}")),
                None => request,
            };
            ask_of(router.clone(), request.body(Body::empty()).unwrap()).await
        };
        let mut answers = Vec::new();
        for _ in 0..6 {
            answers.push(ask().await);
        }
        let refused: Vec<_> = answers.iter().filter(|answer| answer.status == StatusCode::TOO_MANY_REQUESTS).collect();
        assert!((2..=3).contains(&refused.len()), "{credential:?}: {} of 6", refused.len());
        refused[0].problem("rate-limited");
        assert_eq!(refused[0].header("retry-after"), "1");
    }
}

#[tokio::test]
async fn who_tries_to_sign_in_again_and_again_is_held_up() {
    let sign_in = SignIn::new(SignInSettings {
        // Nobody is there: each attempt is answered 503 until it is one too many.
        issuer: read_url("http://127.0.0.1:1").unwrap(),
        client_id: "pulsegate".to_owned(),
        client_secret: None,
        public_url: read_url("http://127.0.0.1:8080").unwrap(),
        roles_claim: "roles".to_owned(),
        roles: "ops=operate".parse().unwrap(),
        session_life: Duration::from_mins(5),
        secret: None,
    });
    let wall = Wall { sign_in: Some(sign_in.unwrap()), ..Guarded::new().wall() };
    let limits = Limits { sign_in: Buckets::new(1), ..Limits::default() };
    let router = router(state(ApiSettings { callers: Callers::new(Some(wall), limits, 0), ..ApiSettings::default() }));
    let mut refused = 0;
    for path in ["/login", "/login/callback?state=x", "/login", "/login", "/login/callback?state=x", "/login"] {
        let answer = ask_of(router.clone(), Request::get(path).body(Body::empty()).unwrap()).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            answer.problem("rate-limited");
            refused += 1;
        }
    }
    assert!((2..=3).contains(&refused), "{refused} of 6");
    // Whoever is held up there is not held up elsewhere.
    let elsewhere = ask_of(router, Request::get("/v1/live").body(Body::empty()).unwrap()).await;
    assert_eq!(elsewhere.status, StatusCode::UNAUTHORIZED);
}
