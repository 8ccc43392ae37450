//! Everything fails, in turn and by seed, while viewers play; then a recount from the log.
//!
//! `make chaos` lets it run for ten minutes; the suite for a few seconds. Nobody repairs anything but what was broken on
//! purpose: a broker that was killed is started again, a cable that was cut is plugged in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::deployment::{Answer, Deployment, Node, until};
use crate::proxy::Proxy;
use crate::recount::{Collected, Recount, recount, same_decisions};
use crate::services::Services;

const NODES: usize = 2;
const VIEWERS: u64 = 12;
/// What an account does before its viewer goes on as another: what the read model keeps of it then fits one page.
const DEEDS_AN_ACCOUNT: usize = 80;
const DEVICES: usize = 3;
/// How long the suite lets it run, and by what seed, so that it breaks the same each time; `make chaos` says otherwise.
const SECONDS: u64 = 10;
const SEED: u64 = 2_453_645_384;

/// What is broken, for how long.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// SIGKILL, or an orderly end, and a start.
    Broker(&'static str),
    Database(&'static str),
    /// A node is killed and another one started.
    NodeKilled(usize),
    /// SIGSTOP and SIGCONT.
    NodePaused(usize),
    /// Connections to the broker or the database are cut, and refused.
    Cut(Line),
    /// Each piece on the way is held back.
    Slow(Line, u64),
    /// The broker's disk has no room; it is started again once there is.
    DiskFull,
}

#[derive(Clone, Copy, Debug)]
enum Line {
    Broker,
    Database,
}

fn draw(rng: &mut ChaCha8Rng, has_disk: bool) -> (Fault, Duration) {
    let line = |rng: &mut ChaCha8Rng| if rng.random_bool(0.5) { Line::Broker } else { Line::Database };
    let how = |rng: &mut ChaCha8Rng| if rng.random_bool(0.7) { "kill" } else { "stop" };
    let fault = match rng.random_range(0..if has_disk { 15 } else { 14 }) {
        0..=2 => Fault::Broker(how(rng)),
        3..=4 => Fault::Database(how(rng)),
        5..=7 => Fault::NodeKilled(rng.random_range(0..NODES)),
        8..=9 => Fault::NodePaused(rng.random_range(0..NODES)),
        10..=11 => Fault::Cut(line(rng)),
        12..=13 => Fault::Slow(line(rng), rng.random_range(5..100)),
        _ => Fault::DiskFull,
    };
    (fault, Duration::from_millis(rng.random_range(300..4_000)))
}

/// A disk of the broker's own, small enough to be filled. Needs root.
struct Disk {
    mounted_at: std::path::PathBuf,
}

impl Disk {
    /// `None` where this may not be done.
    fn of(services: &Services) -> Option<Self> {
        let mounted_at = services.kafka_data();
        std::fs::create_dir_all(&mounted_at).ok()?;
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=768m", "tmpfs"])
            .arg(&mounted_at)
            .stderr(std::process::Stdio::null())
            .status();
        mount.is_ok_and(|status| status.success()).then_some(Self { mounted_at })
    }

    fn fill(&self) {
        // Until there is no more room: that it fails is how that is known.
        drop(
            std::process::Command::new("dd")
                .args(["if=/dev/zero", "bs=1M"])
                .arg(format!("of={}", self.filler().display()))
                .stderr(std::process::Stdio::null())
                .status(),
        );
    }

    fn filler(&self) -> std::path::PathBuf {
        // Beside the log, not in it: the broker would take it for a partition.
        self.mounted_at.join("filler.tmp")
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).expect("what filled the disk is removed");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").arg("-l").arg(&self.mounted_at).status());
    }
}

/// What was heard and what must stand in the log.
#[derive(Default)]
struct Heard {
    collected: Vec<Collected>,
    acknowledged: BTreeSet<(String, u64)>,
    started: BTreeSet<String>,
    accounts: BTreeSet<String>,
    unanswered: usize,
}

/// Somebody with three devices and a limit of two.
struct Viewer {
    client: reqwest::Client,
    nodes: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    rng: ChaCha8Rng,
    name: String,
    heard: Heard,
}

impl Viewer {
    async fn watch(mut self) -> Heard {
        let mut account = String::new();
        let mut playing: [Option<(Uuid, u64)>; DEVICES] = [None; DEVICES];
        for deed in 0.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            if deed % DEEDS_AN_ACCOUNT == 0 {
                account = format!("{}-{}", self.name, deed / DEEDS_AN_ACCOUNT);
                self.heard.accounts.insert(account.clone());
                playing = [None; DEVICES];
            }
            let device = self.rng.random_range(0..DEVICES);
            let next = match playing[device] {
                None => self.start(&account, device).await,
                Some(session) => self.go_on(&account, device, session, &playing).await,
            };
            playing[device] = next;
            tokio::time::sleep(Duration::from_millis(self.rng.random_range(20..150))).await;
        }
        self.heard
    }

    async fn start(&mut self, account: &str, device: usize) -> Option<(Uuid, u64)> {
        let session = Uuid::now_v7();
        let body = json!({"session_id": session, "device_id": format!("device-{device}"), "title_id": "t"});
        let answer = self.ask("POST", &format!("/v1/accounts/{account}/sessions"), Some(&body)).await?;
        self.note(account, session, &answer);
        if answer.status != 201 {
            return None;
        }
        self.heard.started.insert(session.to_string());
        Some((session, 0))
    }

    async fn go_on(
        &mut self,
        account: &str,
        device: usize,
        (session, sequence): (Uuid, u64),
        playing: &[Option<(Uuid, u64)>],
    ) -> Option<(Uuid, u64)> {
        let path = format!("/v1/accounts/{account}/sessions/{session}");
        match self.rng.random_range(0..100) {
            0..70 => {
                let body = json!({"device_id": format!("device-{device}"), "title_id": "t", "sequence": sequence,
                    "elapsed_ms": sequence * 100, "position_ms": sequence * 100, "state": "playing"});
                // The same heartbeat may be sent again until it is answered; a few tries, as a player has.
                let answer = self.ask("POST", &format!("{path}/heartbeats"), Some(&body)).await?;
                if answer.status == 200 || answer.status == 410 {
                    self.heard.acknowledged.insert((session.to_string(), sequence));
                }
                self.note(account, session, &answer);
                (answer.status == 200).then_some((session, sequence + 1))
            }
            70..85 => {
                if let Some(answer) = self.ask("GET", &format!("{path}/verdict"), None).await {
                    self.note(account, session, &answer);
                }
                Some((session, sequence))
            }
            85..95 => {
                self.ask("POST", &format!("{path}/stop"), Some(&json!({}))).await;
                None
            }
            _ => {
                let others: Vec<_> = playing.iter().flatten().filter(|(other, _)| *other != session).collect();
                if let Some((other, _)) = others.first() {
                    let path = format!("/v1/accounts/{account}/sessions/{other}/evict");
                    if let Some(answer) = self.ask("POST", &path, Some(&json!({"by": "viewer"}))).await {
                        self.note(account, *other, &answer);
                    }
                }
                Some((session, sequence))
            }
        }
    }

    fn note(&mut self, account: &str, session: Uuid, answer: &Answer) {
        self.heard.collected.extend(Collected::from_body(account, &session.to_string(), &answer.body));
    }

    /// Asks a node, and another one where there is no answer or it says to come again.
    async fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> Option<Answer> {
        for _ in 0..20 {
            let url = {
                let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
                nodes[self.rng.random_range(0..nodes.len())].clone()
            };
            let answer = Node::ask(&self.client, &url, method, path, body).await;
            match answer {
                Some(answer) if answer.status < 500 => return Some(answer),
                // A mistake of ours, not of what was broken.
                Some(answer) => assert_eq!(answer.status, 503, "{method} {path}: {answer:?}"),
                None => {}
            }
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.heard.unanswered += 1;
        None
    }
}

/// What is broken and mended.
struct Faults<'a> {
    services: &'a Services,
    deployment: &'a Deployment,
    disk: Option<Disk>,
    broker: Proxy,
    database: Proxy,
    nodes: Vec<Node>,
    urls: Arc<Mutex<Vec<String>>>,
}

impl Faults<'_> {
    const fn proxy(&self, line: Line) -> &Proxy {
        match line {
            Line::Broker => &self.broker,
            Line::Database => &self.database,
        }
    }

    async fn happen(&mut self, fault: Fault, time: Duration) {
        match fault {
            Fault::Broker(how) => self.restart("kafka", how, time).await,
            Fault::Database(how) => self.restart("postgres", how, time).await,
            Fault::NodeKilled(index) => {
                self.nodes.remove(index).kill();
                tokio::time::sleep(time).await;
                let node = self.deployment.node_not_ready();
                self.urls.lock().unwrap_or_else(PoisonError::into_inner)[index].clone_from(&node.url);
                self.nodes.insert(index, node);
            }
            Fault::NodePaused(index) => {
                self.nodes[index].signal("STOP");
                tokio::time::sleep(time).await;
                self.nodes[index].signal("CONT");
            }
            Fault::Cut(line) => {
                self.proxy(line).cut();
                tokio::time::sleep(time).await;
                self.proxy(line).mend();
            }
            Fault::Slow(line, ms) => {
                self.proxy(line).slow(Duration::from_millis(ms));
                tokio::time::sleep(time).await;
                self.proxy(line).mend();
            }
            Fault::DiskFull => {
                let Some(disk) = &self.disk else { return };
                disk.fill();
                tokio::time::sleep(time).await;
                disk.free();
                // Whether it gave up or not.
                self.restart("kafka", "kill", Duration::ZERO).await;
            }
        }
    }

    async fn restart(&self, service: &'static str, how: &'static str, time: Duration) {
        self.services.ctl(service, how);
        // A process that is gone may hold its port for a moment longer.
        tokio::time::sleep(time.max(Duration::from_secs(1))).await;
        self.services.ctl(service, "start");
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().filter(|value| !value.is_empty()).map(|value| value.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_nothing_acknowledged_is_lost_or_counted_twice_and_all_of_it_recovers() {
    let asked = number("CHAOS_SECONDS");
    let any_seed = || Uuid::now_v7().as_u64_pair().1 & 0xffff_ffff;
    let seed = number("CHAOS_SEED").unwrap_or_else(|| asked.map_or(SEED, |_| any_seed()));
    let time = Duration::from_secs(asked.unwrap_or(SECONDS));
    println!("chaos for {} s; again by CHAOS_SEED={seed}", time.as_secs());
    let mut rng = ChaCha8Rng::seed_from_u64(seed);

    let mut services = Services::unstarted();
    let broker = Proxy::to(services.kafka_port).await;
    let database = Proxy::to(services.postgres_port).await;
    services.advertise(broker.port);
    let disk = Disk::of(&services);
    services.ctl("kafka", "start");
    services.ctl("postgres", "start");
    let mut deployment = services.deployment_by(broker.port, database.port).await;
    deployment.ack_timeout_ms = 3_000;
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(deployment.node().await);
    }
    let urls = Arc::new(Mutex::new(nodes.iter().map(|node| node.url.clone()).collect::<Vec<_>>()));
    let over = Arc::new(AtomicBool::new(false));
    let viewers: Vec<_> = (0..VIEWERS)
        .map(|viewer| {
            tokio::spawn(
                Viewer {
                    client: reqwest::Client::builder().timeout(Duration::from_secs(20)).build().expect("a client"),
                    nodes: Arc::clone(&urls),
                    over: Arc::clone(&over),
                    rng: ChaCha8Rng::seed_from_u64(seed.wrapping_add(1 + viewer)),
                    name: format!("chaos-{viewer}"),
                    heard: Heard::default(),
                }
                .watch(),
            )
        })
        .collect();

    let mut faults = Faults { services: &services, deployment: &deployment, disk, broker, database, nodes, urls };
    let mut happened: BTreeMap<String, usize> = BTreeMap::new();
    let begun = Instant::now();
    while begun.elapsed() < time {
        tokio::time::sleep(Duration::from_millis(rng.random_range(200..2_000))).await;
        let (fault, lasts) = draw(&mut rng, faults.disk.is_some());
        *happened.entry(format!("{fault:?}").chars().take_while(char::is_ascii_alphabetic).collect()).or_default() += 1;
        faults.happen(fault, lasts).await;
    }
    over.store(true, Ordering::Relaxed);
    let mut heard = Heard::default();
    for viewer in viewers {
        let one = viewer.await.expect("a viewer saw nothing but answers and 503");
        heard.collected.extend(one.collected);
        heard.acknowledged.extend(one.acknowledged);
        heard.started.extend(one.started);
        heard.accounts.extend(one.accounts);
        heard.unanswered += one.unanswered;
    }
    let mended = Instant::now();
    for node in &faults.nodes {
        node.ready().await;
    }
    println!("all nodes are ready {:.1} s after the last fault", mended.elapsed().as_secs_f64());

    let found = recount(&deployment, &heard.collected);
    nothing_is_lost(&found, &heard);
    for account in &heard.accounts {
        until("the decisions to be those of the rules", || async {
            let path = format!("/v1/accounts/{account}/decisions?limit=500");
            let answer = faults.nodes[0].try_send("GET", &path, None).await;
            answer.is_some_and(|answer| {
                same_decisions(&found.model, account, answer.body["decisions"].as_array().map_or(&[], Vec::as_slice))
            })
        })
        .await;
    }
    // What was watched, folded through all of this, is what one fold of the whole log says.
    deployment.run(&["projection", "rebuild", "licensing"]);
    deployment.run(&["projection", "verify", "licensing"]);
    println!(
        "{happened:?}: {} answers agree, {} were provisional; {} acknowledged heartbeats and {} starts are in the log; \
         {} requests had no answer after 20 tries",
        found.compared,
        found.provisional,
        heard.acknowledged.len(),
        heard.started.len(),
        heard.unanswered
    );
}

fn nothing_is_lost(found: &Recount, heard: &Heard) {
    let events: Vec<Value> =
        found.records.iter().filter_map(|record| serde_json::from_str(&record.value).ok()).collect();
    let of = |kind: &str| {
        let kind = format!("pulsegate.playback.{kind}.v1");
        events.iter().filter(move |event| event["type"] == *kind).map(|event| &event["data"])
    };
    let beats: BTreeSet<_> = of("heartbeat")
        .filter_map(|data| Some((data["session_id"].as_str()?.to_owned(), data["sequence"].as_u64()?)))
        .collect();
    let lost: Vec<_> = heard.acknowledged.difference(&beats).collect();
    assert!(lost.is_empty(), "{} acknowledged heartbeats are not in the log: {lost:?}", lost.len());
    let starts: BTreeSet<_> = of("started").filter_map(|data| data["session_id"].as_str().map(str::to_owned)).collect();
    let lost: Vec<_> = heard.started.difference(&starts).collect();
    assert!(lost.is_empty(), "{} acknowledged starts are not in the log: {lost:?}", lost.len());
    let ids: BTreeSet<_> = events.iter().map(|event| event["id"].as_str().unwrap_or_default()).collect();
    assert_eq!(ids.len(), events.len(), "an event stands in the log twice");
}
