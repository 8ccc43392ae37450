//! Serving a router until told to stop, then letting what is under way end, within a bound.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves until `shutdown` ends, then accepts nothing more and waits up to `drain_time_max` for what is
/// under way.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
    drain_time_max: Duration,
) -> io::Result<()> {
    // An answer is one small write: waiting for more to send with it only delays it.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "a connection's small writes may be delayed");
        }
    });
    let draining = CancellationToken::new();
    let begin_drain = draining.clone();
    let served = axum::serve(listener, router).with_graceful_shutdown(async move {
        shutdown.await;
        begin_drain.cancel();
    });
    let overdue = async {
        draining.cancelled().await;
        tokio::time::sleep(drain_time_max).await;
    };
    tokio::select! {
        served = served => served,
        () = overdue => {
            tracing::warn!(?drain_time_max, "connections were still busy and are cut off");
            Ok(())
        }
    }
}
