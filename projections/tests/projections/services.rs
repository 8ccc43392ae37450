//! A database and topics for one test, made before it and removed after it, also after a failure.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use pulsegate_domain::topic::{Topic, TopicNames, partition_of};
use pulsegate_projections::active_sessions::{ActiveSessions, FixedPolicies, PolicySource};
use pulsegate_projections::runner::{Ownership, RunError, Runner};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{FutureProducer, FutureRecord};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::households::{Event, policies};

/// No condition is waited for longer: machines are slow and shared.
pub(crate) const DEADLINE: Duration = Duration::from_mins(4);

/// Two benches at a time: each keeps a broker, a database and a core busy.
static ROOM: Semaphore = Semaphore::const_new(2);

fn variable(names: &[&str], default: &str) -> String {
    names.iter().find_map(|name| std::env::var(name).ok()).unwrap_or_else(|| default.to_owned())
}

fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let millis = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    format!("{}_{}_{}", std::process::id(), millis, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Runs a test on an empty, migrated database.
pub(crate) async fn on_a_database(test: impl AsyncFnOnce(&PgPool)) {
    let url = variable(
        &["PULSEGATE_DATABASE_URL", "DATABASE_URL"],
        "postgres://pulsegate:pulsegate@127.0.0.1:5432/pulsegate",
    );
    let options: PgConnectOptions = url.parse().unwrap();
    let name = format!("projections_test_{}", unique());
    let mut admin = PgConnection::connect_with(&options).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("create database {name}"))).execute(&mut admin).await.unwrap();
    let pool = PgPoolOptions::new().max_connections(8).connect_with(options.database(&name)).await.unwrap();
    pulsegate_projections::migrate(&pool).await.unwrap();
    let outcome = AssertUnwindSafe(test(&pool)).catch_unwind().await;
    pool.close().await;
    // An autovacuum worker, which isn't ours to end, may be in there for a moment.
    let mut tries = 0;
    while let Err(error) =
        sqlx::query(AssertSqlSafe(format!("drop database {name} with (force)"))).execute(&mut admin).await
    {
        tries += 1;
        assert!(tries < 30, "{error}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// A playback topic and a database.
pub(crate) struct Bench {
    pub(crate) pool: PgPool,
    pub(crate) kafka: ClientConfig,
    pub(crate) topics: TopicNames,
    partitions: i32,
    producer: FutureProducer,
    _room: SemaphorePermit<'static>,
}

/// Runs a test on an empty playback topic and an empty, migrated database.
pub(crate) async fn on_a_bench(partitions: i32, test: impl AsyncFnOnce(&Bench)) {
    let room = ROOM.acquire().await.unwrap();
    let mut kafka = ClientConfig::new();
    kafka.set("bootstrap.servers", variable(&["PULSEGATE_KAFKA_BOOTSTRAP"], "127.0.0.1:9092"));
    let topics = TopicNames::new(format!("projections-test-{}.", unique()));
    let admin: AdminClient<DefaultClientContext> = kafka.create().unwrap();
    let playback = topics.name(Topic::Playback);
    let topic = NewTopic::new(&playback, partitions, TopicReplication::Fixed(1))
        .set("message.timestamp.type", "LogAppendTime")
        .set("retention.ms", "-1");
    for made in admin.create_topics([&topic], &AdminOptions::new()).await.unwrap() {
        made.unwrap();
    }
    let producer = producer(&kafka);
    on_a_database(async |pool| {
        let bench = Bench { pool: pool.clone(), kafka, topics, partitions, producer, _room: room };
        let outcome = AssertUnwindSafe(test(&bench)).catch_unwind().await;
        admin.delete_topics(&[&playback], &AdminOptions::new()).await.unwrap();
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    })
    .await;
}

/// A producer that keeps the order in which it was given records also where it has to send some again, as it does right
/// after a topic was made.
pub(crate) fn producer(kafka: &ClientConfig) -> FutureProducer {
    kafka.clone().set("enable.idempotence", "true").set("linger.ms", "2").create().unwrap()
}

/// A runner under way.
pub(crate) struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
}

impl Running {
    /// Lets it finish what it is doing.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Ends it wherever it is, as a crash would.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled(), "it ended by itself");
    }
}

impl Bench {
    pub(crate) fn start(&self, ownership: Ownership) -> Running {
        self.start_judged_by(ownership, Arc::new(FixedPolicies::new(policies())))
    }

    pub(crate) fn start_judged_by(&self, ownership: Ownership, policies: Arc<dyn PolicySource>) -> Running {
        let shutdown = CancellationToken::new();
        let projection = ActiveSessions::new(policies);
        let runner = Runner::new(projection, self.pool.clone(), self.kafka.clone(), self.topics.clone());
        let task = tokio::spawn(runner.owning(ownership).run(shutdown.clone()));
        Running { shutdown, task }
    }

    pub(crate) async fn append(&self, events: &[Event]) {
        let sent = events.iter().map(|event| self.append_raw(event.account.as_str().as_bytes(), &event.value));
        join_all(sent).await;
    }

    /// Appends any bytes to the partition of a key.
    pub(crate) async fn append_raw(&self, key: &[u8], value: &[u8]) {
        let topic = self.topics.name(Topic::Playback);
        let record = FutureRecord::to(&topic).partition(partition_of(key, self.partitions)).key(key).payload(value);
        self.producer.send(record, DEADLINE).await.unwrap();
    }

    /// The end of each partition that holds anything.
    pub(crate) async fn ends(&self) -> BTreeMap<i32, i64> {
        let (kafka, topic, partitions) = (self.kafka.clone(), self.topics.name(Topic::Playback), self.partitions);
        let ask = move || {
            let consumer: BaseConsumer = kafka.create().unwrap();
            let end = |partition| consumer.fetch_watermarks(&topic, partition, DEADLINE).unwrap().1;
            (0..partitions).map(|partition| (partition, end(partition))).filter(|(_, end)| *end > 0).collect()
        };
        tokio::task::spawn_blocking(ask).await.unwrap()
    }

    /// Waits until everything that is in the topic now is folded.
    pub(crate) async fn folded(&self) {
        let ends = self.ends().await;
        let begun = Instant::now();
        loop {
            let stands: BTreeMap<i32, i64> =
                sqlx::query_as("select partition, next_offset from pulsegate.projection_offsets")
                    .fetch_all(&self.pool)
                    .await
                    .unwrap_or_default()
                    .into_iter()
                    .collect();
            if ends.iter().all(|(partition, end)| stands.get(partition).is_some_and(|next| next >= end)) {
                return;
            }
            assert!(begun.elapsed() < DEADLINE, "not folded: the log ends at {ends:?}, the tables at {stands:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
