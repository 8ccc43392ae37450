//! The limit of a rebuild that appends: the same rows, made before, sent by binary COPY and nothing else.
//!
//! Twice: into the columns of the read model, whose properties are text, and into a table that has them as `jsonb`, as
//! most would have made it.

use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use pulsegate_domain::event::RecordedRef;
use pulsegate_domain::ids::{AccountId, AnonymousId};
use pulsegate_projections::sinks::Copy;
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use sqlx::PgPool;

use crate::appended::consumer;
use crate::deployment::{Deployment, PARTITIONS};
use crate::reading::ROUND_TIME_MAX;
use crate::rebuilds::WORKERS;
use crate::scale::per_second;

/// Rows of one COPY, as a rebuild's.
const COPY_ROWS: u64 = 100_000;
/// How many of them each client has in memory before the clock runs.
const COPIES_HELD: usize = 5;

/// As what the properties are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Properties {
    Text,
    Jsonb,
}

/// A client's part of the log.
struct Client {
    consumer: BaseConsumer,
    partitions: usize,
    ended: usize,
}

/// Rows of the clickstream a second, by as many clients as a rebuild has workers; the time in which they are made
/// doesn't count.
pub(crate) async fn per_second_of(
    deployment: &Deployment,
    topic: &str,
    records: u64,
    properties: Properties,
) -> anyhow::Result<f64> {
    let pool = deployment.pool(u32::try_from(WORKERS)?)?;
    // The columns of the rows' table, without being a partition of it.
    sqlx::raw_sql("create schema bare; create unlogged table bare.events (like clickstream_v2.events)")
        .execute(&pool)
        .await?;
    if let Properties::Jsonb = properties {
        let sql = "alter table bare.events alter column properties type jsonb using properties::jsonb";
        sqlx::raw_sql(sql).execute(&pool).await?;
    }
    let mut clients = Vec::new();
    for index in 0..WORKERS {
        let own: Vec<_> = (0..PARTITIONS).skip(index).step_by(WORKERS).collect();
        let consumer = consumer(deployment, topic, &own, Offset::Beginning)?;
        clients.push(Client { consumer, partitions: own.len(), ended: 0 });
    }
    let (mut took, mut copied) = (Duration::ZERO, 0);
    loop {
        let held = thread::scope(|scope| {
            let made: Vec<_> = clients.iter_mut().map(|client| scope.spawn(move || client.rows(properties))).collect();
            made.into_iter()
                .map(|made| made.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
                .collect::<anyhow::Result<Vec<_>>>()
        })?;
        if held.iter().all(Vec::is_empty) {
            break;
        }
        let begun = Instant::now();
        let sent = try_join_all(held.into_iter().map(|copies| send(&pool, copies))).await?;
        took += begun.elapsed();
        copied += sent.iter().sum::<u64>();
    }
    for client in &clients {
        client.consumer.unassign()?;
    }
    sqlx::raw_sql("drop schema bare cascade").execute(&pool).await?;
    pool.close().await;
    anyhow::ensure!(copied == records, "{copied} of {records} rows were copied");
    Ok(per_second(copied, took))
}

async fn send(pool: &PgPool, copies: Vec<Copy>) -> Result<u64, sqlx::Error> {
    let mut rows = 0;
    for copy in copies {
        let mut tx = pool.begin().await?;
        rows += copy.send(&mut tx).await?;
        tx.commit().await?;
    }
    Ok(rows)
}

impl Client {
    /// The next rows, as many as are held; none at the end.
    fn rows(&mut self, properties: Properties) -> anyhow::Result<Vec<Copy>> {
        let (begun, mut copies) = (Instant::now(), Vec::new());
        let mut last = empty();
        while copies.len() < COPIES_HELD && self.ended < self.partitions {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    write(&mut last, &message, properties)?;
                    if last.rows() == COPY_ROWS {
                        copies.push(std::mem::replace(&mut last, empty()));
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => self.ended += 1,
                Some(Err(error)) => return Err(error.into()),
                None => anyhow::ensure!(begun.elapsed() < ROUND_TIME_MAX, "the log does not end"),
            }
        }
        if !last.is_empty() {
            copies.push(last);
        }
        Ok(copies)
    }
}

fn empty() -> Copy {
    Copy::new(
        "copy bare.events (partition, log_offset, logged_at, occurred_at, event_id, name, account_id, anonymous_id,
                           session_id, properties)
         from stdin (format binary)",
        10,
    )
}

fn write(rows: &mut Copy, message: &BorrowedMessage<'_>, properties: Properties) -> anyhow::Result<()> {
    let event = RecordedRef::read(message.payload().unwrap_or_default())?;
    let mut row = rows.row();
    row.int4(message.partition()).int8(message.offset());
    row.timestamptz_ms(message.timestamp().to_millis().unwrap_or_default());
    row.maybe(event.time, |row, at| row.timestamptz_ms(at.millis()));
    row.text(&event.id).text(&event.name);
    row.text_or_null(event.account_id.as_ref().map(AccountId::as_str));
    row.text_or_null(event.anonymous_id.as_ref().map(AnonymousId::as_str));
    row.maybe(event.session_id, |row, id| row.uuid(id.uuid()));
    match properties {
        Properties::Text => row.text(event.properties),
        Properties::Jsonb => row.jsonb(event.properties),
    };
    Ok(())
}
