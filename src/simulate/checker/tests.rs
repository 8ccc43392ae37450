//! The checker sees what breaks the limit, and nothing in what is only doubtful.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::simulate::household::STANDARD;

struct House {
    checker: Checker,
    begun: Instant,
}

fn id(n: u128) -> SessionId {
    SessionId::new(Uuid::from_u128(n)).unwrap()
}

fn allow() -> Verdict {
    serde_json::from_value(
        json!({"decision": "allow", "reason": null, "policy": "standard@1", "rule": "account", "max": 2,
        "in_use": 1, "conflicts": [], "frees_in_ms": 0, "room": true, "by": null}),
    )
    .unwrap()
}

fn ended(reason: &str) -> Verdict {
    serde_json::from_value(
        json!({"decision": "block", "reason": reason, "policy": "standard@1", "rule": null, "max": null,
        "in_use": null, "conflicts": [], "frees_in_ms": null, "room": false, "by": null}),
    )
    .unwrap()
}

fn limit_reached(by: &[u128]) -> Verdict {
    let conflicts: Vec<_> = by
        .iter()
        .map(|n| {
            json!({"session_id": id(*n), "device_id": format!("d{n}"), "device_class": "tv", "title_id": "t",
                "started_at": "2026-11-22T20:47:03.120Z", "last_seen_at": "2026-11-22T20:47:03.120Z"})
        })
        .collect();
    serde_json::from_value(json!({"decision": "block", "reason": "limit_reached", "policy": "standard@1",
        "rule": "account", "max": 2, "in_use": by.len(), "conflicts": conflicts, "frees_in_ms": 9_000, "room": by.len() < 2,
        "by": null}))
    .unwrap()
}

impl House {
    fn new() -> Self {
        Self { checker: Checker::new(STANDARD), begun: Instant::now() }
    }

    fn hears(
        &mut self,
        asked: Asked,
        session: u128,
        status: u16,
        verdict: &Verdict,
        offset: i64,
        at_ms: i64,
    ) -> Vec<String> {
        let as_of = Some(AsOf { partition: 3, offset, at: Timestamp::from_millis(at_ms) });
        let device = format!("d{session}");
        let sent = self.begun + Duration::from_millis(u64::try_from(at_ms).unwrap());
        self.checker.hear(&Heard { asked, session: id(session), device: &device, sent, status, verdict, as_of })
    }

    fn started(&mut self, session: u128, offset: i64, at_ms: i64) -> Vec<String> {
        self.hears(Asked::Start, session, 201, &allow(), offset, at_ms)
    }

    fn beat(&mut self, session: u128, offset: i64, at_ms: i64) -> Vec<String> {
        self.hears(Asked::Heartbeat, session, 200, &allow(), offset, at_ms)
    }
}

#[test]
fn a_third_stream_between_two_allows_of_two_others_is_a_violation_told_once() {
    let mut house = House::new();
    assert!(house.started(1, 10, 0).is_empty());
    assert!(house.started(2, 11, 100).is_empty());
    assert!(house.started(3, 12, 200).is_empty(), "the first two may have lost their slots before 12");
    assert!(house.beat(1, 13, 10_000).is_empty(), "the second may have");
    let wrong = house.beat(2, 14, 10_100);
    assert!(wrong.len() == 1 && wrong[0].starts_with("3 sessions held a slot at offset 12"), "{wrong:?}");
    assert!(house.beat(3, 15, 10_200).is_empty());
}

#[test]
fn the_order_of_answers_doesn_t_matter_only_that_of_the_log() {
    let mut house = House::new();
    assert!(house.started(3, 12, 200).is_empty());
    for (session, offset) in [(1, 10), (2, 11)] {
        assert!(house.started(session, offset, 0).is_empty());
    }
    assert!(house.beat(2, 14, 10_100).is_empty());
    assert_eq!(house.beat(1, 13, 10_000).len(), 1);
}

#[test]
fn a_slot_that_may_have_lapsed_in_between_proves_nothing() {
    let mut house = House::new();
    house.started(1, 10, 0);
    house.started(2, 11, 100);
    house.started(3, 12, 18_000);
    assert!(house.beat(1, 20, 24_000).is_empty());
    assert!(house.beat(2, 21, 24_100).is_empty());
}

#[test]
fn a_check_shows_a_hold_but_keeps_no_lease() {
    let mut house = House::new();
    house.started(1, 10, 0);
    house.hears(Asked::Check, 1, 200, &allow(), 11, 16_000);
    house.hears(Asked::Check, 1, 200, &allow(), 20, 30_000);
    house.started(2, 12, 20_000);
    house.started(3, 13, 20_100);
    house.beat(2, 16, 30_000);
    assert!(house.beat(3, 17, 30_100).is_empty(), "the first surely held up to 11 and at 20 only");
}

#[test]
fn a_provisional_answer_proves_nothing() {
    let mut house = House::new();
    for session in 1..=3 {
        let (verdict, begun) = (allow(), house.begun);
        let heard = Heard {
            asked: Asked::Start,
            session: id(session),
            device: "d",
            sent: begun,
            status: 201,
            verdict: &verdict,
            as_of: None,
        };
        assert!(house.checker.hear(&heard).is_empty());
    }
}

#[test]
fn what_has_ended_neither_comes_back_nor_ends_anew_nor_counts() {
    let mut house = House::new();
    house.started(1, 10, 0);
    house.started(2, 11, 0);
    assert!(house.hears(Asked::Heartbeat, 1, 410, &ended("evicted"), 15, 1_000).is_empty());
    assert_eq!(house.beat(1, 14, 900), Vec::<String>::new(), "an older view");
    assert_eq!(house.beat(1, 16, 1_100), ["it had ended as evicted and came back"]);
    assert_eq!(
        house.hears(Asked::Check, 1, 200, &ended("stopped"), 17, 1_200),
        ["it had ended as evicted and now as stopped"]
    );
    let wrong = house.hears(Asked::Start, 3, 409, &limit_reached(&[1, 2]), 18, 1_300);
    assert!(wrong.len() == 1 && wrong[0].ends_with("counts though it had ended"), "{wrong:?}");
}

#[test]
fn a_stop_that_was_acknowledged_before_a_start_frees_its_slot() {
    let mut house = House::new();
    house.started(1, 10, 0);
    house.started(2, 11, 0);
    let stopped_at = house.begun + Duration::from_millis(500);
    house.checker.stopped(id(1), stopped_at);
    assert!(house.hears(Asked::Start, 3, 409, &limit_reached(&[1, 2]), 12, 400).is_empty(), "sent before");
    assert_eq!(house.hears(Asked::Start, 4, 409, &limit_reached(&[1, 2]), 13, 600).len(), 1);
}

#[test]
fn a_block_names_those_that_count() {
    let mut house = House::new();
    assert!(house.hears(Asked::Start, 3, 409, &limit_reached(&[1, 2]), 10, 0).is_empty());
    let mut short = limit_reached(&[1, 2]);
    short.conflicts.pop();
    assert_eq!(house.hears(Asked::Start, 3, 409, &short, 11, 0), ["2 streams in use, and 1 named"]);
    assert_eq!(house.hears(Asked::Start, 3, 409, &limit_reached(&[3, 2]), 12, 0), ["it stands in its own way"]);
}

#[test]
fn a_status_that_contradicts_its_verdict_is_seen() {
    let mut house = House::new();
    assert_eq!(house.hears(Asked::Start, 1, 409, &allow(), 10, 0).len(), 1);
    assert_eq!(house.hears(Asked::Start, 2, 201, &limit_reached(&[1, 3]), 11, 0), ["limit_reached with status 201"]);
}

#[test]
fn a_built_in_policy_with_another_limit_is_seen_and_another_policy_is_learned() {
    let mut house = House::new();
    let mut three = allow();
    three.max = Some(3);
    assert_eq!(house.hears(Asked::Start, 1, 201, &three, 10, 0), ["standard@1 allows 2 streams, the answer says 3"]);
    three.policy = Some("premium@2".parse().unwrap());
    assert!(house.hears(Asked::Start, 2, 201, &three, 11, 0).is_empty());
    assert_eq!(house.checker.streams_max, Some(3));
}
