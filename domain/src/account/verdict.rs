//! The verdict: may this session run, and if not, why not and until when (rule 8).

use serde::{Deserialize, Serialize};

use super::Account;
use super::session::{EndReason, EndedSession, Lapse, Session, Standing, Takeover};
use super::slots::Holders;
use crate::ids::{ContentKind, DeviceClass, DeviceId, RightsHolderId, SessionId, Territory, TitleId};
use crate::policy::{Policy, PolicyRef, PolicySet, RULES_MAX, Rule, Scope};
use crate::time::Timestamp;

/// May it run?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictDecision {
    /// It may.
    Allow,
    /// It must not.
    Block,
}

/// Why a session must not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A rule was full when it last asked.
    LimitReached,
    /// It was paused for longer than its policy holds a slot.
    PausedTooLong,
    /// Nothing was heard of it within its lease.
    LeaseExpired,
    /// It never asked.
    NotAsked,
    /// It stopped.
    Stopped,
    /// It was evicted.
    Evicted,
    /// Its device went on to another session.
    Replaced,
    /// A newer stream took its slot.
    Displaced,
    /// Nothing was heard of it for an hour after its lease.
    Expired,
}

impl Reason {
    /// Every reason.
    pub const ALL: &'static [Self] = &[
        Self::LimitReached,
        Self::PausedTooLong,
        Self::LeaseExpired,
        Self::NotAsked,
        Self::Stopped,
        Self::Evicted,
        Self::Replaced,
        Self::Displaced,
        Self::Expired,
    ];

    /// The word as it stands in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LimitReached => "limit_reached",
            Self::PausedTooLong => "paused_too_long",
            Self::LeaseExpired => "lease_expired",
            Self::NotAsked => "not_asked",
            Self::Stopped => "stopped",
            Self::Evicted => "evicted",
            Self::Replaced => "replaced",
            Self::Displaced => "displaced",
            Self::Expired => "expired",
        }
    }

    /// Whether it says that the session has ended for ever.
    #[must_use]
    pub const fn is_end(self) -> bool {
        match self {
            Self::Stopped | Self::Evicted | Self::Replaced | Self::Displaced | Self::Expired => true,
            Self::LimitReached | Self::PausedTooLong | Self::LeaseExpired | Self::NotAsked => false,
        }
    }
}

impl From<EndReason> for Reason {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::Stopped => Self::Stopped,
            EndReason::Evicted => Self::Evicted,
            EndReason::Replaced => Self::Replaced,
            EndReason::Displaced => Self::Displaced,
            EndReason::Expired => Self::Expired,
        }
    }
}

impl From<Lapse> for Reason {
    fn from(lapse: Lapse) -> Self {
        match lapse {
            Lapse::LeaseExpired => Self::LeaseExpired,
            Lapse::PausedTooLong => Self::PausedTooLong,
        }
    }
}

/// A session that stands in the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conflict {
    /// Which session.
    pub session_id: SessionId,
    /// Its device.
    pub device_id: DeviceId,
    /// Its kind of device.
    pub device_class: DeviceClass,
    /// What it shows.
    pub title_id: TitleId,
    /// Its first sign of life.
    pub started_at: Timestamp,
    /// Its newest sign of life.
    pub last_seen_at: Timestamp,
}

impl From<&Session> for Conflict {
    fn from(session: &Session) -> Self {
        Self {
            session_id: session.id,
            device_id: session.device_id.clone(),
            device_class: session.device_class,
            title_id: session.title_id.clone(),
            started_at: session.started_at,
            last_seen_at: session.last_seen_at,
        }
    }
}

/// The answer to "am I blocked?".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// May it run?
    pub decision: VerdictDecision,
    /// Why not; `None` on allow.
    pub reason: Option<Reason>,
    /// The policy by which it was judged; `None` where only the session's end was ever heard.
    pub policy: Option<PolicyRef>,
    /// The full rule; on allow the rule with the least room; `None` for an ended session.
    pub rule: Option<Scope>,
    /// That rule's limit.
    pub max: Option<u32>,
    /// The slots taken in that rule's scope, this session's own among them if it holds one.
    pub in_use: Option<u32>,
    /// On `limit_reached` the sessions that the rule counts, by rank.
    pub conflicts: Vec<Conflict>,
    /// In how many milliseconds an ask would succeed, if nothing more is heard of the others; 0 when there
    /// is room already, `None` if never.
    pub frees_in_ms: Option<u64>,
    /// Whether asking now would get a slot.
    pub room: bool,
    /// Who took over, for an ended session.
    pub by: Option<Takeover>,
}

impl Verdict {
    fn ended(reason: EndReason, policy: Option<PolicyRef>, by: Option<Takeover>) -> Self {
        Self {
            decision: VerdictDecision::Block,
            reason: Some(reason.into()),
            policy,
            rule: None,
            max: None,
            in_use: None,
            conflicts: Vec::new(),
            frees_in_ms: None,
            room: false,
            by,
        }
    }

    /// Whether the session may run.
    #[must_use]
    pub fn allows(&self) -> bool {
        self.decision == VerdictDecision::Allow
    }

    /// Whether the session has ended for ever.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.reason.is_some_and(Reason::is_end)
    }
}

/// A live or waiting session, with its verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionView {
    /// Which session.
    pub session_id: SessionId,
    /// Its device.
    pub device_id: DeviceId,
    /// Its kind of device.
    pub device_class: DeviceClass,
    /// What it shows.
    pub title_id: TitleId,
    /// Recorded or live.
    pub content_kind: ContentKind,
    /// Where.
    pub territory: Territory,
    /// Who owns the title, where known.
    pub rights_holder: Option<RightsHolderId>,
    /// Whether only servers spoke of it.
    pub inferred: bool,
    /// Its first sign of life.
    pub started_at: Timestamp,
    /// Its newest sign of life.
    pub last_seen_at: Timestamp,
    /// The end of its lease, if nothing more is heard.
    pub alive_until: Timestamp,
    /// Since when it is paused, if it is.
    pub paused_since: Option<Timestamp>,
    /// May it run?
    pub verdict: Verdict,
}

impl Account {
    /// The verdict on a session at `at`, which is not before the account's last record; `None` if the
    /// session is unknown or forgotten.
    #[must_use]
    pub fn verdict(&self, id: SessionId, at: Timestamp, policies: &PolicySet) -> Option<Verdict> {
        if let Some(session) = self.open_session(id) {
            return (at < session.forget_at()).then(|| self.verdict_on(session, at, policies));
        }
        let ended = self.ended_session(id)?;
        let EndedSession { reason, policy, by, .. } = ended;
        (at < ended.forget_at()).then(|| Verdict::ended(*reason, policy.clone(), by.as_deref().cloned()))
    }

    /// The sessions whose lease runs at `at`: those that hold a slot and those that wait for one, oldest
    /// first.
    #[must_use]
    pub fn sessions(&self, at: Timestamp, policies: &PolicySet) -> Vec<SessionView> {
        let mut sessions: Vec<_> = self.open.iter().filter(|session| at < session.alive_until()).collect();
        sessions.sort_unstable_by_key(|session| (session.started_at, session.id));
        sessions.into_iter().map(|session| self.view(session, at, policies)).collect()
    }

    /// One session that has not ended at `at`, with its verdict.
    #[must_use]
    pub fn session_view(&self, id: SessionId, at: Timestamp, policies: &PolicySet) -> Option<SessionView> {
        self.open_session(id)
            .filter(|session| at < session.expires_at())
            .map(|session| self.view(session, at, policies))
    }

    fn view(&self, session: &Session, at: Timestamp, policies: &PolicySet) -> SessionView {
        SessionView {
            session_id: session.id,
            device_id: session.device_id.clone(),
            device_class: session.device_class,
            title_id: session.title_id.clone(),
            content_kind: session.content_kind,
            territory: session.territory,
            rights_holder: session.rights_holder.clone(),
            inferred: session.inferred,
            started_at: session.started_at,
            last_seen_at: session.last_seen_at,
            alive_until: session.alive_until(),
            paused_since: session.paused_since,
            verdict: self.verdict_on(session, at, policies),
        }
    }

    fn verdict_on(&self, session: &Session, at: Timestamp, policies: &PolicySet) -> Verdict {
        if at >= session.expires_at() {
            return Verdict::ended(EndReason::Expired, session.policy.clone(), None);
        }
        let Some(policy) = session.policy.as_ref().and_then(|reference| policies.get(reference)) else {
            return Self::without_catalog(session, at);
        };
        if session.holds_live_slot(at) { self.allow(session, policy, at) } else { self.block(session, policy, at) }
    }

    /// The fold skips an event whose policy it doesn't know, so this is a reader whose catalog is cold:
    /// who holds a slot goes on, and no rule can be named.
    fn without_catalog(session: &Session, at: Timestamp) -> Verdict {
        let holds = session.holds_live_slot(at);
        Verdict {
            decision: if holds { VerdictDecision::Allow } else { VerdictDecision::Block },
            reason: (!holds).then(|| session.reason_to_block(at)),
            policy: session.policy.clone(),
            rule: None,
            max: None,
            in_use: None,
            conflicts: Vec::new(),
            frees_in_ms: holds.then_some(0),
            room: holds,
            by: None,
        }
    }

    fn allow(&self, session: &Session, policy: &Policy, at: Timestamp) -> Verdict {
        // Every check of a session that plays comes here: the sessions are walked once for many rules, and nothing is
        // allocated.
        let in_use = |rules: &[Rule]| {
            let mut in_use = [0_u32; RULES_MAX];
            for other in self.open.iter().filter(|other| other.holds_live_slot(at)) {
                for (count, rule) in in_use.iter_mut().zip(rules) {
                    *count += u32::from(rule.counts(session, other));
                }
            }
            in_use
        };
        let tightest = policy
            .terms
            .rules
            .chunks(RULES_MAX)
            .flat_map(|rules| rules.iter().zip(in_use(rules)))
            .filter(|(rule, _)| rule.limits(session))
            .min_by_key(|(rule, in_use)| i64::from(rule.max) - i64::from(*in_use));
        Verdict {
            decision: VerdictDecision::Allow,
            reason: None,
            policy: session.policy.clone(),
            rule: tightest.map(|(rule, _)| rule.scope),
            max: tightest.map(|(rule, _)| rule.max),
            in_use: tightest.map(|(_, in_use)| in_use),
            conflicts: Vec::new(),
            frees_in_ms: Some(0),
            room: true,
            by: None,
        }
    }

    fn block(&self, session: &Session, policy: &Policy, at: Timestamp) -> Verdict {
        let holders = Holders::met_by(self, session, policy, at);
        let refusing = holders.refusing(policy, session);
        let reason = session.reason_to_block(at);
        let refused_before = match &session.standing {
            // A version that came after the refusal may not have that rule any more.
            Standing::Refused(refusal) => Some(refusal.rule).filter(|rule| policy.terms.rules.contains(rule)),
            Standing::NotAsked | Standing::Holding { .. } | Standing::Lost(_) => None,
        };
        let rule = refusing.or(refused_before).or_else(|| holders.tightest(policy, session));
        let counted: Vec<_> = rule.iter().flat_map(|rule| holders.counted(rule, session).collect::<Vec<_>>()).collect();
        Verdict {
            decision: VerdictDecision::Block,
            reason: Some(reason),
            policy: session.policy.clone(),
            rule: rule.map(|rule| rule.scope),
            max: rule.map(|rule| rule.max),
            in_use: rule.map(|_| u32::try_from(counted.len()).unwrap_or(u32::MAX)),
            conflicts: if reason == Reason::LimitReached {
                counted.into_iter().map(Conflict::from).collect()
            } else {
                Vec::new()
            },
            frees_in_ms: frees_in_ms(&holders, session, policy, at),
            room: refusing.is_none(),
            by: None,
        }
    }
}

impl Session {
    /// Why a session that has not ended and holds no live slot must not run.
    fn reason_to_block(&self, at: Timestamp) -> Reason {
        match &self.standing {
            Standing::Refused(_) => Reason::LimitReached,
            Standing::Lost(lapse) => (*lapse).into(),
            Standing::NotAsked => Reason::NotAsked,
            // Its slot has lapsed, which the fold notices at the account's next record.
            Standing::Holding { .. } => self.lapse(at).unwrap_or(Lapse::LeaseExpired).into(),
        }
    }
}

/// The first instant, from `at` on, at which an ask of `session` would succeed because leases and pauses
/// of `holders` run out; in milliseconds from `at`.
///
/// A full rule has room once so many of those that it counts have lapsed that one more fits in; the last of the rules
/// to have room decides.
fn frees_in_ms(holders: &Holders<'_>, session: &Session, policy: &Policy, at: Timestamp) -> Option<u64> {
    let full = policy.terms.rules.iter().filter(|rule| holders.are_refusing(**rule, session));
    full.map(|rule| {
        let mut lapses: Vec<_> = holders.counted(rule, session).map(Session::lapses_at).collect();
        let last = lapses.len().checked_sub(rule.max as usize).filter(|last| *last < lapses.len())?;
        let (_, instant, _) = lapses.select_nth_unstable(last);
        Some(instant.ms_since(at))
    })
    .try_fold(0, |latest, frees| Some(latest.max(frees?)))
}
