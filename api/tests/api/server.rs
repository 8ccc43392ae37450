//! The server itself: slow clients, too many of them, encryption.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use pulsegate_api::{ApiSettings, ServerSettings, Tls, router, serve};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::surface::state;

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<std::io::Result<()>>,
}

async fn run(settings: ServerSettings) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let api = ApiSettings { body_time_max: Duration::from_millis(300), ..ApiSettings::default() };
    let router = router(state(api));
    let served = tokio::spawn(serve(listener, router, async move { stopped.cancelled().await }, settings));
    Running { address, stop, served }
}

impl Running {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        stream
    }

    /// What is answered to what is written, until the connection is closed.
    async fn exchange(&self, written: Vec<u8>) -> String {
        let mut stream = self.connect();
        tokio::task::spawn_blocking(move || {
            stream.write_all(&written).unwrap();
            let mut answer = Vec::new();
            // A connection that is cut is closed, too.
            drop(stream.read_to_end(&mut answer));
            String::from_utf8_lossy(&answer).into_owned()
        })
        .await
        .unwrap()
    }

    async fn live(&self) -> String {
        self.exchange(b"GET /v1/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec()).await
    }
}

/// Whether the other end closes a connection on which something is written slowly.
async fn is_closed(mut stream: TcpStream, begin: &'static [u8]) -> bool {
    tokio::task::spawn_blocking(move || {
        stream.write_all(begin).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let deadline = Instant::now() + Duration::from_mins(1);
        let mut byte = [0; 1];
        loop {
            match stream.read(&mut byte) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                }
                Err(_) => return true,
            }
            if Instant::now() > deadline {
                return false;
            }
            // A byte now and then: never enough.
            if stream.write_all(b"x").is_err() {
                return true;
            }
        }
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_hold_nobody_up_and_are_given_up() {
    let server = run(ServerSettings { header_time_max: Duration::from_secs(2), ..ServerSettings::default() }).await;
    let mut slow = Vec::new();
    for begin in [
        b"GET /v1/live HTTP/1.1\r\nhost: x\r\nx-slow: ".as_slice(),
        b"G".as_slice(),
        b"PRI * HTTP/2.0\r\n".as_slice(),
        b"GET /v1/live HTTP/1.1\r\nhost: x\r\n\r\nG".as_slice(),
    ] {
        slow.extend((0..50).map(|_| tokio::spawn(is_closed(server.connect(), begin))));
    }
    // More than there are threads, and as many as one likes: all of them wait, and nobody waits for them.
    for _ in 0..5 {
        assert!(server.live().await.starts_with("HTTP/1.1 200"));
    }
    for slow in slow {
        assert!(slow.await.unwrap(), "a slow client keeps its connection");
    }
    // One that says nothing at all.
    assert!(server.exchange(Vec::new()).await.is_empty());
    let body = b"POST /v1/heartbeats HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\nconnection: close\r\n\r\n{";
    assert!(server.exchange(body.to_vec()).await.starts_with("HTTP/1.1 408"));
    server.stop.cancel();
    server.served.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_connections_and_no_more() {
    let server = run(ServerSettings { connections_per_address_max: Some(3), ..ServerSettings::default() }).await;
    let mut held: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for stream in &mut held {
        // Answered, so it has its place.
        stream.write_all(b"GET /v1/live HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        assert!(stream.read(&mut [0; 64]).unwrap() > 0);
    }
    assert_eq!(server.live().await, "", "closed at once");
    drop(held);
    let deadline = Instant::now() + Duration::from_mins(1);
    while !server.live().await.starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < deadline, "a place that was left is never free again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused_before_it_is_read() {
    let server = run(ServerSettings::default()).await;
    let many = "x: 1\r\n".repeat(200);
    let long = format!("x: {}\r\n", "y".repeat(100_000));
    for headers in [many, long] {
        let request = format!("GET /v1/live HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        let answer = server.exchange(request.into_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431") || answer.is_empty(), "{answer}");
    }
    let path = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(70_000));
    let answer = server.exchange(path.into_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 4") || answer.is_empty(), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_at_a_stop_is_answered() {
    let server = run(ServerSettings::default()).await;
    let mut idle = server.connect();
    let mut under_way = server.connect();
    under_way
        .write_all(
            b"POST /v1/heartbeats HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{",
        )
        .unwrap();
    assert!(server.live().await.starts_with("HTTP/1.1 200"));
    server.stop.cancel();
    assert_eq!(idle.read(&mut [0; 64]).unwrap(), 0, "an idle connection is closed");
    under_way.write_all(b"}").unwrap();
    let mut answer = Vec::new();
    under_way.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    server.served.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_taken_up_anew_when_its_files_change() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let from = |name: &str| format!("{}/tests/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let put = |name: &str| {
        std::fs::copy(from(&format!("{name}.crt")), &certificate).unwrap();
        std::fs::copy(from(&format!("{name}.key")), &key).unwrap();
    };
    put("one");
    let tls = Tls::read(&certificate, &key).unwrap();
    let server = run(ServerSettings { tls: Some(tls.clone()), ..ServerSettings::default() }).await;
    let ask = async |name: &str| {
        let root = reqwest::Certificate::from_pem(&std::fs::read(from(&format!("{name}.crt"))).unwrap()).unwrap();
        let client = reqwest::Client::builder().add_root_certificate(root).no_proxy().build().unwrap();
        let answer = client.get(format!("https://127.0.0.1:{}/v1/live", server.address.port())).send().await;
        answer.map(|answer| answer.status().as_u16()).map_err(|error| error.is_connect())
    };
    assert_eq!(ask("one").await, Ok(200));
    assert_eq!(ask("other").await, Err(true), "another's certificate");
    put("other");
    assert!(tls.take_up());
    assert_eq!((ask("other").await, ask("one").await), (Ok(200), Err(true)));
    // Half of a change is none.
    std::fs::copy(from("one.key"), &key).unwrap();
    assert!(!tls.take_up());
    assert_eq!(ask("other").await, Ok(200));
    assert!(Tls::read(&certificate, &key).is_err());
    // Who doesn't speak TLS is told nothing, and holds nothing.
    assert!(!server.live().await.starts_with("HTTP/1.1 200"));
}
