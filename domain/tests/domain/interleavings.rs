//! Several senders speak of the same viewings: in whatever order their words arrive, the sessions are the same.

use std::collections::BTreeSet;

use proptest::prelude::*;
use pulsegate_domain::account::{Applied, Session};
use pulsegate_domain::event::PlaybackEvent;
use pulsegate_domain::ids::SignalKind;
use pulsegate_domain::policy::Policy;
use pulsegate_domain::time::Timestamp;

use crate::player::{Player, session_id};
use crate::reader::{Reader, Record};

const ACCOUNT: &str = "acc-1";
/// 2026-11-22T20:00:00Z
const BEGIN_MS: i64 = 1_795_377_600_000;
/// Between two records: all of them arrive within the shortest lease.
const GAP_MS: u64 = 400;

/// What somebody says of a device's viewing.
#[derive(Clone, Copy, Debug)]
enum Said {
    /// Its player starts, or retries.
    Start,
    /// A server saw it; `named` if it knows the session.
    Signal { kind: SignalKind, named: bool },
}

fn signal(named: impl Strategy<Value = bool>) -> impl Strategy<Value = Said> {
    (prop::sample::select(SignalKind::ALL), named).prop_map(|(kind, named)| Said::Signal { kind, named })
}

/// What is said of some devices: of each by servers that know no session, by some that do, or by its player too.
fn household() -> impl Strategy<Value = Vec<(u64, Said)>> {
    let mute = prop::collection::vec(signal(Just(false)), 1..6);
    let known = prop::collection::vec(signal(any::<bool>()), 1..6);
    let talking = prop::collection::vec(prop_oneof![Just(Said::Start), signal(any::<bool>())], 1..6);
    prop::collection::vec(prop_oneof![mute, known, talking], 1..5).prop_map(|devices| {
        let devices = (0..).zip(devices);
        devices.flat_map(|(device, said)| said.into_iter().map(move |said| (device, said))).collect()
    })
}

fn event(device: u64, said: Said) -> PlaybackEvent {
    let player = Player::new(ACCOUNT, session_id(device + 1), &format!("device-{device}"), &format!("title-{device}"));
    match said {
        Said::Start => player.starts(Vec::new()),
        Said::Signal { kind, named } => player.signals(kind, named),
    }
}

fn at(index: usize) -> Timestamp {
    Timestamp::from_millis(BEGIN_MS).plus_ms(index as u64 * GAP_MS)
}

fn folded(said: &[(u64, Said)]) -> (Reader, Vec<Applied>) {
    let mut reader = Reader::default();
    let records = said.iter().enumerate();
    let applied = records.map(|(index, (device, said))| {
        let record = Record::of(&event(*device, *said), i64::try_from(index).unwrap(), at(index));
        reader.read(&record).expect("standard@1 is built in")
    });
    let applied = applied.collect();
    (reader, applied)
}

/// A session, told apart by what doesn't depend on which of the records came first.
fn told(session: &Session) -> (String, String, Option<String>) {
    let named = (!session.inferred()).then(|| session.id().to_string());
    (session.device_id().to_string(), session.title_id().to_string(), named)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn senders_in_any_order_give_the_same_sessions(
        (said, shuffled) in household().prop_flat_map(|said| (Just(said.clone()), Just(said).prop_shuffle()))
    ) {
        let devices: BTreeSet<_> = said.iter().map(|(device, _)| *device).collect();
        let max = Policy::standard().terms.rules[0].max as usize;
        let (one, other) = (folded(&said).0, folded(&shuffled).0);
        let sessions = |reader: &Reader| {
            reader.account(ACCOUNT).unwrap().open().iter().map(told).collect::<Vec<_>>()
        };
        let sorted = |mut sessions: Vec<_>| { sessions.sort(); sessions };
        prop_assert_eq!(sorted(sessions(&one)), sorted(sessions(&other)));
        for reader in [&one, &other] {
            let open = reader.account(ACCOUNT).unwrap().open();
            prop_assert_eq!(open.len(), devices.len(), "one viewing, one session");
            let holding = open.iter().filter(|session| session.holds_live_slot(at(said.len()))).count();
            prop_assert_eq!(holding, devices.len().min(max));
        }
    }

    #[test]
    fn a_mute_viewings_slot_frees_when_all_of_its_senders_are_silent(
        kinds in prop::collection::vec(prop::sample::select(SignalKind::ALL), 1..12)
    ) {
        let said: Vec<_> = kinds.iter().map(|kind| (0, Said::Signal { kind: *kind, named: false })).collect();
        let (reader, applied) = folded(&said);
        let leases = Policy::standard().terms.leases_ms;
        let ends = kinds.iter().enumerate().map(|(index, kind)| at(index).plus_ms(leases.signal(*kind)));
        let open = reader.account(ACCOUNT).unwrap().open();
        prop_assert_eq!(open.len(), 1);
        prop_assert_eq!(Some(open[0].lapses_at()), ends.max());
        prop_assert!(applied.iter().all(|applied| applied.session == open[0].id()));
    }
}
