//! Migrations, and what readers see before and after.

use pulsegate_projections::active_sessions::{self, KnownAccount};
use pulsegate_projections::registry::REGISTERED;
use pulsegate_projections::runner::Position;
use sqlx::AssertSqlSafe;

use crate::services::on_a_database;

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_migrate_at_once_and_again_install_each_version_once() {
    on_a_database(async |pool| {
        let schemas: Vec<_> = REGISTERED.iter().map(|version| format!("{}, {version}", version.name)).collect();
        let drop = format!("drop schema pulsegate, {} cascade; drop table _sqlx_migrations;", schemas.join(", "));
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(pool).await.unwrap();
        let nodes = (0..4).map(|_| pulsegate_projections::migrate(pool));
        for node in futures_util::future::join_all(nodes).await {
            node.unwrap();
        }
        pulsegate_projections::migrate(pool).await.unwrap();
        let installed: Vec<(String, i32, String)> = sqlx::query_as(
            "select name, version, detail from pulsegate.projection_history where what = 'installed' order by id",
        )
        .fetch_all(pool)
        .await
        .unwrap();
        let expected: Vec<_> =
            REGISTERED.iter().map(|version| (version.name.to_owned(), version.version, "live".to_owned())).collect();
        assert_eq!(installed, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_anything_was_folded_nothing_is_known() {
    on_a_database(async |pool| {
        let id = "account-1".parse().unwrap();
        let KnownAccount { account, partition, position } = active_sessions::account(pool, &id).await.unwrap();
        assert!(account.is_empty());
        assert_eq!((partition, position), (None, Position::START));
        assert!(active_sessions::decisions(pool, &id, 10, None).await.unwrap().is_empty());
        let snapshot = active_sessions::load_partitions(pool).await.unwrap();
        assert!(snapshot.partitions.is_empty() && snapshot.sessions.is_empty());
    })
    .await;
}
