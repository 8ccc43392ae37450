//! Serving a router until told to stop, then letting what is under way end, within a bound.
//!
//! A connection costs a task and no thread, and each way to hold one has its end: a handshake, a request's headers (and the
//! pause before them), an answer that nobody reads. How many there may be, in all and from one address, is bounded, too.

mod patient;
mod places;
mod tls;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use patient::Patient;
use places::{Place, Places};
pub use tls::{Tls, TlsError};

/// How long a TLS handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long a reader may take to make room for more of its answer.
const WRITE_MAX: Duration = Duration::from_mins(1);
/// Most bytes of a request's line and headers.
const HEAD_BYTES_MAX: usize = 64 * 1_024;
const HEAD_BYTES_MAX_H2: u32 = 64 * 1_024;
/// Most requests at once on one connection of HTTP/2.
const STREAMS_MAX: u32 = 256;
/// How often a connection of HTTP/2 is asked whether its client is still there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);
/// How long nothing is accepted after the system said that it can't.
const ACCEPT_AGAIN: Duration = Duration::from_millis(500);

/// How connections are kept within bounds.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// How long requests under way may go on once the server is told to stop.
    pub drain_time_max: Duration,
    /// Most connections; who comes then waits in the system's queue.
    pub connections_max: usize,
    /// Most connections from one address; more are closed at once. `None`: as many as there may be.
    pub connections_per_address_max: Option<usize>,
    /// How long a request's headers may take, from the moment at which the connection was free for them: an idle
    /// connection is closed then, too. Longer than balancers keep theirs idle.
    pub header_time_max: Duration,
    /// Certificate and key, where connections are encrypted here.
    pub tls: Option<Tls>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            drain_time_max: Duration::from_secs(10),
            connections_max: 16_384,
            connections_per_address_max: None,
            header_time_max: Duration::from_secs(75),
            tls: None,
        }
    }
}

/// Serves until `shutdown` ends, then accepts nothing more and waits up to `drain_time_max` for what is
/// under way.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
    settings: ServerSettings,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(settings.connections_max));
    let places = Places::new(settings.connections_per_address_max);
    let (draining, connections) = (CancellationToken::new(), TaskTracker::new());
    let server = Server { router, settings, draining };
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = async {
            // Never closed.
            let permit = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|(stream, peer)| (permit, stream, peer))
        };
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((permit, stream, peer)) => {
                let Some(place) = places.enter(peer.ip()) else {
                    metrics::counter!("pulsegate_connections_refused_total").increment(1);
                    continue;
                };
                let server = server.clone();
                connections.spawn(async move {
                    server.connection(stream, peer, &place).await;
                    drop(permit);
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    drop(listener);
    server.draining.cancel();
    connections.close();
    let drain_time_max = server.settings.drain_time_max;
    if tokio::time::timeout(drain_time_max, connections.wait()).await.is_err() {
        tracing::warn!(?drain_time_max, "connections were still busy and are cut off");
    }
    Ok(())
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionRefused | ConnectionAborted | ConnectionReset)
}

#[derive(Clone)]
struct Server {
    router: Router,
    settings: ServerSettings,
    draining: CancellationToken,
}

impl Server {
    async fn connection(&self, stream: TcpStream, peer: SocketAddr, _place: &Place) {
        // An answer is one small write: waiting for more to send with it only delays it.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection's small writes may be delayed");
        }
        match &self.settings.tls {
            None => self.speak(stream, peer).await,
            Some(tls) => match tokio::time::timeout(HANDSHAKE_MAX, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.speak(stream, peer).await,
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            },
        }
    }

    async fn speak(&self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static, peer: SocketAddr) {
        let asked = Arc::new(AtomicBool::new(false));
        let router = self.router.clone();
        let has_asked = Arc::clone(&asked);
        let service = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
            has_asked.store(true, Ordering::Relaxed);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().call(request)
        });
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.settings.header_time_max)
            // At most 100 headers are read, which is hyper's own limit; asked for, it would cost each request an allocation.
            .max_buf_size(HEAD_BYTES_MAX)
            // An answer is copied behind its head: that costs less than two places in one write.
            .writev(false);
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX_H2);
        let stream = TokioIo::new(Patient::new(stream, WRITE_MAX));
        let mut spoken = pin!(http.serve_connection(stream, TowerToHyperService::new(service)));
        // Which HTTP it speaks is read before any of the times above begins to run.
        let mut first = pin!(tokio::time::sleep(self.settings.header_time_max));
        let mut is_first = true;
        let mut is_draining = false;
        loop {
            tokio::select! {
                spoken = &mut spoken => {
                    if let Err(error) = spoken {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    return;
                }
                () = self.draining.cancelled(), if !is_draining => {
                    is_draining = true;
                    spoken.as_mut().graceful_shutdown();
                }
                () = &mut first, if is_first => {
                    is_first = false;
                    if !asked.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        }
    }
}
