//! Keys in the database.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use thiserror::Error;

use super::{Drawn, SecretHash, Server};
use crate::scope::{Scope, Scopes};

/// Most keys that there may be: a node has all of them in memory.
const KEYS_MAX: i64 = 10_000;

/// Why keys could not be read or changed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database doesn't answer, or doesn't let this user.
    #[error("keys in the database: {0}")]
    Database(#[from] sqlx::Error),
    /// No such key.
    #[error("there is no key {0} that isn't revoked")]
    Unknown(String),
    /// Too many.
    #[error("there may be {KEYS_MAX} keys")]
    TooMany,
    /// What was drawn is already another key's.
    #[error("there is a key {0} already")]
    Taken(String),
}

/// A key as it was made known.
#[derive(Clone, Debug, Serialize)]
pub struct Made {
    /// Its id.
    pub id: String,
    /// When it runs out.
    pub expires_at: Option<DateTime<Utc>>,
    /// Until when its last secret is good as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_until: Option<DateTime<Utc>>,
}

/// A key as it is listed.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// What its maker called it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
    /// When it runs out.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to the hour.
    pub last_used_at: Option<DateTime<Utc>>,
    /// Until when a secret from before its rotation is good.
    pub old_until: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    scopes: Vec<String>,
    expires_at: Option<DateTime<Utc>>,
    secret_sha256: Vec<u8>,
    old_sha256: Option<Vec<u8>>,
    old_until: Option<DateTime<Utc>>,
}

/// Makes a key known that was [drawn](super::draw).
pub async fn create(
    pool: &PgPool,
    drawn: &Drawn,
    name: &str,
    scopes: Scopes,
    life: Option<Duration>,
    by: &str,
) -> Result<Made, StoreError> {
    let expires_at = life.map(|life| Utc::now() + life);
    let scopes: Vec<_> = scopes.iter().map(Scope::as_str).collect();
    let made = sqlx::query(
        "insert into pulsegate.api_keys (id, name, scopes, secret_sha256, expires_at, created_by)
         select $1, $2, $3, $4, $5, $6
         where (select count(*) from pulsegate.api_keys where revoked_at is null) < $7",
    )
    .bind(&drawn.id)
    .bind(name)
    .bind(scopes)
    .bind(drawn.hash.as_slice())
    .bind(expires_at)
    .bind(by)
    .bind(KEYS_MAX)
    .execute(pool)
    .await
    .map_err(|error| match error.as_database_error() {
        Some(known) if known.is_unique_violation() => StoreError::Taken(drawn.id.clone()),
        _ => error.into(),
    })?;
    if made.rows_affected() == 0 {
        return Err(StoreError::TooMany);
    }
    Ok(Made { id: drawn.id.clone(), expires_at, old_until: None })
}

/// Gives the key that was drawn for its secret; the one before stays good for as long as `keep` says.
pub async fn rotate(pool: &PgPool, drawn: &Drawn, keep: Duration) -> Result<Made, StoreError> {
    let old_until = Utc::now() + keep;
    let expires_at: Option<(Option<DateTime<Utc>>,)> = sqlx::query_as(
        "update pulsegate.api_keys
         set old_sha256 = secret_sha256, old_until = $2, secret_sha256 = $3
         where id = $1 and revoked_at is null
         returning expires_at",
    )
    .bind(&drawn.id)
    .bind(old_until)
    .bind(drawn.hash.as_slice())
    .fetch_optional(pool)
    .await?;
    let (expires_at,) = expires_at.ok_or_else(|| StoreError::Unknown(drawn.id.clone()))?;
    Ok(Made { id: drawn.id.clone(), expires_at, old_until: Some(old_until) })
}

/// Ends a key.
pub async fn revoke(pool: &PgPool, id: &str) -> Result<(), StoreError> {
    let revoked = sqlx::query("update pulsegate.api_keys set revoked_at = now() where id = $1 and revoked_at is null")
        .bind(id)
        .execute(pool)
        .await?;
    if revoked.rows_affected() == 0 { Err(StoreError::Unknown(id.to_owned())) } else { Ok(()) }
}

/// Every key, the newest first; also those that were revoked.
pub async fn list(pool: &PgPool) -> Result<Vec<Listed>, StoreError> {
    let listed = sqlx::query_as(
        "select id, name, scopes, created_at, created_by, expires_at, last_used_at,
                case when old_until > now() then old_until end as old_until, revoked_at
         from pulsegate.api_keys order by created_at desc, id limit $1",
    )
    .bind(2 * KEYS_MAX)
    .fetch_all(pool)
    .await?;
    Ok(listed)
}

/// Every key that is good now.
pub(super) async fn read(pool: &PgPool) -> Result<HashMap<String, Arc<Server>>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(
        "select id, name, scopes, expires_at, secret_sha256, old_sha256, old_until
         from pulsegate.api_keys
         where revoked_at is null and (expires_at is null or expires_at > now())
         limit $1",
    )
    .bind(KEYS_MAX)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id.clone(), Arc::new(Server::from(row)))).collect())
}

/// Notes that keys were used, to the hour.
pub(super) async fn note_use(pool: &PgPool, ids: &[String]) -> Result<(), StoreError> {
    sqlx::query(
        "update pulsegate.api_keys set last_used_at = date_trunc('hour', now())
         where id = any($1) and (last_used_at is null or last_used_at < date_trunc('hour', now()))",
    )
    .bind(ids)
    .execute(pool)
    .await?;
    Ok(())
}

impl From<Row> for Server {
    fn from(row: Row) -> Self {
        let hash = |bytes: &[u8]| SecretHash::try_from(bytes).ok();
        let newest = hash(&row.secret_sha256).map(|hash| (hash, None));
        let old = row.old_sha256.as_deref().and_then(hash).zip(row.old_until);
        let old = old.map(|(hash, until)| (hash, Some(until.timestamp())));
        Self {
            id: row.id,
            name: row.name,
            // A scope of a later version is none here.
            scopes: row.scopes.iter().filter_map(|scope| scope.parse::<Scope>().ok()).collect(),
            expires_at: row.expires_at.map(|end| end.timestamp()),
            secrets: newest.into_iter().chain(old).collect(),
            used: AtomicBool::new(false),
        }
    }
}
