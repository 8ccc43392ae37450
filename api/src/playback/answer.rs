//! What a request is answered with, before it is HTTP.

use pulsegate_domain::account::{Outcome, Reason, Rejection, SessionView, Verdict};
use pulsegate_domain::contract::ContractRejection;
use pulsegate_domain::event::ContractRegistered;
use pulsegate_domain::ids::{AccountId, ContractId, SessionId};
use pulsegate_domain::policy::PolicyRef;
use pulsegate_projections::hot_view::{AsOf, Folded, Look, STALE_MS_MIN};
use pulsegate_write_side::AppendError;
use pulsegate_write_side::problems::FieldProblem;
use thiserror::Error;

/// As of where and when an answer is, and how far it can be trusted.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// The place in the log.
    pub as_of: AsOf,
    /// Answered from less than the whole log up to its own event.
    pub provisional: bool,
    /// How old the proof is that the view was at the end of the log; only from 3 000 ms on.
    pub stale_ms: Option<u64>,
}

impl Stamp {
    pub(super) fn of_look(look: &Look<'_>) -> Self {
        Self {
            as_of: look.as_of,
            provisional: !look.caught_up,
            stale_ms: Some(look.stale_ms).filter(|stale| *stale >= STALE_MS_MIN),
        }
    }
}

/// A session that got its slot.
#[derive(Clone, Debug)]
pub struct Started {
    /// Whose.
    pub account_id: AccountId,
    /// The session, its verdict within.
    pub session: SessionView,
    /// As of where.
    pub stamp: Stamp,
}

/// A verdict, or that there is none: the session is unknown.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Which session.
    pub session_id: Option<SessionId>,
    /// May it run?
    pub verdict: Option<Verdict>,
    /// As of where.
    pub stamp: Stamp,
}

/// The sessions of an account.
#[derive(Clone, Debug)]
pub struct AccountSessions {
    /// Whose.
    pub account_id: AccountId,
    /// The live and waiting ones, oldest first.
    pub sessions: Vec<SessionView>,
    /// As of where.
    pub stamp: Stamp,
}

/// A contract as it was registered, amended or ended.
#[derive(Clone, Debug)]
pub struct ContractVersion {
    /// What holds.
    pub contract: ContractRegistered,
    /// How often it was changed; `None` where others change it at the same time.
    pub version: Option<u32>,
}

/// Why a request isn't done. Each has one row in the table of problems.
#[derive(Clone, Debug, Error)]
pub enum CommandError {
    /// A start that was told no; its event stands in the log.
    #[error("{}", limit_reached(verdict))]
    Blocked {
        /// Which session.
        session_id: SessionId,
        /// Why.
        verdict: Verdict,
        /// As of where.
        stamp: Stamp,
    },
    /// The session has ended for ever.
    #[error("session {session_id} has ended: {}", reason(verdict))]
    Ended {
        /// Which session.
        session_id: SessionId,
        /// How.
        verdict: Verdict,
        /// As of where.
        stamp: Stamp,
    },
    /// The session runs on another device or shows another title.
    #[error("session {0} runs on another device or shows another title")]
    SessionMismatch(SessionId),
    /// An unknown session whose id was made more than 24 h ago.
    #[error("session {0} was made more than 24 h ago and is unknown; make a new one")]
    SessionTooOld(SessionId),
    /// A heartbeat's sequence is too far above the last one's.
    #[error("{0}")]
    SequenceJump(Rejection),
    /// There is no such session under this account.
    #[error("there is no such session under this account")]
    SessionUnknown,
    /// There is no such contract.
    #[error("there is no contract {0}")]
    ContractUnknown(ContractId),
    /// It was changed since it was looked at.
    #[error("{detail}")]
    VersionConflict {
        /// What there is instead.
        detail: String,
    },
    /// Well-formed, but wrong where the catalog is asked.
    #[error("{}", joined(.0))]
    Invalid(Vec<FieldProblem>),
    /// More is under way than this node takes.
    #[error("more is under way than this node takes; try again")]
    Overloaded,
    /// A part that the answer needs is away.
    #[error("{detail}")]
    Unavailable {
        /// What is away.
        detail: String,
    },
    /// The event is larger than the log takes.
    #[error("the event is larger than the log takes")]
    TooLarge,
}

fn reason(verdict: &Verdict) -> &'static str {
    verdict.reason.map_or("unknown", Reason::as_str)
}

fn limit_reached(verdict: &Verdict) -> String {
    match (&verdict.policy, verdict.rule, verdict.max, verdict.in_use) {
        (Some(policy), Some(rule), Some(max), Some(in_use)) => {
            format!("policy {policy} allows {max} at once in {rule}, and {in_use} are in use")
        }
        _ => format!("this session may not play: {}", reason(verdict)),
    }
}

fn joined(problems: &[FieldProblem]) -> String {
    let lines: Vec<_> = problems.iter().map(|problem| format!("{} {}", problem.pointer, problem.detail)).collect();
    lines.join("; ")
}

impl CommandError {
    /// The problem's code, for a program.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Blocked { .. } => "concurrency-limit-reached",
            Self::Ended { .. } => "session-ended",
            Self::SessionMismatch(_) => "session-mismatch",
            Self::SessionTooOld(_) => "session-too-old",
            Self::SequenceJump(_) => "sequence-jump",
            Self::SessionUnknown => "session-unknown",
            Self::ContractUnknown(_) => "entity-unknown",
            Self::VersionConflict { .. } => "version-conflict",
            Self::Invalid(_) => "invalid",
            Self::Overloaded => "overloaded",
            Self::Unavailable { .. } => "unavailable",
            Self::TooLarge => "too-large",
        }
    }

    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::Unavailable { detail: detail.into() }
    }

    pub(super) fn unknown_policy(policy: &PolicyRef) -> Self {
        Self::unavailable(format!("policy {policy} is not in the catalog"))
    }
}

impl From<Rejection> for CommandError {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::SessionMismatch(id) => Self::SessionMismatch(id),
            Rejection::SessionTooOld(id) => Self::SessionTooOld(id),
            Rejection::SequenceJump { .. } => Self::SequenceJump(rejection),
            // Answered with its verdict wherever there is one.
            Rejection::SessionEnded(_) => Self::SessionUnknown,
        }
    }
}

impl From<ContractRejection> for CommandError {
    fn from(rejection: ContractRejection) -> Self {
        let detail = rejection.to_string();
        match rejection {
            ContractRejection::Conflict { .. } => Self::VersionConflict { detail },
            ContractRejection::Unknown(id) => Self::ContractUnknown(id),
            ContractRejection::EndsBeforeItBegins { .. } => Self::Invalid(vec![FieldProblem::new("/last_day", detail)]),
            ContractRejection::TooManyVersions(_) => Self::Invalid(vec![FieldProblem::new("/contract_id", detail)]),
        }
    }
}

impl From<AppendError> for CommandError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::QueueFull => Self::Overloaded,
            AppendError::TooLarge => Self::TooLarge,
            other => Self::unavailable(other.to_string()),
        }
    }
}

/// The answer that the fold gave at an event's own offset.
pub(super) fn of_fold(folded: Folded) -> Result<(Answered, Option<SessionView>), CommandError> {
    let stamp = Stamp { as_of: folded.as_of, provisional: false, stale_ms: None };
    let session_id = folded.applied.map(|applied| applied.session);
    match folded.applied.map(|applied| applied.outcome) {
        None => Err(CommandError::unavailable("the event was appended and skipped by the fold")),
        Some(Outcome::Mismatch) => match session_id {
            Some(id) => Err(CommandError::SessionMismatch(id)),
            None => Err(CommandError::SessionUnknown),
        },
        Some(Outcome::TakenUp | Outcome::Stale | Outcome::Aged | Outcome::AlreadyEnded) => {
            Ok((Answered { session_id, verdict: folded.verdict, stamp }, folded.session))
        }
    }
}

/// An answer on a session that may have ended.
pub(super) fn open(answer: Answered) -> Result<Answered, CommandError> {
    match (answer.session_id, &answer.verdict) {
        (Some(session_id), Some(verdict)) if verdict.is_ended() => {
            Err(CommandError::Ended { session_id, verdict: verdict.clone(), stamp: answer.stamp })
        }
        _ => Ok(answer),
    }
}

/// The answer to a start.
pub(super) fn started(
    account_id: AccountId,
    session_id: SessionId,
    answer: Answered,
    session: Option<SessionView>,
) -> Result<Started, CommandError> {
    let answer = open(answer)?;
    match (answer.verdict, session) {
        (Some(verdict), Some(session)) if verdict.allows() => Ok(Started { account_id, session, stamp: answer.stamp }),
        (Some(verdict), _) => Err(CommandError::Blocked { session_id, verdict, stamp: answer.stamp }),
        (None, _) => Err(CommandError::SessionUnknown),
    }
}
