//! Waiting for the verdicts of an account to change: nobody asks again and again, whoever waits is woken.
//!
//! A record that changes what verdicts rest on wakes those who wait on its account; one that only renews a lease wakes
//! nobody. Leases and pauses end between records: whoever waits for that sleeps until then, and then until the view is
//! proven to be at the end of the log at that instant, which is half a second later at most. While the log is away
//! nothing is proven, and nobody wakes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pulsegate_domain::account::{Account, Bearing};
use pulsegate_domain::ids::AccountId;
use pulsegate_domain::time::Timestamp;
use thiserror::Error;
use tokio::sync::watch;

use super::HotView;

/// Most that may wait on one node at once.
pub const WAITERS_MAX: usize = 250_000;
/// Most that may wait on one account at once.
pub const WAITERS_AN_ACCOUNT_MAX: usize = 64;

/// As many wait already as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TooManyWaiters {
    /// On this node.
    #[error("{WAITERS_MAX} wait on this node, and no more may")]
    Node,
    /// On this account.
    #[error("{WAITERS_AN_ACCOUNT_MAX} wait on this account, and no more may")]
    Account,
}

impl TooManyWaiters {
    /// Every limit.
    pub const LIMITS: [&'static str; 2] = ["node", "account"];

    /// The word of the limit for metrics.
    const fn limit(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Account => "account",
        }
    }
}

/// Who waits on which account of a partition.
#[derive(Default)]
pub(super) struct Waiting {
    accounts: Mutex<HashMap<AccountId, Ear, foldhash::fast::RandomState>>,
    /// Beside the lock, so that where nobody waits a record costs one look.
    accounts_len: AtomicUsize,
}

struct Ear {
    woken: watch::Sender<()>,
    waiters: usize,
}

/// What an account's verdicts rested on before a record, where somebody waits on it.
pub(super) struct Before(Vec<Bearing>);

impl Waiting {
    fn join(&self, account: &AccountId) -> Result<watch::Receiver<()>, TooManyWaiters> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let ear = accounts.entry(account.clone()).or_insert_with(|| Ear { woken: watch::Sender::new(()), waiters: 0 });
        if ear.waiters == WAITERS_AN_ACCOUNT_MAX {
            return Err(TooManyWaiters::Account);
        }
        ear.waiters += 1;
        let woken = ear.woken.subscribe();
        self.accounts_len.store(accounts.len(), Ordering::Release);
        Ok(woken)
    }

    fn leave(&self, account: &AccountId) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ear) = accounts.get_mut(account) {
            ear.waiters -= 1;
            if ear.waiters == 0 {
                accounts.remove(account);
            }
        }
        self.accounts_len.store(accounts.len(), Ordering::Release);
    }

    /// Wakes everybody: the partition is folded here no longer.
    pub(super) fn wake_all(&self) {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        for ear in accounts.values() {
            ear.woken.send_replace(());
        }
    }

    /// To be asked before a record of `id` is folded; the answer goes to [`folded`](Self::folded).
    pub(super) fn before(&self, id: &AccountId, account: &Account) -> Option<Before> {
        if self.accounts_len.load(Ordering::Acquire) == 0 {
            return None;
        }
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.contains_key(id).then(|| Before(account.bearings()))
    }

    /// Wakes those who wait on `id` if the record that was folded is news to them.
    pub(super) fn folded(&self, id: &AccountId, before: &Before, account: &Account, has_decided: bool) {
        if has_decided || account.has_news_since(&before.0) {
            let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(ear) = accounts.get(id) {
                ear.woken.send_replace(());
            }
        }
    }
}

/// Waits on one account, until it is dropped. Ask for it first and look at the account then: what is folded after
/// that look is heard of.
pub struct Waiter {
    view: HotView,
    account: AccountId,
    woken: watch::Receiver<()>,
}

impl HotView {
    /// Begins to wait on an account.
    pub fn wait_on(&self, account: &AccountId) -> Result<Waiter, TooManyWaiters> {
        let joins = |waiters: usize| (waiters < WAITERS_MAX).then_some(waiters + 1);
        let counted = self.inner.waiters.fetch_update(Ordering::AcqRel, Ordering::Acquire, joins);
        counted.map_err(|_| refused(TooManyWaiters::Node))?;
        metrics::gauge!("pulsegate_waiters").increment(1);
        match self.shard(account).waiting().join(account) {
            Ok(woken) => Ok(Waiter { view: self.clone(), account: account.clone(), woken }),
            Err(error) => {
                self.left();
                Err(refused(error))
            }
        }
    }

    fn left(&self) {
        self.inner.waiters.fetch_sub(1, Ordering::AcqRel);
        metrics::gauge!("pulsegate_waiters").decrement(1);
    }
}

/// Counts that somebody may not wait.
fn refused(error: TooManyWaiters) -> TooManyWaiters {
    metrics::counter!("pulsegate_waiting_refused_total", "limit" => error.limit()).increment(1);
    error
}

impl Waiter {
    /// Waits until a verdict of the account may have changed: by a record, or because it is `by_itself_at` by now.
    pub async fn changed(&mut self, by_itself_at: Option<Timestamp>) {
        let Self { view, account, woken } = self;
        let by_itself = async {
            match by_itself_at {
                Some(at) => view.reached(account, at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // The sender stays while anybody waits.
            _ = woken.changed() => {}
            () = by_itself => {}
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.view.shard(&self.account).waiting().leave(&self.account);
        self.view.left();
    }
}

impl HotView {
    /// Waits until answers are evaluated at `at` or later.
    async fn reached(&self, account: &AccountId, at: Timestamp) {
        tokio::time::sleep(Duration::from_millis(at.ms_since(self.now()))).await;
        let mut proofs = self.inner.proofs.subscribe();
        while self.shard(account).evaluated_now(self.inner.log_time.now()) < at {
            // The sender lives in `self`.
            drop(proofs.changed().await);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_a_limit_and_is_forgotten_with_its_last_waiter() {
        let (waiting, id) = (Waiting::default(), "a".parse::<AccountId>().unwrap());
        let joined: Vec<_> = (0..WAITERS_AN_ACCOUNT_MAX).map(|_| waiting.join(&id).unwrap()).collect();
        assert_eq!(waiting.join(&id).err(), Some(TooManyWaiters::Account));
        assert!(waiting.before(&id, &Account::default()).is_some());
        for _ in &joined {
            waiting.leave(&id);
        }
        assert!(waiting.before(&id, &Account::default()).is_none());
        assert!(waiting.accounts.lock().unwrap().is_empty());
    }
}
