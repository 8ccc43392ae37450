//! The fold that settles: each answer's account from what was known of it to the answer's own place. No I/O.

use std::collections::{BTreeMap, HashMap};

use pulsegate_domain::account::{Account, Place, Reason, Verdict, VerdictDecision, key_matches};
use pulsegate_domain::event::{self, Answered, PlaybackEvent};
use pulsegate_domain::ids::{AccountId, SessionId};
use pulsegate_domain::policy::PolicySet;
use pulsegate_domain::time::Timestamp;
use serde::Serialize;

/// How many records that nobody needs are read rather than a new place being sought.
const GAP_MAX: i64 = 20_000;

/// What the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Word {
    /// Yes or no.
    pub decision: VerdictDecision,
    /// Why not.
    pub reason: Option<Reason>,
    /// The session that the question's event belongs to by the log.
    #[serde(skip)]
    pub(crate) session_id: Option<SessionId>,
}

impl Word {
    fn of(session: SessionId, verdict: &Verdict) -> Self {
        Self { decision: verdict.decision, reason: verdict.reason, session_id: Some(session) }
    }
}

/// An answer that is to be settled.
pub(crate) struct Due {
    index: usize,
    partition: i32,
    account_id: AccountId,
    session_id: Option<SessionId>,
    /// Every record of the account before this offset is in `account`.
    from: i64,
    clock: Timestamp,
    account: Account,
    /// Its own event; `None` for a check.
    offset: Option<i64>,
    at: Timestamp,
    /// The fold has come to its place.
    settled: bool,
    /// What it said there.
    word: Option<Word>,
}

impl Due {
    pub(crate) fn of((index, answered): (usize, &Answered)) -> Self {
        // Where nothing was known, or another version wrote it, the log's beginning is what is known for sure.
        let known = answered.known.as_ref().and_then(|known| Some((known.account()?, known.next_offset, known.clock)));
        // A state from behind its own event would have it twice.
        let known = known.filter(|(_, next, _)| answered.offset.is_none_or(|offset| *next <= offset));
        let (account, from, clock) = known.unwrap_or((Account::default(), 0, Timestamp::MIN));
        Self {
            index,
            partition: answered.partition,
            account_id: answered.account_id.clone(),
            session_id: answered.session_id,
            from,
            clock,
            account,
            offset: answered.offset,
            at: answered.at,
            settled: false,
            word: None,
        }
    }

    fn settle(&mut self, at: Timestamp, policies: &PolicySet) {
        self.word = self.verdict_at(at, policies);
        self.settled = true;
    }

    fn verdict_at(&self, at: Timestamp, policies: &PolicySet) -> Option<Word> {
        let session = self.session_id?;
        self.account.verdict(session, at, policies).map(|verdict| Word::of(session, &verdict))
    }
}

/// Records that are read in one go, and what is settled by them.
pub(crate) struct Span {
    partition: i32,
    from: i64,
    /// The partition's clock: right at every record, because it was at the first.
    clock: Timestamp,
    by_account: HashMap<AccountId, Vec<Due>>,
    /// The checks that wait for the clock to pass their instant.
    checks: BTreeMap<Timestamp, usize>,
    open: usize,
}

impl Span {
    /// As few spans as there are without reading much that nobody needs.
    pub(crate) fn of_all(due: impl Iterator<Item = Due>) -> Vec<Self> {
        let mut all: Vec<_> = due.collect();
        all.sort_by_key(|due| (due.partition, due.from));
        let mut spans: Vec<(Self, i64)> = Vec::new();
        for due in all {
            // A check ends where the clock passes its instant: not far behind what was known.
            let to = due.offset.unwrap_or(due.from);
            match spans.last_mut() {
                Some((span, end)) if span.partition == due.partition && due.from <= end.saturating_add(GAP_MAX) => {
                    *end = to.max(*end);
                    span.add(due);
                }
                _ => spans.push((Self::starting(due), to)),
            }
        }
        spans.into_iter().map(|(span, _)| span).collect()
    }

    fn starting(due: Due) -> Self {
        let mut span = Self {
            partition: due.partition,
            from: due.from,
            clock: due.clock,
            by_account: HashMap::new(),
            checks: BTreeMap::new(),
            open: 0,
        };
        span.add(due);
        span
    }

    fn add(&mut self, due: Due) {
        self.open += 1;
        if due.offset.is_none() {
            *self.checks.entry(due.at).or_default() += 1;
        }
        self.by_account.entry(due.account_id.clone()).or_default().push(due);
    }

    pub(crate) const fn partition(&self) -> i32 {
        self.partition
    }

    pub(crate) const fn from(&self) -> i64 {
        self.from
    }

    pub(crate) const fn is_done(&self) -> bool {
        self.open == 0
    }

    /// Takes up the next record of the partition, of any account.
    pub(crate) fn take(
        &mut self,
        offset: i64,
        stamp: Timestamp,
        key: Option<&[u8]>,
        value: &[u8],
        policies: &PolicySet,
    ) {
        self.clock = self.clock.max(stamp);
        let place = Place { offset, at: self.clock };
        if self.checks.first_key_value().is_some_and(|(at, _)| *at < place.at) {
            self.settle_checks(place.at, policies);
        }
        let account = key.and_then(|key| std::str::from_utf8(key).ok()).and_then(|key| key.parse::<AccountId>().ok());
        let Some(due) = account.and_then(|account| self.by_account.get_mut(&account)) else { return };
        // What the fold passes over is passed over here.
        let envelope = event::decode::<PlaybackEvent>(value).ok();
        let envelope = envelope.filter(|envelope| key_matches(key, envelope.event.account_id()));
        for due in due.iter_mut().filter(|due| !due.settled && due.from <= offset) {
            let applied = envelope
                .as_ref()
                .and_then(|envelope| due.account.apply(&envelope.id, &envelope.event, place, policies, &mut ()).ok());
            if due.offset.is_some_and(|own| own <= offset) {
                let session = applied.map(|applied| applied.session).filter(|_| due.offset == Some(offset));
                due.session_id = session.or(due.session_id);
                due.settle(place.at, policies);
                self.open -= 1;
            }
        }
    }

    /// Settles the checks of instants that the clock has passed.
    fn settle_checks(&mut self, clock: Timestamp, policies: &PolicySet) {
        let due = self.by_account.values_mut().flatten();
        for due in due.filter(|due| !due.settled && due.offset.is_none() && due.at < clock) {
            due.settle(due.at, policies);
            self.open -= 1;
        }
        self.checks = self.checks.split_off(&clock);
    }

    /// At the log's end: the words, by each answer's index. A check of a later instant is settled by what there is.
    pub(crate) fn end(self, policies: &PolicySet) -> Vec<(usize, Option<Word>)> {
        let word = |mut due: Due| {
            if !due.settled && due.offset.is_none() {
                due.settle(due.at, policies);
            }
            (due.index, due.word)
        };
        self.by_account.into_values().flatten().map(word).collect()
    }
}

#[cfg(test)]
mod tests {
    use pulsegate_domain::event::{Attributes, Because, KnownState, Question, Started, encode};
    use uuid::Uuid;

    use super::*;

    fn session(n: u128) -> SessionId {
        SessionId::new(Uuid::from_u128(n)).unwrap()
    }

    fn start(account: &str, n: u128) -> PlaybackEvent {
        PlaybackEvent::Started(Started {
            account_id: account.parse().unwrap(),
            session_id: session(n),
            device_id: format!("d{n}").parse().unwrap(),
            device_class: None,
            title_id: "t".parse().unwrap(),
            content_kind: None,
            territory: None,
            rights_holder: None,
            policy: "standard@1".parse().unwrap(),
            evict: Vec::new(),
        })
    }

    /// A log of one partition: the second field is the stamp in seconds.
    fn log(events: &[(&str, i64, u128)]) -> Vec<(Timestamp, String, Vec<u8>)> {
        let record = |(account, seconds, n): &(&str, i64, u128)| {
            let attributes = Attributes {
                id: Uuid::from_u128(*n),
                source: "test",
                subject: "s",
                time: Timestamp::from_millis(0),
                partition_key: account,
            };
            let value = encode(&attributes, &start(account, *n));
            (Timestamp::from_millis(seconds * 1_000), (*account).to_owned(), value)
        };
        events.iter().map(record).collect()
    }

    fn answered(offset: Option<i64>, n: u128, at_s: i64, known: Option<KnownState>) -> Answered {
        Answered {
            account_id: "a".parse().unwrap(),
            session_id: Some(session(n)),
            question: if offset.is_some() { Question::Start } else { Question::Check },
            because: Because::PartitionMoving,
            partition: 0,
            offset,
            at: Timestamp::from_millis(at_s * 1_000),
            decision: VerdictDecision::Allow,
            reason: None,
            known,
            node: "a:1".to_owned(),
        }
    }

    fn settle(answers: &[Answered], log: &[(Timestamp, String, Vec<u8>)]) -> Vec<Option<VerdictDecision>> {
        let policies = PolicySet::default();
        let mut words = vec![None; answers.len()];
        for mut span in Span::of_all(answers.iter().enumerate().map(Due::of)) {
            for (offset, (stamp, key, value)) in (0..).zip(log) {
                if offset >= span.from() && !span.is_done() {
                    span.take(offset, *stamp, Some(key.as_bytes()), value, &policies);
                }
            }
            for (index, word) in span.end(&policies) {
                words[index] = word.map(|word| word.decision);
            }
        }
        words
    }

    const ALLOW: Option<VerdictDecision> = Some(VerdictDecision::Allow);
    const BLOCK: Option<VerdictDecision> = Some(VerdictDecision::Block);

    #[test]
    fn from_what_was_known_or_from_the_beginning_the_word_is_the_same() {
        let log = log(&[("a", 1, 1), ("b", 2, 9), ("a", 3, 2), ("a", 4, 3)]);
        let mut account = Account::default();
        let place = Place { offset: 0, at: Timestamp::from_millis(1_000) };
        account.apply("1", &start("a", 1), place, &PolicySet::default(), &mut ()).unwrap();
        let known = KnownState::of(&account, 1, place.at);
        let answers = [
            answered(Some(2), 2, 3, Some(known.clone())),
            answered(Some(3), 3, 4, Some(known)),
            answered(Some(3), 3, 4, None),
            answered(Some(2), 2, 3, None),
        ];
        assert_eq!(settle(&answers, &log), [ALLOW, BLOCK, BLOCK, ALLOW]);
    }

    #[test]
    fn a_state_from_behind_its_own_event_is_not_begun_from() {
        let log = log(&[("a", 1, 1), ("a", 2, 2), ("a", 3, 3)]);
        let late = KnownState::of(&Account::default(), 3, Timestamp::from_millis(3_000));
        assert_eq!(settle(&[answered(Some(2), 3, 3, Some(late))], &log), [BLOCK]);
    }

    #[test]
    fn a_check_is_settled_at_its_instant() {
        // Started at 1 s; nothing but another account moves the clock until its lease has ended.
        let log = log(&[("a", 1, 1), ("b", 20, 8), ("b", 60, 9)]);
        let checks = [answered(None, 1, 10, None), answered(None, 1, 50, None), answered(None, 7, 50, None)];
        assert_eq!(settle(&checks, &log), [ALLOW, BLOCK, None]);
        assert_eq!(settle(&[answered(None, 1, 100, None)], &log), [BLOCK], "later than the log's end");
    }

    #[test]
    fn incidents_far_apart_are_read_apart() {
        let known = |next| KnownState::of(&Account::default(), next, Timestamp::from_millis(0));
        let answers = [
            answered(Some(30), 1, 1, Some(known(10))),
            answered(Some(40), 1, 1, Some(known(20))),
            answered(Some(GAP_MAX + 100), 1, 1, Some(known(GAP_MAX + 90))),
        ];
        let spans = Span::of_all(answers.iter().enumerate().map(Due::of));
        assert_eq!(spans.iter().map(Span::from).collect::<Vec<_>>(), [10, GAP_MAX + 90]);
    }
}
