//! A statement as the read models have it now, in one snapshot.

use std::time::Duration;

use chrono::NaiveDate;
use pulsegate_domain::ids::{DeviceClass, Territory};
use pulsegate_domain::topic::Topic;
use sqlx::{PgPool, PgTransaction, Postgres, Transaction};

use super::agreements::{Agreements, Outside};
use super::assemble::{Used, assemble};
use super::rows::Heading;
use super::{About, Figures, Statement, StatementError, packed, watched};
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
    let mut used = Used::default();
    if !packed::watched(about, &agreements, &mut used, &mut tx).await? {
        used.service_watched_ms = service_watched_ms(about, &mut tx).await?;
        watched::watched(about, &agreements, &mut used, &mut tx).await?;
    }
    blocked(about, &agreements, &mut used, &mut tx).await?;
    tx.commit().await?;
    as_of.extend(AsOf::before(Topic::Catalog, 0, agreements.next_offset));
    as_of.sort();
    used.as_of = as_of;
    // It takes every core for a while, which no request should wait for.
    let about = about.clone();
    let made = tokio::task::spawn_blocking(move || assemble(&about, used, &agreements)).await;
    made.map_err(|error| StatementError::Unmade(error.to_string()))
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
        let place = (one.territory.parse().unwrap_or_default(), one.device_class.parse().unwrap_or(DeviceClass::Other));
        let figures = Figures { blocked_attempts: one.attempts, ..Figures::default() };
        for heading in headings(about, agreements, &one.title_id, place.0, one.day) {
            used.add(heading, place, figures);
        }
    }
    Ok(())
}

/// What something falls under: each contract in force, or none.
pub(super) fn headings(
    about: &About,
    agreements: &Agreements,
    title: &str,
    territory: Territory,
    day: NaiveDate,
) -> Vec<Heading> {
    let heading = |holder: &str, contract: &str| Heading {
        holder: holder.into(),
        contract: contract.into(),
        title: title.into(),
    };
    let in_force = agreements.in_force(title, territory, day);
    let mut headings: Vec<_> = in_force
        .iter()
        .map(|one| heading(one.contract.rights_holder_id.as_str(), one.contract.contract_id.as_str()))
        .collect();
    if headings.is_empty() {
        let owner = agreements.titles.get(title).map_or("", |title| title.owner.as_str());
        headings.push(heading(owner, ""));
    }
    headings.retain(|heading| about.rights_holder.as_ref().is_none_or(|holder| holder.as_str() == heading.holder));
    headings
}

/// The two figures that say that something was outside.
pub(super) fn outside_ms(outside: Option<Outside>, watched_ms: i64) -> (i64, i64) {
    match outside {
        Some(Outside::Window) => (watched_ms, 0),
        Some(Outside::Territory) => (0, watched_ms),
        None => (0, 0),
    }
}
