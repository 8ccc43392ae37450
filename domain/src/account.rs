//! The account fold: which streams of an account may run, decided by the order of its log.
//!
//! A start is appended, and the answer is what this fold says at that event's own offset. Every reader
//! folds the same order, so any number of nodes give the same answer. The rules are numbered as in
//! `docs/slot-rules.md`.
//!
//! At every record of an account, in this order: what is forgotten goes, sessions that aren't live at
//! the record's time lose their slot, those silent for an hour end; the event's session is found, and
//! if it has ended, nothing more happens; its lease, state and territory are taken up; if it then
//! holds no slot, it may ask.

mod aggregate;
mod decision;
mod door;
pub mod explain;
mod news;
mod past;
mod session;
mod slots;
mod verdict;

use thiserror::Error;

use past::Past;

pub use aggregate::{AccountAggregate, Command, PlacedEvent};
pub use decision::{Decision, DecisionKind};
pub use door::{Rejection, check_at_door};
pub use news::Bearing;
pub use session::{EndReason, EndedSession, Lapse, Refusal, Session, SessionState, Standing, Takeover};
pub use verdict::{Conflict, Reason, SessionView, Verdict, VerdictDecision};

use crate::event::{Heartbeat, PlaybackEvent, Signal, Started};
use crate::ids::{
    AccountId, ContentKind, DeviceClass, DeviceId, PlayerState, RightsHolderId, SessionId, SignalKind, Territory,
    TitleId,
};
use crate::policy::{Policy, PolicyRef, PolicySet};
use crate::time::Timestamp;

/// A session whose lease ended this long ago has ended as `expired` (rule 3), in milliseconds.
pub const EXPIRY_MS: u64 = 3_600_000;
/// An ended session is forgotten this long after its last record (rule 3), in milliseconds.
pub const MEMORY_MS: u64 = 86_400_000;
/// A heartbeat further above the last one's sequence than this is stale (rule 4).
pub const SEQUENCE_JUMP_MAX: u64 = 100_000;
/// A signal within this time of its device's last session's end belongs to that session (rule 5), in milliseconds.
pub const AFTERGLOW_MS: u64 = 60_000;
/// Most sessions that one start may evict (rule 6).
pub const EVICT_MAX: usize = 32;

/// Where the fold stands: an offset of the account's partition and the log's time there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The record's offset.
    pub offset: i64,
    /// The largest timestamp at or before that offset in the partition, of any record.
    pub at: Timestamp,
}

/// An event names a policy that the set doesn't hold: it is to be skipped alone.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("policy {0} is not in the catalog")]
pub struct UnknownPolicy(pub PolicyRef);

/// What an event did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken up.
    TakenUp,
    /// A heartbeat out of sequence: it renewed the lease, nothing else (rule 4).
    Stale,
    /// A heartbeat from too long ago to say anything about now (rule 4).
    Aged,
    /// It names another device or title than its session's, and changed nothing.
    Mismatch,
    /// Its session had ended already.
    AlreadyEnded,
}

/// What an event did, and to which session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The event's session: the one it names, or the one that rule 5 gives it to.
    pub session: SessionId,
    /// What it did.
    pub outcome: Outcome,
}

/// Hears what a fold does; `()` hears nothing and costs nothing.
pub trait Observe {
    /// A grant, an end, or a refusal that says something new.
    fn decided(&mut self, _decision: impl FnOnce() -> Decision) {}
    /// The state of a session changed, or it is new.
    fn touched(&mut self, _session: SessionId) {}
    /// A session is no longer remembered.
    fn forgotten(&mut self, _session: SessionId) {}
}

impl Observe for () {}

/// Everything that is remembered of one account.
///
/// **Invariant:** the state depends on nothing but the account's records, their offsets and their
/// partition's clock. The order of the two lists carries no meaning.
#[derive(Clone, Debug, Default)]
pub struct Account {
    open: Vec<Session>,
    past: Past,
}

impl PartialEq for Account {
    fn eq(&self, other: &Self) -> bool {
        let sorted = |account: &Self| {
            let (mut open, mut ended) = (account.open.clone(), account.ended().to_vec());
            open.sort_by_key(Session::id);
            ended.sort_by_key(EndedSession::id);
            (open, ended)
        };
        sorted(self) == sorted(other)
    }
}

impl Account {
    /// The account of which nothing was heard.
    #[must_use]
    pub const fn from_nothing() -> Self {
        Self { open: Vec::new(), past: Past::nothing() }
    }

    /// The account of these sessions, as a read model kept them.
    pub fn from_sessions(sessions: impl IntoIterator<Item = SessionState>) -> Self {
        let mut account = Self::default();
        for session in sessions {
            match session {
                SessionState::Open(session) => push_exact(&mut account.open, session),
                SessionState::Ended(session) => account.past.add(session),
            }
        }
        account
    }

    /// The sessions that have not ended, as far as the fold has noticed.
    #[must_use]
    pub fn open(&self) -> &[Session] {
        &self.open
    }

    /// The sessions that have ended and are still remembered.
    #[must_use]
    pub fn ended(&self) -> &[EndedSession] {
        self.past.sessions()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.open.is_empty() && self.past.is_empty()
    }

    /// One session's state, as a read model keeps it.
    #[must_use]
    pub fn session_state(&self, id: SessionId) -> Option<SessionState> {
        self.open_session(id)
            .map(|session| SessionState::Open(session.clone()))
            .or_else(|| self.ended_session(id).map(|session| SessionState::Ended(session.clone())))
    }

    /// A session that has not ended, as far as the fold has noticed.
    #[must_use]
    pub fn open_session(&self, id: SessionId) -> Option<&Session> {
        self.open.iter().find(|session| session.id == id)
    }

    /// A session that has ended and is still remembered.
    #[must_use]
    pub fn ended_session(&self, id: SessionId) -> Option<&EndedSession> {
        self.ended().iter().find(|session| session.id == id)
    }

    /// Takes up the next record of the account.
    ///
    /// `event_id` is the id as it stands in the record: an inferred session's id is made of it.
    ///
    /// # Errors
    /// [`UnknownPolicy`] if `policies` lacks the event's policy; nothing has changed then.
    pub fn apply(
        &mut self,
        event_id: &str,
        event: &PlaybackEvent,
        place: Place,
        policies: &PolicySet,
        observer: &mut impl Observe,
    ) -> Result<Applied, UnknownPolicy> {
        let look_up = |reference: &PolicyRef| policies.get(reference).ok_or_else(|| UnknownPolicy(reference.clone()));
        Ok(match event {
            PlaybackEvent::Heartbeat(heartbeat) => {
                let policy = look_up(&heartbeat.policy)?;
                self.settle(place, observer);
                self.heartbeat(heartbeat, policy, place, observer)
            }
            PlaybackEvent::Started(started) => {
                let policy = look_up(&started.policy)?;
                self.settle(place, observer);
                self.started(started, policy, place, observer)
            }
            PlaybackEvent::Signal(signal) => {
                let policy = look_up(&signal.policy)?;
                self.settle(place, observer);
                self.signal(event_id, signal, policy, place, observer)
            }
            PlaybackEvent::Stopped(stopped) => {
                self.settle(place, observer);
                self.end_by_event(stopped.session_id, EndReason::Stopped, place, observer)
            }
            PlaybackEvent::Evicted(evicted) => {
                self.settle(place, observer);
                self.end_by_event(evicted.session_id, EndReason::Evicted, place, observer)
            }
        })
    }

    /// Forgets what is due to be forgotten at `now`, so that an idle account costs no memory. Changes no
    /// answer: readers and the fold pass over such sessions anyway.
    pub fn forget(&mut self, now: Timestamp, observer: &mut impl Observe) {
        self.past.forget(now, observer);
        self.open.retain(|session| {
            let keep = now < session.forget_at();
            if !keep {
                observer.forgotten(session.id);
            }
            keep
        });
    }

    /// What time alone has done since the account's last record (rules 1, 2 and 3).
    fn settle(&mut self, place: Place, observer: &mut impl Observe) {
        self.forget(place.at, observer);
        let mut expired = Vec::new();
        for session in &mut self.open {
            if let (Standing::Holding { .. }, Some(lapse)) = (&session.standing, session.lapse(place.at)) {
                session.standing = Standing::Lost(lapse);
                observer.touched(session.id);
            }
            if place.at >= session.expires_at() {
                expired.push((session.expires_at(), session.id));
            }
        }
        expired.sort_unstable();
        for (at, id) in expired {
            self.end(id, &session::End { reason: EndReason::Expired, at, by: None, rule: None }, place, observer);
        }
    }

    fn started(&mut self, event: &Started, policy: &Policy, place: Place, observer: &mut impl Observe) -> Applied {
        let said = Said {
            device_class: event.device_class,
            content_kind: event.content_kind,
            territory: event.territory,
            rights_holder: event.rights_holder.as_ref(),
        };
        let session = match self.find(event.session_id, &event.device_id, &event.title_id, place, observer) {
            Found::Open(session) => session,
            Found::Answered(applied) => return applied,
            Found::Unknown => self.open_new(event.session_id, &event.device_id, &event.title_id, false, place),
        };
        session.take_up(&said, policy, place);
        session.talk(place.at.plus_ms(policy.terms.leases_ms.started));
        session.paused_since = None;
        if !session.holds_slot() {
            self.ask(event.session_id, policy, place, &event.evict, observer);
        }
        observer.touched(event.session_id);
        Applied { session: event.session_id, outcome: Outcome::TakenUp }
    }

    fn heartbeat(&mut self, event: &Heartbeat, policy: &Policy, place: Place, observer: &mut impl Observe) -> Applied {
        let applied = |outcome| Applied { session: event.session_id, outcome };
        let lease = policy.terms.leases_ms.heartbeat;
        let aged = event.age_ms >= lease;
        let session = match self.find(event.session_id, &event.device_id, &event.title_id, place, observer) {
            Found::Open(session) => session,
            Found::Answered(answer) => return answer,
            Found::Unknown if aged => return applied(Outcome::Aged),
            Found::Unknown => self.open_new(event.session_id, &event.device_id, &event.title_id, false, place),
        };
        if aged {
            observer.touched(event.session_id);
            return applied(Outcome::Aged);
        }
        let stale = session.is_stale(event.sequence);
        session.talk(place.at.plus_ms(lease));
        session.seen(place);
        if stale {
            observer.touched(event.session_id);
            return applied(Outcome::Stale);
        }
        session.last_sequence = Some(event.sequence);
        let said = Said {
            device_class: event.device_class,
            content_kind: event.content_kind,
            territory: event.territory,
            rights_holder: event.rights_holder.as_ref(),
        };
        session.take_up(&said, policy, place);
        let asks = match event.state {
            PlayerState::Playing | PlayerState::Buffering | PlayerState::Seeking => {
                session.paused_since = None;
                true
            }
            PlayerState::Paused => {
                session.paused_since.get_or_insert(place.at);
                false
            }
            PlayerState::Blocked => false,
        };
        if asks && !session.holds_slot() {
            self.ask(event.session_id, policy, place, &[], observer);
        }
        observer.touched(event.session_id);
        applied(Outcome::TakenUp)
    }

    fn signal(
        &mut self,
        event_id: &str,
        event: &Signal,
        policy: &Policy,
        place: Place,
        observer: &mut impl Observe,
    ) -> Applied {
        let belongs = || self.session_of(&event.device_id, &event.title_id, event.kind, place.at);
        let id = match event.session_id.or_else(belongs) {
            Some(id) => id,
            None => SessionId::inferred(&event.account_id, &event.device_id, event_id),
        };
        if let Some(ended) = self.past.find_mut(id) {
            ended.last_record_at = place.at;
            observer.touched(id);
            return Applied { session: id, outcome: Outcome::AlreadyEnded };
        }
        let index = self.open.iter().position(|session| session.id == id);
        let session = match index {
            Some(index) => &mut self.open[index],
            None => self.open_new(id, &event.device_id, &event.title_id, event.session_id.is_none(), place),
        };
        let said = Said {
            device_class: event.device_class,
            content_kind: event.content_kind,
            territory: event.territory,
            rights_holder: event.rights_holder.as_ref(),
        };
        session.last_record_at = place.at;
        session.take_up(&said, policy, place);
        session.signalled(place.at.plus_ms(policy.terms.leases_ms.signal(event.kind)));
        if !session.holds_slot() && !session.paused_too_long(place.at) {
            self.ask(id, policy, place, &[], observer);
        }
        observer.touched(id);
        Applied { session: id, outcome: Outcome::TakenUp }
    }

    /// To which known session a signal without session id belongs (rule 5); `None`: it opens one.
    #[must_use]
    pub fn session_of(&self, device: &DeviceId, title: &TitleId, kind: SignalKind, at: Timestamp) -> Option<SessionId> {
        let of_device = |session: &&Session| session.device_id == *device;
        let open = self
            .open
            .iter()
            .filter(of_device)
            .filter(|session| session.title_id == *title || (session.is_live(at) && !session.inferred))
            .max_by_key(|session| session.last_seen_offset);
        if let Some(session) = open {
            return Some(session.id);
        }
        let newest_open = self.open.iter().filter(of_device).map(|session| session.last_seen_offset).max();
        let newest_ended = self
            .ended()
            .iter()
            .filter(|session| session.device_id.as_ref() == Some(device))
            .max_by_key(|session| session.last_seen_offset)?;
        let device_ended = newest_open.is_none_or(|offset| offset < newest_ended.last_seen_offset)
            && at.ms_since(newest_ended.ended_at) < AFTERGLOW_MS;
        let asks_anew = kind == SignalKind::DrmLicence && newest_ended.reason != EndReason::Evicted;
        (device_ended && !asks_anew).then_some(newest_ended.id)
    }

    /// A stop or an eviction: ends the session, also one that nobody has heard of, so that a late start
    /// doesn't revive it (rule 3).
    fn end_by_event(&mut self, id: SessionId, reason: EndReason, place: Place, observer: &mut impl Observe) -> Applied {
        if let Some(ended) = self.past.find_mut(id) {
            ended.last_record_at = place.at;
            observer.touched(id);
            return Applied { session: id, outcome: Outcome::AlreadyEnded };
        }
        let end = session::End { reason, at: place.at, by: None, rule: None };
        if let Some(session) = self.open.iter_mut().find(|session| session.id == id) {
            session.last_record_at = place.at;
            self.end(id, &end, place, observer);
        } else {
            let stub = EndedSession::never_seen(id, &end);
            observer.decided(|| Decision::end(&stub, None, &end, place));
            self.past.add(stub);
            observer.touched(id);
        }
        Applied { session: id, outcome: Outcome::TakenUp }
    }

    /// Ends an open session for ever.
    fn end(&mut self, id: SessionId, end: &session::End, place: Place, observer: &mut impl Observe) {
        let Some(index) = self.open.iter().position(|session| session.id == id) else { return };
        let session = self.open.swap_remove(index);
        let ended = EndedSession::from_open(&session, end);
        observer.decided(|| Decision::end(&ended, Some(&session), end, place));
        self.past.add(ended);
        observer.touched(id);
    }

    /// The session that a start or heartbeat names, unless that answers the event already.
    fn find(
        &mut self,
        id: SessionId,
        device: &DeviceId,
        title: &TitleId,
        place: Place,
        observer: &mut impl Observe,
    ) -> Found<'_> {
        if let Some(index) = self.open.iter().position(|session| session.id == id) {
            let session = &mut self.open[index];
            session.last_record_at = place.at;
            if session.device_id == *device && session.title_id == *title {
                return Found::Open(session);
            }
            observer.touched(id);
            return Found::Answered(Applied { session: id, outcome: Outcome::Mismatch });
        }
        if let Some(ended) = self.past.find_mut(id) {
            ended.last_record_at = place.at;
            observer.touched(id);
            return Found::Answered(Applied { session: id, outcome: Outcome::AlreadyEnded });
        }
        Found::Unknown
    }

    fn open_new(
        &mut self,
        id: SessionId,
        device: &DeviceId,
        title: &TitleId,
        inferred: bool,
        place: Place,
    ) -> &mut Session {
        let index = self.open.len();
        push_exact(&mut self.open, Session::open(id, device.clone(), title.clone(), inferred, place));
        &mut self.open[index]
    }
}

/// What a sign of life may say about its session; the newest that says one counts.
struct Said<'a> {
    device_class: Option<DeviceClass>,
    content_kind: Option<ContentKind>,
    territory: Option<Territory>,
    rights_holder: Option<&'a RightsHolderId>,
}

enum Found<'a> {
    Open(&'a mut Session),
    Answered(Applied),
    Unknown,
}

/// Most accounts have one session, so a vector's usual growth to four would cost more than it holds.
fn push_exact<T>(list: &mut Vec<T>, item: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(1 + list.len() / 4);
    }
    list.push(item);
}

/// Which account a record is of: its key must be the event's account.
#[must_use]
pub fn key_matches(key: Option<&[u8]>, account: &AccountId) -> bool {
    key == Some(account.as_str().as_bytes())
}
