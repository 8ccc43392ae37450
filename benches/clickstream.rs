//! How long questions about the clickstream take: each of them over so many events that samples answer, and as exact ones.
//!
//! `PULSEGATE_BENCH_EVENTS` says how many events (1 000 000 where absent) over 30 days, of a hundredth as many people, in
//! 20 names of very different frequency. They are written as the fold would have left them: what is measured is the
//! question. With `--quick` each is asked 10 times rather than 40.

use std::time::{Duration, Instant};

use pulsegate_projections::clickstream::question::Question;
use pulsegate_projections::clickstream::{self, Rows};
use pulsegate_projections::registry::REGISTERED;
use pulsegate_projections::testing::on_a_database;
use sqlx::PgPool;

/// What people ask, as they would.
const QUESTIONS: [(&str, &str); 12] = [
    ("trend", "period=30d&by=hour"),
    ("trend", "period=30d&by=day&where=$.player.version=3.1"),
    ("breakdown", "period=30d&path=$.player.version"),
    ("breakdown", "period=30d&path=$.title&name=play"),
    ("breakdown", "period=1d&path=$.title"),
    ("sessions", "period=30d"),
    ("sessions", "period=7d&by=session_id"),
    ("funnel", "period=30d&step=search&step=play&step=finish&window=1d"),
    ("funnel", "period=30d&step=open&step=search&step=play&where.3=$.player.version=3.1&window=2h"),
    ("retention", "period=30d&first=open"),
    ("retention", "period=30d&first=open&back=play"),
    ("trend", "period=30d&account=account-7&where=$.player.version=3.1"),
];

fn main() {
    // `cargo test --benches` only asks whether it compiles.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let times = if std::env::args().any(|argument| argument == "--quick") { 10 } else { 40 };
    let events = std::env::var("PULSEGATE_BENCH_EVENTS").ok().and_then(|events| events.parse().ok());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(on_a_database(REGISTERED, async |pool| measure(pool, events.unwrap_or(1_000_000), times).await));
}

async fn measure(pool: &PgPool, events: i64, times: usize) {
    let begun = Instant::now();
    fill(pool, events).await;
    println!("{events} events over 30 days, written in {:.1} s", begun.elapsed().as_secs_f64());
    let sizes: Vec<(String, i64)> = sqlx::query_as(
        "select regexp_replace(relname, '_[0-9]{8}$', ''), sum(pg_total_relation_size(oid))::bigint from pg_class
         where relnamespace = 'clickstream_v2'::regnamespace and relkind = 'r' group by 1 order by 1",
    )
    .fetch_all(pool)
    .await
    .expect("sizes");
    for (table, bytes) in sizes {
        println!("{table}: {} MB with its indexes", bytes / 1_000_000);
    }
    for (kind, query) in QUESTIONS {
        let question = Question::read_query(kind, query).expect("a question");
        let mut took = Vec::new();
        let mut told = String::new();
        for _ in 0..times {
            let begun = Instant::now();
            let answer = clickstream::ask(pool, &question).await.expect("an answer");
            took.push(begun.elapsed());
            let rows = match &answer.rows {
                Rows::Trend(rows) => rows.len(),
                Rows::Breakdown(rows) => rows.len(),
                Rows::Sessions(rows) => rows.len(),
                Rows::Funnel(rows) => rows.len(),
                Rows::Retention(rows) => rows.len(),
            };
            let sample = answer.sample.map_or_else(|| "all".to_owned(), |sample| format!("1 in {}", sample.one_in));
            told = format!("{rows} rows, {sample}");
        }
        took.sort_unstable();
        let ms = |at: usize| took[at.min(took.len() - 1)].as_secs_f64() * 1_000.0;
        println!("{kind} {query}: p50 {:.0} ms, p95 {:.0} ms ({told})", ms(times / 2), ms(times * 95 / 100));
    }
    let begun = Instant::now();
    clickstream::names(pool).await.expect("names");
    clickstream::paths(pool, Some("play")).await.expect("paths");
    told("names and paths that are suggested", begun.elapsed());
}

fn told(what: &str, took: Duration) {
    println!("{what}: {:.0} ms", took.as_secs_f64() * 1_000.0);
}

async fn fill(pool: &PgPool, events: i64) {
    let day_ms = 86_400_000_i64;
    let first_ms = 1_793_491_200_000_i64;
    for day in 0..30_i64 {
        // A day at a time, each in a transaction of its own. The number of a name falls off with its rank; who did it,
        // when, and what it says are hashes of the event's number, so that two runs measure the same.
        let mut tx = pool.begin().await.expect("a transaction");
        sqlx::query("set local search_path = clickstream_v2").execute(&mut *tx).await.expect("a schema");
        sqlx::query("select hold_days(array[(to_timestamp($1::bigint / 1000) at time zone 'UTC')::date])")
            .bind(first_ms + day * day_ms)
            .execute(&mut *tx)
            .await
            .expect("a day");
        sqlx::query(
            "insert into events (partition, log_offset, logged_at, occurred_at, event_id, name, account_id, anonymous_id,
                                 session_id, properties)
             select n % 12, n, at, at, 'id-' || n, name, account, null,
                    (lpad(to_hex(person % 4294967296), 8, '0') || '-0000-4000-8000-' || lpad(to_hex($1::bigint * 24 + slot), 12, '0'))::uuid,
                    format('{\"player\":{\"version\":\"%s\",\"kind\":\"%s\"},\"title\":\"title-%s\",\"position_ms\":%s}',
                           (array['3.0', '3.1', '3.2', '4.0'])[1 + h % 4], (array['tv', 'web', 'mobile'])[1 + h / 5 % 3],
                           h / 11 % 1000, h % 5400000)
             from (
               select n, h, person, 'account-' || person as account, slot,
                      to_timestamp(($2::bigint + slot * 3600000 + h / 3 % 3600000) / 1000.0::float8) as at,
                      (array['heartbeat', 'play', 'open', 'browse', 'pause', 'search', 'seek', 'finish', 'rate', 'share'])
                        [1 + (10 * power((h / 13 % 10000) / 10000.0::float8, 1.7))::int % 10] as name
               from (select n, (hashint8(n) & 2147483647)::bigint as h, (hashint8(n / 10 * 31) & 2147483647)::bigint % greatest($4::bigint / 100, 1) as person,
                            (hashint8(n / 10) & 2147483647)::bigint % 24 as slot
                     from generate_series($1::bigint * $3::bigint, ($1::bigint + 1) * $3::bigint - 1) as n) as numbered) as made
             order by at",
        )
        .bind(day)
        .bind(first_ms + day * day_ms)
        .bind(events / 30)
        .bind(events)
        .execute(&mut *tx)
        .await
        .expect("events are written");
        tx.commit().await.expect("they are kept");
    }
    sqlx::raw_sql(
        "set search_path = clickstream_v2;
         insert into counts_by_hour select date_trunc('hour', logged_at, 'UTC'), name, partition, count(*) from events group by 1, 2, 3;
         insert into counts_by_day select (hour at time zone 'UTC')::date, name, partition, sum(events) from counts_by_hour group by 1, 2, 3;
         insert into sample_16
           select partition, log_offset, logged_at, name, hashtextextended('a' || account_id, 0), session_id,
                  properties::jsonb
           from events where hashtextextended('a' || account_id, 0) & 15 = 0;
         insert into sample_256 select * from sample_16 where person & 255 = 0;
         insert into pulsegate.projection_offsets (build, topic, partition, next_offset, clock_ms)
           select 'clickstream_v2', 'clickstream', 0, max(log_offset) + 1, (date_part('epoch', max(logged_at)) * 1000)::bigint
           from events;
         reset search_path",
    )
    .execute(pool)
    .await
    .expect("counts and samples are written");
    let tables = "vacuum analyze clickstream_v2.events, clickstream_v2.counts_by_hour, clickstream_v2.counts_by_day,
                                 clickstream_v2.sample_16, clickstream_v2.sample_256";
    sqlx::query(tables).execute(pool).await.expect("the planner knows");
}
