//! One session of an account: open or ended, each with what the rules ask of it.

use serde::{Deserialize, Serialize};

use super::{EXPIRY_MS, MEMORY_MS, Place, SEQUENCE_JUMP_MAX, Said};
use crate::ids::{ContentKind, DeviceClass, DeviceId, RightsHolderId, SessionId, Territory, TitleId};
use crate::policy::{Policy, PolicyRef, Rule};
use crate::time::Timestamp;

/// A session that has not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    pub(super) id: SessionId,
    pub(super) device_id: DeviceId,
    pub(super) title_id: TitleId,
    pub(super) inferred: bool,
    pub(super) device_class: DeviceClass,
    pub(super) content_kind: ContentKind,
    pub(super) territory: Territory,
    pub(super) rights_holder: Option<RightsHolderId>,
    /// The policy of the newest sign of life that was taken up.
    pub(super) policy: Option<PolicyRef>,
    /// That policy's pause, kept here because every record of the account asks for it.
    pub(super) paused_hold_ms: u64,
    pub(super) started_at: Timestamp,
    pub(super) last_seen_at: Timestamp,
    pub(super) last_seen_offset: i64,
    /// The last record that was its own, also one that changed nothing else.
    pub(super) last_record_at: Timestamp,
    /// The end of the newest start's or heartbeat's lease.
    pub(super) talk_until: Option<Timestamp>,
    /// The latest end of the leases of the signals after that.
    pub(super) signal_until: Option<Timestamp>,
    pub(super) paused_since: Option<Timestamp>,
    pub(super) last_sequence: Option<u64>,
    pub(super) standing: Standing,
}

/// Where a session stands with its slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It never asked.
    NotAsked,
    /// It has a slot, ranked by the offset at which it was granted. Whether it is live, time tells.
    Holding {
        /// The granting event's offset.
        rank: i64,
    },
    /// Its last ask was refused.
    Refused(Box<Refusal>),
    /// It had a slot and fell silent, or was paused too long.
    Lost(Lapse),
}

/// A refused ask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// The rule that refused.
    pub rule: Rule,
    /// The sessions that it counted, in the order of their ids.
    pub counted: Vec<SessionId>,
}

/// What took a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lapse {
    /// No sign of life within the lease (rule 1).
    LeaseExpired,
    /// Paused for longer than the policy holds a slot (rule 2).
    PausedTooLong,
}

impl Session {
    pub(super) fn open(id: SessionId, device_id: DeviceId, title_id: TitleId, inferred: bool, place: Place) -> Self {
        Self {
            id,
            device_id,
            title_id,
            inferred,
            device_class: DeviceClass::Other,
            content_kind: ContentKind::Vod,
            territory: Territory::UNKNOWN,
            rights_holder: None,
            policy: None,
            paused_hold_ms: 0,
            started_at: place.at,
            last_seen_at: place.at,
            last_seen_offset: place.offset,
            last_record_at: place.at,
            talk_until: None,
            signal_until: None,
            paused_since: None,
            last_sequence: None,
            standing: Standing::NotAsked,
        }
    }

    /// The session's id.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// The device that it runs on.
    #[must_use]
    pub const fn device_id(&self) -> &DeviceId {
        &self.device_id
    }

    /// What kind of device that is.
    #[must_use]
    pub const fn device_class(&self) -> DeviceClass {
        self.device_class
    }

    /// The title that it shows.
    #[must_use]
    pub const fn title_id(&self) -> &TitleId {
        &self.title_id
    }

    /// Recorded or live.
    #[must_use]
    pub const fn content_kind(&self) -> ContentKind {
        self.content_kind
    }

    /// Where it is watched.
    #[must_use]
    pub const fn territory(&self) -> Territory {
        self.territory
    }

    /// Who owns the title, where somebody said.
    #[must_use]
    pub const fn rights_holder(&self) -> Option<&RightsHolderId> {
        self.rights_holder.as_ref()
    }

    /// Whether no player ever named it (rule 5).
    #[must_use]
    pub const fn inferred(&self) -> bool {
        self.inferred
    }

    /// The highest sequence taken up.
    #[must_use]
    pub const fn last_sequence(&self) -> Option<u64> {
        self.last_sequence
    }

    /// Its first sign of life.
    #[must_use]
    pub const fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Its newest sign of life.
    #[must_use]
    pub const fn last_seen_at(&self) -> Timestamp {
        self.last_seen_at
    }

    /// Since when it is paused, if it is.
    #[must_use]
    pub const fn paused_since(&self) -> Option<Timestamp> {
        self.paused_since
    }

    /// Where it stands with its slot, as of the account's last record.
    #[must_use]
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The end of its lease (rule 1): a player that talks is judged by its talk, a mute one by its
    /// signals.
    #[must_use]
    pub fn alive_until(&self) -> Timestamp {
        let end = |lease: Option<Timestamp>| lease.unwrap_or(Timestamp::MIN);
        end(self.talk_until).max(end(self.signal_until))
    }

    /// The first instant at which it is paused for too long (rule 2).
    fn pause_ends_at(&self) -> Option<Timestamp> {
        self.paused_since.map(|since| since.plus_ms(self.paused_hold_ms.saturating_add(1)))
    }

    /// The first instant at which it isn't live, if nothing more is heard.
    #[must_use]
    pub fn lapses_at(&self) -> Timestamp {
        let lease = self.alive_until();
        self.pause_ends_at().map_or(lease, |pause| pause.min(lease))
    }

    /// Whether it is live at `at` (rules 1 and 2).
    #[must_use]
    pub fn is_live(&self, at: Timestamp) -> bool {
        at < self.lapses_at()
    }

    /// Why it isn't live at `at`; what came first, if both.
    pub(super) fn lapse(&self, at: Timestamp) -> Option<Lapse> {
        (!self.is_live(at)).then(|| match self.pause_ends_at() {
            Some(pause) if pause < self.alive_until() => Lapse::PausedTooLong,
            _ => Lapse::LeaseExpired,
        })
    }

    pub(super) fn paused_too_long(&self, at: Timestamp) -> bool {
        self.pause_ends_at().is_some_and(|end| at >= end)
    }

    /// Whether it holds a slot, as of the account's last record.
    #[must_use]
    pub const fn holds_slot(&self) -> bool {
        matches!(self.standing, Standing::Holding { .. })
    }

    /// Whether it holds a slot and is live at `at`.
    #[must_use]
    pub fn holds_live_slot(&self, at: Timestamp) -> bool {
        self.holds_slot() && self.is_live(at)
    }

    /// The instant at which it ends as expired, if nothing more is heard (rule 3).
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.alive_until().plus_ms(EXPIRY_MS)
    }

    /// From when on nothing of it is remembered, if nothing more is heard: it has expired by then, and its
    /// last record is a day old (rule 3).
    #[must_use]
    pub fn forget_at(&self) -> Timestamp {
        self.last_record_at.plus_ms(MEMORY_MS).max(self.expires_at())
    }

    /// Whether a heartbeat of this sequence is stale (rule 4).
    #[must_use]
    pub fn is_stale(&self, sequence: u64) -> bool {
        self.last_sequence.is_some_and(|last| sequence <= last || sequence - last > SEQUENCE_JUMP_MAX)
    }

    pub(super) const fn rank(&self) -> Option<i64> {
        match self.standing {
            Standing::Holding { rank } => Some(rank),
            Standing::NotAsked | Standing::Refused(_) | Standing::Lost(_) => None,
        }
    }

    pub(super) const fn seen(&mut self, place: Place) {
        self.last_seen_at = place.at;
        self.last_seen_offset = place.offset;
    }

    pub(super) fn take_up(&mut self, said: &Said<'_>, policy: &Policy, place: Place) {
        self.seen(place);
        if let Some(class) = said.device_class {
            self.device_class = class;
        }
        if let Some(kind) = said.content_kind {
            self.content_kind = kind;
        }
        if let Some(territory) = said.territory {
            self.territory = territory;
        }
        if let Some(holder) = said.rights_holder
            && self.rights_holder.as_ref() != Some(holder)
        {
            self.rights_holder = Some(holder.clone());
        }
        let same =
            self.policy.as_ref().is_some_and(|own| own.version() == policy.version && *own.name() == policy.name);
        if !same {
            self.policy = Some(policy.reference());
            self.paused_hold_ms = policy.terms.paused_hold_ms;
        }
    }

    /// A start's or heartbeat's lease replaces every earlier one.
    pub(super) const fn talk(&mut self, until: Timestamp) {
        self.talk_until = Some(until);
        self.signal_until = None;
    }

    pub(super) fn signalled(&mut self, until: Timestamp) {
        self.signal_until = Some(self.signal_until.map_or(until, |known| known.max(until)));
    }
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Its player stopped.
    Stopped,
    /// An operator, its viewer or another start's `evict` ended it.
    Evicted,
    /// Its device went on to another session (rule 5).
    Replaced,
    /// A newer stream took its slot (rule 7).
    Displaced,
    /// Nothing was heard for an hour after its lease (rule 3).
    Expired,
}

/// Who took over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeover {
    /// The session that did.
    pub session_id: SessionId,
    /// Its device.
    pub device_id: DeviceId,
}

/// The end of a session.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) reason: EndReason,
    pub(super) at: Timestamp,
    pub(super) by: Option<Takeover>,
    pub(super) rule: Option<Rule>,
}

/// A session that has ended: it never holds a slot again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndedSession {
    pub(super) id: SessionId,
    /// Unknown where the end is all that was ever heard.
    pub(super) device_id: Option<DeviceId>,
    pub(super) policy: Option<PolicyRef>,
    pub(super) reason: EndReason,
    pub(super) ended_at: Timestamp,
    pub(super) by: Option<Box<Takeover>>,
    pub(super) last_seen_offset: i64,
    pub(super) last_record_at: Timestamp,
}

impl EndedSession {
    pub(super) fn from_open(session: &Session, end: &End) -> Self {
        Self {
            id: session.id,
            device_id: Some(session.device_id.clone()),
            policy: session.policy.clone(),
            reason: end.reason,
            ended_at: end.at,
            by: end.by.clone().map(Box::new),
            last_seen_offset: session.last_seen_offset,
            last_record_at: session.last_record_at,
        }
    }

    pub(super) const fn never_seen(id: SessionId, end: &End) -> Self {
        Self {
            id,
            device_id: None,
            policy: None,
            reason: end.reason,
            ended_at: end.at,
            by: None,
            last_seen_offset: i64::MIN,
            last_record_at: end.at,
        }
    }

    /// The session's id.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// How it ended.
    #[must_use]
    pub const fn reason(&self) -> EndReason {
        self.reason
    }

    /// When it ended.
    #[must_use]
    pub const fn ended_at(&self) -> Timestamp {
        self.ended_at
    }

    /// From when on it is not remembered (rule 3).
    #[must_use]
    pub const fn forget_at(&self) -> Timestamp {
        self.last_record_at.plus_ms(MEMORY_MS)
    }
}

/// A session as a read model keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum SessionState {
    /// Not ended.
    Open(Session),
    /// Ended.
    Ended(EndedSession),
}

impl SessionState {
    /// The session's id.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        match self {
            Self::Open(session) => session.id,
            Self::Ended(session) => session.id,
        }
    }

    /// From when on nothing of it need be kept.
    #[must_use]
    pub fn forget_at(&self) -> Timestamp {
        match self {
            Self::Open(session) => session.forget_at(),
            Self::Ended(session) => session.forget_at(),
        }
    }
}
