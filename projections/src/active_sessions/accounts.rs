//! The accounts in memory: a bounded copy of what the tables say.

use pulsegate_domain::account::{Account, SessionState};
use pulsegate_domain::ids::AccountId;
use pulsegate_domain::time::Timestamp;
use sqlx::PgTransaction;

use crate::cache::Cache;

/// The accounts of one partition that were heard of lately.
#[derive(Debug)]
pub struct Accounts {
    cache: Cache<AccountId, Account>,
    /// When, by the partition's clock, forgotten sessions are deleted next.
    pub(super) purges_at: Timestamp,
    /// Whether it says what the tables don't say yet, so that no account may be let go.
    pub(super) is_ahead: bool,
}

impl Default for Accounts {
    fn default() -> Self {
        Self { cache: Cache::default(), purges_at: Timestamp::MIN, is_ahead: false }
    }
}

impl Accounts {
    /// An account that was brought into memory.
    pub(super) fn get(&mut self, id: &AccountId) -> Option<&mut Account> {
        self.cache.get_mut(id)
    }

    /// Makes room for a batch's accounts; returns those that aren't in memory.
    pub(super) fn missing<'a>(&mut self, ids: impl Iterator<Item = &'a AccountId>, clock: Timestamp) -> Vec<AccountId> {
        if self.is_ahead { self.cache.go_on(ids.cloned(), clock) } else { self.cache.begin(ids.cloned(), clock) }
    }

    /// How many accounts were named since the tables said all that is here.
    pub(super) const fn named(&self) -> usize {
        self.cache.named()
    }

    /// Brings accounts from the tables into memory, by one query.
    pub(super) async fn bring(
        &mut self,
        missing: Vec<AccountId>,
        tx: &mut PgTransaction<'_>,
    ) -> Result<(), sqlx::Error> {
        if missing.is_empty() {
            return Ok(());
        }
        let rows = sqlx::query_as::<_, (String, String)>(
            "select account_id, state from session_states where account_id = any($1) order by account_id",
        )
        .bind(missing.iter().map(AccountId::as_str).collect::<Vec<_>>())
        .fetch_all(&mut **tx)
        .await?;
        let mut rows = rows.into_iter().peekable();
        while let Some((id, first)) = rows.next() {
            let mut sessions = vec![read_state(&first)?];
            while let Some((_, state)) = rows.next_if(|(other, _)| *other == id) {
                sessions.push(read_state(&state)?);
            }
            self.cache.bring(&read_id(&id)?, Account::from_sessions(sessions));
        }
        Ok(())
    }
}

/// A session as it stands in the column `state`.
pub(super) fn read_state(text: &str) -> Result<SessionState, sqlx::Error> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// An account as it stands in the column `account_id`.
pub(super) fn read_id(text: &str) -> Result<AccountId, sqlx::Error> {
    text.parse().map_err(|error: pulsegate_domain::ids::InvalidId| sqlx::Error::Decode(error.into()))
}
