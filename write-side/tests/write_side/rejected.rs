//! What was refused can be sent in again.

use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::Topic;
use pulsegate_write_side::rejected::RejectReason;
use pulsegate_write_side::request::parse_heartbeat_batch;
use pulsegate_write_side::{FieldProblem, Rejected};
use rdkafka::message::Message as _;

use crate::fixture::{log, read_all};

#[tokio::test]
async fn an_item_that_was_refused_comes_back_byte_for_byte() {
    let (log, settings) = log().await;
    let item = "{ \"account_id\": \"acc-1\",\n  \"rate\": 99 }";
    let body = format!(r#"{{"heartbeats":[{item}]}}"#);
    let error = parse_heartbeat_batch(body.as_bytes()).unwrap().rejected.remove(0);
    let rejected = Rejected {
        key: error.key.map(String::into_bytes),
        reason: RejectReason::Invalid,
        source: "/v1/heartbeats".to_owned(),
        index: Some(error.index),
        detail: error.detail,
        problems: error.problems,
        received_at: Timestamp::from_millis(1_795_380_423_120),
        original: error.original.into_bytes(),
        cut_from: None,
        resent: None,
    };
    log.append(rejected.clone().into_record()).await.unwrap();
    let stored = read_all(&settings, Topic::Rejected).await;
    assert_eq!(stored[0].payload(), Some(item.as_bytes()));
    assert_eq!(Rejected::from_message(&stored[0]), rejected);
}

#[tokio::test]
async fn what_names_no_account_and_is_as_large_as_a_body_may_be_is_kept_too() {
    let (log, settings) = log().await;
    let rejected = Rejected {
        key: None,
        reason: RejectReason::MalformedJson,
        source: "/v1/clickstream".to_owned(),
        index: None,
        detail: String::new(),
        problems: vec![FieldProblem::new("", "must be an object")],
        received_at: Timestamp::from_millis(0),
        original: b"[1,2,3]\n".repeat(1 << 17),
        cut_from: None,
        resent: None,
    };
    log.append(rejected.clone().into_record()).await.unwrap();
    let stored = read_all(&settings, Topic::Rejected).await;
    assert_eq!(Rejected::from_message(&stored[0]), rejected);
}
