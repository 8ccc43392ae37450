//! A deployment of its own for a measure: topics behind a prefix, and a database.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use pulsegate_domain::topic::{Topic, TopicNames};
use pulsegate_write_side::settings::LogSettings;
use pulsegate_write_side::topics::ensure_topics;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use uuid::Uuid;

/// Partitions of a topic, as a deployment has them by default.
pub(crate) const PARTITIONS: i32 = 12;

/// Topics behind a prefix, and a database. [Ended](Self::scoped) with the measure.
#[derive(Debug)]
pub(crate) struct Deployment {
    pub(crate) kafka: String,
    /// A database of the same server that isn't this one.
    server_url: String,
    database_url: String,
    name: String,
}

impl Deployment {
    /// Measures on a deployment of its own, which leaves nothing behind.
    pub(crate) async fn scoped<T>(measure: impl AsyncFnOnce(&Self) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let deployment = Self::make().await?;
        let measured = measure(&deployment).await;
        if let Err(error) = deployment.end().await {
            eprintln!("  not everything of {} is removed: {error:#}", deployment.name);
        }
        measured
    }

    async fn make() -> anyhow::Result<Self> {
        let kafka = env("PULSEGATE_KAFKA_BOOTSTRAP", "127.0.0.1:9092");
        let server_url = env("PULSEGATE_DATABASE_URL", "postgres://pulsegate:pulsegate@127.0.0.1:5432/pulsegate");
        let name = format!("pulsegate_bench_{}", Uuid::now_v7().simple());
        let (server, _) = server_url.rsplit_once('/').context("PULSEGATE_DATABASE_URL ends in no name")?;
        let database_url = format!("{server}/{name}");
        let mut admin = PgConnection::connect(&server_url).await.context("PostgreSQL: is `make services` up?")?;
        admin.execute(sqlx::AssertSqlSafe(format!("create database {name}"))).await?;
        admin.close().await?;
        let deployment = Self { kafka, server_url, database_url, name };
        // The raw ones for the limits, made like the others so that the broker does the same work for both.
        for topics in [deployment.topics(), deployment.raw_topics()] {
            ensure_topics(&deployment.log_settings(topics)).await.context("Kafka: is `make services` up?")?;
        }
        let migrated = deployment.command("migrate").stdout(Stdio::null()).status()?;
        anyhow::ensure!(migrated.success(), "pulsegate migrate ended with {migrated}");
        Ok(deployment)
    }

    async fn end(&self) -> anyhow::Result<()> {
        let mut admin = PgConnection::connect(&self.server_url).await?;
        admin.execute(sqlx::AssertSqlSafe(format!("drop database {} with (force)", self.name))).await?;
        let client: AdminClient<DefaultClientContext> = self.client().create()?;
        let all = [self.topics(), self.raw_topics()].map(|topics| Topic::ALL.map(|topic| topics.name(topic))).concat();
        let names: Vec<_> = all.iter().map(String::as_str).collect();
        for deleted in client.delete_topics(&names, &AdminOptions::new()).await? {
            deleted.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
        }
        Ok(())
    }

    /// The topics of the product.
    pub(crate) fn topics(&self) -> TopicNames {
        TopicNames::new(format!("{}.", self.name))
    }

    /// The topics of the limits.
    pub(crate) fn raw_topics(&self) -> TopicNames {
        TopicNames::new(format!("{}.raw.", self.name))
    }

    /// How to reach the broker.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.kafka);
        client
    }

    /// Connections to the database, at most so many.
    pub(crate) fn pool(&self, connections: u32) -> anyhow::Result<PgPool> {
        let options = PgPoolOptions::new().max_connections(connections).acquire_timeout(Duration::from_mins(1));
        options.connect_lazy(&self.database_url).context("PULSEGATE_DATABASE_URL")
    }

    fn log_settings(&self, topics: TopicNames) -> LogSettings {
        LogSettings { partitions: PARTITIONS, ..LogSettings::new(&self.kafka, topics) }
    }

    /// The product's command, on this deployment.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pulsegate"));
        command
            .arg(name)
            .env("PULSEGATE_KAFKA_BOOTSTRAP", &self.kafka)
            .env("PULSEGATE_DATABASE_URL", &self.database_url)
            .env("PULSEGATE_TOPIC_PREFIX", self.topics().prefix())
            .env("PULSEGATE_PARTITIONS", PARTITIONS.to_string())
            .env("PULSEGATE_LOG", env("PULSEGATE_LOG", "warn"));
        command
    }
}

fn env(name: &str, default: &str) -> String {
    std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
}
