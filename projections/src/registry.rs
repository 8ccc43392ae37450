//! Every projection there is, and how its tables come to be.

mod install;

use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use pulsegate_domain::topic::{Topic, TopicNames};
use rdkafka::ClientConfig;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::active_sessions::{self, ActiveSessions, PolicySource};
use crate::runner::{RunError, Runner};

pub use install::{MigrateError, migrate};

/// One version of a projection, as the code knows it.
#[derive(Clone, Copy, Debug)]
pub struct Registered {
    /// Its name, which is also the schema of its views: a plain identifier.
    pub name: &'static str,
    /// Its version; a change of what its rows mean is a new one.
    pub version: i32,
    /// What it folds.
    pub topics: &'static [Topic],
    /// Makes its tables and indexes, named without a schema.
    pub ddl: &'static str,
    /// The tables that readers see as views.
    pub tables: &'static [&'static str],
    /// Runs it.
    pub run: fn(Dependencies, CancellationToken) -> BoxFuture<'static, Result<(), RunError>>,
}

impl Registered {
    /// The schema of this version's tables.
    #[must_use]
    pub fn schema(&self) -> String {
        format!("{}_v{}", self.name, self.version)
    }
}

impl fmt::Display for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_v{}", self.name, self.version)
    }
}

/// What a projection may need to run.
#[derive(Clone)]
pub struct Dependencies {
    /// The read models' database.
    pub pool: PgPool,
    /// The brokers.
    pub kafka: ClientConfig,
    /// The deployment's topics.
    pub topics: TopicNames,
    /// The policies of the catalog.
    pub policies: Arc<dyn PolicySource>,
}

/// Every projection; a new one adds its line.
pub static REGISTERED: &[&Registered] = &[&active_sessions::REGISTERED];

/// The projection of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Registered> {
    REGISTERED.iter().copied().find(|registered| registered.name == name)
}

pub(crate) fn run_active_sessions(
    with: Dependencies,
    shutdown: CancellationToken,
) -> BoxFuture<'static, Result<(), RunError>> {
    Runner::new(ActiveSessions::new(with.policies), with.pool, with.kafka, with.topics).run(shutdown).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_identifiers_and_differ() {
        let plain = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.len() <= 40
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        for (index, registered) in REGISTERED.iter().enumerate() {
            assert!(plain(registered.name), "{registered}");
            assert!(registered.version > 0, "{registered}");
            assert!(registered.tables.iter().all(|table| plain(table)), "{registered}");
            assert!(REGISTERED[..index].iter().all(|other| other.name != registered.name), "{registered}");
        }
        assert!(find("active_sessions").is_some());
        assert!(find("nonsense").is_none());
    }
}
