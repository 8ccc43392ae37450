//! Sending: the same stamps, the same door and the same log as for a request.

use std::collections::HashMap;

use anyhow::{Context as _, bail};
use chrono::Utc;
use pulsegate_domain::account::{Account, Rejection, check_at_door};
use pulsegate_domain::catalog::Catalog;
use pulsegate_domain::event::PlaybackEvent;
use pulsegate_domain::ids::AccountId;
use pulsegate_domain::time::Timestamp;
use pulsegate_privacy::{AccountKeys, Seals};
use pulsegate_projections::active_sessions;
use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_write_side::envelope::{self, Origin};
use pulsegate_write_side::rejected::RejectReason;
use pulsegate_write_side::resend::{Again, Request, SOURCE};
use pulsegate_write_side::stamp::{self, Known};
use pulsegate_write_side::{AppendError, EventLog, Record, Rejected};
use sqlx::PgPool;

use super::claims::Settled;
use super::report::Report;
use crate::commands::serve;
use crate::config::Config;

/// Most records under way to the log.
const UNDER_WAY_MAX: usize = 5_000;

/// What goes out together.
#[derive(Default)]
pub(super) struct Outgoing {
    records: Vec<Record>,
    /// Of each record: which claim it belongs to, and whether it goes back to the topic.
    of: Vec<(usize, bool)>,
    /// The accounts that it is about, as the read model knows them.
    accounts: HashMap<AccountId, Account>,
}

impl Outgoing {
    /// Puts what is refused again on its way back.
    pub(super) fn refuse(&mut self, claim: usize, rejected: Rejected) {
        self.push(claim, true, rejected.into_record());
    }

    fn push(&mut self, claim: usize, is_refused: bool, record: Record) {
        self.records.push(record);
        self.of.push((claim, is_refused));
    }
}

pub(super) struct Sender {
    log: EventLog,
    catalog: CatalogView,
    pool: PgPool,
    /// Under which what accounts wrote is sealed.
    keys: Option<AccountKeys>,
}

impl Sender {
    /// Reads the catalog, whose rules are stamped into what is sent.
    pub(super) async fn start(config: &Config, pool: PgPool) -> anyhow::Result<Self> {
        let catalog = CatalogView::start(&serve::reader_settings(config)).context("failed to read the catalog")?;
        if !catalog.caught_up(serve::START_WAIT).await {
            bail!("failed to read the catalog within {} s: is Kafka away?", serve::START_WAIT.as_secs());
        }
        let log = EventLog::connect(&serve::log_settings(config)).context("failed to connect to the log")?;
        let keys = config.privacy_key.clone().map(|master| AccountKeys::new(master, pool.clone()));
        Ok(Self { log, catalog, pool, keys })
    }

    /// Makes an item ready to go: into the log, or back to the topic if its account's state refuses it.
    pub(super) async fn prepare(&self, again: Again, claim: usize, outgoing: &mut Outgoing) -> anyhow::Result<()> {
        let origin = Origin { id: again.id, source: SOURCE, time: again.happened_at };
        match again.request {
            Request::Clickstream(click) => {
                let seals = Seals::of(self.keys.as_ref(), std::iter::once(&click.recorded)).await?;
                let event = seals.seal(click.recorded)?;
                outgoing.push(claim, false, envelope::clickstream(&event, &origin));
            }
            Request::Heartbeat { heartbeat, mut refused } => {
                let account = self.account(&heartbeat.account_id, &mut outgoing.accounts).await?;
                let known = account.open_session(heartbeat.session_id).map(Known::from);
                let now = Timestamp::from(Utc::now());
                let stamped = |catalog: &Catalog| stamp::heartbeat(heartbeat, catalog, known, now);
                let event = PlaybackEvent::Heartbeat(self.catalog.read(stamped));
                match check_at_door(account, &event, now, &self.catalog.policies()) {
                    Ok(()) => outgoing.push(claim, false, envelope::playback(&event, &origin)),
                    Err(rejection) => {
                        refused.reason = reason_of(&rejection);
                        refused.detail = rejection.to_string();
                        outgoing.refuse(claim, *refused);
                    }
                }
            }
        }
        Ok(())
    }

    async fn account<'a>(
        &self,
        id: &AccountId,
        accounts: &'a mut HashMap<AccountId, Account>,
    ) -> anyhow::Result<&'a Account> {
        if !accounts.contains_key(id) {
            let known = active_sessions::account(&self.pool, id).await.context("failed to read the account")?;
            accounts.insert(id.clone(), known.account);
        }
        Ok(&accounts[id])
    }

    /// Appends all of it and notes what arrived; gives the last failure, if there was one.
    pub(super) async fn send(
        &self,
        outgoing: Outgoing,
        settled: &mut [Settled],
        report: &mut Report,
    ) -> Option<AppendError> {
        let Outgoing { mut records, of, .. } = outgoing;
        let mut of = of.into_iter();
        let mut failure = None;
        while !records.is_empty() {
            let rest = records.split_off(records.len().min(UNDER_WAY_MAX));
            let together = std::mem::replace(&mut records, rest);
            for (appended, (claim, is_refused)) in self.log.append_all(together).await.into_iter().zip(&mut of) {
                let own = &mut settled[claim];
                match appended {
                    Ok(_) if is_refused => {
                        own.refused += 1;
                        report.refused += 1;
                    }
                    Ok(_) => {
                        own.sent += 1;
                        report.sent += 1;
                    }
                    // It will never be taken: there is nothing to be tried again.
                    Err(AppendError::TooLarge) => report.too_large += 1,
                    Err(error) => {
                        own.is_open = true;
                        failure = Some(error);
                    }
                }
            }
        }
        failure
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.log.flush(serve::FLUSH_WAIT).await;
        // It stops a thread, which waits for a poll to end.
        tokio::task::spawn_blocking(move || self.catalog.stop()).await?;
        Ok(())
    }
}

const fn reason_of(rejection: &Rejection) -> RejectReason {
    match rejection {
        Rejection::SessionMismatch(_) => RejectReason::SessionMismatch,
        Rejection::SessionTooOld(_) => RejectReason::SessionTooOld,
        Rejection::SequenceJump { .. } => RejectReason::SequenceJump,
        // Only a start is refused for that, and none is sent in again.
        Rejection::SessionEnded(_) => RejectReason::Unknown,
    }
}
