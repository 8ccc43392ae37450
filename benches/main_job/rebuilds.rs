//! `rebuild_append` and `rebuild_keyed`: read models built anew from all of history.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pulsegate_domain::event::RecordedRef;
use pulsegate_domain::topic::Topic;
use pulsegate_projections::active_sessions::{self, FixedPolicies};
use pulsegate_projections::rebuild::{Phase, Progress, Wanted, rebuild};
use pulsegate_projections::registry::{Dependencies, Registered};
use pulsegate_projections::{clickstream, licensing};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::bare_copy::{self, Properties};
use crate::deployment::{Deployment, PARTITIONS};
use crate::events::{clicks, events};
use crate::plain::is_heartbeat;
use crate::producer::fill;
use crate::reading::{Start, read};
use crate::report::{Row, Target};
use crate::scale::{Scale, float, per_second};

/// Partitions that a rebuild folds at once, clients of the bare COPY, threads of the raw consumers.
pub(crate) const WORKERS: usize = 2;
/// Records of a session in the history of `rebuild_keyed`: at the full scale they are 200 000 sessions.
const HEARTBEATS_EACH: usize = 25;
/// Visitors in the history of `rebuild_append`.
const VISITORS: usize = 50_000;
/// Connections of a rebuild: each worker's, and what watches beside.
const CONNECTIONS: u32 = 8;

/// `clickstream`, against a bare COPY of the same rows.
pub(crate) async fn append(scale: &Scale) -> anyhow::Result<Vec<Row>> {
    Deployment::scoped(async |deployment| {
        let topic = deployment.topics().name(Topic::Clickstream);
        let records = fill(deployment, topic.clone(), &mut clicks(VISITORS)?, scale.rebuild_records)?;
        let decoded = read(deployment, &topic, WORKERS, records, Start::Warm, |value| {
            black_box(RecordedRef::read(value)).is_ok()
        })?;
        let copied = bare_copy::per_second_of(deployment, &topic, records, Properties::Text).await?;
        let copied_jsonb = bare_copy::per_second_of(deployment, &topic, records, Properties::Jsonb).await?;
        let built = built(deployment, &clickstream::REGISTERED, records).await?;
        let target = Target::AtLeast { ratio: 0.7, value: 0.0 };
        Ok(vec![
            Row::new("rebuild_append", built.filled_per_s, "1/s", target).limit(copied).note(&format!(
                "clickstream from {records} events in {PARTITIONS} partitions, {WORKERS} at once, up to the last row's \
                 commit, one round; limit: binary COPY of the same rows from memory by {WORKERS} clients into a table \
                 of the same columns, unlogged and without indexes, as a rebuild has it"
            )),
            Row::new("rebuild_append_beside_jsonb", built.filled_per_s, "1/s", Target::None)
                .limit(copied_jsonb)
                .note("limit: the same COPY into a table whose properties are jsonb"),
            Row::new("rebuild_append_consume", built.filled_per_s, "1/s", Target::None)
                .limit(decoded)
                .note(&format!("limit: consume and read with serde_json, {WORKERS} threads")),
            Row::new("rebuild_append_on_these_cores", built.filled_per_s, "1/s", Target::None)
                .limit(1.0 / (1.0 / decoded + 1.0 / copied))
                .note(
                    "limit: consuming and decoding, and then the COPY, each with all cores to itself: no rebuild does \
                     more where both keep all cores busy",
                ),
            Row::new("rebuild_append_whole", built.whole_per_s, "1/s", Target::None)
                .limit(copied)
                .note("with making the tables logged, the indexes for readers, and the end of the log reached"),
        ])
    })
    .await
}

/// `licensing`, against consuming and decoding the same topic; `active_sessions` is shown beside.
pub(crate) async fn keyed(scale: &Scale) -> anyhow::Result<Vec<Row>> {
    Deployment::scoped(async |deployment| {
        let topic = deployment.topics().name(Topic::Playback);
        let sessions = scale.rebuild_records / HEARTBEATS_EACH;
        let records = fill(deployment, topic.clone(), &mut events(sessions)?, scale.rebuild_records)?;
        let decoded = read(deployment, &topic, WORKERS, records, Start::Warm, is_heartbeat)?;
        let licensing = built(deployment, &licensing::REGISTERED, records).await?;
        let by_one = built_by(1, deployment, &licensing::REGISTERED, records).await?;
        let active = built(deployment, &active_sessions::REGISTERED, records).await?;
        let target = Target::AtLeast { ratio: 0.5, value: 0.0 };
        Ok(vec![
            Row::new("rebuild_keyed", licensing.filled_per_s, "1/s", target).limit(decoded).note(&format!(
                "licensing from {records} heartbeats of {sessions} sessions in {PARTITIONS} partitions, {WORKERS} at \
                 once, up to the last row's commit, one round; limit: consume and read with serde_json, {WORKERS} threads"
            )),
            Row::new("rebuild_keyed_whole", licensing.whole_per_s, "1/s", Target::None)
                .limit(decoded)
                .note("with making the tables logged, the indexes for readers, and the end of the log reached"),
            Row::new("rebuild_keyed_by_one", by_one.filled_per_s, "1/s", Target::None)
                .limit(decoded)
                .note("one partition at a time, as the command does on two cores unless it is told otherwise"),
            Row::new("rebuild_active_sessions", active.filled_per_s, "1/s", Target::None)
                .limit(decoded)
                .note("active_sessions from the same history, an account a session"),
        ])
    })
    .await
}

/// How fast a rebuild was.
pub(crate) struct Built {
    /// Up to the last row's commit.
    filled_per_s: f64,
    /// All of it.
    whole_per_s: f64,
}

/// Rebuilds a projection from the deployment's log.
pub(crate) async fn built(
    deployment: &Deployment,
    registered: &'static Registered,
    records: u64,
) -> anyhow::Result<Built> {
    built_by(WORKERS, deployment, registered, records).await
}

async fn built_by(
    workers: usize,
    deployment: &Deployment,
    registered: &'static Registered,
    records: u64,
) -> anyhow::Result<Built> {
    let (pool, with) = (deployment.pool(CONNECTIONS)?, dependencies(deployment));
    let (told, tell) = tokio::sync::oneshot::channel();
    // With a runtime like the product's: each worker folds on a thread of its own.
    std::thread::Builder::new().name("rebuild".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
        let built = runtime.context("failed to start tokio").and_then(|runtime| {
            let built = runtime.block_on(timed(workers, registered, with(pool), records));
            runtime.shutdown_timeout(Duration::from_secs(5));
            built
        });
        // Nobody waits any more where the measure was left.
        drop(told.send(built));
    })?;
    tell.await.context("a rebuild ended early")?
}

/// What a rebuild needs, but for its connections: those belong to the runtime that they are used on.
pub(crate) fn dependencies(deployment: &Deployment) -> impl FnOnce(PgPool) -> Dependencies + use<> {
    let (client, topics) = (deployment.client(), deployment.topics());
    move |pool| Dependencies::new(pool, client, topics, Arc::new(FixedPolicies::default()))
}

async fn timed(
    workers: usize,
    registered: &'static Registered,
    with: Dependencies,
    records: u64,
) -> anyhow::Result<Built> {
    let wanted = Wanted { workers, parks: false, copy: None };
    let progress = Arc::new(Progress::default());
    let begun = Instant::now();
    let watched = {
        let progress = Arc::clone(&progress);
        tokio::spawn(async move {
            while matches!(progress.phase(), Phase::Planning | Phase::Filling) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            begun.elapsed()
        })
    };
    let rebuilt = rebuild(registered, &with, &wanted, &progress, CancellationToken::new()).await?;
    let filled = watched.await?;
    anyhow::ensure!(
        u64::try_from(rebuilt.records) == Ok(records),
        "{registered} was rebuilt from {} of {records} records",
        rebuilt.records
    );
    with.pool.close().await;
    Ok(Built { filled_per_s: per_second(records, filled), whole_per_s: float(records) / begun.elapsed().as_secs_f64() })
}
