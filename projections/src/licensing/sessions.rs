//! The sessions in memory: a bounded copy of what the tables say.

use std::collections::HashMap;

use pulsegate_domain::ids::{AccountId, InvalidId, SessionId};
use pulsegate_domain::watch_time::{Ranges, WatchTime};
use sqlx::PgTransaction;
use uuid::Uuid;

use super::multirange;

/// How many sessions of one partition are kept before those that were quiet longest are let go.
const SESSIONS_MAX: usize = 40_000;

/// A session: ids that a player chose may be the same in two accounts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) session: SessionId,
    pub(super) account: AccountId,
}

/// A session as it is folded.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) watch: WatchTime,
    /// How it stands in the tables; `None` while it doesn't.
    pub(super) row: Option<InTables>,
    /// It was changed by the batch that is being folded.
    pub(super) is_changed: bool,
    /// So were its facts.
    pub(super) has_grown: bool,
}

/// How a session stands in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InTables {
    /// The offset of the first record that named it.
    pub(super) first_offset: i64,
    /// How many facts it has there.
    pub(super) facts: usize,
}

type Map = HashMap<Key, Kept, foldhash::fast::RandomState>;

/// The sessions of one partition that were heard of lately.
///
/// Two generations: a batch's sessions move to the younger; when that is full, it becomes the older, and
/// what had been the older is let go.
#[derive(Debug, Default)]
pub struct Sessions {
    younger: Map,
    older: Map,
    /// Whether every session of the partition is here, so that none need be looked for; `None`: not asked yet.
    is_whole: Option<bool>,
}

impl Sessions {
    /// A session that was brought into memory.
    pub(super) fn get(&mut self, key: &Key) -> Option<&mut Kept> {
        self.younger.get_mut(key)
    }

    /// Makes room for a batch's sessions; returns those that aren't in memory.
    pub(super) fn missing(&mut self, keys: impl Iterator<Item = Key>) -> Vec<Uuid> {
        if self.younger.len() >= SESSIONS_MAX / 2 {
            let let_go = std::mem::replace(&mut self.older, std::mem::take(&mut self.younger));
            if !let_go.is_empty() {
                self.is_whole = Some(false);
            }
        }
        let mut missing = Vec::new();
        for key in keys {
            if self.younger.contains_key(&key) {
                continue;
            }
            let known = self.older.remove(&key);
            if known.is_none() {
                missing.push(key.session.uuid());
            }
            self.younger.insert(key, known.unwrap_or_default());
        }
        missing
    }

    /// Brings sessions from the tables into memory.
    pub(super) async fn bring(
        &mut self,
        partition: i32,
        missing: Vec<Uuid>,
        tx: &mut PgTransaction<'_>,
    ) -> Result<(), sqlx::Error> {
        if missing.is_empty() || self.is_whole == Some(true) {
            return Ok(());
        }
        if self.is_whole.is_none() {
            let any = sqlx::query_scalar::<_, bool>("select exists (select from sessions where partition = $1)");
            self.is_whole = Some(!any.bind(partition).fetch_one(&mut **tx).await?);
            if self.is_whole == Some(true) {
                return Ok(());
            }
        }
        let rows = sqlx::query_as::<_, (Uuid, String, i64, String, String)>(
            "select session_id, account_id, first_offset, seen::text, state::text from sessions
             where session_id = any($1) and partition = $2",
        )
        .bind(missing)
        .bind(partition)
        .fetch_all(&mut **tx)
        .await?;
        for (session, account, first_offset, seen, state) in rows {
            let key = Key { session: id(SessionId::new(session))?, account: id(account.parse())? };
            // Another account's session of the same id may be of no concern to this batch.
            let Some(kept) = self.younger.get_mut(&key).filter(|kept| kept.row.is_none()) else { continue };
            let mut watch: WatchTime =
                serde_json::from_str(&state).map_err(|error| sqlx::Error::Decode(error.into()))?;
            watch.replace_content(read_seen(&seen)?);
            let facts = watch.facts_taken() + watch.facts().len();
            *kept = Kept { watch, row: Some(InTables { first_offset, facts }), ..Kept::default() };
        }
        Ok(())
    }
}

fn id<T>(read: Result<T, InvalidId>) -> Result<T, sqlx::Error> {
    read.map_err(|error| sqlx::Error::Decode(error.into()))
}

/// The content seen, as it stands in the column `seen`.
fn read_seen(text: &str) -> Result<Ranges, sqlx::Error> {
    let unreadable = || sqlx::Error::Decode(format!("no content is {text:?}").into());
    let mut seen = Ranges::default();
    for (start, end) in multirange::read(text).ok_or_else(unreadable)? {
        let (Ok(start), Ok(end)) = (u64::try_from(start), u64::try_from(end)) else { return Err(unreadable()) };
        seen.insert(start, end);
    }
    Ok(seen)
}
