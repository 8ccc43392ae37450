//! A statement as the read models have it now, in one snapshot.

use std::time::Duration;

use chrono::NaiveDate;
use pulsegate_domain::ids::Territory;
use pulsegate_domain::topic::Topic;
use sqlx::{PgPool, PgTransaction, Postgres, Transaction};

use super::agreements::{Agreements, Outside};
use super::assemble::{Used, assemble};
use super::{About, Key, Statement, StatementError, watched};
use crate::licensing::REGISTERED;
use crate::live::{self, AsOf};

/// Longest that one statement may take here, as the server reads it.
const STATEMENT_MAX: &str = "15min";
/// What one sort may take of the server's memory.
const SORT_MEMORY: &str = "128MB";
/// How often it is asked whether one read model has caught up with the other.
const BESIDE_TRIES_MAX: u32 = 20;
/// How long between two such questions.
const BESIDE_AGAIN: Duration = Duration::from_millis(250);

/// Makes the statement; `agreements` are asked for once the snapshot is taken, so that they are no older.
pub async fn provisional(
    pool: &PgPool,
    about: &About,
    agreements: impl AsyncFnOnce() -> Option<Agreements>,
) -> Result<Statement, StatementError> {
    let (mut tx, mut as_of) = begin(pool).await?;
    // A month of millions of plays is sorted several times, in memory where it fits; whoever asked for it waits or keeps it.
    sqlx::query("select set_config('statement_timeout', $1, true), set_config('work_mem', $2, true)")
        .bind(STATEMENT_MAX)
        .bind(SORT_MEMORY)
        .execute(&mut *tx)
        .await?;
    let agreements = agreements().await.ok_or(StatementError::CatalogAway)?;
    let mut used = Used { service_watched_ms: service_watched_ms(about, &mut tx).await?, ..Used::default() };
    watched::watched(about, &agreements, &mut used, &mut tx).await?;
    blocked(about, &agreements, &mut used, &mut tx).await?;
    tx.commit().await?;
    as_of.extend(AsOf::before(Topic::Catalog, 0, agreements.next_offset));
    as_of.sort();
    used.as_of = as_of;
    Ok(assemble(about, used, &agreements))
}

/// Begins a read in which both read models agree on how far the log is folded: one may be a moment behind the other.
async fn begin(pool: &PgPool) -> Result<(Transaction<'static, Postgres>, Vec<AsOf>), StatementError> {
    let mut tries = 0;
    loop {
        let Some((mut tx, as_of)) = live::begin(pool, &REGISTERED).await? else {
            return Err(StatementError::NothingLive);
        };
        check_version(&mut tx).await?;
        match check_beside(&mut tx).await {
            Err(StatementError::Behind) if tries < BESIDE_TRIES_MAX => tries += 1,
            checked => return checked.map(|()| (tx, as_of)),
        }
        drop(tx);
        tokio::time::sleep(BESIDE_AGAIN).await;
    }
}

/// The first version of licensing had no class of device.
async fn check_version(tx: &mut PgTransaction<'_>) -> Result<(), StatementError> {
    let version: Option<i32> =
        sqlx::query_scalar("select version from pulsegate.projection_builds where name = $1 and state = 'live'")
            .bind(REGISTERED.name)
            .fetch_optional(&mut **tx)
            .await?;
    if version.is_some_and(|version| version < 2) { Err(StatementError::OldLicensing) } else { Ok(()) }
}

/// Who was told no stands in another read model: it must have folded at least as much.
async fn check_beside(tx: &mut PgTransaction<'_>) -> Result<(), StatementError> {
    let is_behind: bool = sqlx::query_scalar(
        "select exists (
           select from pulsegate.live_offsets watched
           left join pulsegate.live_offsets blocked
             on blocked.name = 'active_sessions' and blocked.topic = watched.topic
            and blocked.partition = watched.partition
           where watched.name = $1 and coalesce(blocked.next_offset, 0) < watched.next_offset)",
    )
    .bind(REGISTERED.name)
    .fetch_one(&mut **tx)
    .await?;
    if is_behind { Err(StatementError::Behind) } else { Ok(()) }
}

async fn service_watched_ms(about: &About, tx: &mut PgTransaction<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select coalesce(sum(watched_ms), 0)::bigint from facts where day between $1 and $2")
        .bind(about.period.first)
        .bind(about.period.last)
        .fetch_one(&mut **tx)
        .await
}

#[derive(sqlx::FromRow)]
struct Refused {
    day: NaiveDate,
    title_id: String,
    territory: String,
    device_class: String,
    attempts: i64,
}

async fn blocked(
    about: &About,
    agreements: &Agreements,
    used: &mut Used,
    tx: &mut PgTransaction<'_>,
) -> Result<(), StatementError> {
    // What active_sessions folded beyond licensing isn't in the statement yet.
    let refused = sqlx::query_as::<_, Refused>(
        "select (refused.at at time zone 'UTC')::date as day, coalesce(refused.title_id, '') as title_id,
                coalesce(sessions.territory, 'ZZ') as territory, coalesce(refused.device_class, 'other') as device_class,
                count(*) as attempts
         from active_sessions.decisions refused
         join pulsegate.live_offsets stands
           on stands.name = $3 and stands.topic = 'playback' and stands.partition = refused.partition
          and refused.log_offset < stands.next_offset
         left join sessions on sessions.session_id = refused.session_id and sessions.account_id = refused.account_id
         where refused.decision = 'refuse'
           and refused.at >= $1::date::timestamp at time zone 'UTC'
           and refused.at < ($2::date + 1)::timestamp at time zone 'UTC'
         group by 1, 2, 3, 4",
    )
    .bind(about.period.first)
    .bind(about.period.last)
    .bind(REGISTERED.name)
    .fetch_all(&mut **tx)
    .await?;
    for one in refused {
        let territory = one.territory.parse().unwrap_or_default();
        used.add_blocked(about, agreements, (&one.title_id, territory, &one.device_class, one.day), one.attempts);
    }
    Ok(())
}

impl Used {
    /// Counts attempts that were told no, under each contract in force.
    pub(super) fn add_blocked(
        &mut self,
        about: &About,
        agreements: &Agreements,
        (title, territory, device_class, day): (&str, Territory, &str, NaiveDate),
        attempts: i64,
    ) {
        for key in keys(about, agreements, title, territory, device_class, day) {
            self.rows.entry(key).or_default().blocked_attempts += attempts;
        }
    }
}

/// The rows that something falls in: one for each contract in force, or one without.
pub(super) fn keys(
    about: &About,
    agreements: &Agreements,
    title: &str,
    territory: Territory,
    device_class: &str,
    day: NaiveDate,
) -> Vec<Key> {
    let key = |rights_holder_id: String, contract_id: String| Key {
        rights_holder_id,
        contract_id,
        title_id: title.to_owned(),
        territory: territory.as_str().to_owned(),
        device_class: device_class.to_owned(),
        currency: String::new(),
    };
    let in_force = agreements.in_force(title, territory, day);
    let mut keys: Vec<_> = in_force
        .iter()
        .map(|one| key(one.contract.rights_holder_id.to_string(), one.contract.contract_id.to_string()))
        .collect();
    if keys.is_empty() {
        let owner = agreements.titles.get(title).map(|title| title.owner.to_string());
        keys.push(key(owner.unwrap_or_default(), String::new()));
    }
    keys.retain(|key| about.rights_holder.as_ref().is_none_or(|holder| holder.as_str() == key.rights_holder_id));
    keys
}

/// The two figures that say that something was outside.
pub(super) fn outside_ms(outside: Option<Outside>, watched_ms: i64) -> (i64, i64) {
    match outside {
        Some(Outside::Window) => (watched_ms, 0),
        Some(Outside::Territory) => (0, watched_ms),
        None => (0, 0),
    }
}
