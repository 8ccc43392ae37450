//! Bodies: their type, encoding, size, and what is said of what is wrong in them.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Request, Response, StatusCode};
use pulsegate_api::{ApiSettings, router};
use serde_json::json;
use tower::{Layer as _, ServiceExt as _};
use tower_http::compression::CompressionLayer;

use crate::surface::{START, ask, ask_of, of_session, post, sent, state};

const STARTS: &str = "/v1/accounts/a/sessions";
const MIB: usize = 1 << 20;

#[tokio::test]
async fn what_is_not_json_is_400() {
    for body in ["", "nonsense", "{\"device_id\":", r#"{"device_id":"a","device_id":"b","title_id":"t"}"#] {
        let answer = post(STARTS, body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        answer.problem("malformed-json");
    }
    let answer = post(STARTS, &b"{\"device_id\":\"\xff\"}"[..]).await;
    answer.problem("malformed-json");
}

#[tokio::test]
async fn what_is_wrong_is_422_with_every_place() {
    let answer = post(&of_session("/heartbeats"), r#"{"device_id":"a b","title_id":"t","sequence":-1}"#).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let problem = answer.problem("invalid");
    let places: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|error| error["pointer"].clone()).collect();
    for place in ["/device_id", "/sequence", "/elapsed_ms", "/position_ms", "/state"] {
        assert!(places.contains(&json!(place)), "{place} is not in {places:?}");
    }
}

#[tokio::test]
async fn a_wrong_id_in_the_path_is_422_and_names_its_field() {
    for (method, path, pointer) in [
        ("POST", "/v1/accounts/a%20b/sessions", "/account_id"),
        ("POST", "/v1/accounts/a/sessions/nonsense/heartbeats", "/session_id"),
        ("GET", "/v1/accounts/a/sessions/00000000-0000-0000-0000-000000000000/verdict", "/session_id"),
        ("DELETE", "/v1/accounts/a/sessions/nonsense", "/session_id"),
        ("PUT", "/v1/policies/-p", "/name"),
        ("GET", "/v1/titles/%C3%A4", "/title_id"),
    ] {
        let answer = ask(sent(method, path, START)).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{method} {path}");
        assert_eq!(answer.problem("invalid")["errors"][0]["pointer"], pointer, "{method} {path}");
    }
}

#[tokio::test]
async fn a_batch_of_none_or_too_many_is_422() {
    let too_many = format!("{{\"heartbeats\":[{}]}}", vec!["{}"; 1_001].join(","));
    for body in ["{\"heartbeats\":[]}", too_many.as_str(), "{}"] {
        let answer = post("/v1/heartbeats", body.to_owned()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body:.40}");
        assert_eq!(answer.problem("invalid")["errors"][0]["pointer"], "/heartbeats");
    }
}

#[tokio::test]
async fn a_body_must_say_that_it_is_json() {
    let typed = async |path: &str, media: Option<&str>, body: &'static str| {
        let request = Request::post(path);
        let request = if let Some(media) = media { request.header("content-type", media) } else { request };
        ask(request.body(Body::from(body)).unwrap()).await
    };
    for media in [Some("text/plain"), Some("application/x-www-form-urlencoded"), None] {
        let answer = typed(STARTS, media, "{").await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{media:?}");
        answer.problem("unsupported-media-type");
    }
    for media in ["application/json;charset=utf-8", "application/vnd.player+json"] {
        typed(STARTS, Some(media), "{").await.problem("malformed-json");
    }
    // A beacon can't choose.
    for media in [Some("text/plain;charset=UTF-8"), Some("application/json"), None] {
        typed(&of_session("/stop"), media, "{").await.problem("malformed-json");
    }
    typed(&of_session("/stop"), Some("image/png"), "{").await.problem("unsupported-media-type");
}

#[tokio::test]
async fn a_body_may_have_a_mebibyte() {
    let fits = post(STARTS, " ".repeat(MIB)).await;
    fits.problem("malformed-json");
    let answer = post(STARTS, " ".repeat(MIB + 1)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    answer.problem("too-large");
    // The same where the length isn't said before.
    let chunks = (0..5).map(|_| Ok::<_, Infallible>(Bytes::from(" ".repeat(MIB / 4))));
    let answer = post(STARTS, Body::from_stream(futures_util::stream::iter(chunks))).await;
    answer.problem("too-large");
}

async fn gzip(body: impl Into<Bytes>) -> Bytes {
    let body = body.into();
    let service = tower::service_fn(move |_: Request<Body>| {
        std::future::ready(Ok::<_, Infallible>(Response::new(Body::from(body.clone()))))
    });
    let request = Request::get("/").header("accept-encoding", "gzip").body(Body::empty()).unwrap();
    let response = CompressionLayer::new().layer(service).oneshot(request).await.unwrap();
    to_bytes(Body::new(response.into_body()), usize::MAX).await.unwrap()
}

async fn encoded(encoding: &str, body: Bytes) -> crate::surface::Answer {
    let mut request = sent("POST", STARTS, body);
    request.headers_mut().insert("content-encoding", encoding.parse().unwrap());
    ask(request).await
}

#[tokio::test]
async fn gzip_is_undone_up_to_the_same_limit() {
    let wrong = gzip(r#"{"device_id":"tv-1","title_id":"not an id but long enough to be compressed"}"#).await;
    assert_eq!(encoded("gzip", wrong.clone()).await.problem("invalid")["errors"][0]["pointer"], "/title_id");
    let bomb = gzip(" ".repeat(8 * MIB)).await;
    assert!(bomb.len() < MIB);
    encoded("gzip", bomb).await.problem("too-large");
    encoded("gzip", wrong.slice(..wrong.len() / 2)).await.problem("unreadable-body");
    encoded("gzip", Bytes::from_static(b"{}")).await.problem("unreadable-body");
    let answer = encoded("br", wrong).await;
    assert_eq!((answer.status, answer.header("accept-encoding")), (StatusCode::UNSUPPORTED_MEDIA_TYPE, "gzip"));
}

#[tokio::test]
async fn a_body_must_arrive_in_time() {
    let settings = ApiSettings { body_time_max: Duration::from_millis(10), ..ApiSettings::default() };
    let never =
        futures_util::stream::iter([Ok::<_, Infallible>(Bytes::from("{"))]).chain(futures_util::stream::pending());
    let answer = ask_of(router(state(settings)), sent("POST", STARTS, Body::from_stream(never))).await;
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
    answer.problem("request-timeout");
}
