//! How the database's schema compares with what this program needs.

use std::collections::BTreeMap;

use sqlx::PgPool;

use super::install::SHARED;
use super::{REGISTERED, Registered};

/// How the database's schema compares with what this program needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaState {
    /// Migrations of this program that the database lacks.
    pub missing: Vec<String>,
    /// Migrations that the database has and that this program doesn't know: it is older than the database.
    pub unknown: Vec<i64>,
    /// Migrations that went otherwise than this program would do them, or broke off.
    pub differing: Vec<String>,
    /// Projections whose live build is of another version than this program folds, as `name: live v1, program v2`.
    pub versions: Vec<String>,
}

impl SchemaState {
    /// Whether a program may work on it.
    #[must_use]
    pub const fn is_as_wanted(&self) -> bool {
        self.missing.is_empty() && self.unknown.is_empty() && self.differing.is_empty() && self.versions.is_empty()
    }
}

/// Compares them.
pub async fn schema(pool: &PgPool) -> Result<SchemaState, sqlx::Error> {
    let is_there = sqlx::query_scalar::<_, bool>("select to_regclass('public._sqlx_migrations') is not null")
        .fetch_one(pool)
        .await?;
    let mut applied: BTreeMap<i64, (Vec<u8>, bool)> = BTreeMap::new();
    if is_there {
        let rows = sqlx::query_as::<_, (i64, Vec<u8>, bool)>(
            "select version, checksum, success from public._sqlx_migrations order by version",
        )
        .fetch_all(pool)
        .await?;
        applied.extend(rows.into_iter().map(|(version, checksum, success)| (version, (checksum, success))));
    }
    let mut state = SchemaState::default();
    for migration in SHARED.iter() {
        let name = format!("{:04} {}", migration.version, migration.description);
        match applied.remove(&migration.version) {
            None => state.missing.push(name),
            Some((_, false)) => state.differing.push(format!("{name} broke off")),
            Some((checksum, true)) if checksum != *migration.checksum => state.differing.push(name),
            Some(_) => {}
        }
    }
    state.unknown = applied.into_keys().collect();
    if state.missing.is_empty() {
        let live = sqlx::query_as::<_, (String, i32)>(
            "select name, version from pulsegate.projection_builds where state = 'live' order by name",
        )
        .fetch_all(pool)
        .await?;
        state.versions = REGISTERED.iter().filter_map(|registered| otherwise(registered, &live)).collect();
    }
    Ok(state)
}

fn otherwise(registered: &Registered, live: &[(String, i32)]) -> Option<String> {
    let Registered { name, version, .. } = registered;
    match live.iter().find(|(known, _)| known == name) {
        None => Some(format!("{name}: no build is live")),
        Some((_, live)) if live != version => Some(format!("{name}: live v{live}, program v{version}")),
        Some(_) => None,
    }
}
