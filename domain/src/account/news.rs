//! What is news to whoever waits for a verdict, and what time alone will change.

use super::{Account, Session, Verdict};
use crate::ids::{ContentKind, DeviceClass, RightsHolderId, SessionId, Territory};
use crate::policy::PolicyRef;
use crate::time::Timestamp;

impl Verdict {
    /// What a player does with it, in a word: `allow`, `room` where it is blocked and asking now would get a slot, else
    /// the reason.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.reason {
            None => "allow",
            Some(_) if self.room => "room",
            Some(reason) => reason.as_str(),
        }
    }

    /// Whether it says something else than `other`. That time goes on, and that a session in the way was heard of
    /// again, is nothing else.
    #[must_use]
    pub fn says_other_than(&self, other: &Self) -> bool {
        let counted = |verdict: &Self| verdict.conflicts.iter().map(|conflict| conflict.session_id).collect::<Vec<_>>();
        let Self { decision, reason, policy, rule, max, in_use, conflicts: _, frees_in_ms: _, room, by } = self;
        (decision, reason, policy, rule, max, in_use, room, by)
            != (
                &other.decision,
                &other.reason,
                &other.policy,
                &other.rule,
                &other.max,
                &other.in_use,
                &other.room,
                &other.by,
            )
            || counted(self) != counted(other)
    }
}

/// What the verdicts of an account ask of one of its sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearing {
    session: SessionId,
    /// One that was forgotten may begin anew under its old id.
    started_at: Timestamp,
    lapses_at: Timestamp,
    device_class: DeviceClass,
    content_kind: ContentKind,
    territory: Territory,
    rights_holder: Option<RightsHolderId>,
    policy: Option<PolicyRef>,
}

impl Bearing {
    fn of(session: &Session) -> Self {
        Self {
            session: session.id,
            started_at: session.started_at,
            lapses_at: session.lapses_at(),
            device_class: session.device_class,
            content_kind: session.content_kind,
            territory: session.territory,
            rights_holder: session.rights_holder.clone(),
            policy: session.policy.clone(),
        }
    }

    /// The same, or alive for longer: who waits for its end looks again at the old one.
    fn is_renewed_by(&self, after: &Self) -> bool {
        self.lapses_at <= after.lapses_at && *self == Self { lapses_at: self.lapses_at, ..after.clone() }
    }
}

impl Account {
    /// What the account's verdicts rest on, as of its last record.
    #[must_use]
    pub fn bearings(&self) -> Vec<Bearing> {
        self.open.iter().map(Bearing::of).collect()
    }

    /// Whether a verdict may be another one than when the account had these bearings, beside what was
    /// [decided](super::Observe::decided) since.
    #[must_use]
    pub fn has_news_since(&self, before: &[Bearing]) -> bool {
        let is_known = |session: &Session| {
            let after = Bearing::of(session);
            before.iter().any(|known| known.is_renewed_by(&after))
        };
        before.len() != self.open.len() || !self.open.iter().all(is_known)
    }

    /// The first instant after `at` at which time alone may change a verdict, if nothing more is heard: a lease or a
    /// pause runs out, or a session expires.
    #[must_use]
    pub fn changes_by_itself_at(&self, at: Timestamp) -> Option<Timestamp> {
        let instants = self.open.iter().flat_map(|session| [session.lapses_at(), session.expires_at()]);
        instants.filter(|instant| *instant > at).min()
    }
}
