//! What happens around every handler: ids, limits, problems, headers, other origins.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get as on_get;
use http::{Request, StatusCode};
use pulsegate_api::{ApiSettings, CorsOrigins, ProblemKind, router, router_with};

use crate::surface::{ask_of, get, of_session, post, sent, state};

#[tokio::test]
async fn an_unknown_path_is_a_problem() {
    for path in ["/nothing", "/v1", "/v1/accounts/a/sessions/", "/assets/none.js", "/problems/none"] {
        let answer = get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        answer.problem("not-found");
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    for (method, path, allowed) in [
        ("PATCH", "/v1/accounts/a/sessions".to_owned(), vec!["GET", "HEAD", "POST"]),
        ("GET", of_session("/heartbeats"), vec!["POST"]),
        ("GET", of_session(""), vec!["DELETE"]),
        ("DELETE", "/v1/policies/p".to_owned(), vec!["GET", "HEAD", "PUT"]),
        ("POST", "/".to_owned(), vec!["GET", "HEAD"]),
        ("OPTIONS", "/v1/heartbeats".to_owned(), vec!["POST"]),
    ] {
        let answer = ask_of(router(state(ApiSettings::default())), sent(method, &path, "{}")).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        answer.problem("method-not-allowed");
        let mut allow: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
        allow.sort_unstable();
        assert_eq!(allow, allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn a_request_keeps_its_senders_id_if_it_is_sane() {
    let with_id = async |id: &str| {
        let request = Request::get("/v1/live").header("x-request-id", id).body(Body::empty()).unwrap();
        ask_of(router(state(ApiSettings::default())), request).await.header("x-request-id").to_owned()
    };
    assert_eq!(with_id("trace:1/2+a=").await, "trace:1/2+a=");
    let (one, other) = (with_id("no spaces").await, with_id(&"x".repeat(129)).await);
    assert!(one != other && one.len() > 16 && !one.contains(' '), "{one} {other}");
}

#[tokio::test]
async fn a_panic_is_a_problem_and_tells_nothing() {
    async fn broken() -> &'static str {
        panic!("a secret")
    }
    let broken = Router::new().route("/broken", on_get(broken));
    let request = Request::get("/broken").body(Body::empty()).unwrap();
    let answer = ask_of(router_with(state(ApiSettings::default()), broken), request).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!answer.problem("internal-error").to_string().contains("secret"));
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_given_up() {
    let settings = ApiSettings { answer_time_max: Duration::from_millis(10), ..ApiSettings::default() };
    let slow = Router::new().route("/slow", on_get(std::future::pending::<()>));
    let request = Request::get("/slow").body(Body::empty()).unwrap();
    let answer = ask_of(router_with(state(settings), slow), request).await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    answer.problem("timed-out");
}

#[tokio::test]
async fn a_full_node_turns_away_at_once_reads_and_writes_apart() {
    let no_reads = || state(ApiSettings { reads_in_flight_max: 0, ..ApiSettings::default() });
    let answer = ask_of(router(no_reads()), Request::get("/v1/live").body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    answer.problem("overloaded");
    ask_of(router(no_reads()), sent("POST", "/v1/heartbeats", "nonsense")).await.problem("malformed-json");
}

#[tokio::test]
async fn every_answer_of_the_api_is_for_now_and_of_its_own_type() {
    let answer = get("/v1/live").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(post("/v1/heartbeats", "?").await.header("cache-control"), "no-store");
}

#[tokio::test]
async fn who_comes_by_https_is_told_to_come_by_nothing_else() {
    let answer = |is_https| async move {
        let settings = ApiSettings { is_https, ..ApiSettings::default() };
        ask_of(router(state(settings)), Request::get("/").body(Body::empty()).unwrap()).await
    };
    assert_eq!(answer(true).await.header("strict-transport-security"), "max-age=31536000");
    assert_eq!(answer(false).await.header("strict-transport-security"), "");
}

#[tokio::test]
async fn pages_of_listed_origins_may_call() {
    let listed: CorsOrigins = "https://tv.example".parse().unwrap();
    let cors = || router(state(ApiSettings { cors_origins: listed.clone(), ..ApiSettings::default() }));
    let preflight = |origin: &str| {
        let request = Request::options("/v1/accounts/a/sessions")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type");
        request.body(Body::empty()).unwrap()
    };
    let answer = ask_of(cors(), preflight("https://tv.example")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("access-control-allow-origin"), "https://tv.example");
    assert!(answer.header("access-control-allow-methods").contains("POST"));
    assert!(answer.header("access-control-allow-headers").contains("content-type"));
    assert_eq!(ask_of(cors(), preflight("https://other.example")).await.header("access-control-allow-origin"), "");
    // A refusal too must be readable.
    let refused = Request::get("/nothing").header("origin", "https://tv.example").body(Body::empty()).unwrap();
    let answer = ask_of(cors(), refused).await;
    answer.problem("not-found");
    assert_eq!(answer.header("access-control-allow-origin"), "https://tv.example");
    assert!(answer.header("access-control-expose-headers").contains("retry-after"));
}

#[tokio::test]
async fn every_problem_has_its_page() {
    for kind in ProblemKind::ALL {
        let page = get(kind.path()).await;
        assert_eq!((page.status, page.header("content-type")), (StatusCode::OK, "text/plain; charset=utf-8"));
        assert_eq!(page.body, kind.page());
    }
}
