//! The sessions in memory: a bounded copy of what the tables say.

use pulsegate_domain::ids::{AccountId, InvalidId, SessionId, Territory};
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::watch_time::{Ranges, WatchTime};
use sqlx::PgTransaction;
use uuid::Uuid;

use super::multirange;
use crate::cache::Cache;

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
}

/// How a session stands in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InTables {
    /// The offset of the first record that named it.
    pub(super) first_offset: i64,
    /// How many facts it has there; with the newest stands what it takes to go on folding.
    pub(super) facts: usize,
    /// What its own row says beside that.
    pub(super) said: Said,
}

/// What a session's own row says of it: hardly ever does that change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    has_title: bool,
    began_in: Territory,
}

impl InTables {
    /// As it stands there once `watch` is written.
    pub(super) fn of(first_offset: i64, watch: &WatchTime) -> Self {
        let said = Said { has_title: watch.title_id().is_some(), began_in: watch.began_in() };
        Self { first_offset, facts: watch.facts_taken() + watch.facts().len(), said }
    }
}

/// The sessions of one partition that were heard of lately.
#[derive(Debug, Default)]
pub struct Sessions {
    cache: Cache<Key, Kept>,
    /// Whether every session of the partition was here at first, so that while none was let go none need be looked for;
    /// `None`: not asked yet.
    began_whole: Option<bool>,
    /// Whether it says what the tables don't say yet, so that no session may be let go.
    pub(super) is_ahead: bool,
}

impl Sessions {
    /// A session that was brought into memory.
    pub(super) fn get(&mut self, key: &Key) -> Option<&mut Kept> {
        self.cache.get_mut(key)
    }

    /// Makes room for a batch's sessions; returns those that aren't in memory.
    pub(super) fn missing(&mut self, keys: impl Iterator<Item = Key>, clock: Timestamp) -> Vec<Uuid> {
        let missing = if self.is_ahead { self.cache.go_on(keys, clock) } else { self.cache.begin(keys, clock) };
        missing.into_iter().map(|key| key.session.uuid()).collect()
    }

    /// How many sessions were named since the tables said all that is here.
    pub(super) const fn named(&self) -> usize {
        self.cache.named()
    }

    /// Brings sessions from the tables into memory.
    pub(super) async fn bring(
        &mut self,
        partition: i32,
        missing: Vec<Uuid>,
        tx: &mut PgTransaction<'_>,
    ) -> Result<(), sqlx::Error> {
        let is_whole = self.began_whole.map(|whole| whole && !self.cache.has_let_go());
        if missing.is_empty() || is_whole == Some(true) {
            return Ok(());
        }
        if is_whole.is_none() {
            let any = sqlx::query_scalar::<_, bool>("select exists (select from sessions where partition = $1)");
            let began_whole = !any.bind(partition).fetch_one(&mut **tx).await?;
            self.began_whole = Some(began_whole);
            if began_whole {
                return Ok(());
            }
        }
        // Row by row, whatever the planner believes of tables that have just grown.
        let rows = sqlx::query_as::<_, (Uuid, String, i64, Option<String>, String)>(
            "select session_id, account_id, first_offset, newest.seen::text, coalesce(newest.state, sessions.state)::text
             from sessions
             left join lateral (
               select seen, state from facts
               where facts.partition = sessions.partition and facts.first_offset = sessions.first_offset
               order by place desc limit 1
             ) newest on true
             where session_id = any($1) and partition = $2",
        )
        .bind(missing)
        .bind(partition)
        .fetch_all(&mut **tx)
        .await?;
        for (session, account, first_offset, seen, state) in rows {
            let key = Key { session: id(SessionId::new(session))?, account: id(account.parse())? };
            // Another account's session of the same id may be of no concern to this batch.
            let Some(kept) = self.cache.get_mut(&key).filter(|kept| kept.row.is_none()) else { continue };
            let mut watch: WatchTime =
                serde_json::from_str(&state).map_err(|error| sqlx::Error::Decode(error.into()))?;
            watch.replace_content(seen.as_deref().map(read_seen).transpose()?.unwrap_or_default());
            watch.shrink_to_fit();
            let row = Some(InTables::of(first_offset, &watch));
            *kept = Kept { watch, row, is_changed: false };
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
