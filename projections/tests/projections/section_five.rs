//! The watch-time rules once more, written from their text in the plainest way, over whole logs in memory.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate};
use pulsegate_domain::event::{PlaybackEvent, decode};
use pulsegate_domain::ids::{AccountId, DeviceClass, DeviceId, PlayerState, SessionId, Territory, TitleId};
use pulsegate_domain::time::Timestamp;
use pulsegate_projections::runner::Record;

use crate::viewers::GRAIN_MS;

/// What one counted heartbeat or stop added to its session.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) account: AccountId,
    pub(crate) session: SessionId,
    pub(crate) title: TitleId,
    pub(crate) day: NaiveDate,
    pub(crate) territory: Territory,
    pub(crate) class: DeviceClass,
    /// The session's watched time before it.
    pub(crate) before: i128,
    pub(crate) watched: i128,
    pub(crate) aged: i128,
    pub(crate) content: i128,
    pub(crate) plays: bool,
    pub(crate) interval: Option<(i64, i64)>,
}

/// A session that was told to its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) title: Option<TitleId>,
    pub(crate) watched: i128,
    /// Each grain of the title that was seen.
    pub(crate) seen: BTreeSet<u64>,
    pub(crate) steps: Vec<Step>,
}

/// A heartbeat that counted.
#[derive(Clone, Copy)]
struct Counted {
    t: i64,
    sequence: u64,
    accountable: i128,
    position: u64,
    state: PlayerState,
    rate_milli: u32,
    day: NaiveDate,
    territory: Territory,
}

/// Every session of a partition's log, by account and id.
pub(crate) fn tell(records: &[Record]) -> BTreeMap<(AccountId, SessionId), Told> {
    let mut logs: BTreeMap<(AccountId, SessionId), Vec<(PlaybackEvent, i64)>> = BTreeMap::new();
    let mut clock = i64::MIN;
    for record in records {
        clock = clock.max(record.timestamp.map_or(i64::MIN, Timestamp::millis));
        let Ok(envelope) = decode::<PlaybackEvent>(record.value.as_deref().unwrap_or_default()) else { continue };
        if record.key.as_deref() != Some(envelope.event.account_id().as_str().as_bytes()) {
            continue;
        }
        let Some(session) = envelope.event.session_id() else { continue };
        let key = (envelope.event.account_id().clone(), session);
        logs.entry(key).or_default().push((envelope.event, clock));
    }
    logs.into_iter().map(|(key, log)| (key.clone(), session(&key.0, key.1, &log))).collect()
}

fn day_of(ms: i64) -> NaiveDate {
    DateTime::from_timestamp_millis(ms).unwrap().date_naive()
}

/// Which device and title an event names, if it is a sign of life.
fn named(event: &PlaybackEvent) -> Option<(&DeviceId, &TitleId)> {
    match event {
        PlaybackEvent::Started(one) => Some((&one.device_id, &one.title_id)),
        PlaybackEvent::Heartbeat(one) => Some((&one.device_id, &one.title_id)),
        PlaybackEvent::Signal(one) => Some((&one.device_id, &one.title_id)),
        PlaybackEvent::Stopped(_) | PlaybackEvent::Evicted(_) => None,
    }
}

fn session(account: &AccountId, id: SessionId, log: &[(PlaybackEvent, i64)]) -> Told {
    let mut told = Told::default();
    let Some((device, title)) = log.iter().find_map(|(event, _)| named(event)) else { return told };
    told.title = Some(title.clone());
    let mut first: Option<(i64, u64)> = None;
    let mut last: Option<Counted> = None;
    let mut played = false;
    let mut class: Option<DeviceClass> = None;
    for (event, t) in log {
        // What b says: its age, its elapsed time, its position, its territory.
        let (age, elapsed, position, territory) = match event {
            PlaybackEvent::Heartbeat(b) => {
                let in_sequence = last.is_none_or(|a| b.sequence > a.sequence && b.sequence - a.sequence <= 100_000);
                if !in_sequence || (&b.device_id, &b.title_id) != (device, title) {
                    continue;
                }
                class = b.device_class.or(class);
                let before = last.map_or(Territory::UNKNOWN, |a| a.territory);
                (b.age_ms, b.elapsed_ms, Some(b.position_ms), b.territory.unwrap_or(before))
            }
            PlaybackEvent::Stopped(b) => match (last, b.elapsed_ms) {
                (Some(a), Some(elapsed)) => (0, elapsed, b.position_ms, a.territory),
                (None, _) | (_, None) => return told,
            },
            PlaybackEvent::Started(b) => {
                if (&b.device_id, &b.title_id) == (device, title) {
                    class = b.device_class.or(class);
                }
                continue;
            }
            PlaybackEvent::Signal(_) | PlaybackEvent::Evicted(_) => continue,
        };
        let happened = t - i64::try_from(age).unwrap();
        let (first_at, first_elapsed) = *first.get_or_insert((happened, elapsed));
        let day = last.map_or(day_of(happened), |a| day_of(happened).max(a.day));
        let accountable = last.map_or(i128::from(elapsed), |a| {
            let most = i128::from(first_elapsed) + i128::from(t - first_at) + 5_000;
            a.accountable.max(i128::from(elapsed).min(most))
        });
        let mut step = Step {
            account: account.clone(),
            session: id,
            title: title.clone(),
            day,
            territory,
            class: class.unwrap_or(DeviceClass::Other),
            before: told.watched,
            watched: 0,
            aged: 0,
            content: 0,
            plays: false,
            interval: None,
        };
        if let Some(a) = last {
            step.watched = if a.state == PlayerState::Playing { (accountable - a.accountable).min(25_000) } else { 0 };
            step.aged = if age >= 25_000 { step.watched } else { 0 };
            step.interval = (step.watched > 0 && a.t < *t).then_some((a.t, *t));
            let ahead = position.map_or(0, |position| i128::from(position) - i128::from(a.position));
            let plausible = (ahead - 2_000) * 2_000 <= step.watched * i128::from(a.rate_milli.max(1_000)) * 3;
            if step.watched > 0 && ahead > 0 && plausible {
                let grains = a.position / GRAIN_MS..position.unwrap() / GRAIN_MS;
                let new = grains.filter(|grain| told.seen.insert(*grain)).count();
                step.content = i128::from(new as u64 * GRAIN_MS);
            }
            told.watched += step.watched;
        }
        if let PlaybackEvent::Heartbeat(b) = event {
            step.plays = b.state == PlayerState::Playing && !played;
            played |= step.plays;
            last = Some(Counted {
                t: *t,
                sequence: b.sequence,
                accountable,
                position: b.position_ms,
                state: b.state,
                rate_milli: b.rate_milli,
                day,
                territory,
            });
        }
        if step.watched > 0 || step.plays {
            told.steps.push(step);
        }
        if matches!(event, PlaybackEvent::Stopped(_)) {
            return told;
        }
    }
    told
}
