//! A process from its start to its end: logs, the admin port, the work, a stop within the grace.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use metrics_exporter_prometheus::BuildError;
use pulsegate_traces::Exporting;
use thiserror::Error;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::admin::{self, AdminServer, ReadinessCheck};
use crate::logs;
use crate::settings::Settings;

/// Why a process could not begin.
#[derive(Debug, Error)]
pub enum StartError {
    /// Something else records this process's metrics already.
    #[error("install the metrics recorder: {0}")]
    Metrics(BuildError),
    /// The admin port is taken, or may not be had.
    #[error("listen on PULSEGATE_ADMIN_LISTEN={address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// No thread or socket for the admin port.
    #[error("serve the admin port: {0}")]
    Admin(io::Error),
    /// Nothing can be traced as it is configured.
    #[error(transparent)]
    Traces(pulsegate_traces::StartError),
}

/// The part of a process that is the same whatever it does: made first, dropped last.
pub struct Process {
    _admin: AdminServer,
    /// Tells what it has when it is dropped.
    _traces: Option<Exporting>,
    shutdown: CancellationToken,
    grace: Duration,
}

impl Process {
    /// Starts logs, metrics, the admin port and, where it is configured, traces. The port is bound before anything else is begun: one that is taken
    /// should say so at once.
    pub fn start(settings: &Settings, readiness: ReadinessCheck) -> Result<Self, StartError> {
        logs::start_logging(settings);
        let metrics = admin::install_metrics().map_err(StartError::Metrics)?;
        let address = settings.admin_listen;
        let listener = TcpListener::bind(address).map_err(|error| StartError::Listen { address, error })?;
        let admin = AdminServer::start(listener, metrics, readiness).map_err(StartError::Admin)?;
        tracing::info!(address = %admin.address(), "admin port: /livez, /readyz, /metrics");
        let traces = settings.traces.as_ref().map(pulsegate_traces::start).transpose().map_err(StartError::Traces)?;
        Ok(Self { _admin: admin, _traces: traces, shutdown: CancellationToken::new(), grace: settings.shutdown_grace })
    }

    /// Is cancelled when the process shall end.
    #[must_use]
    pub const fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Does `work` until it ends. At SIGTERM or SIGINT it is told to, and given up if it takes longer than the grace.
    pub async fn until_stopped<E>(self, work: impl Future<Output = Result<(), E>>) -> Result<(), E> {
        let signalled = self.shutdown.clone();
        tokio::spawn(async move {
            logs::stop_signal().await;
            tracing::info!("stopping");
            signalled.cancel();
        });
        let overdue = async {
            self.shutdown.cancelled().await;
            tokio::time::sleep(self.grace).await;
        };
        tokio::select! {
            biased;
            done = work => done,
            () = overdue => {
                tracing::warn!(grace = ?self.grace, "not everything ended within the grace");
                Ok(())
            }
        }
    }
}

/// Why a role ended before it was told to.
#[derive(Debug, Error)]
pub enum RoleError<E> {
    /// It ended by itself, without a word.
    #[error("a role ended by itself")]
    Ended,
    /// It failed.
    #[error("a role failed: {0}")]
    Failed(E),
    /// It panicked.
    #[error("a role panicked: {0}")]
    Panicked(JoinError),
}

/// Waits for the stop; a role that ends by itself before is a failure, and stops the others.
pub async fn supervise<E: 'static>(
    roles: &mut JoinSet<Result<(), E>>,
    shutdown: &CancellationToken,
) -> Result<(), RoleError<E>> {
    tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        ended = roles.join_next() => {
            shutdown.cancel();
            Err(match ended {
                Some(Ok(Ok(()))) | None => RoleError::Ended,
                Some(Ok(Err(error))) => RoleError::Failed(error),
                Some(Err(panic)) => RoleError::Panicked(panic),
            })
        }
    }
}
