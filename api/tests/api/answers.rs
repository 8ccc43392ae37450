//! What is answered while the log and the database are away, and the API's description.

use http::StatusCode;
use pulsegate_api::openapi_json;
use serde_json::{Value, json};

use crate::surface::{SESSION, START, ask, get, of_session, post, sent};

/// The description as it was released; a change of it is a change that clients see.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/openapi.json");

#[test]
fn the_description_is_the_released_one() {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, openapi_json() + "\n").unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap_or_default();
    assert!(
        golden.trim_end() == openapi_json(),
        "the API's description changed; look at what changed, then run this test with UPDATE_GOLDEN=1"
    );
}

#[tokio::test]
async fn the_description_is_served_and_its_references_lead_somewhere() {
    let answer = get("/openapi.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/json"));
    let document = answer.json();
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn collect_references(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(reference) if name == "$ref" => references.push(reference.clone()),
                    other => collect_references(other, references),
                }
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| collect_references(element, references)),
        _ => {}
    }
}

#[tokio::test]
async fn what_the_log_does_not_acknowledge_is_503_and_may_be_sent_again() {
    let heartbeat =
        r#"{"device_id":"tv-1","title_id":"t-1","sequence":0,"elapsed_ms":0,"position_ms":0,"state":"playing"}"#;
    let signal = r#"{"signals":[{"account_id":"a","device_id":"tv-1","title_id":"t-1","kind":"manifest"}]}"#;
    let event = r#"{"events":[{"name":"n","anonymous_id":"v","properties":{}}]}"#;
    for (method, path, body) in [
        ("POST", "/v1/accounts/a/sessions".to_owned(), START),
        ("POST", of_session("/heartbeats"), heartbeat),
        ("POST", of_session("/stop"), ""),
        ("DELETE", of_session(""), ""),
        ("POST", "/v1/signals".to_owned(), signal),
        ("POST", "/v1/clickstream".to_owned(), event),
        ("PUT", "/v1/rights-holders/r".to_owned(), r#"{"name":"R"}"#),
        ("PUT", "/v1/policies/p".to_owned(), r#"{"rules":[{"scope":"account","max":1,"on_limit":"block_newest"}]}"#),
    ] {
        let answer = ask(sent(method, &path, body)).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{method} {path}: {:?}", answer.body);
        assert_eq!(answer.header("retry-after"), "1");
        answer.problem("unavailable");
    }
}

#[tokio::test]
async fn an_item_that_is_wrong_is_rejected_alone() {
    let answer = post("/v1/heartbeats", r#"{"heartbeats":[{"account_id":"a"}]}"#).await;
    assert_eq!(answer.status, StatusCode::OK);
    let body = answer.json();
    assert_eq!((&body["accepted"], &body["rejected"][0]["index"]), (&json!(0), &json!(0)));
    assert_eq!(body["rejected"][0]["code"], "invalid");
    let body = post("/v1/signals", r#"{"signals":[{"account_id":"a"}]}"#).await.json();
    assert_eq!(
        (&body["verdicts"][0]["verdict"], &body["verdicts"][0]["error"]["code"]),
        (&Value::Null, &json!("invalid"))
    );
    let answer = post("/v1/clickstream", r#"{"events":[{"name":"n"}]}"#).await;
    assert_eq!((answer.status, &answer.json()["accepted"]), (StatusCode::ACCEPTED, &json!(0)));
}

#[tokio::test]
async fn a_view_that_has_not_caught_up_says_so() {
    let answer = get("/v1/accounts/a/sessions").await;
    assert_eq!(answer.status, StatusCode::OK);
    let body = answer.json();
    assert_eq!((&body["sessions"], &body["provisional"]), (&json!([]), &json!(true)));
    assert!(body["as_of"]["partition"].is_u64() && body["as_of"]["offset"].is_i64(), "{body}");
}

#[tokio::test]
async fn a_node_alone_has_every_partition() {
    let cluster = get("/v1/cluster").await.json();
    assert_eq!((&cluster["mode"], &cluster["node"]), (&json!("whole"), &json!("this node")));
    let [node] = cluster["nodes"].as_array().unwrap().as_slice() else { panic!("{cluster}") };
    assert_eq!((&node["reachable"], node["owns"].as_array().map(Vec::len)), (&json!(true), Some(12)));
    let own = get("/v1/cluster/node").await.json();
    assert_eq!(own["address"], cluster["node"]);
    for fold in own["partitions"].as_array().unwrap() {
        // The log is away.
        assert_eq!((&fold["state"], &fold["next_offset"], &fold["lag"]), (&json!("filling"), &json!(0), &json!(0)));
    }
}

#[tokio::test]
async fn provisional_answers_are_listed_from_the_log() {
    let answer = get("/v1/provisional?since=2026-11-28T16:00:00Z&account=a&limit=5").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    answer.problem("unavailable");
    for (query, pointer) in [("limit=0", "/limit"), ("since=yesterday", "/since"), ("account=%2F", "/account")] {
        let answer = get(&format!("/v1/provisional?{query}")).await;
        assert_eq!(answer.problem("invalid")["errors"][0]["pointer"], pointer);
    }
}

#[tokio::test]
async fn a_session_that_nobody_heard_of_is_404() {
    for (method, path) in [("GET", of_session("/verdict")), ("POST", of_session("/evict"))] {
        let answer = ask(sent(method, &path, "")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
        answer.problem("session-unknown");
    }
    assert!(of_session("").ends_with(SESSION));
}

#[tokio::test]
async fn the_catalog_is_read_from_memory() {
    let policies = get("/v1/policies").await.json();
    assert_eq!(
        (&policies["policies"][0]["name"], &policies["policies"][0]["version"]),
        (&json!("standard"), &json!(1))
    );
    assert_eq!(get("/v1/policies/standard").await.json(), policies["policies"][0]);
    let entitlement = get("/v1/accounts/a/entitlement").await.json();
    assert_eq!(entitlement, json!({"account_id": "a", "policy": "standard", "in_force": "standard@1"}));
    for path in ["/v1/policies/none", "/v1/titles/none", "/v1/rights-holders/none", "/v1/contracts/none"] {
        let answer = get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        answer.problem("entity-unknown");
    }
    let unknown = ask(sent("PUT", "/v1/accounts/a/entitlement", r#"{"policy":"none"}"#)).await;
    assert_eq!(unknown.problem("invalid")["errors"][0]["pointer"], "/policy");
}

#[tokio::test]
async fn what_the_database_must_tell_is_503_while_it_is_away() {
    for path in [
        "/v1/accounts/a/decisions?limit=5&before=7.1",
        "/v1/projections",
        "/v1/reports/licensing?period=2026-10&rights_holder=ada&territory=DE&format=csv",
        "/v1/reports/clickstream?period=2026-10-31&by=minute&name=play",
        "/v1/reports/concurrency?period=2026-Q4&by=day&per=title",
        "/v1/statements",
        "/v1/statements/2026-10?rights_holder=ada&format=parquet",
        "/v1/clickstream?account=ada&session=3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e6f&path=%24.a&from=2026-10-31T00:00:00Z\
         &before=7.0.1&limit=5",
    ] {
        let answer = get(path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(answer.header("retry-after"), "1");
        answer.problem("unavailable");
    }
}

#[tokio::test]
async fn a_wrong_query_is_422_and_an_unknown_one_ignored() {
    for (path, pointer) in [
        ("/v1/accounts/a/sessions?as_of=yesterday", "/as_of"),
        ("/v1/accounts/a/decisions?limit=0", "/limit"),
        (&of_session("/verdict?wait=61s"), "/wait"),
        (&of_session("/verdict?wait=30"), "/wait"),
        (&of_session("/verdict?wait=1s&since=blocked"), "/since"),
        ("/v1/accounts/a/decisions?before=x", "/before"),
        ("/v1/reports/licensing", "/period"),
        ("/v1/reports/licensing?period=2026", "/period"),
        ("/v1/reports/licensing?period=2026-10&rights_holder=-", "/rights_holder"),
        ("/v1/reports/licensing?period=2026-10&territory=de", "/territory"),
        ("/v1/reports/licensing?period=2026-10&format=xml", "/format"),
        ("/v1/reports/clickstream?by=day", "/period"),
        ("/v1/reports/clickstream?period=2026-10&by=second", "/by"),
        ("/v1/reports/clickstream?period=2026-10&name=%00", "/name"),
        ("/v1/reports/concurrency?period=2026-10&per=device", "/per"),
        ("/v1/statements/2026-13", "/period"),
        ("/v1/statements/2026-10?format=xml", "/format"),
        ("/v1/statements/2026-10?rows=added", "/revision"),
        ("/v1/statements/2026-10/sessions", "/title"),
        ("/v1/statements/2026-10/sessions?title=film&after=7", "/after"),
        ("/v1/clickstream?session=nonsense", "/session"),
        ("/v1/clickstream?from=yesterday", "/from"),
        ("/v1/clickstream?before=7", "/before"),
        ("/v1/clickstream?limit=501", "/limit"),
        ("/v1/clickstream?account=%20", "/account"),
    ] {
        let answer = get(path).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        assert_eq!(answer.problem("invalid")["errors"][0]["pointer"], pointer);
    }
    assert_eq!(get("/v1/accounts/a/sessions?other=1").await.status, StatusCode::OK);
}
