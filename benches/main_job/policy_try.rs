//! `policy_try`: a draft of a policy tried on all of history.

use std::sync::Arc;

use pulsegate_domain::policy::PolicySet;
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::Topic;
use pulsegate_projections::policy_try::{self, Progress, Question};
use tokio_util::sync::CancellationToken;

use crate::deployment::{Deployment, PARTITIONS};
use crate::events::events;
use crate::plain::is_heartbeat;
use crate::producer::fill;
use crate::reading::{Start, read};
use crate::rebuilds::WORKERS;
use crate::report::{Row, Target};
use crate::scale::{Scale, float, median};

/// Sessions of the history, an account each.
const SESSIONS: usize = 100_000;

/// Decoded once and folded twice, against consuming and decoding the same log with as many threads as there are cores.
pub(crate) async fn measure(scale: &Scale) -> anyhow::Result<Vec<Row>> {
    Deployment::scoped(async |deployment| {
        let topic = deployment.topics().name(Topic::Playback);
        let records = fill(deployment, topic.clone(), &mut events(SESSIONS)?, scale.history_records)?;
        let (mut decoded, mut tried) = (Vec::new(), Vec::new());
        for _ in 0..scale.rounds {
            decoded.push(read(deployment, &topic, WORKERS, records, Start::Warm, is_heartbeat)?);
            tried.push(per_second_of(deployment, records).await?);
        }
        let target = Target::AtLeast { ratio: 0.5, value: 0.0 };
        Ok(vec![Row::new("policy_try", median(tried), "1/s", target).limit(median(decoded)).note(&format!(
            "{records} heartbeats of {SESSIONS} sessions in {PARTITIONS} partitions, decoded once and folded twice, a \
             thread a core, with looking up where the log ends; limit: consume and read with serde_json, {WORKERS} threads"
        ))])
    })
    .await
}

async fn per_second_of(deployment: &Deployment, records: u64) -> anyhow::Result<f64> {
    let (client, topics) = (deployment.client(), deployment.topics());
    let policies = Arc::new(PolicySet::default());
    let mut terms = policies.standard().terms.clone();
    terms.rules[0].max = 1;
    let since = Timestamp::from_millis(0);
    let question = Question { terms, name: None, since, until: None, warm_up_ms: 0 };
    let tried = tokio::task::spawn_blocking(move || {
        let (progress, stop) = (Arc::new(Progress::default()), CancellationToken::new());
        policy_try::run(&client, &topics, &policies, &question, &progress, &stop)
    });
    let tried = tried.await??;
    anyhow::ensure!(tried.events == records, "{} of {records} events count", tried.events);
    Ok(float(records) * 1e3 / float(tried.took_ms.max(1)))
}
