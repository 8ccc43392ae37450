//! Every projection there is, and how its tables come to be.

mod install;
mod job;
mod schema;

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use pulsegate_domain::topic::{Topic, TopicNames};
use pulsegate_privacy::Forgotten;
use rdkafka::ClientConfig;
use sqlx::{PgConnection, PgPool};

use crate::active_sessions::{self, PolicySource};
use crate::clickstream;
use crate::forget::Gone;
use crate::licensing;
use crate::runner::{Health, RunError};

pub use install::{MigrateError, migrate, migrate_with};
pub use job::Job;
pub use schema::{SchemaState, schema};

/// One version of a projection, as the code knows it.
#[derive(Clone, Copy, Debug)]
pub struct Registered {
    /// Its name, which is also the schema of its views: a plain identifier.
    pub name: &'static str,
    /// Its version; a change of what its rows mean is a new one.
    pub version: i32,
    /// What it folds.
    pub topics: &'static [Topic],
    /// Makes its tables, primary keys, and what else folding needs, all named without a schema.
    pub ddl: &'static str,
    /// Makes the indexes that only readers need: a rebuild makes them when the rows are there.
    pub indexes: &'static str,
    /// The tables that readers see as views. Who reads several in one transaction does so in this order: a
    /// switch locks them in this order, too, and otherwise one would wait for the other.
    pub tables: &'static [&'static str],
    /// What of a table two builds must agree on, where that isn't the whole of it: `(table, a query)`. In the
    /// query `{build}` stands for the schema, and it may `join clocks` with the columns topic, partition,
    /// `next_offset` and clock, which say where its build stands.
    pub compared: &'static [(&'static str, &'static str)],
    /// Takes a forgotten account out of its tables. `None`: no table of it names an account; what was made from one's
    /// records is as if another had made them only once it is built anew.
    pub forget: Option<Forget>,
    /// Does a job with its code: makes the projection from the job's dependencies and hands it to
    /// [`Job::with`].
    pub run: fn(Job) -> BoxFuture<'static, Result<(), RunError>>,
}

/// How a projection takes a forgotten account out of the tables of one build, whose schema comes first; returns how many
/// rows of which table were changed.
pub type Forget =
    for<'t> fn(&'t Gone, &'t mut PgConnection) -> BoxFuture<'t, Result<Vec<(&'static str, u64)>, sqlx::Error>>;

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
    /// Where it says how it goes.
    pub health: Arc<Health>,
    /// Who was forgotten.
    pub forgotten: Forgotten,
}

impl Dependencies {
    /// All that is needed, with a [`Health`] of its own.
    pub fn new(pool: PgPool, kafka: ClientConfig, topics: TopicNames, policies: Arc<dyn PolicySource>) -> Self {
        Self { pool, kafka, topics, policies, health: Arc::default(), forgotten: Forgotten::default() }
    }
}

/// Every projection; a new one adds its line.
pub static REGISTERED: &[&Registered] =
    &[&active_sessions::REGISTERED, &clickstream::REGISTERED, &licensing::REGISTERED];

/// The projection of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Registered> {
    REGISTERED.iter().copied().find(|registered| registered.name == name)
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
            assert!(registered.compared.iter().all(|(table, _)| registered.tables.contains(table)), "{registered}");
            assert!(REGISTERED[..index].iter().all(|other| other.name != registered.name), "{registered}");
        }
        assert!(find("active_sessions").is_some());
        assert!(find("nonsense").is_none());
    }
}
