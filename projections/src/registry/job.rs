//! Jobs: what there is to do with a projection's code, whichever projection it is.

use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::Dependencies;
use crate::builds::Build;
use crate::runner::{Ownership, Projection, RunError, Runner};
use crate::{dead_letters, rebuild};

/// One thing to do with a build.
pub struct Job {
    build: Build,
    dependencies: Dependencies,
    task: Task,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Task {
    /// Keep it current until told to stop.
    Follow { ownership: Ownership, shutdown: CancellationToken },
    /// Fill it from the log.
    Fill(rebuild::Order),
    /// Settle a dead letter.
    Settle(dead_letters::Order),
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("build", &self.build).field("task", &self.task).finish_non_exhaustive()
    }
}

impl Job {
    /// Keeping `build` current until `shutdown`.
    #[must_use]
    pub const fn follow(
        build: Build,
        dependencies: Dependencies,
        ownership: Ownership,
        shutdown: CancellationToken,
    ) -> Self {
        Self { build, dependencies, task: Task::Follow { ownership, shutdown } }
    }

    /// Filling `build` from the log.
    pub(crate) const fn fill(build: Build, dependencies: Dependencies, order: rebuild::Order) -> Self {
        Self { build, dependencies, task: Task::Fill(order) }
    }

    /// Settling one of `build`'s dead letters.
    pub(crate) const fn settle(build: Build, dependencies: Dependencies, order: dead_letters::Order) -> Self {
        Self { build, dependencies, task: Task::Settle(order) }
    }

    /// What the projection may be made from.
    #[must_use]
    pub const fn dependencies(&self) -> &Dependencies {
        &self.dependencies
    }

    /// Does it.
    pub async fn run(self) -> Result<(), RunError> {
        (self.build.registered().run)(self).await
    }

    /// Does it with this projection.
    #[must_use]
    pub fn with<P: Projection>(self, projection: P) -> BoxFuture<'static, Result<(), RunError>> {
        let Self { build, dependencies, task } = self;
        match task {
            Task::Follow { ownership, shutdown } => {
                let health = Arc::clone(&dependencies.health);
                Runner::new(projection, dependencies.pool, dependencies.kafka, dependencies.topics)
                    .on(build)
                    .owning(ownership)
                    .telling(health)
                    .knowing(&dependencies.forgotten)
                    .run(shutdown)
                    .boxed()
            }
            Task::Fill(order) => rebuild::fill(projection, build, dependencies, order).boxed(),
            Task::Settle(order) => dead_letters::run(projection, build, dependencies, order).boxed(),
        }
    }
}
