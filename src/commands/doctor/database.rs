//! `PostgreSQL`: whether it answers, whether its schema is this program's, how large it is.

use std::time::Duration;

use indicatif::HumanBytes;
use pulsegate_projections::registry::{SchemaState, schema};
use sqlx::PgPool;

use super::finding::Report;
use crate::config::Config;

/// How long it may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// What can be asked of the database afterwards.
#[derive(Clone, Copy, Default)]
pub(super) struct Database {
    /// It answers.
    pub(super) is_reachable: bool,
    /// Its tables are there.
    pub(super) is_usable: bool,
}

#[derive(sqlx::FromRow)]
struct Figures {
    name: String,
    bytes: i64,
    connections_max: i32,
    read_only: bool,
}

/// Looks.
pub(super) async fn look(config: &Config, pool: &PgPool, report: &mut Report) -> Database {
    let figures = sqlx::query_as::<_, Figures>(
        "select current_database()::text as name, pg_database_size(current_database()) as bytes,
                current_setting('max_connections')::int as connections_max,
                current_setting('transaction_read_only')::bool as read_only",
    )
    .fetch_one(pool);
    let figures = match tokio::time::timeout(ANSWER_MAX, figures).await {
        Ok(Ok(figures)) => figures,
        failed => {
            let why = failed.map_or_else(
                |_| "no answer in time".to_owned(),
                |asked| asked.err().map_or_else(String::new, |error| error.to_string()),
            );
            let fix = "start PostgreSQL, or mend PULSEGATE_DATABASE_URL, its rights or the network";
            report.wrong(
                "database",
                &config.shown()["PULSEGATE_DATABASE_URL"].value,
                format!("does not answer: {why}"),
                fix,
            );
            return Database::default();
        }
    };
    let of = || figures.name.clone();
    if figures.read_only {
        report.wrong(
            "database",
            of(),
            "takes no changes",
            "point PULSEGATE_DATABASE_URL at the primary, not at a replica",
        );
    } else {
        report.ok("database", of(), "answers");
    }
    let wanted = i64::from(config.database_connections);
    if wanted >= i64::from(figures.connections_max) {
        let says =
            format!("this process may open {wanted} connections, and the server takes {}", figures.connections_max);
        report.wrong("connections", of(), says, "lower PULSEGATE_DATABASE_CONNECTIONS, or raise max_connections");
    } else {
        let says = format!("{wanted} for each process, of {} in all", figures.connections_max);
        report.ok("connections", of(), says);
    }
    let size = HumanBytes(u64::try_from(figures.bytes).unwrap_or_default());
    report.ok("disk", of(), format!("the database has {size}; how much is free its machine knows"));
    Database { is_reachable: true, is_usable: is_current(pool, report).await }
}

/// Looks at the schema; says whether the tables of projections can be read.
async fn is_current(pool: &PgPool, report: &mut Report) -> bool {
    let state = match schema(pool).await {
        Ok(state) => state,
        Err(error) => {
            report.wrong(
                "schema",
                "",
                format!("can't be read: {error}"),
                "give the user rights on it: docs/configuration.md",
            );
            return false;
        }
    };
    if state.is_as_wanted() {
        report.ok("schema", "", "as this program needs it");
    }
    let SchemaState { missing, unknown, differing, versions } = state;
    let is_usable = missing.is_empty();
    if !missing.is_empty() {
        report.wrong("schema", "", format!("lacks {}", missing.join(", ")), "`pulsegate migrate`");
    }
    if !unknown.is_empty() {
        let says = format!("has the migrations {unknown:?}, which this program doesn't know: it is the older one");
        report.wrong("schema", "", says, "run the newer program");
    }
    if !differing.is_empty() {
        let says = format!("was made otherwise: {}", differing.join(", "));
        report.wrong(
            "schema",
            "",
            says,
            "run the program that made it; a migration that broke off must be mended by hand",
        );
    }
    for version in versions {
        report.wrong(
            "schema",
            version,
            "readers see another version than this program folds",
            "`pulsegate projection rebuild`, then `switch`",
        );
    }
    is_usable
}
