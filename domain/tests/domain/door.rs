//! What is refused at the door, and what the `eventually` aggregate makes of the rest.

use std::sync::Arc;

use eventually::aggregate::Aggregate;
use futures_util::FutureExt as _;
use pulsegate_domain::account::{
    Account, AccountAggregate, Command, Place, PlacedEvent, Rejection, SEQUENCE_JUMP_MAX, check_at_door,
};
use pulsegate_domain::event::PlaybackEvent;
use pulsegate_domain::ids::{PlayerState, SignalKind};
use pulsegate_domain::policy::PolicySet;
use pulsegate_domain::time::Timestamp;

use crate::player::{Player, read, session_id};

const DAY_MS: u64 = 86_400_000;

/// When session ids of [`session_id`] were made.
fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(0x019a_b0c4_7e1a).plus_ms(ms)
}

fn player(n: u64) -> Player {
    Player::new("acc-1", session_id(n), "sofa", "film")
}

fn beats(player: &Player, sequence: u64, age_ms: u64) -> PlaybackEvent {
    player.beats(PlayerState::Playing, sequence, age_ms)
}

fn given(events: &[PlaybackEvent]) -> Account {
    let mut account = Account::default();
    for (event, offset) in events.iter().zip(0..) {
        account.apply("e", event, Place { offset, at: at(0) }, &PolicySet::default(), &mut ()).unwrap();
    }
    account
}

fn at_door(account: &Account, event: &PlaybackEvent, now: Timestamp) -> Result<(), Rejection> {
    check_at_door(account, event, now, &PolicySet::default())
}

#[test]
fn another_device_or_title_is_refused_of_a_player_and_not_of_a_server() {
    let account = given(&[player(1).starts(vec![])]);
    let elsewhere = Player { device: read("bed"), ..player(1) };
    let mismatch = Err(Rejection::SessionMismatch(session_id(1)));
    assert_eq!(at_door(&account, &elsewhere.starts(vec![]), at(1)), mismatch);
    assert_eq!(at_door(&account, &beats(&elsewhere, 0, 0), at(1)), mismatch);
    assert_eq!(at_door(&account, &beats(&Player { title: read("other"), ..player(1) }, 0, 0), at(1)), mismatch);
    assert_eq!(at_door(&account, &elsewhere.signals(SignalKind::Manifest, true), at(1)), Ok(()));
    assert_eq!(at_door(&account, &elsewhere.stops(), at(1)), Ok(()));
}

#[test]
fn a_start_of_an_ended_session_is_refused_and_its_heartbeat_is_appended_all_the_same() {
    let stopped = given(&[player(1).starts(vec![]), player(1).stops()]);
    let silent = given(&[player(1).starts(vec![])]);
    let ended = Err(Rejection::SessionEnded(session_id(1)));
    for (account, now) in [(&stopped, at(1)), (&silent, at(25_000 + 3_600_000))] {
        assert_eq!(at_door(account, &player(1).starts(vec![]), now), ended);
        assert_eq!(at_door(account, &beats(&player(1), 0, 0), now), Ok(()));
        // That it has ended is said first.
        assert_eq!(at_door(account, &beats(&Player { device: read("bed"), ..player(1) }, 0, 0), now), Ok(()));
    }
}

#[test]
fn an_unknown_id_made_more_than_a_day_ago_opens_nothing() {
    let nobody = Account::default();
    let too_old = Err(Rejection::SessionTooOld(session_id(1)));
    assert_eq!(at_door(&nobody, &player(1).starts(vec![]), at(DAY_MS)), Ok(()));
    assert_eq!(at_door(&nobody, &player(1).starts(vec![]), at(DAY_MS + 1)), too_old);
    assert_eq!(at_door(&nobody, &beats(&player(1), 0, 0), at(DAY_MS + 1)), too_old);
    assert_eq!(at_door(&nobody, &beats(&player(1), 0, 25_000), at(DAY_MS + 1)), Ok(()));
    assert_eq!(at_door(&nobody, &player(1).stops(), at(DAY_MS + 1)), Ok(()));
    assert_eq!(at_door(&nobody, &player(1).signals(SignalKind::Manifest, false), at(DAY_MS + 1)), Ok(()));

    let forgotten = given(&[player(1).starts(vec![]), player(1).stops()]);
    assert_eq!(at_door(&forgotten, &player(1).starts(vec![]), at(DAY_MS + 1)), too_old);
    let random = Player { session: read("9f8b2c66-3c5e-4f0e-9a51-0123456789ab"), ..player(1) };
    assert_eq!(at_door(&forgotten, &random.starts(vec![]), at(DAY_MS + 1)), Ok(()));
}

#[test]
fn a_sequence_that_jumps_too_far_is_refused() {
    let account = given(&[beats(&player(1), 7, 0)]);
    let sequence = 7 + SEQUENCE_JUMP_MAX;
    assert_eq!(at_door(&account, &beats(&player(1), sequence, 0), at(1)), Ok(()));
    let jump = Rejection::SequenceJump { sequence: sequence + 1, last: 7 };
    assert_eq!(at_door(&account, &beats(&player(1), sequence + 1, 0), at(1)), Err(jump));
    assert_eq!(at_door(&account, &beats(&player(1), 0, 0), at(1)), Ok(()));
    assert_eq!(jump.to_string(), "sequence 100008 is more than 100000 above the last one, 7");
}

#[test]
fn an_account_is_an_aggregate() {
    let policies = Arc::new(PolicySet::default());
    let aggregate = AccountAggregate::new(Arc::clone(&policies));
    let account: pulsegate_domain::ids::AccountId = read("acc-1");
    let place = Place { offset: 0, at: at(0) };
    let ask = |state: &Account, event: PlaybackEvent| {
        let command = Command { id: "e".into(), event, place };
        aggregate.handle(&account, state, command).now_or_never().unwrap()
    };

    let events = ask(&Account::default(), player(1).starts(vec![])).unwrap().unwrap();
    let state = events.into_iter().try_fold(Account::default(), AccountAggregate::apply).unwrap();
    assert_eq!(state, given(&[player(1).starts(vec![])]));

    // A fact can't be refused: what nobody can judge is skipped.
    let unknown = Player { policy: read("gone@7"), ..player(2) }.starts(vec![]);
    let placed = PlacedEvent { id: "e".into(), source: "/tests".into(), event: unknown, place, policies };
    assert_eq!(AccountAggregate::apply(state.clone(), placed).unwrap(), state);

    let elsewhere = Player { device: read("bed"), ..player(1) }.starts(vec![]);
    assert_eq!(ask(&state, elsewhere).unwrap_err(), Rejection::SessionMismatch(session_id(1)));
}
