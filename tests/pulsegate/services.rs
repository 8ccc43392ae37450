//! A Kafka and a PostgreSQL of a test's own, to be stopped and killed.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::deployment::{Deployment, root};

/// Where certificates with their keys are, of which each is its own authority; `one` is what encrypted services show.
pub(crate) fn certificates() -> PathBuf {
    root().join("api/tests/tls")
}

/// Real processes, on ports of their own.
pub(crate) struct Services {
    dir: TempDir,
    pub(crate) kafka_port: u16,
    controller_port: u16,
    /// The port that the broker names to its clients.
    advertised_port: u16,
    pub(crate) postgres_port: u16,
    /// Whether they speak encrypted, and with who has the password, alone.
    are_encrypted: bool,
}

impl Services {
    /// Starts both.
    pub(crate) fn start() -> Self {
        Self::unstarted().started()
    }

    /// Starts both so that they speak encrypted, and with who has the password, alone.
    pub(crate) fn encrypted() -> Self {
        let mut services = Self::unstarted();
        services.are_encrypted = true;
        services.started()
    }

    fn started(self) -> Self {
        self.ctl("kafka", "start");
        self.ctl("postgres", "start");
        self
    }

    /// Neither runs yet.
    pub(crate) fn unstarted() -> Self {
        // Below those that the system gives to whoever connects: while a service is away nobody takes its port by chance.
        // Where to look first is another place for each process and each of its tests.
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let first = 11_000 + (std::process::id() + 100 * CALLS.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let free = (first..32_000).filter_map(|port| TcpListener::bind(("127.0.0.1", u16::try_from(port).ok()?)).ok());
        let ports: Vec<_> = free.take(3).collect();
        let port = |index: usize| ports[index].local_addr().expect("an address").port();
        Self {
            dir: TempDir::new().expect("a folder"),
            kafka_port: port(0),
            controller_port: port(1),
            advertised_port: port(0),
            postgres_port: port(2),
            are_encrypted: false,
        }
    }

    /// Lets the broker send its clients to another port, where somebody stands between.
    pub(crate) fn advertise(&mut self, port: u16) {
        self.advertised_port = port;
    }

    /// `start`, `stop` or `kill`.
    pub(crate) fn ctl(&self, service: &str, action: &str) {
        let status = self.try_ctl(service, action, Stdio::inherit());
        assert!(status.success(), "ctl {service} {action}: {status}");
    }

    fn try_ctl(&self, service: &str, action: &str, complaints: Stdio) -> ExitStatus {
        let certificate = if self.are_encrypted { certificates().join("one") } else { PathBuf::new() };
        Command::new(root().join("ops/services/ctl"))
            .args([service, action])
            .env("PULSEGATE_SERVICES_TLS", certificate)
            .env("PULSEGATE_RUN_DIR", self.dir.path())
            // The jars that `make services` fetched serve this broker as well.
            .env("PULSEGATE_KAFKA_PORT", self.kafka_port.to_string())
            .env("PULSEGATE_KAFKA_CONTROLLER_PORT", self.controller_port.to_string())
            .env("PULSEGATE_KAFKA_ADVERTISED_PORT", self.advertised_port.to_string())
            .env("PULSEGATE_POSTGRES_PORT", self.postgres_port.to_string())
            .stdout(Stdio::null())
            .stderr(complaints)
            .status()
            .expect("ops/services/ctl runs")
    }

    /// Where the broker keeps its log.
    pub(crate) fn kafka_data(&self) -> PathBuf {
        self.dir.path().join("kafka/data")
    }

    /// A deployment over both as they are.
    pub(crate) async fn deployment(&self) -> Deployment {
        self.deployment_by(self.advertised_port, self.postgres_port).await
    }

    /// The same by way of other ports.
    pub(crate) async fn deployment_by(&self, kafka_port: u16, postgres_port: u16) -> Deployment {
        let database = format!("postgres://pulsegate:pulsegate@127.0.0.1:{postgres_port}/pulsegate");
        let kafka = format!("127.0.0.1:{kafka_port}");
        if !self.are_encrypted {
            return Deployment::over(kafka, &database).await;
        }
        let authority = certificates().join("one.crt").display().to_string();
        let settings = [
            ("PULSEGATE_KAFKA_SECURITY_PROTOCOL", "sasl_ssl"),
            ("PULSEGATE_KAFKA_USERNAME", "pulsegate"),
            ("PULSEGATE_KAFKA_PASSWORD", "pulsegate"),
            ("PULSEGATE_KAFKA_CA", &authority),
        ];
        let database = format!("{database}?sslmode=verify-full&sslrootcert={authority}");
        Deployment::over_with(kafka, &database, &settings).await
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        for service in ["kafka", "postgres"] {
            // Only what this test started, by its own pid files; gone already is as good.
            self.try_ctl(service, "kill", Stdio::null());
        }
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!("what they wrote is kept in {}", self.dir.path().display());
        }
    }
}
