//! Settling parked records: folded after all, in their order, or given up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use pulsegate_domain::account::Place;
use pulsegate_domain::time::Timestamp;
use serde::Serialize;
use sqlx::{PgPool, PgTransaction};
use thiserror::Error;

use crate::builds::{Build, history};
use crate::registry::{Dependencies, Job, Registered};
use crate::runner::{
    Batch, BatchError, Partition, Placed, Poison, Position, Projection, Record, RunError, Sorted, Source, Waiting,
    Worker, uncaught,
};

/// Most records of one key that are folded in one transaction.
const RECORDS_MAX: i64 = 20_000;

/// What became of the records of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Settled {
    /// The poison event behind which they waited.
    pub id: i64,
    /// How many were folded.
    pub folded: usize,
    /// How many are still parked.
    pub parked: usize,
    /// Why the first of those can't be folded.
    pub error: Option<String>,
}

/// Why a letter was not settled.
#[derive(Debug, Error)]
pub enum SettleError {
    /// There is no such letter.
    #[error("there is no dead letter {0}")]
    Unknown(i64),
    /// It isn't parked.
    #[error("dead letter {0} isn't parked: nothing waits behind it, and nothing is to be done")]
    NotParked(i64),
    /// Its projection is of a version that this program doesn't have.
    #[error("dead letter {0} belongs to {1}, whose code is not in this program")]
    OtherVersion(i64, String),
    /// The fold could not be done.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The database said no, or nothing.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
}

/// Folds what is parked under the key of a letter, in order, up to the first that can't be folded. With a
/// reason, the letter itself is skipped before.
pub async fn settle(
    registered: &[&'static Registered],
    with: &Dependencies,
    id: i64,
    skip: Option<&str>,
) -> Result<Settled, SettleError> {
    let found = sqlx::query_as::<_, (String, String, i32, String)>(
        "select build, name, version, kind from pulsegate.dead_letters
         join pulsegate.projection_builds using (build) where id = $1",
    )
    .bind(id)
    .fetch_optional(&with.pool)
    .await?;
    let (schema, name, version, kind) = found.ok_or(SettleError::Unknown(id))?;
    if kind != "parked" {
        return Err(SettleError::NotParked(id));
    }
    let code = registered.iter().copied().find(|one| one.name == name && one.version == version);
    let code = code.ok_or_else(|| SettleError::OtherVersion(id, schema.clone()))?;
    let build = Build::named(code, &schema);
    let order = Order { id, skip: skip.map(str::to_owned), settled: Arc::default() };
    Job::settle(build, with.clone(), order.clone()).run().await?;
    let settled = order.settled.lock().unwrap_or_else(PoisonError::into_inner).take();
    settled.ok_or(SettleError::NotParked(id))
}

/// The poison events that are parked, of one projection or all, the oldest first.
pub async fn parked(pool: &PgPool, projection: Option<&str>) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "select id from pulsegate.dead_letters join pulsegate.projection_builds using (build)
         where kind = 'parked' and behind is null and ($1::text is null or name = $1) order by id limit 100000",
    )
    .bind(projection)
    .fetch_all(pool)
    .await
}

/// A letter that is to be settled, and where it is said how that went.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    id: i64,
    skip: Option<String>,
    settled: Arc<Mutex<Option<Settled>>>,
}

/// Does it with a projection's code.
pub(crate) async fn run<P: Projection>(
    projection: P,
    build: Build,
    with: Dependencies,
    order: Order,
) -> Result<(), RunError> {
    let worker = Worker::new(projection, with.pool).on(build).knowing(&with.forgotten);
    let settled = Settling { worker: &worker, order: &order }.settle().await?;
    *order.settled.lock().unwrap_or_else(PoisonError::into_inner) = settled;
    Ok(())
}

/// What is parked under one key.
struct Parked {
    source: Source,
    /// Where the partition stands.
    position: Position,
    letters: Vec<Letter>,
}

#[derive(sqlx::FromRow)]
struct Letter {
    id: i64,
    log_offset: i64,
    logged_at_ms: Option<i64>,
    clock_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

impl Letter {
    /// The record as it stood in the log, but for headers, which no fold reads.
    fn record(&self) -> Record {
        Record {
            offset: self.log_offset,
            timestamp: self.logged_at_ms.map(Timestamp::from_millis),
            key: self.key.clone().map(Into::into),
            value: self.value.clone().map(Into::into),
            headers: Vec::new(),
        }
    }
}

struct Settling<'a, P> {
    worker: &'a Worker<P>,
    order: &'a Order,
}

impl<P: Projection> Settling<'_, P> {
    /// `None` if somebody has settled it meanwhile.
    async fn settle(&self) -> Result<Option<Settled>, BatchError> {
        // The most that may be folded, and what is known of the one behind. Found by folding and rolling back: fewer
        // each time, by halves where the database doesn't say which record it refuses.
        let mut most = usize::MAX;
        let mut good = 0;
        let mut refused: Option<String> = None;
        loop {
            let tried = self.fold(most, refused.as_deref()).await;
            match tried {
                Ok(Tried::Settled(settled)) => return Ok(settled),
                Ok(Tried::Refused { at, error }) => {
                    most = at;
                    refused = Some(error);
                }
                Err((all, error)) if error.may_be_a_records_fault() && all > 0 => {
                    // Those before the first of these many can be folded; somewhere in the others is the cause.
                    let mut bad = all.min(most);
                    while bad - good > 1 {
                        let middle = usize::midpoint(good, bad);
                        if self.would_fold(middle).await? { good = middle } else { bad = middle }
                    }
                    most = bad - 1;
                    refused = Some(error.to_string());
                }
                Err((_, error)) => return Err(error),
            }
        }
    }

    /// Folds at most `most`, for which `refused` is why the next one isn't, and commits.
    async fn fold(&self, most: usize, refused: Option<&str>) -> Result<Tried, (usize, BatchError)> {
        let fail = |error: BatchError| (0, error);
        let mut tx = self.worker.pool().begin().await.map_err(|error| fail(error.into()))?;
        let Some(parked) = self.parked(&mut tx).await.map_err(|error| fail(error.into()))? else {
            return Ok(Tried::Settled(None));
        };
        let count = parked.letters.len().min(most);
        let folded = self.fold_in(&parked, count, &mut tx).await.map_err(|error| (count, error))?;
        if let Some((at, error)) = folded {
            return Ok(Tried::Refused { at, error });
        }
        let settled = self.note(&parked, count, refused, &mut tx).await.map_err(|error| fail(error.into()))?;
        tx.commit().await.map_err(|error| fail(error.into()))?;
        Ok(Tried::Settled(Some(settled)))
    }

    /// Whether the first `count` can be folded; nothing is kept of it.
    async fn would_fold(&self, count: usize) -> Result<bool, BatchError> {
        let mut tx = self.worker.pool().begin().await?;
        let Some(parked) = self.parked(&mut tx).await? else { return Ok(false) };
        let folded = self.fold_in(&parked, count.min(parked.letters.len()), &mut tx).await;
        tx.rollback().await?;
        match folded {
            Ok(refused) => Ok(refused.is_none()),
            Err(error) if error.may_be_a_records_fault() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is parked under the letter's key, with the partition locked against its runner.
    async fn parked(&self, tx: &mut PgTransaction<'_>) -> Result<Option<Parked>, sqlx::Error> {
        let build = self.worker.build();
        let place = sqlx::query_as::<_, (String, i32, Option<Vec<u8>>, i64)>(
            "select topic, partition, key, log_offset from pulsegate.dead_letters where id = $1 and build = $2",
        )
        .bind(self.order.id)
        .bind(build.schema())
        .fetch_one(&mut **tx)
        .await?;
        let (topic, partition, key, own) = place;
        let topic = build.registered().topics.iter().copied().find(|known| known.base_name() == topic);
        let topic = topic.ok_or(sqlx::Error::RowNotFound)?;
        let (next_offset, clock) = sqlx::query_as::<_, (i64, i64)>(
            "with settings as (select set_config('search_path', $1, true))
             select next_offset, clock_ms from pulsegate.projection_offsets, settings
             where build = $2 and topic = $3 and partition = $4 for update of projection_offsets",
        )
        .bind(build.schema())
        .bind(build.schema())
        .bind(topic.base_name())
        .bind(partition)
        .fetch_one(&mut **tx)
        .await?;
        if let Some(reason) = &self.order.skip {
            sqlx::query(
                "update pulsegate.dead_letters
                 set kind = 'skipped', behind = null, settled_at = now(), reason = $2 where id = $1 and kind = 'parked'",
            )
            .bind(self.order.id)
            .bind(reason)
            .execute(&mut **tx)
            .await?;
        }
        // A record without key stands for itself alone.
        let letters = sqlx::query_as::<_, Letter>(
            "select id, log_offset, (extract(epoch from logged_at) * 1000)::bigint as logged_at_ms,
                    coalesce(clock_ms, 0) as clock_ms, key, value
             from pulsegate.dead_letters
             where build = $1 and topic = $2 and partition = $3 and kind = 'parked'
               and (key = $4 or $4 is null and log_offset = $5)
             order by log_offset limit $6",
        )
        .bind(build.schema())
        .bind(topic.base_name())
        .bind(partition)
        .bind(key)
        .bind(own)
        .bind(RECORDS_MAX)
        .fetch_all(&mut **tx)
        .await?;
        if letters.is_empty() && self.order.skip.is_none() {
            return Ok(None);
        }
        let position = Position { next_offset, clock: Timestamp::from_millis(clock) };
        Ok(Some(Parked { source: Source { topic, partition }, position, letters }))
    }

    /// Folds the first `count`; `Some` if one of them is poison still: which, and why.
    async fn fold_in(
        &self,
        parked: &Parked,
        count: usize,
        tx: &mut PgTransaction<'_>,
    ) -> Result<Option<(usize, String)>, BatchError> {
        let mut events = Vec::with_capacity(count);
        let records: Vec<_> = parked.letters[..count].iter().map(Letter::record).collect();
        self.worker.read_list(tx).await?;
        let readings = self.worker.read(parked.source.topic, &records).await?;
        for (at, (letter, record)) in parked.letters.iter().zip(&records).enumerate() {
            let place = Place { offset: letter.log_offset, at: Timestamp::from_millis(letter.clock_ms) };
            match uncaught(|| self.worker.projection().decode(readings.read(record))) {
                Ok(Ok(event)) => events.push(Placed { place, event }),
                Ok(Err(Poison::Park(error) | Poison::Skip(error))) => return Ok(Some((at, error))),
                Err(panic) => return Ok(Some((at, panic.to_string()))),
            }
        }
        if events.is_empty() {
            return Ok(None);
        }
        let batch = Batch { source: parked.source, ends_at: parked.position, events };
        let forgotten = readings.forgotten();
        let sorted = Sorted { batch, letters: Vec::new(), newly_waiting: Waiting::default(), forgotten };
        let context = self.worker.projection().prepare(&sorted.batch).await;
        let mut partition = Partition::at(parked.source, parked.position);
        let poisoned: BTreeMap<i64, Poison> = self.worker.fold(&mut partition, &sorted, &context, tx).await?;
        let first = poisoned.into_iter().next();
        Ok(first.map(|(offset, poison)| {
            let (Poison::Park(error) | Poison::Skip(error)) = poison;
            (parked.letters.partition_point(|letter| letter.log_offset < offset), error)
        }))
    }

    /// Keeps what became of them; whoever remembers the partition forgets it.
    async fn note(
        &self,
        parked: &Parked,
        folded: usize,
        refused: Option<&str>,
        tx: &mut PgTransaction<'_>,
    ) -> Result<Settled, sqlx::Error> {
        let ids = |letters: &[Letter]| letters.iter().map(|letter| letter.id).collect::<Vec<_>>();
        sqlx::query(
            "update pulsegate.dead_letters set kind = 'retried', behind = null, settled_at = now() where id = any($1)",
        )
        .bind(ids(&parked.letters[..folded]))
        .execute(&mut **tx)
        .await?;
        let mut left = parked.letters[folded..].iter();
        if let Some(head) = left.next() {
            let error = refused.unwrap_or("not tried yet");
            sqlx::query("update pulsegate.dead_letters set behind = null, error = $2 where id = $1")
                .bind(head.id)
                .bind(error.replace('\0', "\u{fffd}"))
                .execute(&mut **tx)
                .await?;
            sqlx::query(
                "update pulsegate.dead_letters set behind = $2, error = 'waits behind ' || $2 where id = any($1)",
            )
            .bind(left.map(|letter| letter.id).collect::<Vec<_>>())
            .bind(head.log_offset)
            .execute(&mut **tx)
            .await?;
        }
        let build = self.worker.build();
        sqlx::query(
            "update pulsegate.projection_offsets set interventions = interventions + 1
             where build = $1 and topic = $2 and partition = $3",
        )
        .bind(build.schema())
        .bind(parked.source.topic.base_name())
        .bind(parked.source.partition)
        .execute(&mut **tx)
        .await?;
        let settled = Settled {
            id: self.order.id,
            folded,
            parked: parked.letters.len() - folded,
            error: refused.filter(|_| folded < parked.letters.len()).map(str::to_owned),
        };
        let what = if self.order.skip.is_some() { "skipped a dead letter" } else { "retried dead letters" };
        let reason = self.order.skip.as_deref().map_or_else(String::new, |reason| format!(", because: {reason}"));
        let detail = format!("{}: {folded} folded, {} still parked{reason}", settled.id, settled.parked);
        history::note(&mut **tx, build, what, &detail).await?;
        Ok(settled)
    }
}

/// How a try to fold went.
enum Tried {
    Settled(Option<Settled>),
    Refused { at: usize, error: String },
}
