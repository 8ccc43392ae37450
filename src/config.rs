//! Configuration: `PULSEGATE_…` variables, read once, every mistake named at once.

mod callers;
mod server;
mod sign_in;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use pulsegate_api::CorsOrigins;
use pulsegate_service::settings::Settings;
use pulsegate_service::variables::{AllShown, Mistake, Reader};
use pulsegate_write_side::adapter::Mapping;

pub(crate) use self::callers::CallersConfig;
pub(crate) use self::server::ServerConfig;

/// Variables that a laptop's scripts and tests read, and nothing of ours.
const OF_SCRIPTS: [&str; 11] = [
    "PULSEGATE_BENCH_EVENTS",
    "PULSEGATE_BENCH_PLAYS",
    "PULSEGATE_BINARY",
    "PULSEGATE_KAFKA_ADVERTISED_PORT",
    "PULSEGATE_KAFKA_CONTROLLER_PORT",
    "PULSEGATE_KAFKA_JVM",
    "PULSEGATE_KAFKA_PORT",
    "PULSEGATE_POSTGRES_PORT",
    "PULSEGATE_RUN_DIR",
    "PULSEGATE_SERVICES_TLS",
    "PULSEGATE_AWS_TOOLS",
];

/// What is in force.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    process: Settings,
    pub(crate) listen: SocketAddr,
    /// How nodes and partitions belong together.
    pub(crate) cluster: ClusterMode,
    /// Where other nodes reach this one, which is its name as well.
    pub(crate) advertise: String,
    /// Who may call.
    pub(crate) callers: CallersConfig,
    /// How they are connected.
    pub(crate) server: ServerConfig,
    pub(crate) cors_origins: CorsOrigins,
    pub(crate) view_wait: Duration,
    pub(crate) ack_timeout: Duration,
    /// How many days of raw clickstream events are kept; `None`: all.
    pub(crate) clickstream_keep_days: Option<u32>,
    /// Where licence servers and logs say what a signal needs.
    pub(crate) signals_mapping: Arc<Mapping>,
    shown: AllShown,
}

/// How nodes and partitions belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClusterMode {
    /// Each node folds every partition, and knows of no other.
    Whole,
    /// Each partition has an owner.
    Owned,
}

impl FromStr for ClusterMode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "whole" => Ok(Self::Whole),
            "owned" => Ok(Self::Owned),
            _ => Err("must be whole or owned"),
        }
    }
}

/// What every process has, this one has too.
impl Deref for Config {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.process
    }
}

impl Config {
    /// Reads `variables`; on mistakes returns all of them.
    pub(crate) fn read(variables: &BTreeMap<String, String>) -> Result<Self, Vec<Mistake>> {
        let mut reader = Reader::new(variables);
        let process = Settings::read(&mut reader);
        let listen = reader.parsed("PULSEGATE_LISTEN", "127.0.0.1:8080", SocketAddr::from(([127, 0, 0, 1], 8080)));
        let admin_listen = process.admin_listen;
        if listen == admin_listen && listen.port() != 0 {
            reader.mistake("PULSEGATE_ADMIN_LISTEN", format!("{admin_listen} must not be PULSEGATE_LISTEN's address"));
        }
        let cluster = reader.parsed("PULSEGATE_CLUSTER", "whole", ClusterMode::Whole);
        let advertise = reader.text("PULSEGATE_ADVERTISE", &listen.to_string());
        let authority = advertise.parse::<http::uri::Authority>().ok();
        if authority.is_none_or(|authority| authority.port_u16().is_none() || advertise.contains('@')) {
            reader.mistake("PULSEGATE_ADVERTISE", format!("{advertise:?} must be host:port"));
        } else if cluster == ClusterMode::Owned && is_nowhere(&advertise) {
            let detail = format!("{advertise} must be an address at which other nodes reach this one");
            reader.mistake("PULSEGATE_ADVERTISE", detail);
        }
        let callers = CallersConfig::read(&mut reader, cluster);
        let server = ServerConfig::read(&mut reader, cluster, callers.access, callers.proxies);
        let cors_origins = reader.parsed("PULSEGATE_CORS_ORIGINS", "", CorsOrigins::Own);
        let view_wait = Duration::from_millis(reader.within("PULSEGATE_VIEW_WAIT_MS", 500, 1, 10_000));
        let ack_timeout = Duration::from_millis(reader.within("PULSEGATE_ACK_TIMEOUT_MS", 5_000, 100, 60_000));
        let keep_days = reader.within("PULSEGATE_CLICKSTREAM_KEEP_DAYS", 400, 0, 36_500);
        let clickstream_keep_days = u32::try_from(keep_days).ok().filter(|days| *days > 0);
        let MappingFile(signals_mapping) = reader.parsed("PULSEGATE_SIGNALS_MAPPING", "", MappingFile::default());
        let shown = reader.finish()?;
        Ok(Self {
            process,
            listen,
            cluster,
            advertise,
            callers,
            server,
            cors_origins,
            view_wait,
            ack_timeout,
            clickstream_keep_days,
            signals_mapping,
            shown,
        })
    }

    /// Every setting with where it comes from, without secrets.
    pub(crate) const fn shown(&self) -> &AllShown {
        &self.shown
    }

    /// Those of `variables` that nothing reads: misspelt, or of another version.
    pub(crate) fn unread<'a>(&self, variables: &'a BTreeMap<String, String>) -> Vec<&'a str> {
        let names = variables.keys().map(String::as_str);
        names.filter(|name| !self.shown.contains_key(*name) && !OF_SCRIPTS.contains(name)).collect()
    }
}

/// Whether an address says only that a process listens on every interface, or on a port that nobody knows yet.
fn is_nowhere(address: &str) -> bool {
    address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_unspecified() || address.port() == 0)
}

/// A mapping, read from the file of this name.
#[derive(Default)]
struct MappingFile(Arc<Mapping>);

impl FromStr for MappingFile {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, String> {
        if path.is_empty() {
            return Ok(Self::default());
        }
        let file = std::fs::read(path).map_err(|error| error.to_string())?;
        Mapping::parse(&file).map(|mapping| Self(Arc::new(mapping))).map_err(|error| error.to_string())
    }
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
            ("PULSEGATE_SIGNALS_MAPPING", "/nowhere/mapping.json"),
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
                "PULSEGATE_LOG_FORMAT",
                "PULSEGATE_LISTEN",
                "PULSEGATE_SIGNALS_MAPPING"
            ]
        );
    }

    #[test]
    fn what_nothing_reads_is_told() {
        let names = ["PULSEGATE_LISTEN", "PULSEGATE_LISTN", "PULSEGATE_KAFKA_PASSWORD", "PULSEGATE_RUN_DIR"];
        let given = names.map(|name| (name.to_owned(), String::new())).into();
        // A password is of no use where nobody is asked for one.
        assert_eq!(read(&[]).unwrap().unread(&given), ["PULSEGATE_KAFKA_PASSWORD", "PULSEGATE_LISTN"]);
    }

    #[test]
    fn a_node_of_several_says_where_it_is_reached() {
        assert_eq!(read(&[]).unwrap().advertise, "127.0.0.1:8080");
        let owned = ("PULSEGATE_CLUSTER", "owned");
        assert_eq!(read(&[owned, ("PULSEGATE_ADVERTISE", "pulsegate-2:8080")]).unwrap().cluster, ClusterMode::Owned);
        let mistake = |pairs: &[(&str, &str)]| read(pairs).unwrap_err().join("; ");
        for bad in ["0.0.0.0:8080", "[::]:8080", "10.0.0.1:0"] {
            let problem = mistake(&[owned, ("PULSEGATE_ADVERTISE", bad)]);
            assert!(problem.starts_with("PULSEGATE_ADVERTISE") && problem.contains("other nodes reach"), "{problem}");
        }
        for bad in ["http://a:1", "a", "u@a:1", "a:1/x"] {
            assert!(mistake(&[("PULSEGATE_ADVERTISE", bad)]).contains("must be host:port"), "{bad}");
        }
        assert!(mistake(&[owned, ("PULSEGATE_LISTEN", "0.0.0.0:80")]).contains("PULSEGATE_ADVERTISE"));
        assert!(mistake(&[("PULSEGATE_CLUSTER", "some")]).contains("whole or owned"));
    }

    #[test]
    fn a_wall_is_whole_or_there_is_none() {
        use super::callers::Access;
        assert_eq!(read(&[]).unwrap().callers.access, Access::Open);
        let url = ("PULSEGATE_TOKENS_JWKS", "https://login.example/jwks.json");
        assert_eq!(read(&[url]).unwrap().callers.access, Access::Closed);
        assert_eq!(read(&[("PULSEGATE_ACCESS", "closed")]).unwrap().callers.access, Access::Closed);
        let owned = [("PULSEGATE_CLUSTER", "owned"), ("PULSEGATE_ADVERTISE", "a:1"), url];
        let known = [owned.as_slice(), &[("PULSEGATE_NODE_SECRET", "sixteen-letters.")]].concat();
        assert_eq!(read(&known).unwrap().callers.node_secret(), Some("sixteen-letters."));
        assert_eq!(read(&known).unwrap().shown()["PULSEGATE_NODE_SECRET"].value, "***");
        for (wrong, variable) in [
            (vec![url, ("PULSEGATE_ACCESS", "open")], "PULSEGATE_ACCESS"),
            (vec![("PULSEGATE_ACCESS", "ajar")], "PULSEGATE_ACCESS"),
            (vec![("PULSEGATE_TOKENS_JWKS", "/nowhere/jwks.json")], "PULSEGATE_TOKENS_JWKS"),
            (vec![("PULSEGATE_TOKENS_JWKS", "http://login.example/jwks")], "PULSEGATE_TOKENS_JWKS"),
            (owned.to_vec(), "PULSEGATE_NODE_SECRET"),
            (vec![("PULSEGATE_LIMIT_ACCOUNT", "-1")], "PULSEGATE_LIMIT_ACCOUNT"),
        ] {
            let mistakes = read(&wrong).unwrap_err();
            assert!(mistakes.iter().all(|mistake| mistake.starts_with(variable)), "{wrong:?}: {mistakes:?}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = read(&[("PULSEGATE_DATABASE_URL", "postgres://user:secret@db/x")]).unwrap();
        assert_eq!(config.shown()["PULSEGATE_DATABASE_URL"].value, "postgres://user:***@db/x");
    }
}
