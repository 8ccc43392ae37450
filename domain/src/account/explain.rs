//! One account's fold told step by step: what was heard, what it did, and what each decision rested on.
//!
//! A fold keeps of a session what the rules ask. Which record of which sender that came from, only the log knows: so an
//! explanation is made by folding the account once more, and says nothing that the fold doesn't.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::{
    Account, Applied, Decision, Observe, Outcome, Place, PlacedEvent, Reason, Session, Standing, UnknownPolicy, Verdict,
};
use crate::event::PlaybackEvent;
use crate::ids::{DeviceClass, DeviceId, PlayerState, SessionId, SignalKind, TitleId};
use crate::policy::PolicySet;
use crate::time::Timestamp;

/// For how long after its end a session is shown, in milliseconds.
const ENDED_SHOWN_MS: u64 = 3_600_000;

/// What a record said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Said {
    /// A player asked to play.
    Started,
    /// A player said what it does.
    Heartbeat {
        /// What.
        state: PlayerState,
        /// Its number.
        sequence: u64,
        /// How long ago it was when it was sent, in milliseconds.
        late_ms: u64,
    },
    /// A player was done.
    Stopped,
    /// Somebody ended it from outside.
    Evicted,
    /// A server saw a player.
    Signal {
        /// What it saw.
        signal: SignalKind,
        /// Whether it named the session; else rule 5 gave it to one.
        named: bool,
    },
    /// Nothing was said for too long: no record, time alone.
    Silence,
}

impl Said {
    fn of(event: &PlaybackEvent) -> Self {
        match event {
            PlaybackEvent::Started(_) => Self::Started,
            PlaybackEvent::Heartbeat(event) => {
                Self::Heartbeat { state: event.state, sequence: event.sequence, late_ms: event.age_ms }
            }
            PlaybackEvent::Stopped(_) => Self::Stopped,
            PlaybackEvent::Evicted(_) => Self::Evicted,
            PlaybackEvent::Signal(event) => Self::Signal { signal: event.kind, named: event.session_id.is_some() },
        }
    }

    /// Whether it is told together with another one like it.
    fn is_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::Heartbeat { state, .. }, Self::Heartbeat { state: other, .. }) => state == other,
            (Self::Signal { signal, .. }, Self::Signal { signal: other, .. }) => signal == other,
            _ => false,
        }
    }
}

/// The newest sign of life of a session that was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Which session.
    pub session_id: SessionId,
    /// Its device.
    pub device_id: DeviceId,
    /// Its kind of device.
    pub device_class: DeviceClass,
    /// What it shows.
    pub title_id: TitleId,
    /// What was said.
    #[serde(flatten)]
    pub said: Said,
    /// Who took it in: the route or command that stands in the record.
    pub source: String,
    /// The record.
    pub offset: i64,
    /// The log's time there.
    pub at: Timestamp,
    /// How long before the decision that was, in milliseconds.
    pub age_ms: u64,
    /// Until when it kept the session alive.
    pub alive_until: Timestamp,
}

/// A decision with what each session that it counted rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedDecision {
    /// What was decided.
    #[serde(flatten)]
    pub decision: Decision,
    /// Its number among those of its record, from 0.
    pub ordinal: i32,
    /// The newest sign of life of each counted session, in the order in which they are counted.
    pub evidence: Vec<Evidence>,
}

/// What a record did, or several alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The record; for a silence the last one before it.
    pub offset: i64,
    /// The log's time there; for a silence when it had lasted too long.
    pub at: Timestamp,
    /// What was said.
    #[serde(flatten)]
    pub said: Said,
    /// Who took it in; empty for a silence.
    pub source: String,
    /// Of which session.
    pub session_id: SessionId,
    /// Its device, where known.
    pub device_id: Option<DeviceId>,
    /// Its title, where known.
    pub title_id: Option<TitleId>,
    /// What came of it.
    pub outcome: StepOutcome,
    /// The verdict on the session right after it.
    pub verdict: Option<Verdict>,
    /// Where the limit is reached, what each session in the way rests on, by rank.
    pub counted: Vec<Evidence>,
    /// What was decided at it.
    pub decisions: Vec<ExplainedDecision>,
    /// How many like it are told with it, itself among them: they changed nothing.
    pub count: u64,
    /// When the first of them was.
    pub since: Timestamp,
}

/// What came of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// It was taken up.
    TakenUp,
    /// A heartbeat out of sequence: it renewed the lease, nothing else.
    Stale,
    /// A heartbeat from too long ago to say anything about now.
    Aged,
    /// It names another device or title than its session's, and changed nothing.
    Mismatch,
    /// Its session had ended already.
    AlreadyEnded,
    /// A slot was lost by time alone.
    Lapsed,
}

impl From<Outcome> for StepOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::TakenUp => Self::TakenUp,
            Outcome::Stale => Self::Stale,
            Outcome::Aged => Self::Aged,
            Outcome::Mismatch => Self::Mismatch,
            Outcome::AlreadyEnded => Self::AlreadyEnded,
        }
    }
}

/// A session as it stood.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionThen {
    /// Which session.
    pub session_id: SessionId,
    /// Its device, where known.
    pub device_id: Option<DeviceId>,
    /// What it showed, where known.
    pub title_id: Option<TitleId>,
    /// May it run?
    pub verdict: Verdict,
    /// Its newest sign of life.
    pub evidence: Option<Evidence>,
}

/// An account's fold up to an instant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The instant.
    pub at: Timestamp,
    /// How many events of the account were folded.
    pub events: u64,
    /// When the first of them was.
    pub first_at: Option<Timestamp>,
    /// The sessions then: those that had not ended, and those that had in the hour before; oldest first.
    pub sessions: Vec<SessionThen>,
    /// The last steps, oldest first.
    pub steps: Vec<Step>,
    /// How many steps there were before them.
    pub steps_before: u64,
}

#[derive(Clone, Debug)]
struct Sign {
    said: Said,
    source: String,
    place: Place,
}

/// Folds one account and remembers how it came to what it says.
#[derive(Clone, Debug)]
pub struct Explainer {
    account: Account,
    signs: BTreeMap<SessionId, Sign>,
    steps: VecDeque<Step>,
    steps_max: usize,
    steps_before: u64,
    events: u64,
    first_at: Option<Timestamp>,
    last: Option<Place>,
}

struct Decisions(Vec<Decision>);

impl Observe for Decisions {
    fn decided(&mut self, decision: impl FnOnce() -> Decision) {
        self.0.push(decision());
    }
}

impl Explainer {
    /// An account of which nothing was heard; it keeps the last `steps_max` steps.
    #[must_use]
    pub const fn new(steps_max: usize) -> Self {
        Self {
            account: Account::from_nothing(),
            signs: BTreeMap::new(),
            steps: VecDeque::new(),
            steps_max,
            steps_before: 0,
            events: 0,
            first_at: None,
            last: None,
        }
    }

    /// Takes the next record of the account up.
    ///
    /// # Errors
    /// [`UnknownPolicy`] if the event's policy isn't known; nothing has changed then.
    pub fn apply(&mut self, placed: &PlacedEvent) -> Result<(), UnknownPolicy> {
        let PlacedEvent { id, source, event, place, policies } = placed;
        let (place, policies) = (*place, policies.as_ref());
        self.note_silence(place.at, policies);
        let before = self.account.clone();
        let mut decided = Decisions(Vec::new());
        let Applied { session, outcome } = self.account.apply(id, event, place, policies, &mut decided)?;
        self.events += 1;
        self.first_at.get_or_insert(place.at);
        self.last = Some(place);
        let said = Said::of(event);
        let is_sign =
            !matches!(said, Said::Stopped | Said::Evicted) && matches!(outcome, Outcome::TakenUp | Outcome::Stale);
        let decisions = decided.0.into_iter().zip(0..);
        let decisions = decisions.map(|(decision, ordinal)| self.explain(&before, decision, ordinal, place)).collect();
        if is_sign {
            self.signs.insert(session, Sign { said, source: source.clone(), place });
        }
        let about = self.account.open_session(session).or_else(|| before.open_session(session));
        let verdict = self.account.verdict(session, place.at, policies);
        let conflicts = verdict.iter().flat_map(|verdict| &verdict.conflicts);
        let in_the_way = conflicts.filter_map(|conflict| self.account.open_session(conflict.session_id));
        let counted = in_the_way.filter_map(|session| self.evidence(session, place.at)).collect();
        let step = Step {
            offset: place.offset,
            at: place.at,
            said,
            source: source.clone(),
            session_id: session,
            device_id: about.map(|session| session.device_id.clone()),
            title_id: about.map(|session| session.title_id.clone()),
            outcome: outcome.into(),
            verdict,
            counted,
            decisions,
            count: 1,
            since: place.at,
        };
        self.push(step);
        let account = &self.account;
        self.signs.retain(|session, _| account.session_state(*session).is_some());
        Ok(())
    }

    /// What the last record did.
    #[must_use]
    pub fn last_step(&self) -> Option<&Step> {
        self.steps.back()
    }

    /// How things stood at `at`, which isn't before the last record.
    #[must_use]
    pub fn explanation(mut self, at: Timestamp, policies: &PolicySet) -> Explanation {
        self.note_silence(at, policies);
        let open = self.account.open.iter().map(|session| (session.started_at, session.id));
        let ended = self.account.ended().iter().filter(|ended| at.ms_since(ended.ended_at) < ENDED_SHOWN_MS);
        let mut ids: Vec<_> = open.chain(ended.map(|ended| (ended.ended_at, ended.id))).collect();
        ids.sort_unstable();
        let sessions = ids
            .into_iter()
            .filter_map(|(_, id)| {
                let verdict = self.account.verdict(id, at, policies)?;
                let session = self.account.open_session(id);
                let ended = self.account.ended_session(id);
                Some(SessionThen {
                    session_id: id,
                    device_id: session
                        .map(|session| session.device_id.clone())
                        .or_else(|| ended.and_then(|ended| ended.device_id.clone())),
                    title_id: session.map(|session| session.title_id.clone()),
                    verdict,
                    evidence: session.and_then(|session| self.evidence(session, at)),
                })
            })
            .collect();
        Explanation {
            at,
            events: self.events,
            first_at: self.first_at,
            sessions,
            steps: self.steps.into(),
            steps_before: self.steps_before,
        }
    }

    /// The slots that were lost by time alone between the last record and `now`.
    fn note_silence(&mut self, now: Timestamp, policies: &PolicySet) {
        let Some(last) = self.last else { return };
        let mut lapsed: Vec<_> = self
            .account
            .open
            .iter()
            .filter(|session| matches!(session.standing, Standing::Holding { .. }))
            .map(|session| (session.lapses_at(), session.id))
            .filter(|(lapses_at, _)| last.at < *lapses_at && *lapses_at <= now)
            .collect();
        lapsed.sort_unstable();
        for (at, id) in lapsed {
            let Some(session) = self.account.open_session(id) else { continue };
            let step = Step {
                offset: last.offset,
                at,
                said: Said::Silence,
                source: String::new(),
                session_id: id,
                device_id: Some(session.device_id.clone()),
                title_id: Some(session.title_id.clone()),
                outcome: StepOutcome::Lapsed,
                verdict: self.account.verdict(id, at, policies),
                counted: Vec::new(),
                decisions: Vec::new(),
                count: 1,
                since: at,
            };
            self.push(step);
        }
    }

    fn explain(&self, before: &Account, decision: Decision, ordinal: i32, place: Place) -> ExplainedDecision {
        // What a start ends stood before it; what stands after it has not ended.
        let session = |id| self.account.open_session(id).or_else(|| before.open_session(id));
        let evidence = decision.counted.iter().filter_map(|id| self.evidence(session(*id)?, place.at)).collect();
        ExplainedDecision { decision, ordinal, evidence }
    }

    fn evidence(&self, session: &Session, at: Timestamp) -> Option<Evidence> {
        let Sign { said, source, place } = self.signs.get(&session.id)?;
        Some(Evidence {
            session_id: session.id,
            device_id: session.device_id.clone(),
            device_class: session.device_class,
            title_id: session.title_id.clone(),
            said: *said,
            source: source.clone(),
            offset: place.offset,
            at: place.at,
            age_ms: at.ms_since(place.at),
            alive_until: session.lapses_at(),
        })
    }

    /// Keeps a step; one that says what an earlier one said, with nothing but its like between, is told with it.
    fn push(&mut self, step: Step) {
        let is_quiet = |step: &Step| {
            step.decisions.is_empty() && matches!(step.said, Said::Heartbeat { .. } | Said::Signal { .. })
        };
        if is_quiet(&step) {
            let says_same = |known: &Step| match (&known.verdict, &step.verdict) {
                (Some(known), Some(now)) => known.word() == now.word(),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            let mut quiet = self.steps.iter().enumerate().rev().take_while(|(_, known)| is_quiet(known));
            let like = quiet.find(|(_, known)| {
                known.session_id == step.session_id
                    && known.outcome == step.outcome
                    && known.said.is_like(step.said)
                    && says_same(known)
            });
            if let Some((index, _)) = like
                && let Some(known) = self.steps.remove(index)
            {
                self.steps.push_back(Step { count: known.count + 1, since: known.since, ..step });
                return;
            }
        }
        if self.steps.len() == self.steps_max {
            self.steps.pop_front();
            self.steps_before += 1;
        }
        self.steps.push_back(step);
    }
}

impl Explanation {
    /// The last time that a session was told no or ended, at or before the instant; of `session`, or of any.
    #[must_use]
    pub fn last_no(&self, session: Option<SessionId>) -> Option<&Step> {
        let is_no = |step: &&Step| {
            let is_blocked = step.verdict.as_ref().is_some_and(|verdict| !verdict.allows());
            let is_meant = session.is_none_or(|id| id == step.session_id);
            let asked = matches!(step.verdict.as_ref().and_then(|verdict| verdict.reason), Some(Reason::LimitReached));
            is_meant && is_blocked && (asked || session.is_some())
        };
        self.steps.iter().rev().find(is_no)
    }
}
