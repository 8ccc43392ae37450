//! What servers send of themselves: lines of a log, and a licence server's question.

use std::sync::Arc;

use axum::body::Body;
use chrono::Utc;
use http::{Request, StatusCode};
use pulsegate_api::{ApiSettings, router};
use pulsegate_write_side::adapter::Mapping;
use serde_json::{Value, json};

use crate::surface::{ask_of, post, state};

const LOG: &str = "/v1/signals/cloudfront";
const LICENCE: &str = "/v1/signals/licence";
const MAPPING: &str = r#"{"cloudfront": {"fields": ["timestamp", "sc-status", "cs-uri-stem"], "paths": ["/{a}/{d}/{t}/*"],
  "account_id": ["path:a"], "device_id": ["path:d"], "title_id": ["path:t"]}, "licence": {"account_id": "/user/id"}}"#;

fn settings() -> ApiSettings {
    ApiSettings { mapping: Arc::new(Mapping::parse(MAPPING.as_bytes()).unwrap()), ..ApiSettings::default() }
}

fn lines(content_type: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(LOG).header("content-type", content_type).body(body.into()).unwrap()
}

/// The answer to lines, of which none is a sign of life.
async fn outcome(body: &str) -> Value {
    let answer = ask_of(router(state(settings())), lines("text/plain", body.to_owned())).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    answer.json()
}

#[tokio::test]
async fn each_line_is_good_or_bad_by_itself() {
    let body = "#Version: 1.0\n1795380423\t200\t/a/d/t/poster.jpg\n1795380423\t403\t/a/d/t/1.ts\nnonsense\n\
                1000\t200\t/a/d/t/1.ts\n1795380423\tno\t/a/d/t/1.ts\n99999999999\t200\t/a/d/t/1.ts\n";
    let outcome = outcome(body).await;
    assert_eq!(
        outcome,
        json!({"lines": 6, "accepted": 0, "thinned": 0, "too_old": 1, "ahead": 1, "not_media": 1, "not_served": 1,
            "refused": 2, "rejected": [
                {"line": 4, "code": "invalid", "field": "line", "detail": "has 1 fields, and 3 are listed"},
                {"line": 6, "code": "invalid", "field": "sc-status", "detail": "is \"no\", which is no status"}]})
    );
}

#[tokio::test]
async fn all_refused_lines_are_counted_and_the_first_hundred_told() {
    let outcome = outcome(&"nonsense\n".repeat(1_000)).await;
    assert_eq!((outcome["lines"].as_u64(), outcome["refused"].as_u64()), (Some(1_000), Some(1_000)));
    assert_eq!(outcome["rejected"].as_array().map(Vec::len), Some(100));
}

#[tokio::test]
async fn a_log_says_that_it_is_text() {
    let answer = ask_of(router(state(settings())), lines("text/csv", "x")).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let detail = answer.problem("unsupported-media-type")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("text/plain"), "{detail}");
    let delivery = post(LOG, r#"{"requestId": "r", "records": [{"data": "?"}]}"#).await;
    assert_eq!(delivery.problem("invalid")["errors"][0]["pointer"], "/records/0/data");
}

#[tokio::test]
async fn lines_that_the_log_did_not_take_may_be_sent_again() {
    let router = router(state(settings()));
    let line = format!("{}\t200\t/a/d/t/1.ts\n", Utc::now().timestamp());
    for _ in 0..2 {
        let answer = ask_of(router.clone(), lines("text/plain", line.clone())).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "not thinned: {:?}", answer.body);
        answer.problem("unavailable");
    }
}

#[tokio::test]
async fn a_licence_servers_question_is_read_by_its_mapping() {
    let ask = async |body: Value| {
        let request = Request::post(LICENCE).header("content-type", "application/json");
        ask_of(router(state(settings())), request.body(Body::from(body.to_string())).unwrap()).await
    };
    let answer = ask(json!({"account_id": "a", "device_id": "d d", "title_id": "t"})).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let problem = answer.problem("invalid");
    let places: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
    assert_eq!(places, ["/user/id", "/device_id"]);
    // Nobody can say: the log is away.
    let answer = ask(json!({"user": {"id": "a"}, "device_id": "d", "title_id": "t"})).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!answer.header("retry-after").is_empty());
}
