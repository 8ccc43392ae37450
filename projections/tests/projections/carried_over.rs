//! Databases that were made before there were builds.

use pulsegate_projections::status;
use sqlx::Row as _;

use crate::services::on_a_database;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_known_of_versions_is_known_of_their_first_builds() {
    on_a_database(async |pool| {
        sqlx::raw_sql("drop schema pulsegate cascade").execute(pool).await.unwrap();
        sqlx::raw_sql(include_str!("../../../migrations/0001_projections.sql")).execute(pool).await.unwrap();
        sqlx::raw_sql(
            "insert into pulsegate.projection_versions (name, version, state, last_error) values
               ('active_sessions', 1, 'live', null), ('active_sessions', 2, 'shadow', 'trouble');
             insert into pulsegate.projection_offsets (name, version, topic, partition, next_offset, clock_ms) values
               ('active_sessions', 1, 'playback', 0, 41, 1790000000000), ('active_sessions', 2, 'playback', 0, 7, 5);
             insert into pulsegate.dead_letters
               (projection, version, topic, partition, log_offset, key, value, error, kind) values
               ('active_sessions', 1, 'playback', 0, 12, 'k', 'v', 'why', 'skipped');
             insert into pulsegate.projection_history (name, version, what) values ('active_sessions', 1, 'installed');",
        )
        .execute(pool)
        .await
        .unwrap();
        sqlx::raw_sql(include_str!("../../../migrations/0002_builds.sql")).execute(pool).await.unwrap();

        // No brokers are needed for this.
        let mut kafka = rdkafka::ClientConfig::new();
        kafka.set("bootstrap.servers", "127.0.0.1:1");
        let topics = pulsegate_domain::topic::TopicNames::new("nowhere.");
        let known = status(pool, &kafka, &topics).await.unwrap();
        let found: Vec<_> = known
            .iter()
            .map(|one| (one.build.as_str(), one.version, one.state.as_str(), one.skipped, one.history.len()))
            .collect();
        assert_eq!(found, [("active_sessions_v1", 1, "live", 1, 1), ("active_sessions_v2", 2, "shadow", 0, 0)]);
        assert_eq!(known[1].last_error.as_deref(), Some("trouble"));
        let live = sqlx::query("select build, next_offset, clock_ms from pulsegate.live_offsets").fetch_all(pool).await.unwrap();
        assert_eq!(live.len(), 1);
        assert_eq!(
            (live[0].get::<String, _>(0), live[0].get::<i64, _>(1), live[0].get::<i64, _>(2)),
            ("active_sessions_v1".to_owned(), 41, 1_790_000_000_000)
        );
    })
    .await;
}
