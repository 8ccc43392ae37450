//! Watch time of any session at all, held against the rules written down once more in the plainest way.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use pulsegate_domain::event::{Heartbeat, PlaybackEvent, Stopped};
use pulsegate_domain::ids::{PlayerState, Territory};
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::watch_time::{Growth, TOLERANCE_MS, WatchTime};

use crate::player::{Player, read, session_id};

/// Shortly before midnight, so that logs reach into the next day.
const BEGIN_MS: i64 = 1_795_391_940_000;
/// Positions are multiples of this, so that a plain set of them can be counted.
const GRAIN_MS: u64 = 500;

type Log = Vec<(PlaybackEvent, Timestamp)>;

fn player() -> Player {
    Player::new("acc-1", session_id(1), "sofa", "film")
}

fn beat() -> impl Strategy<Value = (u64, Heartbeat)> {
    let wait_ms = prop_oneof![4 => Just(10_000_u64), 3 => 0..30_000_u64, 1 => select(vec![0, 600_000, 90_000_000])];
    let counts = (
        prop_oneof![8 => Just(1_i64), 1 => select(vec![-1, 0, 2, 100_000, 100_001])],
        prop_oneof![6 => Just(10_000_i64), 2 => -20_000..60_000_i64],
        prop_oneof![5 => Just(20_i64), 3 => -40..80_i64],
    );
    let state = prop_oneof![4 => Just(PlayerState::Playing), 1 => select(PlayerState::ALL)];
    let age_ms = prop_oneof![5 => Just(0_u64), 1 => select(vec![24_999, 25_000, 100_000, 600_000_000])];
    let says = (select(vec![500, 1_000, 2_000]), select(vec![Some("DE"), Some("DE"), Some("FR"), None]), 0..20_u8);
    // Counts are differences here; `log` adds them up.
    (wait_ms, counts, state, age_ms, says).prop_map(
        |(wait_ms, (sequence, elapsed, position), state, age_ms, (rate_milli, territory, oddity))| {
            let heartbeat = Heartbeat {
                sequence: sequence.cast_unsigned(),
                elapsed_ms: elapsed.cast_unsigned(),
                position_ms: position.cast_unsigned(),
                rate_milli,
                territory: territory.map(read),
                title_id: read(if oddity == 0 { "other" } else { "film" }),
                ..player().heartbeat(state, 0, age_ms)
            };
            (wait_ms, heartbeat)
        },
    )
}

fn log() -> impl Strategy<Value = Log> {
    let stop = prop::option::weighted(0.4, (prop::option::of(0..400_000_u64), prop::option::of(0..800_u64)));
    (vec(beat(), 1..40), stop, 1..60_usize).prop_map(|(beats, stop, stop_at)| {
        let mut now = Timestamp::from_millis(BEGIN_MS);
        let (mut sequence, mut elapsed_ms, mut position) = (3_u64, 20_000_u64, 100_u64);
        let mut log = Log::new();
        for (wait_ms, mut heartbeat) in beats {
            now = now.plus_ms(wait_ms);
            sequence = sequence.saturating_add_signed(heartbeat.sequence.cast_signed());
            elapsed_ms = elapsed_ms.saturating_add_signed(heartbeat.elapsed_ms.cast_signed());
            position = position.saturating_add_signed(heartbeat.position_ms.cast_signed());
            heartbeat.sequence = sequence;
            heartbeat.elapsed_ms = elapsed_ms;
            heartbeat.position_ms = position * GRAIN_MS;
            log.push((PlaybackEvent::Heartbeat(heartbeat), now));
        }
        if let Some((elapsed_ms, position)) = stop {
            let PlaybackEvent::Stopped(stopped) = player().stops() else { panic!("a stop is a stop") };
            let position_ms = position.map(|position| position * GRAIN_MS);
            let place = stop_at.min(log.len());
            let now = log[place - 1].1;
            log.insert(place, (PlaybackEvent::Stopped(Stopped { elapsed_ms, position_ms, ..stopped }), now));
        }
        log
    })
}

fn fold(log: &[(PlaybackEvent, Timestamp)]) -> WatchTime {
    let mut session = WatchTime::default();
    for (event, at) in log {
        session.apply(event, *at);
    }
    session
}

/// What a day and territory have: watched, late and content time, and plays.
type Row = (u64, u64, u64, u64);

/// One that counted: the heartbeat, the log's time, its day, its territory, what it may account for.
type Counted = (Heartbeat, i64, NaiveDate, Territory, i128);

fn day_of(ms: i64) -> NaiveDate {
    Timestamp::from_millis(ms).to_utc().date_naive()
}

/// The rules, word for word.
fn plainly(log: &[(PlaybackEvent, Timestamp)]) -> BTreeMap<(NaiveDate, Territory), Row> {
    let mut rows: BTreeMap<(NaiveDate, Territory), Row> = BTreeMap::new();
    let mut counted: Vec<Counted> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut stopped = false;
    for (event, at) in log {
        // Rule 1.
        let (b, position) = match event {
            _ if stopped => continue,
            PlaybackEvent::Heartbeat(b) => {
                let last = counted.last().map(|a| a.0.sequence);
                let first = log.iter().find_map(|(event, _)| match event {
                    PlaybackEvent::Heartbeat(first) => Some(first),
                    _ => None,
                });
                let in_sequence = last.is_none_or(|last| b.sequence > last && b.sequence - last <= 100_000);
                if !in_sequence || Some(&b.title_id) != first.map(|first| &first.title_id) {
                    continue;
                }
                (b.clone(), Some(b.position_ms))
            }
            PlaybackEvent::Stopped(stop) => {
                stopped = true;
                let (Some(a), Some(elapsed_ms)) = (counted.last(), stop.elapsed_ms) else { continue };
                let as_heartbeat = Heartbeat {
                    elapsed_ms,
                    age_ms: 0,
                    state: PlayerState::Blocked,
                    territory: Some(a.3),
                    ..a.0.clone()
                };
                (as_heartbeat, stop.position_ms)
            }
            _ => continue,
        };
        let t_b = at.millis();
        let happened = day_of(t_b - i64::try_from(b.age_ms).unwrap());
        let Some((a, _, day_a, territory_a, accountable_a)) = counted.last() else {
            let territory = b.territory.unwrap_or(Territory::UNKNOWN);
            if b.state == PlayerState::Playing {
                rows.entry((happened, territory)).or_default().3 += 1;
            }
            let elapsed = i128::from(b.elapsed_ms);
            counted.push((b, t_b, happened, territory, elapsed));
            continue;
        };
        // Rule 2.
        let (first, t_first, ..) = &counted[0];
        let passed = i128::from(t_b) - (i128::from(*t_first) - i128::from(first.age_ms));
        let most = i128::from(first.elapsed_ms) + passed + 5_000;
        let accountable = (*accountable_a).max(i128::from(b.elapsed_ms).min(most));
        // Rule 3.
        let watched = if a.state == PlayerState::Playing { (accountable - accountable_a).min(25_000) } else { 0 };
        // Rule 5.
        let (day, territory) = (happened.max(*day_a), b.territory.unwrap_or(*territory_a));
        let played_before = counted.iter().any(|one| one.0.state == PlayerState::Playing);
        let plays = u64::from(b.state == PlayerState::Playing && !played_before);
        // Rule 4.
        let mut content = 0;
        if let Some(position) = position {
            let ahead = i128::from(position) - i128::from(a.position_ms);
            let may_be = (ahead - 2_000) * 2_000 <= watched * i128::from(a.rate_milli.max(1_000)) * 3;
            if watched > 0 && ahead > 0 && may_be {
                let new = (a.position_ms / GRAIN_MS..position / GRAIN_MS).filter(|grain| seen.insert(*grain));
                content = u64::try_from(new.count()).unwrap() * GRAIN_MS;
            }
        }
        let watched = u64::try_from(watched).unwrap();
        if watched > 0 || plays > 0 {
            let row = rows.entry((day, territory)).or_default();
            row.0 += watched;
            row.1 += if b.age_ms >= 25_000 { watched } else { 0 };
            row.2 += content;
            row.3 += plays;
        }
        if !stopped {
            counted.push((b, t_b, day, territory, accountable));
        }
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn is_what_the_rules_say_word_for_word(log in log()) {
        let mut rows: BTreeMap<_, Row> = BTreeMap::new();
        for fact in fold(&log).facts() {
            let row = rows.entry((fact.day, fact.territory)).or_default();
            row.0 += fact.watched_ms;
            row.1 += fact.aged_ms;
            row.2 += fact.content_ms;
            row.3 += u64::from(fact.played);
        }
        prop_assert_eq!(rows, plainly(&log));
    }

    #[test]
    fn a_restart_anywhere_changes_nothing(log in log(), restart in 0..60_usize) {
        let (before, after) = log.split_at(restart.min(log.len()));
        let row = serde_json::to_string(&fold(before)).unwrap();
        let mut session: WatchTime = serde_json::from_str(&row).unwrap();
        for (event, at) in after {
            session.apply(event, *at);
        }
        prop_assert_eq!(session, fold(&log));
    }

    #[test]
    fn what_arrives_twice_counts_once(log in log(), again_after in 0..10_usize) {
        let mut session = WatchTime::default();
        for (index, (event, at)) in log.iter().enumerate() {
            session.apply(event, *at);
            let before = session.clone();
            // A duplicate of anything that counted so far, also out of order.
            if let Some(PlaybackEvent::Heartbeat(beat)) = index.checked_sub(again_after).map(|early| &log[early].0)
                && log[..=index].iter().all(|(event, _)| match event {
                    PlaybackEvent::Heartbeat(other) => other.sequence.abs_diff(beat.sequence) <= 100_000,
                    _ => true,
                })
                && log[..=index].iter().any(|(event, _)| match event {
                    PlaybackEvent::Heartbeat(other) => {
                        other.sequence >= beat.sequence && session.title_id() == Some(&other.title_id)
                    }
                    _ => false,
                })
            {
                prop_assert_eq!(session.apply(&PlaybackEvent::Heartbeat(beat.clone()), *at), Growth::default());
                prop_assert_eq!(&session, &before);
            }
        }
    }

    #[test]
    fn is_bounded_by_the_time_that_passed_and_adds_up(log in log()) {
        let mut session = WatchTime::default();
        let mut sum = Growth::default();
        let mut content_most_ms = 0;
        for (event, at) in &log {
            let growth = session.apply(event, *at);
            sum.watched_ms += growth.watched_ms;
            sum.aged_ms += growth.aged_ms;
            sum.content_ms += growth.content_ms;
            prop_assert_eq!(growth.fact.is_some(), growth.watched_ms > 0 || growth.played);
            // Half as much again as was watched, at the fastest rate there is, and 2 s.
            content_most_ms += if growth.watched_ms > 0 { growth.watched_ms * 3 + 2_000 } else { 0 };
        }
        let facts = session.facts();
        let of = |part: fn(&pulsegate_domain::watch_time::Fact) -> u64| facts.iter().map(part).sum::<u64>();
        prop_assert_eq!(sum.watched_ms, session.watched_ms());
        prop_assert_eq!(sum.watched_ms, of(|fact| fact.watched_ms));
        prop_assert_eq!(sum.aged_ms, of(|fact| fact.aged_ms));
        prop_assert_eq!(sum.content_ms, of(|fact| fact.content_ms));
        prop_assert_eq!(sum.content_ms, session.content().total_ms());
        prop_assert!(sum.content_ms <= content_most_ms);
        prop_assert!(of(|fact| u64::from(fact.played)) <= 1);

        let heartbeats = log.iter().filter_map(|(event, at)| match event {
            PlaybackEvent::Heartbeat(heartbeat) => Some((heartbeat, *at)),
            _ => None,
        });
        let oldest = heartbeats.map(|(heartbeat, at)| at.minus_ms(heartbeat.age_ms)).min();
        let passed_ms = oldest.map_or(0, |oldest| log[log.len() - 1].1.ms_since(oldest));
        prop_assert!(session.watched_ms() <= passed_ms + TOLERANCE_MS);
    }

    #[test]
    fn days_ascend_and_each_threshold_is_reached_once(log in log(), threshold_ms in 0..400_000_u64) {
        let session = fold(&log);
        let mut before_ms = 0;
        let mut end = Timestamp::MIN;
        for (index, fact) in session.facts().iter().enumerate() {
            prop_assert!(index == 0 || session.facts()[index - 1].day <= fact.day);
            prop_assert_eq!(fact.before_ms, before_ms);
            prop_assert!(fact.watched_ms > 0 || fact.played);
            before_ms += fact.watched_ms;
            for (from, to) in &fact.intervals {
                prop_assert!(end <= *from && from < to);
                end = *to;
            }
        }
        let reached = session.facts().iter().filter(|fact| fact.qualifies(threshold_ms)).count();
        prop_assert_eq!(reached, usize::from(session.watched_ms() >= threshold_ms.max(1)));
    }
}
