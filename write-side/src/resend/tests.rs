use super::*;

const TOPIC: &str = "pulsegate.rejected";
const PLACE: RejectedPlace = RejectedPlace { partition: 3, offset: 1_042 };
const SESSION: &str = "019ab0c4-7e1a-7abc-8def-0123456789ab";
const RECEIVED: Timestamp = Timestamp::from_millis(1_795_380_423_120);

fn heartbeat(more: &str) -> String {
    format!(
        r#"{{"account_id":"a","session_id":"{SESSION}","device_id":"d","title_id":"t","sequence":1,
            "elapsed_ms":10000,"position_ms":9000,"state":"playing"{more}}}"#
    )
}

fn rejected(source: &str, index: Option<usize>, original: &str) -> Rejected {
    Rejected {
        key: Some(b"a".to_vec()),
        reason: RejectReason::Invalid,
        source: source.to_owned(),
        index,
        detail: String::new(),
        problems: Vec::new(),
        received_at: RECEIVED,
        original: original.as_bytes().to_vec(),
        cut_from: None,
        resent: None,
    }
}

fn after_ms(rejected: &Rejected, ms: u64) -> Result<Vec<Item>, NotSent> {
    read_again(TOPIC, PLACE, rejected, RECEIVED.plus_ms(ms))
}

fn sent(item: &Item) -> &Again {
    let Item::Send(again) = item else { panic!("not sent: {item:?}") };
    again
}

fn refused(item: &Item) -> &Rejected {
    let Item::Refused(rejected) = item else { panic!("not refused: {item:?}") };
    rejected
}

#[test]
fn a_heartbeat_says_how_long_ago_it_happened() {
    for (more, age_ms) in [("", 60_000), (r#","age_ms":5000"#, 65_000)] {
        let items = after_ms(&rejected("/v1/heartbeats", Some(3), &heartbeat(more)), 60_000).unwrap();
        let again = sent(&items[0]);
        let Request::Heartbeat { heartbeat, .. } = &again.request else { panic!("a heartbeat") };
        assert_eq!((items.len(), heartbeat.age_ms), (1, age_ms));
        assert_eq!(again.happened_at, RECEIVED.plus_ms(60_000).minus_ms(age_ms));
    }
}

#[test]
fn a_heartbeat_of_a_session_takes_its_ids_from_the_path() {
    let source = format!("/v1/accounts/b/sessions/{SESSION}/heartbeats");
    let items = after_ms(&rejected(&source, None, &heartbeat("")), 0).unwrap();
    let Request::Heartbeat { heartbeat: read, refused } = &sent(&items[0]).request else { panic!("a heartbeat") };
    assert_eq!(read.account_id.as_str(), "b");
    assert_eq!((refused.index, refused.source.as_str()), (None, source.as_str()));
    let items = after_ms(&rejected("/v1/accounts/-/sessions/x/heartbeats", None, &heartbeat("")), 0).unwrap();
    assert_eq!(refused_pointers(&items[0]), ["/account_id", "/session_id"]);
}

fn refused_pointers(item: &Item) -> Vec<&str> {
    refused(item).problems.iter().map(|problem| problem.pointer.as_str()).collect()
}

#[test]
fn more_than_seven_days_ago_is_never_taken() {
    let one = rejected("/v1/heartbeats", Some(0), &heartbeat(""));
    assert!(matches!(after_ms(&one, AGE_MS_MAX).unwrap()[..], [Item::Send(_)]));
    assert!(matches!(after_ms(&one, AGE_MS_MAX + 1).unwrap()[..], [Item::TooOld]));
}

#[test]
fn a_click_keeps_its_own_time_or_has_that_of_its_arrival() {
    let hour_ago = RECEIVED.minus_ms(3_600_000);
    for (said, at) in [(String::new(), RECEIVED), (format!(r#","occurred_at":"{hour_ago}""#), hour_ago)] {
        let item = format!(r#"{{"name":"n","anonymous_id":"v"{said}}}"#);
        let items = after_ms(&rejected("/v1/clickstream", Some(0), &item), 60_000).unwrap();
        assert_eq!(sent(&items[0]).happened_at, at);
    }
}

#[test]
fn what_is_refused_again_is_another_attempt_of_the_same_and_keeps_its_bytes_and_time() {
    let bad = heartbeat(r#","rate":17"#);
    let first = rejected("/v1/heartbeats", Some(3), &bad);
    let once = refused(&after_ms(&first, 5).unwrap()[0]).clone();
    assert_eq!((once.original.as_slice(), once.received_at, once.index), (bad.as_bytes(), RECEIVED, Some(3)));
    assert_eq!(once.resent, Some(Resent { from: PLACE, attempt: 1 }));
    assert!(once.detail.contains("/rate"), "{}", once.detail);
    let elsewhere = RejectedPlace { partition: 0, offset: 7 };
    let twice = read_again(TOPIC, elsewhere, &once, RECEIVED).unwrap();
    assert_eq!(refused(&twice[0]).resent, Some(Resent { from: PLACE, attempt: 2 }));
}

#[test]
fn an_item_has_one_event_id_wherever_its_record_stands() {
    let first = rejected("/v1/heartbeats", Some(3), &heartbeat(""));
    let copy = Rejected { resent: Some(Resent { from: PLACE, attempt: 2 }), ..first.clone() };
    let id = |items: Vec<Item>| sent(&items[0]).id;
    let elsewhere = RejectedPlace { partition: 0, offset: 7 };
    let original = id(after_ms(&first, 0).unwrap());
    assert_eq!(id(read_again(TOPIC, elsewhere, &copy, RECEIVED).unwrap()), original);
    assert_ne!(id(read_again(TOPIC, elsewhere, &first, RECEIVED).unwrap()), original);
    assert_ne!(id(read_again("other.rejected", PLACE, &first, RECEIVED).unwrap()), original);
}

#[test]
fn a_whole_batch_is_taken_apart() {
    let (good, bad) = (heartbeat(""), heartbeat(r#","rate":17"#));
    let body = format!(r#"{{"heartbeats":[{bad}, {good},{good}]}}"#);
    let items = after_ms(&rejected("/v1/heartbeats", None, &body), 0).unwrap();
    let [second, third, first] = &items[..] else { panic!("three items") };
    assert_ne!(sent(second).id, sent(third).id);
    // What the account's state refuses goes back alone, not with its neighbours.
    let Request::Heartbeat { refused: back, .. } = &sent(second).request else { panic!("a heartbeat") };
    assert_eq!((back.original.as_slice(), back.index), (good.as_bytes(), Some(1)));
    assert_eq!((refused(first).original.as_slice(), refused(first).index), (bad.as_bytes(), Some(0)));
    // The item that went back has the id that it has in the batch.
    let bad_fixed = Rejected { original: good.into_bytes(), ..refused(first).clone() };
    let fixed = read_again(TOPIC, RejectedPlace { partition: 9, offset: 9 }, &bad_fixed, RECEIVED).unwrap();
    let whole = Identity { root: PLACE, item: None, attempt: 0 };
    assert_eq!(sent(&fixed[0]).id, whole.event_id(TOPIC, 0));
}

#[test]
fn a_body_that_is_still_no_json_goes_back_whole() {
    let items = after_ms(&rejected("/v1/heartbeats", None, "{\"heartbeats\":["), 0).unwrap();
    assert_eq!((items.len(), refused(&items[0]).reason), (1, RejectReason::MalformedJson));
}

#[test]
fn what_cannot_be_sent_says_why() {
    let start = format!("/v1/accounts/a/sessions/{SESSION}");
    for (source, why) in [
        ("/v1/accounts/a/sessions", NotSent::AboutThen),
        (start.as_str(), NotSent::AboutThen),
        ("/v1/signals", NotSent::AboutThen),
        ("", NotSent::UnknownRoute),
        ("/v2/heartbeats", NotSent::UnknownRoute),
    ] {
        assert_eq!(after_ms(&rejected(source, None, "{}"), 0).unwrap_err(), why, "{source}");
    }
    assert_eq!(after_ms(&rejected("/v1/heartbeats", None, ""), 0).unwrap_err(), NotSent::Nothing);
    let cut = Rejected { cut_from: Some(2 << 20), ..rejected("/v1/heartbeats", None, "{") };
    assert_eq!(after_ms(&cut, 0).unwrap_err(), NotSent::Cut);
}
