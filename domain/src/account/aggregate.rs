//! The seam to `eventually`: an account as its `Aggregate`, so that one account is replayed, and a
//! command judged before its event has a place in the log, through the crate's own repository.

use std::sync::Arc;

use eventually::aggregate::Aggregate;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::{Account, Place, Rejection, UnknownPolicy, check_at_door};
use crate::event::PlaybackEvent;
use crate::ids::AccountId;
use crate::policy::PolicySet;

/// An account as an aggregate, judged by a set of policies.
#[derive(Clone, Debug)]
pub struct AccountAggregate {
    policies: Arc<PolicySet>,
}

impl AccountAggregate {
    /// Accounts judged by `policies`.
    #[must_use]
    pub const fn new(policies: Arc<PolicySet>) -> Self {
        Self { policies }
    }
}

/// A playback event with its place in the account's partition.
#[derive(Clone, Debug)]
pub struct PlacedEvent {
    /// The event's id as it stands in the record.
    pub id: String,
    /// Who took it in, as it stands in the record; empty for an event that is not appended yet.
    pub source: String,
    /// What happened.
    pub event: PlaybackEvent,
    /// Where; for an event that is not appended yet, where it is expected.
    pub place: Place,
    /// The policies known there.
    pub policies: Arc<PolicySet>,
}

/// Asks to append an event.
#[derive(Clone, Debug)]
pub struct Command {
    /// The id that the event will have.
    pub id: String,
    /// What is to be recorded.
    pub event: PlaybackEvent,
    /// Where it is expected.
    pub place: Place,
}

impl Aggregate for AccountAggregate {
    type Id = AccountId;
    type State = Account;
    type Event = PlacedEvent;
    type Command = Command;
    type Error = Rejection;

    /// A fact can't be refused: an event whose policy nobody knows is skipped, as everywhere.
    fn apply(mut state: Account, placed: PlacedEvent) -> Result<Account, Rejection> {
        let skipped: Result<_, UnknownPolicy> =
            state.apply(&placed.id, &placed.event, placed.place, &placed.policies, &mut ());
        drop(skipped);
        Ok(state)
    }

    fn handle<'a, 's: 'a>(
        &'a self,
        _id: &'s AccountId,
        state: &'s Account,
        command: Command,
    ) -> BoxFuture<'a, Result<Option<Vec<PlacedEvent>>, Rejection>> {
        let checked = check_at_door(state, &command.event, command.place.at, &self.policies).map(|()| {
            let Command { id, event, place } = command;
            let policies = Arc::clone(&self.policies);
            Some(vec![PlacedEvent { id, source: String::new(), event, place, policies }])
        });
        async move { checked }.boxed()
    }
}
