//! Ten thousand requests that nobody means well: no mistake of ours answers one, none is left without an answer, and
//! afterwards the node is as it was.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::deployment::{Deployment, until};

const REQUESTS: u64 = 10_000;
const SENDERS: u64 = 16;
/// Longer than anything may take: a hang fails the test, a slow machine doesn't.
const HANG: Duration = Duration::from_mins(2);
/// After which a sender hangs up: many requests promise more than they send.
const PATIENCE: Duration = Duration::from_millis(50);

const METHODS: &[&str] =
    &["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "\u{1}", "POST\t", ""];
const PATHS: &[&str] = &[
    "/v1/accounts/a/sessions",
    "/v1/accounts/a/sessions/3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e6f/heartbeats",
    "/v1/accounts/a/sessions/3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e6f/stop",
    "/v1/accounts/a/sessions/x/verdict",
    "/v1/accounts/a/sessions/3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e6f/evict",
    "/v1/accounts/a/decisions",
    "/v1/accounts/a/entitlement",
    "/v1/heartbeats",
    "/v1/signals",
    "/v1/signals/licence",
    "/v1/signals/cloudfront",
    "/v1/clickstream",
    "/v1/policies/p",
    "/v1/titles/t",
    "/v1/rights-holders/r",
    "/v1/contracts/c",
    "/v1/contracts/c/end",
    "/v1/reports/licensing?period=2026-10",
    "/v1/reports/clickstream?period=2026-10&by=day",
    "/v1/statements/2026-10/close",
    "/v1/statements",
    "/v1/projections",
    "/v1/live",
    "/v1/cluster",
    "/v1/me",
    "/login",
    "/login/callback?code=x&state=y",
    "/logout",
    "/",
    "/docs",
    "/assets/../../etc/passwd",
    "/assets/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/sdk/pulsegate.js",
    "/problems/%00",
    "/%",
    "/%zz",
    "*",
    "http://evil.example/v1/live",
    "//evil.example",
    "/v1/accounts/%ff/sessions",
    "/v1/accounts/a%00b/sessions",
    "/v1/accounts/../heartbeats",
    "",
];
const HEADERS: &[&str] = &[
    "authorization: Bearer x.y.z",
    "authorization: Bearer pgk_a_b",
    "authorization: Basic YTpi",
    "authorization: Bearer",
    "authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.",
    "cookie: pulsegate=AAAA; pulsegate=; =; ;;;",
    "pulsegate-hop: 10.0.0.1:80",
    "pulsegate-node: guess",
    "content-encoding: gzip",
    "content-encoding: br",
    "content-encoding: gzip, gzip",
    "content-type: text/plain",
    "content-type: \u{ff}",
    "content-length: -1",
    "content-length: 99999999999999999999",
    "content-length: 5",
    "content-length: 5\r\ncontent-length: 6",
    "transfer-encoding: chunked",
    "transfer-encoding: chunked, chunked",
    "transfer-encoding: gzip",
    "expect: 100-continue",
    "upgrade: h2c",
    "connection: upgrade",
    "host: evil.example",
    "host:",
    "x-forwarded-for: 1.1.1.1, ::1, x",
    "x-request-id: \u{1}",
    "if-match: \"x\"",
    "range: bytes=0-,1-,2-",
    "if-none-match: *",
    "origin: null",
    "x-amz-firehose-access-key: pgk_x_y",
    "accept-encoding: *;q=NaN",
    " folded: x",
    "no colon",
    ":",
];
const BODIES: &[&str] = &[
    "",
    "{",
    "[]",
    "null",
    "{}",
    "{\"device_id\":\"d\",\"title_id\":\"t\"}",
    "{\"device_id\":\"d\",\"device_id\":\"e\",\"title_id\":\"t\"}",
    "{\"heartbeats\":[{}]}",
    "{\"heartbeats\":[null,1,\"x\",[],{\"account_id\":\"a\"}]}",
    "{\"signals\":[{\"kind\":\"x\"}]}",
    "{\"events\":[{\"name\":\"n\",\"account_id\":\"a\",\"properties\":{\"\\u0000\":\"\\ud800\"}}]}",
    "{\"sequence\":1e400,\"elapsed_ms\":-0,\"position_ms\":9007199254740993,\"state\":\"playing\",\"device_id\":\"d\",\"title_id\":\"t\"}",
    "{\"rules\":[{\"scope\":\"account\",\"max\":4294967296,\"on_limit\":\"block_newest\"}]}",
    "{\"valid_from\":\"0000-00-00\"}",
    "{\"policy\":\"\"}",
    "5\r\nhello\r\n0\r\n\r\n",
    "ffffffffffffffff\r\nx",
    "0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    "\u{1f}\u{8b}\u{8}",
    "#Version: 1.0\n#Fields: x\n\u{0}\n",
    "{\"last_day\":\"9999-99-99\",\"early\":\"yes\"}",
];

/// One request as bytes.
fn request(random: &mut ChaCha8Rng, credential: Option<&str>) -> Vec<u8> {
    fn one<'a>(random: &mut ChaCha8Rng, of: &[&'a str]) -> &'a str {
        of[random.random_range(0..of.len())]
    }

    if random.random_range(0..20) == 0 {
        let mut noise = vec![0; random.random_range(1..2_000)];
        random.fill_bytes(&mut noise);
        return noise;
    }
    let mut body = one(random, BODIES).as_bytes().to_vec();
    match random.random_range(0..12) {
        0 => body = [b"[".repeat(20_000), b"]".repeat(20_000)].concat(),
        1 => {
            body = format!("{{\"events\":[{}]}}", vec!["{\"name\":\"n\",\"anonymous_id\":\"v\"}"; 1_001].join(","))
                .into_bytes();
        }
        2 => body.extend(vec![b' '; random.random_range(0..200_000)]),
        3 => random.fill_bytes(&mut body),
        _ => {}
    }
    let version =
        if random.random_range(0..30) == 0 { one(random, &["HTTP/1.0", "HTTP/9.9", "HTTP", ""]) } else { "HTTP/1.1" };
    let mut head = format!("{} {} {version}\r\n", one(random, METHODS), one(random, PATHS));
    if random.random_range(0..10) > 0 {
        head += "host: x\r\n";
    }
    if let Some(credential) = credential.filter(|_| random.random_range(0..4) > 0) {
        // Writing to a string does not fail.
        let _ = write!(head, "authorization: Bearer {credential}\r\n");
    }
    let mut says_length = true;
    for _ in 0..random.random_range(0..4) {
        let header = one(random, HEADERS);
        says_length &= !header.starts_with("content-length") && !header.starts_with("transfer");
        head += header;
        head += "\r\n";
    }
    if says_length && random.random_range(0..10) > 0 {
        let _ = write!(head, "content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    }
    head += "connection: close\r\n\r\n";
    let mut bytes = [head.into_bytes(), body].concat();
    match random.random_range(0..10) {
        0 => bytes.truncate(random.random_range(0..bytes.len())),
        1 => {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        _ => {}
    }
    bytes
}

/// Sends a request and, once nothing comes any more, hangs up as far as a sender can; the statuses of what is answered.
fn exchange(address: &str, bytes: &[u8]) -> Vec<u16> {
    let mut stream = TcpStream::connect(address).expect("the node accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    stream.set_write_timeout(Some(HANG)).expect("a deadline");
    // A refusal may come before all of it was sent.
    drop(stream.write_all(bytes));
    let (mut answer, mut part, mut hung_up) = (Vec::new(), [0; 4_096], false);
    loop {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&part[..read]),
            Err(error) if !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                break;
            }
            // Its end never comes: the node waits for more.
            Err(_) if !hung_up => {
                hung_up = true;
                drop(stream.shutdown(std::net::Shutdown::Write));
                stream.set_read_timeout(Some(HANG)).expect("a deadline");
            }
            Err(error) => {
                panic!("no end of an answer within {HANG:?} ({error}) to {:?}", String::from_utf8_lossy(bytes))
            }
        }
    }
    let text = String::from_utf8_lossy(&answer);
    text.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_hostile_requests_find_no_mistake_and_nothing_hangs() {
    let seed: u64 = std::env::var("PULSEGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_128);
    println!("PULSEGATE_SEED={seed}");
    let deployment = Deployment::new().await;
    let limits = [("PULSEGATE_ACCESS", "closed"), ("PULSEGATE_LIMIT_ADDRESS", "0"), ("PULSEGATE_LIMIT_KEY", "0")];
    let node = deployment.node_with(&limits).await;
    let all = "signals,ingest,reports:read,reports:close,policies:write,operate";
    let key = deployment.run(&["keys", "create", "hostile", "--scope", all]);
    let key = key.trim().to_owned();
    until("the node to know the key", || async {
        let asked = node.client.get(format!("{}/v1/me", node.url)).bearer_auth(&key).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    let mut senders = Vec::new();
    for sender in 0..SENDERS {
        let (address, key) = (node.address().to_owned(), key.clone());
        senders.push(std::thread::spawn(move || {
            let mut random = ChaCha8Rng::seed_from_u64(seed ^ sender);
            let mut answered = 0;
            for _ in 0..REQUESTS / SENDERS {
                let bytes = request(&mut random, Some(&key));
                let statuses = exchange(&address, &bytes);
                let mistake = statuses.iter().any(|status| *status >= 500);
                assert!(!mistake, "{statuses:?} to {:?}", String::from_utf8_lossy(&bytes));
                answered += usize::from(!statuses.is_empty());
            }
            answered
        }));
    }
    let answered: usize = senders.into_iter().map(|sender| sender.join().expect("no mistake was found")).sum();
    // The others were no HTTP, broke off, or were hung up on.
    println!("{answered} of {REQUESTS} were answered");
    assert!(answered > 2_000, "{answered} were answered");
    let start = json!({"device_id": "tv-1", "title_id": "film"});
    let request = node.client.post(format!("{}/v1/accounts/good/sessions", node.url)).bearer_auth(&key).json(&start);
    assert_eq!(request.send().await.expect("an answer").status().as_u16(), 201);
    node.stop();
}
