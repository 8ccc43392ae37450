//! The settings that every process has.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use pulsegate_domain::topic::TopicNames;
use pulsegate_projections::reader::ReaderSettings;
use rdkafka::ClientConfig;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::nodelay;
use crate::variables::{Reader, phrase};

/// How long a connection to `PostgreSQL` may take.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be text or json"),
        }
    }
}

/// What every process needs: the log, the database, the admin port, its own logs, how long a stop may take.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The brokers, and how they are trusted.
    pub kafka: ClientConfig,
    /// The deployment's topics.
    pub topics: TopicNames,
    /// The partitions of each topic but `catalog`.
    pub partitions: i32,
    /// The read models' database.
    pub database_url: String,
    /// Most connections of this process to it.
    pub database_connections: u32,
    /// Where health and metrics are served.
    pub admin_listen: SocketAddr,
    /// What is logged: a filter of `tracing`.
    pub log: String,
    /// How.
    pub log_format: LogFormat,
    /// How long a stop may take.
    pub shutdown_grace: Duration,
}

impl Settings {
    /// Reads them.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let kafka = kafka_client(reader);
        let prefix = reader.text("PULSEGATE_TOPIC_PREFIX", "pulsegate.");
        if prefix.len() > 100 || !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
            reader.mistake("PULSEGATE_TOPIC_PREFIX", format!("{prefix:?} must be at most 100 of A-Z a-z 0-9 . _ -"));
        }
        let partitions = reader.within("PULSEGATE_PARTITIONS", 12, 1, 10_000);
        let database_url =
            reader.text("PULSEGATE_DATABASE_URL", "postgres://pulsegate:pulsegate@127.0.0.1:5432/pulsegate");
        if let Err(error) = PgConnectOptions::from_str(&database_url) {
            reader.mistake("PULSEGATE_DATABASE_URL", phrase(&error));
        }
        let database_connections = reader.within("PULSEGATE_DATABASE_CONNECTIONS", 16, 2, 500);
        let admin_listen =
            reader.parsed("PULSEGATE_ADMIN_LISTEN", "127.0.0.1:9090", SocketAddr::from(([127, 0, 0, 1], 9090)));
        let log = reader.text("PULSEGATE_LOG", "info");
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&log) {
            reader.mistake("PULSEGATE_LOG", phrase(&error));
        }
        let log_format = reader.parsed("PULSEGATE_LOG_FORMAT", "text", LogFormat::Text);
        let shutdown_grace = Duration::from_millis(reader.within("PULSEGATE_SHUTDOWN_GRACE_MS", 20_000, 100, 600_000));
        Self {
            kafka,
            topics: TopicNames::new(prefix),
            // Bounded above, so that neither narrows.
            partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
            database_url,
            database_connections: u32::try_from(database_connections).unwrap_or(u32::MAX),
            admin_listen,
            log,
            log_format,
            shutdown_grace,
        }
    }

    /// A pool that connects when it is first asked.
    pub fn pool(&self) -> Result<PgPool, sqlx::Error> {
        let options: PgConnectOptions = self.database_url.parse()?;
        let port = options.get_port();
        let pool = PgPoolOptions::new()
            .max_connections(self.database_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(move |_, _| {
                Box::pin(async move {
                    let set = tokio::task::spawn_blocking(move || nodelay::send_at_once(port)).await;
                    if let Ok(Err(error)) = set {
                        tracing::debug!(%error, "small writes to the database may be held back");
                    }
                    Ok(())
                })
            });
        Ok(pool.connect_lazy_with(options))
    }

    /// The reading side's settings.
    #[must_use]
    pub fn reader(&self) -> ReaderSettings {
        ReaderSettings { client: self.kafka.clone(), topics: self.topics.clone(), partitions: self.partitions }
    }
}

/// How to reach the brokers.
fn kafka_client(reader: &mut Reader<'_>) -> ClientConfig {
    const PROTOCOLS: [&str; 4] = ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];
    let mut client = ClientConfig::new();
    client.set("client.id", "pulsegate");
    client.set("bootstrap.servers", reader.text("PULSEGATE_KAFKA_BOOTSTRAP", "127.0.0.1:9092"));
    let protocol = reader.text("PULSEGATE_KAFKA_SECURITY_PROTOCOL", "plaintext").to_lowercase();
    if !PROTOCOLS.contains(&protocol.as_str()) {
        reader.mistake(
            "PULSEGATE_KAFKA_SECURITY_PROTOCOL",
            format!("{protocol:?} must be one of {}", PROTOCOLS.join(", ")),
        );
    }
    client.set("security.protocol", &protocol);
    if protocol.starts_with("sasl") {
        // librdkafka's own default, GSSAPI, is not built in.
        client.set("sasl.mechanism", reader.text("PULSEGATE_KAFKA_SASL_MECHANISM", "SCRAM-SHA-512"));
        for (variable, property) in
            [("PULSEGATE_KAFKA_USERNAME", "sasl.username"), ("PULSEGATE_KAFKA_PASSWORD", "sasl.password")]
        {
            let value = reader.text(variable, "");
            if value.is_empty() {
                reader.mistake(variable, format!("must be set with {protocol}"));
            }
            client.set(property, value);
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_password_is_asked_for_where_one_is_needed() {
        let variables = BTreeMap::from([("PULSEGATE_KAFKA_SECURITY_PROTOCOL".to_owned(), "sasl_ssl".to_owned())]);
        let mut reader = Reader::new(&variables);
        Settings::read(&mut reader);
        let mistakes: Vec<_> = reader.finish().unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(
            mistakes,
            [
                "PULSEGATE_KAFKA_USERNAME: must be set with sasl_ssl",
                "PULSEGATE_KAFKA_PASSWORD: must be set with sasl_ssl"
            ]
        );
    }
}
