//! What is no longer kept: the days of raw rows that are older than what is kept are dropped whole. Counts stay.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgPool};
use tokio_util::sync::CancellationToken;

use super::REGISTERED;

/// Most days that one pass drops; what is left, the next one does.
const DAYS_A_PASS_MAX: i64 = 1_000;
/// How long a pass may take.
const PASS_MAX: Duration = Duration::from_mins(2);
/// How long it is until the next pass, and until the next try of one that failed.
const EVERY: Duration = Duration::from_hours(24);
const AGAIN_AFTER: Duration = Duration::from_mins(10);

/// Most rows of a sample that one statement deletes.
const SAMPLED_A_STATEMENT_MAX: i64 = 50_000;

/// What a pass dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// From when on rows are kept; `None` while the log has no time.
    pub since: Option<DateTime<Utc>>,
    /// Partitions that were dropped, with their build.
    pub days: Vec<String>,
    /// How many could not be had, because somebody used them for too long.
    pub busy: usize,
    /// How many rows of samples went with them.
    pub sampled: u64,
}

/// Drops the raw rows of all days but the newest `days` before the log's newest day.
///
/// By the log's time, not by a wall clock: of a log that stands still nothing is lost. It decides nothing in the fold: a
/// partition of the log that is still to be folded brings its days back, and the next pass drops them.
pub async fn keep_days(pool: &PgPool, days: u32) -> Result<Dropped, sqlx::Error> {
    let newest = sqlx::query_scalar::<_, Option<i64>>(
        "select max(clock_ms) from pulsegate.live_offsets where name = $1 and next_offset > 0",
    )
    .bind(REGISTERED.name)
    .fetch_one(pool)
    .await?;
    let today = newest.and_then(DateTime::from_timestamp_millis).map(|clock| clock.date_naive());
    let Some(since) = today.and_then(|today| today.checked_sub_days(chrono::Days::new(days.into()))) else {
        return Ok(Dropped::default());
    };
    let since = since.max(NaiveDate::default()).and_time(chrono::NaiveTime::MIN).and_utc();
    // First what may be gone, then its going: so two builds are only compared in what both must have.
    sqlx::query(
        "insert into pulsegate.kept_since (projection, since) values ($1, $2)
         on conflict on constraint kept_since_pk do update set since = excluded.since
         where kept_since.since < excluded.since",
    )
    .bind(REGISTERED.name)
    .bind(since)
    .execute(pool)
    .await?;
    let old = sqlx::query_scalar::<_, String>(
        "select format('%I.%I', nspname, relname)
         from pulsegate.projection_builds
         join pg_namespace on nspname = build
         join pg_class on relnamespace = pg_namespace.oid
         where name = $1 and state in ('live', 'shadow', 'verified')
           and relkind = 'r' and relispartition and relname ~ '^events_[0-9]{8}$'
           and relname < 'events_' || to_char($2 at time zone 'UTC', 'YYYYMMDD')
         order by relname limit $3",
    )
    .bind(REGISTERED.name)
    .bind(since)
    .bind(DAYS_A_PASS_MAX)
    .fetch_all(pool)
    .await?;
    let mut dropped = Dropped { since: Some(since), ..Dropped::default() };
    for table in old {
        match drop_day(pool, &table).await {
            Ok(()) => dropped.days.push(table),
            Err(error) if is_busy(&error) => dropped.busy += 1,
            Err(error) => return Err(error),
        }
    }
    dropped.sampled = drop_sampled(pool, since).await?;
    Ok(dropped)
}

/// Of samples, which have no days of their own, the rows of such days; a piece at a time, so that nobody waits long.
async fn drop_sampled(pool: &PgPool, since: DateTime<Utc>) -> Result<u64, sqlx::Error> {
    let samples = sqlx::query_scalar::<_, String>(
        "select format('%I.%I', nspname, relname)
         from pulsegate.projection_builds
         join pg_namespace on nspname = build
         join pg_class on relnamespace = pg_namespace.oid
         where name = $1 and state in ('live', 'shadow', 'verified') and relkind = 'r'
           and relname in ('sample_16', 'sample_256')
         order by 1",
    )
    .bind(REGISTERED.name)
    .fetch_all(pool)
    .await?;
    let mut rows = 0;
    for table in samples {
        // The name was quoted by the database that gave it.
        let delete = format!(
            "delete from {table} where ctid = any(array(select ctid from {table} where logged_at < $1 limit $2))"
        );
        loop {
            let deleted = sqlx::query(AssertSqlSafe(delete.clone()))
                .bind(since)
                .bind(SAMPLED_A_STATEMENT_MAX)
                .execute(pool)
                .await?
                .rows_affected();
            rows += deleted;
            if deleted < SAMPLED_A_STATEMENT_MAX.unsigned_abs() {
                break;
            }
        }
    }
    Ok(rows)
}

/// Whoever reads or writes goes first; who waits for this waits two seconds at most.
async fn drop_day(pool: &PgPool, table: &str) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query("set local lock_timeout = '2s'").execute(&mut *tx).await?;
    // The name was quoted by the database that gave it.
    sqlx::query(AssertSqlSafe(format!("drop table {table}"))).execute(&mut *tx).await?;
    tx.commit().await
}

/// A lock that wasn't had in time, or one who drops the same day.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("55P03" | "40P01" | "42P01"))
}

/// Does so once a day, until `shutdown`.
pub async fn keep_days_daily(pool: PgPool, days: u32, shutdown: CancellationToken) {
    loop {
        let wait = match tokio::time::timeout(PASS_MAX, keep_days(&pool, days)).await {
            Ok(Ok(Dropped { since, days, busy, .. })) => {
                if !days.is_empty() || busy > 0 {
                    tracing::info!(?since, dropped = days.len(), busy, "dropped old days of the clickstream");
                }
                if busy > 0 { AGAIN_AFTER } else { EVERY }
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "dropping old days of the clickstream");
                AGAIN_AFTER
            }
            Err(_) => {
                tracing::warn!("dropping old days of the clickstream took too long");
                AGAIN_AFTER
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}
