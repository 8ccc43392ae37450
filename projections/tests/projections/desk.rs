//! A desk for statements: topics that take the sender's time, a catalog, and the read models following.

use std::time::Instant;

use futures_util::future::join_all;
use pulsegate_domain::event::{Attributes, CatalogEvent, ContractRegistered, TitleRegistered, encode};
use pulsegate_domain::ids::ContentKind;
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::{Topic, partition_of};
use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_projections::reader::ReaderSettings;
use pulsegate_projections::statements::{self, About, Agreements, Head, Statement, StatementError};
use pulsegate_projections::{active_sessions, builds, licensing};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::households::Event;
use crate::rebuilds::dependencies;
use crate::services::{Bench, DEADLINE, on_a_bench, producer};

const PARTITIONS: i32 = 2;

pub(crate) fn title(id: &str, holder: &str, runtime_ms: Option<u64>) -> CatalogEvent {
    CatalogEvent::TitleRegistered(TitleRegistered {
        title_id: id.parse().unwrap(),
        name: id.into(),
        content_kind: ContentKind::Vod,
        rights_holder_id: holder.parse().unwrap(),
        runtime_ms,
    })
}

pub(crate) fn contract(id: &str, body: &Value) -> CatalogEvent {
    let mut body = body.clone();
    body["contract_id"] = json!(id);
    CatalogEvent::ContractRegistered(serde_json::from_value::<ContractRegistered>(body).unwrap())
}

/// Each kind of payment and counting, overlaps, windows and territories; `film-3` is in no catalog.
pub(crate) fn catalog() -> Vec<CatalogEvent> {
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
pub(crate) struct Desk<'a> {
    pub(crate) bench: &'a Bench,
    producer: FutureProducer,
    pub(crate) settings: ReaderSettings,
    catalog: CatalogView,
}

impl Desk<'_> {
    pub(crate) async fn register(&self, events: &[CatalogEvent]) {
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

    pub(crate) async fn append(&self, events: &[Event]) {
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
    pub(crate) async fn folded(&self) {
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

    pub(crate) async fn agreements(&self) -> Option<Agreements> {
        self.catalog.caught_up(DEADLINE).await.then(|| self.catalog.read_at(Agreements::of))
    }

    pub(crate) async fn provisional(&self, about: &About) -> Statement {
        statements::provisional(&self.bench.pool, about, async || self.agreements().await).await.unwrap()
    }

    pub(crate) async fn close(&self, about: &About) -> Result<statements::Closed, StatementError> {
        let agreements = async || self.agreements().await;
        statements::close(&self.bench.pool, about, agreements, chrono::Utc::now(), true, async || Ok(Vec::new())).await
    }

    pub(crate) async fn restate(&self, about: &About) -> Option<statements::Closed> {
        let agreements = async || self.agreements().await;
        statements::restate(&self.bench.pool, about, agreements, chrono::Utc::now()).await.unwrap()
    }

    /// The statement as a fold of the log up to the same offsets makes it.
    pub(crate) async fn recount(&self, about: &About, head: &Head) -> Statement {
        let (settings, about, as_of) = (self.settings.clone(), about.clone(), head.as_of.clone());
        let folding = move || statements::recount(&settings, &about, &as_of, || {}).unwrap();
        tokio::task::spawn_blocking(folding).await.unwrap()
    }

    /// A closed revision as it is kept, checked against its hash and the log.
    pub(crate) async fn verified(&self, about: &About, revision: u32) -> Statement {
        let kept = statements::verify(&self.bench.pool, about, Some(revision)).await.unwrap();
        let (kept, verdict) = kept.unwrap();
        assert!(verdict.same, "{verdict:?}");
        let verdict = statements::compare(&kept, &self.recount(about, &kept.head).await);
        assert!(verdict.same, "{verdict:?}");
        kept
    }
}

pub(crate) async fn at_a_desk(test: impl AsyncFnOnce(&Desk<'_>)) {
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
        let desk =
            Desk { bench, producer: producer(&bench.kafka), catalog: CatalogView::start(&settings).unwrap(), settings };
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
