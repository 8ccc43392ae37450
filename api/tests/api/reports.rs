//! Reports and events over read models that were really folded, and a catalog that was really read.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures_util::FutureExt as _;
use http::{Request, StatusCode};
use pulsegate_api::ApiSettings;
use pulsegate_domain::policy::PolicySet;
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::{Topic, TopicNames};
use pulsegate_projections::active_sessions::{ActiveSessions, FixedPolicies};
use pulsegate_projections::clickstream::Clickstream;
use pulsegate_projections::licensing::Licensing;
use pulsegate_projections::runner::{Projection, Record, Source, Worker};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use crate::surface::{Answer, SESSION, ask_of, playback, state_on};

/// 2026-10-31T23:59:30Z.
const BEGIN_MS: i64 = 1_793_491_170_000;

async fn on_a_database(test: impl AsyncFnOnce(&PgPool)) {
    let url = ["PULSEGATE_DATABASE_URL", "DATABASE_URL"].iter().find_map(|name| std::env::var(name).ok());
    let url = url.unwrap_or_else(|| "postgres://pulsegate:pulsegate@127.0.0.1:5432/pulsegate".to_owned());
    let options: PgConnectOptions = url.parse().unwrap();
    let name = format!("api_test_{}_{}", std::process::id(), chrono::Utc::now().timestamp_micros());
    let mut admin = PgConnection::connect_with(&options).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("create database {name}"))).execute(&mut admin).await.unwrap();
    let pool = PgPoolOptions::new().max_connections(4).connect_with(options.database(&name)).await.unwrap();
    pulsegate_projections::migrate(&pool).await.unwrap();
    let outcome = AssertUnwindSafe(test(&pool)).catch_unwind().await;
    pool.close().await;
    // An autovacuum worker, which isn't ours to end, may be in there for a moment.
    let drop = format!("drop database {name} with (force)");
    let mut tries = 0;
    while let Err(error) = sqlx::query(AssertSqlSafe(drop.clone())).execute(&mut admin).await {
        tries += 1;
        assert!(tries < 30, "{error}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

async fn fold<P: Projection>(projection: P, pool: &PgPool, topic: Topic, values: Vec<(i64, String)>) {
    let worker = Worker::new(projection, pool.clone());
    let mut partition = worker.take(Source { topic, partition: 0 }).await.unwrap();
    let record = |(offset, (at, value)): (i64, (i64, String))| Record {
        offset,
        timestamp: Some(Timestamp::from_millis(at)),
        key: Some("ada".into()),
        value: Some(value.into()),
        headers: Vec::new(),
    };
    let log: Vec<_> = (0..).zip(values).map(record).collect();
    worker.commit(&mut partition, &log).await.unwrap();
}

/// A minute of a film over midnight, a heartbeat each 10 s.
fn watched() -> Vec<(i64, String)> {
    let beat = |n: i64| {
        let value = format!(
            r#"{{"id":"{n}","type":"pulsegate.playback.heartbeat.v1","data":{{"account_id":"ada","session_id":"{SESSION}",
                 "device_id":"tv","title_id":"film","territory":"DE","sequence":{n},"elapsed_ms":{ms},"position_ms":{ms},
                 "state":"playing","policy":"standard@1"}}}}"#,
            ms = n * 10_000
        );
        (BEGIN_MS + n * 10_000, value)
    };
    (0..7).map(beat).collect()
}

fn clicked() -> Vec<(i64, String)> {
    let click = |n: i64| {
        let value = format!(
            r#"{{"id":"{n}","type":"pulsegate.clickstream.recorded.v1","data":
                 {{"name":"search","account_id":"ada","properties":{{"hits":{n}}}}}}}"#
        );
        (BEGIN_MS + n * 60_000, value)
    };
    (0..5).map(click).collect()
}

/// A catalog topic of its own, with a title and its contract; removed after the test.
async fn with_a_catalog(pool: &PgPool, test: impl AsyncFnOnce(&Router)) {
    let kafka = std::env::var("PULSEGATE_KAFKA_BOOTSTRAP").unwrap_or_else(|_| "127.0.0.1:9092".to_owned());
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &kafka);
    let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
    let topics = TopicNames::new(format!("api-test-{}-{}.", std::process::id(), chrono::Utc::now().timestamp_micros()));
    let names = [topics.name(Topic::Catalog), topics.name(Topic::Playback)];
    let made = names.each_ref().map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(1)));
    for made in admin.create_topics(&made, &AdminOptions::new()).await.unwrap() {
        made.unwrap();
    }
    let producer: FutureProducer = client.clone().set("enable.idempotence", "true").create().unwrap();
    for value in [
        r#"{"id":"1","type":"pulsegate.catalog.title_registered.v1","data":
            {"title_id":"film","name":"Film","content_kind":"vod","rights_holder_id":"orvessa"}}"#,
        r#"{"id":"2","type":"pulsegate.catalog.contract_registered.v1","data":
            {"contract_id":"c-1","rights_holder_id":"orvessa","valid_from":"2026-11-01","view_threshold_ms":60000}}"#,
    ] {
        let record = FutureRecord::<str, str>::to(&names[0]).partition(0).payload(value);
        producer.send(record, Duration::from_secs(30)).await.unwrap();
    }
    let log = playback(&kafka, topics);
    assert!(log.0.catalog().caught_up(Duration::from_secs(30)).await);
    // At the end a moment after the last record.
    let begun = std::time::Instant::now();
    while !log.0.catalog().is_whole() && begun.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(log.0.catalog().is_whole());
    let router = pulsegate_api::router(state_on(pool.clone(), &log, ApiSettings::default()));
    let outcome = AssertUnwindSafe(test(&router)).catch_unwind().await;
    admin.delete_topics(&names.each_ref().map(String::as_str), &AdminOptions::new()).await.unwrap();
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

async fn get(router: &Router, path: &str) -> Answer {
    ask_of(router.clone(), Request::get(path).body(Body::empty()).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_licensing_report_is_answered_as_json_and_as_a_table() {
    on_a_database(async |pool| {
        fold(Licensing, pool, Topic::Playback, watched()).await;
        with_a_catalog(pool, async |router| {
            let answer = get(router, "/v1/reports/licensing?period=2026-10").await;
            assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
            // The contract is of November.
            let row = json!({
                "period": "2026-10", "rights_holder_id": "orvessa", "contract_id": null, "title_id": "film",
                "territory": "DE", "plays": 1, "qualified_views": 0, "watched_ms": 20_000, "aged_ms": 0,
                "content_ms": 20_000, "distinct_accounts": 1, "peak_concurrent": 1
            });
            let report = json!({
                "period": "2026-10", "rows": [row],
                "totals": {
                    "of_rows":
                        {"plays": 1, "qualified_views": 0, "watched_ms": 20_000, "aged_ms": 0, "content_ms": 20_000},
                    "of_plays":
                        {"plays": 1, "watched_ms": 20_000, "aged_ms": 0, "content_ms": 20_000, "distinct_accounts": 1}
                },
                "inferred_sessions": 0,
                "as_of": [
                    {"topic": "catalog", "partition": 0, "offset": 1}, {"topic": "playback", "partition": 0, "offset": 6}
                ]
            });
            assert_eq!(answer.json(), report);

            let table = get(router, "/v1/reports/licensing?period=2026-11-01&format=csv&territory=DE").await;
            assert_eq!(table.header("content-type"), "text/csv; charset=utf-8");
            assert_eq!(table.header("pulsegate-as-of"), "catalog/0@1, playback/0@6");
            assert_eq!(
                table.body,
                "period,rights_holder_id,contract_id,title_id,territory,plays,qualified_views,watched_ms,aged_ms,\
                 content_ms,distinct_accounts,peak_concurrent\r\n\
                 2026-11-01,orvessa,c-1,film,DE,0,1,40000,0,40000,1,1\r\n"
            );
            let file = get(router, "/v1/reports/licensing?period=2026-11-01&format=parquet").await;
            assert_eq!(file.header("content-type"), "application/vnd.apache.parquet");
            assert_eq!(file.header("content-disposition"), "attachment; filename=\"licensing-2026-11-01.parquet\"");
            assert_eq!(file.header("pulsegate-as-of"), "catalog/0@1, playback/0@6");
            let other = get(router, "/v1/reports/licensing?period=2026-10&rights_holder=ada").await.json();
            assert_eq!((&other["rows"], &other["totals"]["of_plays"]["plays"]), (&json!([]), &json!(0)));
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_watched_is_told_apart_and_named() {
    on_a_database(async |pool| {
        fold(Licensing, pool, Topic::Playback, watched()).await;
        with_a_catalog(pool, async |router| {
            let days = get(router, "/v1/reports/usage?period=2026-10-01--2026-11-30").await;
            assert_eq!(days.status, StatusCode::OK, "{:?}", days.body);
            let figures = |plays: i64, watched_ms: i64| {
                json!({"plays": plays, "watched_ms": watched_ms, "aged_ms": 0, "content_ms": watched_ms,
                       "distinct_accounts": 1, "completion_per_mille": null})
            };
            let day = |of: &str, figures: serde_json::Value| {
                let mut row = figures;
                (row["of"], row["name"]) = (json!(of), json!(null));
                row
            };
            let report = json!({
                "period": "2026-10-01--2026-11-30", "by": "day",
                "rows": [day("2026-10-31", figures(1, 20_000)), day("2026-11-01", figures(0, 40_000))],
                "rows_in_all": 2, "total": figures(1, 60_000),
                "as_of": [{"topic": "playback", "partition": 0, "offset": 6}]
            });
            assert_eq!(days.json(), report);

            let titles = get(router, "/v1/reports/usage?period=2026-10&by=title&limit=1").await.json();
            assert_eq!((&titles["rows"][0]["of"], &titles["rows"][0]["name"]), (&json!("film"), &json!("Film")));
            assert_eq!(titles["as_of"][0], json!({"topic": "catalog", "partition": 0, "offset": 1}));
            let table = get(router, "/v1/reports/usage?period=2026-10&by=territory&format=csv").await;
            assert_eq!(table.header("content-disposition"), "attachment; filename=\"usage-2026-10.csv\"");
            assert_eq!(
                table.body,
                "period,territory,name,plays,watched_ms,aged_ms,content_ms,distinct_accounts,completion_per_mille\r\n\
                 2026-10,DE,,1,20000,0,20000,1,\r\n"
            );
            let elsewhere = get(router, "/v1/reports/usage?period=2026-10&territory=FR&device_class=tv").await.json();
            assert_eq!((&elsewhere["rows"], &elsewhere["total"]["plays"]), (&json!([]), &json!(0)));
            let wrong = get(router, "/v1/reports/usage?period=2026-10&by=week").await;
            assert_eq!(wrong.problem("invalid")["errors"][0]["pointer"], "/by");
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_statement_is_summed_and_named() {
    on_a_database(async |pool| {
        fold(Licensing, pool, Topic::Playback, watched()).await;
        let policies = Arc::new(FixedPolicies::new(PolicySet::default()));
        fold(ActiveSessions::new(policies), pool, Topic::Playback, watched()).await;
        with_a_catalog(pool, async |router| {
            let part = get(router, "/v1/statements/2026-11/rows?rights_holder=orvessa&territory=DE").await;
            assert_eq!(part.status, StatusCode::OK, "{:?}", part.body);
            let part = part.json();
            assert_eq!((&part["rows_in_all"], &part["rows"][0]["contract_id"]), (&json!(1), &json!("c-1")));
            assert_eq!((&part["totals"]["watched_ms"], &part["totals"]["amounts"]), (&json!(40_000), &json!({})));
            assert_eq!((&part["territories"], &part["due"]), (&json!(["DE"]), &json!({})));
            assert_eq!(part["names"], json!({"film": "Film"}));
            assert_eq!(part["statement"]["contracts"][0]["version"], 1);
            let nothing = get(router, "/v1/statements/2026-11/rows?device_class=tv").await.json();
            assert_eq!((&nothing["rows"], &nothing["territories"]), (&json!([]), &json!(["DE"])));
            let wrong = get(router, "/v1/statements/2026-11/rows?sort=title").await;
            assert_eq!(wrong.problem("invalid")["errors"][0]["pointer"], "/sort");
            get(router, "/v1/statements/2026-11/rows?revision=3").await.problem("not-found");
            assert_eq!(get(router, "/v1/rights-holders").await.json(), json!({"rights_holders": []}));
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_catalog_there_is_no_report() {
    on_a_database(async |pool| {
        let away = playback("127.0.0.1:1", TopicNames::new("nowhere."));
        let router = pulsegate_api::router(state_on(pool.clone(), &away, ApiSettings::default()));
        let answer = get(&router, "/v1/reports/licensing?period=2026-10").await;
        assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
        answer.problem("unavailable");
        assert_eq!(get(&router, "/v1/reports/clickstream?period=2026-10").await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clickstream_is_counted_and_found_page_by_page() {
    on_a_database(async |pool| {
        fold(Clickstream, pool, Topic::Clickstream, clicked()).await;
        let away = playback("127.0.0.1:1", TopicNames::new("nowhere."));
        let router = pulsegate_api::router(state_on(pool.clone(), &away, ApiSettings::default()));
        let counts = get(&router, "/v1/reports/clickstream?period=2026-11").await.json();
        assert_eq!((&counts["by"], &counts["events"]), (&json!("day"), &json!(4)));
        assert_eq!(counts["rows"], json!([{"at": "2026-11-01T00:00:00Z", "name": "search", "events": 4}]));
        let table = get(&router, "/v1/reports/clickstream?period=2026-10-31&format=csv&by=minute").await;
        assert_eq!(table.body, "at,name,events\r\n2026-10-31T23:59:00Z,search,1\r\n");

        let mut path = "/v1/clickstream?account=ada&limit=2&path=%24.hits+%3F+(%40+%3C+4)".to_owned();
        let mut hits = Vec::new();
        for _ in 0..5 {
            let page = get(&router, &path).await.json();
            hits.extend(page["events"].as_array().unwrap().iter().map(|event| event["properties"]["hits"].clone()));
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/v1/clickstream?account=ada&limit=2&path=%24.hits+%3F+(%40+%3C+4)&before={next}");
        }
        assert_eq!(hits, [3, 2, 1, 0]);
        let event =
            get(&router, "/v1/clickstream?limit=1&until=2026-11-01T00:00:00Z").await.json()["events"][0].clone();
        assert_eq!(
            event,
            json!({
                "event_id": "0", "name": "search", "logged_at": "2026-10-31T23:59:30Z", "occurred_at": null,
                "account_id": "ada", "anonymous_id": null, "session_id": null, "properties": {"hits": 0},
                "partition": 0, "offset": 0
            })
        );
        let wrong = get(&router, "/v1/clickstream?path=%24.%5B").await;
        assert_eq!(wrong.problem("invalid")["errors"][0]["pointer"], "/path");
    })
    .await;
}
