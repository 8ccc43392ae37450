//! The product: `pulsegate up` or `project`, the real executable, a process of its own.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use crate::deployment::Deployment;
use crate::http::{Connection, ask_once, request};

/// How long anything may take that should happen soon.
pub(crate) const SOON: Duration = Duration::from_mins(2);
/// How long the read model may take to fold what a load left behind.
const PROJECTED_TIME_MAX: Duration = Duration::from_mins(5);
/// Samples of memory that must be alike to call it settled, and how far apart they are taken.
const SETTLED: usize = 6;
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);

/// What a node does beside serving players.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    /// `pulsegate up`: it also keeps every read model, on the same cores.
    ReadModels,
    /// `pulsegate api`, as where read models have machines of their own.
    Nothing,
}

impl Beside {
    /// Both, the fuller one first.
    pub(crate) const BOTH: [Self; 2] = [Self::ReadModels, Self::Nothing];

    /// What such a node is started as.
    pub(crate) const fn role(self) -> &'static str {
        match self {
            Self::ReadModels => "up",
            Self::Nothing => "api",
        }
    }

    /// The name of a row.
    pub(crate) fn named(self, row: &str) -> String {
        match self {
            Self::ReadModels => row.to_owned(),
            Self::Nothing => format!("{row}_api"),
        }
    }
}

/// A node of a deployment.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    role: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Node {
    /// Starts a node and waits until it is ready; says how long that took.
    pub(crate) async fn start(deployment: &Deployment) -> anyhow::Result<(Self, Duration)> {
        Self::start_as("up", deployment).await
    }

    /// Starts a node that does no more than this beside serving players.
    pub(crate) async fn serving(deployment: &Deployment, beside: Beside) -> anyhow::Result<Self> {
        Self::serving_with(deployment, beside, &[]).await
    }

    /// The same with more settings.
    pub(crate) async fn serving_with(
        deployment: &Deployment,
        beside: Beside,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let mut command = deployment.command(beside.role());
        command.envs(settings.iter().copied());
        Ok(Self::start_by(beside.role(), command).await?.0)
    }

    /// The projections alone, which have no address to ask.
    pub(crate) async fn projecting(deployment: &Deployment) -> anyhow::Result<Self> {
        Ok(Self::start_as("project", deployment).await?.0)
    }

    /// A node that shares the partitions with its like.
    pub(crate) async fn sharing(deployment: &Deployment) -> anyhow::Result<Self> {
        let mut command = deployment.command("up");
        command.env("PULSEGATE_CLUSTER", "owned");
        Ok(Self::start_by("up", command).await?.0)
    }

    async fn start_as(role: &'static str, deployment: &Deployment) -> anyhow::Result<(Self, Duration)> {
        Self::start_by(role, deployment.command(role)).await
    }

    async fn start_by(role: &'static str, mut command: Command) -> anyhow::Result<(Self, Duration)> {
        let (address, admin) = (free_address()?, free_address()?);
        let begun = Instant::now();
        let child = command
            .env("PULSEGATE_LISTEN", address.to_string())
            .env("PULSEGATE_ADMIN_LISTEN", admin.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("failed to start pulsegate {role}"))?;
        let mut node = Self { child, role, address, admin };
        let ready = request("GET", "/readyz", "");
        loop {
            if let Some(status) = node.child.try_wait()? {
                anyhow::bail!("pulsegate {role} ended with {status}");
            }
            // Refused until it listens.
            if ask_once(admin, &ready).await.is_ok_and(|(status, _)| status == 200) {
                return Ok((node, begun.elapsed()));
            }
            anyhow::ensure!(begun.elapsed() < SOON, "pulsegate {role} is not ready after {} s", SOON.as_secs());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the read models have folded the whole log: what follows is measured beside no work that a
    /// load before it left behind. A node that keeps none has nothing to wait for.
    pub(crate) async fn projected(&self) -> anyhow::Result<()> {
        if self.role == Beside::Nothing.role() {
            return Ok(());
        }
        let at_the_end = |status: u16, body: &[u8]| {
            let body: Value = serde_json::from_slice(body).unwrap_or_default();
            let projections = body["projections"].as_array().filter(|all| !all.is_empty());
            status == 200 && projections.is_some_and(|all| all.iter().all(|one| one["lag_events"] == 0))
        };
        let asked = request("GET", "/v1/projections", "");
        let mut connection = Connection::open(self.address).await?;
        wait_until(&mut connection, "the read model to catch up", &asked, at_the_end, PROJECTED_TIME_MAX).await
    }

    /// Waits until so many streams are live on this node.
    pub(crate) async fn has_streams(&self, count: usize) -> anyhow::Result<()> {
        let is_right = |status: u16, body: &[u8]| {
            let body: Value = serde_json::from_slice(body).unwrap_or_default();
            status == 200 && body["streams_now"] == count
        };
        let mut connection = Connection::open(self.address).await?;
        let asked = request("GET", "/v1/live", "");
        wait_until(&mut connection, &format!("{count} live streams"), &asked, is_right, SOON).await
    }

    /// Makes leases long, where more sessions must be live at once than this machine could keep alive at
    /// the pace of real players.
    pub(crate) async fn lengthen_leases(&self) -> anyhow::Result<()> {
        const POLICY: &str = r#"{"rules":[{"scope":"account","max":2,"on_limit":"block_newest"}],
            "leases_ms":{"started":3600000,"heartbeat":3600000}}"#;
        let (status, body) = ask_once(self.address, &request("PUT", "/v1/policies/standard", POLICY)).await?;
        anyhow::ensure!(status == 200, "a policy was answered {status} {}", String::from_utf8_lossy(&body));
        Ok(())
    }

    /// What the process has in memory, once that no longer changes, in bytes.
    pub(crate) async fn settled_memory(&self) -> anyhow::Result<u64> {
        let begun = Instant::now();
        let mut samples = Vec::new();
        loop {
            samples.push(self.memory()?);
            let recent = &samples[samples.len().saturating_sub(SETTLED)..];
            let (least, most) = recent.iter().fold((u64::MAX, 0), |(least, most), at| (least.min(*at), most.max(*at)));
            let settled = recent.len() == SETTLED && (most - least) * 200 < most;
            if settled || begun.elapsed() > Duration::from_secs(20) {
                return Ok(recent.last().copied().unwrap_or_default());
            }
            tokio::time::sleep(SAMPLE_INTERVAL).await;
        }
    }

    /// What the process has in memory now, in bytes.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1_024)
    }

    /// SIGTERM, and its end.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        anyhow::ensure!(told.success(), "kill ended with {told}");
        let begun = Instant::now();
        while self.child.try_wait()?.is_none() {
            anyhow::ensure!(begun.elapsed() < SOON, "pulsegate {} does not stop", self.role);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Gone already where it was stopped.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits until what is asked is answered as it should be.
pub(crate) async fn wait_until(
    connection: &mut Connection,
    what: &str,
    request: &[u8],
    is_right: impl Fn(u16, &[u8]) -> bool,
    time_max: Duration,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        let answer = connection.ask(request).await?;
        if is_right(answer.status, answer.body) {
            return Ok(());
        }
        if begun.elapsed() > time_max {
            let body = String::from_utf8_lossy(answer.body);
            anyhow::bail!("waited {} s for {what}: {} {body}", time_max.as_secs(), answer.status);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}

/// Free a moment ago is good enough: a clash fails the start, loudly.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).context("no free port")
}
