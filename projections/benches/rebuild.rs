//! How fast a rebuild is, beside what bounds it: a raw consume and decode of the same topic, and a bare binary COPY of
//! the same rows. Needs Kafka and PostgreSQL, as the tests do; `PULSEGATE_BENCH_EVENTS` says how many events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pulsegate_domain::event::{Attributes, Heartbeat, PlaybackEvent, decode, encode};
use pulsegate_domain::ids::{AccountId, PlayerState, SessionId};
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::{Topic, TopicNames, partition_of};
use pulsegate_projections::active_sessions::{self, FixedPolicies};
use pulsegate_projections::rebuild::{Progress, Wanted, rebuild};
use pulsegate_projections::registry::{Dependencies, Registered, migrate_with};
use pulsegate_projections::runner::{Batch, Poison, Poisoned, Projection, Record};
use pulsegate_projections::sinks::Copy;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, PgTransaction};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const PARTITIONS: i32 = 12;
const THREADS: i32 = 2;
const SESSIONS: u64 = 200_000;
const LONG: Duration = Duration::from_mins(5);

static APPENDED: Registered = Registered {
    name: "appended",
    version: 1,
    topics: &[Topic::Playback],
    ddl: "create table events (
            partition int not null, log_offset bigint not null, at timestamptz not null, account_id text not null,
            body text not null, constraint events_pk primary key (partition, log_offset))",
    indexes: "create index events_of_account on events (account_id, at)",
    tables: &["events"],
    compared: &[],
    run: |job| job.with(Appended),
};

/// The plainest append projection: a row a record.
struct Appended;

impl Projection for Appended {
    type Event = (String, bytes::Bytes);
    type Context = ();
    type Memory = ();
    type Changes = Copy;

    fn registered(&self) -> &'static Registered {
        &APPENDED
    }

    fn decode(&self, record: &Record) -> Result<Self::Event, Poison> {
        let (Some(key), Some(value)) = (&record.key, &record.value) else { return Err(Poison::skip("empty")) };
        std::str::from_utf8(value).map_err(Poison::skip)?;
        Ok((String::from_utf8_lossy(key).into_owned(), value.clone()))
    }

    async fn prepare(&self, _: &Batch<Self::Event>) {}

    async fn load(&self, _: &Batch<Self::Event>, (): &mut (), _: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
        Ok(())
    }

    fn fold(&self, batch: &Batch<Self::Event>, (): &(), (): &mut (), _: &mut Poisoned) -> Copy {
        let mut rows = rows();
        for placed in &batch.events {
            let (account, body) = &placed.event;
            let mut row = rows.row();
            row.int4(batch.source.partition).int8(placed.place.offset).timestamptz(placed.place.at).text(account);
            row.text(std::str::from_utf8(body).unwrap_or_default());
        }
        rows
    }

    async fn flush(&self, rows: Copy, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
        rows.send(tx).await.map(|_| ())
    }
}

fn rows() -> Copy {
    Copy::new("copy events (partition, log_offset, at, account_id, body) from stdin (format binary)", 5)
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

#[tokio::main]
async fn main() {
    let events: u64 = variable("PULSEGATE_BENCH_EVENTS", "1000000").parse().expect("a number of events");
    let mut kafka = ClientConfig::new();
    kafka.set("bootstrap.servers", variable("PULSEGATE_KAFKA_BOOTSTRAP", "127.0.0.1:9092"));
    let name = format!("rebuild_bench_{}", std::process::id());
    let topics = TopicNames::new(format!("{name}."));
    let topic = topics.name(Topic::Playback);
    let admin: AdminClient<DefaultClientContext> = kafka.create().expect("an admin client");
    let wanted =
        NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(1)).set("message.timestamp.type", "LogAppendTime");
    admin.create_topics([&wanted], &AdminOptions::new()).await.expect("a topic");
    let begun = Instant::now();
    produce(&kafka, &topic, events);
    said("produced", events, begun.elapsed());

    let url = variable("PULSEGATE_DATABASE_URL", "postgres://pulsegate:pulsegate@127.0.0.1:5432/pulsegate");
    let options: PgConnectOptions = url.parse().expect("a database url");
    let mut server = PgConnection::connect_with(&options).await.expect("PostgreSQL");
    sqlx::query(AssertSqlSafe(format!("create database {name}"))).execute(&mut server).await.expect("a database");
    let pool = PgPoolOptions::new().max_connections(8).connect_with(options.database(&name)).await.expect("a pool");
    migrate_with(&pool, &[&active_sessions::REGISTERED, &APPENDED]).await.expect("migrations");

    let raw = consume(&kafka, &topic);
    said("raw consume and decode, 2 threads", raw.0, raw.1);
    let policies = Arc::new(FixedPolicies::default());
    let with = Dependencies::new(pool.clone(), kafka.clone(), topics, policies);
    let keyed = filled(&active_sessions::REGISTERED, &with).await;
    said("rebuild of active_sessions", events, keyed);
    let bare = copied(&pool, &kafka, &topic).await;
    said("bare COPY of the same rows, 2 clients", events, bare);
    let appended = filled(&APPENDED, &with).await;
    said("rebuild of an append projection", events, appended);
    println!(
        "keyed / raw {:.2}, append / bare COPY {:.2}",
        raw.1.as_secs_f64() / keyed.as_secs_f64(),
        bare.as_secs_f64() / appended.as_secs_f64()
    );

    pool.close().await;
    // An autovacuum worker, which isn't ours to end, may be in there for a moment.
    let mut tries = 0;
    while let Err(error) =
        sqlx::query(AssertSqlSafe(format!("drop database {name} with (force)"))).execute(&mut server).await
    {
        tries += 1;
        assert!(tries < 60, "{error}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    admin.delete_topics(&[&topic], &AdminOptions::new()).await.expect("deleted");
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 events")]
fn said(what: &str, events: u64, took: Duration) {
    println!("{what}: {events} in {:.2} s, {:.0}/s", took.as_secs_f64(), events as f64 / took.as_secs_f64());
}

fn produce(kafka: &ClientConfig, topic: &str, events: u64) {
    let producer: ThreadedProducer<_> = kafka
        .clone()
        .set("compression.type", "lz4")
        .set("linger.ms", "20")
        .set("queue.buffering.max.messages", "1000000")
        .set("queue.buffering.max.kbytes", "262144")
        .create()
        .expect("a producer");
    for index in 0..events {
        let session = index % SESSIONS;
        let account: AccountId = format!("account-{}", session / 2).parse().expect("an id");
        let beat = PlaybackEvent::Heartbeat(Heartbeat {
            account_id: account.clone(),
            session_id: SessionId::new(Uuid::from_u128(u128::from(session) + 1)).expect("an id"),
            device_id: format!("device-{}", session % 2).parse().expect("an id"),
            device_class: None,
            title_id: format!("title-{}", session % 1_000).parse().expect("an id"),
            content_kind: None,
            territory: None,
            rights_holder: None,
            sequence: index / SESSIONS,
            elapsed_ms: index / SESSIONS * 10_000,
            age_ms: 0,
            position_ms: index / SESSIONS * 10_000,
            state: PlayerState::Playing,
            rate_milli: 1_000,
            policy: "standard@1".parse().expect("a policy"),
        });
        let attributes = Attributes {
            id: Uuid::now_v7(),
            source: "/v1/heartbeats",
            subject: "session",
            time: Timestamp::from_millis(1_790_000_000_000),
            partition_key: account.as_str(),
        };
        let value = encode(&attributes, &beat);
        let partition = partition_of(account.as_str().as_bytes(), PARTITIONS);
        let mut record = BaseRecord::to(topic).partition(partition).key(account.as_str()).payload(&value);
        while let Err((_, back)) = producer.send(record) {
            record = back;
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    producer.flush(LONG).expect("all acknowledged");
}

/// Every record of the topic, `THREADS` at once; `each` sees each.
fn read_all(kafka: &ClientConfig, topic: &str, each: impl Fn(i32, &rdkafka::message::BorrowedMessage<'_>) + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let each = &each;
            scope.spawn(move || {
                let consumer: BaseConsumer = kafka
                    .clone()
                    .set("group.id", "bench")
                    .set("enable.auto.commit", "false")
                    .set("enable.partition.eof", "true")
                    .set("max.partition.fetch.bytes", "4194304")
                    .set("fetch.queue.backoff.ms", "2")
                    .create()
                    .expect("a consumer");
                let mut own = TopicPartitionList::new();
                for partition in (0..PARTITIONS).filter(|partition| partition % THREADS == thread) {
                    own.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
                }
                consumer.assign(&own).expect("assigned");
                let mut left = own.count();
                while left > 0 {
                    match consumer.poll(Duration::from_millis(100)) {
                        Some(Ok(message)) => each(thread, &message),
                        Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => left -= 1,
                        _ => {}
                    }
                }
                consumer.unassign().expect("unassigned");
            });
        }
    });
}

fn consume(kafka: &ClientConfig, topic: &str) -> (u64, Duration) {
    let (begun, count) = (Instant::now(), AtomicU64::new(0));
    read_all(kafka, topic, |_, message| {
        let decoded = decode::<PlaybackEvent>(message.payload().unwrap_or_default()).expect("an event");
        count.fetch_add(u64::from(!decoded.id.is_empty()), Ordering::Relaxed);
    });
    (count.into_inner(), begun.elapsed())
}

/// How long filling takes, without what comes after it.
async fn filled(registered: &'static Registered, with: &Dependencies) -> Duration {
    let progress = Arc::new(Progress::default());
    let wanted = Wanted { workers: 2, parks: false, copy: None };
    let (begun, seen) = (Instant::now(), Arc::clone(&progress));
    let watched = tokio::spawn(async move {
        loop {
            let partitions = seen.partitions();
            if !partitions.is_empty() && partitions.iter().all(|(_, one)| one.done) {
                return begun.elapsed();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let built = rebuild(registered, with, &wanted, &progress, CancellationToken::new()).await.expect("a rebuild");
    let filled = watched.await.expect("it watches");
    println!(
        "  {}: filled in {:.2} s, with indexes and all in {:.2} s",
        built.build,
        filled.as_secs_f64(),
        begun.elapsed().as_secs_f64()
    );
    filled
}

/// The rows of the append projection, held in memory, sent by two clients into a table like that of a rebuild.
async fn copied(pool: &PgPool, kafka: &ClientConfig, topic: &str) -> Duration {
    let held: Vec<std::sync::Mutex<Vec<Copy>>> = (0..THREADS).map(|_| std::sync::Mutex::new(vec![rows()])).collect();
    read_all(kafka, topic, |thread, message| {
        let mut batches = held[usize::try_from(thread).expect("small")].lock().expect("no panic");
        if batches.last().is_some_and(|last| last.rows() >= 100_000) {
            batches.push(rows());
        }
        let last = batches.last_mut().expect("there is one");
        let mut row = last.row();
        row.int4(message.partition()).int8(message.offset());
        row.timestamptz_ms(message.timestamp().to_millis().unwrap_or_default());
        row.text(std::str::from_utf8(message.key().unwrap_or_default()).expect("text"));
        row.text(std::str::from_utf8(message.payload().unwrap_or_default()).expect("text"));
    });
    sqlx::raw_sql("create schema bare; set search_path = bare;").execute(pool).await.expect("a schema");
    let table = APPENDED.ddl.replace("create table events", "create unlogged table bare.events");
    sqlx::raw_sql(AssertSqlSafe(table)).execute(pool).await.expect("a table");
    let begun = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for batches in held {
        let pool = pool.clone();
        clients.spawn(async move {
            for rows in batches.into_inner().expect("no panic") {
                let mut tx = pool.begin().await.expect("a transaction");
                sqlx::query("set local search_path = bare").execute(&mut *tx).await.expect("set");
                rows.send(&mut tx).await.expect("copied");
                tx.commit().await.expect("committed");
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.expect("a client");
    }
    begun.elapsed()
}
