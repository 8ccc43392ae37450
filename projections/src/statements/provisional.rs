//! A statement as the read models have it now, in one snapshot.

use std::time::Duration;

use chrono::NaiveDate;
use futures_util::TryStreamExt as _;
use pulsegate_domain::ids::Territory;
use pulsegate_domain::topic::Topic;
use pulsegate_domain::watch_time::VIEW_THRESHOLD_MS;
use sqlx::{PgPool, PgTransaction, Postgres, Transaction};

use super::agreements::{Agreements, Outside};
use super::assemble::{Used, assemble};
use super::{About, Figures, Key, ROWS_MAX, Statement, StatementError};
use crate::licensing::REGISTERED;
use crate::live::{self, AsOf};

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
    let agreements = agreements().await.ok_or(StatementError::CatalogAway)?;
    let mut used = Used { service_watched_ms: service_watched_ms(about, &mut tx).await?, ..Used::default() };
    watched(about, &agreements, &mut used, &mut tx).await?;
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

/// The contracts of the catalog as one statement takes them: lists side by side.
#[derive(Default)]
struct Lists {
    owned_titles: Vec<String>,
    owners: Vec<String>,
    has_contracts: Vec<bool>,
    titles: Vec<String>,
    contracts: Vec<String>,
    holders: Vec<String>,
    from: Vec<NaiveDate>,
    until: Vec<NaiveDate>,
    thresholds_ms: Vec<i64>,
    territories: Vec<Option<String>>,
}

impl Lists {
    fn of(agreements: &Agreements, about: &About) -> Self {
        let mut lists = Self::default();
        for (title, of_title) in &agreements.titles {
            lists.owned_titles.push(title.clone());
            lists.owners.push(of_title.owner.to_string());
            lists.has_contracts.push(!of_title.contracts.is_empty());
            for agreement in of_title.contracts.iter().filter_map(|id| agreements.contracts.get(id)) {
                // Within the period, whose days any calendar holds.
                let Some((from, until)) = agreement.days_in(&about.period) else { continue };
                lists.titles.push(title.clone());
                lists.contracts.push(agreement.contract.contract_id.to_string());
                lists.holders.push(agreement.contract.rights_holder_id.to_string());
                lists.from.push(from);
                lists.until.push(until);
                lists.thresholds_ms.push(i64::try_from(agreement.threshold_ms()).unwrap_or(i64::MAX));
                // Two upper-case letters each, so that nothing has to be quoted.
                lists.territories.push(agreement.contract.territories.as_ref().map(|territories| {
                    format!("{{{}}}", territories.iter().map(Territory::as_str).collect::<Vec<_>>().join(","))
                }));
            }
        }
        lists
    }
}

#[derive(sqlx::FromRow)]
struct Sums {
    rights_holder_id: String,
    contract_id: String,
    title_id: String,
    territory: String,
    device_class: String,
    plays: i64,
    qualified_views: i64,
    watched_ms: i64,
    aged_ms: i64,
    content_ms: i64,
    distinct_accounts: i64,
    peak_concurrent: i64,
    outside_window_ms: i64,
    outside_territory_ms: i64,
}

async fn watched(
    about: &About,
    agreements: &Agreements,
    used: &mut Used,
    tx: &mut PgTransaction<'_>,
) -> Result<(), StatementError> {
    // An id is never empty, so '' stands for none and the two halves can be joined by equality. An interval's end
    // comes before another's beginning at the same instant: they are half open.
    const SUMS: &str = "
        with owned as (
          select * from unnest($3::text[], $4::text[], $5::boolean[]) as owned (title_id, owner, has_contracts)),
        agreed as (
          select title_id, contract_id, rights_holder_id, valid_from, valid_until, threshold_ms,
                 territories::text[] as territories
          from unnest($6::text[], $7::text[], $8::text[], $9::date[], $10::date[], $11::bigint[], $12::text[])
            as agreed (title_id, contract_id, rights_holder_id, valid_from, valid_until, threshold_ms, territories)),
        days as (
          select title_id, range_agg(daterange(valid_from, valid_until, '[]')) as days from agreed group by title_id),
        chosen as (
          select facts.*, coalesce(agreed.rights_holder_id, owned.owner, '') as rights_holder_id,
                 coalesce(agreed.contract_id, '') as contract_id,
                 greatest(coalesce(agreed.threshold_ms, $13), 1) as threshold_ms,
                 case when agreed.contract_id is not null or not coalesce(owned.has_contracts, false) then 'inside'
                      when coalesce(days.days @> facts.day, false) then 'territory'
                      else 'window' end as outside
          from facts
          left join owned on owned.title_id = facts.title_id
          left join agreed on agreed.title_id = facts.title_id
                          and facts.day between agreed.valid_from and agreed.valid_until
                          and (agreed.territories is null or facts.territory = any(agreed.territories))
          left join days on days.title_id = facts.title_id
          where facts.day between $1 and $2
            and ($14 = '' or coalesce(agreed.rights_holder_id, owned.owner) = $14)),
        sums as (
          select rights_holder_id, contract_id, title_id, territory, device_class,
                 count(*) filter (where played) as plays,
                 count(*) filter (where before_ms < threshold_ms and threshold_ms <= before_ms + watched_ms)
                   as qualified_views,
                 sum(watched_ms)::bigint as watched_ms, sum(aged_ms)::bigint as aged_ms,
                 sum(content_ms)::bigint as content_ms, count(distinct account_id) as distinct_accounts,
                 coalesce(sum(watched_ms) filter (where outside = 'window'), 0)::bigint as outside_window_ms,
                 coalesce(sum(watched_ms) filter (where outside = 'territory'), 0)::bigint as outside_territory_ms
          from chosen group by rights_holder_id, contract_id, title_id, territory, device_class),
        edges as (
          select rights_holder_id, contract_id, title_id, territory, device_class, edge.at, edge.step
          from chosen, unnest(intervals) as watched,
               lateral (values (lower(watched), 1), (upper(watched), -1)) as edge (at, step)),
        running as (
          select rights_holder_id, contract_id, title_id, territory, device_class,
                 sum(step) over (partition by rights_holder_id, contract_id, title_id, territory, device_class
                                 order by at, step rows unbounded preceding) as concurrent
          from edges),
        peaks as (
          select rights_holder_id, contract_id, title_id, territory, device_class, max(concurrent) as peak
          from running group by rights_holder_id, contract_id, title_id, territory, device_class)
        select rights_holder_id, contract_id, title_id, territory, device_class, plays, qualified_views, watched_ms,
               aged_ms, content_ms, distinct_accounts, coalesce(peak, 0) as peak_concurrent, outside_window_ms,
               outside_territory_ms
        from sums left join peaks using (rights_holder_id, contract_id, title_id, territory, device_class)";
    let lists = Lists::of(agreements, about);
    let mut sums = sqlx::query_as::<_, Sums>(SUMS)
        .bind(about.period.first)
        .bind(about.period.last)
        .bind(lists.owned_titles)
        .bind(lists.owners)
        .bind(lists.has_contracts)
        .bind(lists.titles)
        .bind(lists.contracts)
        .bind(lists.holders)
        .bind(lists.from)
        .bind(lists.until)
        .bind(lists.thresholds_ms)
        .bind(lists.territories)
        .bind(VIEW_THRESHOLD_MS.cast_signed())
        .bind(about.holder().to_owned())
        .fetch(&mut **tx);
    while let Some(sums) = sums.try_next().await? {
        if used.rows.len() >= ROWS_MAX {
            return Err(StatementError::TooLong);
        }
        used.rows.insert(
            Key {
                rights_holder_id: sums.rights_holder_id,
                contract_id: sums.contract_id,
                title_id: sums.title_id,
                territory: sums.territory,
                device_class: sums.device_class,
                currency: String::new(),
            },
            Figures {
                plays: sums.plays,
                qualified_views: sums.qualified_views,
                watched_ms: sums.watched_ms,
                aged_ms: sums.aged_ms,
                content_ms: sums.content_ms,
                distinct_accounts: sums.distinct_accounts,
                peak_concurrent: sums.peak_concurrent,
                outside_window_ms: sums.outside_window_ms,
                outside_territory_ms: sums.outside_territory_ms,
                ..Figures::default()
            },
        );
    }
    Ok(())
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
