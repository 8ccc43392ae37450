//! The provisional topic: what was answered from less than the whole log, so that it can be settled against it.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{Event, unknown_kind};
use crate::account::{Account, Reason, SessionState, VerdictDecision};
use crate::ids::{AccountId, SessionId};
use crate::time::Timestamp;

pub(super) const ANSWERED: &str = "pulsegate.provisional.answered.v1";

/// Something about an answer; the record's key is its account.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ProvisionalEvent {
    /// It was given.
    Answered(Answered),
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// A start.
    Start,
    /// A heartbeat.
    Heartbeat,
    /// A signal.
    Signal,
    /// A stop.
    Stop,
    /// An eviction.
    Evict,
    /// A check, which appends nothing.
    Check,
}

/// Why the answer is provisional.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// The node had just started and had not been at the end of the log yet.
    Starting,
    /// The node's view had not come to the event within the wait.
    ViewBehind,
    /// The account's partition was on its way to another node.
    PartitionMoving,
}

/// What was known of the account: the fold of every record before an offset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnownState {
    /// The offset behind the last record that it rests on.
    pub next_offset: i64,
    /// The partition's clock there.
    pub clock: Timestamp,
    /// The account's sessions, as the version of pulsegate kept them that wrote this.
    sessions: Vec<Value>,
}

impl KnownState {
    /// What is remembered of `account` before `next_offset`.
    #[must_use]
    pub fn of(account: &Account, next_offset: i64, clock: Timestamp) -> Self {
        let open = account.open().iter().cloned().map(SessionState::Open);
        let ended = account.ended().iter().cloned().map(SessionState::Ended);
        // A state is plain data: it always has a JSON form, as the read model relies on too.
        let sessions = open.chain(ended).filter_map(|state| serde_json::to_value(state).ok()).collect();
        Self { next_offset, clock, sessions }
    }

    /// The account; `None` where another version kept it in another form, and only the log itself can tell.
    #[must_use]
    pub fn account(&self) -> Option<Account> {
        let states = self.sessions.iter().map(SessionState::deserialize);
        states.collect::<Result<Vec<_>, _>>().ok().map(Account::from_sessions)
    }
}

/// `answered.v1`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// Whose stream.
    pub account_id: AccountId,
    /// Which viewing, where the answer names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// What was asked.
    pub question: Question,
    /// Why the answer is provisional.
    pub because: Because,
    /// The account's partition of `playback`.
    pub partition: i32,
    /// Where the question's own event stands; absent for a check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /// The instant that was answered for.
    pub at: Timestamp,
    /// What was answered.
    pub decision: VerdictDecision,
    /// Why not, where it was no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What the answer was made from; absent where nothing was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<KnownState>,
    /// The node that answered, by its address.
    pub node: String,
}

impl Event for ProvisionalEvent {
    fn kind(&self) -> &'static str {
        match self {
            Self::Answered(_) => ANSWERED,
        }
    }

    fn read_data<'de, D: Deserializer<'de>>(kind: &str, data: D) -> Result<Self, D::Error> {
        match kind {
            ANSWERED => Answered::deserialize(data).map(Self::Answered),
            other => Err(unknown_kind(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Place;
    use crate::event::{PlaybackEvent, Started};
    use crate::policy::PolicySet;

    #[test]
    fn what_was_known_is_the_account_again() {
        let policies = PolicySet::default();
        let started = PlaybackEvent::Started(Started {
            account_id: "a".parse().unwrap(),
            session_id: "019ab0c4-7e1a-7abc-8def-0123456789ab".parse().unwrap(),
            device_id: "tv".parse().unwrap(),
            device_class: None,
            title_id: "t".parse().unwrap(),
            content_kind: None,
            territory: None,
            rights_holder: None,
            policy: "standard@1".parse().unwrap(),
            evict: Vec::new(),
        });
        let mut account = Account::default();
        let place = Place { offset: 6, at: Timestamp::from_millis(1_000) };
        account.apply("e", &started, place, &policies, &mut ()).unwrap();
        let known = KnownState::of(&account, 7, place.at);
        let written = serde_json::to_string(&known).unwrap();
        assert_eq!(serde_json::from_str::<KnownState>(&written).unwrap().account(), Some(account));
    }

    #[test]
    fn a_form_of_another_version_is_nothing_known() {
        let other = r#"{"next_offset":7,"clock":"2026-11-22T20:47:03.120Z","sessions":[{"slot":3}]}"#;
        assert_eq!(serde_json::from_str::<KnownState>(other).unwrap().account(), None);
    }
}
