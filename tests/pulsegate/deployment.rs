//! A deployment of its own for a test: a topic prefix, a database, and any number of nodes.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{self, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _};
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

/// How long anything may take that should happen soon: machines are slow and shared.
pub(crate) const SOON: Duration = Duration::from_mins(4);

/// Two deployments at a time: each has processes of its own on the same few cores, and mostly waits for leases to end.
static ROOM: Semaphore = Semaphore::const_new(2);

pub(crate) struct Deployment {
    pub(crate) kafka: String,
    pub(crate) database_url: String,
    pub(crate) prefix: String,
    pub(crate) ack_timeout_ms: u64,
    /// What each process of it is told beside.
    settings: Vec<(String, String)>,
    _room: SemaphorePermit<'static>,
}

pub(crate) struct Node {
    child: Child,
    pub(crate) url: String,
    admin: String,
    pub(crate) client: reqwest::Client,
}

/// An HTTP answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

fn env(name: &str, default: &str) -> String {
    std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
}

impl Deployment {
    /// A deployment over the services that the environment names.
    pub(crate) async fn new() -> Self {
        let kafka = env("PULSEGATE_KAFKA_BOOTSTRAP", "127.0.0.1:9092");
        let database = env("PULSEGATE_DATABASE_URL", "postgres://pulsegate:pulsegate@127.0.0.1:5432/pulsegate");
        Self::over(kafka, &database).await
    }

    /// A deployment over given services; `database` is any database of the server.
    pub(crate) async fn over(kafka: String, database: &str) -> Self {
        Self::over_with(kafka, database, &[]).await
    }

    /// The same with more settings for each process of it.
    pub(crate) async fn over_with(kafka: String, database: &str, settings: &[(&str, &str)]) -> Self {
        let room = ROOM.acquire().await.expect("never closed");
        let name = format!("pulsegate_test_{}", Uuid::now_v7().simple());
        let mut admin = sqlx::PgConnection::connect(database).await.expect("PostgreSQL: is `make services` up?");
        admin.execute(sqlx::AssertSqlSafe(format!("create database {name}"))).await.expect("a database of its own");
        let (path, parameters) = database.find('?').map_or((database, ""), |at| database.split_at(at));
        let (server, _) = path.rsplit_once('/').expect("a database URL's path is a name");
        let deployment = Self {
            kafka,
            database_url: format!("{server}/{name}{parameters}"),
            prefix: format!("{name}."),
            ack_timeout_ms: 30_000,
            settings: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            _room: room,
        };
        deployment.run(&["migrate"]);
        deployment
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pulsegate"));
        command
            .args(args)
            .env("PULSEGATE_KAFKA_BOOTSTRAP", &self.kafka)
            .env("PULSEGATE_DATABASE_URL", &self.database_url)
            .env("PULSEGATE_TOPIC_PREFIX", &self.prefix)
            .env("PULSEGATE_PARTITIONS", "4")
            // A slow machine is no reason for provisional answers or refusals: those have tests of their own.
            .env("PULSEGATE_VIEW_WAIT_MS", "10000")
            .env("PULSEGATE_ACK_TIMEOUT_MS", self.ack_timeout_ms.to_string())
            .env("PULSEGATE_LOG", env("PULSEGATE_LOG", "warn"))
            .envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end and gives what it prints.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        let output = self.command(args).stderr(Stdio::inherit()).output().expect("the binary starts");
        assert!(output.status.success(), "pulsegate {args:?} ended with {}", output.status);
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Leases that outlast any stall of a slow machine, so that no slot comes free by time alone.
    pub(crate) async fn with_patience(&self, node: &Node) {
        let terms = json!({"rules": [{"scope": "account", "max": 2, "on_limit": "block_newest"}],
                           "leases_ms": {"started": 3_600_000, "heartbeat": 3_600_000}});
        let published = node.put("/v1/policies/standard", &terms).await;
        assert_eq!((published.status, &published.body["version"]), (200, &json!(2)), "{published:?}");
    }

    /// Starts a node and waits until it is ready.
    pub(crate) async fn node(&self) -> Node {
        let node = self.node_not_ready();
        node.ready().await;
        node
    }

    /// Starts a node that only answers, and waits until it is ready.
    pub(crate) async fn api_node(&self) -> Node {
        let node = self.node_of("api");
        node.ready().await;
        node
    }

    /// Starts a node with more settings, and waits until it is ready.
    pub(crate) async fn node_with(&self, settings: &[(&str, &str)]) -> Node {
        self.role_with("up", settings).await
    }

    /// The same of a role.
    pub(crate) async fn role_with(&self, role: &str, settings: &[(&str, &str)]) -> Node {
        let node = Self::node_by(self.command(&[role]).envs(settings.iter().copied()));
        node.ready().await;
        node
    }

    pub(crate) fn node_not_ready(&self) -> Node {
        self.node_of("up")
    }

    /// Starts a node that shares the partitions with its like, and waits until it is ready.
    pub(crate) async fn sharing_node(&self) -> Node {
        let node = Self::node_by(self.command(&["up"]).env("PULSEGATE_CLUSTER", "owned"));
        node.ready().await;
        node
    }

    fn node_of(&self, role: &str) -> Node {
        Self::node_by(&mut self.command(&[role]))
    }

    /// Starts a node by a command that was prepared.
    pub(crate) fn node_by(command: &mut Command) -> Node {
        let given = command.get_envs().find(|(name, _)| *name == "PULSEGATE_LISTEN").and_then(|(_, value)| value);
        let given = given.and_then(std::ffi::OsStr::to_str).map(str::to_owned);
        let (listen, admin) = (given.unwrap_or_else(free_address), free_address());
        let child = command
            .env("PULSEGATE_LISTEN", &listen)
            .env("PULSEGATE_ADMIN_LISTEN", &admin)
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let client = reqwest::Client::builder().timeout(Duration::from_mins(4)).build().expect("a client");
        Node { child, url: format!("http://{listen}"), admin: format!("http://{admin}"), client }
    }
}

/// An address that was free a moment ago and that nobody else here was given.
pub(crate) fn free_address() -> String {
    static GIVEN: sync::Mutex<BTreeSet<SocketAddr>> = sync::Mutex::new(BTreeSet::new());

    loop {
        let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = listener.expect("a free port");
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(address) {
            return address.to_string();
        }
    }
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Waits until `done` says so; says what it waited for if that doesn't happen soon.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let deadline = Instant::now() + SOON;
    while !done().await {
        assert!(Instant::now() < deadline, "waited {} s for {what}", SOON.as_secs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Node {
    pub(crate) async fn ready(&self) {
        let url = format!("{}/readyz", self.admin);
        until("the node to be ready", || async {
            self.client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    /// What the admin port says under `path`.
    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        let answer = self.client.get(format!("{}{path}", self.admin)).send().await.expect("the admin port answers");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    }

    /// `None` if the node didn't answer at all.
    pub(crate) async fn try_send(&self, method: &str, path: &str, body: Option<&Value>) -> Option<Answer> {
        Self::ask(&self.client, &self.url, method, path, body).await
    }

    /// The same of whatever node is at `url`.
    pub(crate) async fn ask(
        client: &reqwest::Client,
        url: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Option<Answer> {
        let mut request = client.request(method.parse().expect("a method"), format!("{url}{path}"));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.ok()?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let bytes = answer.bytes().await.ok()?;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Some(Answer { status, headers, body })
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.try_send(method, path, body).await.unwrap_or_else(|| panic!("{method} {path}: no answer"))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, Some(body)).await
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where others reach it.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// SIGSTOP, SIGCONT: it does nothing, and then goes on as if nothing had been.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill").success());
    }

    /// kill -9
    pub(crate) fn kill(mut self) {
        // Gone already is as good.
        drop(self.child.kill());
        self.child.wait().expect("the node ends");
    }

    /// SIGTERM; the node must end by itself, with 0.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().expect("the node is ours") {
                assert!(status.success(), "a stopped node ended with {status}");
                return;
            }
            assert!(Instant::now() < deadline, "the node does not stop");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Already gone, if the test ended it itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
