//! The report of concurrency: what any instant says, and what was decided.

use std::collections::{BTreeMap, BTreeSet};

use pulsegate_projections::clickstream::Resolution;
use pulsegate_projections::concurrency::{self, Per, Question};

use crate::desk::at_a_desk;
use crate::viewers::Viewers;

#[tokio::test(flavor = "multi_thread")]
async fn the_most_streams_at_once_are_those_that_any_instant_has() {
    at_a_desk(async |desk| {
        desk.append(&Viewers::new(21, 5).events(1_200)).await;
        desk.folded().await;
        let pool = &desk.bench.pool;
        let intervals: Vec<(String, i64, i64)> = sqlx::query_as(
            "select device_class, lower(one), upper(one) from licensing.facts, unnest(intervals) as one",
        )
        .fetch_all(pool)
        .await
        .unwrap();
        let refused: i64 =
            sqlx::query_scalar("select count(*) from active_sessions.decisions where decision = 'refuse'")
                .fetch_one(pool)
                .await
                .unwrap();
        for (by, bucket_ms) in
            [(Resolution::Minute, 60_000), (Resolution::Hour, 3_600_000), (Resolution::Day, 86_400_000)]
        {
            let question = Question::of("2026-Q4".parse().unwrap(), by, Per::DeviceClass);
            let report = concurrency::concurrency(pool, &question).await.unwrap();
            // There can be more streams than before only where one begins, and as many as before where a bucket does.
            let mut instants = BTreeSet::new();
            for (class, from, to) in &intervals {
                let buckets = from / bucket_ms..=(to - 1) / bucket_ms;
                instants.extend(buckets.map(|bucket| (class, (bucket * bucket_ms).max(*from))));
            }
            let mut naive: BTreeMap<(String, i64), i64> = BTreeMap::new();
            for (class, at) in instants {
                let live = |one: &&(String, i64, i64)| one.0 == *class && one.1 <= at && at < one.2;
                let level = i64::try_from(intervals.iter().filter(live).count()).unwrap();
                let most = naive.entry((class.clone(), at / bucket_ms)).or_default();
                *most = (*most).max(level);
            }
            let told: BTreeMap<_, _> = report
                .streams
                .iter()
                .map(|one| ((one.of.clone(), one.at.timestamp_millis() / bucket_ms), one.peak))
                .collect();
            assert_eq!(told, naive, "by {by:?}");
            assert!(told.values().any(|peak| *peak > 1), "nobody watched beside another");
            assert_eq!(report.blocked.attempts, refused);
            assert_eq!(report.blocked.by_device_class.iter().map(|one| one.attempts).sum::<i64>(), refused);
            assert!(refused > 0 && report.blocked.let_in <= report.blocked.sessions && !report.accounts.is_empty());
        }
    })
    .await;
}
