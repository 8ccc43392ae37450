//! The accounts' keys in the database, and those that a writer has in memory.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pulsegate_domain::ids::AccountId;
use sqlx::{PgConnection, PgPool};
use thiserror::Error;

use crate::master::{MasterKey, Who};
use crate::sealed::DataKey;

/// Most accounts whose keys are in memory.
const CACHED_MAX: usize = 100_000;
/// How long one is: a key that was destroyed is used no longer than this.
const CACHED_FOR: Duration = Duration::from_mins(1);

/// Whether the database's keys and its list are by this master key; the first to write there says which one that is.
pub(crate) async fn check(master: &MasterKey, connection: &mut PgConnection) -> Result<(), KeyError> {
    let fingerprint = sqlx::query_scalar::<_, Vec<u8>>("select fingerprint from pulsegate.privacy_key")
        .fetch_optional(connection)
        .await?;
    let is_ours = fingerprint.is_none_or(|fingerprint| fingerprint == master.fingerprint());
    if is_ours { Ok(()) } else { Err(KeyError::OtherMaster) }
}

/// The same, before something is written.
pub(crate) async fn claim(master: &MasterKey, connection: &mut PgConnection) -> Result<(), KeyError> {
    sqlx::query("insert into pulsegate.privacy_key (fingerprint) values ($1) on conflict do nothing")
        .bind(master.fingerprint())
        .execute(&mut *connection)
        .await?;
    check(master, connection).await
}

/// Why keys could not be had.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The database doesn't answer, or doesn't let this user.
    #[error("keys of accounts: {0}")]
    Database(#[from] sqlx::Error),
    /// They were wrapped by another.
    #[error("PULSEGATE_PRIVACY_KEY is not the one that this database's keys of accounts are kept under")]
    OtherMaster,
    /// There is a list of forgotten accounts, or something sealed, and no key.
    #[error(
        "PULSEGATE_PRIVACY_KEY is not set, and without it neither what is sealed nor who was forgotten can be told"
    )]
    NoMaster,
    /// More were forgotten than are kept in memory.
    #[error("more accounts were forgotten than one process keeps in memory")]
    TooMany,
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

/// What becomes of something that an account wrote.
#[derive(Clone, Debug)]
pub enum Sealing {
    /// It is sealed under this key.
    Under(Arc<DataKey>),
    /// It is let go: the account was forgotten.
    Forgotten,
}

/// With when each was read.
type Cached = HashMap<Who, (Sealing, Instant), foldhash::fast::RandomState>;

/// The keys for a writer: made where there are none, and kept in memory for a while. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AccountKeys {
    master: MasterKey,
    pool: PgPool,
    cached: Arc<Mutex<Cached>>,
}

impl AccountKeys {
    /// Keys in this database.
    #[must_use]
    pub fn new(master: MasterKey, pool: PgPool) -> Self {
        Self { master, pool, cached: Arc::default() }
    }

    /// The key of each of these accounts.
    pub async fn of<'a>(
        &self,
        accounts: impl Iterator<Item = &'a AccountId>,
    ) -> Result<HashMap<AccountId, Sealing>, KeyError> {
        let (mut found, mut missing) = (HashMap::new(), Vec::new());
        {
            let cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
            for account in accounts.collect::<HashSet<_>>() {
                let who = self.master.who(account.as_str().as_bytes());
                match cached.get(&who).filter(|(_, since)| since.elapsed() < CACHED_FOR) {
                    Some((sealing, _)) => drop(found.insert(account.clone(), sealing.clone())),
                    None => missing.push((account, who)),
                }
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let made = self.make(missing.iter().map(|(_, who)| *who)).await?;
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.len() + missing.len() > CACHED_MAX {
            cached.retain(|_, (_, since)| since.elapsed() < CACHED_FOR);
        }
        if cached.len() + missing.len() > CACHED_MAX {
            cached.clear();
        }
        for (account, who) in missing {
            // A row that was deleted in between belongs to nobody any more.
            let sealing = made.get(&who).cloned().unwrap_or(Sealing::Forgotten);
            cached.insert(who, (sealing.clone(), Instant::now()));
            found.insert(account.clone(), sealing);
        }
        Ok(found)
    }

    /// The keys in the database, made where there is no row: of two that make one at once the first counts.
    async fn make(&self, whos: impl Iterator<Item = Who>) -> Result<HashMap<Who, Sealing>, KeyError> {
        // In one order, so that no two wait for each other.
        let mut whos: Vec<_> = whos.collect();
        whos.sort_unstable();
        let mut connection = self.pool.acquire().await?;
        claim(&self.master, &mut connection).await?;
        let mut keys = wrapped(&mut connection, &whos).await?;
        let absent: Vec<_> = whos.iter().filter(|who| !keys.contains_key(*who)).copied().collect();
        if !absent.is_empty() {
            let new = absent.iter().map(|who| self.master.new_key(*who)).collect::<Result<Vec<_>, _>>()?;
            sqlx::query(
                "insert into pulsegate.account_keys (who, wrapped) select * from unnest($1::bytea[], $2::bytea[])
                 on conflict on constraint account_keys_pk do nothing",
            )
            .bind(absent.iter().map(|who| who.as_bytes().to_vec()).collect::<Vec<_>>())
            .bind(new)
            .execute(&mut *connection)
            .await?;
            keys.extend(wrapped(&mut connection, &absent).await?);
        }
        let sealing = |(who, wrapped): (Who, Option<Vec<u8>>)| {
            let Some(wrapped) = wrapped else { return Ok::<_, KeyError>((who, Sealing::Forgotten)) };
            Ok((who, Sealing::Under(Arc::new(self.master.unwrap_key(who, wrapped)?))))
        };
        keys.into_iter().map(sealing).collect()
    }
}

/// The keys that there are of these, as they are kept; `None` is one that was destroyed.
async fn wrapped(connection: &mut PgConnection, whos: &[Who]) -> Result<HashMap<Who, Option<Vec<u8>>>, sqlx::Error> {
    let rows = sqlx::query_as::<_, (Vec<u8>, Option<Vec<u8>>)>(
        "select who, wrapped from pulsegate.account_keys where who = any($1)",
    )
    .bind(whos.iter().map(|who| who.as_bytes().to_vec()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().filter_map(|(who, wrapped)| Some((Who::from_bytes(&who)?, wrapped))).collect())
}

/// For a reader: the keys that there are, none made, none kept in memory, so that one that was destroyed opens nothing
/// from that instant on.
pub(crate) async fn standing(
    master: &MasterKey,
    connection: &mut PgConnection,
    whos: &[Who],
) -> Result<HashMap<Who, DataKey>, KeyError> {
    check(master, connection).await?;
    let kept = wrapped(connection, whos).await?;
    let unwrapped = kept.into_iter().filter_map(|(who, wrapped)| {
        let key = master.unwrap_key(who, wrapped?);
        Some(key.map(|key| (who, key)))
    });
    unwrapped.collect()
}
