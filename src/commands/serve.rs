//! The roles that stay up: the HTTP side, the projections, or both in one process.
//!
//! Start: trace, configuration, addresses bound, the log's topics verified, the catalog and the read
//! model's snapshot read, the hot view folding; then requests. Stop: not ready, drain, flush, leave the
//! group, exit 0 within the grace.

mod checks;
mod forgotten;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::FutureExt as _;
use pulsegate_api::playback::{Playback, PlaybackSettings};
use pulsegate_api::{ApiSettings, ApiState, Cluster, Reads};
use pulsegate_privacy::{AccountKeys, Forgotten};
use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_projections::cluster::Group;
use pulsegate_projections::hot_view::{HotView, Snapshot};
use pulsegate_projections::reader::ReaderSettings;
use pulsegate_projections::registry::{self, Dependencies, Registered};
use pulsegate_projections::{active_sessions, builds, clickstream, licensing};
use pulsegate_service::admin::Readiness;
use pulsegate_service::measures::Measured;
use pulsegate_service::process::{Process, supervise};
use pulsegate_service::variables;
use pulsegate_write_side::{EventLog, LogSettings, TopicsError, ensure_topics};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{ClusterMode, Config};

/// How long a start waits for Kafka and PostgreSQL before it goes on with what it has.
pub(super) const START_WAIT: Duration = Duration::from_secs(10);
/// How long a stop waits for records under way to be acknowledged.
pub(super) const FLUSH_WAIT: Duration = Duration::from_secs(5);
/// How long a stop waits for others to take this node's partitions over.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);
/// How long after a failure the topics are verified again.
const VERIFY_AGAIN: Duration = Duration::from_secs(2);
/// Most records under way to Kafka.
const QUEUE_MAX: usize = 100_000;

/// Which roles a process has.
pub(crate) struct Roles {
    pub(crate) api: bool,
    /// The projections to run; all where the list is empty.
    pub(crate) project: Option<Vec<String>>,
}

impl Roles {
    const fn name(&self) -> &'static str {
        match (self.api, &self.project) {
            (true, Some(_)) => "up",
            (true, None) => "api",
            (false, _) => "project",
        }
    }
}

/// So that a log tells by itself what ran, with which settings.
fn tell_what_is_in_force(config: &Config, role: &'static str) {
    let of = |from: &str| {
        let settings = config.shown().iter().filter(|(_, shown)| shown.from == from);
        settings.map(|(variable, shown)| format!("{variable}={}", shown.value)).collect::<Vec<_>>().join(" ")
    };
    let (set, default) = (of("environment"), of("default"));
    tracing::info!(role, version = env!("CARGO_PKG_VERSION"), set, default, "starting");
    // What it was meant to say isn't in force.
    for variable in config.unread(&variables::of_environment()) {
        tracing::warn!(variable, "nothing reads this variable: is it misspelt?");
    }
}

/// A pool that connects when it is first asked.
pub(crate) fn pool(config: &Config) -> anyhow::Result<PgPool> {
    config.pool().context("failed to read PULSEGATE_DATABASE_URL")
}

/// The reading side's settings.
pub(crate) fn reader_settings(config: &Config) -> ReaderSettings {
    config.reader()
}

/// The writing side's settings.
pub(crate) fn log_settings(config: &Config) -> LogSettings {
    LogSettings {
        client: config.kafka.clone(),
        topics: config.topics.clone(),
        partitions: config.partitions,
        replication: -1,
        queue_max: QUEUE_MAX,
        ack_timeout: config.ack_timeout,
    }
}

/// Runs the roles until told to stop.
pub(crate) async fn run(config: Config, roles: Roles) -> anyhow::Result<ExitCode> {
    let role = roles.name();
    let projections = chosen(roles.project)?;
    let health = Arc::new(Health::default());
    let asked = Arc::clone(&health);
    let process = Process::start(&config, Arc::new(move || asked.readiness())).context("failed to start")?;
    tell_what_is_in_force(&config, role);
    let mut listener = None;
    if roles.api {
        let bound = TcpListener::bind(config.listen).await;
        listener = Some(bound.with_context(|| format!("failed to listen on PULSEGATE_LISTEN={}", config.listen))?);
    }
    // Who runs everything in one process has nobody else who would.
    if role == "up" {
        migrate(&config).await?;
    }
    let shutdown = process.shutdown().clone();
    let served = process.until_stopped(serve(&config, &health, listener, projections, shutdown)).await;
    match served {
        Err(error) if error.downcast_ref::<TopicsError>().is_some_and(is_mismatch) => {
            eprintln!("pulsegate: {error:#}");
            Ok(ExitCode::from(super::EXIT_CONFIGURATION))
        }
        served => served.map(|()| ExitCode::SUCCESS),
    }
}

/// Brings the database up to date. One that is away is no reason not to start: heartbeats and checks don't need it.
async fn migrate(config: &Config) -> anyhow::Result<()> {
    match tokio::time::timeout(START_WAIT, pulsegate_projections::migrate(&pool(config)?)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "the database could not be migrated; `pulsegate migrate` does so later");
        }
        Err(_) => tracing::warn!("the database did not answer; `pulsegate migrate` migrates it later"),
    }
    Ok(())
}

/// The projections of these names; all of them where none is named; none where the role isn't wanted.
fn chosen(names: Option<Vec<String>>) -> anyhow::Result<Vec<&'static Registered>> {
    match names {
        None => Ok(Vec::new()),
        Some(names) if names.is_empty() => Ok(registry::REGISTERED.to_vec()),
        Some(names) => names
            .iter()
            .map(|name| {
                registry::find(name).with_context(|| {
                    let known: Vec<_> = registry::REGISTERED.iter().map(|known| known.name).collect();
                    format!("there is no projection {name:?}; there are: {}", known.join(", "))
                })
            })
            .collect(),
    }
}

/// Whether this process may be sent requests.
#[derive(Default)]
struct Health {
    playback: OnceLock<Playback>,
    projections: Arc<pulsegate_projections::runner::Health>,
    /// Set where nothing more than its start makes a process ready.
    started: AtomicBool,
    stopping: AtomicBool,
}

impl Health {
    fn readiness(&self) -> Readiness {
        if self.stopping.load(Ordering::Relaxed) {
            return Readiness { ready: false, reasons: vec!["stopping".to_owned()] };
        }
        match self.playback.get() {
            Some(playback) => playback.readiness(),
            // A process that only folds is not ready if it gets nowhere; one that is far behind is.
            None if self.started.load(Ordering::Relaxed) => {
                let stuck = self.projections.stuck();
                let reasons: Vec<_> = stuck
                    .into_iter()
                    .map(|stuck| format!("{} {}: {}", stuck.build, stuck.source, stuck.error))
                    .collect();
                Readiness { ready: reasons.is_empty(), reasons }
            }
            None => Readiness { ready: false, reasons: vec!["starting".to_owned()] },
        }
    }
}

async fn serve(
    config: &Config,
    health: &Health,
    listener: Option<TcpListener>,
    projections: Vec<&'static Registered>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let pool = pool(config)?;
    verify_topics(config, &shutdown).await?;
    let readers = reader_settings(config);
    let catalog = CatalogView::start(&readers).context("failed to read the catalog")?;
    if !catalog.caught_up(START_WAIT).await {
        tracing::warn!("Kafka is away: going on with the read model; answers are provisional");
    }
    if !projections.is_empty() {
        forgotten::begin(&catalog, &pool, &shutdown).await;
    }
    let forgotten = Forgotten::new(config.privacy_key.clone());

    let mut tasks = JoinSet::new();
    let measured = Measured::new(config, pool.clone(), Arc::clone(&health.projections));
    tasks.spawn(measured.keep(shutdown.clone()).map(Ok));
    for projection in projections {
        let dependencies = Dependencies {
            health: Arc::clone(&health.projections),
            forgotten: forgotten.clone(),
            ..Dependencies::new(pool.clone(), config.kafka.clone(), config.topics.clone(), Arc::new(catalog.clone()))
        };
        tasks.spawn(builds::follow(projection, dependencies, shutdown.clone()));
        if projection.name == clickstream::REGISTERED.name
            && let Some(days) = config.clickstream_keep_days
        {
            let dropping = clickstream::keep_days_daily(pool.clone(), days, shutdown.clone());
            tasks.spawn(dropping.map(Ok));
        }
        if projection.name == licensing::REGISTERED.name {
            tasks.spawn(licensing::keep_packed(pool.clone(), shutdown.clone()).map(Ok));
        }
    }

    let mut answering = None;
    if let Some(listener) = listener {
        let node = node_of(config, &listener)?;
        let (view, cluster) = fold(config, node.clone(), &readers, &catalog, &pool).await?;
        let log = EventLog::connect(&log_settings(config)).context("failed to connect to the log")?;
        let settings = PlaybackSettings { view_wait: config.view_wait, ..PlaybackSettings::default() };
        let playback = Playback::new(log.clone(), view.clone(), catalog.clone(), log_settings(config), settings)
            .among(node, pool.clone())
            .sealing(config.privacy_key.clone().map(|master| AccountKeys::new(master, pool.clone())));
        drop(health.playback.set(playback.clone()));
        tasks.spawn(playback.clone().keep_caps_laid(shutdown.clone()).map(Ok));
        let (callers, server_settings) = checks::begin(config, listener.local_addr()?, &pool, &mut tasks, &shutdown)?;
        let api_settings = ApiSettings {
            callers,
            cors_origins: config.cors_origins.clone(),
            is_https: config.server.is_encrypted() || config.callers.come_by_https,
            mapping: Arc::clone(&config.signals_mapping),
            ..ApiSettings::default()
        };
        let waits = playback.clone();
        let reads = Reads::new(pool.clone(), readers.clone());
        let router = pulsegate_api::router(ApiState::among(cluster.clone(), playback, reads, api_settings));
        tracing::info!(address = %listener.local_addr()?, "listening");
        let (stopping, handing_over) = (shutdown.clone(), cluster.clone());
        // Whoever takes this node's partitions over finds it still answering.
        let handed_over = async move {
            stopping.cancelled().await;
            waits.end_waits();
            handing_over.hand_over(HAND_OVER_MAX).await;
        };
        let ended = CancellationToken::new();
        let (sharing, over) = (cluster.clone(), ended.clone());
        tasks.spawn(async move {
            sharing.run(over).await;
            Ok(())
        });
        let server = pulsegate_api::serve(listener, router, handed_over, server_settings);
        tasks.spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the server ended");
            }
            ended.cancel();
            Ok(())
        });
        answering = Some((log, view, cluster));
    }
    health.started.store(true, Ordering::Relaxed);

    let ended = supervise(&mut tasks, &shutdown).await;
    health.stopping.store(true, Ordering::Relaxed);
    while tasks.join_next().await.is_some() {}
    if let Some((log, view, cluster)) = answering {
        if !log.flush(FLUSH_WAIT).await {
            tracing::warn!("records were still under way; whoever sent them was told that they are not acknowledged");
        }
        // All stop threads, which wait for a poll to end.
        let stopped = move || {
            cluster.stop();
            view.stop();
        };
        tokio::task::spawn_blocking(stopped).await?;
    }
    tokio::task::spawn_blocking(move || catalog.stop()).await?;
    Ok(ended?)
}

/// What others call this node, and reach it at.
fn node_of(config: &Config, listener: &TcpListener) -> anyhow::Result<String> {
    // A port that the system chose is known only now.
    let listens_there = config.advertise == config.listen.to_string();
    Ok(if listens_there { listener.local_addr()?.to_string() } else { config.advertise.clone() })
}

/// Begins to fold: everything, or what becomes this node's own.
async fn fold(
    config: &Config,
    node: String,
    readers: &ReaderSettings,
    catalog: &CatalogView,
    pool: &PgPool,
) -> anyhow::Result<(HotView, Cluster)> {
    const FAILED: &str = "failed to fold the log";
    match config.cluster {
        ClusterMode::Whole => {
            let view = HotView::start(readers, catalog.clone(), snapshot(pool).await).context(FAILED)?;
            Ok((view.clone(), Cluster::alone(node, view)))
        }
        ClusterMode::Owned => {
            let view = HotView::start_empty(readers, catalog.clone()).context(FAILED)?;
            let group = Group::join(readers, &node).context("failed to join the nodes that share the partitions")?;
            let cluster = Cluster::sharing(node, view.clone(), pool.clone(), group, config.callers.node_secret())
                .context(FAILED)?;
            Ok((view, cluster))
        }
    }
}

const fn is_mismatch(error: &TopicsError) -> bool {
    matches!(error, TopicsError::Mismatch(_))
}

/// Makes and verifies the topics. Kafka away is no reason not to start: checks are answered from the
/// read model, and the topics are verified as soon as it is back.
async fn verify_topics(config: &Config, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let settings = log_settings(config);
    match tokio::time::timeout(START_WAIT, ensure_topics(&settings)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if is_mismatch(&error) => Err(error.into()),
        away => {
            if let Ok(Err(error)) = away {
                tracing::warn!(%error, "the topics could not be verified");
            }
            let shutdown = shutdown.clone();
            tokio::spawn(async move {
                loop {
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = tokio::time::sleep(VERIFY_AGAIN) => {}
                    }
                    match ensure_topics(&settings).await {
                        Ok(()) => return,
                        Err(error) if is_mismatch(&error) => {
                            tracing::error!(%error, "the topics are not what this deployment needs");
                            shutdown.cancel();
                            return;
                        }
                        Err(error) => tracing::debug!(%error, "the topics could not be verified yet"),
                    }
                }
            });
            Ok(())
        }
    }
}

/// The read model's sessions and offsets; without a database the log is folded from its beginning, which
/// takes longer and says the same.
async fn snapshot(pool: &PgPool) -> Snapshot {
    let begun = std::time::Instant::now();
    match tokio::time::timeout(START_WAIT, active_sessions::load_partitions(pool)).await {
        Ok(Ok(snapshot)) => {
            tracing::info!(sessions = snapshot.sessions.len(), took = ?begun.elapsed(), "read the read model's snapshot");
            snapshot
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "no snapshot: folding the log from its beginning (is the database migrated?)");
            Snapshot::default()
        }
        Err(_) => {
            tracing::warn!("no snapshot: the database did not answer; folding the log from its beginning");
            Snapshot::default()
        }
    }
}
