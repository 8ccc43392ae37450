//! `fold_history`: the hot view folds a log from its beginning.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pulsegate_domain::topic::Topic;
use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_projections::hot_view::{HotView, Snapshot};
use pulsegate_projections::reader::ReaderSettings;

use crate::deployment::{Deployment, PARTITIONS};
use crate::events::events;
use crate::plain::is_heartbeat;
use crate::producer::fill;
use crate::reading::{ROUND_TIME_MAX, Start, read};
use crate::report::{Row, Target};
use crate::scale::{Scale, float, median};
use crate::viewers::account;

/// Sessions of the history, an account each.
const SESSIONS: usize = 100_000;
/// Threads that the hot view folds with, so those that the limits read with.
const THREADS: usize = 1;

/// Against consuming and decoding the same log with as many threads; consuming alone is shown beside.
pub(crate) async fn measure(scale: &Scale) -> anyhow::Result<Vec<Row>> {
    Deployment::scoped(async |deployment| {
        let topic = deployment.raw_topics().name(Topic::Playback);
        let records = fill(deployment, topic.clone(), &mut events(SESSIONS)?, scale.history_records)?;
        let read = |is_right: fn(&[u8]) -> bool| read(deployment, &topic, THREADS, records, Start::Cold, is_right);
        let (mut consumed, mut decoded, mut folded) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..scale.rounds {
            consumed.push(read(|value| black_box(value).len() > 1)?);
            decoded.push(read(is_heartbeat)?);
            folded.push(fold(deployment, records).await?);
        }
        let consumed = median(consumed);
        let target = Target::AtLeast { ratio: 0.6, value: 0.0 };
        Ok(vec![
            Row::new("fold_history", median(folded), "1/s", target).limit(median(decoded)).note(&format!(
                "{records} heartbeats of {SESSIONS} sessions in {PARTITIONS} partitions, from the first connection to \
                 the last record; limit: consume and read with serde_json, {THREADS} thread"
            )),
            Row::new("fold_history_consume_alone", consumed, "1/s", Target::None),
        ])
    })
    .await
}

/// Folds the topic to its end, as a node does that finds no read model.
async fn fold(deployment: &Deployment, records: u64) -> anyhow::Result<f64> {
    let topics = deployment.raw_topics();
    let settings = ReaderSettings { client: deployment.client(), topics, partitions: PARTITIONS };
    let catalog = CatalogView::start(&settings)?;
    anyhow::ensure!(catalog.caught_up(Duration::from_secs(30)).await, "the catalog is not read");
    let begun = Instant::now();
    let view = HotView::start(&settings, catalog.clone(), Snapshot::default())?;
    // Sooner than the view says itself that it has caught up: it asks for the log's end now and then.
    while view.folded_total() < records {
        anyhow::ensure!(begun.elapsed() < ROUND_TIME_MAX, "folded {} of {records}", view.folded_total());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = begun.elapsed();
    let caught_up = tokio::time::timeout(ROUND_TIME_MAX, view.caught_up());
    caught_up.await.context("the view does not say that it has caught up")?;
    let is_known = view.look(&account(SESSIONS - 1).parse()?, |look| look.account.is_some());
    anyhow::ensure!(is_known, "the view skipped what it should have folded");
    tokio::task::spawn_blocking(move || {
        view.stop();
        catalog.stop();
    })
    .await?;
    Ok(float(records) / took.as_secs_f64())
}
