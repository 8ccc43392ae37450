//! `live_lag`: from an append until the rows that it changes are committed; alone, and while one of the read models is
//! built anew beside.

use std::collections::HashMap;
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{mem, thread};

use anyhow::Context as _;
use pulsegate_domain::topic::Topic;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use sqlx::PgPool;

use crate::appended::seen;
use crate::deployment::Deployment;
use crate::events::{RawEvent, clicks, events};
use crate::latencies::{Latencies, Quantiles, Rounds};
use crate::load::Span;
use crate::node::Node;
use crate::producer::{fill, headers, settings};
use crate::report::{Row, Target};
use crate::scale::{Scale, float, median, per_second};

/// Events a second, and which part of them is clickstream: every tenth.
const PER_S: u32 = 10_000;
const PER_MS: usize = PER_S as usize / 1_000;
const ONE_IN: usize = 10;
/// Sessions: each is heard about every ten seconds, as a player is.
const SESSIONS: usize = 90_000;
/// How often it is looked how far the projections are: what is measured is up to so much longer than it was.
const LOOK_EVERY: Duration = Duration::from_millis(4);
/// No row is committed later, unless something is wrong.
const UNCOMMITTED_MAX: Duration = Duration::from_mins(2);

/// The projections that run, and what each folds.
const FOLDED: [(&str, Topic); 3] =
    [("active_sessions", Topic::Playback), ("clickstream", Topic::Clickstream), ("licensing", Topic::Playback)];

/// Where something lies in the log: the topic without prefix, the partition.
type Source = (Topic, i32);

/// Events that were appended: the offset of each, and when it was due.
type Appended = HashMap<Source, Vec<(i64, Instant)>>;

/// How far a projection was in a partition, each time that it had moved on.
type Stands = HashMap<(&'static str, i32), Vec<(i64, Instant)>>;

/// All three in one `pulsegate project`, while heartbeats and clicks are appended at a rate.
pub(crate) async fn measure(scale: &Scale) -> anyhow::Result<Vec<Row>> {
    Deployment::scoped(async |deployment| {
        let mut raw_events = events(SESSIONS)?;
        let mut load = Load::new()?;
        // History for a rebuild, after which every session is known, as it is most of the time.
        let records = scale.rebuild_records.max(SESSIONS);
        let known = fill(deployment, deployment.topics().name(Topic::Playback), &mut load.heartbeats, records)?;
        let projecting = Node::projecting(deployment).await?;
        let pool = deployment.pool(1)?;
        caught_up(&pool, known).await?;
        let (mut limits, mut quiet, mut beside) = (Rounds::default(), Lags::default(), Lags::default());
        for _ in 0..scale.rounds {
            limits.add(seen(deployment, &mut raw_events, PER_S, Span::from_now(scale))?);
            load = quiet.round(deployment, &pool, load, Span::from_now(scale)).await?;
            // It goes on where the one before was killed.
            let mut rebuilding = Rebuilding::start(deployment)?;
            load = beside.round(deployment, &pool, load, Span::from_now(scale)).await?;
            beside.is_flawed |= !rebuilding.goes_on()?;
        }
        pool.close().await;
        projecting.stop().await?;
        let limits = limits.median();
        let (quiet, beside) = (quiet.median(), beside.median());
        Ok(vec![
            Row::new("live_lag_p50", quiet.all.p50_ms, "ms", Target::None).limit(limits.p50_ms),
            Row::new("live_lag_p99", quiet.all.p99_ms, "ms", Target::Below(500.0))
                .limit(limits.p99_ms)
                .flawed(quiet.is_flawed)
                .note(&format!(
                    "{:.0} events/s of {SESSIONS} sessions, every tenth of the clickstream, from when each was due \
                     to be appended until its offset is committed with its rows, seen by looking every {} ms ({}); \
                     limit: append until seen by a consumer at the same rate, linger 0",
                    quiet.per_s,
                    LOOK_EVERY.as_millis(),
                    quiet.each
                )),
            Row::new("live_lag_p99_beside_rebuild", beside.all.p99_ms, "ms", Target::Times(1.2))
                .limit(quiet.all.p99_ms)
                .flawed(beside.is_flawed)
                .note(&format!(
                    "the same at {:.0} events/s while `pulsegate projection rebuild licensing` folds {records} heartbeats \
                     on the same cores ({}); limit: without it",
                    beside.per_s, beside.each
                )),
        ])
    })
    .await
}

/// Rounds of all three.
#[derive(Default)]
struct Lags {
    all: Rounds,
    each: [Rounds; FOLDED.len()],
    rates: Vec<f64>,
    is_flawed: bool,
}

/// What rounds came to.
struct Lag {
    all: Quantiles,
    each: String,
    per_s: f64,
    is_flawed: bool,
}

impl Lags {
    /// Appends for a span and looks how soon it is folded.
    async fn round(&mut self, deployment: &Deployment, pool: &PgPool, load: Load, span: Span) -> anyhow::Result<Load> {
        let (load, appended, stands) = run(deployment, pool, load, span).await?;
        let due = appended.values().flatten().filter(|(_, due)| span.counts(*due)).count();
        self.rates.push(per_second(due as u64, span.end - span.begin));
        let mut total = Latencies::default();
        for ((name, topic), rounds) in FOLDED.into_iter().zip(&mut self.each) {
            let measured = latencies(name, topic, &appended, &stands, span)?;
            rounds.add(measured.clone().quantiles());
            total.merge(measured);
        }
        self.all.add(total.quantiles());
        Ok(load)
    }

    fn median(self) -> Lag {
        let per_s = median(self.rates);
        let each: Vec<_> = FOLDED
            .into_iter()
            .zip(self.each)
            .map(|((name, _), rounds)| format!("{name} p99 {:.0} ms", rounds.median().p99_ms))
            .collect();
        let is_flawed = self.is_flawed || per_s < 0.97 * float(u64::from(PER_S));
        Lag { all: self.all.median(), each: each.join(", "), per_s, is_flawed }
    }
}

/// A rebuild, as an engineer runs it; killed when it is left.
struct Rebuilding(Child);

impl Rebuilding {
    fn start(deployment: &Deployment) -> anyhow::Result<Self> {
        let mut command = deployment.command("projection");
        command.args(["rebuild", "licensing"]).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn()?))
    }

    fn goes_on(&mut self) -> anyhow::Result<bool> {
        Ok(self.0.try_wait()?.is_none())
    }
}

impl Drop for Rebuilding {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// One round: appends for a span and looks on until all of it is folded.
async fn run(
    deployment: &Deployment,
    pool: &PgPool,
    load: Load,
    span: Span,
) -> anyhow::Result<(Load, Appended, Stands)> {
    let producer: BaseProducer<Placing> = settings(deployment.client(), 0).create_with_context(Placing::default())?;
    let topics = [deployment.topics().name(Topic::Playback), deployment.topics().name(Topic::Clickstream)];
    let appending =
        thread::Builder::new().name("append".into()).spawn(move || load.append(&producer, &topics, span))?;
    let mut stands = Stands::new();
    while !appending.is_finished() {
        look(pool, &mut stands).await?;
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let (load, appended) = appending.join().map_err(|_| anyhow::anyhow!("the appending thread panicked"))??;
    let waited = Instant::now();
    while !all_folded(&appended, &stands) {
        anyhow::ensure!(waited.elapsed() < UNCOMMITTED_MAX, "what was appended is not folded");
        look(pool, &mut stands).await?;
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok((load, appended, stands))
}

async fn look(pool: &PgPool, stands: &mut Stands) -> anyhow::Result<()> {
    let found =
        sqlx::query_as::<_, (String, i32, i64)>("select name, partition, next_offset from pulsegate.live_offsets")
            .fetch_all(pool)
            .await?;
    let now = Instant::now();
    for (found, partition, next_offset) in found {
        let Some((name, _)) = FOLDED.into_iter().find(|(name, _)| *name == found) else { continue };
        let known = stands.entry((name, partition)).or_default();
        if known.last().is_none_or(|(last, _)| *last < next_offset) {
            known.push((next_offset, now));
        }
    }
    Ok(())
}

/// Waits until every projection of the playback topic has folded so many records of it.
async fn caught_up(pool: &PgPool, records: u64) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let least: Option<i64> = sqlx::query_scalar(
            "select min(folded) from (select coalesce(sum(next_offset), 0)::bigint as folded
                                      from pulsegate.live_offsets where topic = 'playback' group by name) as each
             having count(*) = 2",
        )
        .fetch_optional(pool)
        .await?;
        if least.is_some_and(|least| u64::try_from(least).is_ok_and(|least| least >= records)) {
            return Ok(());
        }
        anyhow::ensure!(begun.elapsed() < UNCOMMITTED_MAX, "{least:?} of {records} records are folded");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Each projection with the last event of each partition that it folds.
fn all_folded(appended: &Appended, stands: &Stands) -> bool {
    appended.iter().all(|((topic, partition), events)| {
        let last = events.last().map_or(-1, |(offset, _)| *offset);
        FOLDED.iter().filter(|(_, folded)| folded == topic).all(|(name, _)| {
            let stands = stands.get(&(*name, *partition)).and_then(|stands| stands.last());
            stands.is_some_and(|(next_offset, _)| *next_offset > last)
        })
    })
}

/// How long a projection took with each event of the span.
fn latencies(
    name: &'static str,
    topic: Topic,
    appended: &Appended,
    stands: &Stands,
    span: Span,
) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::default();
    for ((_, partition), events) in appended.iter().filter(|((folded, _), _)| *folded == topic) {
        let stands = stands.get(&(name, *partition)).context("a partition was not folded")?;
        for (offset, due) in events.iter().filter(|(_, due)| span.counts(*due)) {
            let first = stands.partition_point(|(next_offset, _)| next_offset <= offset);
            let (_, committed_at) = stands.get(first).context("an event was not folded")?;
            latencies.add(committed_at.saturating_duration_since(*due));
        }
    }
    Ok(latencies)
}

/// What is appended, the events of each kind taking turns.
struct Load {
    heartbeats: Vec<RawEvent>,
    clicks: Vec<RawEvent>,
    turns: [usize; 2],
}

impl Load {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { heartbeats: events(SESSIONS)?, clicks: clicks(SESSIONS / ONE_IN)?, turns: [0; 2] })
    }

    /// At an even rate, for a span; what is due within a millisecond is due at its beginning.
    fn append(
        mut self,
        producer: &BaseProducer<Placing>,
        topics: &[String; 2],
        span: Span,
    ) -> anyhow::Result<(Self, Appended)> {
        let mut sent = 0;
        for tick in 0.. {
            let due = span.start + Duration::from_millis(tick);
            if due >= span.end {
                break;
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            while sent < usize::try_from(tick + 1)? * PER_MS {
                self.append_next(producer, topics, sent)?;
                sent += 1;
            }
            producer.poll(Duration::ZERO);
        }
        producer.flush(Duration::from_mins(1))?;
        let mut placed = mem::take(&mut *producer.client().context().placed());
        anyhow::ensure!(placed.failed == 0, "{} records were not acknowledged", placed.failed);
        placed.records.sort_unstable();
        let mut appended = Appended::new();
        for (is_click, partition, offset, nth) in placed.records {
            let topic = if is_click { Topic::Clickstream } else { Topic::Playback };
            let due = span.start + Duration::from_millis(u64::try_from(nth / PER_MS)?);
            appended.entry((topic, partition)).or_default().push((offset, due));
        }
        Ok((self, appended))
    }

    fn append_next(
        &mut self,
        producer: &BaseProducer<Placing>,
        topics: &[String; 2],
        nth: usize,
    ) -> anyhow::Result<()> {
        let kind = usize::from(is_click(nth));
        let events = if is_click(nth) { &mut self.clicks } else { &mut self.heartbeats };
        let turn = self.turns[kind] % events.len();
        self.turns[kind] += 1;
        let (key, value) = events[turn].next();
        let mut record = BaseRecord::with_opaque_to(&topics[kind], nth).key(key).payload(value).headers(headers());
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => {
                    record = returned;
                    producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }
}

/// Whether the `nth` event of a round is one of the clickstream.
const fn is_click(nth: usize) -> bool {
    nth.is_multiple_of(ONE_IN)
}

/// Where records came to lie.
#[derive(Default)]
struct Placed {
    /// Whether it is a click, partition, offset, and which one of the round.
    records: Vec<(bool, i32, i64, usize)>,
    failed: usize,
}

#[derive(Default)]
struct Placing(Mutex<Placed>);

impl Placing {
    fn placed(&self) -> MutexGuard<'_, Placed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Placing {}

impl ProducerContext for Placing {
    type DeliveryOpaque = usize;

    fn delivery(&self, report: &DeliveryResult<'_>, nth: usize) {
        match report {
            Ok(message) => {
                self.placed().records.push((is_click(nth), message.partition(), message.offset(), nth));
            }
            Err(_) => self.placed().failed += 1,
        }
    }
}
