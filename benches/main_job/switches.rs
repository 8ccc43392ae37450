//! `switch` and `rollback`: readers are shown another build while they read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pulsegate_domain::topic::Topic;
use pulsegate_projections::licensing;
use pulsegate_projections::switch::{Switched, rollback, switch};
use pulsegate_projections::verify::verify;
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::deployment::Deployment;
use crate::events::events;
use crate::load::on_own_thread;
use crate::node::{Node, SOON};
use crate::producer::fill;
use crate::rebuilds::{built, dependencies};
use crate::report::{Row, Target};
use crate::scale::{Scale, float, median};

/// Readers, each on a connection of its own.
const READERS: usize = 64;
/// Sessions in the tables, and heartbeats of each.
const SESSIONS: usize = 1_000;
const HEARTBEATS_EACH: usize = 20;
/// Reads that are made before anything counts.
const WARM_READS: u64 = 20 * READERS as u64;
/// From one switch to the next.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections of who switches, and of verify, which reads both builds beside each other.
const CONNECTIONS: u32 = 8;

/// Reads that were made while readers were switched.
#[derive(Debug, Default)]
struct Reads {
    made: AtomicU64,
    over: AtomicBool,
}

/// Milliseconds that calls took, and how often one tried because readers were in the way.
#[derive(Debug, Default)]
struct Took {
    whole_ms: Vec<f64>,
    transaction_ms: Vec<f64>,
    tries: u32,
}

/// `licensing`, to a rebuilt shadow that was verified, and back, again and again.
pub(crate) async fn measure(scale: &Scale) -> anyhow::Result<Vec<Row>> {
    Deployment::scoped(async |deployment| {
        let topic = deployment.topics().name(Topic::Playback);
        let records = fill(deployment, topic, &mut events(SESSIONS)?, SESSIONS * HEARTBEATS_EACH)?;
        let projecting = Node::projecting(deployment).await?;
        let pool = deployment.pool(CONNECTIONS)?;
        live_at(&pool, records).await?;
        built(deployment, &licensing::REGISTERED, records).await?;
        let verdict = verify(&licensing::REGISTERED, None, &dependencies(deployment)(pool.clone())).await?;
        anyhow::ensure!(verdict.same, "what was rebuilt from nothing isn't what is live: {verdict:?}");
        mark(&pool).await?;

        let reads = Arc::new(Reads::default());
        let (readers, counted) = (deployment.pool(u32::try_from(READERS)?)?, Arc::clone(&reads));
        let reading = on_own_thread(move || read(readers, counted))?;
        // Who only connects yet is no reader.
        let begun = Instant::now();
        while reads.made.load(Ordering::Relaxed) < WARM_READS && begun.elapsed() < SOON {
            tokio::time::sleep(PAUSE).await;
        }
        let (begun, before) = (Instant::now(), reads.made.load(Ordering::Relaxed));
        let switched = to_and_fro(&pool, scale.switches).await;
        let made = reads.made.load(Ordering::Relaxed) - before;
        let per_s = float(made) / begun.elapsed().as_secs_f64();
        reads.over.store(true, Ordering::Relaxed);
        let seen = reading.await.context("the readers ended early")??;
        let [there, back] = switched?;
        anyhow::ensure!(seen == BTreeSet::from([1, 2]), "readers saw the builds {seen:?}");
        projecting.stop().await?;
        pool.close().await;
        let how = format!(
            "{READERS} readers with {per_s:.0} reads/s through the views, none failed, none saw two builds; from the \
             call until it returns, {} times each; verify had found what was rebuilt to be what was live",
            scale.switches
        );
        let rows = [("switch", there), ("rollback", back)].into_iter().flat_map(|(name, took)| took.rows(name, &how));
        Ok(rows.collect())
    })
    .await
}

/// Waits until what is live has folded all records.
async fn live_at(pool: &PgPool, records: u64) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let folded: i64 = sqlx::query_scalar(
            "select coalesce(sum(next_offset), 0)::bigint from pulsegate.live_offsets where name = 'licensing'",
        )
        .fetch_one(pool)
        .await?;
        if u64::try_from(folded)? >= records {
            return Ok(());
        }
        anyhow::ensure!(begun.elapsed() < SOON, "{folded} of {records} records are folded");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Lets each build be told by its rows. Nothing is appended any more, so nothing changes them back.
async fn mark(pool: &PgPool) -> anyhow::Result<()> {
    sqlx::raw_sql(
        "update licensing_v4.sessions set territory = '1';
         update licensing_v4.facts set watched_ms = 1;
         update licensing_v4_r2.sessions set territory = '2';
         update licensing_v4_r2.facts set watched_ms = 2;",
    )
    .execute(pool)
    .await?;
    Ok(())
}

async fn to_and_fro(pool: &PgPool, times: usize) -> anyhow::Result<[Took; 2]> {
    let (mut there, mut back) = (Took::default(), Took::default());
    for time in 0..times {
        // The first one is to what was verified; who was left must be verified anew or forced.
        let forced = (time > 0).then_some("a measure");
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        there.add(begun, &switch(pool, &licensing::REGISTERED, None, forced).await?);
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        back.add(begun, &rollback(pool, &licensing::REGISTERED, None).await?);
    }
    Ok([there, back])
}

impl Took {
    fn add(&mut self, begun: Instant, switched: &Switched) {
        self.whole_ms.push(begun.elapsed().as_secs_f64() * 1e3);
        self.transaction_ms.push(switched.took_ms);
        self.tries = self.tries.max(switched.tries);
    }

    fn rows(self, name: &str, how: &str) -> Vec<Row> {
        let most = |all: &[f64]| all.iter().copied().fold(f64::NAN, f64::max);
        let note = format!(
            "{how}; the transaction that does it: p50 {:.1}, max {:.1} ms, {} tries at most",
            median(self.transaction_ms.clone()),
            most(&self.transaction_ms),
            self.tries
        );
        let max = most(&self.whole_ms);
        let row = |what: &str, value| Row::new(&format!("{name}_{what}"), value, "ms", Target::Below(100.0));
        vec![row("p50", median(self.whole_ms)).note(&note), row("max", max)]
    }
}

/// Reads until it is over; the builds that were seen. A read that fails or sees two ends everything.
async fn read(pool: PgPool, reads: Arc<Reads>) -> anyhow::Result<BTreeSet<i64>> {
    let mut readers = JoinSet::new();
    for reader in 0..READERS {
        let (pool, reads) = (pool.clone(), Arc::clone(&reads));
        readers.spawn(async move {
            let mut seen = BTreeSet::new();
            while !reads.over.load(Ordering::Relaxed) {
                let marks = look(&pool, reader).await.context("a read failed")?;
                anyhow::ensure!(marks.len() == 1, "a read saw the builds {marks:?}");
                seen.extend(marks);
                reads.made.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(seen)
        });
    }
    let mut seen = BTreeSet::new();
    while let Some(ended) = readers.join_next().await {
        seen.append(&mut ended??);
    }
    pool.close().await;
    Ok(seen)
}

/// One read: of one view, of both with the offsets that they are as of, or of both in one transaction.
async fn look(pool: &PgPool, reader: usize) -> Result<BTreeSet<i64>, sqlx::Error> {
    match reader % 3 {
        0 => Ok(sqlx::query_scalar("select distinct territory::bigint from licensing.sessions")
            .fetch_all(pool)
            .await?
            .into_iter()
            .collect()),
        1 => Ok(sqlx::query_scalar(
            "select territory::bigint from licensing.sessions union select watched_ms from licensing.facts
             union select case build when 'licensing_v4' then 1 else 2 end
                   from pulsegate.live_offsets where name = 'licensing'",
        )
        .fetch_all(pool)
        .await?
        .into_iter()
        .collect()),
        _ => {
            let mut tx = pool.begin().await?;
            let mut seen = BTreeSet::new();
            for view in [
                "select distinct territory::bigint from licensing.sessions",
                "select distinct watched_ms from licensing.facts",
            ] {
                seen.extend(sqlx::query_scalar::<_, i64>(view).fetch_all(&mut *tx).await?);
            }
            tx.commit().await?;
            Ok(seen)
        }
    }
}
