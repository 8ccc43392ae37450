//! Closing a statement, and restating what was closed.

use std::collections::BTreeMap;

use chrono::{DateTime, Days, Utc};
use compact_str::CompactString;
use pulsegate_domain::topic::Topic;
use sqlx::{PgPool, PgTransaction};

use super::rows::difference;
use super::stored::minor_of;
use super::{
    About, Agreements, Figures, Head, LATE_DAYS, Row, State, Statement, StatementError, canonical, provisional, stored,
};
use crate::live::AsOf;

/// Rows that go to the database together.
const PAGE_ROWS: usize = 5_000;

/// A revision that was made.
#[derive(Clone, Debug)]
pub struct Closed {
    /// All but its rows.
    pub head: Head,
    /// How many rows it added.
    pub rows: usize,
}

/// Closes a statement: from then on it stands.
///
/// `now` decides whether heartbeats may still come; `early` closes all the same. What is pinned is no older than
/// `at_least`, which [`caught_up`](super::caught_up()) says.
pub async fn close(
    pool: &PgPool,
    about: &About,
    agreements: impl AsyncFnOnce() -> Option<Agreements>,
    now: DateTime<Utc>,
    early: bool,
    at_least: impl AsyncFnOnce() -> Result<Vec<AsOf>, StatementError>,
) -> Result<Closed, StatementError> {
    let until = about.period.last.checked_add_days(Days::new(LATE_DAYS + 1)).unwrap_or(about.period.last);
    if !early && now.date_naive() < until {
        return Err(StatementError::TooEarly(about.period.to_string(), until));
    }
    if stored::find(pool, about, None).await?.is_some() {
        return Err(StatementError::ClosedAlready(about.period.to_string()));
    }
    let at_least = at_least().await?;
    let Statement { mut head, rows } = complete(pool, about, agreements).await?;
    goes_on(&at_least, &head.as_of)?;
    nothing_is_parked(pool, about, &head.as_of).await?;
    (head.revision, head.state, head.closed_at) = (1, State::Closed, Some(now));
    head.sha256 = canonical::hash(&head, &rows);
    keep(pool, about, &head, &rows).await?;
    Ok(Closed { head, rows: rows.len() })
}

/// Restates a closed statement with what arrived since; `None` where that changes nothing.
pub async fn restate(
    pool: &PgPool,
    about: &About,
    agreements: impl AsyncFnOnce() -> Option<Agreements>,
    now: DateTime<Utc>,
) -> Result<Option<Closed>, StatementError> {
    let Some((before, rows_before)) = stored::find(pool, about, None).await? else {
        return Err(StatementError::NotClosed(about.period.to_string()));
    };
    let rows_before = rows_before.all().await?;
    let Statement { mut head, rows } = complete(pool, about, agreements).await?;
    goes_on(&before.as_of, &head.as_of)?;
    nothing_is_parked(pool, about, &head.as_of).await?;
    let changed = difference(rows_before, &rows);
    let due = |head: &Head| {
        let due =
            head.contracts.iter().map(|one| (one.contract_id.clone(), one.due.clone(), one.contract.get().to_owned()));
        due.collect::<Vec<_>>()
    };
    if changed.is_empty() && due(&before) == due(&head) && before.service_watched_ms == head.service_watched_ms {
        return Ok(None);
    }
    (head.revision, head.state, head.closed_at) = (before.revision + 1, State::Restated, Some(now));
    head.previous_sha256 = Some(before.sha256);
    head.sha256 = canonical::hash(&head, &rows);
    keep(pool, about, &head, &changed).await?;
    Ok(Some(Closed { head, rows: changed.len() }))
}

/// The statement as it is now, if every amount can be told.
async fn complete(
    pool: &PgPool,
    about: &About,
    agreements: impl AsyncFnOnce() -> Option<Agreements>,
) -> Result<Statement, StatementError> {
    let statement = provisional(pool, about, agreements).await?;
    if statement.head.problems.is_empty() {
        Ok(statement)
    } else {
        Err(StatementError::Incomplete(statement.head.problems))
    }
}

/// A build that was switched to must not stand before what was closed: then nothing arrived, something is missing.
fn goes_on(before: &[AsOf], now: &[AsOf]) -> Result<(), StatementError> {
    let now: BTreeMap<_, _> = now.iter().map(|one| ((&one.topic, one.partition), one.offset)).collect();
    let stands = |one: &AsOf| now.get(&(&one.topic, one.partition)).is_some_and(|offset| *offset >= one.offset);
    if before.iter().all(stands) { Ok(()) } else { Err(StatementError::Backwards) }
}

/// What could not be folded lacks, though the offsets say that it is in: nothing is closed until somebody has settled it.
///
/// A record is of the period only if the log took it in on one of its days, or on those after it on which a heartbeat may
/// still come.
async fn nothing_is_parked(pool: &PgPool, about: &About, as_of: &[AsOf]) -> Result<(), StatementError> {
    let places: (Vec<_>, Vec<_>) = as_of
        .iter()
        .filter(|one| one.topic == Topic::Playback.base_name())
        .map(|one| (one.partition, one.offset))
        .unzip();
    let parked = sqlx::query_scalar::<_, String>(
        "select format('%s %s/%s@%s', name, letters.topic, letters.partition, log_offset)
         from pulsegate.dead_letters letters
         join pulsegate.projection_builds builds using (build)
         join unnest($1::int[], $2::bigint[]) as stands (partition, until)
           on stands.partition = letters.partition and log_offset <= stands.until
         where name in ('licensing', 'active_sessions') and state = 'live' and letters.topic = $3 and kind = 'parked'
           and (logged_at is null
                or logged_at >= $4::date::timestamp at time zone 'UTC'
                   and logged_at < ($5::date + $6::int + 1)::timestamp at time zone 'UTC')
         order by name, letters.partition, log_offset",
    )
    .bind(places.0)
    .bind(places.1)
    .bind(Topic::Playback.base_name())
    .bind(about.period.first)
    .bind(about.period.last)
    .bind(i32::try_from(LATE_DAYS).unwrap_or(i32::MAX))
    .fetch_all(pool)
    .await?;
    if parked.is_empty() { Ok(()) } else { Err(StatementError::Parked(parked)) }
}

async fn keep(pool: &PgPool, about: &About, head: &Head, rows: &[Row]) -> Result<(), StatementError> {
    let text = serde_json::to_string(head).map_err(|error| StatementError::Kept(error.to_string()))?;
    let mut tx = pool.begin().await?;
    let id = sqlx::query_scalar::<_, i64>(
        "insert into pulsegate.statements
           (period, rights_holder_id, revision, first_day, last_day, closed_at, row_count, sha256, head)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict on constraint statements_revision_once do nothing returning id",
    )
    .bind(about.period.to_string())
    .bind(about.holder().to_owned())
    .bind(i32::try_from(head.revision).unwrap_or(i32::MAX))
    .bind(about.period.first)
    .bind(about.period.last)
    .bind(head.closed_at)
    .bind(i64::try_from(rows.len()).unwrap_or(i64::MAX))
    .bind(&head.sha256)
    .bind(text)
    .fetch_optional(&mut *tx)
    .await?;
    // Somebody else was first.
    let id = id.ok_or_else(|| StatementError::ClosedAlready(about.period.to_string()))?;
    let mut ordinal = 0;
    for page in rows.chunks(PAGE_ROWS) {
        keep_page(id, ordinal, page, &mut tx).await?;
        ordinal += i32::try_from(page.len()).unwrap_or(i32::MAX);
    }
    tx.commit().await?;
    Ok(())
}

async fn keep_page(id: i64, first: i32, page: &[Row], tx: &mut PgTransaction<'_>) -> Result<(), StatementError> {
    let texts = |part: fn(&Row) -> &CompactString| page.iter().map(|row| part(row).as_str()).collect::<Vec<_>>();
    let numbers = |part: fn(&Figures) -> i64| page.iter().map(|row| part(&row.figures)).collect::<Vec<_>>();
    let amounts: Option<Vec<_>> = page.iter().map(minor_of).collect();
    let amounts = amounts.ok_or_else(|| StatementError::Kept("an amount is too large".to_owned()))?;
    sqlx::query(
        "insert into pulsegate.statement_rows
           (statement_id, ordinal, rights_holder_id, contract_id, title_id, territory, device_class, currency, plays,
            qualified_views, views, watched_ms, aged_ms, content_ms, distinct_accounts, peak_concurrent,
            blocked_attempts, outside_window_ms, outside_territory_ms, runtime_ms, amount_minor)
         select $1, $2 + place::int - 1, rights_holder_id, contract_id, title_id, territory, device_class, currency, plays,
                qualified_views, views, watched_ms, aged_ms, content_ms, distinct_accounts, peak_concurrent,
                blocked_attempts, outside_window_ms, outside_territory_ms, runtime_ms, amount_minor
         from unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::bigint[],
                     $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[],
                     $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[])
           with ordinality as row (rights_holder_id, contract_id, title_id, territory, device_class, currency, plays,
                                   qualified_views, views, watched_ms, aged_ms, content_ms, distinct_accounts,
                                   peak_concurrent, blocked_attempts, outside_window_ms, outside_territory_ms,
                                   runtime_ms, amount_minor, place)",
    )
    .bind(id)
    .bind(first)
    .bind(texts(|row| &row.key.rights_holder_id))
    .bind(texts(|row| &row.key.contract_id))
    .bind(texts(|row| &row.key.title_id))
    .bind(texts(|row| &row.key.territory))
    .bind(texts(|row| &row.key.device_class))
    .bind(texts(|row| &row.key.currency))
    .bind(numbers(|figures| figures.plays))
    .bind(numbers(|figures| figures.qualified_views))
    .bind(numbers(|figures| figures.views))
    .bind(numbers(|figures| figures.watched_ms))
    .bind(numbers(|figures| figures.aged_ms))
    .bind(numbers(|figures| figures.content_ms))
    .bind(numbers(|figures| figures.distinct_accounts))
    .bind(numbers(|figures| figures.peak_concurrent))
    .bind(numbers(|figures| figures.blocked_attempts))
    .bind(numbers(|figures| figures.outside_window_ms))
    .bind(numbers(|figures| figures.outside_territory_ms))
    .bind(numbers(|figures| figures.runtime_ms))
    .bind(amounts)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
