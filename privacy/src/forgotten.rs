//! Who was forgotten: the list in the database, and the copy of it in memory that every fold looks at.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use pulsegate_domain::ids::AccountId;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

use crate::keys::{self, KeyError};
use crate::master::{MasterKey, Who};
use crate::sealed::DataKey;
use crate::veil::Veil;

/// Most forgotten accounts that a process has in memory.
pub const FORGOTTEN_MAX: i64 = 10_000_000;

/// A forgotten account, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ForgottenAccount {
    /// What stands in its place.
    pub pseudonym: AccountId,
    /// When it was forgotten.
    pub forgotten_at: DateTime<Utc>,
}

/// Who was forgotten, as far as a fold of one build knows, and the key by which it can tell. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Forgotten {
    master: Option<MasterKey>,
    known: Arc<ArcSwap<HashSet<Who, foldhash::fast::RandomState>>>,
}

impl Forgotten {
    /// Nobody yet. Without a master key nobody can be told, and as soon as there is anybody, folding stops and says so.
    #[must_use]
    pub fn new(master: Option<MasterKey>) -> Self {
        Self { master, known: Arc::default() }
    }

    /// How many are known. The list only ever grows, so this is also its version.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.load().len()
    }

    /// Whether nobody was forgotten.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether anything that is sealed can be opened.
    #[must_use]
    pub const fn opens(&self) -> bool {
        self.master.is_some()
    }

    /// The same key, and nobody known yet: each build has a list of its own.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self::new(self.master.clone())
    }

    /// Brings the list up to who was taken out of `build`, or was forgotten before it was made.
    pub async fn reload(&self, build: &str, connection: &mut PgConnection) -> Result<(), KeyError> {
        let count = sqlx::query_scalar::<_, i64>(
            "select count(*) from pulsegate.account_keys as gone where forgotten_at is not null
             and not exists (select from pulsegate.forgetting where forgetting.who = gone.who and build = $1)",
        )
        .bind(build)
        .fetch_one(&mut *connection)
        .await?;
        if usize::try_from(count).is_ok_and(|count| count == self.len()) {
            return Ok(());
        }
        if count > FORGOTTEN_MAX {
            return Err(KeyError::TooMany);
        }
        let Some(master) = &self.master else { return Err(KeyError::NoMaster) };
        keys::check(master, connection).await?;
        let rows = sqlx::query_scalar::<_, Vec<u8>>(
            "select who from pulsegate.account_keys as gone where forgotten_at is not null
             and not exists (select from pulsegate.forgetting where forgetting.who = gone.who and build = $1)",
        )
        .bind(build)
        .fetch_all(connection)
        .await?;
        self.known.store(Arc::new(rows.iter().filter_map(|who| Who::from_bytes(who)).collect()));
        Ok(())
    }

    /// How many accounts have a key and how many were forgotten; an error where that can't be read with this master key.
    pub async fn keys_kept(&self, pool: &PgPool) -> Result<(i64, i64), KeyError> {
        let mut connection = pool.acquire().await?;
        let (all, keys) =
            sqlx::query_as::<_, (i64, i64)>("select count(*), count(wrapped) from pulsegate.account_keys")
                .fetch_one(&mut *connection)
                .await?;
        match &self.master {
            Some(master) => keys::check(master, &mut connection).await?,
            None if all > 0 => return Err(KeyError::NoMaster),
            None => {}
        }
        Ok((keys, all - keys))
    }

    /// What is laid over the records of the forgotten; `None` while there are none.
    #[must_use]
    pub fn veil(&self) -> Option<Veil> {
        let known = self.known.load_full();
        if known.is_empty() {
            return None;
        }
        self.master.clone().map(|master| Veil::new(master, known))
    }

    /// The keys of these accounts that there are, by the account.
    pub async fn keys_of<'a>(
        &self,
        accounts: impl Iterator<Item = &'a AccountId>,
        connection: &mut PgConnection,
    ) -> Result<HashMap<AccountId, Arc<DataKey>>, KeyError> {
        let master = self.master.as_ref().ok_or(KeyError::NoMaster)?;
        let whos: HashMap<_, _> = accounts.map(|account| (account, master.who(account.as_str().as_bytes()))).collect();
        let mut distinct: Vec<_> = whos.values().copied().collect();
        distinct.sort_unstable();
        distinct.dedup();
        let standing = keys::standing(master, connection, &distinct).await?;
        let standing: HashMap<_, _> = standing.into_iter().map(|(who, key)| (who, Arc::new(key))).collect();
        let key_of = |(account, who): (&AccountId, Who)| Some((account.clone(), Arc::clone(standing.get(&who)?)));
        Ok(whos.into_iter().filter_map(key_of).collect())
    }

    /// Everybody who was forgotten, the newest first.
    pub async fn list(pool: &PgPool) -> Result<Vec<ForgottenAccount>, sqlx::Error> {
        let rows = sqlx::query_as::<_, (Vec<u8>, DateTime<Utc>)>(
            "select who, forgotten_at from pulsegate.account_keys where forgotten_at is not null
             order by forgotten_at desc, who limit $1",
        )
        .bind(FORGOTTEN_MAX)
        .fetch_all(pool)
        .await?;
        let listed = rows.into_iter().filter_map(|(who, forgotten_at)| {
            Some(ForgottenAccount { pseudonym: Who::from_bytes(&who)?.pseudonym(), forgotten_at })
        });
        Ok(listed.collect())
    }

    /// Destroys the key of an account and puts it on the list. Every build still names it. Returns whether it wasn't on
    /// the list.
    pub async fn destroy(master: &MasterKey, who: Who, pool: &PgPool) -> Result<bool, KeyError> {
        let mut tx = pool.begin().await?;
        keys::claim(master, &mut tx).await?;
        let new = put(&[who], &mut tx).await?;
        sqlx::query(
            "insert into pulsegate.forgetting (who, build)
             select who, build from unnest($1::bytea[]) as gone (who), pulsegate.projection_builds",
        )
        .bind(bytes(&new))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(!new.is_empty())
    }

    /// Notes that `build` names an account no more; in the transaction that changed its rows.
    pub async fn taken_out(who: Who, build: &str, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query("delete from pulsegate.forgetting where build = $1 and who = $2")
            .bind(build)
            .bind(who.as_bytes())
            .execute(connection)
            .await?;
        Ok(())
    }

    /// Puts everybody on the list of whom the log says that they were forgotten: a database that was made anew, or
    /// restored from a backup, knows nothing of it. What it has folded may name them. Returns how many are new there.
    pub async fn restore(pseudonyms: &BTreeSet<String>, pool: &PgPool) -> Result<usize, sqlx::Error> {
        let whos: Vec<_> = pseudonyms.iter().filter_map(|text| Who::of_pseudonym(text)).collect();
        if whos.is_empty() {
            return Ok(0);
        }
        let mut tx = pool.begin().await?;
        let new = put(&whos, &mut tx).await?;
        sqlx::query(
            "insert into pulsegate.forgetting (who, build)
             select who, build from unnest($1::bytea[]) as gone (who),
                  (select distinct build from pulsegate.projection_offsets where next_offset > 0) as begun",
        )
        .bind(bytes(&new))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(new.len())
    }
}

fn bytes(whos: &[Who]) -> Vec<Vec<u8>> {
    whos.iter().map(|who| who.as_bytes().to_vec()).collect()
}

/// Destroys the keys of these and puts them on the list; returns those that weren't there.
async fn put(whos: &[Who], connection: &mut PgConnection) -> Result<Vec<Who>, sqlx::Error> {
    let new = sqlx::query_scalar::<_, Vec<u8>>(
        "insert into pulsegate.account_keys (who, wrapped, forgotten_at)
         select who, null, now() from unnest($1::bytea[]) as gone (who) order by who
         on conflict on constraint account_keys_pk do update set wrapped = null, forgotten_at = now()
         where account_keys.forgotten_at is null
         returning who",
    )
    .bind(bytes(whos))
    .fetch_all(connection)
    .await?;
    Ok(new.iter().filter_map(|who| Who::from_bytes(who)).collect())
}
