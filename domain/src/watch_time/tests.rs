//! The rules, one after another, each by its smallest example.

use super::*;

const HOUR_MS: u64 = 3_600_000;

/// 2026-11-22T20:00:00Z.
fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(1_795_377_600_000).plus_ms(ms)
}

/// A heartbeat each 10 s, which says what each test changes.
fn beat(sequence: u64) -> Heartbeat {
    Heartbeat {
        account_id: "acc-1".parse().unwrap(),
        session_id: "019ab0c4-7e1a-7abc-8def-0123456789ab".parse().unwrap(),
        device_id: "sofa".parse().unwrap(),
        device_class: None,
        title_id: "film".parse().unwrap(),
        content_kind: None,
        territory: Some(de()),
        rights_holder: None,
        sequence,
        elapsed_ms: sequence * 10_000,
        age_ms: 0,
        position_ms: sequence * 10_000,
        state: PlayerState::Playing,
        rate_milli: 1_000,
        policy: "standard@1".parse().unwrap(),
    }
}

fn stop(elapsed_ms: Option<u64>, position_ms: Option<u64>) -> Stopped {
    let Heartbeat { account_id, session_id, .. } = beat(0);
    Stopped { account_id, session_id, sequence: None, elapsed_ms, position_ms }
}

fn de() -> Territory {
    "DE".parse().unwrap()
}

fn fr() -> Territory {
    "FR".parse().unwrap()
}

/// The session after these heartbeats, each on time.
fn watched(beats: impl IntoIterator<Item = Heartbeat>) -> WatchTime {
    let mut session = WatchTime::default();
    for beat in beats {
        session.heartbeat(&beat, at(beat.sequence * 10_000));
    }
    session
}

fn totals(session: &WatchTime) -> (u64, u64, u64) {
    let of = |part: fn(&Fact) -> u64| session.facts().iter().map(part).sum();
    assert_eq!(session.watched_ms(), of(|fact| fact.watched_ms));
    assert_eq!(session.content().total_ms(), of(|fact| fact.content_ms));
    (session.watched_ms(), session.content().total_ms(), of(|fact| fact.aged_ms))
}

#[test]
fn half_a_minute_is_one_fact() {
    let session = watched((0..4).map(beat));
    assert_eq!(
        session.facts(),
        [Fact {
            day: NaiveDate::from_ymd_opt(2026, 11, 22).unwrap(),
            territory: de(),
            device_class: DeviceClass::Other,
            before_ms: 0,
            watched_ms: 30_000,
            aged_ms: 0,
            content_ms: 30_000,
            played: true,
            intervals: vec![(at(0), at(30_000))],
        }]
    );
    assert_eq!(session.title_id().unwrap().as_str(), "film");
}

#[test]
fn what_is_out_of_sequence_or_of_another_device_or_title_is_ignored() {
    let mut session = watched((0..4).map(beat));
    let before = session.clone();
    let other_device = Heartbeat { device_id: "bed".parse().unwrap(), ..beat(4) };
    let other_title = Heartbeat { title_id: "other".parse().unwrap(), ..beat(4) };
    for ignored in [beat(3), beat(0), beat(3 + SEQUENCE_JUMP_MAX + 1), other_device, other_title] {
        assert_eq!(session.heartbeat(&ignored, at(40_000)), Growth::default());
        assert_eq!(session, before);
    }
    assert_eq!(session.heartbeat(&beat(3 + SEQUENCE_JUMP_MAX), at(40_000)).watched_ms, 15_000);
}

#[test]
fn the_first_that_is_heard_says_which_device_and_title() {
    let mut session = WatchTime::default();
    let Heartbeat { account_id, session_id, device_id, policy, .. } = beat(0);
    session.apply(
        &PlaybackEvent::Started(crate::event::Started {
            account_id,
            session_id,
            device_id,
            device_class: None,
            title_id: "other".parse().unwrap(),
            content_kind: None,
            territory: None,
            rights_holder: None,
            policy,
            evict: Vec::new(),
        }),
        at(0),
    );
    session.heartbeat(&beat(0), at(0));
    session.heartbeat(&beat(1), at(10_000));
    assert_eq!(totals(&session), (0, 0, 0));
}

#[test]
fn the_first_stop_is_a_last_heartbeat_and_then_nothing_counts() {
    let mut session = watched((0..2).map(beat));
    let growth = session.stopped(&stop(Some(16_000), Some(16_000)), at(16_000));
    assert_eq!((growth.watched_ms, growth.content_ms), (6_000, 6_000));
    session.stopped(&stop(Some(20_000), Some(20_000)), at(20_000));
    session.heartbeat(&beat(2), at(20_000));
    assert_eq!(totals(&session), (16_000, 16_000, 0));
    assert!(session.is_stopped());
}

#[test]
fn a_stop_without_position_shows_no_content_and_one_without_time_counts_nothing() {
    let mut session = watched((0..2).map(beat));
    session.stopped(&stop(Some(16_000), None), at(16_000));
    assert_eq!(totals(&session), (16_000, 10_000, 0));

    let mut session = watched((0..2).map(beat));
    session.stopped(&stop(None, Some(16_000)), at(16_000));
    session.stopped(&stop(Some(16_000), Some(16_000)), at(16_000));
    assert_eq!(totals(&session), (10_000, 10_000, 0));

    let mut unheard = WatchTime::default();
    unheard.stopped(&stop(Some(16_000), None), at(16_000));
    unheard.heartbeat(&beat(0), at(17_000));
    unheard.heartbeat(&beat(1), at(27_000));
    assert_eq!(unheard.facts(), []);
}

#[test]
fn a_device_cannot_report_more_time_than_passed() {
    let fast = |sequence| Heartbeat { elapsed_ms: sequence * 25_000, ..beat(sequence) };
    let session = watched((0..7).map(fast));
    assert_eq!(session.watched_ms(), 60_000 + TOLERANCE_MS);
    let backwards = Heartbeat { elapsed_ms: 0, ..beat(7) };
    assert_eq!(session.clone().heartbeat(&backwards, at(70_000)).watched_ms, 0);
}

#[test]
fn what_was_watched_offline_counts_and_is_shown_apart() {
    let mut session = WatchTime::default();
    for sequence in 0..=6 {
        let age_ms = 2 * HOUR_MS + 60_000 - sequence * 10_000;
        session.heartbeat(&Heartbeat { age_ms, ..beat(sequence) }, at(2 * HOUR_MS));
    }
    assert_eq!(totals(&session), (60_000, 60_000, 60_000));
    assert_eq!(session.facts()[0].intervals, []);
    let growth = session.heartbeat(&Heartbeat { age_ms: AGED_MS - 1, ..beat(7) }, at(2 * HOUR_MS));
    assert_eq!((growth.watched_ms, growth.aged_ms), (10_000, 0));
}

#[test]
fn only_what_follows_a_playing_heartbeat_is_watched_and_25_s_of_it_at_most() {
    for state in PlayerState::ALL {
        let session = watched([Heartbeat { state: *state, ..beat(0) }, beat(1)]);
        assert_eq!(session.watched_ms(), if *state == PlayerState::Playing { 10_000 } else { 0 }, "{state}");
    }
    assert_eq!(watched([beat(0), beat(60)]).watched_ms(), STEP_MS_MAX);
}

#[test]
fn a_jump_is_not_seen_and_what_is_seen_twice_counts_once() {
    let to = |position_ms| Heartbeat { position_ms, ..beat(1) };
    let seen = |next: Heartbeat, rate_milli| {
        watched([Heartbeat { rate_milli, position_ms: 5_000, ..beat(0) }, next]).content().total_ms()
    };
    assert_eq!(seen(to(5_000), 1_000), 0);
    assert_eq!(seen(to(4_999), 1_000), 0);
    // Half as much again as was watched, and 2 s.
    assert_eq!(seen(to(22_000), 1_000), 17_000);
    assert_eq!(seen(to(22_001), 1_000), 0);
    assert_eq!(seen(to(22_000), 500), 17_000);
    assert_eq!(seen(to(37_000), 2_000), 32_000);
    assert_eq!(seen(to(37_001), 2_000), 0);
    assert_eq!(seen(to(u64::MAX), u32::MAX), 0);

    let again = |sequence| Heartbeat { position_ms: sequence % 3 * 10_000, ..beat(sequence) };
    assert_eq!(totals(&watched((0..9).map(again))), (80_000, 20_000, 0));
}

#[test]
fn time_falls_on_the_day_on_which_it_was_watched_and_never_on_an_earlier_one() {
    let mut session = WatchTime::default();
    let midnight = 4 * HOUR_MS;
    session.heartbeat(&beat(0), at(midnight - 10_000));
    session.heartbeat(&beat(1), at(midnight - 1));
    session.heartbeat(&beat(2), at(midnight + 9_999));
    // Late by an age that would put it before midnight.
    session.heartbeat(&Heartbeat { age_ms: 30_000, ..beat(3) }, at(midnight + 20_000));
    let facts: Vec<_> =
        session.facts().iter().map(|fact| (fact.day.to_string(), fact.before_ms, fact.watched_ms)).collect();
    assert_eq!(facts, [("2026-11-22".into(), 0, 10_000), ("2026-11-23".into(), 10_000, 20_000)]);
}

#[test]
fn each_stay_in_a_territory_is_a_fact_so_that_any_threshold_falls_in_one() {
    let stays = [de(), de(), fr(), fr(), de(), de()];
    let session = watched(stays.iter().zip(0..).map(|(stay, n)| Heartbeat { territory: Some(*stay), ..beat(n) }));
    let places = |threshold_ms| {
        let facts = session.facts().iter().enumerate();
        facts.filter(|(_, fact)| fact.qualifies(threshold_ms)).map(|(place, _)| place).collect::<Vec<_>>()
    };
    assert_eq!(session.facts().len(), 3);
    assert_eq!(places(0), [0]);
    assert_eq!(places(10_000), [0]);
    assert_eq!(places(10_001), [1]);
    assert_eq!(places(VIEW_THRESHOLD_MS), [1]);
    assert_eq!(places(50_000), [2]);
    assert!(places(50_001).is_empty());
    assert_eq!(session.facts().iter().filter(|fact| fact.played).count(), 1);
}

#[test]
fn what_a_start_or_a_counted_heartbeat_says_of_its_device_holds_until_one_says_else() {
    let Heartbeat { account_id, session_id, device_id, title_id, policy, .. } = beat(0);
    let started = |device_id: DeviceId| {
        PlaybackEvent::Started(crate::event::Started {
            account_id: account_id.clone(),
            session_id,
            device_id,
            device_class: Some(DeviceClass::Tv),
            title_id: title_id.clone(),
            content_kind: None,
            territory: Some(fr()),
            rights_holder: None,
            policy: policy.clone(),
            evict: Vec::new(),
        })
    };
    let mut session = WatchTime::default();
    session.apply(&started(device_id.clone()), at(0));
    assert_eq!((session.said(), session.began_in()), ((true, Some(DeviceClass::Tv), Some(fr())), fr()));
    for n in 0..3 {
        session.heartbeat(&beat(n), at(n * 10_000));
    }
    // Out of sequence, and of another device: neither says anything.
    session.heartbeat(&Heartbeat { device_class: Some(DeviceClass::Web), ..beat(2) }, at(21_000));
    session.apply(&started("another".parse().unwrap()), at(22_000));
    session.heartbeat(&Heartbeat { device_class: Some(DeviceClass::Mobile), ..beat(3) }, at(30_000));
    session.stopped(&stop(Some(35_000), None), at(35_000));
    let facts: Vec<_> = session.facts().iter().map(|fact| (fact.device_class, fact.watched_ms)).collect();
    assert_eq!(facts, [(DeviceClass::Tv, 20_000), (DeviceClass::Mobile, 15_000)]);
    assert_eq!(session.began_in(), fr());
}

#[test]
fn who_only_paused_has_no_play() {
    let paused = |sequence| Heartbeat { state: PlayerState::Paused, ..beat(sequence) };
    assert_eq!(watched((0..3).map(paused)).facts(), []);
    let late = watched((0..3).map(paused).chain([Heartbeat { territory: None, ..beat(3) }]));
    assert!(late.facts()[0].played);
    assert_eq!((late.facts()[0].territory, late.facts()[0].watched_ms), (de(), 0));
}

#[test]
fn a_pause_parts_the_intervals() {
    let state = |n| if n == 2 { PlayerState::Paused } else { PlayerState::Playing };
    let session = watched((0..5).map(|n| Heartbeat { state: state(n), ..beat(n) }));
    assert_eq!(session.facts()[0].intervals, [(at(0), at(20_000)), (at(30_000), at(40_000))]);
}

#[test]
fn what_is_settled_can_be_taken_and_the_rest_goes_on() {
    let stays = [de(), de(), fr(), fr(), de(), de()];
    let beats: Vec<_> =
        stays.iter().zip(0..).map(|(stay, n)| Heartbeat { territory: Some(*stay), ..beat(n) }).collect();
    let whole = watched(beats.clone());

    let mut session = WatchTime::default();
    let mut facts = Vec::new();
    for beat in beats {
        let growth = session.heartbeat(&beat, at(beat.sequence * 10_000));
        assert_eq!(session.facts_taken(), facts.len());
        assert_eq!(growth.fact.unwrap(), facts.len() + session.facts().len() - 1);
        facts.extend(session.take_settled());
        assert_eq!(session.facts().len(), 1);
        let content = session.replace_content(Ranges::default());
        session.replace_content(content);
    }
    facts.extend_from_slice(session.facts());
    assert_eq!(facts, whole.facts());
    assert_eq!(session.content(), whole.content());
}
