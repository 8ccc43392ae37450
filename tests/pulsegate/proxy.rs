//! A proxy that cuts, slows and mutes what goes through it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Stands between clients and a server on this machine.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    /// How long each piece is held back, in milliseconds.
    delay_ms: Arc<AtomicU64>,
    /// Whether connections are cut, and none is let through.
    cut: watch::Sender<bool>,
    /// Whether what the server says is held back.
    muted: watch::Sender<bool>,
}

impl Proxy {
    /// Listens, and lets everything through to `target`.
    pub(crate) async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let proxy =
            Self { port, delay_ms: Arc::default(), cut: watch::Sender::new(false), muted: watch::Sender::new(false) };
        tokio::spawn(proxy.clone().serve(listener, SocketAddr::from(([127, 0, 0, 1], target))));
        proxy
    }

    async fn serve(self, listener: TcpListener, target: SocketAddr) {
        while let Ok((client, _)) = listener.accept().await {
            let mut cut = self.cut.subscribe();
            if *cut.borrow() {
                continue;
            }
            let (delay_ms, muted, never) =
                (Arc::clone(&self.delay_ms), self.muted.subscribe(), watch::Sender::new(false));
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(target).await else { return };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::select! {
                    () = copy(from_client, to_server, &delay_ms, never.subscribe()) => {}
                    () = copy(from_server, to_client, &delay_ms, muted) => {}
                    _ = cut.wait_for(|cut| *cut) => {}
                }
            });
        }
    }

    /// Cuts every connection, and each new one until it is mended.
    pub(crate) fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Holds each piece back for so long.
    pub(crate) fn slow(&self, delay: Duration) {
        self.delay_ms.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Holds back what the server says, and lets it hear everything.
    pub(crate) fn mute(&self) {
        self.muted.send_replace(true);
    }

    /// Lets everything through at once again.
    pub(crate) fn mend(&self) {
        self.slow(Duration::ZERO);
        self.muted.send_replace(false);
        self.cut.send_replace(false);
    }
}

/// Until one of both closes.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay_ms: &AtomicU64, mut muted: watch::Receiver<bool>) {
    let mut piece = vec![0; 64 << 10];
    loop {
        let Ok(length @ 1..) = from.read(&mut piece).await else { return };
        let delay = Duration::from_millis(delay_ms.load(Ordering::Relaxed));
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let is_gone = muted.wait_for(|muted| !muted).await.is_err();
        if is_gone || to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
