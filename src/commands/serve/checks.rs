//! What checks who calls, and how they are connected, kept running beside the server.

use std::net::SocketAddr;

use anyhow::Context as _;
use pulsegate_api::ServerSettings;
use pulsegate_api::callers::Callers;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// Begins to read tokens' keys, servers' keys and the certificate, each for as long as the process runs, and says who is
/// let in.
pub(super) fn begin<E: Send + 'static>(
    config: &Config,
    listen: SocketAddr,
    pool: &PgPool,
    tasks: &mut JoinSet<Result<(), E>>,
    shutdown: &CancellationToken,
) -> anyhow::Result<(Callers, ServerSettings)> {
    let checks = config.callers.checks();
    config.callers.announce(listen);
    if let Some(tokens) = checks.tokens {
        let until = shutdown.clone();
        keep(tasks, async move { tokens.run(until).await });
    }
    if let Some(keys) = checks.keys {
        let (pool, until) = (pool.clone(), shutdown.clone());
        keep(tasks, async move { keys.run(pool, until).await });
    }
    let server = config.server.settings().context("failed to read the certificate")?;
    if let Some(tls) = server.tls.clone() {
        let until = shutdown.clone();
        keep(tasks, async move { tls.follow(until).await });
    }
    Ok((checks.callers, server))
}

fn keep<E: Send + 'static>(tasks: &mut JoinSet<Result<(), E>>, work: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(async move {
        work.await;
        Ok(())
    });
}
