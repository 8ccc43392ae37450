//! What a household can see of the limit, and whether it was kept.
//!
//! Answers say as of which offset they are, and all events of an account are in one partition: so they are
//! put in order by the log and not by anybody's clock. A session is taken to have held its slot between two
//! allows only if a sign of life in between kept its lease, with room to spare. What is provisional or
//! stale proves nothing, and no doubt is ever counted as a violation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use pulsegate_domain::account::{Reason, Verdict};
use pulsegate_domain::ids::SessionId;
use pulsegate_domain::policy::Scope;
use pulsegate_domain::time::Timestamp;

use super::client::AsOf;
use super::household::Limit;

/// What a lease is shortened by before it proves anything: clocks of nodes, and answers on their way.
const LEASE_SLACK_MS: u64 = 8_000;
/// Sessions that are remembered of a household.
const SESSIONS_MAX: usize = 512;
/// Holds that are remembered of a session.
const HOLDS_MAX: usize = 32;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A start: judged right at its own event.
    Start,
    /// A heartbeat: a sign of life.
    Heartbeat,
    /// A signal: a sign of life that a server reports.
    Signal,
    /// A check: no event.
    Check,
}

/// A verdict as it reached a player.
#[derive(Debug)]
pub(crate) struct Heard<'a> {
    /// What was asked.
    pub(crate) asked: Asked,
    /// Of which session.
    pub(crate) session: SessionId,
    /// On which device.
    pub(crate) device: &'a str,
    /// When the question was sent.
    pub(crate) sent: Instant,
    /// The answer's status.
    pub(crate) status: u16,
    /// What it said.
    pub(crate) verdict: &'a Verdict,
    /// Of which place in the log it is, unless it is provisional or stale.
    pub(crate) as_of: Option<AsOf>,
}

/// From the first allow to the last, during which the slot was surely held.
#[derive(Debug)]
struct Hold {
    from: i64,
    to: i64,
    /// The newest sign of life; `None` if there was none, or a block since.
    sign_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Known {
    device: String,
    holds: Vec<Hold>,
    ended: Option<(i64, Reason)>,
    stopped: Option<Instant>,
}

/// The limit of one household, as its players see it.
#[derive(Debug)]
pub(crate) struct Checker {
    limit: Limit,
    /// The streams allowed; larger once another policy said so, `None` once one counts something else.
    streams_max: Option<u32>,
    partition: Option<i32>,
    sessions: BTreeMap<SessionId, Known>,
    reported: BTreeSet<Vec<SessionId>>,
}

impl Checker {
    /// A household that knows its limit and nothing else.
    pub(crate) fn new(limit: Limit) -> Self {
        Self {
            limit,
            streams_max: Some(limit.streams_max),
            partition: None,
            sessions: BTreeMap::new(),
            reported: BTreeSet::new(),
        }
    }

    /// The newest session that another device of the household has surely opened.
    pub(crate) fn session_elsewhere(&self, device: &str) -> Option<SessionId> {
        self.sessions.iter().rev().find(|(_, known)| known.device != device).map(|(id, _)| *id)
    }

    /// A stop was acknowledged.
    pub(crate) fn stopped(&mut self, session: SessionId, at: Instant) {
        if let Some(known) = self.sessions.get_mut(&session) {
            known.stopped.get_or_insert(at);
        }
    }

    /// Takes up a verdict and says what is wrong with it, if anything.
    pub(crate) fn hear(&mut self, heard: &Heard<'_>) -> Vec<String> {
        let mut wrong = Vec::new();
        self.remember(heard);
        self.learn_limit(heard.verdict, &mut wrong);
        check_form(heard, &mut wrong);
        let Some(as_of) = heard.as_of else { return wrong };
        if *self.partition.get_or_insert(as_of.partition) != as_of.partition {
            wrong.push(format!("the account moved to partition {}", as_of.partition));
            return wrong;
        }
        self.check_conflicts(heard, as_of.offset, &mut wrong);
        self.check_end(heard, as_of.offset, &mut wrong);
        if heard.verdict.allows() {
            self.check_overlap(heard, as_of, &mut wrong);
        } else if let Some(hold) = self.sessions.get_mut(&heard.session).and_then(|known| known.holds.last_mut()) {
            hold.sign_at = None;
        }
        wrong
    }

    fn remember(&mut self, heard: &Heard<'_>) {
        let new = || Known { device: heard.device.to_owned(), holds: Vec::new(), ended: None, stopped: None };
        self.sessions.entry(heard.session).or_insert_with(new);
        while self.sessions.len() > SESSIONS_MAX {
            // The oldest, as ids are by time; what is forgotten can only leave a violation unseen.
            self.sessions.pop_first();
        }
    }

    fn learn_limit(&mut self, verdict: &Verdict, wrong: &mut Vec<String>) {
        let Verdict { policy: Some(policy), rule: Some(rule), max: Some(max), in_use, .. } = verdict else { return };
        let (rule, max) = (*rule, *max);
        if policy.to_string() == self.limit.policy {
            if rule == Scope::Account && max != self.limit.streams_max {
                wrong.push(format!("{policy} allows {} streams, the answer says {max}", self.limit.streams_max));
            }
        } else if rule == Scope::Account {
            self.streams_max = self.streams_max.map(|known| known.max(max));
        } else {
            self.streams_max = None;
        }
        if let (Scope::Account, Some(in_use), Some(streams_max)) = (rule, in_use, self.streams_max)
            && *in_use > streams_max
        {
            wrong.push(format!("{in_use} streams in use, where {streams_max} are allowed"));
        }
    }

    /// A session that had ended before the question can't stand in its way.
    fn check_conflicts(&self, heard: &Heard<'_>, offset: i64, wrong: &mut Vec<String>) {
        for conflict in &heard.verdict.conflicts {
            let Some(known) = self.sessions.get(&conflict.session_id) else { continue };
            let stopped = heard.asked == Asked::Start && known.stopped.is_some_and(|at| at < heard.sent);
            if stopped || known.ended.is_some_and(|(ended, _)| ended < offset) {
                wrong.push(format!("session {} counts though it had ended", conflict.session_id));
            }
        }
    }

    /// Ended is for ever, and the first end wins.
    fn check_end(&mut self, heard: &Heard<'_>, offset: i64, wrong: &mut Vec<String>) {
        let Some(known) = self.sessions.get_mut(&heard.session) else { return };
        let reason = heard.verdict.reason.filter(|reason| reason.is_end());
        match (known.ended, reason) {
            (None, Some(reason)) => known.ended = Some((offset, reason)),
            (Some((ended, first)), None) if offset > ended => {
                wrong.push(format!("it had ended as {} and came back", first.as_str()));
            }
            (Some((_, first)), Some(reason)) if first != reason => {
                wrong.push(format!("it had ended as {} and now as {}", first.as_str(), reason.as_str()));
            }
            (Some((ended, first)), Some(_)) => known.ended = Some((ended.min(offset), first)),
            (None | Some(_), None) => {}
        }
    }

    fn check_overlap(&mut self, heard: &Heard<'_>, as_of: AsOf, wrong: &mut Vec<String>) {
        let lease_known = heard.verdict.policy.as_ref().is_some_and(|policy| policy.to_string() == self.limit.policy);
        let lease_ms = if lease_known { self.limit.lease_ms.saturating_sub(LEASE_SLACK_MS) } else { 0 };
        let Some(known) = self.sessions.get_mut(&heard.session) else { return };
        let (from, to) = known.hold(heard.asked, as_of, lease_ms);
        let Some(streams_max) = self.streams_max.and_then(|max| usize::try_from(max).ok()) else { return };
        // Where holds overlap at all, they do so at the beginning of one of them.
        let beginnings = self.sessions.values().flat_map(|known| &known.holds).map(|hold| hold.from);
        for offset in beginnings.chain([from]).filter(|offset| (from..=to).contains(offset)) {
            let held: Vec<_> =
                self.sessions.iter().filter(|(_, known)| known.held_at(offset)).map(|(id, _)| *id).collect();
            if held.len() > streams_max && self.reported.insert(held.clone()) {
                let sessions = held.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                wrong.push(format!("{} sessions held a slot at offset {offset}: {sessions}", held.len()));
                return;
            }
        }
    }
}

impl Known {
    fn held_at(&self, offset: i64) -> bool {
        self.holds.iter().any(|hold| (hold.from..=hold.to).contains(&offset))
    }

    /// Takes up an allow; answers the hold that it belongs to.
    fn hold(&mut self, asked: Asked, as_of: AsOf, lease_ms: u64) -> (i64, i64) {
        let sign_at = (asked != Asked::Check).then_some(as_of.at);
        if let Some(hold) = self.holds.last_mut()
            && let Some(last_at) = hold.sign_at
            && as_of.offset >= hold.from
            && as_of.at < last_at.plus_ms(lease_ms)
        {
            hold.to = hold.to.max(as_of.offset);
            hold.sign_at = sign_at.max(Some(last_at));
            return (hold.from, hold.to);
        }
        if self.holds.len() == HOLDS_MAX {
            self.holds.remove(0);
        }
        self.holds.push(Hold { from: as_of.offset, to: as_of.offset, sign_at });
        (as_of.offset, as_of.offset)
    }
}

/// What must hold of each answer by itself.
fn check_form(heard: &Heard<'_>, wrong: &mut Vec<String>) {
    let Verdict { reason, max, in_use, conflicts, room, .. } = heard.verdict;
    let (status, in_use, max) = (heard.status, in_use.unwrap_or(0), max.unwrap_or(u32::MAX));
    let said = reason.map_or("allow", Reason::as_str);
    if heard.verdict.allows() {
        if reason.is_some() || !room || matches!(status, 409 | 410) {
            wrong.push(format!("an allow with {said}, room {room}, status {status}"));
        }
        return;
    }
    match *reason {
        None => wrong.push("a block without a reason".to_owned()),
        Some(reason) if reason.is_end() => {
            if status != 410 && matches!(heard.asked, Asked::Start | Asked::Heartbeat) {
                wrong.push(format!("{said} with status {status}"));
            }
        }
        Some(Reason::LimitReached) => {
            let named: BTreeSet<_> = conflicts.iter().map(|conflict| conflict.session_id).collect();
            if u32::try_from(named.len()).ok() != Some(in_use) || named.len() != conflicts.len() {
                wrong.push(format!("{in_use} streams in use, and {} named", named.len()));
            }
            if named.contains(&heard.session) {
                wrong.push("it stands in its own way".to_owned());
            }
            if *room == (in_use >= max) {
                wrong.push(format!("room {room} with {in_use} of {max} in use"));
            }
        }
        Some(_) if heard.asked == Asked::Start => wrong.push(format!("a start was blocked as {said}")),
        Some(_) => {}
    }
    if heard.asked == Asked::Start && status == 201 {
        wrong.push(format!("{said} with status 201"));
    }
}

#[cfg(test)]
mod tests;
