//! Statements: what the read models make of a random history is what a fold of the log makes of it, through closing, late
//! events, restatement and closing again; and what was closed stands.

use std::time::Instant;

use futures_util::future::join_all;
use pulsegate_domain::event::{Attributes, CatalogEvent, ContractRegistered, TitleRegistered, encode};
use pulsegate_domain::ids::ContentKind;
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::{Topic, partition_of};
use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_projections::reader::ReaderSettings;
use pulsegate_projections::statements::export::{Format, Writer};
use pulsegate_projections::statements::{self, About, Agreements, Figures, Head, Row, Statement, StatementError};
use pulsegate_projections::{active_sessions, builds, licensing};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::households::Event;
use crate::rebuilds::dependencies;
use crate::services::{Bench, DEADLINE, on_a_bench};
use crate::viewers::Viewers;

const PARTITIONS: i32 = 2;

fn about(holder: Option<&str>) -> About {
    About { period: "2026-Q4".parse().unwrap(), rights_holder: holder.map(|id| id.parse().unwrap()) }
}

fn title(id: &str, holder: &str, runtime_ms: Option<u64>) -> CatalogEvent {
    CatalogEvent::TitleRegistered(TitleRegistered {
        title_id: id.parse().unwrap(),
        name: id.into(),
        content_kind: ContentKind::Vod,
        rights_holder_id: holder.parse().unwrap(),
        runtime_ms,
    })
}

fn contract(id: &str, body: &Value) -> CatalogEvent {
    let mut body = body.clone();
    body["contract_id"] = json!(id);
    CatalogEvent::ContractRegistered(serde_json::from_value::<ContractRegistered>(body).unwrap())
}

/// Each kind of payment and counting, overlaps, windows and territories; `film-3` is in no catalog.
fn catalog() -> Vec<CatalogEvent> {
    vec![
        title("film-0", "ada", Some(60_000)),
        title("film-1", "ada", None),
        title("film-2", "bob", Some(45_000)),
        contract(
            "ada-1",
            &json!({"rights_holder_id": "ada", "title_ids": ["film-0"], "valid_from": "2020-01-01",
                    "payment": {"currency": "EUR", "per_view": "0.037", "rounding": "half_up"}}),
        ),
        contract(
            "ada-2",
            &json!({"rights_holder_id": "ada", "title_ids": ["film-0", "film-0"], "territories": ["DE", "AT"],
                    "valid_from": "2026-11-01", "view_threshold_ms": 60_000,
                    "payment": {"currency": "EUR", "per_hour": "12.345", "rounded": "sum", "minimum_per_month": "31.00"}}),
        ),
        contract(
            "bob-1",
            &json!({"rights_holder_id": "bob", "territories": ["FR"], "valid_from": "2026-10-25",
                    "valid_until": "2026-10-31",
                    "payment": {"currency": "JPY", "fixed_per_month": "310", "revenue_share": {"percent": "33.3",
                        "pools": {"2026-10": "1000000", "2026-11": "2000000", "2026-12": "0"}}}}),
        ),
        contract(
            "cleo-1",
            &json!({"rights_holder_id": "cleo", "title_ids": ["film-2"], "valid_from": "2026-10-01",
                    "counting": {"views": "hours_by_runtime"}, "payment": {"currency": "EUR", "per_view": "1.5"}}),
        ),
        contract(
            "ada-3",
            &json!({"rights_holder_id": "ada", "title_ids": ["film-1"], "territories": ["FR"],
                    "valid_from": "2026-10-31", "valid_until": "2026-10-31"}),
        ),
        contract("ada-0", &json!({"rights_holder_id": "ada", "valid_from": "2020-01-01", "valid_until": "2026-09-30"})),
    ]
}

/// A bench whose topics take the sender's time, with a catalog and the read models following.
struct Desk<'a> {
    bench: &'a Bench,
    producer: FutureProducer,
    settings: ReaderSettings,
    catalog: CatalogView,
}

impl Desk<'_> {
    async fn register(&self, events: &[CatalogEvent]) {
        let topic = self.bench.topics.name(Topic::Catalog);
        for event in events {
            let attributes = Attributes {
                id: uuid::Uuid::from_u128(7),
                source: "test",
                subject: "test",
                time: Timestamp::from_millis(1_793_489_400_000),
                partition_key: "test",
            };
            let value = encode(&attributes, event);
            let record = FutureRecord::to(&topic).partition(0).key("test").payload(&value);
            self.producer.send(record, DEADLINE).await.unwrap();
        }
    }

    async fn append(&self, events: &[Event]) {
        let topic = self.bench.topics.name(Topic::Playback);
        let sent = events.iter().map(|event| {
            let key = event.account.as_str();
            let record = FutureRecord::to(&topic).partition(partition_of(key.as_bytes(), PARTITIONS)).key(key);
            self.producer.send(record.payload(&event.value).timestamp(event.at.millis()), DEADLINE)
        });
        for sent in join_all(sent).await {
            sent.unwrap();
        }
    }

    /// Waits until both read models have folded everything.
    async fn folded(&self) {
        let ends = self.bench.ends().await;
        let begun = Instant::now();
        loop {
            let stands: Vec<(i32, i64)> = sqlx::query_as(
                "select partition, next_offset from pulsegate.live_offsets where name in ('licensing', 'active_sessions')",
            )
            .fetch_all(&self.bench.pool)
            .await
            .unwrap();
            let at_end = stands.iter().filter(|(partition, next)| ends.get(partition).is_some_and(|end| next >= end));
            if at_end.count() == 2 * ends.len() {
                return;
            }
            assert!(begun.elapsed() < DEADLINE, "not folded: the log ends at {ends:?}, the tables at {stands:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    async fn agreements(&self) -> Option<Agreements> {
        self.catalog.caught_up(DEADLINE).await.then(|| self.catalog.read_at(Agreements::of))
    }

    async fn provisional(&self, about: &About) -> Statement {
        statements::provisional(&self.bench.pool, about, async || self.agreements().await).await.unwrap()
    }

    async fn close(&self, about: &About) -> Result<statements::Closed, StatementError> {
        let agreements = async || self.agreements().await;
        statements::close(&self.bench.pool, about, agreements, chrono::Utc::now(), true).await
    }

    async fn restate(&self, about: &About) -> Option<statements::Closed> {
        let agreements = async || self.agreements().await;
        statements::restate(&self.bench.pool, about, agreements, chrono::Utc::now()).await.unwrap()
    }

    /// The statement as a fold of the log up to the same offsets makes it.
    async fn recount(&self, about: &About, head: &Head) -> Statement {
        let (settings, about, as_of) = (self.settings.clone(), about.clone(), head.as_of.clone());
        let folding = move || statements::recount(&settings, &about, &as_of, || {}).unwrap();
        tokio::task::spawn_blocking(folding).await.unwrap()
    }

    /// A closed revision as it is kept, checked against its hash and the log.
    async fn verified(&self, about: &About, revision: u32) -> Statement {
        let kept = statements::verify(&self.bench.pool, about, Some(revision)).await.unwrap();
        let (kept, verdict) = kept.unwrap();
        assert!(verdict.same, "{verdict:?}");
        let verdict = statements::compare(&kept, &self.recount(about, &kept.head).await);
        assert!(verdict.same, "{verdict:?}");
        kept
    }
}

async fn at_a_desk(test: impl AsyncFnOnce(&Desk<'_>)) {
    on_a_bench(PARTITIONS, async |bench| {
        let admin: AdminClient<DefaultClientContext> = bench.kafka.create().unwrap();
        let playback = bench.topics.name(Topic::Playback);
        let history = AlterConfig::new(ResourceSpecifier::Topic(&playback))
            .set("message.timestamp.type", "CreateTime")
            .set("retention.ms", "-1");
        for altered in admin.alter_configs([&history], &AdminOptions::new()).await.unwrap() {
            altered.unwrap();
        }
        let topic = bench.topics.name(Topic::Catalog);
        let made = NewTopic::new(&topic, 1, TopicReplication::Fixed(1));
        for made in admin.create_topics([&made], &AdminOptions::new()).await.unwrap() {
            made.unwrap();
        }
        let stop = CancellationToken::new();
        let registered = [&licensing::REGISTERED, &active_sessions::REGISTERED];
        let following = registered.map(|one| tokio::spawn(builds::follow(one, dependencies(bench), stop.clone())));
        let settings =
            ReaderSettings { client: bench.kafka.clone(), topics: bench.topics.clone(), partitions: PARTITIONS };
        let desk = Desk {
            bench,
            producer: bench.kafka.clone().set("linger.ms", "2").create().unwrap(),
            catalog: CatalogView::start(&settings).unwrap(),
            settings,
        };
        test(&desk).await;
        stop.cancel();
        for task in following {
            task.await.unwrap().unwrap();
        }
        tokio::task::spawn_blocking(move || desk.catalog.stop()).await.unwrap();
        admin.delete_topics(&[&topic], &AdminOptions::new()).await.unwrap();
    })
    .await;
}

fn sum(rows: &[Row], part: fn(&Figures) -> i64) -> i64 {
    rows.iter().map(|row| part(&row.figures)).sum()
}

fn due<'a>(head: &'a Head, contract: &str) -> &'a str {
    let found = head.contracts.iter().find(|one| one.contract_id == contract).unwrap();
    &found.due.as_ref().unwrap().amount
}

async fn exported(desk: &Desk<'_>, about: &About, revision: u32, format: Format) -> String {
    let (head, mut rows) = statements::find(&desk.bench.pool, about, Some(revision)).await.unwrap().unwrap();
    let (mut writer, mut bytes) = Writer::begin(format, about, &head).unwrap();
    while let Some(page) = rows.next().await {
        bytes.extend(writer.rows(&head, &page.unwrap()).unwrap());
    }
    bytes.extend(writer.end().unwrap());
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_closed_stands_and_what_arrives_later_is_a_restatement() {
    at_a_desk(async |desk| {
        desk.register(&catalog()).await;
        let mut viewers = Viewers::new(77, 6);
        desk.append(&viewers.events(3_000)).await;
        desk.folded().await;
        let all = about(None);

        // Every kind of row is there, and each is what the log says.
        let now = desk.provisional(&all).await;
        let folded = desk.recount(&all, &now.head).await;
        let verdict = statements::compare(&now, &folded);
        assert!(verdict.same && verdict.rows > 30, "{verdict:?}");
        assert_eq!(now.head.sha256, folded.head.sha256);
        assert_eq!(now.head.problems, []);
        for (what, part) in [
            ("plays", (|row| row.plays) as fn(&Figures) -> i64),
            ("views", |row| row.views),
            ("late", |row| row.aged_ms),
            ("blocked", |row| row.blocked_attempts),
            ("outside the window", |row| row.outside_window_ms),
            ("outside the territory", |row| row.outside_territory_ms),
        ] {
            assert!(sum(&now.rows, part) > 0, "nothing is {what}");
        }
        assert!(now.rows.iter().any(|row| row.key.rights_holder_id.is_empty()), "no row without an owner");
        assert!(now.rows.iter().any(|row| row.key.device_class == "tv"), "no row of a class of device");
        assert!(now.rows.iter().any(|row| row.key.territory.is_empty() && row.figures.views > 0), "no row of a title");
        assert_ne!(due(&now.head, "bob-1"), "71");
        assert_ne!(due(&now.head, "ada-2"), "0.00");

        // Closed, it stands: whoever tries to change it is told no.
        let closed = desk.close(&all).await.unwrap();
        assert_eq!((closed.head.revision, closed.rows), (1, now.rows.len()));
        assert!(matches!(desk.close(&all).await, Err(StatementError::ClosedAlready(_))));
        for sql in [
            "update pulsegate.statement_rows set plays = plays + 1",
            "delete from pulsegate.statement_rows",
            "update pulsegate.statements set sha256 = ''",
            "truncate pulsegate.statements cascade",
        ] {
            let error = sqlx::query(sql).execute(&desk.bench.pool).await.unwrap_err().to_string();
            assert!(error.contains("a closed statement stands"), "{sql}: {error}");
        }
        let first = desk.verified(&all, 1).await;
        assert_eq!(first.rows, now.rows);
        assert!(desk.restate(&all).await.is_none(), "nothing had changed");

        // What arrives later is signed, and the sum is what the log says then.
        desk.append(&viewers.events(700)).await;
        desk.folded().await;
        let restated = desk.restate(&all).await.unwrap();
        assert_eq!((restated.head.revision, restated.head.previous_sha256.as_ref()), (2, Some(&first.head.sha256)));
        let (_, added) = statements::added(&desk.bench.pool, &all, 2).await.unwrap().unwrap();
        let added = added.all().await.unwrap();
        let second = desk.verified(&all, 2).await;
        for part in
            [(|row| row.watched_ms) as fn(&Figures) -> i64, |row| row.distinct_accounts, |row| row.peak_concurrent]
        {
            assert_eq!(sum(&first.rows, part) + sum(&added, part), sum(&second.rows, part));
        }
        assert!(sum(&added, |row| row.watched_ms) > 0);
        assert_eq!(desk.verified(&all, 1).await.rows, first.rows, "what was closed has changed");

        // A contract that is mended later takes money back.
        let cheaper = json!({"rights_holder_id": "ada", "title_ids": ["film-0"], "valid_from": "2020-01-01",
                             "payment": {"currency": "EUR", "per_view": "0.01", "rounding": "half_up"}});
        desk.register(&[contract("ada-1", &cheaper)]).await;
        let third = desk.restate(&all).await.unwrap();
        assert_eq!(third.head.revision, 3);
        let (_, added) = statements::added(&desk.bench.pool, &all, 3).await.unwrap().unwrap();
        assert!(added.all().await.unwrap().iter().any(|row| row.amount.is_sign_negative() && row.figures.plays == 0));
        desk.verified(&all, 3).await;
        let listed = statements::list(&desk.bench.pool).await.unwrap();
        assert_eq!(listed.iter().map(|one| one.revision).collect::<Vec<_>>(), [3, 2, 1]);

        // One rights holder's, which has nothing of anybody else's.
        let ada = about(Some("ada"));
        desk.close(&ada).await.unwrap();
        let of_ada = desk.verified(&ada, 1).await;
        assert!(of_ada.rows.iter().all(|row| row.key.rights_holder_id == "ada") && !of_ada.rows.is_empty());
        assert!(of_ada.head.contracts.iter().all(|one| one.rights_holder_id == "ada"));

        // Who receives it can check it, and nothing in it can be changed unnoticed.
        let text = exported(desk, &all, 3, Format::Json).await;
        let (_, read, verdict) = statements::verify_file(&text).unwrap();
        assert!(verdict.same && read.rows.len() == verdict.rows, "{verdict:?}");
        let paid = read.rows.iter().find(|row| row.key.currency == "EUR" && !row.amount.is_zero()).unwrap();
        let amount = format!("\"amount\":\"{}\"}}", paid.amount);
        for (what, from, to) in [
            ("a figure", "\"plays\":1,", "\"plays\":2,"),
            ("an amount", amount.as_str(), "\"amount\":\"77.77\"}"),
            (
                "an offset",
                "\"topic\":\"playback\",\"partition\":0,\"offset\":",
                "\"topic\":\"playback\",\"partition\":0,\"offset\":1",
            ),
            ("a contract", "12.345", "12.346"),
        ] {
            assert!(text.contains(from), "{what}: {from} is not in the file");
            let (_, _, verdict) = statements::verify_file(&text.replacen(from, to, 1)).unwrap();
            assert!(!verdict.same, "{what} was changed and nobody noticed");
        }
        let (_, _, verdict) = statements::verify_file(&text.replacen(&amount, "\"amount\":\"77.77\"}", 1)).unwrap();
        assert!(verdict.differences.iter().any(|one| one.figure == "amount" && one.said == "77.77"), "{verdict:?}");

        let csv = exported(desk, &all, 3, Format::Csv).await;
        assert_eq!(csv.lines().count(), read.rows.len() + 1);
        let table = exported(desk, &all, 3, Format::Tsv).await;
        let of = |kind: &str| table.lines().filter(|line| line.split('\t').next() == Some(kind)).count();
        assert_eq!((of("HEAD"), of("SU01"), of("FOOT")), (1, read.rows.len(), 1));
        assert!(of("AS01") > 3 && of("SY01") == read.head.contracts.len());
        let foot = format!("FOOT\t{}\t{}", table.lines().count(), read.rows.len());
        assert_eq!(table.lines().last(), Some(foot.as_str()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_closed_while_an_amount_cannot_be_told() {
    at_a_desk(async |desk| {
        let no_length = json!({"rights_holder_id": "ada", "title_ids": ["film-1"], "valid_from": "2026-10-01",
                               "counting": {"views": "hours_by_runtime"}, "payment": {"currency": "EUR", "per_view": "1"}});
        let no_pool = json!({"rights_holder_id": "bob", "valid_from": "2026-10-01",
                             "payment": {"currency": "EUR", "revenue_share": {"percent": "1"}}});
        let old = json!({"rights_holder_id": "bob", "valid_from": "2026-10-01", "payment": "as usual"});
        desk.register(&[title("film-1", "ada", None), title("film-2", "bob", None)]).await;
        desk.register(&[contract("a", &no_length), contract("b", &no_pool), contract("c", &old)]).await;
        desk.append(&Viewers::new(3, 4).events(400)).await;
        desk.folded().await;
        let all = about(None);
        let error = desk.close(&all).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "3 amounts can't be told: contract a: title film-1: the title has no runtime_ms, by which its views are counted; \
             contract b: its revenue_share names no pool for 2026-10; contract c: /payment must be an object"
        );
        assert!(matches!(
            statements::restate(&desk.bench.pool, &all, async || desk.agreements().await, chrono::Utc::now()).await,
            Err(StatementError::NotClosed(_))
        ));
        let soon = About { period: "2026-10".parse().unwrap(), rights_holder: None };
        let on_the_7th = chrono::DateTime::parse_from_rfc3339("2026-11-07T23:59:59Z").unwrap().to_utc();
        let agreements = async || desk.agreements().await;
        let early = statements::close(&desk.bench.pool, &soon, agreements, on_the_7th, false).await.unwrap_err();
        assert_eq!(
            early.to_string(),
            "heartbeats of 2026-10 may come until 2026-11-08; closed earlier, they would be a restatement"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_figure_leads_to_its_sessions_and_these_to_their_records() {
    at_a_desk(async |desk| {
        desk.register(&catalog()).await;
        desk.append(&Viewers::new(9, 4).events(800)).await;
        desk.folded().await;
        let all = about(None);
        let now = desk.provisional(&all).await;
        let row =
            now.rows.iter().filter(|row| row.key.contract_id == "ada-1").max_by_key(|row| row.figures.plays).unwrap();
        let agreements = desk.agreements().await.unwrap();
        let mut question = statements::SessionsQuestion {
            about: all.clone(),
            contract_id: Some("ada-1".parse().unwrap()),
            title_id: row.key.title_id.parse().unwrap(),
            territory: Some(row.key.territory.parse().unwrap()),
            device_class: Some(row.key.device_class.parse().unwrap()),
            after: None,
            limit: 2,
        };
        let mut behind = Vec::new();
        loop {
            let (page, _) = statements::sessions_behind(&desk.bench.pool, &question, &agreements).await.unwrap();
            let Some(last) = page.last() else { break };
            question.after = Some((last.partition, last.first_offset));
            behind.extend(page);
        }
        let count =
            |is: fn(&statements::SessionBehind) -> bool| i64::try_from(behind.iter().filter(|one| is(one)).count());
        assert_eq!(count(|one| one.played), Ok(row.figures.plays));
        assert_eq!(count(|one| one.qualified), Ok(row.figures.qualified_views));
        assert_eq!(behind.iter().map(|one| one.watched_ms).sum::<i64>(), row.figures.watched_ms);
        assert!(behind.len() > 2, "only {} sessions", behind.len());

        let one = &behind[0];
        let session = pulsegate_domain::ids::SessionId::new(one.session_id).unwrap();
        let account = one.account_id.parse().unwrap();
        let beats = statements::beats(&desk.bench.pool, &desk.settings, &account, session).await.unwrap().unwrap();
        assert!(beats.is_whole && beats.partition == one.partition && beats.records[0].offset == one.first_offset);
        let watched: i64 =
            sqlx::query_scalar("select watched_ms from licensing.sessions where partition = $1 and first_offset = $2")
                .bind(one.partition)
                .bind(one.first_offset)
                .fetch_one(&desk.bench.pool)
                .await
                .unwrap();
        assert_eq!(beats.records.iter().map(|beat| beat.watched_ms).sum::<u64>(), watched.unsigned_abs());
        let unknown = statements::beats(&desk.bench.pool, &desk.settings, &"nobody".parse().unwrap(), session).await;
        assert_eq!(unknown.unwrap(), None);
    })
    .await;
}
