//! Clickstream: any JSON is kept, found again, counted once, and dropped by the day.

use std::collections::BTreeMap;

use chrono::DateTime;
use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::Topic;
use pulsegate_projections::clickstream::{
    self, Clickstream, CountsQuestion, EXAMINED_MAX, EventsQuestion, Page, Resolution,
};
use pulsegate_projections::live::ReadError;
use pulsegate_projections::runner::{Committed, Record, Source, Worker};
use sqlx::{AssertSqlSafe, PgPool};

use crate::services::on_a_database;

const PARTITION: Source = Source { topic: Topic::Clickstream, partition: 0 };
/// 2026-11-22T23:59:00Z.
const BEGIN_MS: i64 = 1_795_391_940_000;
const DAY_MS: i64 = 86_400_000;
const SESSION: &str = "019ab0c4-7e1a-7abc-8def-0123456789ab";

/// A record that the log took in at `at`; its sender says `time`.
fn record(offset: i64, at: i64, time: &str, name: &str, who: &str, properties: &str) -> Record {
    let value = format!(
        r#"{{"specversion":"1.0","id":"id-{offset}","type":"pulsegate.clickstream.recorded.v1","time":"{time}",
             "data":{{"name":"{name}",{who},"properties":{properties}}}}}"#
    );
    Record {
        offset,
        timestamp: Some(Timestamp::from_millis(at)),
        key: Some("a".into()),
        value: Some(value.into()),
        headers: Vec::new(),
    }
}

/// A few events a second over a few days; every third name is another.
fn log(count: i64, step_ms: i64) -> Vec<Record> {
    let one = |offset: i64| {
        let who = match offset % 3 {
            0 => r#""account_id":"ada""#.to_owned(),
            1 => r#""anonymous_id":"visitor-1""#.to_owned(),
            _ => format!(r#""account_id":"bob","session_id":"{SESSION}""#),
        };
        let name = ["play", "pause", "search"][usize::try_from(offset / 5 % 3).unwrap()];
        let properties = format!(r#"{{"n":{offset},"deep":{{"list":[1,{}]}}}}"#, offset % 7);
        record(offset, BEGIN_MS + offset * step_ms, "2026-11-22T20:47:03.120Z", name, &who, &properties)
    };
    (0..count).map(one).collect()
}

async fn fold(pool: &PgPool, source: Source, log: &[Record]) -> Committed {
    let worker = Worker::new(Clickstream, pool.clone());
    let mut held = worker.take(source).await.unwrap();
    worker.commit(&mut held, log).await.unwrap()
}

/// The days that have a partition.
async fn days(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select relname::text from pg_class where relname ~ '^events_[0-9]+$' and relkind = 'r' order by relname",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

fn everything() -> EventsQuestion {
    EventsQuestion { limit: 500, ..EventsQuestion::default() }
}

/// Every page, and how many there were.
async fn all(pool: &PgPool, question: &EventsQuestion) -> (Vec<i64>, usize) {
    let (mut question, mut offsets, mut pages) = (question.clone(), Vec::new(), 0);
    loop {
        let Page { events, next } = clickstream::events(pool, &question).await.unwrap();
        assert!(events.len() <= question.limit.try_into().unwrap());
        offsets.extend(events.iter().map(|event| event.offset));
        pages += 1;
        assert!(pages < 1_000, "pages without end");
        let Some(place) = next else { return (offsets, pages) };
        question.before = Some(place);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_split_of_the_log_gives_the_same_rows_and_counts() {
    on_a_database(async |pool| {
        let runtime = tokio::runtime::Handle::current();
        let worker = Worker::new(Clickstream, pool.clone());
        let splits = prop::collection::vec((1_usize..120, any::<bool>()), 1..10);
        let log = log(400, 700_000);
        let check = |splits: Vec<(usize, bool)>| {
            runtime.block_on(async {
                for sql in [
                    "truncate clickstream_v2.events, clickstream_v2.counts, clickstream_v2.counts_by_hour,
                              clickstream_v2.counts_by_day, clickstream_v2.sample_16, clickstream_v2.sample_256",
                    "delete from pulsegate.projection_offsets",
                ] {
                    sqlx::query(sql).execute(pool).await.unwrap();
                }
                let mut partition = worker.take(PARTITION).await.unwrap();
                let mut stands = 0;
                for (length, restart) in splits {
                    let end = (stands + length).min(log.len());
                    worker.commit(&mut partition, &log[stands.saturating_sub(7)..end]).await.unwrap();
                    if restart {
                        partition = worker.take(PARTITION).await.unwrap();
                    }
                    stands = end;
                }
                worker.commit(&mut partition, &log[stands..]).await.unwrap();
                let (offsets, _) = all(pool, &everything()).await;
                assert_eq!(offsets, (0..400).rev().collect::<Vec<_>>());
                let counted: Vec<(i64, String, i64)> = sqlx::query_as(
                    "select (extract(epoch from minute) * 1000)::bigint, name, events from clickstream.counts
                     order by minute, name",
                )
                .fetch_all(pool)
                .await
                .unwrap();
                let mut expected: BTreeMap<(i64, String), i64> = BTreeMap::new();
                for (offset, record) in (0..).zip(&log) {
                    let minute = record.timestamp.unwrap().millis() / 60_000 * 60_000;
                    let name = ["play", "pause", "search"][offset / 5 % 3].to_owned();
                    *expected.entry((minute, name)).or_default() += 1;
                }
                let expected: Vec<_> = expected.into_iter().map(|((minute, name), n)| (minute, name, n)).collect();
                assert_eq!(counted, expected);
            });
            Ok(())
        };
        tokio::task::block_in_place(|| {
            let config = Config { cases: 12, failure_persistence: None, ..Config::default() };
            TestRunner::new(config).run(&splits, check).unwrap();
        });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_json_is_kept_as_it_came_and_stops_nobody() {
    on_a_database(async |pool| {
        let nested = format!(r#"{{"a":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let huge = format!(r#"{{"a":"{}"}}"#, "x".repeat(700_000));
        let hostile = [
            r#"{"a":"\u0000"}"#,
            r#"{"\u0000":{"a":"\ud800"}}"#,
            r#"{"a":1e999999}"#,
            r#"{"a":-0.0000000000000000000000000000000000000000000000000000000000000000000000001e-99999}"#,
            r#"{"a":1,"a":2,"":null}"#,
            "{ }",
            &nested,
            &huge,
        ];
        let mut log: Vec<_> = (0..)
            .zip(hostile)
            .map(|(offset, properties)| {
                record(offset, BEGIN_MS, "2026-11-22T20:47:03Z", "odd", r#""account_id":"a""#, properties)
            })
            .collect();
        let good = r#"{"a":"found"}"#;
        log.push(record(8, BEGIN_MS, "2026-11-22T20:47:03Z", r"\u0000name", r#""account_id":"a""#, good));
        assert_eq!(fold(pool, PARTITION, &log).await, Committed::Done { folded: 9, skipped: 0 });

        let page = clickstream::events(pool, &everything()).await.unwrap();
        let kept: Vec<_> = page.events.iter().rev().map(|event| event.properties.get()).collect();
        assert_eq!(kept[..8], hostile);
        assert_eq!((page.events[0].name.as_str(), kept[8]), ("\u{fffd}name", good));
        let question = EventsQuestion { path: Some(r#"$.a ? (@ == "found")"#.into()), ..everything() };
        assert_eq!(all(pool, &question).await, (vec![8], 1));
        let question = EventsQuestion { path: Some("$.a ? (@ == 2)".into()), ..everything() };
        assert_eq!(all(pool, &question).await, (vec![4], 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_senders_time_makes_no_day() {
    on_a_database(async |pool| {
        let times = ["9999-12-31T23:59:59.999Z", "0000-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "soon", "-1"];
        let log: Vec<_> = (0..)
            .zip(times)
            .map(|(offset, time)| record(offset, BEGIN_MS, time, "n", r#""anonymous_id":"v""#, "{}"))
            .collect();
        fold(pool, PARTITION, &log).await;
        assert_eq!(days(pool).await, ["events_20261122"]);
        let page = clickstream::events(pool, &everything()).await.unwrap();
        let said: Vec<_> =
            page.events.iter().rev().map(|event| event.occurred_at.map(|at| at.timestamp_millis())).collect();
        assert_eq!(said, [Some(253_402_300_799_999), Some(-62_167_219_200_000), Some(0), None, None]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_of_the_log_that_come_to_a_new_day_together_make_it_once() {
    on_a_database(async |pool| {
        let log = log(300, 3_600_000);
        let sources = (0..6).map(|partition| Source { partition, ..PARTITION });
        let all_folded = join_all(sources.map(|source| fold(pool, source, &log))).await;
        assert!(all_folded.iter().all(|one| *one == Committed::Done { folded: 300, skipped: 0 }), "{all_folded:?}");
        assert_eq!(days(pool).await.len(), 14);
        let rows: i64 = sqlx::query_scalar("select count(*) from clickstream.events").fetch_one(pool).await.unwrap();
        assert_eq!(rows, 1_800);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_found_by_who_what_when_and_what_they_hold() {
    on_a_database(async |pool| {
        fold(pool, PARTITION, &log(1_000, 200_000)).await;
        let at = |offset: i64| DateTime::from_timestamp_millis(BEGIN_MS + offset * 200_000);
        let some = EventsQuestion { limit: 7, ..EventsQuestion::default() };
        let path = |path: &str| Some(path.to_owned());
        let cases: [(EventsQuestion, &dyn Fn(i64) -> bool); 8] = [
            (some.clone(), &|_| true),
            (EventsQuestion { account_id: Some("ada".parse().unwrap()), ..some.clone() }, &|n| n % 3 == 0),
            (EventsQuestion { anonymous_id: Some("visitor-1".parse().unwrap()), ..some.clone() }, &|n| n % 3 == 1),
            (EventsQuestion { session_id: Some(SESSION.parse().unwrap()), ..some.clone() }, &|n| n % 3 == 2),
            (EventsQuestion { name: Some("search".into()), ..some.clone() }, &|n| n / 5 % 3 == 2),
            (EventsQuestion { from: at(100), until: at(120), ..some.clone() }, &|n| (100..120).contains(&n)),
            (EventsQuestion { path: path("$.deep.list[*] ? (@ == 5)"), ..some.clone() }, &|n| n % 7 == 5),
            (
                EventsQuestion {
                    path: path("$ ? (@.n > 500)"),
                    name: Some("play".into()),
                    account_id: Some("bob".parse().unwrap()),
                    ..some.clone()
                },
                &|n| n > 500 && n / 5 % 3 == 0 && n % 3 == 2,
            ),
        ];
        for (question, is_wanted) in cases {
            let (offsets, _) = all(pool, &question).await;
            let expected: Vec<_> = (0..1_000).rev().filter(|n| is_wanted(*n)).collect();
            assert_eq!(offsets, expected, "{question:?}");
        }
        let error = clickstream::events(pool, &EventsQuestion { path: path("$.["), ..some }).await.unwrap_err();
        assert!(matches!(&error, ReadError::Path(why) if why.contains("jsonpath")), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_matches_little_is_looked_for_piece_by_piece() {
    on_a_database(async |pool| {
        let count = i64::from(EXAMINED_MAX) + 5_000;
        fold(pool, PARTITION, &log(count, 10)).await;
        let question = EventsQuestion { path: Some("$ ? (@.n == 3)".into()), ..everything() };
        let page = clickstream::events(pool, &question).await.unwrap();
        assert!(page.events.is_empty());
        assert_eq!(page.next.unwrap().offset, 5_000);
        assert_eq!(all(pool, &question).await, (vec![3], 2));
        let nothing = EventsQuestion { path: Some("$.none".into()), ..everything() };
        assert_eq!(all(pool, &nothing).await, (vec![], 2));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_by_minute_hour_or_day_of_the_log() {
    on_a_database(async |pool| {
        for partition in 0..2 {
            fold(pool, Source { partition, ..PARTITION }, &log(300, 10_000)).await;
        }
        let question = |period: &str, by: Resolution, name: Option<&str>| CountsQuestion {
            period: period.parse().unwrap(),
            by,
            name: name.map(Into::into),
        };
        let in_all = clickstream::counts(pool, &question("2026-11", Resolution::Day, None)).await.unwrap();
        assert_eq!(in_all.events, 600);
        let rows: Vec<_> = in_all.rows.iter().map(|row| (row.at.to_rfc3339(), row.name.as_str(), row.events)).collect();
        // One minute of six events before midnight, in two partitions.
        assert_eq!(
            rows[..2],
            [("2026-11-22T00:00:00+00:00".into(), "pause", 2), ("2026-11-22T00:00:00+00:00".into(), "play", 10)]
        );
        assert_eq!(rows.len(), 5);
        let day = clickstream::counts(pool, &question("2026-11-22", Resolution::Minute, Some("play"))).await.unwrap();
        assert_eq!((day.rows.len(), day.events), (1, 10));
        let hours = clickstream::counts(pool, &question("2026-11-23", Resolution::Hour, None)).await.unwrap();
        assert_eq!((hours.rows.len(), hours.events), (3, 588));
        let offsets: Vec<_> = hours.as_of.iter().map(|one| (one.partition, one.offset)).collect();
        assert_eq!(offsets, [(0, 299), (1, 299)]);
        let none = clickstream::counts(pool, &question("2025-11", Resolution::Minute, None)).await.unwrap();
        assert_eq!((none.rows.len(), none.events), (0, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn days_that_are_no_longer_kept_are_dropped_by_the_logs_time_and_may_come_back() {
    on_a_database(async |pool| {
        assert_eq!(clickstream::keep_days(pool, 2).await.unwrap().since, None);
        let spread = log(10, DAY_MS);
        fold(pool, PARTITION, &spread).await;
        assert_eq!(days(pool).await.len(), 10);
        let counted = "select sum(events)::bigint from clickstream.counts";
        let dropped = clickstream::keep_days(pool, 2).await.unwrap();
        assert_eq!(dropped.since.unwrap().to_rfc3339(), "2026-11-29T00:00:00+00:00");
        assert_eq!((dropped.days.len(), dropped.busy), (7, 0));
        assert_eq!(days(pool).await, ["events_20261129", "events_20261130", "events_20261201"]);
        assert_eq!(all(pool, &everything()).await.0, [9, 8, 7]);
        assert_eq!(sqlx::query_scalar::<_, i64>(counted).fetch_one(pool).await.unwrap(), 10);
        assert!(clickstream::keep_days(pool, 2).await.unwrap().days.is_empty());

        // A partition of the log that is far behind brings its day back, and the next pass drops it.
        fold(pool, Source { partition: 1, ..PARTITION }, &spread[..1]).await;
        assert_eq!(all(pool, &everything()).await.0, [9, 8, 7, 0]);
        assert_eq!(clickstream::keep_days(pool, 2).await.unwrap().days, ["clickstream_v2.events_20261122"]);
        // To keep more from now on brings nothing back, and what may be gone stays said.
        assert_eq!(clickstream::keep_days(pool, 400).await.unwrap().days.len(), 0);
        let since: chrono::DateTime<chrono::Utc> =
            sqlx::query_scalar("select since from pulsegate.kept_since").fetch_one(pool).await.unwrap();
        assert_eq!(since.to_rfc3339(), "2026-11-29T00:00:00+00:00");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_in_use_is_not_waited_for() {
    on_a_database(async |pool| {
        fold(pool, PARTITION, &log(10, DAY_MS)).await;
        let mut reader = pool.begin().await.unwrap();
        sqlx::query("select count(*) from clickstream_v2.events_20261122").execute(&mut *reader).await.unwrap();
        let dropped = clickstream::keep_days(pool, 7).await.unwrap();
        assert_eq!((dropped.days.len(), dropped.busy), (1, 1));
        reader.rollback().await.unwrap();
        assert_eq!(clickstream::keep_days(pool, 7).await.unwrap().days.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_comes_while_tables_are_unlogged_is_unlogged_as_well() {
    on_a_database(async |pool| {
        let log = log(4, DAY_MS);
        for (state, log) in [("unlogged", &log[..2]), ("logged", &log[2..])] {
            let set = format!("alter table clickstream_v2.counts set {state}");
            sqlx::query(AssertSqlSafe(set)).execute(pool).await.unwrap();
            fold(pool, PARTITION, log).await;
        }
        let kinds: Vec<String> = sqlx::query_scalar(
            "select relpersistence::text from pg_class where relname ~ '^events_[0-9]+$' and relkind = 'r'
             order by relname",
        )
        .fetch_all(pool)
        .await
        .unwrap();
        assert_eq!(kinds, ["u", "u", "p", "p"]);
    })
    .await;
}
