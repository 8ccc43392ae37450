//! An explanation says what the fold did, and on what each answer rested.

use std::sync::Arc;

use pulsegate_domain::account::explain::{Explainer, Explanation, Said, StepOutcome};
use pulsegate_domain::account::{Account, Place, PlacedEvent};
use pulsegate_domain::event::PlaybackEvent;
use pulsegate_domain::ids::{PlayerState, SignalKind};
use pulsegate_domain::policy::PolicySet;
use pulsegate_domain::time::Timestamp;
use serde_json::{Value, json};

const BEGIN_MS: i64 = 1_795_377_600_000;

fn session(number: u8) -> String {
    format!("00000000-0000-4000-8000-0000000000{number:02}")
}

fn after(ms: i64) -> Timestamp {
    Timestamp::from_millis(BEGIN_MS + ms)
}

/// An account's log: after so many milliseconds, by whom, what.
fn explain(log: &[(i64, &str, &str, Value)], steps_max: usize, at_ms: i64) -> (Explanation, Account) {
    let policies = Arc::new(PolicySet::default());
    let (mut explainer, mut account) = (Explainer::new(steps_max), Account::default());
    for ((ms, source, kind, data), offset) in log.iter().zip(0..) {
        let mut data = data.clone();
        data["account_id"] = json!("acc-1");
        data["policy"] = json!("standard@1");
        let value = json!({"id": offset.to_string(), "type": format!("pulsegate.playback.{kind}.v1"), "data": data});
        let value = serde_json::to_vec(&value).unwrap();
        let envelope = pulsegate_domain::event::decode::<PlaybackEvent>(&value).unwrap();
        let place = Place { offset, at: after(*ms) };
        let (id, source) = (envelope.id.to_string(), (*source).to_owned());
        let placed = PlacedEvent { id, source, event: envelope.event, place, policies: Arc::clone(&policies) };
        explainer.apply(&placed).unwrap();
        account.apply(&placed.id, &placed.event, place, &policies, &mut ()).unwrap();
    }
    (explainer.explanation(after(at_ms), &policies), account)
}

fn start(number: u8) -> Value {
    json!({"session_id": session(number), "device_id": format!("device-{number}"), "title_id": "film", "device_class": "tv"})
}

fn beat(number: u8, sequence: u64) -> Value {
    let mut beat = start(number);
    beat["sequence"] = json!(sequence);
    beat["elapsed_ms"] = json!(sequence * 10_000);
    beat["position_ms"] = json!(0);
    beat["state"] = json!("playing");
    beat
}

#[test]
fn a_no_names_each_counted_session_with_its_newest_sign_of_life_and_its_sender() {
    let segment = json!({"device_id": "device-2", "title_id": "film", "kind": "cdn_segment"});
    let log = [
        (0, "/v1/sessions", "started", start(1)),
        (1_000, "/v1/sessions", "started", start(2)),
        (10_000, "/v1/heartbeats", "heartbeat", beat(1, 0)),
        (20_000, "/v1/heartbeats", "heartbeat", beat(1, 1)),
        (22_000, "/v1/signals", "signal", segment),
        (24_000, "/v1/sessions", "started", start(3)),
    ];
    let (explanation, _) = explain(&log, 100, 24_000);
    let no = explanation.last_no(None).unwrap();
    assert_eq!((no.offset, no.session_id.to_string()), (5, session(3)));
    let told: Vec<_> =
        no.counted.iter().map(|e| (e.device_id.as_str(), e.said, e.source.as_str(), e.offset, e.age_ms)).collect();
    let beat = Said::Heartbeat { state: PlayerState::Playing, sequence: 1, late_ms: 0 };
    let signal = Said::Signal { signal: SignalKind::CdnSegment, named: false };
    assert_eq!(told, [("device-1", beat, "/v1/heartbeats", 3, 4_000), ("device-2", signal, "/v1/signals", 4, 2_000)]);
    assert_eq!(no.decisions[0].evidence, no.counted);
    // The two heartbeats are told as one step.
    let counts: Vec<_> = explanation.steps.iter().map(|step| (step.offset, step.count)).collect();
    assert_eq!(counts, [(0, 1), (1, 1), (3, 2), (4, 1), (5, 1)]);
    assert_eq!(explanation.steps[2].since, after(10_000));
}

#[test]
fn a_slot_that_is_lost_by_silence_is_a_step_though_nothing_was_appended() {
    let log = [(0, "a", "started", start(1)), (1_000, "a", "started", start(2)), (30_000, "a", "started", start(3))];
    let (explanation, _) = explain(&log, 100, 30_000);
    let silences: Vec<_> = explanation.steps.iter().filter(|step| step.said == Said::Silence).collect();
    assert_eq!(silences.iter().map(|step| step.at).collect::<Vec<_>>(), [after(25_000), after(26_000)]);
    assert!(silences.iter().all(|step| step.outcome == StepOutcome::Lapsed));
    assert!(explanation.last_no(None).is_none(), "the third got a slot");
    // Asked about later, the last one has fallen silent too.
    let (later, _) = explain(&log, 100, 60_000);
    assert_eq!(later.steps.last().unwrap().at, after(55_000));
    assert_eq!(later.sessions.last().unwrap().evidence.as_ref().unwrap().age_ms, 30_000);
}

#[test]
fn it_says_nothing_that_the_fold_does_not() {
    let log: Vec<_> = (0..40)
        .map(|n| (n * 3_000, "a", "heartbeat", beat(u8::try_from(n % 5).unwrap(), u64::try_from(n / 5).unwrap())))
        .collect();
    let (explanation, account) = explain(&log, 7, 120_000);
    assert_eq!((explanation.events, explanation.steps.len()), (40, 7));
    assert!(explanation.steps_before > 0, "what is left out is counted");
    for then in &explanation.sessions {
        let verdict = account.verdict(then.session_id, after(120_000), &PolicySet::default());
        assert_eq!(Some(&then.verdict), verdict.as_ref());
    }
    assert_eq!(explanation.sessions.len(), 5);
}
