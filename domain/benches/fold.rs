//! What a replay costs: heartbeats of 100 000 sessions, read, folded, and both.

use std::collections::HashMap;
use std::hint::black_box;
use std::mem::size_of;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pulsegate_domain::account::{Account, Place, Session};
use pulsegate_domain::event::{Attributes, Heartbeat, PlaybackEvent, decode, encode};
use pulsegate_domain::ids::{AccountId, PlayerState, SessionId};
use pulsegate_domain::policy::{OnLimit, Policy, PolicySet, Rule};
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::watch_time::WatchTime;
use uuid::Uuid;

const SESSIONS: usize = 100_000;
/// Sequences are this wide in the records, so that a round can write its own over the last one's.
const FIRST_SEQUENCE: u64 = 1_000_000;
const HEARTBEAT_EACH_MS: u64 = 10_000;

type Accounts = HashMap<AccountId, Account, foldhash::fast::RandomState>;

fn heartbeat(n: usize) -> Heartbeat {
    let id = |text: String| text.parse().unwrap_or_else(|_| unreachable!("{text} is an opaque id"));
    Heartbeat {
        account_id: id(format!("acc-{n:08}")),
        session_id: session(n),
        device_id: format!("device-{n:08}").parse().unwrap_or_else(|_| unreachable!("an opaque id")),
        device_class: "tv".parse().ok(),
        title_id: format!("title-{:05}", n % 10_000).parse().unwrap_or_else(|_| unreachable!("an opaque id")),
        content_kind: "vod".parse().ok(),
        territory: "DE".parse().ok(),
        rights_holder: "studio-a".parse().ok(),
        sequence: FIRST_SEQUENCE,
        elapsed_ms: 1_200_000,
        age_ms: 0,
        position_ms: 1_190_000,
        state: PlayerState::Playing,
        rate_milli: 1_000,
        policy: Policy::standard().reference(),
    }
}

fn session(n: usize) -> SessionId {
    let id = Uuid::from_u128(0x019a_b0c4_7e1a_7000_8000_0000_0000_0001 + n as u128);
    SessionId::new(id).unwrap_or_else(|_| unreachable!("it is not nil"))
}

/// A record whose sequence each round writes anew, as a log has it.
struct Record {
    value: Vec<u8>,
    sequence_at: usize,
}

impl Record {
    fn of(event: &PlaybackEvent, n: usize) -> Self {
        let attributes = Attributes {
            id: session(n).uuid(),
            source: "/v1/heartbeats",
            subject: &session(n).to_string(),
            time: Timestamp::from_millis(1_795_380_423_120),
            partition_key: event.account_id().as_str(),
        };
        let value = encode(&attributes, event);
        let name = b"\"sequence\":";
        let found = value.windows(name.len()).position(|window| window == name);
        Self { sequence_at: found.map_or(0, |at| at + name.len()), value }
    }

    fn renumber(&mut self, sequence: u64) {
        let digits = sequence.to_string();
        self.value[self.sequence_at..self.sequence_at + digits.len()].copy_from_slice(digits.as_bytes());
    }
}

/// Where the log stands: each round of all sessions takes 10 s.
#[derive(Default)]
struct Turn {
    count: usize,
}

impl Turn {
    fn next(&mut self) -> (usize, u64, Place) {
        let (n, round) = (self.count % SESSIONS, (self.count / SESSIONS) as u64);
        self.count += 1;
        let at = Timestamp::from_millis(1_795_380_423_120).plus_ms(round * HEARTBEAT_EACH_MS);
        (n, FIRST_SEQUENCE + round, Place { offset: i64::try_from(self.count).unwrap_or(i64::MAX), at })
    }
}

fn fold(accounts: &mut Accounts, event: &PlaybackEvent, place: Place, policies: &PolicySet) {
    let account = match accounts.get_mut(event.account_id()) {
        Some(account) => account,
        None => accounts.entry(event.account_id().clone()).or_default(),
    };
    let applied = account.apply("e", event, place, policies, &mut ());
    let _ = black_box(applied);
}

fn heartbeats(criterion: &mut Criterion) {
    let policies = PolicySet::default();
    let mut events: Vec<_> = (0..SESSIONS).map(|n| PlaybackEvent::Heartbeat(heartbeat(n))).collect();
    let mut records: Vec<_> = events.iter().enumerate().map(|(n, event)| Record::of(event, n)).collect();
    let mut group = criterion.benchmark_group("heartbeat");
    group.throughput(Throughput::Elements(1));

    let mut turn = Turn::default();
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let (n, ..) = turn.next();
            decode::<PlaybackEvent>(black_box(&records[n].value)).map(|envelope| envelope.event).ok()
        });
    });

    let mut accounts = Accounts::default();
    let mut turn = Turn::default();
    group.bench_function("fold", |bencher| {
        bencher.iter(|| {
            let (n, sequence, place) = turn.next();
            if let PlaybackEvent::Heartbeat(heartbeat) = &mut events[n] {
                heartbeat.sequence = sequence;
            }
            fold(&mut accounts, &events[n], place, &policies);
        });
    });

    let mut accounts = Accounts::default();
    let mut turn = Turn::default();
    group.bench_function("decode and fold", |bencher| {
        bencher.iter(|| {
            let (n, sequence, place) = turn.next();
            records[n].renumber(sequence);
            if let Ok(envelope) = decode::<PlaybackEvent>(black_box(&records[n].value)) {
                fold(&mut accounts, &envelope.event, place, &policies);
            }
        });
    });

    let mut sessions = vec![WatchTime::default(); SESSIONS];
    let mut turn = Turn::default();
    group.bench_function("watch time", |bencher| {
        bencher.iter(|| {
            let (n, sequence, place) = turn.next();
            if let PlaybackEvent::Heartbeat(heartbeat) = &mut events[n] {
                heartbeat.sequence = sequence;
            }
            sessions[n].apply(&events[n], place.at)
        });
    });
    group.finish();
}

/// A household of four, and as many rules as a policy is likely to have.
const HOUSEHOLD: usize = 4;

fn ten_rules() -> Policy {
    let scopes = [
        "account",
        "title",
        "territory",
        "rights_holder",
        "device_class:tv",
        "device_class:mobile",
        "device_class:tablet",
        "device_class:web",
        "content_kind:vod",
        "content_kind:live",
    ];
    let rule = |scope: &str| {
        let scope = scope.parse().unwrap_or_else(|_| unreachable!("{scope} is a scope"));
        Rule { scope, max: 4, on_limit: OnLimit::BlockNewest }
    };
    let mut policy = Policy { version: 2, ..Policy::standard() };
    policy.terms.rules = scopes.into_iter().map(rule).collect();
    policy
}

/// The block check of a session that plays and of one that waits, by one rule and by ten.
fn verdicts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verdict");
    for (name, policy) in [
        ("one rule", {
            let mut one = Policy { version: 3, ..Policy::standard() };
            one.terms.rules[0].max = 4;
            one
        }),
        ("ten rules", ten_rules()),
    ] {
        let mut policies = PolicySet::default();
        policies.publish(policy.clone());
        let mut account = Account::default();
        let at = Timestamp::from_millis(1_795_380_423_120);
        for n in 0..=HOUSEHOLD {
            let mut event = Heartbeat { policy: policy.reference(), ..heartbeat(n) };
            event.account_id = heartbeat(0).account_id;
            let place = Place { offset: i64::try_from(n).unwrap_or(i64::MAX), at };
            let applied = account.apply("e", &PlaybackEvent::Heartbeat(event), place, &policies, &mut ());
            assert!(applied.is_ok());
        }
        for (who, n) in [("plays", 0), ("waits", HOUSEHOLD)] {
            let said = account.verdict(session(n), at, &policies);
            assert!(said.is_some_and(|verdict| verdict.allows() == (who == "plays")));
            group.bench_function(format!("{who}, {name}"), |bencher| {
                bencher.iter(|| account.verdict(black_box(session(n)), at, &policies));
            });
        }
    }
    group.finish();
}

/// Says what an account with one live session takes in memory; ids of up to 24 bytes lie inside.
fn heartbeat_size(_: &mut Criterion) {
    let mut account = Account::default();
    let event = PlaybackEvent::Heartbeat(heartbeat(1));
    let place = Place { offset: 0, at: Timestamp::from_millis(0) };
    let applied = account.apply("e", &event, place, &PolicySet::default(), &mut ());
    assert!(applied.is_ok() && account.open().len() == 1 && account.ended().is_empty());
    let (inline, heap) = (size_of::<Account>(), size_of::<Session>());
    let key = size_of::<AccountId>();
    println!(
        "heartbeat_size: {} bytes an account: key {key}, account {inline}, its session {heap}",
        key + inline + heap
    );
    println!("heartbeat_size: {} bytes a record", Record::of(&event, 1).value.len());
    println!("heartbeat_size: {} bytes a session's watch time, without its facts", size_of::<WatchTime>());
}

criterion_group!(benches, heartbeat_size, heartbeats, verdicts);
criterion_main!(benches);
