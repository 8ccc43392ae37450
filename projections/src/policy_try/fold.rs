//! One partition folded twice, and what the two folds say otherwise.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use pulsegate_domain::account::{Account, Decision, DecisionKind, Observe, Place, Reason, Standing, key_matches};
use pulsegate_domain::event::{self, PlaybackEvent};
use pulsegate_domain::ids::{AccountId, SessionId};
use pulsegate_domain::policy::PolicySet;
use pulsegate_domain::time::Timestamp;

use super::Question;
use super::report::{HOURS, STREAMS_MAX, Sessions};

/// After how much of the log's time what nobody remembers goes out of memory, in milliseconds.
const SWEEP_EVERY_MS: u64 = 3_600_000;
const HOUR_MS: i64 = 3_600_000;

/// What was decided of a session by either fold.
#[derive(Clone, Copy, Default)]
struct Marks(u8);

impl Marks {
    const NO_BEFORE: u8 = 1;
    const NO_AFTER: u8 = 2;
    const DISPLACED_BEFORE: u8 = 4;
    const DISPLACED_AFTER: u8 = 8;

    const fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }
}

#[derive(Default)]
struct Pair {
    before: Account,
    after: Account,
    /// The sessions of which something was decided that counts.
    marked: Vec<(SessionId, Marks)>,
}

/// What came of one account.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OfAccount {
    pub(super) told_no: Sessions,
    pub(super) displaced: Sessions,
    /// Most streams that it wanted at once.
    pub(super) peak: u32,
}

impl OfAccount {
    pub(super) const fn is_affected(&self) -> bool {
        self.told_no.added + self.told_no.removed + self.displaced.added + self.displaced.removed > 0
    }
}

/// One partition, folded twice.
pub(super) struct Fold {
    policies: Arc<PolicySet>,
    tried: Arc<PolicySet>,
    since: Timestamp,
    until: Option<Timestamp>,
    clock: Timestamp,
    swept_at: Timestamp,
    accounts: HashMap<AccountId, Pair, foldhash::fast::RandomState>,
    /// Of accounts that were heard of in the time that counts.
    pub(super) counted: HashMap<AccountId, OfAccount, foldhash::fast::RandomState>,
    /// Sessions by the hour of day at which they were first told no: before, after.
    pub(super) by_hour: [(u64, u64); HOURS],
    pub(super) records: u64,
    /// Records that count.
    pub(super) events: u64,
    pub(super) skipped: u64,
    pub(super) next_offset: i64,
}

impl Fold {
    pub(super) fn new(policies: &Arc<PolicySet>, tried: &Arc<PolicySet>, question: &Question) -> Self {
        Self {
            policies: Arc::clone(policies),
            tried: Arc::clone(tried),
            since: question.since,
            until: question.until,
            clock: Timestamp::MIN,
            swept_at: Timestamp::MIN,
            accounts: HashMap::default(),
            counted: HashMap::default(),
            by_hour: [(0, 0); HOURS],
            records: 0,
            events: 0,
            skipped: 0,
            next_offset: 0,
        }
    }

    /// Takes the next record up; `false` where it lies behind what counts.
    pub(super) fn record(&mut self, offset: i64, stamp: Timestamp, key: Option<&[u8]>, value: &[u8]) -> bool {
        let at = self.clock.max(stamp);
        if self.until.is_some_and(|until| at >= until) {
            return false;
        }
        self.clock = at;
        self.records += 1;
        self.next_offset = offset + 1;
        let Ok(envelope) = event::decode::<PlaybackEvent>(value) else {
            self.skipped += 1;
            return true;
        };
        if !key_matches(key, envelope.event.account_id()) {
            self.skipped += 1;
            return true;
        }
        self.event(&envelope.id, &envelope.event, Place { offset, at });
        if at.ms_since(self.swept_at) >= SWEEP_EVERY_MS {
            self.sweep();
        }
        true
    }

    fn event(&mut self, id: &str, event: &PlaybackEvent, place: Place) {
        let account_id = event.account_id();
        let pair = match self.accounts.get_mut(account_id) {
            Some(pair) => pair,
            None => self.accounts.entry(account_id.clone()).or_default(),
        };
        let counts = place.at >= self.since;
        let mut noted = Noted { counts, after: false, marked: &mut pair.marked, by_hour: &mut self.by_hour };
        let before = pair.before.apply(id, event, place, &self.policies, &mut noted);
        noted.after = true;
        let after = pair.after.apply(id, event, place, &self.tried, &mut noted);
        if before.is_err() || after.is_err() {
            self.skipped += 1;
            return;
        }
        if counts {
            self.events += 1;
            let wanted = wanted(&pair.before, place.at);
            match self.counted.get_mut(account_id) {
                Some(counted) => counted.peak = counted.peak.max(wanted),
                None => {
                    self.counted.insert(account_id.clone(), OfAccount { peak: wanted, ..OfAccount::default() });
                }
            }
        }
    }

    /// Forgets what neither fold remembers any more. What counts stays to the end of the partition: a session may come
    /// back when it is forgotten, and is one session all the same.
    fn sweep(&mut self) {
        self.swept_at = self.clock;
        let clock = self.clock;
        self.accounts.retain(|_, Pair { before, after, marked }| {
            before.forget(clock, &mut ());
            after.forget(clock, &mut ());
            !(before.is_empty() && after.is_empty() && marked.is_empty())
        });
    }

    /// Counts what was marked, at the end.
    pub(super) fn finish(&mut self) {
        for (id, pair) in mem::take(&mut self.accounts) {
            for (_, marks) in pair.marked {
                count(self.counted.entry(id.clone()).or_default(), marks);
            }
        }
    }

    /// How many accounts wanted so many streams at once at most; those that wanted more than the last count there.
    pub(super) fn peaks(&self) -> [u64; STREAMS_MAX + 1] {
        let mut peaks = [0; STREAMS_MAX + 1];
        for counted in self.counted.values() {
            peaks[(counted.peak as usize).min(STREAMS_MAX)] += 1;
        }
        peaks
    }
}

/// How many streams an account wants: those that run, and those that were told no and are still there.
fn wanted(account: &Account, at: Timestamp) -> u32 {
    let wants = |standing: &Standing| matches!(standing, Standing::Holding { .. } | Standing::Refused(_));
    let streams = account.open().iter().filter(|session| session.is_live(at) && wants(session.standing()));
    u32::try_from(streams.count()).unwrap_or(u32::MAX)
}

fn count(counted: &mut OfAccount, marks: Marks) {
    counted.told_no.count(marks.has(Marks::NO_BEFORE), marks.has(Marks::NO_AFTER));
    counted.displaced.count(marks.has(Marks::DISPLACED_BEFORE), marks.has(Marks::DISPLACED_AFTER));
}

/// Marks the sessions that a fold decides about.
struct Noted<'a> {
    counts: bool,
    /// The fold by the draft.
    after: bool,
    marked: &'a mut Vec<(SessionId, Marks)>,
    by_hour: &'a mut [(u64, u64); HOURS],
}

impl Observe for Noted<'_> {
    fn decided(&mut self, decision: impl FnOnce() -> Decision) {
        if !self.counts {
            return;
        }
        let decision = decision();
        let mark = match (decision.decision, decision.reason) {
            (DecisionKind::Refuse, _) if self.after => Marks::NO_AFTER,
            (DecisionKind::Refuse, _) => Marks::NO_BEFORE,
            (DecisionKind::End, Some(Reason::Displaced)) if self.after => Marks::DISPLACED_AFTER,
            (DecisionKind::End, Some(Reason::Displaced)) => Marks::DISPLACED_BEFORE,
            (DecisionKind::Grant | DecisionKind::End, _) => return,
        };
        let index = self.marked.iter().position(|(session, _)| *session == decision.session_id);
        let index = index.unwrap_or_else(|| {
            self.marked.push((decision.session_id, Marks::default()));
            self.marked.len() - 1
        });
        let marks = &mut self.marked[index].1;
        if decision.decision == DecisionKind::Refuse && !marks.has(mark) {
            let hour = decision.at.millis().div_euclid(HOUR_MS).rem_euclid(24);
            let of_hour = &mut self.by_hour[usize::try_from(hour).unwrap_or_default()];
            if self.after { of_hour.1 += 1 } else { of_hour.0 += 1 }
        }
        marks.0 |= mark;
    }
}
