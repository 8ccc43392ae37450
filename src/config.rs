//! Configuration: `PULSEGATE_…` variables, read once, every mistake named at once.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use pulsegate_api::CorsOrigins;
use pulsegate_domain::topic::TopicNames;
use rdkafka::ClientConfig;
use serde::Serialize;

/// What is in force.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) kafka: ClientConfig,
    pub(crate) topics: TopicNames,
    pub(crate) partitions: i32,
    pub(crate) database_url: String,
    pub(crate) database_connections: u32,
    pub(crate) listen: SocketAddr,
    pub(crate) admin_listen: SocketAddr,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
    pub(crate) cors_origins: CorsOrigins,
    pub(crate) view_wait: Duration,
    pub(crate) ack_timeout: Duration,
    pub(crate) shutdown_grace: Duration,
    /// How many days of raw clickstream events are kept; `None`: all.
    pub(crate) clickstream_keep_days: Option<u32>,
    shown: BTreeMap<&'static str, Shown>,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
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

/// One setting as `pulsegate config` prints it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shown {
    pub(crate) value: String,
    pub(crate) from: &'static str,
}

/// A mistake in one variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigProblem {
    variable: &'static str,
    detail: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.detail)
    }
}

/// Reads variables and notes what is wrong with them.
struct Reader<'a> {
    variables: &'a BTreeMap<String, String>,
    problems: Vec<ConfigProblem>,
    shown: BTreeMap<&'static str, Shown>,
}

impl Reader<'_> {
    fn text(&mut self, variable: &'static str, default: &str) -> String {
        let given = self.variables.get(variable).filter(|value| !value.is_empty());
        let value = given.map_or(default, String::as_str).to_owned();
        let from = if given.is_some() { "environment" } else { "default" };
        self.shown.insert(variable, Shown { value: without_secrets(variable, &value), from });
        value
    }

    fn parsed<T>(&mut self, variable: &'static str, default: &str, fallback: T) -> T
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let text = self.text(variable, default);
        text.parse().unwrap_or_else(|error| {
            self.problem(variable, format!("{text:?} {}", phrase(&error)));
            fallback
        })
    }

    fn within(&mut self, variable: &'static str, default: u64, min: u64, max: u64) -> u64 {
        let value = self.parsed(variable, &default.to_string(), default);
        if !(min..=max).contains(&value) {
            self.problem(variable, format!("{value} must be {min}-{max}"));
        }
        value
    }

    fn problem(&mut self, variable: &'static str, detail: String) {
        self.problems.push(ConfigProblem { variable, detail });
    }
}

fn phrase(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    if text.starts_with("must") { text } else { format!("is not usable: {text}") }
}

/// Passwords don't belong on a screen.
fn without_secrets(variable: &str, value: &str) -> String {
    if variable.contains("PASSWORD") && !value.is_empty() {
        return "***".to_owned();
    }
    match (value.find("://"), value.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme + 3 => {
            let credentials = &value[scheme + 3..at];
            let user = credentials.split(':').next().unwrap_or_default();
            format!("{}://{user}:***{}", &value[..scheme], &value[at..])
        }
        _ => value.to_owned(),
    }
}

impl Config {
    /// Reads `variables`; on mistakes returns all of them.
    pub(crate) fn read(variables: &BTreeMap<String, String>) -> Result<Self, Vec<ConfigProblem>> {
        let mut reader = Reader { variables, problems: Vec::new(), shown: BTreeMap::new() };
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let kafka = kafka_client(&mut reader);
        let prefix = reader.text("PULSEGATE_TOPIC_PREFIX", "pulsegate.");
        if prefix.len() > 100 || !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
            reader.problem("PULSEGATE_TOPIC_PREFIX", format!("{prefix:?} must be at most 100 of A-Z a-z 0-9 . _ -"));
        }
        let partitions = reader.within("PULSEGATE_PARTITIONS", 12, 1, 10_000);
        let database_url =
            reader.text("PULSEGATE_DATABASE_URL", "postgres://pulsegate:pulsegate@127.0.0.1:5432/pulsegate");
        if let Err(error) = sqlx::postgres::PgConnectOptions::from_str(&database_url) {
            reader.problem("PULSEGATE_DATABASE_URL", phrase(&error));
        }
        let database_connections = reader.within("PULSEGATE_DATABASE_CONNECTIONS", 16, 2, 500);
        let listen = reader.parsed("PULSEGATE_LISTEN", "127.0.0.1:8080", loopback(8080));
        let admin_listen = reader.parsed("PULSEGATE_ADMIN_LISTEN", "127.0.0.1:9090", loopback(9090));
        if listen == admin_listen && listen.port() != 0 {
            reader.problem("PULSEGATE_ADMIN_LISTEN", format!("{admin_listen} must not be PULSEGATE_LISTEN's address"));
        }
        let log = reader.text("PULSEGATE_LOG", "info");
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&log) {
            reader.problem("PULSEGATE_LOG", phrase(&error));
        }
        let log_format = reader.parsed("PULSEGATE_LOG_FORMAT", "text", LogFormat::Text);
        let cors_origins = reader.parsed("PULSEGATE_CORS_ORIGINS", "", CorsOrigins::Own);
        let view_wait = Duration::from_millis(reader.within("PULSEGATE_VIEW_WAIT_MS", 500, 1, 10_000));
        let ack_timeout = Duration::from_millis(reader.within("PULSEGATE_ACK_TIMEOUT_MS", 5_000, 100, 60_000));
        let shutdown_grace = Duration::from_millis(reader.within("PULSEGATE_SHUTDOWN_GRACE_MS", 20_000, 100, 600_000));
        let keep_days = reader.within("PULSEGATE_CLICKSTREAM_KEEP_DAYS", 400, 0, 36_500);
        if !reader.problems.is_empty() {
            return Err(reader.problems);
        }
        Ok(Self {
            kafka,
            topics: TopicNames::new(prefix),
            // Bounded above, so that neither narrows.
            partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
            database_url,
            database_connections: u32::try_from(database_connections).unwrap_or(u32::MAX),
            listen,
            admin_listen,
            log,
            log_format,
            cors_origins,
            view_wait,
            ack_timeout,
            shutdown_grace,
            clickstream_keep_days: u32::try_from(keep_days).ok().filter(|days| *days > 0),
            shown: reader.shown,
        })
    }

    /// Every setting with where it comes from, without secrets.
    pub(crate) const fn shown(&self) -> &BTreeMap<&'static str, Shown> {
        &self.shown
    }
}

fn kafka_client(reader: &mut Reader<'_>) -> ClientConfig {
    const PROTOCOLS: [&str; 4] = ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];
    let mut client = ClientConfig::new();
    client.set("client.id", "pulsegate");
    client.set("bootstrap.servers", reader.text("PULSEGATE_KAFKA_BOOTSTRAP", "127.0.0.1:9092"));
    let protocol = reader.text("PULSEGATE_KAFKA_SECURITY_PROTOCOL", "plaintext").to_lowercase();
    if !PROTOCOLS.contains(&protocol.as_str()) {
        reader.problem(
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
                reader.problem(variable, format!("must be set with {protocol}"));
            }
            client.set(property, value);
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let variables = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::read(&variables).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nothing_set_is_a_laptop() {
        let config = read(&[]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.topics.prefix(), "pulsegate.");
        assert_eq!(config.partitions, 12);
        assert_eq!(config.clickstream_keep_days, Some(400));
        assert_eq!(read(&[("PULSEGATE_CLICKSTREAM_KEEP_DAYS", "0")]).unwrap().clickstream_keep_days, None);
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let problems = read(&[
            ("PULSEGATE_LISTEN", "nowhere"),
            ("PULSEGATE_PARTITIONS", "0"),
            ("PULSEGATE_LOG_FORMAT", "xml"),
            ("PULSEGATE_KAFKA_SECURITY_PROTOCOL", "sasl_ssl"),
            ("PULSEGATE_DATABASE_URL", "not a url"),
        ])
        .unwrap_err();
        let named: Vec<_> = problems.iter().filter_map(|problem| problem.split(':').next()).collect();
        assert_eq!(
            named,
            [
                "PULSEGATE_KAFKA_USERNAME",
                "PULSEGATE_KAFKA_PASSWORD",
                "PULSEGATE_PARTITIONS",
                "PULSEGATE_DATABASE_URL",
                "PULSEGATE_LISTEN",
                "PULSEGATE_LOG_FORMAT"
            ]
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = read(&[("PULSEGATE_DATABASE_URL", "postgres://user:secret@db/x")]).unwrap();
        assert_eq!(config.shown()["PULSEGATE_DATABASE_URL"].value, "postgres://user:***@db/x");
    }
}
