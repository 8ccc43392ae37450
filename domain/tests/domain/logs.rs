//! Logs that nobody would write by hand: a few accounts, devices and titles, sessions that come and go, and every way
//! in which a record can be odd.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use pulsegate_domain::account::SEQUENCE_JUMP_MAX;
use pulsegate_domain::event::PlaybackEvent;
use pulsegate_domain::ids::{PlayerState, SignalKind};
use pulsegate_domain::policy::Policy;
use pulsegate_domain::time::Timestamp;
use serde_json::{Value, json};

use crate::player::{Player, read, session_id};
use crate::reader::Record;

/// 2026-11-22T20:00:00Z, when every log begins.
const BEGIN_MS: i64 = 1_795_377_600_000;

/// One record, in words that mean something in any log.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Since the record before.
    wait_ms: u64,
    /// How far the broker's stamp lies behind that all the same.
    late_ms: u64,
    account: u8,
    /// Which of the account's newest sessions.
    session: u8,
    what: What,
    oddity: Oddity,
    /// Now and then a policy that is not the account's own.
    policy: Option<u8>,
    /// What the record says about class, kind, territory and owner, a bit pattern.
    says: u8,
}

#[derive(Clone, Debug)]
enum What {
    Start { evict: Vec<u8> },
    Heartbeat { state: PlayerState, sequence: Sequence, age_ms: u64 },
    Stop,
    Evict,
    Signal { kind: SignalKind, named: bool },
}

#[derive(Clone, Copy, Debug)]
enum Sequence {
    Next,
    Same,
    Before,
    Jump(u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Oddity {
    None,
    OtherDevice,
    OtherTitle,
    OtherKey,
    UnknownPolicy,
    Unreadable,
}

fn waits_ms() -> impl Strategy<Value = u64> {
    prop_oneof![
        30 => 0..12_000_u64,
        12 => select(vec![0, 1, 9_999, 24_999, 25_000, 25_001, 29_999, 30_000, 59_999, 60_000, 60_001]),
        4 => select(vec![329_999, 330_000, 330_001, 599_999, 600_000, 600_001]),
        1 => select(vec![3_599_999, 3_600_000, 3_624_999, 3_625_000, 3_625_001, 3_930_000]),
        1 => select(vec![82_800_000, 86_399_999, 86_400_000, 86_400_001, 100_000_000]),
    ]
}

fn what() -> impl Strategy<Value = What> {
    let state = prop_oneof![
        6 => Just(PlayerState::Playing),
        3 => Just(PlayerState::Paused),
        1 => Just(PlayerState::Buffering),
        1 => Just(PlayerState::Seeking),
        1 => Just(PlayerState::Blocked),
    ];
    let sequence = prop_oneof![
        10 => Just(Sequence::Next),
        1 => Just(Sequence::Same),
        1 => Just(Sequence::Before),
        1 => select(vec![0, 2, SEQUENCE_JUMP_MAX - 1, SEQUENCE_JUMP_MAX, SEQUENCE_JUMP_MAX + 1]).prop_map(Sequence::Jump),
    ];
    let age_ms = prop_oneof![
        10 => Just(0),
        1 => select(vec![1, 9_999, 10_000, 24_999, 25_000, 60_000, 600_000_000]),
    ];
    let kind = select(SignalKind::ALL);
    prop_oneof![
        5 => vec(0..6_u8, 0..3).prop_map(|evict| What::Start { evict }),
        10 => (state, sequence, age_ms)
            .prop_map(|(state, sequence, age_ms)| What::Heartbeat { state, sequence, age_ms }),
        1 => Just(What::Stop),
        1 => Just(What::Evict),
        5 => (kind, prop::bool::weighted(0.2)).prop_map(|(kind, named)| What::Signal { kind, named }),
    ]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let late_ms = prop_oneof![20 => Just(0), 1 => 0..40_000_u64];
    let oddity = prop_oneof![
        40 => Just(Oddity::None),
        1 => Just(Oddity::OtherDevice),
        1 => Just(Oddity::OtherTitle),
        1 => Just(Oddity::OtherKey),
        1 => Just(Oddity::UnknownPolicy),
        1 => Just(Oddity::Unreadable),
    ];
    let policy = prop::option::weighted(0.12, any::<u8>());
    (waits_ms(), late_ms, 0..3_u8, 0..5_u8, what(), oddity, policy, any::<u8>()).prop_map(
        |(wait_ms, late_ms, account, session, what, oddity, policy, says)| Step {
            wait_ms,
            late_ms,
            account,
            session,
            what,
            oddity,
            policy,
            says,
        },
    )
}

pub(crate) fn steps(length: usize) -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..length)
}

/// Policies of every kind; the first four refuse and never displace.
pub(crate) fn policies() -> Vec<Policy> {
    let policy = |name: &str, rules: Value, more: Value| {
        let mut policy = json!({"name": name, "version": 1, "rules": rules});
        policy.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(policy).unwrap()
    };
    let rule = |scope: &str, max: u32| json!({"scope": scope, "max": max, "on_limit": "block_newest"});
    let displacing = |scope: &str, max: u32| json!({"scope": scope, "max": max, "on_limit": "displace_oldest"});
    vec![
        Policy::standard(),
        policy("titled", json!([rule("account", 3), rule("title", 1)]), json!({})),
        policy(
            "scoped",
            json!([rule("territory", 1), rule("content_kind:live", 1), rule("rights_holder", 1)]),
            json!({}),
        ),
        policy(
            "short",
            json!([rule("device_class:tv", 1), rule("account", 2)]),
            json!({
                "leases_ms": {"started": 10_000, "heartbeat": 15_000, "cdn_segment": 40_000}, "paused_hold_ms": 20_000,
            }),
        ),
        policy("swap", json!([displacing("account", 2), displacing("title", 1)]), json!({"paused_hold_ms": 0})),
        policy("mixed", json!([displacing("account", 2), rule("title", 1), displacing("territory", 1)]), json!({})),
        policy("many", json!([displacing("account", 3), rule("device_class:web", 1)]), json!({"per_device": "many"})),
        policy("none", json!([rule("account", 0)]), json!({})),
        policy("rude", json!([rule("title", 2), displacing("device_class:tv", 0)]), json!({})),
    ]
}

/// The records of `steps`, each account under one of `policies` unless a step says another.
pub(crate) struct Writer {
    policies: Vec<Policy>,
    /// Set apart the accounts, clocks and offsets of logs that one reader reads one after another.
    group: usize,
    now: Timestamp,
    offset: i64,
    /// Records of each account so far: its sessions come and go with them.
    written: BTreeMap<String, u64>,
    /// The sequence of each session's newest heartbeat.
    sequences: BTreeMap<(String, u64), u64>,
}

impl Writer {
    pub(crate) fn new(policies: Vec<Policy>) -> Self {
        Self {
            policies,
            group: 0,
            now: Timestamp::from_millis(BEGIN_MS),
            offset: 0,
            written: BTreeMap::new(),
            sequences: BTreeMap::new(),
        }
    }

    /// From here on other accounts.
    pub(crate) fn next_group(&mut self) {
        self.group += 1;
        self.written.clear();
        self.sequences.clear();
    }

    pub(crate) fn account(&self, account: u8) -> String {
        format!("acc-{}-{account}", self.group)
    }

    pub(crate) fn write(&mut self, step: &Step) -> Record {
        self.now = self.now.plus_ms(step.wait_ms);
        let stamp = self.now.minus_ms(step.late_ms);
        let mut record = Record::of(&self.event(step), self.offset, stamp);
        match step.oddity {
            Oddity::OtherKey => record.key = b"acc".to_vec(),
            Oddity::Unreadable => record.value.truncate(record.value.len() - usize::from(step.says)),
            Oddity::None | Oddity::OtherDevice | Oddity::OtherTitle | Oddity::UnknownPolicy => {}
        }
        self.offset += 1;
        record
    }

    fn event(&mut self, step: &Step) -> PlaybackEvent {
        let account = self.account(step.account);
        let written = self.written.entry(account.clone()).or_default();
        // A new session each seven records, and five to speak of.
        let newest = *written / 7;
        *written += 1;
        let session = newest + u64::from(step.session);
        let player = self.player(step, &account, session);
        match &step.what {
            What::Start { evict } => {
                player.starts(evict.iter().map(|evicted| session_id(newest + u64::from(*evicted))).collect())
            }
            What::Heartbeat { state, sequence, age_ms } => {
                let last = self.sequences.get(&(account.clone(), session)).copied();
                let sequence = match (*sequence, last) {
                    (Sequence::Jump(by), None) => by,
                    (_, None) => 0,
                    (Sequence::Next, Some(last)) => last + 1,
                    (Sequence::Same, Some(last)) => last,
                    (Sequence::Before, Some(last)) => last.saturating_sub(1),
                    (Sequence::Jump(by), Some(last)) => last + by,
                };
                if last.is_none_or(|last| sequence > last && sequence - last <= SEQUENCE_JUMP_MAX) {
                    self.sequences.insert((account, session), sequence);
                }
                player.beats(*state, sequence, *age_ms)
            }
            What::Stop => player.stops(),
            What::Evict => player.is_evicted(),
            What::Signal { kind, named } => player.signals(*kind, *named),
        }
    }

    fn player(&self, step: &Step, account: &str, session: u64) -> Player {
        let other = |oddity: Oddity| u64::from(step.oddity == oddity);
        let device = (session + other(Oddity::OtherDevice)) % 4;
        let title = (session / 2 + other(Oddity::OtherTitle)) % 3;
        let own = usize::from(step.account) + self.group;
        let policy = step.policy.map_or(own, usize::from) % self.policies.len();
        let says = |bit: u8| step.says >> bit & 1 == 1;
        let word = |words: [&'static str; 2]| words[usize::from(says(7))];
        Player {
            device_class: says(0).then(|| read(["tv", "mobile", "web", "tv"][usize::try_from(device).unwrap()])),
            content_kind: says(1).then(|| read(word(["vod", "live"]))),
            territory: says(2).then(|| read(word(["DE", "FR"]))),
            rights_holder: says(3).then(|| read(["studio-a", "studio-b", "studio-b"][usize::try_from(title).unwrap()])),
            policy: match step.oddity {
                Oddity::UnknownPolicy => read("gone@7"),
                _ => self.policies[policy].reference(),
            },
            ..Player::new(account, session_id(session + 1), &format!("device-{device}"), &format!("title-{title}"))
        }
    }
}
