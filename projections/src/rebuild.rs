//! Rebuilds: all of history folded into new tables, beside the live ones.
//!
//! A rebuild works on a build of its own until that has caught up with the log; then it is a shadow, which
//! runners keep current, and which can be verified and switched to. All that is needed to go on after a
//! stop, on another machine too, is in the database.
//!
//! **Invariant:** a build that a rebuild works on has either its unlogged tables as the last commit left
//! them, and then the row of its marker, or neither: a crash of the database empties both, and the build
//! begins again.

mod fill;
mod finish;
mod plan;
mod progress;
mod reader;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pulsegate_domain::time::Timestamp;
use rdkafka::consumer::Consumer as _;
use sqlx::{Connection as _, PgConnection};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::builds::{Build, history};
use crate::registry::{Dependencies, Job, Registered};
use crate::runner::{BatchError, Ownership, RunError};

pub(crate) use fill::{Order, fill};
pub use progress::{PartitionProgress, Phase, Progress};
pub(crate) use reader::{Reading, Target};

/// How often the partitions are read to their ends before the rest is left to a runner.
const PASSES_MAX: u32 = 20;
/// A rest of so few records is left to a runner, which has the indexes to keep as well.
const REST_SMALL: i64 = 20_000;
/// How long the brokers may take to say who folds a build.
const FOLLOWERS_MAX: Duration = Duration::from_secs(5);
/// How often a build is begun again because the database crashed.
const RESTARTS_MAX: u32 = 3;

/// What is to be rebuilt, and how.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// How many partitions are folded at once.
    pub workers: usize,
    /// Whether poison events are parked; else the first one stops the rebuild.
    pub parks: bool,
    /// A copy as of then, under a name of its own, instead of a shadow.
    pub copy: Option<Copy>,
}

/// A copy of a projection as of some time.
#[derive(Clone, Debug)]
pub struct Copy {
    /// The last instant of the log that it holds.
    pub as_of: Timestamp,
    /// The schema of its tables.
    pub into: String,
}

/// What a rebuild has made.
#[derive(Clone, Debug)]
pub struct Rebuilt {
    /// The build.
    pub build: Build,
    /// How many records this run folded.
    pub records: i64,
    /// How long it took.
    pub took: Duration,
}

/// Why a rebuild could not be finished. It can be begun again, and goes on from where it was.
#[derive(Debug, Error)]
pub enum RebuildError {
    /// Somebody else rebuilds the same.
    #[error("another `projection rebuild` works on {0} (or on a copy of it) at the moment")]
    Busy(String),
    /// A copy can't have this name.
    #[error("{0:?} can't be a copy's name: {1}")]
    Name(String, &'static str),
    /// The log has no such topic.
    #[error("topic {0} does not exist")]
    NoTopic(String),
    /// The database said no, or nothing.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// Kafka said no, or nothing.
    #[error("kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// The log could not be folded.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The database crashes again and again.
    #[error("the database has emptied the build's tables {RESTARTS_MAX} times by crashing")]
    Restarts,
}

impl RebuildError {
    /// Whether it was only told to stop.
    #[must_use]
    pub const fn is_stop(&self) -> bool {
        matches!(self, Self::Run(RunError::Stopped))
    }

    /// Whether going on with the same build could not help: something else than the world outside said no.
    fn is_hopeless(&self) -> bool {
        let refused = |error: &sqlx::Error| {
            let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
            // A constraint, or something that isn't there or isn't understood.
            code.is_some_and(|code| code.starts_with("23") || code.starts_with("42"))
        };
        match self {
            Self::Database(error) | Self::Run(RunError::Batch(BatchError::Database(error))) => refused(error),
            Self::Run(RunError::LogLost { .. }) => true,
            _ => false,
        }
    }

    /// Whether a poison event stopped it.
    #[must_use]
    pub const fn is_poison(&self) -> bool {
        matches!(self, Self::Run(RunError::Batch(BatchError::Poison { .. })))
    }
}

/// Makes a build of `registered`, or goes on with the one that was begun, until it has caught up.
pub async fn rebuild(
    registered: &'static Registered,
    with: &Dependencies,
    wanted: &Wanted,
    progress: &Arc<Progress>,
    stop: CancellationToken,
) -> Result<Rebuilt, RebuildError> {
    let begun = Instant::now();
    let lock = lock(registered, with).await?;
    let build = plan::build(registered, wanted.copy.as_ref(), with).await?;
    progress.works_on(build.schema());
    let mut restarts = 0;
    loop {
        match fill_and_finish(&build, with, wanted, progress, &stop).await {
            Err(RebuildError::Run(RunError::Batch(BatchError::Emptied(_)))) => {
                restarts += 1;
                if restarts > RESTARTS_MAX {
                    return Err(RebuildError::Restarts);
                }
                tracing::warn!(%build, "the database has crashed and emptied the build's tables: it begins again");
                plan::begin_again(&build, with).await?;
            }
            Err(error) => {
                plan::note(&build, with, &error).await;
                return Err(error);
            }
            Ok(()) => break,
        }
    }
    if wanted.copy.is_none() {
        catch_up(&build, with, progress, &stop).await?;
    }
    progress.enters(Phase::Done);
    lock.close().await?;
    let folded = progress.partitions().iter().map(|(_, partition)| partition.next_offset - partition.began_at).sum();
    Ok(Rebuilt { build, records: folded, took: begun.elapsed() })
}

/// One rebuild of a projection at a time. The lock is the connection's: whatever becomes of this process, it ends.
async fn lock(registered: &Registered, with: &Dependencies) -> Result<PgConnection, RebuildError> {
    let mut connection = PgConnection::connect_with(&with.pool.connect_options()).await?;
    let locked: bool = sqlx::query_scalar("select pg_try_advisory_lock(hashtext('pulsegate.rebuild'), hashtext($1))")
        .bind(registered.name)
        .fetch_one(&mut connection)
        .await?;
    if locked { Ok(connection) } else { Err(RebuildError::Busy(registered.to_string())) }
}

async fn fill_and_finish(
    build: &Build,
    with: &Dependencies,
    wanted: &Wanted,
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> Result<(), RebuildError> {
    if plan::is_finished(build, with).await? {
        return Ok(());
    }
    let mut rest_before = i64::MAX;
    for _ in 0..PASSES_MAX {
        plan::enter(build, with, progress, Phase::Filling).await?;
        let (targets, rest) = plan::targets(build, with, wanted.copy.as_ref(), progress).await?;
        // Nothing left, or so little that the next pass would find as much again.
        if rest == 0 || rest < REST_SMALL && rest_before < i64::MAX || rest >= rest_before {
            break;
        }
        rest_before = rest;
        let order = Order {
            targets,
            workers: wanted.workers,
            parks: wanted.parks,
            progress: Arc::clone(progress),
            stop: stop.clone(),
        };
        Job::fill(build.clone(), with.clone(), order).run().await?;
        if wanted.copy.is_some() {
            break;
        }
    }
    plan::enter(build, with, progress, Phase::Indexing).await?;
    tokio::select! {
        biased;
        finished = finish::finish(build, with, wanted.copy.is_some()) => finished,
        () = stop.cancelled() => Err(RunError::Stopped.into()),
    }
}

/// Follows the log until the build is at its end, as a runner does.
async fn catch_up(
    build: &Build,
    with: &Dependencies,
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> Result<(), RebuildError> {
    plan::enter(build, with, progress, Phase::CatchingUp).await?;
    let (_, rest) = plan::targets(build, with, None, progress).await?;
    if rest > 0 {
        let enough = stop.child_token();
        let follow = Job::follow(build.clone(), with.clone(), Ownership::Everything, enough.clone()).run();
        let mut runner = tokio::spawn(follow);
        let caught_up = async {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if plan::watch(build, with, progress).await? == 0 {
                    return Ok::<_, RebuildError>(());
                }
            }
        };
        tokio::select! {
            caught_up = caught_up => caught_up?,
            () = stop.cancelled() => {}
            ended = &mut runner => {
                ended.map_err(|_| RunError::ReaderDied)??;
                return Err(RunError::Stopped.into());
            }
        }
        enough.cancel();
        runner.await.map_err(|_| RunError::ReaderDied)??;
        if stop.is_cancelled() {
            return Err(RunError::Stopped.into());
        }
    }
    plan::enter(build, with, progress, Phase::Done).await?;
    Ok(history::note(&with.pool, build, "caught up", "it is at the end of the log").await?)
}

/// How many processes keep a build current, as Kafka's group knows it.
pub async fn followers(build: &Build, with: &Dependencies) -> Result<usize, RebuildError> {
    let (kafka, group) = (with.kafka.clone(), crate::runner::group_of(build, &with.topics));
    let ask = move || {
        let consumer = crate::reader::consumer(&kafka)?;
        let groups = consumer.fetch_group_list(Some(&group), FOLLOWERS_MAX)?;
        Ok(groups.groups().iter().map(|group| group.members().len()).sum())
    };
    tokio::task::spawn_blocking(ask).await.map_err(|_| RunError::ReaderDied)?
}
