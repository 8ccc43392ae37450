//! One account's events as an event store: the seam by which an account is replayed.
//!
//! The hot paths don't go through here. They append with [`EventLog`] and fold whole partitions; this is
//! for the question what one account looked like, now or at some time.

use std::sync::Arc;

use eventually::store::{AppendError as Conflicting, EventStore, EventStream, Expected, Persisted, Select};
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, StreamExt as _};
use pulsegate_domain::account::{Account, Place, PlacedEvent};
use pulsegate_domain::event::{PlaybackEvent, decode, source_of};
use pulsegate_domain::ids::AccountId;
use pulsegate_domain::policy::PolicySet;
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::{Topic, partition_of};
use thiserror::Error;

use crate::envelope::{self, Origin};
use crate::log::EventLog;
use crate::record::AppendError;
pub use crate::replay::ReplayError;
use crate::replay::{self, Span, Step};
use crate::settings::LogSettings;

/// Why the store doesn't do what it is asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The account has another version than the caller expects.
    #[error("account {account} has version {actual}, not {expected}")]
    Conflict {
        /// Whose version.
        account: AccountId,
        /// What the caller expects.
        expected: u32,
        /// How many events there are.
        actual: u32,
    },
    /// The version is right now, but the log can't promise that it still is when the event arrives.
    #[error("the log appends unconditionally; ask for Expected::Any, and for the outcome at the event's offset")]
    Unconditional,
    /// An event whose id is no UUID, which this writer doesn't write.
    #[error("event id {0:?} is not a UUID")]
    EventId(String),
    /// An event of another account.
    #[error("an event of account {0} can't stand under another")]
    OtherAccount(AccountId),
    /// The log didn't take an event; those before it in the same call may be in.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The log can't be read.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// All accounts in one stream: that is what a projection is for.
    #[error("the accounts' events are read by partitions, not as one stream")]
    NoGlobalOrder,
    /// A log forgets nothing.
    #[error("the log forgets nothing: events can't be removed")]
    NeverRemoved,
}

impl Conflicting for StoreError {
    fn is_conflict_error(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }
}

/// The events of accounts, in the playback topic.
///
/// A version is the number of the account's readable events. It is no offset: those are 64 bits wide and
/// shared by all accounts of a partition, and the seam's versions have 32, enough for a heartbeat each
/// 10 s for 1 300 years.
///
/// Optimistic locking doesn't fit the log: the order in which events arrive decides between them, so two
/// starts at once are both appended and the fold says which one got the slot. [`Expected::Exact`] is
/// therefore never honoured. Where the account already has another version that is a conflict, and told
/// as one; where it has the expected one, nothing conflicts, and the error says that the log can't
/// promise it. A repository's `get` works on this store; its `add`, which always asks for an exact
/// version, doesn't.
#[derive(Clone, Debug)]
pub struct AccountStore {
    log: EventLog,
    settings: LogSettings,
    policies: Arc<PolicySet>,
    source: String,
}

/// An account as it was at a place of its partition.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The account.
    pub account: Account,
    /// The place of the last record that was read, of any account; none in an empty partition.
    pub last: Option<Place>,
    /// How many events of the account were taken up.
    pub events: u64,
    /// How many records under its key were passed over: unreadable, of another account, or naming a
    /// policy that isn't known.
    pub skipped: u64,
}

impl AccountStore {
    /// The store of the accounts in a log. Events name versions of `policies`; those that it appends say
    /// `source`.
    #[must_use]
    pub fn new(log: EventLog, settings: LogSettings, policies: Arc<PolicySet>, source: impl Into<String>) -> Self {
        Self { log, settings, policies, source: source.into() }
    }

    /// The partition that an account stands in.
    #[must_use]
    pub fn partition(&self, account: &AccountId) -> i32 {
        partition_of(account.as_str().as_bytes(), self.settings.partitions_of(Topic::Playback))
    }

    /// Folds an account from the beginning of its partition to the end as of now, or as far as the
    /// partition's clock doesn't pass `until`.
    pub async fn replay_until(&self, account: &AccountId, until: Option<Timestamp>) -> Result<Replayed, ReplayError> {
        let mut replayed = Replayed { account: Account::default(), last: None, events: 0, skipped: 0 };
        let mut events = self.events_until(account, until)?;
        while let Some(item) = events.next().await {
            match item? {
                Replay::Event(placed) => {
                    let applied =
                        replayed.account.apply(&placed.id, &placed.event, placed.place, &placed.policies, &mut ());
                    match applied {
                        Ok(_) => replayed.events += 1,
                        Err(unknown) => {
                            skip(account, placed.place, &unknown);
                            replayed.skipped += 1;
                        }
                    }
                }
                Replay::Skipped(_) => replayed.skipped += 1,
                Replay::End(last) => replayed.last = last,
            }
        }
        Ok(replayed)
    }

    /// Reads an account from the beginning of its partition to the end as of now, or as far as the
    /// partition's clock doesn't pass `until`. The last item is the [end](Replay::End), or an error.
    pub fn events_until(
        &self,
        account: &AccountId,
        until: Option<Timestamp>,
    ) -> Result<BoxStream<'static, Result<Replay, ReplayError>>, ReplayError> {
        let steps = replay::read(
            &self.settings,
            Span {
                topic: self.settings.topics.name(Topic::Playback),
                partition: self.partition(account),
                key: account.as_str().as_bytes().to_vec(),
                until,
            },
        )?;
        let (account, policies) = (account.clone(), Arc::clone(&self.policies));
        Ok(stream::unfold(Some(steps), move |steps| {
            let (account, policies) = (account.clone(), Arc::clone(&policies));
            async move {
                let mut steps = steps?;
                // A reader that fails hard closes the channel without an end.
                let step = steps.recv().await.unwrap_or(Err(ReplayError::Ended));
                Some(match step {
                    Ok(Step::Record { place, value }) => {
                        (Ok(place_event(&account, &value, place, policies)), Some(steps))
                    }
                    Ok(Step::End(last)) => (Ok(Replay::End(last)), None),
                    Err(error) => (Err(error), None),
                })
            }
        })
        .boxed())
    }

    async fn append_any(&self, account: AccountId, events: Vec<PlacedEvent>) -> Result<u32, StoreError> {
        let mut records = Vec::with_capacity(events.len());
        for PlacedEvent { id, event, place, .. } in events {
            if *event.account_id() != account {
                return Err(StoreError::OtherAccount(event.account_id().clone()));
            }
            let id = id.parse().map_err(|_| StoreError::EventId(id))?;
            records.push(envelope::playback(&event, &Origin { id, source: &self.source, time: place.at }));
        }
        let mut appended = 0;
        for outcome in self.log.append_all(records).await {
            outcome?;
            appended += 1;
        }
        Ok(appended)
    }

    async fn refuse_exact(&self, account: AccountId, expected: u32) -> StoreError {
        match self.version(&account).await {
            Ok(actual) if actual == expected => StoreError::Unconditional,
            Ok(actual) => StoreError::Conflict { account, expected, actual },
            Err(error) => error.into(),
        }
    }

    async fn version(&self, account: &AccountId) -> Result<u32, ReplayError> {
        let mut events = self.events_until(account, None)?;
        let mut version: u32 = 0;
        while let Some(item) = events.next().await {
            if let Replay::Event(_) = item? {
                version = version.saturating_add(1);
            }
        }
        Ok(version)
    }
}

/// What a replay of an account yields.
#[derive(Clone, Debug)]
pub enum Replay {
    /// An event of the account.
    Event(Box<PlacedEvent>),
    /// A record under its key that is passed over.
    Skipped(Place),
    /// The end, with the place of the last record that was read, of any account.
    End(Option<Place>),
}

/// A record whose account isn't its key, or that can't be read, is skipped alone.
fn place_event(account: &AccountId, value: &[u8], place: Place, policies: Arc<PolicySet>) -> Replay {
    match decode::<PlaybackEvent>(value) {
        Ok(envelope) if envelope.event.account_id() == account => Replay::Event(Box::new(PlacedEvent {
            id: envelope.id.into_owned(),
            source: source_of(value),
            event: envelope.event,
            place,
            policies,
        })),
        Ok(envelope) => {
            skip(account, place, &StoreError::OtherAccount(envelope.event.account_id().clone()));
            Replay::Skipped(place)
        }
        Err(error) => {
            skip(account, place, &error);
            Replay::Skipped(place)
        }
    }
}

fn skip(account: &AccountId, place: Place, why: &dyn std::error::Error) {
    metrics::counter!("pulsegate_replay_skipped_total").increment(1);
    tracing::debug!(%account, offset = place.offset, %why, "a replay passes a record over");
}

impl EventStore for AccountStore {
    type SourceId = AccountId;
    type Event = PlacedEvent;
    type Error = StoreError;

    /// Appends events; their offsets are the log's, whatever place they came with.
    ///
    /// Answers how many events were appended. The account's new version would take a replay, and is told
    /// by [`stream`](EventStore::stream). Not atomic: after an error, events before the failed one may be
    /// in the log, which no reader minds, as each event stands for itself.
    fn append(
        &mut self,
        account: AccountId,
        version: Expected,
        events: Vec<PlacedEvent>,
    ) -> BoxFuture<'_, Result<u32, StoreError>> {
        match version {
            Expected::Any => self.append_any(account, events).boxed(),
            Expected::Exact(expected) => self.refuse_exact(account, expected).map(Err).boxed(),
        }
    }

    /// The account's events as of now, from version `Select::From` on, versions counting from 1. The
    /// sequence number is the offset, or the largest one that fits.
    fn stream(&self, account: AccountId, select: Select) -> BoxFuture<'_, Result<EventStream<'_, Self>, StoreError>> {
        let from = match select {
            Select::All => 0,
            Select::From(version) => version,
        };
        let stream = self.events_until(&account, None).map_err(StoreError::from).map(|events| {
            let mut version: u32 = 0;
            events
                .filter_map(move |item| {
                    let persisted = match item {
                        Ok(Replay::Event(placed)) => {
                            version = version.saturating_add(1);
                            let offset = u32::try_from(placed.place.offset).unwrap_or(u32::MAX);
                            let event = Persisted::from(account.clone(), *placed).version(version);
                            (version >= from).then(|| Ok(event.sequence_number(offset)))
                        }
                        Ok(Replay::Skipped(_) | Replay::End(_)) => None,
                        Err(error) => Some(Err(error.into())),
                    };
                    ready(persisted)
                })
                .boxed()
        });
        ready(stream).boxed()
    }

    fn stream_all(&self, _select: Select) -> BoxFuture<'_, Result<EventStream<'_, Self>, StoreError>> {
        ready(Err(StoreError::NoGlobalOrder)).boxed()
    }

    fn remove(&mut self, _account: AccountId) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(Err(StoreError::NeverRemoved)).boxed()
    }
}
