//! A reader of the log, as every node is one: bytes in, answers out.

use std::collections::BTreeMap;

use pulsegate_domain::account::{Account, Applied, Decision, Observe, Place, SessionState, key_matches};
use pulsegate_domain::event::{Attributes, CatalogEvent, Event, PlaybackEvent, decode, encode};
use pulsegate_domain::ids::{AccountId, SessionId};
use pulsegate_domain::policy::{Policy, PolicySet};
use pulsegate_domain::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

/// A record of the one partition that tests have.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) offset: i64,
    /// The stamp that the broker gave it.
    pub(crate) stamp: Timestamp,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Record {
    /// The record of an event as our own writer makes it.
    pub(crate) fn of(event: &PlaybackEvent, offset: i64, stamp: Timestamp) -> Self {
        Self::told_at(event, offset, stamp, stamp)
    }

    /// The record of an event of which its sender says that it happened at `time`.
    pub(crate) fn told_at(event: &PlaybackEvent, offset: i64, stamp: Timestamp, time: Timestamp) -> Self {
        let key = event.account_id().as_str();
        let id = u128::from(offset.unsigned_abs()) | 0x019a_0000_0000_7000_8000_0000_0000_0000;
        Self { offset, stamp, key: key.into(), value: value_of(event, Uuid::from_u128(id), key, time) }
    }
}

fn value_of<T: Event + Serialize>(event: &T, id: Uuid, key: &str, time: Timestamp) -> Vec<u8> {
    encode(&Attributes { id, source: "/tests", subject: key, time, partition_key: key }, event)
}

/// Folds what it reads, keeps what was decided, and answers.
#[derive(Clone, Default)]
pub(crate) struct Reader {
    policies: PolicySet,
    accounts: BTreeMap<AccountId, Account>,
    decisions: BTreeMap<AccountId, Vec<Decision>>,
    clock: Option<Timestamp>,
}

struct Decided<'a>(&'a mut Vec<Decision>);

impl Observe for Decided<'_> {
    fn decided(&mut self, decision: impl FnOnce() -> Decision) {
        self.0.push(decision());
    }
}

impl Reader {
    /// Takes a policy up as the catalog topic brings it.
    pub(crate) fn publish(&mut self, policy: &Policy) {
        let event = CatalogEvent::PolicyPublished(policy.clone());
        let value = value_of(&event, Uuid::from_u128(1), policy.name.as_str(), Timestamp::default());
        let CatalogEvent::PolicyPublished(policy) = decode(&value).unwrap().event else {
            panic!("a policy is a policy")
        };
        self.policies.publish(policy);
    }

    /// What the next record did; `None` if it was skipped alone.
    pub(crate) fn read(&mut self, record: &Record) -> Option<Applied> {
        let at = self.clock.map_or(record.stamp, |clock| clock.max(record.stamp));
        self.clock = Some(at);
        let envelope = decode::<PlaybackEvent>(&record.value).ok()?;
        let id = envelope.event.account_id();
        if !key_matches(Some(&record.key), id) {
            return None;
        }
        let account = self.accounts.entry(id.clone()).or_default();
        let mut decided = Decided(self.decisions.entry(id.clone()).or_default());
        let place = Place { offset: record.offset, at };
        account.apply(&envelope.id, &envelope.event, place, &self.policies, &mut decided).ok()
    }

    /// The largest stamp so far.
    pub(crate) fn clock(&self) -> Timestamp {
        self.clock.unwrap_or_default()
    }

    pub(crate) const fn policies(&self) -> &PolicySet {
        &self.policies
    }

    pub(crate) fn decided_len(&self, account: &str) -> usize {
        self.decisions.get(account).map_or(0, Vec::len)
    }

    pub(crate) fn account(&self, id: &str) -> Option<&Account> {
        self.accounts.get(id)
    }

    pub(crate) fn verdict(&self, account: &str, session: SessionId, at: Timestamp) -> Option<Value> {
        let verdict = self.account(account)?.verdict(session, at, &self.policies)?;
        Some(serde_json::to_value(verdict).unwrap())
    }

    /// What was decided about an account, in the words of the answer.
    pub(crate) fn decisions(&self, account: &str) -> Vec<Value> {
        self.decisions.get(account).into_iter().flatten().map(as_answered).collect()
    }

    pub(crate) fn forget(&mut self, now: Timestamp) {
        for account in self.accounts.values_mut() {
            account.forget(now, &mut ());
        }
    }

    /// What a restart does: each account goes through the rows of a read model, which come back in any order.
    pub(crate) fn restart(&mut self) {
        for account in self.accounts.values_mut() {
            let open = account.open().iter().map(|session| account.session_state(session.id()));
            let ended = account.ended().iter().map(|session| account.session_state(session.id()));
            let mut rows: Vec<_> = open.chain(ended).map(|row| serde_json::to_string(&row.unwrap()).unwrap()).collect();
            rows.sort_unstable_by(|a, b| b.cmp(a));
            *account =
                Account::from_sessions(rows.iter().map(|row| serde_json::from_str::<SessionState>(row).unwrap()));
        }
    }
}

fn as_answered(decision: &Decision) -> Value {
    let Decision { decision, session_id, reason, rule, max, counted, offset, at, .. } = decision;
    json!({
        "decision": decision, "session_id": session_id, "reason": reason, "rule": rule, "max": max,
        "counted": counted, "partition": 0, "offset": offset, "at": at,
    })
}
