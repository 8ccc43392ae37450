//! A player, with what it says of itself in each event.

use std::fmt::Debug;
use std::str::FromStr;

use pulsegate_domain::event::{Evicted, Heartbeat, PlaybackEvent, Signal, Started, Stopped};
use pulsegate_domain::ids::{
    AccountId, ContentKind, DeviceClass, DeviceId, EvictedBy, PlayerState, RightsHolderId, SessionId, SignalKind,
    Territory, TitleId,
};
use pulsegate_domain::policy::PolicyRef;
use uuid::Uuid;

/// Reads what a test wrote down, which is never wrong.
pub(crate) fn read<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("{text:?}: {error:?}"))
}

/// The `n`-th session of an account; each `n` is a version 7 UUID of its own.
pub(crate) fn session_id(n: u64) -> SessionId {
    SessionId::new(Uuid::from_u128(0x019a_b0c4_7e1a_7000_8000_0000_0000_0000 | u128::from(n))).unwrap()
}

#[derive(Clone, Debug)]
pub(crate) struct Player {
    pub(crate) account: AccountId,
    pub(crate) session: SessionId,
    pub(crate) device: DeviceId,
    pub(crate) title: TitleId,
    pub(crate) device_class: Option<DeviceClass>,
    pub(crate) content_kind: Option<ContentKind>,
    pub(crate) territory: Option<Territory>,
    pub(crate) rights_holder: Option<RightsHolderId>,
    pub(crate) policy: PolicyRef,
}

impl Player {
    /// A player that says no more than it must, under `standard@1`.
    pub(crate) fn new(account: &str, session: SessionId, device: &str, title: &str) -> Self {
        Self {
            account: read(account),
            session,
            device: read(device),
            title: read(title),
            device_class: None,
            content_kind: None,
            territory: None,
            rights_holder: None,
            policy: read("standard@1"),
        }
    }

    pub(crate) fn starts(&self, evict: Vec<SessionId>) -> PlaybackEvent {
        let Self { account, session, device, title, device_class, content_kind, territory, rights_holder, policy } =
            self.clone();
        PlaybackEvent::Started(Started {
            account_id: account,
            session_id: session,
            device_id: device,
            device_class,
            title_id: title,
            content_kind,
            territory,
            rights_holder,
            policy,
            evict,
        })
    }

    pub(crate) fn heartbeat(&self, state: PlayerState, sequence: u64, age_ms: u64) -> Heartbeat {
        let Self { account, session, device, title, device_class, content_kind, territory, rights_holder, policy } =
            self.clone();
        Heartbeat {
            account_id: account,
            session_id: session,
            device_id: device,
            device_class,
            title_id: title,
            content_kind,
            territory,
            rights_holder,
            sequence,
            elapsed_ms: sequence.saturating_mul(10_000),
            age_ms,
            position_ms: sequence.saturating_mul(10_000),
            state,
            rate_milli: 1_000,
            policy,
        }
    }

    pub(crate) fn beats(&self, state: PlayerState, sequence: u64, age_ms: u64) -> PlaybackEvent {
        PlaybackEvent::Heartbeat(self.heartbeat(state, sequence, age_ms))
    }

    pub(crate) fn stops(&self) -> PlaybackEvent {
        PlaybackEvent::Stopped(Stopped {
            account_id: self.account.clone(),
            session_id: self.session,
            sequence: None,
            elapsed_ms: None,
            position_ms: None,
        })
    }

    pub(crate) fn is_evicted(&self) -> PlaybackEvent {
        PlaybackEvent::Evicted(Evicted {
            account_id: self.account.clone(),
            session_id: self.session,
            by: EvictedBy::Operator,
        })
    }

    /// What a server says of this player; `named` if it knows the session.
    pub(crate) fn signals(&self, kind: SignalKind, named: bool) -> PlaybackEvent {
        let Self { account, session, device, title, device_class, content_kind, territory, rights_holder, policy } =
            self.clone();
        PlaybackEvent::Signal(Signal {
            account_id: account,
            session_id: named.then_some(session),
            device_id: device,
            device_class,
            title_id: title,
            content_kind,
            territory,
            rights_holder,
            kind,
            policy,
        })
    }
}
