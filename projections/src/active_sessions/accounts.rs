//! The accounts in memory: a bounded copy of what the tables say.

use std::collections::HashMap;

use pulsegate_domain::account::{Account, SessionState};
use pulsegate_domain::ids::AccountId;
use pulsegate_domain::time::Timestamp;
use sqlx::PgTransaction;

/// How many accounts of one partition are kept before those that were quiet longest are let go. Each live session is
/// heard of every 10 s, so a cache that holds fewer than all accounts with one hardly ever has what is asked for: this
/// one serves deployments that it holds whole, and costs the others little.
const ACCOUNTS_MAX: usize = 2_000;

type Map = HashMap<AccountId, Account, foldhash::fast::RandomState>;

/// The accounts of one partition that were heard of lately.
///
/// Two generations: a batch's accounts move to the younger; when that is full, it becomes the older, and
/// what had been the older is let go.
#[derive(Debug)]
pub struct Accounts {
    younger: Map,
    older: Map,
    /// When, by the partition's clock, forgotten sessions are deleted next.
    pub(super) purges_at: Timestamp,
}

impl Default for Accounts {
    fn default() -> Self {
        Self { younger: Map::default(), older: Map::default(), purges_at: Timestamp::MIN }
    }
}

impl Accounts {
    /// An account that was brought into memory.
    pub(super) fn get(&mut self, id: &AccountId) -> Option<&mut Account> {
        self.younger.get_mut(id)
    }

    /// Makes room for a batch's accounts; returns those that aren't in memory.
    pub(super) fn missing<'a>(&mut self, ids: impl Iterator<Item = &'a AccountId>) -> Vec<String> {
        if self.younger.len() >= ACCOUNTS_MAX / 2 {
            self.older = std::mem::take(&mut self.younger);
        }
        let mut missing = Vec::new();
        for id in ids {
            if self.younger.contains_key(id) {
                continue;
            }
            let known = self.older.remove(id);
            if known.is_none() {
                missing.push(id.as_str().to_owned());
            }
            self.younger.insert(id.clone(), known.unwrap_or_default());
        }
        missing
    }

    /// Brings accounts from the tables into memory, by one query.
    pub(super) async fn bring(&mut self, missing: Vec<String>, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
        if missing.is_empty() {
            return Ok(());
        }
        let rows = sqlx::query_as::<_, (String, String)>(
            "select account_id, state from session_states where account_id = any($1) order by account_id",
        )
        .bind(missing)
        .fetch_all(&mut **tx)
        .await?;
        let mut rows = rows.into_iter().peekable();
        while let Some((id, first)) = rows.next() {
            let mut sessions = vec![read_state(&first)?];
            while let Some((_, state)) = rows.next_if(|(other, _)| *other == id) {
                sessions.push(read_state(&state)?);
            }
            self.younger.insert(read_id(&id)?, Account::from_sessions(sessions));
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
