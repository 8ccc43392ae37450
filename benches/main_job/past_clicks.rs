//! A month of clickstream in the read model's tables, as its fold would have left it.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sqlx::PgPool;

/// First instant of the first day: 2026-11-01.
const FIRST_MS: i64 = 1_793_491_200_000;
const DAY_MS: i64 = 86_400_000;
const DAYS: i64 = 30;
/// Days that are written at once, a connection each.
const AT_ONCE: usize = 2;

/// Writes so many events of a hundredth as many people, in ten names of very different frequency, over 30 days.
///
/// The number of a name falls off with its rank; who did it, when, and what it says are hashes of the event's number, so
/// that two runs measure the same.
pub(crate) async fn write(pool: &PgPool, events: i64) -> sqlx::Result<()> {
    stream::iter(0..DAYS).map(|day| write_day(pool, day, events)).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    sqlx::raw_sql(COUNTS_AND_SAMPLES).execute(pool).await?;
    sqlx::raw_sql(VACUUM).execute(pool).await?;
    Ok(())
}

async fn write_day(pool: &PgPool, day: i64, events: i64) -> sqlx::Result<()> {
    let mut tx = pool.begin().await?;
    sqlx::raw_sql("set local search_path = clickstream_v2").execute(&mut *tx).await?;
    sqlx::query("select hold_days(array[(to_timestamp($1::bigint / 1000) at time zone 'UTC')::date])")
        .bind(FIRST_MS + day * DAY_MS)
        .execute(&mut *tx)
        .await?;
    sqlx::query(EVENTS)
        .bind(day)
        .bind(FIRST_MS + day * DAY_MS)
        .bind(events / DAYS)
        .bind(events)
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}

/// $1: which day; $2: its first millisecond; $3: its events; $4: all events.
const EVENTS: &str = r#"
insert into events (partition, log_offset, logged_at, occurred_at, event_id, name, account_id, anonymous_id, session_id,
                    properties)
select n % 12, n, at, at, 'id-' || n, name, account, null,
       (lpad(to_hex(person % 4294967296), 8, '0') || '-0000-4000-8000-' || lpad(to_hex($1::bigint * 24 + slot), 12, '0'))::uuid,
       format('{"player":{"version":"%s","kind":"%s"},"title":"title-%s","position_ms":%s}',
              (array['3.0', '3.1', '3.2', '4.0'])[1 + h % 4], (array['tv', 'web', 'mobile'])[1 + h / 5 % 3],
              h / 11 % 1000, h % 5400000)
from (
  select n, h, person, 'account-' || person as account, slot,
         to_timestamp(($2::bigint + slot * 3600000 + h / 3 % 3600000) / 1000.0::float8) as at,
         (array['heartbeat', 'play', 'open', 'browse', 'pause', 'search', 'seek', 'finish', 'rate', 'share'])
           [1 + (10 * power((h / 13 % 10000) / 10000.0::float8, 1.7))::int % 10] as name
  from (
    select n, (hashint8(n) & 2147483647)::bigint as h,
           (hashint8(n / 10 * 31) & 2147483647)::bigint % greatest($4::bigint / 100, 1) as person,
           (hashint8(n / 10) & 2147483647)::bigint % 24 as slot
    from generate_series($1::bigint * $3::bigint, ($1::bigint + 1) * $3::bigint - 1) as n
  ) as numbered
) as made
order by at"#;

const COUNTS_AND_SAMPLES: &str = "
set search_path = clickstream_v2;
insert into counts_by_hour
  select date_trunc('hour', logged_at, 'UTC'), name, partition, count(*) from events group by 1, 2, 3;
insert into counts_by_day
  select (hour at time zone 'UTC')::date, name, partition, sum(events) from counts_by_hour group by 1, 2, 3;
insert into sample_16
  select partition, log_offset, logged_at, name, hashtextextended('a' || account_id, 0), session_id, properties::jsonb
  from events where hashtextextended('a' || account_id, 0) & 15 = 0;
insert into sample_256 select * from sample_16 where person & 255 = 0;
insert into pulsegate.projection_offsets (build, topic, partition, next_offset, clock_ms)
  select 'clickstream_v2', 'clickstream', 0, max(log_offset) + 1, (date_part('epoch', max(logged_at)) * 1000)::bigint
  from events;
reset search_path";

/// So that the planner knows.
const VACUUM: &str =
    "vacuum analyze clickstream_v2.events, clickstream_v2.counts_by_hour, clickstream_v2.counts_by_day,
  clickstream_v2.sample_16, clickstream_v2.sample_256";
