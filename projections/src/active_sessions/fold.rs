//! The fold of a batch: the domain's accounts, and what a batch changed of them.

use std::collections::HashSet;

use pulsegate_domain::account::{Decision, Observe, SessionState, key_matches};
use pulsegate_domain::event::{self, PlaybackEvent};
use pulsegate_domain::ids::{AccountId, SessionId};
use pulsegate_domain::policy::PolicySet;
use pulsegate_domain::time::Timestamp;

use super::Accounts;
use crate::runner::{Batch, Poison, Poisoned, Record};

/// How often, by the partition's clock, forgotten sessions are deleted, in milliseconds.
const PURGE_EVERY_MS: u64 = 10_000;

/// A playback event as read from a record.
#[derive(Clone, Debug)]
pub struct Playback {
    id: Box<str>,
    event: PlaybackEvent,
}

impl Playback {
    pub(super) fn read(record: &Record) -> Result<Self, Poison> {
        let value = record.value.as_deref().ok_or_else(|| Poison::skip("it has no value"))?;
        let envelope = event::decode::<PlaybackEvent>(value).map_err(Poison::skip)?;
        if !key_matches(record.key.as_deref(), envelope.event.account_id()) {
            return Err(Poison::skip(format_args!("its key is not its account, {}", envelope.event.account_id())));
        }
        Ok(Self { id: envelope.id.into(), event: envelope.event })
    }

    pub(super) const fn account_id(&self) -> &AccountId {
        self.event.account_id()
    }

    /// Whether its policy, if it names one, is known.
    pub(super) fn is_judged_by(&self, policies: &PolicySet) -> bool {
        self.event.policy().is_none_or(|policy| policies.get(policy).is_some())
    }
}

/// What a batch changes in the tables.
#[derive(Debug, Default)]
pub struct Changes {
    /// The sessions whose rows are still to be taken from memory.
    pub(super) touched: Touched,
    /// The sessions that are new or other than before; a partition's in the order of account and id.
    pub(super) sessions: Vec<Changed>,
    /// The sessions that are no longer remembered.
    pub(super) gone: Vec<Gone>,
    /// The decisions; a partition's in the order of the log.
    pub(super) decisions: Vec<Decided>,
    /// Everything of that partition that counts as forgotten at this instant may be deleted.
    pub(super) purge: Vec<(i32, Timestamp)>,
}

type Touched = HashSet<(AccountId, SessionId), foldhash::fast::RandomState>;

#[derive(Debug)]
pub(super) struct Changed {
    pub(super) partition: i32,
    pub(super) account: AccountId,
    pub(super) state: SessionState,
}

#[derive(Debug)]
pub(super) struct Gone {
    pub(super) account: AccountId,
    pub(super) session: SessionId,
}

#[derive(Debug)]
pub(super) struct Decided {
    pub(super) partition: i32,
    pub(super) account: AccountId,
    /// Its number among the decisions of its record.
    pub(super) ordinal: i32,
    pub(super) decision: Decision,
}

impl Changes {
    pub(super) fn fold(
        batch: &Batch<Playback>,
        policies: &PolicySet,
        accounts: &mut Accounts,
        poisoned: &mut Poisoned,
    ) -> Self {
        let partition = batch.source.partition;
        let mut changes = Self::default();
        for placed in &batch.events {
            let id = placed.event.account_id();
            // Every account of the batch was brought into memory before.
            let Some(account) = accounts.get(id) else { unreachable!("account {id} was not loaded") };
            let (touched, decisions) = (&mut changes.touched, &mut changes.decisions);
            let mut noted = Noted { partition, id, touched, decisions, decided: 0 };
            let Playback { id: event_id, event } = &placed.event;
            if let Err(unknown) = account.apply(event_id, event, placed.place, policies, &mut noted) {
                poisoned.note(placed, Poison::skip(unknown));
            }
        }
        let clock = batch.ends_at.clock;
        if clock >= accounts.purges_at {
            changes.purge.push((partition, clock));
            accounts.purges_at = clock.plus_ms(PURGE_EVERY_MS);
        }
        accounts.is_ahead |= !changes.touched.is_empty();
        changes
    }

    /// Takes the sessions that were touched, all of one partition, as they are now.
    pub(super) fn settle(&mut self, partition: i32, accounts: &mut Accounts) {
        let mut touched: Vec<_> = std::mem::take(&mut self.touched).into_iter().collect();
        // In the order of the primary key, whose pages are then touched once each.
        touched.sort_unstable();
        for (account, session) in touched {
            match accounts.get(&account).and_then(|account| account.session_state(session)) {
                Some(state) => self.sessions.push(Changed { partition, account, state }),
                None => self.gone.push(Gone { account, session }),
            }
        }
        accounts.is_ahead = false;
    }

    /// Takes what another partition changed, which are other rows, or what the next batch did.
    pub(super) fn append(&mut self, other: Self) {
        self.touched.extend(other.touched);
        self.sessions.extend(other.sessions);
        self.gone.extend(other.gone);
        self.decisions.extend(other.decisions);
        self.purge.extend(other.purge);
    }
}

/// Notes what the fold of one record does.
struct Noted<'a> {
    partition: i32,
    id: &'a AccountId,
    touched: &'a mut Touched,
    decisions: &'a mut Vec<Decided>,
    decided: i32,
}

impl Observe for Noted<'_> {
    fn decided(&mut self, decision: impl FnOnce() -> Decision) {
        let (partition, account, ordinal) = (self.partition, self.id.clone(), self.decided);
        self.decisions.push(Decided { partition, account, ordinal, decision: decision() });
        self.decided += 1;
    }

    fn touched(&mut self, session: SessionId) {
        self.touched.insert((self.id.clone(), session));
    }

    fn forgotten(&mut self, session: SessionId) {
        self.touched.insert((self.id.clone(), session));
    }
}
