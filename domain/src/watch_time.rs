//! Watch time: what was watched in one session, for whoever owns the title, folded from its heartbeats.
//!
//! Nothing here asks whether the session was allowed to run: what was watched is reported, not hidden. The rules are
//! numbered as in `docs/watch-time-rules.md`.

mod ranges;
#[cfg(test)]
mod tests;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

pub use ranges::Ranges;

use crate::account::SEQUENCE_JUMP_MAX;
use crate::event::{Heartbeat, PlaybackEvent, Stopped};
use crate::ids::{DeviceClass, DeviceId, PlayerState, Territory, TitleId};
use crate::time::Timestamp;

/// By how much a device may report more time than passed (rule 2), in milliseconds.
pub const TOLERANCE_MS: u64 = 5_000;
/// Most watched time between two heartbeats (rule 3), in milliseconds.
pub const STEP_MS_MAX: u64 = 25_000;
/// Watched time of a heartbeat at least this old is shown apart (rule 2), in milliseconds.
pub const AGED_MS: u64 = 25_000;
/// A contract's threshold of a qualified view, where it names none (rule 5), in milliseconds.
pub const VIEW_THRESHOLD_MS: u64 = 30_000;
/// How far a position may run ahead of the time watched, in milliseconds (rule 4).
const CONTENT_SLACK_MS: u64 = 2_000;

/// What is known of one session's watch time.
///
/// **Invariant:** it depends on nothing but the session's records, in log order, and the log's time at each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchTime {
    identity: Option<Identity>,
    phase: Phase,
    /// Where the newest counted heartbeat that said so was.
    territory: Territory,
    /// On what kind of device, as the newest start or counted heartbeat said that did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_class: Option<DeviceClass>,
    /// Where the first record was that said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    began_in: Option<Territory>,
    played: bool,
    watched_ms: u64,
    #[serde(default, skip_serializing_if = "Ranges::is_empty")]
    content: Ranges,
    /// How many facts were taken; `facts` begins behind them.
    #[serde(default)]
    facts_taken: usize,
    facts: Vec<Fact>,
}

/// A session has one device and one title, those of the first that was heard of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    device_id: DeviceId,
    title_id: TitleId,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    /// No heartbeat has counted yet.
    #[default]
    Waiting,
    /// Heartbeats count.
    Counting { began: Began, last: Counted },
    /// A stop was read: nothing counts any more.
    Stopped,
}

/// What rule 2 asks of the first counted heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Began {
    /// When it happened: the log's time less its age.
    at: Timestamp,
    elapsed_ms: u64,
}

/// The heartbeat that counted last: `a` in the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Counted {
    at: Timestamp,
    sequence: u64,
    accountable_ms: u64,
    position_ms: u64,
    state: PlayerState,
    rate_milli: u32,
    day: NaiveDate,
}

/// What counts after it, a heartbeat or a stop: `b` in the rules.
struct Next {
    at: Timestamp,
    age_ms: u64,
    elapsed_ms: u64,
    position_ms: Option<u64>,
    territory: Territory,
    device_class: Option<DeviceClass>,
}

impl Next {
    /// Rule 5: the UTC day on which it happened.
    fn day(&self) -> NaiveDate {
        self.at.minus_ms(self.age_ms).to_utc().date_naive()
    }
}

impl Began {
    /// Rule 2: a device can't report more time than passed, however it sends.
    fn accountable_ms(self, a: &Counted, b: &Next) -> u64 {
        let passed_ms = b.at.ms_since(self.at);
        let most_ms = self.elapsed_ms.saturating_add(passed_ms).saturating_add(TOLERANCE_MS);
        a.accountable_ms.max(b.elapsed_ms.min(most_ms))
    }
}

/// What was watched on one UTC day in one territory on one kind of device, without leaving it.
///
/// Who leaves a territory and comes back on the same day gets a fact of its own: so the running total at the start of
/// each says in which one any contract's threshold was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// The day, UTC.
    pub day: NaiveDate,
    /// Where.
    pub territory: Territory,
    /// On what.
    pub device_class: DeviceClass,
    /// The session's watched time before this fact, in milliseconds.
    pub before_ms: u64,
    /// Watched time (rule 3), in milliseconds.
    pub watched_ms: u64,
    /// The part of it that arrived late (rule 2), in milliseconds.
    pub aged_ms: u64,
    /// Content that the session had not seen before (rule 4), in milliseconds.
    pub content_ms: u64,
    /// Whether the session's play falls here (rule 5).
    pub played: bool,
    /// When something was watched, by log time: disjoint, ascending, half open (rule 6).
    pub intervals: Vec<(Timestamp, Timestamp)>,
}

impl Fact {
    /// Whether the session's watched time reached `threshold_ms` here (rule 5). A threshold of 0 is reached with the
    /// first millisecond: nothing watched is no view.
    #[must_use]
    pub fn qualifies(&self, threshold_ms: u64) -> bool {
        let threshold_ms = threshold_ms.max(1);
        self.before_ms < threshold_ms && threshold_ms <= self.before_ms.saturating_add(self.watched_ms)
    }
}

/// What one record added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Which fact grew, by its place among all of the session's; `None` where nothing did.
    pub fact: Option<usize>,
    /// Watched time, in milliseconds.
    pub watched_ms: u64,
    /// The part of it that arrived late, in milliseconds.
    pub aged_ms: u64,
    /// Content not seen before, in milliseconds.
    pub content_ms: u64,
    /// Whether the session's play fell on this record.
    pub played: bool,
}

impl WatchTime {
    /// Takes up the next record that names this session; `at` is the log's time there.
    pub fn apply(&mut self, event: &PlaybackEvent, at: Timestamp) -> Growth {
        match event {
            PlaybackEvent::Heartbeat(heartbeat) => self.heartbeat(heartbeat, at),
            PlaybackEvent::Stopped(stopped) => self.stopped(stopped, at),
            PlaybackEvent::Started(started) => {
                if self.is_of(&started.device_id, &started.title_id, started.territory) {
                    self.device_class = started.device_class.or(self.device_class);
                }
                Growth::default()
            }
            PlaybackEvent::Signal(signal) => {
                self.is_of(&signal.device_id, &signal.title_id, signal.territory);
                Growth::default()
            }
            // What an evicted player goes on to show is watched all the same (rule 1).
            PlaybackEvent::Evicted(_) => Growth::default(),
        }
    }

    /// Takes up a heartbeat.
    pub fn heartbeat(&mut self, event: &Heartbeat, at: Timestamp) -> Growth {
        // Rule 1: one whose device or title isn't its session's is ignored.
        if !self.is_of(&event.device_id, &event.title_id, event.territory) {
            return Growth::default();
        }
        let next = Next {
            at,
            age_ms: event.age_ms,
            elapsed_ms: event.elapsed_ms,
            position_ms: Some(event.position_ms),
            territory: event.territory.unwrap_or(self.territory),
            device_class: event.device_class.or(self.device_class),
        };
        let (began, accountable_ms, day, mut growth) = match self.phase {
            // Rule 1: after any stopped nothing counts.
            Phase::Stopped => return Growth::default(),
            Phase::Waiting => {
                let began = Began { at: at.minus_ms(event.age_ms), elapsed_ms: event.elapsed_ms };
                (began, event.elapsed_ms, next.day(), Growth::default())
            }
            Phase::Counting { began, last } => {
                // Rule 1: one that isn't above the last counted one, or too far above it, is ignored.
                if event.sequence <= last.sequence || event.sequence - last.sequence > SEQUENCE_JUMP_MAX {
                    return Growth::default();
                }
                let accountable_ms = began.accountable_ms(&last, &next);
                let day = next.day().max(last.day);
                (began, accountable_ms, day, self.grow(&last, &next, accountable_ms, day))
            }
        };
        // Rule 5: a play falls on the session's first `playing` heartbeat.
        if event.state == PlayerState::Playing && !self.played {
            self.played = true;
            growth.played = true;
            let newest = self.fact(day, &next);
            self.facts[newest].played = true;
            growth.fact = Some(self.facts_taken + newest);
        }
        (self.territory, self.device_class) = (next.territory, next.device_class);
        let last = Counted {
            at,
            sequence: event.sequence,
            accountable_ms,
            position_ms: event.position_ms,
            state: event.state,
            rate_milli: event.rate_milli,
            day,
        };
        self.phase = Phase::Counting { began, last };
        growth
    }

    /// Takes up a stop: the first one counts as a last heartbeat, if it says how much time had passed (rule 1).
    pub fn stopped(&mut self, event: &Stopped, at: Timestamp) -> Growth {
        let (Phase::Counting { began, last }, Some(elapsed_ms)) = (&self.phase, event.elapsed_ms) else {
            self.phase = Phase::Stopped;
            return Growth::default();
        };
        let (began, last) = (*began, *last);
        let next = Next {
            at,
            age_ms: 0,
            elapsed_ms,
            position_ms: event.position_ms,
            territory: self.territory,
            device_class: self.device_class,
        };
        self.phase = Phase::Stopped;
        self.grow(&last, &next, began.accountable_ms(&last, &next), next.day().max(last.day))
    }

    /// Rules 3, 4 and 6: what was watched from `a` to `b`, which falls on `day`.
    fn grow(&mut self, a: &Counted, b: &Next, accountable_ms: u64, day: NaiveDate) -> Growth {
        // Rule 3.
        let watched_ms = match a.state {
            PlayerState::Playing => (accountable_ms - a.accountable_ms).min(STEP_MS_MAX),
            PlayerState::Paused | PlayerState::Buffering | PlayerState::Seeking | PlayerState::Blocked => 0,
        };
        if watched_ms == 0 {
            return Growth::default();
        }
        // Rule 4.
        let seen = b.position_ms.filter(|position_ms| is_seen(a, *position_ms, watched_ms));
        let content_ms = seen.map_or(0, |position_ms| self.content.insert(a.position_ms, position_ms));
        // Rule 2: what arrived late is shown apart.
        let aged_ms = if b.age_ms >= AGED_MS { watched_ms } else { 0 };

        let newest = self.fact(day, b);
        self.watched_ms = self.watched_ms.saturating_add(watched_ms);
        let fact = &mut self.facts[newest];
        fact.watched_ms = fact.watched_ms.saturating_add(watched_ms);
        fact.aged_ms = fact.aged_ms.saturating_add(aged_ms);
        fact.content_ms = fact.content_ms.saturating_add(content_ms);
        // Rule 6: what follows without a gap is one interval; what was sent all at once takes no log time.
        match fact.intervals.last_mut() {
            Some((_, end)) if *end == a.at => *end = b.at,
            _ if a.at < b.at => fact.intervals.push((a.at, b.at)),
            _ => {}
        }
        Growth { fact: Some(self.facts_taken + newest), watched_ms, aged_ms, content_ms, played: false }
    }

    /// Where in `facts` the newest fact stands, which is of `day` and of where and on what `next` was.
    fn fact(&mut self, day: NaiveDate, next: &Next) -> usize {
        let (territory, device_class) = (next.territory, next.device_class.unwrap_or(DeviceClass::Other));
        let is_of = |fact: &Fact| fact.day == day && fact.territory == territory && fact.device_class == device_class;
        if !self.facts.last().is_some_and(is_of) {
            // Few sessions have a second one, and very many are kept in memory.
            self.facts.reserve_exact(1);
            self.facts.push(Fact {
                day,
                territory,
                device_class,
                before_ms: self.watched_ms,
                watched_ms: 0,
                aged_ms: 0,
                content_ms: 0,
                played: false,
                intervals: Vec::with_capacity(1),
            });
        }
        self.facts.len() - 1
    }

    /// Whether a record is of this session's device and title; the first one says which these are.
    fn is_of(&mut self, device_id: &DeviceId, title_id: &TitleId, territory: Option<Territory>) -> bool {
        let identity =
            self.identity.get_or_insert_with(|| Identity { device_id: device_id.clone(), title_id: title_id.clone() });
        let is_of = identity.device_id == *device_id && identity.title_id == *title_id;
        if is_of {
            self.began_in = self.began_in.or(territory);
        }
        is_of
    }

    /// Where the session began, as its first record said that did.
    #[must_use]
    pub fn began_in(&self) -> Territory {
        self.began_in.unwrap_or_default()
    }

    /// What was said of it beside its heartbeats' times: a record that changes nothing else may change this.
    #[must_use]
    pub const fn said(&self) -> (bool, Option<DeviceClass>, Option<Territory>) {
        (self.identity.is_some(), self.device_class, self.began_in)
    }

    /// The title, once anything but a stop was heard.
    #[must_use]
    pub fn title_id(&self) -> Option<&TitleId> {
        self.identity.as_ref().map(|identity| &identity.title_id)
    }

    /// What was watched, in the order in which it was counted; days ascend. Without what was
    /// [taken](Self::take_settled).
    #[must_use]
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// The place of the first of [`facts`](Self::facts) among all of the session's.
    #[must_use]
    pub const fn facts_taken(&self) -> usize {
        self.facts_taken
    }

    /// Takes the facts that nothing can change any more, all but the newest: so what is kept of a session to fold on
    /// from doesn't grow with its length.
    pub fn take_settled(&mut self) -> Vec<Fact> {
        let settled = self.facts.len().saturating_sub(1);
        self.facts_taken += settled;
        self.facts.drain(..settled).collect()
    }

    /// All watched time (rule 3), in milliseconds.
    #[must_use]
    pub const fn watched_ms(&self) -> u64 {
        self.watched_ms
    }

    /// The content seen (rule 4).
    #[must_use]
    pub const fn content(&self) -> &Ranges {
        &self.content
    }

    /// Puts the content seen in, and what was there out: for whoever keeps it beside the rest.
    pub const fn replace_content(&mut self, content: Ranges) -> Ranges {
        std::mem::replace(&mut self.content, content)
    }

    /// Lets go of memory that it doesn't use: many are kept, and most have grown all that they will.
    pub fn shrink_to_fit(&mut self) {
        self.facts.shrink_to_fit();
        self.facts.iter_mut().for_each(|fact| fact.intervals.shrink_to_fit());
    }

    /// Whether a stop was read, so that nothing more will count.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        matches!(self.phase, Phase::Stopped)
    }
}

/// Rule 4: whether from `a` to a position the title was shown and not jumped over, in `watched_ms`.
fn is_seen(a: &Counted, position_ms: u64, watched_ms: u64) -> bool {
    let Some(ahead_ms) = position_ms.checked_sub(a.position_ms).filter(|ahead_ms| *ahead_ms > 0) else { return false };
    let beyond_slack = u128::from(ahead_ms.saturating_sub(CONTENT_SLACK_MS));
    beyond_slack * 2_000 <= u128::from(watched_ms) * u128::from(a.rate_milli.max(1_000)) * 3
}
