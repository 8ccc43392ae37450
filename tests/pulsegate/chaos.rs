//! Everything fails, in turn and by seed, while viewers play; then a recount from the log.
//!
//! `make chaos` lets it run for ten minutes; the suite for a few seconds. Nobody repairs anything but what was broken on
//! purpose: a broker that was killed is started again, a cable that was cut is plugged in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use crate::clocks::Clock;
use crate::deployment::{Deployment, Node, until};
use crate::proxy::Proxy;
use crate::recount::{recount, same_decisions};
use crate::services::Services;
use crate::viewer::{Crowd, Patience, nothing_is_lost};

const NODES: usize = 2;
const VIEWERS: u64 = 12;
/// How often a viewer asks before it gives a request up.
const TRIES: usize = 20;
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
    /// A node's clock is stepped, and back.
    ClockStepped(usize, i64),
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
    let fault = match rng.random_range(0..if has_disk { 17 } else { 16 }) {
        0..=2 => Fault::Broker(how(rng)),
        3..=4 => Fault::Database(how(rng)),
        5..=7 => Fault::NodeKilled(rng.random_range(0..NODES)),
        8..=9 => Fault::NodePaused(rng.random_range(0..NODES)),
        10..=11 => Fault::Cut(line(rng)),
        12..=13 => Fault::Slow(line(rng), rng.random_range(5..100)),
        14..=15 => Fault::ClockStepped(rng.random_range(0..NODES), rng.random_range(-7_200_000..7_200_000)),
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
        // Kept for whoever looks for the reason.
        if std::thread::panicking() {
            drop(
                std::process::Command::new("cp")
                    .arg("-r")
                    .arg(&self.mounted_at)
                    .arg(self.mounted_at.with_extension("kept"))
                    .status(),
            );
        }
        drop(std::process::Command::new("umount").arg("-l").arg(&self.mounted_at).status());
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
    /// Each node's own; none where they can't be made.
    clocks: Vec<Clock>,
    crowd: &'a Crowd,
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
                let node = node(self.deployment, self.clocks.get(index));
                self.crowd.replace(index, &node.url);
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
            Fault::ClockStepped(index, ahead_ms) => {
                let Some(clock) = self.clocks.get(index) else { return };
                // One that has only begun knows no other time than its own clock's.
                self.nodes[index].ready().await;
                tokio::time::sleep(Duration::from_secs(2)).await;
                clock.step(ahead_ms);
                tokio::time::sleep(time).await;
                clock.step(0);
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

/// A node with a clock of its own.
fn node(deployment: &Deployment, clock: Option<&Clock>) -> Node {
    let mut command = deployment.command(&["up"]);
    if let Some(clock) = clock {
        command.envs(clock.variables());
    }
    Deployment::node_by(&mut command)
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
    let clocks: Vec<_> = (0..NODES).map_while(|_| Clock::new()).collect();
    for index in 0..NODES {
        let node = node(&deployment, clocks.get(index));
        node.ready().await;
        nodes.push(node);
    }
    let urls = nodes.iter().map(|node| node.url.clone()).collect();
    let crowd = Crowd::start("chaos", VIEWERS, urls, seed, Patience::Tries(TRIES));

    let mut faults =
        Faults { services: &services, deployment: &deployment, disk, broker, database, nodes, clocks, crowd: &crowd };
    let mut happened: BTreeMap<String, usize> = BTreeMap::new();
    let begun = Instant::now();
    while begun.elapsed() < time {
        tokio::time::sleep(Duration::from_millis(rng.random_range(200..2_000))).await;
        let (fault, lasts) = draw(&mut rng, faults.disk.is_some());
        *happened.entry(format!("{fault:?}").chars().take_while(char::is_ascii_alphabetic).collect()).or_default() += 1;
        faults.happen(fault, lasts).await;
    }
    let nodes = faults.nodes;
    let heard = crowd.end().await;
    let mended = Instant::now();
    for node in &nodes {
        node.ready().await;
    }
    println!("all nodes are ready {:.1} s after the last fault", mended.elapsed().as_secs_f64());

    let found = recount(&deployment, &heard.collected);
    nothing_is_lost(&found, &heard);
    for account in &heard.accounts {
        until("the decisions to be those of the rules", || async {
            let path = format!("/v1/accounts/{account}/decisions?limit=500");
            let answer = nodes[0].try_send("GET", &path, None).await;
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
         {} requests had no answer after {TRIES} tries",
        found.compared,
        found.provisional,
        heard.acknowledged.len(),
        heard.started.len(),
        heard.unanswered
    );
}
