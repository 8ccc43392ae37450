//! The settings that every process has.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use pulsegate_access::kafka::{self as access, MECHANISM};
use pulsegate_access::postgres::Login;
use pulsegate_domain::topic::TopicNames;
use pulsegate_privacy::MasterKey;
use pulsegate_projections::reader::ReaderSettings;
use pulsegate_traces::Settings as TracesSettings;
use rdkafka::ClientConfig;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::nodelay;
use crate::traces;
use crate::variables::{Reader, phrase};

/// How long a connection to `PostgreSQL` may take.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a signed password is renewed: well within its life, with time for a few attempts.
const RENEW_PASSWORD: Duration = Duration::from_mins(5);

/// How this process shows the database who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DatabaseAuth {
    /// The password of the URL, if it has one.
    Password,
    /// A password signed by the process's role, good for a quarter of an hour.
    Role,
}

impl FromStr for DatabaseAuth {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "password" => Ok(Self::Password),
            "aws_iam" => Ok(Self::Role),
            _ => Err("must be password or aws_iam"),
        }
    }
}

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
    /// How its user signs in, where that is by the process's role.
    pub database_login: Option<Login>,
    /// Most connections of this process to it.
    pub database_connections: u32,
    /// Under which the keys of accounts are kept; without one nothing is sealed.
    pub privacy_key: Option<MasterKey>,
    /// Where health and metrics are served.
    pub admin_listen: SocketAddr,
    /// What is logged: a filter of `tracing`.
    pub log: String,
    /// How.
    pub log_format: LogFormat,
    /// What is traced, and where it is told; `None`: nothing.
    pub traces: Option<TracesSettings>,
    /// How long a stop may take.
    pub shutdown_grace: Duration,
}

impl Settings {
    /// Reads them.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let region = reader.text("PULSEGATE_AWS_REGION", "");
        if !region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
            reader.mistake("PULSEGATE_AWS_REGION", format!("{region:?} must be a region, e.g. eu-central-1"));
        }
        let kafka = kafka_client(reader, &region);
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
        let database_login = login(reader, &database_url, region);
        let database_connections = reader.within("PULSEGATE_DATABASE_CONNECTIONS", 16, 2, 500);
        let privacy_key = privacy_key(reader);
        let admin_listen =
            reader.parsed("PULSEGATE_ADMIN_LISTEN", "127.0.0.1:9090", SocketAddr::from(([127, 0, 0, 1], 9090)));
        let log = reader.text("PULSEGATE_LOG", "info");
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&log) {
            reader.mistake("PULSEGATE_LOG", phrase(&error));
        }
        let log_format = reader.parsed("PULSEGATE_LOG_FORMAT", "text", LogFormat::Text);
        let traces = traces::read(reader);
        let shutdown_grace = Duration::from_millis(reader.within("PULSEGATE_SHUTDOWN_GRACE_MS", 20_000, 100, 600_000));
        Self {
            kafka,
            topics: TopicNames::new(prefix),
            // Bounded above, so that neither narrows.
            partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
            database_url,
            database_login,
            database_connections: u32::try_from(database_connections).unwrap_or(u32::MAX),
            privacy_key,
            admin_listen,
            log,
            log_format,
            traces,
            shutdown_grace,
        }
    }

    /// A pool that connects when it is first asked. Where a role signs, it does so here, and again and again on the
    /// runtime.
    pub fn pool(&self) -> Result<PgPool, sqlx::Error> {
        let mut options: PgConnectOptions = self.database_url.parse()?;
        if let Some(login) = &self.database_login {
            let password = login.password().map_err(|error| sqlx::Error::Configuration(error.into()))?;
            options = options.password(&password);
        }
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
        let pool = pool.connect_lazy_with(options.clone());
        if let Some(login) = self.database_login.clone() {
            tokio::spawn(renew_password(pool.clone(), options, move || login.password(), RENEW_PASSWORD));
        }
        Ok(pool)
    }

    /// The reading side's settings.
    #[must_use]
    pub fn reader(&self) -> ReaderSettings {
        ReaderSettings { client: self.kafka.clone(), topics: self.topics.clone(), partitions: self.partitions }
    }
}

/// The key, of which a mistake says nothing: it is a secret.
fn privacy_key(reader: &mut Reader<'_>) -> Option<MasterKey> {
    let text = reader.text("PULSEGATE_PRIVACY_KEY", "");
    if text.is_empty() {
        return None;
    }
    text.parse().map_err(|error| reader.mistake("PULSEGATE_PRIVACY_KEY", phrase(&error))).ok()
}

/// Gives a pool fresh passwords for as long as it is open.
async fn renew_password<E>(
    pool: PgPool,
    options: PgConnectOptions,
    password: impl Fn() -> Result<String, E> + Clone + Send + 'static,
    every: Duration,
) where
    E: std::fmt::Display + Send + 'static,
{
    while !pool.is_closed() {
        tokio::time::sleep(every).await;
        match tokio::task::spawn_blocking(password.clone()).await {
            Ok(Ok(password)) => pool.set_connect_options(options.clone().password(&password)),
            // The last one may still do, and the next attempt comes.
            Ok(Err(error)) => tracing::error!(%error, "the password for the database could not be renewed"),
            Err(error) => tracing::error!(%error, "the password for the database could not be renewed"),
        }
    }
}

/// Who signs in by role, if that is wanted.
fn login(reader: &mut Reader<'_>, url: &str, region: String) -> Option<Login> {
    let auth = reader.parsed("PULSEGATE_DATABASE_AUTH", "password", DatabaseAuth::Password);
    if auth == DatabaseAuth::Password {
        return None;
    }
    if region.is_empty() {
        reader.mistake("PULSEGATE_AWS_REGION", "must be set with PULSEGATE_DATABASE_AUTH=aws_iam".to_owned());
    }
    let options = PgConnectOptions::from_str(url).ok()?;
    Some(Login {
        region,
        host: options.get_host().to_owned(),
        port: options.get_port(),
        user: options.get_username().to_owned(),
    })
}

/// Whom to believe that it is a broker, and what to show one that asks. A file that isn't there is said here: a broker's
/// refusal would say less.
fn certificates(reader: &mut Reader<'_>, client: &mut ClientConfig) {
    let mut is_given = Vec::new();
    for (variable, property) in [
        ("PULSEGATE_KAFKA_CA", "ssl.ca.location"),
        ("PULSEGATE_KAFKA_CERTIFICATE", "ssl.certificate.location"),
        ("PULSEGATE_KAFKA_KEY", "ssl.key.location"),
    ] {
        let path = reader.text(variable, "");
        is_given.push(!path.is_empty());
        if path.is_empty() {
            continue;
        }
        match std::fs::metadata(&path) {
            Ok(_) => drop(client.set(property, path)),
            Err(error) => reader.mistake(variable, format!("{path:?} must be a file: {error}")),
        }
    }
    if is_given[1] != is_given[2] {
        let detail = "must be set with PULSEGATE_KAFKA_KEY, and that with it".to_owned();
        reader.mistake("PULSEGATE_KAFKA_CERTIFICATE", detail);
    }
}

/// How to reach the brokers.
fn kafka_client(reader: &mut Reader<'_>, region: &str) -> ClientConfig {
    const MECHANISMS: [&str; 3] = ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"];
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
    if protocol.ends_with("ssl") {
        certificates(reader, &mut client);
    }
    if protocol.starts_with("sasl") {
        // librdkafka's own default, GSSAPI, is not built in.
        let mechanism = reader.text("PULSEGATE_KAFKA_SASL_MECHANISM", "SCRAM-SHA-512");
        if mechanism == MECHANISM {
            if protocol != "sasl_ssl" {
                let detail = format!("{protocol:?} must be sasl_ssl with {MECHANISM}");
                reader.mistake("PULSEGATE_KAFKA_SECURITY_PROTOCOL", detail);
            }
            if region.is_empty() {
                reader.mistake("PULSEGATE_AWS_REGION", format!("must be set with {MECHANISM}"));
            }
            access::configure(&mut client, region);
            return client;
        }
        if !MECHANISMS.contains(&mechanism.as_str()) {
            let detail = format!("{mechanism:?} must be one of {}, {MECHANISM}", MECHANISMS.join(", "));
            reader.mistake("PULSEGATE_KAFKA_SASL_MECHANISM", detail);
        }
        client.set("sasl.mechanism", mechanism);
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

    fn mistakes(pairs: &[(&str, &str)]) -> Vec<String> {
        let variables = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut reader = Reader::new(&variables);
        Settings::read(&mut reader);
        reader.finish().err().into_iter().flatten().map(|mistake| mistake.to_string()).collect()
    }

    #[test]
    fn a_role_signs_for_a_region_and_has_no_password() {
        let by_role =
            [("PULSEGATE_KAFKA_SASL_MECHANISM", "AWS_MSK_IAM"), ("PULSEGATE_DATABASE_AUTH", "aws_iam")].as_slice();
        assert_eq!(
            mistakes(&[by_role, &[("PULSEGATE_KAFKA_SECURITY_PROTOCOL", "sasl_plaintext")]].concat()),
            [
                "PULSEGATE_KAFKA_SECURITY_PROTOCOL: \"sasl_plaintext\" must be sasl_ssl with AWS_MSK_IAM",
                "PULSEGATE_AWS_REGION: must be set with AWS_MSK_IAM",
                "PULSEGATE_AWS_REGION: must be set with PULSEGATE_DATABASE_AUTH=aws_iam"
            ]
        );
        let complete =
            [by_role, &[("PULSEGATE_KAFKA_SECURITY_PROTOCOL", "sasl_ssl"), ("PULSEGATE_AWS_REGION", "eu-central-1")]]
                .concat();
        assert!(mistakes(&complete).is_empty());
        assert_eq!(mistakes(&[("PULSEGATE_AWS_REGION", "Frankfurt!")]).len(), 1);
        assert_eq!(
            mistakes(&[("PULSEGATE_DATABASE_AUTH", "magic")]),
            ["PULSEGATE_DATABASE_AUTH: \"magic\" must be password or aws_iam"]
        );
    }

    #[test]
    fn the_ways_to_sign_in_to_kafka_are_built_in_and_others_are_named() {
        let native = ClientConfig::new().create_native_config().unwrap();
        let features = native.get("builtin.features").unwrap();
        for feature in ["ssl", "sasl_scram", "sasl_plain", "sasl_oauthbearer"] {
            assert!(features.split(',').any(|has| has == feature), "{feature}: {features}");
        }
        let sasl = ("PULSEGATE_KAFKA_SECURITY_PROTOCOL", "sasl_ssl");
        let whole = [sasl, ("PULSEGATE_KAFKA_USERNAME", "u"), ("PULSEGATE_KAFKA_PASSWORD", "p")];
        let whole = whole.as_slice();
        for mechanism in ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] {
            let pairs = [whole, &[("PULSEGATE_KAFKA_SASL_MECHANISM", mechanism)]].concat();
            let variables = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let settings = Settings::read(&mut Reader::new(&variables));
            // librdkafka takes it with everything that it needs.
            let made: Result<rdkafka::consumer::BaseConsumer, _> = settings.kafka.clone().set("group.id", "g").create();
            assert!(made.is_ok(), "{mechanism}: {:?}", made.err());
        }
        let gssapi = [whole, &[("PULSEGATE_KAFKA_SASL_MECHANISM", "GSSAPI")]].concat();
        assert_eq!(
            mistakes(&gssapi),
            [
                "PULSEGATE_KAFKA_SASL_MECHANISM: \"GSSAPI\" must be one of SCRAM-SHA-512, SCRAM-SHA-256, PLAIN, AWS_MSK_IAM"
            ]
        );
        let missing =
            [whole, &[("PULSEGATE_KAFKA_CA", "/nowhere.pem"), ("PULSEGATE_KAFKA_KEY", "/nowhere.pem")]].concat();
        assert_eq!(mistakes(&missing).len(), 3, "{:?}", mistakes(&missing));
    }

    /// A database that asks for a password, hands on what it is given, and hangs up.
    fn asks_for_passwords() -> (u16, std::sync::mpsc::Receiver<String>) {
        use std::io::{Read as _, Write as _};
        let database = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = database.local_addr().unwrap().port();
        let (given, passwords) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for connection in database.incoming() {
                let mut connection = connection.unwrap();
                let mut message = |tagged: usize| {
                    let mut head = vec![0; tagged + 4];
                    connection.read_exact(&mut head).unwrap();
                    let length = u32::from_be_bytes(head[tagged..].try_into().unwrap());
                    let mut body = vec![0; usize::try_from(length).unwrap() - 4];
                    connection.read_exact(&mut body).unwrap();
                    // AuthenticationCleartextPassword.
                    connection.write_all(b"R\0\0\0\x08\0\0\0\x03").unwrap();
                    String::from_utf8_lossy(&body).trim_end_matches('\0').to_owned()
                };
                message(0);
                if given.send(message(1)).is_err() {
                    return;
                }
            }
        });
        (port, passwords)
    }

    #[tokio::test]
    async fn connections_are_opened_with_the_newest_password() {
        let (port, passwords) = asks_for_passwords();
        let options: PgConnectOptions =
            format!("postgres://u:first@127.0.0.1:{port}/d?sslmode=disable").parse().unwrap();
        let pool = PgPoolOptions::new().connect_lazy_with(options.clone());
        drop(pool.acquire().await);
        assert_eq!(passwords.recv().unwrap(), "first");
        let renewed = || Ok::<_, &str>("second".to_owned());
        let renewing = tokio::spawn(renew_password(pool.clone(), options, renewed, Duration::from_millis(1)));
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        let mut newest = String::new();
        while newest != "second" {
            assert!(tokio::time::Instant::now() < deadline, "still {newest:?}");
            drop(pool.acquire().await);
            newest = passwords.recv().unwrap();
        }
        pool.close().await;
        renewing.await.unwrap();
    }
}
