//! The playback topic: what players, servers and operators say about the streams of an account.

use serde::{Deserialize, Deserializer, Serialize};

use super::{Attributes, Envelope, Event, as_written, unknown_kind};
use crate::ids::{
    AccountId, ContentKind, DeviceClass, DeviceId, EvictedBy, PlayerState, RightsHolderId, SessionId, SignalKind,
    Territory, TitleId,
};
use crate::policy::PolicyRef;

pub(super) const STARTED: &str = "pulsegate.playback.started.v1";
pub(super) const HEARTBEAT: &str = "pulsegate.playback.heartbeat.v1";
pub(super) const STOPPED: &str = "pulsegate.playback.stopped.v1";
pub(super) const EVICTED: &str = "pulsegate.playback.evicted.v1";
pub(super) const SIGNAL: &str = "pulsegate.playback.signal.v1";

/// Something that was said about a stream; the record's key is its account.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum PlaybackEvent {
    /// A player asks to play.
    Started(Started),
    /// A player says what it is doing.
    Heartbeat(Heartbeat),
    /// A player is done.
    Stopped(Stopped),
    /// Somebody ended a session from outside.
    Evicted(Evicted),
    /// A server saw a player.
    Signal(Signal),
}

/// `started.v1`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// Whose stream.
    pub account_id: AccountId,
    /// Which viewing.
    pub session_id: SessionId,
    /// On which device.
    pub device_id: DeviceId,
    /// What kind of device; our writer always says.
    #[serde(default)]
    pub device_class: Option<DeviceClass>,
    /// Of what.
    pub title_id: TitleId,
    /// Recorded or live; our writer always says.
    #[serde(default)]
    pub content_kind: Option<ContentKind>,
    /// Where; our writer always says.
    #[serde(default)]
    pub territory: Option<Territory>,
    /// Who owns the title, where the catalog knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rights_holder: Option<RightsHolderId>,
    /// The rules in force when the event was accepted.
    pub policy: PolicyRef,
    /// Sessions of the account that end if this one gets its slot; at most 32.
    #[serde(default)]
    pub evict: Vec<SessionId>,
}

/// `heartbeat.v1`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Whose stream.
    pub account_id: AccountId,
    /// Which viewing.
    pub session_id: SessionId,
    /// On which device.
    pub device_id: DeviceId,
    /// What kind of device, where the player said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_class: Option<DeviceClass>,
    /// Of what.
    pub title_id: TitleId,
    /// Recorded or live, where somebody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_kind: Option<ContentKind>,
    /// Where; our writer always says.
    #[serde(default)]
    pub territory: Option<Territory>,
    /// Who owns the title, where the catalog knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rights_holder: Option<RightsHolderId>,
    /// Counts the session's heartbeats from 0.
    pub sequence: u64,
    /// The device's monotonic clock since the session began, in milliseconds.
    pub elapsed_ms: u64,
    /// How long ago, by that clock, the heartbeat happened, in milliseconds.
    #[serde(default)]
    pub age_ms: u64,
    /// Where in the title the player stands, in milliseconds.
    pub position_ms: u64,
    /// What the player is doing.
    pub state: PlayerState,
    /// Speed of playback in thousandths; 1 000 is as filmed.
    #[serde(default = "rate_as_filmed")]
    pub rate_milli: u32,
    /// The rules in force when the event was accepted.
    pub policy: PolicyRef,
}

const fn rate_as_filmed() -> u32 {
    1_000
}

/// `stopped.v1`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stopped {
    /// Whose stream.
    pub account_id: AccountId,
    /// Which viewing.
    pub session_id: SessionId,
    /// The last heartbeat's number, where the player said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The device's monotonic clock since the session began, in milliseconds, where the player said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
    /// Where in the title the player stood, in milliseconds, where the player said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position_ms: Option<u64>,
}

/// `evicted.v1`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evicted {
    /// Whose stream.
    pub account_id: AccountId,
    /// Which viewing.
    pub session_id: SessionId,
    /// By whom.
    pub by: EvictedBy,
}

/// `signal.v1`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// Whose stream.
    pub account_id: AccountId,
    /// Which viewing, where the server knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// On which device.
    pub device_id: DeviceId,
    /// What kind of device, where the server knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_class: Option<DeviceClass>,
    /// Of what.
    pub title_id: TitleId,
    /// Recorded or live, where somebody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_kind: Option<ContentKind>,
    /// Where; our writer always says.
    #[serde(default)]
    pub territory: Option<Territory>,
    /// Who owns the title, where the catalog knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rights_holder: Option<RightsHolderId>,
    /// What the server saw.
    pub kind: SignalKind,
    /// The rules in force when the event was accepted.
    pub policy: PolicyRef,
}

impl PlaybackEvent {
    /// Whose stream it is about: the key under which the record must stand.
    #[must_use]
    pub const fn account_id(&self) -> &AccountId {
        match self {
            Self::Started(event) => &event.account_id,
            Self::Heartbeat(event) => &event.account_id,
            Self::Stopped(event) => &event.account_id,
            Self::Evicted(event) => &event.account_id,
            Self::Signal(event) => &event.account_id,
        }
    }

    /// Which viewing it names; a signal may name none.
    #[must_use]
    pub const fn session_id(&self) -> Option<SessionId> {
        match self {
            Self::Started(event) => Some(event.session_id),
            Self::Heartbeat(event) => Some(event.session_id),
            Self::Stopped(event) => Some(event.session_id),
            Self::Evicted(event) => Some(event.session_id),
            Self::Signal(event) => event.session_id,
        }
    }

    /// The policy that was stamped into it; what ends a session carries none.
    #[must_use]
    pub const fn policy(&self) -> Option<&PolicyRef> {
        match self {
            Self::Started(event) => Some(&event.policy),
            Self::Heartbeat(event) => Some(&event.policy),
            Self::Signal(event) => Some(&event.policy),
            Self::Stopped(_) | Self::Evicted(_) => None,
        }
    }
}

impl Event for PlaybackEvent {
    fn kind(&self) -> &'static str {
        match self {
            Self::Started(_) => STARTED,
            Self::Heartbeat(_) => HEARTBEAT,
            Self::Stopped(_) => STOPPED,
            Self::Evicted(_) => EVICTED,
            Self::Signal(_) => SIGNAL,
        }
    }

    fn read_data<'de, D: Deserializer<'de>>(kind: &str, data: D) -> Result<Self, D::Error> {
        match kind {
            HEARTBEAT => Heartbeat::deserialize(data).map(Self::Heartbeat),
            STARTED => Started::deserialize(data).map(Self::Started),
            STOPPED => Stopped::deserialize(data).map(Self::Stopped),
            EVICTED => Evicted::deserialize(data).map(Self::Evicted),
            SIGNAL => Signal::deserialize(data).map(Self::Signal),
            other => Err(unknown_kind(other)),
        }
    }

    fn read_as_written(value: &[u8]) -> Option<Envelope<'_, Self>> {
        as_written::heartbeat(value)
    }

    fn write_as_written(&self, attributes: &Attributes<'_>) -> Option<Vec<u8>> {
        match self {
            Self::Heartbeat(heartbeat) => as_written::write_heartbeat(attributes, heartbeat),
            _ => None,
        }
    }
}
