//! Requests: what a body must say, and what is read out of it.
//!
//! Unknown fields are ignored; null for a field that may be absent means absent. A body that is wrong is
//! told everything that is wrong with it at once.

mod catalog;
mod clickstream;
mod end;
mod heartbeat;
mod policy;
mod signal;
mod start;
mod statement;

use pulsegate_domain::ids::{
    AccountId, ContentKind, DeviceClass, DeviceId, EvictedBy, PlayerState, SessionId, SignalKind, Territory, TitleId,
};
use pulsegate_domain::time::Timestamp;

pub use catalog::{parse_contract, parse_contract_end, parse_entitlement, parse_rights_holder, parse_title};
pub use clickstream::parse_clickstream_batch;
pub use end::{parse_evict, parse_stop};
pub use heartbeat::{parse_heartbeat, parse_heartbeat_batch};
pub use policy::parse_policy;
pub use signal::parse_signal_batch;
pub use start::parse_start;
pub use statement::{StatementRequest, parse_statement};

use crate::problems::FieldProblem;

/// The `code` of an item of a batch that can't be read.
pub const INVALID: &str = "invalid";

/// A heartbeat may be this old: 7 days, in milliseconds.
pub const AGE_MS_MAX: u64 = 604_800_000;

/// A player asks to play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartRequest {
    /// Whose stream.
    pub account_id: AccountId,
    /// Which viewing, where the player chose its id.
    pub session_id: Option<SessionId>,
    /// On which device.
    pub device_id: DeviceId,
    /// What kind of device, where said.
    pub device_class: Option<DeviceClass>,
    /// Of what.
    pub title_id: TitleId,
    /// Recorded or live, where said.
    pub content_kind: Option<ContentKind>,
    /// Where, where said.
    pub territory: Option<Territory>,
    /// Sessions of the account that shall make room; at most 32.
    pub evict: Vec<SessionId>,
}

/// A player says what it is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatRequest {
    /// Whose stream.
    pub account_id: AccountId,
    /// Which viewing.
    pub session_id: SessionId,
    /// On which device.
    pub device_id: DeviceId,
    /// What kind of device, where said.
    pub device_class: Option<DeviceClass>,
    /// Of what.
    pub title_id: TitleId,
    /// Recorded or live, where said.
    pub content_kind: Option<ContentKind>,
    /// Where, where said.
    pub territory: Option<Territory>,
    /// Counts the session's heartbeats from 0.
    pub sequence: u64,
    /// The device's monotonic clock since the session began, in milliseconds.
    pub elapsed_ms: u64,
    /// How long ago, by that clock, the heartbeat happened, in milliseconds.
    pub age_ms: u64,
    /// Where in the title the player stands, in milliseconds.
    pub position_ms: u64,
    /// What the player is doing.
    pub state: PlayerState,
    /// Speed of playback in thousandths.
    pub rate_milli: u32,
}

/// A player is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopRequest {
    /// Whose stream.
    pub account_id: AccountId,
    /// Which viewing.
    pub session_id: SessionId,
    /// The last heartbeat's number, where said.
    pub sequence: Option<u64>,
    /// The device's monotonic clock since the session began, in milliseconds, where said.
    pub elapsed_ms: Option<u64>,
    /// Where in the title the player stood, in milliseconds, where said.
    pub position_ms: Option<u64>,
}

/// Somebody ends a session from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvictRequest {
    /// Whose stream.
    pub account_id: AccountId,
    /// Which viewing.
    pub session_id: SessionId,
    /// By whom; an operator where nothing is said.
    pub by: EvictedBy,
}

/// A server saw a player.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalRequest {
    /// Whose stream.
    pub account_id: AccountId,
    /// Which viewing, where the server knows.
    pub session_id: Option<SessionId>,
    /// On which device.
    pub device_id: DeviceId,
    /// What kind of device, where said.
    pub device_class: Option<DeviceClass>,
    /// Of what.
    pub title_id: TitleId,
    /// Recorded or live, where said.
    pub content_kind: Option<ContentKind>,
    /// Where, where said.
    pub territory: Option<Territory>,
    /// What the server saw.
    pub kind: SignalKind,
}

/// Something that a person did in a front end.
#[derive(Clone, Debug)]
pub struct ClickstreamRequest {
    /// When, where said.
    pub occurred_at: Option<Timestamp>,
    /// What.
    pub recorded: pulsegate_domain::event::Recorded,
}

/// The items of a batch: those that can be read, and the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch<T> {
    /// What can be read, with its index in the batch.
    pub accepted: Vec<(usize, T)>,
    /// What can't.
    pub rejected: Vec<ItemError>,
}

impl<T> Batch<T> {
    /// How many items the batch had.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.accepted.len() + self.rejected.len()
    }

    /// Whether it had none, which no parsed batch has.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An item of a batch that can't be read; its code is [`INVALID`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemError {
    /// Its index in the batch.
    pub index: usize,
    /// Every problem in one line, with pointers relative to the item.
    pub detail: String,
    /// Every problem, with pointers relative to the item.
    pub problems: Vec<FieldProblem>,
    /// The account or visitor that it names, as it names it.
    pub key: Option<String>,
    /// The item as it was received.
    pub original: String,
}
