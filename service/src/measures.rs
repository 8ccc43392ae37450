//! What a process measures of what it stands on: its pool, the database, the brokers, and how the read models stand.
//!
//! Every process measures all read models, so that the figures are there while any process is; who sums them up takes the
//! largest.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use metrics::gauge;
use pulsegate_domain::time::{Timestamp, ahead_ms};
use pulsegate_domain::topic::TopicNames;
use pulsegate_projections::runner::Health;
use pulsegate_projections::{ProjectionStatus, status};
use rdkafka::ClientConfig;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;

/// Between two looks at the pool: it changes with each request.
const POOL_EVERY: Duration = Duration::from_secs(1);
/// Between two looks at the read models, which ask the database and the brokers.
const MODELS_EVERY: Duration = Duration::from_secs(5);
/// How long such a look may take.
const LOOK_MAX: Duration = Duration::from_secs(20);

/// What is measured.
#[derive(Clone)]
pub struct Measured {
    pool: PgPool,
    connections_max: u32,
    kafka: ClientConfig,
    topics: TopicNames,
    health: Arc<Health>,
}

impl Measured {
    /// A process of these settings, over its pool; its runners tell `health` how they fare.
    #[must_use]
    pub fn new(settings: &Settings, pool: PgPool, health: Arc<Health>) -> Self {
        Self {
            pool,
            connections_max: settings.database_connections,
            kafka: settings.kafka.clone(),
            topics: settings.topics.clone(),
            health,
        }
    }

    /// Measures until `shutdown`.
    pub async fn keep(self, shutdown: CancellationToken) {
        gauge!("pulsegate_database_connections_max").set(f64::from(self.connections_max));
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.keep_pool() => {}
            () = self.keep_models() => {}
        }
    }

    async fn keep_pool(&self) {
        loop {
            let idle = u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX);
            let busy = self.pool.size().saturating_sub(idle);
            gauge!("pulsegate_database_connections", "state" => "idle").set(f64::from(idle));
            gauge!("pulsegate_database_connections", "state" => "busy").set(f64::from(busy));
            tokio::time::sleep(POOL_EVERY).await;
        }
    }

    async fn keep_models(&self) {
        let mut shown = Shown::default();
        loop {
            let looked = async {
                self.measure_clock().await?;
                status(&self.pool, &self.kafka, &self.topics).await
            };
            match tokio::time::timeout(LOOK_MAX, looked).await {
                Ok(Ok(builds)) => shown.show(&builds, &self.stuck()),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "the read models could not be looked at");
                    shown.stuck(&self.stuck());
                }
                Err(_) => shown.stuck(&self.stuck()),
            }
            tokio::time::sleep(MODELS_EVERY).await;
        }
    }

    /// Compares this machine's clock with the database's.
    #[expect(clippy::cast_precision_loss, reason = "two clocks 2^52 ms apart are wrong enough")]
    async fn measure_clock(&self) -> Result<(), sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let asked = Timestamp::from(Utc::now());
        let stamp = sqlx::query_scalar::<_, chrono::DateTime<Utc>>("select clock_timestamp()")
            .fetch_one(&mut *connection)
            .await?;
        let ahead = ahead_ms(asked, stamp.into(), Utc::now().into());
        gauge!("pulsegate_clock_ahead_seconds", "of" => "database").set(ahead as f64 / 1e3);
        Ok(())
    }

    /// Of each build the partitions in which this process gets nowhere.
    fn stuck(&self) -> Vec<String> {
        self.health.stuck().into_iter().map(|stuck| stuck.build).collect()
    }
}

/// What was shown last, so that what is no more isn't shown for ever.
#[derive(Default)]
struct Shown {
    partitions: HashSet<(String, String, i32)>,
    builds: HashSet<String>,
}

#[expect(clippy::cast_precision_loss, reason = "no log has 2^52 records, and no second 2^52 of them")]
impl Shown {
    fn show(&mut self, builds: &[ProjectionStatus], stuck: &[String]) {
        let now = Utc::now().timestamp_millis() as f64 / 1e3;
        gauge!("pulsegate_seen_timestamp_seconds", "of" => "database").set(now);
        if builds.iter().any(|build| build.lag_events.is_some()) {
            gauge!("pulsegate_seen_timestamp_seconds", "of" => "broker").set(now);
        }
        let mut left = std::mem::take(&mut self.partitions);
        let mut gone = std::mem::take(&mut self.builds);
        // A copy and what was retired stand still for good.
        for build in builds.iter().filter(|build| !matches!(build.state.as_str(), "copy" | "retired")) {
            for partition in &build.partitions {
                let key = (build.build.clone(), partition.topic.clone(), partition.partition);
                if let Some(events) = partition.lag_events {
                    lag("pulsegate_projection_lag_events", &key).set(events as f64);
                }
                if let Some(seconds) = partition.lag_seconds {
                    lag("pulsegate_projection_lag_seconds", &key).set(seconds);
                }
                left.remove(&key);
                self.partitions.insert(key);
            }
            let name = || build.build.clone();
            let live = if build.state == "live" { 1.0 } else { 0.0 };
            gauge!("pulsegate_projection_live", "projection" => name()).set(live);
            let paused = if build.paused_at.is_some() { 1.0 } else { 0.0 };
            gauge!("pulsegate_projection_paused", "projection" => name()).set(paused);
            for (kind, count) in [("parked", build.parked), ("skipped", build.skipped)] {
                gauge!("pulsegate_dead_letters", "projection" => name(), "kind" => kind).set(count as f64);
            }
            gone.remove(&build.build);
            self.builds.insert(name());
        }
        for key in &left {
            lag("pulsegate_projection_lag_events", key).set(0.0);
            lag("pulsegate_projection_lag_seconds", key).set(0.0);
        }
        for build in &gone {
            gauge!("pulsegate_projection_live", "projection" => build.clone()).set(0.0);
            gauge!("pulsegate_projection_paused", "projection" => build.clone()).set(0.0);
            gauge!("pulsegate_projection_stuck_partitions", "projection" => build.clone()).set(0.0);
            for kind in ["parked", "skipped"] {
                gauge!("pulsegate_dead_letters", "projection" => build.clone(), "kind" => kind).set(0.0);
            }
        }
        self.stuck(stuck);
    }

    /// Needs no database: that is when it matters.
    fn stuck(&mut self, stuck: &[String]) {
        self.builds.extend(stuck.iter().cloned());
        for build in &self.builds {
            let partitions = stuck.iter().filter(|stuck| *stuck == build).count();
            gauge!("pulsegate_projection_stuck_partitions", "projection" => build.clone()).set(partitions as f64);
        }
    }
}

fn lag(name: &'static str, (build, topic, partition): &(String, String, i32)) -> metrics::Gauge {
    let (build, topic, partition) = (build.clone(), topic.clone(), partition.to_string());
    gauge!(name, "projection" => build, "topic" => topic, "partition" => partition)
}
