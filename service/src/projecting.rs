//! A service of projections: folds the log into read models of its own, beside pulsegate's.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pulsegate_privacy::Forgotten;
use pulsegate_projections::builds;
use pulsegate_projections::catalog_view::CatalogView;
use pulsegate_projections::reader::ReaderError;
use pulsegate_projections::registry::{Dependencies, MigrateError, Registered, migrate_with};
use pulsegate_projections::runner::{Health, RunError, Stuck};
use thiserror::Error;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::Readiness;
use crate::health;
use crate::measures::Measured;
use crate::process::{Process, RoleError, StartError, supervise};
use crate::settings::Settings;
use crate::variables::{self, AllShown, Mistake, Reader};

/// Wrong usage.
const EXIT_USAGE: u8 = 2;
/// Wrong configuration (`EX_USAGE` of sysexits).
const EXIT_CONFIGURATION: u8 = 64;
/// How long a start waits for the catalog before it goes on without: folds that need a policy wait for it themselves.
const CATALOG_WAIT: Duration = Duration::from_secs(10);

/// Why a service ended.
#[derive(Debug, Error)]
enum ServiceError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("read PULSEGATE_DATABASE_URL: {0}")]
    Database(#[from] sqlx::Error),
    #[error("make the tables: {0}")]
    Migrate(#[from] MigrateError),
    #[error("ask the admin port: {0}")]
    Health(#[from] std::io::Error),
    #[error("read the catalog: {0}")]
    Catalog(#[from] ReaderError),
    #[error(transparent)]
    Role(#[from] RoleError<RunError>),
}

/// The `main` of a service named `name` that keeps `registered` current.
///
/// Without an argument it folds until SIGTERM; `migrate` makes its tables, `config` prints what is in force, `health`
/// asks a running one whether it lives. Exits 0
/// when done, 1 on failure, 2 on wrong usage, 64 on wrong configuration, every mistake of which is named.
#[must_use]
pub fn main(name: &str, registered: &'static [&'static Registered]) -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let task = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Task::Fold,
        ["migrate"] => Task::Migrate,
        ["config"] => Task::Config,
        ["health"] => Task::Health,
        ["help" | "--help" | "-h"] => {
            println!("{}", usage(name, registered));
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{}", usage(name, registered));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let (settings, shown) = match read() {
        Ok(read) => read,
        Err(mistakes) => {
            for mistake in mistakes {
                eprintln!("{name}: {mistake}");
            }
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{name}: start tokio: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match task {
            Task::Fold => fold(&settings, registered).await,
            Task::Migrate => {
                migrate_with(&settings.pool()?, registered).await?;
                println!("the database is up to date");
                Ok(())
            }
            Task::Config => {
                for (variable, shown) in &shown {
                    println!("{variable}={}  # {}", shown.value, shown.from);
                }
                Ok(())
            }
            Task::Health => Ok(health::check(settings.admin_listen)?),
        }
    });
    // A librdkafka call in a blocking task has its own bound; a stop does not wait for it for long.
    runtime.shutdown_timeout(Duration::from_secs(2));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

enum Task {
    Fold,
    Migrate,
    Config,
    Health,
}

fn usage(name: &str, registered: &[&Registered]) -> String {
    let projections: Vec<_> = registered.iter().map(ToString::to_string).collect();
    format!(
        "usage: {name} [migrate | config | health]\n\nWithout an argument it folds {} until SIGTERM.\n  migrate  make its tables\n  \
         config   print what is in force, without secrets\n  health   whether the one that runs here lives\n\nSettings are PULSEGATE_… variables.",
        projections.join(", ")
    )
}

fn read() -> Result<(Settings, AllShown), Vec<Mistake>> {
    let variables = variables::of_environment();
    let mut reader = Reader::new(&variables);
    let settings = Settings::read(&mut reader);
    Ok((settings, reader.finish()?))
}

/// Keeps every projection current until told to stop.
async fn fold(settings: &Settings, registered: &'static [&'static Registered]) -> Result<(), ServiceError> {
    let health = Arc::new(Health::default());
    let started = Arc::new(AtomicBool::new(false));
    let process = {
        let (health, started) = (Arc::clone(&health), Arc::clone(&started));
        let readiness = move || readiness(started.load(Ordering::Relaxed), &health.stuck());
        Process::start(settings, Arc::new(readiness))?
    };
    let shutdown = process.shutdown().clone();
    process.until_stopped(project(settings, registered, health, &started, shutdown)).await
}

async fn project(
    settings: &Settings,
    registered: &'static [&'static Registered],
    health: Arc<Health>,
    started: &AtomicBool,
    shutdown: CancellationToken,
) -> Result<(), ServiceError> {
    let pool = settings.pool()?;
    let catalog = CatalogView::start(&settings.reader())?;
    if !catalog.caught_up(CATALOG_WAIT).await {
        tracing::warn!("Kafka is away: folding begins when it is back");
    }
    let dependencies = Dependencies {
        health,
        forgotten: Forgotten::new(settings.privacy_key.clone()),
        ..Dependencies::new(pool, settings.kafka.clone(), settings.topics.clone(), Arc::new(catalog.clone()))
    };
    let mut roles = JoinSet::new();
    let measured = Measured::new(settings, dependencies.pool.clone(), Arc::clone(&dependencies.health));
    tokio::spawn(measured.keep(shutdown.clone()));
    for version in registered {
        roles.spawn(builds::follow(version, dependencies.clone(), shutdown.clone()));
    }
    started.store(true, Ordering::Relaxed);
    let ended = supervise(&mut roles, &shutdown).await;
    started.store(false, Ordering::Relaxed);
    while roles.join_next().await.is_some() {}
    // It stops a thread, which waits for a poll to end.
    drop(tokio::task::spawn_blocking(move || catalog.stop()).await);
    Ok(ended?)
}

/// Ready as soon as it folds; far behind is no trouble, stuck is.
fn readiness(started: bool, stuck: &[Stuck]) -> Readiness {
    let mut reasons: Vec<_> =
        stuck.iter().map(|stuck| format!("{} is stuck at {}: {}", stuck.build, stuck.source, stuck.error)).collect();
    if !started {
        reasons.push("starting or stopping".to_owned());
    }
    Readiness { ready: reasons.is_empty(), reasons }
}

#[cfg(test)]
mod tests {
    use pulsegate_domain::topic::Topic;
    use pulsegate_projections::runner::Source;

    use super::*;

    #[test]
    fn it_is_ready_while_it_folds_and_nothing_is_stuck() {
        assert!(readiness(true, &[]).ready);
        assert_eq!(readiness(false, &[]).reasons, ["starting or stopping"]);
        let stuck = Stuck {
            build: "churn_v1".to_owned(),
            source: Source { topic: Topic::Playback, partition: 3 },
            error: "database: no".to_owned(),
            outage: false,
        };
        assert_eq!(readiness(true, &[stuck]).reasons, ["churn_v1 is stuck at playback/3: database: no"]);
    }
}
