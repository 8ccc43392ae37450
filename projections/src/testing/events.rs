//! Events with everything said that must be, to be changed where a test cares: `Heartbeat { rate_milli: 2_000, ..heartbeat(…) }`.

use pulsegate_domain::event::{Heartbeat, Started, Stopped};
use pulsegate_domain::ids::{PlayerState, SessionId};
use pulsegate_domain::policy::Policy;
use pulsegate_domain::time::Timestamp;
use uuid::Uuid;

const TITLE: &str = "dune";

/// 2026-11-22T12:00:00Z, and so many seconds.
#[must_use]
pub const fn noon(plus_s: u64) -> Timestamp {
    Timestamp::from_millis(1_795_348_800_000).plus_ms(plus_s * 1_000)
}

/// The `number`th session.
///
/// # Panics
/// Never: no such id is nil.
#[must_use]
pub fn session(number: u32) -> SessionId {
    SessionId::new(Uuid::from_u128(u128::from(number) + 1)).expect("not nil")
}

/// A start of the title `dune` in Germany, on the device `tv`.
///
/// # Panics
/// If `account` is no id: this is for tests.
#[must_use]
pub fn started(account: &str, session: SessionId) -> Started {
    Started {
        account_id: account.parse().expect("an account's id"),
        session_id: session,
        device_id: "tv".parse().expect("an id"),
        device_class: None,
        title_id: TITLE.parse().expect("an id"),
        content_kind: None,
        territory: Some("DE".parse().expect("a territory")),
        rights_holder: None,
        policy: Policy::standard().reference(),
        evict: Vec::new(),
    }
}

/// The heartbeat of that number, 10 s after the one before; `dune` plays in Germany, on the device `tv`.
///
/// # Panics
/// If `account` is no id: this is for tests.
#[must_use]
pub fn heartbeat(account: &str, session: SessionId, sequence: u64) -> Heartbeat {
    Heartbeat {
        account_id: account.parse().expect("an account's id"),
        session_id: session,
        device_id: "tv".parse().expect("an id"),
        device_class: None,
        title_id: TITLE.parse().expect("an id"),
        content_kind: None,
        territory: Some("DE".parse().expect("a territory")),
        rights_holder: None,
        sequence,
        elapsed_ms: sequence * 10_000,
        age_ms: 0,
        position_ms: sequence * 10_000,
        state: PlayerState::Playing,
        rate_milli: 1_000,
        policy: Policy::standard().reference(),
    }
}

/// A stop that says nothing more.
///
/// # Panics
/// If `account` is no id: this is for tests.
#[must_use]
pub fn stopped(account: &str, session: SessionId) -> Stopped {
    Stopped {
        account_id: account.parse().expect("an account's id"),
        session_id: session,
        sequence: None,
        elapsed_ms: None,
        position_ms: None,
    }
}
