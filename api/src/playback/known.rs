//! What is known of an account when a request begins: what this node folds, or else what the read model has.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pulsegate_domain::account::Account;
use pulsegate_domain::event::Because;
use pulsegate_domain::ids::AccountId;
use pulsegate_domain::policy::PolicySet;
use pulsegate_domain::time::Timestamp;
use pulsegate_projections::active_sessions::{self, KnownAccount};
use pulsegate_projections::hot_view::{AsOf, Look, Now};

use super::Playback;

/// How long the read model may take to say what it knows.
const READ_MAX: Duration = Duration::from_secs(1);

/// What a request's account is known by.
pub(super) enum Known {
    /// This node folds its partition.
    View,
    /// The read model's rows, as of its offset.
    ReadModel(Box<Cold>),
    /// Nobody who can be asked knows anything; neither that a session exists nor that it doesn't.
    Nothing(Box<Cold>),
}

/// An account without a fold that goes on.
pub(super) struct Cold {
    account: Account,
    policies: Arc<PolicySet>,
    partition: i32,
    next_offset: i64,
    clock: Timestamp,
}

impl Known {
    /// Whether what isn't known doesn't exist, as of what is known.
    pub(super) const fn is_something(&self) -> bool {
        !matches!(self, Self::Nothing(_))
    }
}

impl Playback {
    /// What is known of an account. Waits only where this node doesn't fold its partition.
    pub(super) async fn known(&self, account: &AccountId) -> Known {
        let view = &self.inner.view;
        if view.folds(view.partition_of(account)) {
            return Known::View;
        }
        self.read_all(vec![account.clone()]).await.remove(account).unwrap_or_else(|| self.nothing(account))
    }

    /// The same of many; those that are left out are folded here.
    pub(super) async fn known_of_all<'a>(
        &self,
        accounts: impl Iterator<Item = &'a AccountId>,
    ) -> HashMap<AccountId, Known> {
        let view = &self.inner.view;
        let mut cold: Vec<_> = accounts.filter(|account| !view.folds(view.partition_of(account))).cloned().collect();
        cold.sort_unstable();
        cold.dedup();
        if cold.is_empty() { HashMap::new() } else { self.read_all(cold).await }
    }

    async fn read_all(&self, accounts: Vec<AccountId>) -> HashMap<AccountId, Known> {
        let mut read = HashMap::new();
        if let Some(pool) = &self.inner.read_model {
            match tokio::time::timeout(READ_MAX, active_sessions::accounts(pool, &accounts)).await {
                Ok(Ok(known)) => read = known,
                Ok(Err(error)) => tracing::debug!(%error, "the read model does not say what it knows"),
                Err(_) => tracing::debug!("the read model does not say in time what it knows"),
            }
        }
        let known = accounts.into_iter().map(|account| {
            let known = match read.remove(&account) {
                Some(known) => self.of_read_model(&account, known),
                None => self.nothing(&account),
            };
            (account, known)
        });
        known.collect()
    }

    fn of_read_model(&self, id: &AccountId, known: KnownAccount) -> Known {
        let KnownAccount { account, partition: _, position } = known;
        Known::ReadModel(Box::new(Cold {
            account,
            policies: self.inner.catalog.policies(),
            partition: self.inner.view.partition_of(id),
            next_offset: position.next_offset,
            clock: position.clock,
        }))
    }

    fn nothing(&self, account: &AccountId) -> Known {
        Known::Nothing(Box::new(Cold {
            account: Account::default(),
            policies: self.inner.catalog.policies(),
            partition: self.inner.view.partition_of(account),
            next_offset: 0,
            clock: Timestamp::MIN,
        }))
    }

    /// Looks at an account as it is known.
    pub(super) fn look<R>(&self, account: &AccountId, known: &Known, look: impl FnOnce(&Look<'_>) -> R) -> R {
        self.look_at(account, known, self.inner.view.clock(), look)
    }

    /// The same at an instant.
    pub(super) fn look_at<R>(
        &self,
        account: &AccountId,
        known: &Known,
        now: Now,
        look: impl FnOnce(&Look<'_>) -> R,
    ) -> R {
        match known {
            Known::View => self.inner.view.look_at(account, now, look),
            Known::ReadModel(cold) | Known::Nothing(cold) => look(&cold.look(now.at())),
        }
    }

    /// Why an answer from what `look` shows is provisional.
    pub(super) fn because(&self, known: &Known, look: &Look<'_>) -> Because {
        match known {
            Known::View if look.caught_up => Because::ViewBehind,
            Known::View if self.inner.view.is_whole() => Because::Starting,
            Known::View | Known::ReadModel(_) | Known::Nothing(_) => Because::PartitionMoving,
        }
    }
}

impl Cold {
    fn look(&self, now: Timestamp) -> Look<'_> {
        // Leases stand still at the last record known: who was allowed stays so.
        let at = if self.clock == Timestamp::MIN { now } else { self.clock };
        Look {
            account: Some(&self.account),
            policies: &self.policies,
            as_of: AsOf { partition: self.partition, offset: self.next_offset - 1, at },
            stale_ms: now.ms_since(at),
            clock: self.clock,
            caught_up: false,
        }
    }
}
