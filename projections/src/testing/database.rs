//! A database for one test, made before it and removed after it, also after a failure.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use futures_util::FutureExt as _;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use uuid::Uuid;

use crate::registry::{Registered, migrate_with};

/// How often a database that is still in use is tried to be removed, a second apart.
const DROP_TRIES_MAX: u32 = 30;

/// Runs a test on an empty database with the tables of `registered`, beside the one that `PULSEGATE_DATABASE_URL` or
/// `DATABASE_URL` names. Its user must be allowed to make databases.
///
/// # Panics
/// If there is no such server: this is for tests.
pub async fn on_a_database<R>(registered: &[&'static Registered], test: impl AsyncFnOnce(&PgPool) -> R) -> R {
    let named = ["PULSEGATE_DATABASE_URL", "DATABASE_URL"].into_iter().find_map(|name| std::env::var(name).ok());
    let url = named.expect("PULSEGATE_DATABASE_URL names a PostgreSQL server for tests: `make services` starts one");
    let options: PgConnectOptions = url.parse().expect("PULSEGATE_DATABASE_URL is a URL");
    // Ours alone: nothing that anybody else could mean.
    let name = format!("pulsegate_test_{}", Uuid::now_v7().simple());
    let mut admin = PgConnection::connect_with(&options).await.expect("PostgreSQL answers");
    sqlx::query(AssertSqlSafe(format!("create database {name}")))
        .execute(&mut admin)
        .await
        .expect("a database is made");
    let pool = PgPoolOptions::new().max_connections(8).connect_lazy_with(options.database(&name));
    let outcome = AssertUnwindSafe(async {
        migrate_with(&pool, registered).await.expect("the tables are made");
        test(&pool).await
    })
    .catch_unwind()
    .await;
    pool.close().await;
    // An autovacuum worker, which isn't ours to end, may be in there for a moment.
    let mut tries = 0;
    while let Err(error) =
        sqlx::query(AssertSqlSafe(format!("drop database {name} with (force)"))).execute(&mut admin).await
    {
        tries += 1;
        assert!(tries < DROP_TRIES_MAX, "{error}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}
