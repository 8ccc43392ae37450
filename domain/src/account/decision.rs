//! Decisions: what the fold decided where, for whoever asks later why.

use serde::{Deserialize, Serialize};

use super::session::{End, EndedSession, Session, Takeover};
use super::{Place, Reason};
use crate::ids::{DeviceClass, DeviceId, SessionId, TitleId};
use crate::policy::{PolicyRef, Rule, Scope};
use crate::time::Timestamp;

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionKind {
    /// A session got a slot.
    Grant,
    /// A session was told no: for the first time since it last was not, or because of others than before.
    Refuse,
    /// A session ended.
    End,
}

impl DecisionKind {
    /// The word as it stands in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Refuse => "refuse",
            Self::End => "end",
        }
    }
}

/// A grant, a refusal or an end, with what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What was decided.
    pub decision: DecisionKind,
    /// About which session.
    pub session_id: SessionId,
    /// Its device, where known.
    pub device_id: Option<DeviceId>,
    /// Its kind of device, where known.
    pub device_class: Option<DeviceClass>,
    /// Its title, where known.
    pub title_id: Option<TitleId>,
    /// Why not; `None` for a grant.
    pub reason: Option<Reason>,
    /// By which version of which policy, where one applied.
    pub policy: Option<PolicyRef>,
    /// The rule that refused or displaced; for a grant the one with the least room left.
    pub rule: Option<Scope>,
    /// That rule's limit.
    pub max: Option<u32>,
    /// The sessions that the rule counted, the asker not among them, by rank.
    pub counted: Vec<SessionId>,
    /// Who took over, for an end.
    pub by: Option<Takeover>,
    /// The offset of the record at which it was decided or noticed.
    pub offset: i64,
    /// The log's time there; for an expiry the instant of the end.
    pub at: Timestamp,
}

impl Decision {
    pub(super) fn ask(
        decision: DecisionKind,
        session: &Session,
        rule: Option<Rule>,
        counted: Vec<SessionId>,
        place: Place,
    ) -> Self {
        let reason = match decision {
            DecisionKind::Refuse => Some(Reason::LimitReached),
            DecisionKind::Grant | DecisionKind::End => None,
        };
        Self {
            decision,
            session_id: session.id,
            device_id: Some(session.device_id.clone()),
            device_class: Some(session.device_class),
            title_id: Some(session.title_id.clone()),
            reason,
            policy: session.policy.clone(),
            rule: rule.map(|rule| rule.scope),
            max: rule.map(|rule| rule.max),
            counted,
            by: None,
            offset: place.offset,
            at: place.at,
        }
    }

    pub(super) fn end(ended: &EndedSession, was: Option<&Session>, end: &End, place: Place) -> Self {
        Self {
            decision: DecisionKind::End,
            session_id: ended.id,
            device_id: ended.device_id.clone(),
            device_class: was.map(|session| session.device_class),
            title_id: was.map(|session| session.title_id.clone()),
            reason: Some(ended.reason.into()),
            policy: ended.policy.clone(),
            rule: end.rule.map(|rule| rule.scope),
            max: end.rule.map(|rule| rule.max),
            counted: Vec::new(),
            by: end.by.clone(),
            offset: place.offset,
            at: end.at,
        }
    }
}
