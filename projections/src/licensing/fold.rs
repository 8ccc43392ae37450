//! The fold of a batch: the domain's watch time, and the rows that a batch makes or changes.

use chrono::NaiveDate;
use pulsegate_domain::account::key_matches;
use pulsegate_domain::event::{self, PlaybackEvent};
use pulsegate_domain::ids::TitleId;
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::watch_time::{Fact, Ranges, WatchTime};

use super::packs::Noted;
use super::sessions::{InTables, Kept, Key, Sessions};
use crate::runner::{Batch, Poison, Record};
use crate::sinks::{Copy, Row, Staged};

/// The largest position that a player may send: beyond it not every JSON reader reads integers exactly.
const POSITION_MS_MAX: u64 = (1 << 53) - 1;

/// A playback event as read from a record.
#[derive(Clone, Debug)]
pub struct Playback(PlaybackEvent);

impl Playback {
    pub(super) fn read(record: &Record) -> Result<Self, Poison> {
        let value = record.value.as_deref().ok_or_else(|| Poison::skip("it has no value"))?;
        let event = event::decode::<PlaybackEvent>(value).map_err(Poison::skip)?.event;
        if !key_matches(record.key.as_deref(), event.account_id()) {
            return Err(Poison::skip(format_args!("its key is not its account, {}", event.account_id())));
        }
        let position_ms = match &event {
            PlaybackEvent::Heartbeat(heartbeat) => heartbeat.position_ms,
            PlaybackEvent::Stopped(stopped) => stopped.position_ms.unwrap_or(0),
            PlaybackEvent::Started(_) | PlaybackEvent::Evicted(_) | PlaybackEvent::Signal(_) => 0,
        };
        if position_ms > POSITION_MS_MAX {
            return Err(Poison::skip(format_args!("its position_ms, {position_ms}, is beyond 2^53-1")));
        }
        Ok(Self(event))
    }

    /// The session that it may change; `None` where it changes none: inferred sessions have no watch time, and what
    /// somebody showed on after an eviction was watched all the same.
    pub(super) fn key(&self) -> Option<Key> {
        match &self.0 {
            PlaybackEvent::Evicted(_) => None,
            event => Some(Key { session: event.session_id()?, account: event.account_id().clone() }),
        }
    }
}

/// What a batch changes in the tables, written as it goes there.
#[derive(Debug)]
pub struct Changes {
    /// The sessions whose rows are still to be written, each once, with the offset of the first record that named it.
    pub(super) touched: Vec<(i64, Key)>,
    /// Sessions and facts that weren't in the tables, in the order of the log.
    pub(super) new_sessions: Copy,
    pub(super) new_facts: Copy,
    /// Those that were.
    pub(super) changed_sessions: Staged,
    pub(super) changed_facts: Staged,
    /// Of which days and titles facts are new or changed.
    pub(super) noted: Noted,
}

impl Changes {
    pub(super) fn fold(batch: &Batch<Playback>, sessions: &mut Sessions) -> Self {
        let mut changes = Self::none();
        for placed in &batch.events {
            let Some(key) = placed.event.key() else { continue };
            // Every session of the batch was brought into memory before.
            let Some(kept) = sessions.get(&key) else { unreachable!("session {} was not loaded", key.session) };
            if kept.take_up(&placed.event.0, placed.place.at) && !kept.is_changed {
                kept.is_changed = true;
                changes.touched.push((kept.row.map_or(placed.place.offset, |row| row.first_offset), key));
            }
        }
        sessions.is_ahead |= !changes.touched.is_empty();
        changes
    }

    /// Writes the rows of the sessions that were touched, all of one partition.
    pub(super) fn settle(&mut self, partition: i32, sessions: &mut Sessions) {
        let mut touched = std::mem::take(&mut self.touched);
        // In the order of the primary keys, whose pages are then touched once each.
        touched.sort_unstable_by_key(|(first_offset, _)| *first_offset);
        for (first_offset, key) in &touched {
            if let Some(kept) = sessions.get(key) {
                self.write(partition, *first_offset, key, kept);
            }
        }
        sessions.is_ahead = false;
    }

    /// Takes what another partition changed, which are other rows, or whom the next batch touched.
    pub(super) fn append(&mut self, other: Self) {
        self.touched.extend(other.touched);
        self.new_sessions.append(other.new_sessions);
        self.new_facts.append(other.new_facts);
        self.changed_sessions.append(other.changed_sessions);
        self.changed_facts.append(other.changed_facts);
        self.noted.extend(other.noted);
    }

    /// Writes the rows of a session that was changed, and notes that they are in the tables from now on: if this batch
    /// isn't committed, memory is dropped.
    fn write(&mut self, partition: i32, first_offset: i64, key: &Key, kept: &mut Kept) {
        let in_tables = kept.row.map_or(0, |row| row.facts);
        let first_place = kept.watch.facts_taken();
        let settled = kept.watch.take_settled();
        let state = State::take(&mut kept.watch);
        let newest = kept.watch.facts().iter().map(|fact| (fact, Some(&state)));
        let facts = settled.iter().map(|fact| (fact, None)).chain(newest);
        for (place, (fact, state)) in (first_place..).zip(facts) {
            let Some(title) = kept.watch.title_id() else { unreachable!("who watched something watched a title") };
            let mut row = if place < in_tables { self.changed_facts.row() } else { self.new_facts.row() };
            row.int4(partition).int8(first_offset).int4(i32::try_from(place).unwrap_or(i32::MAX));
            // As the column has it.
            self.noted.push((fact.day.max(NaiveDate::default()), title.clone()));
            row.text(key.account.as_str()).text(title.as_str());
            write_fact(fact, &mut row);
            row.maybe(state, |row, state| row.int8multirange(state.seen()));
            row.maybe(state, |row, state| row.json(&state.json));
        }
        let stands = InTables::of(first_offset, &kept.watch);
        // What it takes to fold on stands here before there is a fact, and no longer after the first.
        if kept.row.is_none_or(|row| row.facts == 0 || row.said != stands.said) {
            let mut row = if kept.row.is_some() { self.changed_sessions.row() } else { self.new_sessions.row() };
            row.int4(partition).int8(first_offset).text(key.account.as_str()).uuid(key.session.uuid());
            row.text_or_null(kept.watch.title_id().map(TitleId::as_str)).text(kept.watch.began_in().as_str());
            row.maybe((stands.facts == 0).then_some(&state), |row, state| row.json(&state.json));
        }
        state.give_back(&mut kept.watch);
        kept.row = Some(stands);
        kept.is_changed = false;
    }
}

/// What it takes to fold a session on, as it goes into the tables.
struct State {
    /// The content seen has a column of its own.
    content: Ranges,
    json: String,
}

impl State {
    fn take(watch: &mut WatchTime) -> Self {
        let content = watch.replace_content(Ranges::default());
        let Ok(json) = serde_json::to_string(watch) else { unreachable!("a session is always JSON") };
        Self { content, json }
    }

    fn seen(&self) -> impl Iterator<Item = (i64, i64)> {
        self.content.as_slice().iter().map(|(start, end)| (column(*start), column(*end)))
    }

    fn give_back(self, watch: &mut WatchTime) {
        watch.replace_content(self.content);
    }
}

fn write_fact(fact: &Fact, row: &mut Row<'_>) {
    row.date(days(fact.day)).text(fact.territory.as_str()).text(fact.device_class.as_str());
    row.int8(column(fact.before_ms)).int8(column(fact.watched_ms)).int8(column(fact.aged_ms));
    row.int8(column(fact.content_ms)).bool(fact.played);
    row.int8multirange(fact.intervals.iter().map(|(from, to)| (from.millis(), to.millis())));
}

impl Kept {
    /// Takes up an event; `false` if it certainly changed nothing.
    fn take_up(&mut self, event: &PlaybackEvent, at: Timestamp) -> bool {
        let (said, was_stopped) = (self.watch.said(), self.watch.is_stopped());
        self.watch.apply(event, at);
        match event {
            PlaybackEvent::Heartbeat(_) => !was_stopped || said != self.watch.said(),
            PlaybackEvent::Started(_) | PlaybackEvent::Signal(_) => said != self.watch.said(),
            PlaybackEvent::Stopped(_) => !was_stopped,
            PlaybackEvent::Evicted(_) => false,
        }
    }
}

/// Days since the Unix epoch, from which on there are days: an absurd age puts a heartbeat before it.
fn days(day: NaiveDate) -> i32 {
    let days = day.signed_duration_since(NaiveDate::default()).num_days();
    i32::try_from(days).unwrap_or(i32::MAX).max(0)
}

fn column(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use pulsegate_domain::account::Place;
    use pulsegate_domain::event::{Heartbeat, Signal, Started, Stopped};
    use pulsegate_domain::ids::{PlayerState, SessionId, SignalKind, Territory};
    use pulsegate_domain::policy::Policy;
    use pulsegate_domain::topic::Topic;
    use uuid::Uuid;

    use super::*;
    use crate::runner::{Placed, Position, Source};

    /// What one session says: whose, what (a heartbeat mostly), after how long, how far on, and where.
    type Said = (u8, u8, u64, u64, bool);

    fn said() -> impl Strategy<Value = Said> {
        (0..4_u8, 0..12_u8, prop_oneof![4 => 0..30_000_u64, 1 => 0..40_000_000_u64], 0..30_000_u64, any::<bool>())
    }

    fn log(said: Vec<Said>) -> Vec<Placed<Playback>> {
        let (mut at, mut heard) = (Timestamp::from_millis(1_795_000_000_000), [0_u64; 4]);
        let event = |(offset, (who, what, after_ms, ahead_ms, abroad)): (i64, Said)| {
            at = at.plus_ms(after_ms);
            let number = &mut heard[usize::from(who)];
            *number += 1;
            let (account_id, session_id) =
                ("ada".parse().unwrap(), SessionId::new(Uuid::from_u128(1 + u128::from(who))).unwrap());
            let (device_id, title_id) =
                ("tv".parse().unwrap(), format!("title-{}", u8::from(what == 0)).parse().unwrap());
            let territory: Option<Territory> = Some(if abroad { "AT" } else { "DE" }.parse().unwrap());
            let (device_class, content_kind, rights_holder) = (None, None, None);
            let policy = Policy::standard().reference();
            let event = match what {
                9 => PlaybackEvent::Stopped(Stopped {
                    account_id,
                    session_id,
                    sequence: None,
                    elapsed_ms: abroad.then_some(*number * 10_000),
                    position_ms: None,
                }),
                10 => PlaybackEvent::Started(Started {
                    account_id,
                    session_id,
                    device_id,
                    device_class: Some("tv".parse().unwrap()),
                    title_id,
                    content_kind,
                    territory,
                    rights_holder,
                    policy,
                    evict: Vec::new(),
                }),
                11 => PlaybackEvent::Signal(Signal {
                    account_id,
                    session_id: abroad.then_some(session_id),
                    device_id,
                    device_class,
                    title_id,
                    content_kind,
                    territory,
                    rights_holder,
                    kind: SignalKind::ALL[0],
                    policy,
                }),
                _ => PlaybackEvent::Heartbeat(Heartbeat {
                    account_id,
                    session_id,
                    device_id,
                    device_class,
                    title_id,
                    content_kind,
                    territory,
                    rights_holder,
                    sequence: *number,
                    elapsed_ms: *number * 10_000,
                    age_ms: 0,
                    position_ms: *number * ahead_ms,
                    state: if what < 7 { PlayerState::Playing } else { PlayerState::Paused },
                    rate_milli: 1_000,
                    policy,
                }),
            };
            Placed { place: Place { offset, at }, event: Playback(event) }
        };
        (0..).zip(said).map(event).collect()
    }

    /// Folds batches into what one transaction changes.
    fn changed<'a>(batches: impl Iterator<Item = &'a [Placed<Playback>]>, sessions: &mut Sessions) -> String {
        let mut changes = Changes::none();
        for events in batches.filter(|events| !events.is_empty()) {
            let Place { offset, at } = events[events.len() - 1].place;
            let source = Source { topic: Topic::Playback, partition: 3 };
            let ends_at = Position { next_offset: offset + 1, clock: at };
            let batch = Batch { source, ends_at, events: events.to_vec() };
            let _ = sessions.missing(events.iter().filter_map(|placed| placed.event.key()), at);
            changes.append(Changes::fold(&batch, sessions));
        }
        changes.settle(3, sessions);
        // What isn't new or changed is told by the order of facts alone.
        changes.noted.sort_unstable();
        format!("{changes:?}")
    }

    proptest! {
        /// Batches that are gathered into one transaction write what one large batch does: each row once.
        #[test]
        fn what_is_gathered_is_what_one_batch_would_have_changed(
            before in vec(said(), 0..40), then in vec(said(), 1..80), sizes in vec(1..20_usize, 1..20),
        ) {
            let begins = before.len();
            let log = log([before, then].concat());
            let [mut gathering, mut at_once] = [Sessions::default(), Sessions::default()];
            for sessions in [&mut gathering, &mut at_once] {
                changed([&log[..begins]].into_iter(), sessions);
            }
            let mut rest = &log[begins..];
            let mut batches = Vec::new();
            for size in sizes {
                let (batch, after) = rest.split_at(size.min(rest.len()));
                batches.push(batch);
                rest = after;
            }
            batches.push(rest);
            let gathered = changed(batches.into_iter(), &mut gathering);
            prop_assert_eq!(gathered, changed([&log[begins..]].into_iter(), &mut at_once));
        }
    }
}
