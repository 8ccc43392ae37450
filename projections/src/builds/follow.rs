//! Keeping builds current: the live one, and every shadow beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Build;
use crate::registry::{Dependencies, Job, Registered};
use crate::runner::{Ownership, RunError};

/// How often it is asked which builds there are, and which are paused.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long such a question may take.
const ASK_MAX: Duration = Duration::from_secs(5);

/// Folds the log into every build of a version that is to be kept current, until `shutdown`: one that is
/// made is taken up, one that is paused or retired is let go, within seconds.
///
/// # Errors
/// If a runner ends by itself.
pub async fn follow(
    registered: &'static Registered,
    dependencies: Dependencies,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let mut runners = JoinSet::new();
    let mut followed: BTreeMap<String, CancellationToken> = BTreeMap::new();
    let mut said_none = false;
    loop {
        // Without an answer everything goes on as it is: runners outlive an outage of the database.
        let asked = tokio::time::timeout(ASK_MAX, to_follow(&dependencies.pool, registered)).await;
        match asked {
            Ok(Ok(builds)) => {
                if builds.is_empty() && !said_none {
                    tracing::warn!(%registered, "no build of this version is to be folded: not built yet, or paused");
                }
                said_none = builds.is_empty();
                followed.retain(|build, stop| {
                    let stays = builds.contains(build);
                    if !stays {
                        tracing::info!(build, "is not folded any more, for now");
                        stop.cancel();
                    }
                    stays
                });
                for name in builds {
                    if followed.contains_key(&name) {
                        continue;
                    }
                    let stop = shutdown.child_token();
                    let build = Build::named(registered, &name);
                    tracing::info!(%build, "projecting");
                    runners.spawn(Job::follow(build, dependencies.clone(), Ownership::Group, stop.clone()).run());
                    followed.insert(name, stop);
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "asking which builds there are"),
            Err(_) => tracing::debug!("asking which builds there are: no answer"),
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = runners.join_next() => ended_by_itself(ended)?,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    while let Some(ended) = runners.join_next().await {
        ended_by_itself(ended)?;
    }
    Ok(())
}

/// A runner that was let go has ended well; any other end is trouble.
fn ended_by_itself(ended: Result<Result<(), RunError>, tokio::task::JoinError>) -> Result<(), RunError> {
    match ended {
        Ok(ended) => ended,
        Err(panic) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
        Err(_) => Ok(()),
    }
}

async fn to_follow(pool: &PgPool, registered: &Registered) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select build from pulsegate.projection_builds
         where name = $1 and version = $2 and state in ('live', 'shadow', 'verified') and paused_at is null
         order by build",
    )
    .bind(registered.name)
    .bind(registered.version)
    .fetch_all(pool)
    .await
}
