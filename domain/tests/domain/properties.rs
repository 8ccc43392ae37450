//! What holds for any log at all.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use pulsegate_domain::account::{Applied, Outcome};
use pulsegate_domain::event::{Heartbeat, PlaybackEvent, decode};
use pulsegate_domain::ids::SessionId;
use pulsegate_domain::policy::{Policy, Scope};
use pulsegate_domain::time::Timestamp;
use serde_json::Value;

use crate::agree::{assert_agree, assert_decided_alike};
use crate::logs::{Step, Writer, policies, step, steps};
use crate::reader::{Reader, Record};
use crate::straight_line::StraightLine;

/// How much later each record's account is asked again: around the ends of leases, of pauses, of memory.
const LATER_MS: [u64; 8] = [1, 15_000, 25_000, 30_000, 330_000, 600_001, 3_625_000, 86_400_000];

fn reader(policies: &[Policy]) -> Reader {
    let mut reader = Reader::default();
    for policy in policies {
        reader.publish(policy);
    }
    reader
}

fn model(policies: &[Policy]) -> StraightLine {
    let mut model = StraightLine::new();
    for policy in policies {
        model.publish(&serde_json::to_value(policy).unwrap());
    }
    model
}

fn log(steps: &[Step], policies: Vec<Policy>) -> Vec<Record> {
    let mut writer = Writer::new(policies);
    steps.iter().map(|step| writer.write(step)).collect()
}

fn account_of(record: &Record) -> &str {
    std::str::from_utf8(&record.key).unwrap()
}

/// Every session that a log names or opens.
#[derive(Default)]
struct Known(BTreeMap<String, BTreeSet<SessionId>>);

impl Known {
    fn note(&mut self, record: &Record, applied: Option<Applied>) {
        let Some(applied) = applied else { return };
        self.0.entry(account_of(record).to_owned()).or_default().insert(applied.session);
    }

    fn of(&self, account: &str) -> impl Iterator<Item = &SessionId> {
        self.0.get(account).into_iter().flatten()
    }

    fn iter(&self) -> impl Iterator<Item = (&str, SessionId)> {
        self.0.iter().flat_map(|(account, sessions)| sessions.iter().map(|session| (account.as_str(), *session)))
    }
}

/// The answers of one account.
fn answers(reader: &Reader, known: &Known, account: &str, at: Timestamp) -> Vec<Option<Value>> {
    known.of(account).map(|session| reader.verdict(account, *session, at)).collect()
}

fn assert_same_session(record: &Record, applied: Option<Applied>, model: &StraightLine) {
    // The fold names the session of an aged heartbeat also where it is unknown.
    let session = applied.map(|applied| applied.session.to_string());
    match applied.map(|applied| applied.outcome) {
        Some(Outcome::Aged) => assert!(model.last_session().is_none_or(|id| Some(id) == session.as_deref())),
        _ => assert_eq!(session.as_deref(), model.last_session(), "offset {}", record.offset),
    }
}

/// The cheap properties run this often for each case of the expensive one.
fn cases(divisor: u32) -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig { cases: config.cases / divisor, failure_persistence: None, ..config }
}

proptest! {
    #![proptest_config(cases(2))]

    #[test]
    fn the_fold_gives_the_verdicts_of_the_straight_line_model(steps in steps(50)) {
        let (mut reader, mut model) = (reader(&policies()), model(&policies()));
        let mut known = Known::default();
        for (index, record) in log(&steps, policies()).iter().enumerate() {
            let applied = reader.read(record);
            model.record(0, record.offset, record.stamp.millis(), Some(&record.key), &record.value);
            assert_same_session(record, applied, &model);
            known.note(record, applied);
            let context = format!("offset {} {}", record.offset, String::from_utf8_lossy(&record.value));
            for at in [reader.clock(), reader.clock().plus_ms(LATER_MS[index % LATER_MS.len()])] {
                let account = account_of(record);
                assert_agree(&reader, &model, account, known.of(account), at, &context);
            }
        }
        for account in known.0.keys() {
            for later_ms in LATER_MS {
                assert_agree(&reader, &model, account, known.of(account), reader.clock().plus_ms(later_ms), "the end");
            }
            assert_decided_alike(&reader, &model, account, "the end");
        }
    }

    #[test]
    fn never_more_live_streams_than_the_limit_where_nobody_is_displaced(steps in steps(60), policy in 0..4_usize) {
        let policy = policies().swap_remove(policy);
        let only = vec![policy.clone()];
        let mut reader = reader(&only);
        for record in log(&steps, only) {
            reader.read(&record);
            let at = reader.clock();
            let Some(account) = reader.account(account_of(&record)) else { continue };
            let live: Vec<_> = account.open().iter().filter(|session| session.holds_live_slot(at)).collect();
            for rule in &policy.terms.rules {
                // What else a rule counts can change under a session that plays, and asks nothing then.
                let most = match rule.scope {
                    Scope::Account => live.len(),
                    Scope::Title => {
                        let of = |title| live.iter().filter(|other| other.title_id() == title).count();
                        live.iter().map(|session| of(session.title_id())).max().unwrap_or(0)
                    }
                    Scope::DeviceClass(_) | Scope::ContentKind(_) | Scope::Territory | Scope::RightsHolder => 0,
                };
                prop_assert!(most <= rule.max as usize, "{} plays {most} in {}", account_of(&record), rule.scope);
            }
        }
    }

    #[test]
    fn ended_is_for_ever(steps in steps(80)) {
        let mut reader = reader(&policies());
        let mut known = Known::default();
        let mut ended: BTreeMap<(String, SessionId), Value> = BTreeMap::new();
        for record in log(&steps, policies()) {
            // What is forgotten by now is unknown again; the door refuses an id as old as that.
            let at = reader.clock().max(record.stamp);
            ended.retain(|(account, session), _| reader.verdict(account, *session, at).is_some());
            let applied = reader.read(&record);
            known.note(&record, applied);
            for (account, session) in known.iter() {
                let Some(verdict) = reader.verdict(account, session, at) else { continue };
                let reason = verdict["reason"].as_str();
                let has_ended = matches!(reason, Some("stopped" | "evicted" | "replaced" | "displaced" | "expired"));
                match ended.entry((account.to_owned(), session)) {
                    Entry::Occupied(before) => prop_assert_eq!(&verdict, before.get(), "{}", session),
                    Entry::Vacant(new) if has_ended => {
                        new.insert(verdict);
                    }
                    Entry::Vacant(_) => {}
                }
            }
        }
    }

    #[test]
    fn a_restart_anywhere_changes_nothing(steps in steps(80), restarts in prop::collection::btree_set(0..80_usize, 0..8)) {
        let (mut through, mut restarted) = (reader(&policies()), reader(&policies()));
        for (index, record) in log(&steps, policies()).iter().enumerate() {
            if restarts.contains(&index) {
                restarted.restart();
            }
            prop_assert_eq!(through.read(record), restarted.read(record));
            let account = account_of(record);
            prop_assert_eq!(through.account(account), restarted.account(account));
            prop_assert_eq!(through.decisions(account), restarted.decisions(account));
        }
    }

    #[test]
    fn forgetting_at_any_time_changes_no_answer(steps in steps(80), often in 1..6_usize, ahead_ms in 0..20_000_u64) {
        let (mut keeps, mut forgets) = (reader(&policies()), reader(&policies()));
        let mut known = Known::default();
        let log = log(&steps, policies());
        for (index, record) in log.iter().enumerate() {
            let applied = keeps.read(record);
            prop_assert_eq!(applied, forgets.read(record));
            known.note(record, applied);
            let mut at = keeps.clock();
            if index % often == 0 {
                // A reader's clock runs on between two records, but never beyond the next one.
                let next = log.get(index + 1).map_or(at, |next| next.stamp);
                at = at.max(at.plus_ms(ahead_ms).min(next));
                forgets.forget(at);
            }
            let account = account_of(record);
            prop_assert_eq!(answers(&keeps, &known, account, at), answers(&forgets, &known, account, at));
        }
        for account in known.0.keys() {
            prop_assert_eq!(keeps.decisions(account), forgets.decisions(account));
        }
    }

    #[test]
    fn a_heartbeat_that_arrives_twice_counts_once(steps in steps(80)) {
        let (mut once, mut twice) = (reader(&policies()), reader(&policies()));
        let mut known = Known::default();
        for mut record in log(&steps, policies()) {
            // Room for the second one between two records.
            record.offset *= 2;
            let applied = once.read(&record);
            prop_assert_eq!(twice.read(&record), applied);
            known.note(&record, applied);
            if let Ok(PlaybackEvent::Heartbeat(Heartbeat { .. })) = decode(&record.value).map(|read| read.event) {
                let again = twice.read(&Record { offset: record.offset + 1, ..record.clone() });
                let outcome = again.map(|again| again.outcome);
                prop_assert_ne!(outcome, Some(Outcome::TakenUp));
            }
            let account = account_of(&record);
            let at = once.clock();
            prop_assert_eq!(answers(&once, &known, account, at), answers(&twice, &known, account, at));
            prop_assert_eq!(once.decisions(account), twice.decisions(account));
        }
    }

    #[test]
    fn the_same_log_gives_the_same_answers_also_an_account_alone(steps in steps(80)) {
        let mut together = reader(&policies());
        let mut alone: BTreeMap<String, Reader> = BTreeMap::new();
        let mut clock = Timestamp::MIN;
        for record in log(&steps, policies()) {
            clock = clock.max(record.stamp);
            let account = account_of(&record);
            let alone = alone.entry(account.to_owned()).or_insert_with(|| reader(&policies()));
            // The partition's clock is all that other accounts' records may change.
            let stamped = Record { stamp: clock, ..record.clone() };
            prop_assert_eq!(together.read(&record), alone.read(&stamped));
            prop_assert_eq!(together.account(account), alone.account(account));
            prop_assert_eq!(together.decisions(account), alone.decisions(account));
        }
    }
}

/// Records in the long log, and in each group of accounts in it.
const LONG: usize = 20_000;
const GROUP: usize = 100;
/// Steps to draw from: what a step does depends on those before it, so a few go a long way.
const STEPS: usize = 4_096;

#[test]
fn a_long_log_is_folded_as_the_model_says() {
    let seed = [42; 32];
    println!("seed {seed:?}");
    let mut runner =
        TestRunner::new_with_rng(ProptestConfig::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let step = step();
    let steps: Vec<_> = (0..STEPS).map(|_| step.new_tree(&mut runner).unwrap().current()).collect();
    let (mut reader, mut model) = (reader(&policies()), model(&policies()));
    let mut writer = Writer::new(policies());
    let mut drawn = 1_u64;
    for _ in 0..LONG / GROUP {
        let mut known = Known::default();
        for index in 0..GROUP {
            // Knuth's generator; its high bits choose.
            drawn = drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let record = writer.write(&steps[usize::try_from(drawn >> 33).unwrap() % STEPS]);
            let applied = reader.read(&record);
            model.record(0, record.offset, record.stamp.millis(), Some(&record.key), &record.value);
            assert_same_session(&record, applied, &model);
            known.note(&record, applied);
            if let Some(applied) = applied.filter(|_| index % 10 == 0) {
                let (account, session, at) = (account_of(&record), applied.session, reader.clock());
                let expected = model.verdict(account, &session.to_string(), at.millis());
                assert_eq!(reader.verdict(account, session, at), expected, "{session} at offset {}", record.offset);
            }
        }
        for account in known.0.keys() {
            assert_agree(&reader, &model, account, known.of(account), reader.clock(), "the end of its group");
            assert_decided_alike(&reader, &model, account, "the end of its group");
        }
        writer.next_group();
    }
}
