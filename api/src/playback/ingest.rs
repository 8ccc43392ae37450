//! Many at once: batches of heartbeats, signals and clickstream, each item on its own.

use futures_util::future::join_all;
use pulsegate_domain::account::Verdict;
use pulsegate_domain::catalog::Catalog;
use pulsegate_domain::event::{PlaybackEvent, Question};
use pulsegate_domain::ids::SessionId;
use pulsegate_privacy::{KeyError, Seals};
use pulsegate_projections::hot_view::{Acknowledged, AsOf};
use pulsegate_write_side::envelope::{self, Origin};
use pulsegate_write_side::rejected::Rejected;
use pulsegate_write_side::request::{Batch, ClickstreamRequest, HeartbeatRequest, INVALID, ItemError, SignalRequest};
use pulsegate_write_side::stamp::{self, Known};
use pulsegate_write_side::{AppendError, Appended, Record};
use serde::Serialize;
use uuid::Uuid;

use super::Playback;
use super::answer::{CommandError, Stamp};
use super::known::Known as KnownAccount;

/// What became of a batch.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BatchOutcome {
    /// How many stand in the log now.
    pub accepted: usize,
    /// The others.
    pub rejected: Vec<ItemRejected>,
}

/// An item that does not stand in the log.
#[derive(Clone, Debug, Serialize)]
pub struct ItemRejected {
    /// Its index in the batch.
    pub index: usize,
    /// Why, for a program: `unavailable` and `overloaded` may be sent again as they are.
    pub code: &'static str,
    /// Why, for a person.
    pub detail: String,
}

/// The verdict on one signal.
#[derive(Clone, Debug)]
pub struct SignalOutcome {
    /// Its index in the batch.
    pub index: usize,
    /// The session that it was given to.
    pub session_id: Option<SessionId>,
    /// May it run?
    pub verdict: Option<Verdict>,
    /// As of where.
    pub stamp: Option<Stamp>,
    /// Why there is no verdict.
    pub error: Option<ItemRejected>,
}

impl ItemRejected {
    fn new(index: usize, error: &CommandError) -> Self {
        Self { index, code: error.code(), detail: error.to_string() }
    }

    fn invalid(error: ItemError) -> Self {
        Self { index: error.index, code: INVALID, detail: error.detail }
    }
}

/// A record of a batch on its way to the log.
pub(super) struct Outgoing {
    /// Its item's index in the batch.
    pub(super) index: usize,
    pub(super) record: Record,
    /// What the view folds of it: the event's id and the event.
    pub(super) own: Option<(Uuid, PlaybackEvent)>,
}

impl Playback {
    /// Appends a batch of heartbeats, as a player sends that was offline; nothing waits for the fold.
    ///
    /// # Errors
    /// If not one could be appended because the log is away: the batch is to be sent again.
    pub async fn heartbeats(&self, batch: Batch<HeartbeatRequest>) -> Result<BatchOutcome, CommandError> {
        let now = self.inner.view.clock();
        let received_at = now.at();
        let mut outcome = BatchOutcome::refusing(batch.rejected);
        let mut outgoing = Vec::with_capacity(batch.accepted.len());
        let cold = self.known_of_all(batch.accepted.iter().map(|(_, request)| &request.account_id)).await;
        for (index, request) in batch.accepted {
            let (account, session, age_ms) = (request.account_id.clone(), request.session_id, request.age_ms);
            let known = cold.get(&account).unwrap_or(&KnownAccount::View);
            let admitted = self.admit(&account, session, known, now, |known| {
                let stamped = |catalog: &Catalog| stamp::heartbeat(request, catalog, known, received_at);
                PlaybackEvent::Heartbeat(self.inner.catalog.read(stamped))
            });
            match admitted {
                Ok(admitted) => {
                    let origin = Origin::new("/v1/heartbeats", received_at.minus_ms(age_ms));
                    let record = envelope::playback(&admitted.event, &origin);
                    outgoing.push(Outgoing { index, record, own: Some((origin.id, admitted.event)) });
                }
                Err(error) => outcome.rejected.push(ItemRejected::new(index, &error)),
            }
        }
        self.append_batch(outgoing, outcome).await
    }

    /// Appends a batch of clickstream events.
    ///
    /// # Errors
    /// If not one could be appended because the log is away, or what was written can't be sealed because the keys can't
    /// be had: the batch is to be sent again.
    pub async fn clickstream(&self, batch: Batch<ClickstreamRequest>) -> Result<BatchOutcome, CommandError> {
        let received_at = self.now();
        let clicks = batch.accepted.iter().map(|(_, request)| &request.recorded);
        let seals = Seals::of(self.keys.as_deref(), clicks).await.map_err(|error| unsealed(&error))?;
        let mut outgoing = Vec::with_capacity(batch.accepted.len());
        for (index, request) in batch.accepted {
            let origin = Origin::new("/v1/clickstream", request.occurred_at.unwrap_or(received_at));
            let event = seals.seal(request.recorded).map_err(|error| unsealed(&error))?;
            outgoing.push(Outgoing { index, record: envelope::clickstream(&event, &origin), own: None });
        }
        self.append_batch(outgoing, BatchOutcome::refusing(batch.rejected)).await
    }

    pub(super) async fn append_batch(
        &self,
        outgoing: Vec<Outgoing>,
        mut outcome: BatchOutcome,
    ) -> Result<BatchOutcome, CommandError> {
        let (mut kept, records): (Vec<_>, Vec<_>) =
            outgoing.into_iter().map(|Outgoing { index, record, own }| ((index, own), record)).unzip();
        let mut last_error: Option<AppendError> = None;
        let settled = |places: &[usize], appended: Vec<Result<Appended, AppendError>>| {
            let mut partition = None;
            let mut acknowledged = Vec::with_capacity(places.len());
            for (place, appended) in places.iter().zip(appended) {
                let (index, own) = &mut kept[*place];
                match appended {
                    Ok(Appended { partition: of, offset, at: stamp }) => {
                        outcome.accepted += 1;
                        partition = Some(of);
                        acknowledged.extend(own.take().map(|(id, event)| Acknowledged { id, event, offset, stamp }));
                    }
                    Err(error) => {
                        outcome.rejected.push(ItemRejected::new(*index, &CommandError::from(error)));
                        last_error = Some(error);
                    }
                }
            }
            // Before the log brings them back, which would cost reading them once more.
            if let Some(partition) = partition.filter(|_| !acknowledged.is_empty()) {
                self.inner.view.acknowledged(partition, acknowledged);
            }
        };
        self.inner.log.append_by_partition(records, settled).await;
        match last_error {
            Some(error) if outcome.accepted == 0 => match CommandError::from(error) {
                // A record that is too large stays so; only what may be sent again fails the whole batch.
                CommandError::TooLarge => Ok(outcome.sorted()),
                error => Err(error),
            },
            _ => Ok(outcome.sorted()),
        }
    }

    /// Appends a batch of signals and answers each from the fold right after its own event.
    pub async fn signals(&self, batch: Batch<SignalRequest>) -> Vec<SignalOutcome> {
        let cold = self.known_of_all(batch.accepted.iter().map(|(_, request)| &request.account_id)).await;
        let asked = batch.accepted.into_iter().map(|(index, request)| {
            let known = cold.get(&request.account_id).unwrap_or(&KnownAccount::View);
            self.signal(index, request, known)
        });
        let mut outcomes = join_all(asked).await;
        outcomes.extend(batch.rejected.into_iter().map(|error| SignalOutcome::failed(ItemRejected::invalid(error))));
        outcomes.sort_by_key(|outcome| outcome.index);
        count_refused(outcomes.iter().filter_map(|outcome| outcome.error.as_ref()));
        outcomes
    }

    async fn signal(&self, index: usize, request: SignalRequest, known: &KnownAccount) -> SignalOutcome {
        let event = self.admit_signal(request, known);
        let origin = Origin::new("/v1/signals", self.now());
        let answered = match event {
            Ok(event) => self.append_and_hear(known, Question::Signal, event, &origin).await,
            Err(error) => Err(error),
        };
        match answered {
            Ok((answer, _)) => SignalOutcome {
                index,
                session_id: answer.session_id,
                verdict: answer.verdict,
                stamp: Some(answer.stamp),
                error: None,
            },
            Err(error) => SignalOutcome::failed(ItemRejected::new(index, &error)),
        }
    }

    pub(super) fn admit_signal(
        &self,
        request: SignalRequest,
        known: &KnownAccount,
    ) -> Result<PlaybackEvent, CommandError> {
        let account = request.account_id.clone();
        let session = request.session_id;
        // Of what its device's session has said of itself, a server that knows no session takes nothing back.
        let of_device = || {
            self.look(&account, known, |look| {
                let known = look.account?;
                let belongs = known.session_of(&request.device_id, &request.title_id, request.kind, look.as_of.at)?;
                known.open_session(belongs).map(Known::from)
            })
        };
        let stands = if session.is_none() { of_device() } else { None };
        let make = |stands| {
            let stamped = |catalog: &Catalog| stamp::signal(request, catalog, stands, self.now());
            PlaybackEvent::Signal(self.inner.catalog.read(stamped))
        };
        match session {
            Some(session) => {
                let now = self.inner.view.clock();
                self.admit(&account, session, known, now, make).map(|admitted| admitted.event)
            }
            None => Ok(make(stands)),
        }
    }

    /// Keeps what was refused, with its bytes and why, so that it can be sent in again after a fix.
    pub async fn keep_rejected(&self, rejected: Rejected) {
        let reason = rejected.reason;
        if let Err(error) = self.inner.log.append(rejected.into_record()).await {
            metrics::counter!("pulsegate_rejected_lost_total").increment(1);
            tracing::warn!(%error, %reason, "what was refused could not be kept");
        }
    }
}

/// What an account wrote goes nowhere unsealed.
fn unsealed(error: &KeyError) -> CommandError {
    tracing::warn!(%error, "what was written could not be sealed");
    CommandError::Unavailable { detail: "what was written can't be sealed at the moment; try again".to_owned() }
}

impl BatchOutcome {
    fn refusing(items: Vec<ItemError>) -> Self {
        Self { accepted: 0, rejected: items.into_iter().map(ItemRejected::invalid).collect() }
    }

    /// Each item that does not stand in the log: its index, the code, the detail.
    pub fn rejected(&self) -> impl Iterator<Item = (usize, &str, &str)> {
        self.rejected.iter().map(|item| (item.index, item.code, item.detail.as_str()))
    }

    fn sorted(mut self) -> Self {
        count_refused(&self.rejected);
        self.rejected.sort_by_key(|item| item.index);
        self
    }
}

/// Counts items of a batch that was answered. A whole request that is refused is counted as its problem.
fn count_refused<'a>(items: impl IntoIterator<Item = &'a ItemRejected>) {
    for item in items {
        metrics::counter!("pulsegate_items_refused_total", "code" => item.code).increment(1);
    }
}

impl SignalOutcome {
    const fn failed(error: ItemRejected) -> Self {
        Self { index: error.index, session_id: None, verdict: None, stamp: None, error: Some(error) }
    }

    /// The place in the log that the verdict is as of.
    #[must_use]
    pub fn as_of(&self) -> Option<AsOf> {
        self.stamp.map(|stamp| stamp.as_of)
    }
}
