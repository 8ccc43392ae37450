//! Verify, switch, rollback: while everything goes on, and while many read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pulsegate_projections::active_sessions;
use pulsegate_projections::builds::{self, ControlError, follow};
use pulsegate_projections::registry::migrate_with;
use pulsegate_projections::status;
use pulsegate_projections::switch::{SwitchError, rollback, switch};
use pulsegate_projections::verify::{Difference, verify};
use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::CancellationToken;

use crate::households::{Households, policies};
use crate::rebuilds::{SHADOW, append, dependencies, rebuilt};
use crate::recount::Recount;
use crate::services::{Bench, DEADLINE, on_a_bench};
use crate::tally::{TALLY, Tallied, records};

/// Waits until a build has folded everything that is in the topic now.
async fn stands_at_the_end(bench: &Bench, build: &str) {
    let ends = bench.ends().await;
    let begun = std::time::Instant::now();
    loop {
        let stands = sqlx::query_as::<_, (i32, i64)>(
            "select partition, next_offset from pulsegate.projection_offsets where build = $1",
        )
        .bind(build)
        .fetch_all(&bench.pool)
        .await
        .unwrap();
        if ends.iter().all(|(partition, end)| stands.iter().any(|(found, next)| found == partition && next >= end)) {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "{build} stands at {stands:?}, the log ends at {ends:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_verified_switched_to_and_left_again_while_events_arrive() {
    on_a_bench(3, async |bench| {
        let registered = &active_sessions::REGISTERED;
        let with = dependencies(bench);
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(follow(registered, with.clone(), shutdown.clone()));
        let mut households = Households::new(21, 20);
        bench.append(&households.events(1_500)).await;
        assert!(matches!(switch(&bench.pool, registered, None, None).await, Err(SwitchError::Choice(_))));
        assert!(matches!(rollback(&bench.pool, registered, None).await, Err(SwitchError::Choice(_))));
        let built = rebuilt(bench, registered, &SHADOW, CancellationToken::new()).await.unwrap();
        assert_eq!(built.build.schema(), "active_sessions_v1_r2");
        let unverified = switch(&bench.pool, registered, None, None).await;
        assert!(matches!(unverified, Err(SwitchError::NotVerified(_))), "{unverified:?}");

        // Events arrive all the time: the builds are brought to one vector in the middle of them.
        let (arriving, bench_ref) = (AtomicBool::new(true), &bench);
        let arrive = async {
            let mut households = households;
            while arriving.load(Ordering::Relaxed) {
                bench_ref.append(&households.events(50)).await;
            }
        };
        let verified = async {
            sqlx::query(
                "update active_sessions_v1_r2.decisions set reason = 'wrong'
                 where (partition, log_offset, ordinal) in
                   (select partition, log_offset, ordinal from active_sessions_v1_r2.decisions limit 1)",
            )
            .execute(&bench.pool)
            .await
            .unwrap();
            let verdict = verify(registered, None, &with).await.unwrap();
            let decisions = verdict.tables.iter().find(|table| table.table == "decisions").unwrap();
            let [Difference { key, live: Some(live), shadow: Some(shadow) }] = &decisions.differences[..] else {
                panic!("one row differs: {verdict:?}")
            };
            assert!(key.starts_with('(') && shadow.contains("wrong") && !live.contains("wrong"), "{key} {live} {shadow}");
            assert!(!verdict.same && verdict.tables.iter().filter(|table| !table.same).count() == 1);
            assert!(matches!(switch(&bench.pool, registered, None, None).await, Err(SwitchError::NotVerified(_))));
            sqlx::query(
                "update active_sessions_v1_r2.decisions as ours set reason = live.reason
                 from active_sessions_v1.decisions as live
                 where ours.reason = 'wrong'
                   and (live.partition, live.log_offset, live.ordinal) = (ours.partition, ours.log_offset, ours.ordinal)",
            )
            .execute(&bench.pool)
            .await
            .unwrap();
            // Both move on meanwhile.
            let begun = std::time::Instant::now();
            let moved_on = "select sum(next_offset) > 1500 from pulsegate.live_offsets where name = 'active_sessions'";
            while !sqlx::query_scalar::<_, bool>(moved_on).fetch_one(&bench.pool).await.unwrap() {
                assert!(begun.elapsed() < DEADLINE, "what arrives is not folded");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let verdict = verify(registered, None, &with).await.unwrap();
            assert!(verdict.same && verdict.records > 1_500, "{verdict:?}");
            let switched = switch(&bench.pool, registered, None, None).await.unwrap();
            assert_eq!((switched.live.as_str(), switched.before.as_str()), ("active_sessions_v1_r2", "active_sessions_v1"));
            arriving.store(false, Ordering::Relaxed);
        };
        tokio::join!(arrive, verified);
        for (live, other) in [("active_sessions_v1_r2", "active_sessions_v1"), ("active_sessions_v1", "active_sessions_v1_r2")] {
            stands_at_the_end(bench, live).await;
            stands_at_the_end(bench, other).await;
            let recount = Recount::of(bench, &policies()).await;
            assert!(recount.decided() > 100);
            recount.agrees_with(&bench.pool).await;
            let back = rollback(&bench.pool, registered, None).await.unwrap();
            assert_eq!((back.live.as_str(), back.before.as_str()), (other, live));
        }
        let known = status(&bench.pool, &bench.kafka, &bench.topics).await.unwrap();
        let shadow = known.iter().find(|one| one.build == "active_sessions_v1_r2").unwrap();
        let done: Vec<_> = shadow.history.iter().rev().map(|entry| entry.what.as_str()).collect();
        let all = ["rebuild begun", "rebuilt", "caught up", "verify found differences", "verified", "switched", "rolled back"];
        assert_eq!(done, all);

        // What is retired is gone, and is neither followed nor rolled back to.
        assert!(matches!(builds::retire(&bench.pool, registered, "active_sessions_v1_r2").await, Err(ControlError::Live(_))));
        builds::retire(&bench.pool, registered, "active_sessions_v1").await.unwrap();
        assert!(matches!(rollback(&bench.pool, registered, None).await, Err(SwitchError::Choice(_))));
        shutdown.cancel();
        running.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_fails_or_sees_two_builds_while_readers_are_switched_to_and_fro() {
    on_a_bench(1, async |bench| {
        migrate_with(&bench.pool, &[&TALLY]).await.unwrap();
        append(bench, &records(31, 200, 10, 0)).await;
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(follow(&TALLY, dependencies(bench), shutdown.clone()));
        rebuilt(bench, &TALLY, &SHADOW, CancellationToken::new()).await.unwrap();
        stands_at_the_end(bench, "tally_v1").await;
        // Each build can be told by its rows.
        for (build, mark) in [("tally_v1", 1_i64), ("tally_v1_r2", 2)] {
            for table in ["tallies set n", "entries set n"] {
                let sql = format!("update {build}.{table} = {mark}");
                sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&bench.pool).await.unwrap();
            }
        }
        let pool = PgPoolOptions::new()
            .max_connections(64)
            .acquire_timeout(Duration::from_mins(1))
            .connect_with((*bench.pool.connect_options()).clone())
            .await
            .unwrap();
        let (reading, reads) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
        let readers: Vec<_> = (0..64)
            .map(|reader| {
                let (pool, reading, reads) = (pool.clone(), Arc::clone(&reading), Arc::clone(&reads));
                tokio::spawn(async move {
                    let mut seen = BTreeSet::new();
                    while reading.load(Ordering::Relaxed) {
                        let marks: Vec<i64> = match reader % 3 {
                            // One statement, one view.
                            0 => sqlx::query_scalar("select distinct n from tally.tallies")
                                .fetch_all(&pool)
                                .await
                                .unwrap(),
                            // One statement, both views, and the offsets that they are as of.
                            1 => sqlx::query_scalar(
                                "select n from tally.tallies union select n from tally.entries
                                 union select case build when 'tally_v1' then 1 else 2 end
                                       from pulsegate.live_offsets where name = 'tally'",
                            )
                            .fetch_all(&pool)
                            .await
                            .unwrap(),
                            // Several statements in one transaction.
                            _ => {
                                let mut tx = pool.begin().await.unwrap();
                                let first = sqlx::query_scalar::<_, i64>("select distinct n from tally.tallies")
                                    .fetch_all(&mut *tx)
                                    .await
                                    .unwrap();
                                let second = sqlx::query_scalar::<_, i64>("select distinct n from tally.entries")
                                    .fetch_all(&mut *tx)
                                    .await
                                    .unwrap();
                                tx.commit().await.unwrap();
                                first.into_iter().chain(second).collect::<BTreeSet<_>>().into_iter().collect()
                            }
                        };
                        assert_eq!(marks.len(), 1, "a read saw two builds");
                        seen.insert(marks[0]);
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                    seen
                })
            })
            .collect();
        let mut slowest = switch(&bench.pool, &TALLY, None, Some("a test")).await.unwrap();
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(30)).await;
            let back = rollback(&bench.pool, &TALLY, None).await.unwrap();
            if back.took_ms > slowest.took_ms {
                slowest = back;
            }
        }
        reading.store(false, Ordering::Relaxed);
        let mut seen = BTreeSet::new();
        for reader in readers {
            seen.extend(reader.await.unwrap());
        }
        pool.close().await;
        assert_eq!(seen, BTreeSet::from([1, 2]));
        println!("{} reads, 21 switches, the slowest {slowest:?}", reads.load(Ordering::Relaxed));
        shutdown.cancel();
        running.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_nobody_folds_lags_and_is_not_switched_to() {
    on_a_bench(1, async |bench| {
        migrate_with(&bench.pool, &[&TALLY]).await.unwrap();
        let mut log = records(41, 300, 10, 0);
        append(bench, &log).await;
        rebuilt(bench, &TALLY, &SHADOW, CancellationToken::new()).await.unwrap();
        // Nobody runs: verify brings both to where they have to be.
        let verdict = verify(&TALLY, None, &dependencies(bench)).await.unwrap();
        assert!(verdict.same && verdict.records == 300, "{verdict:?}");
        // Then the live one alone goes on.
        sqlx::query("update pulsegate.projection_builds set paused_at = now() where build = 'tally_v1_r2'")
            .execute(&bench.pool)
            .await
            .unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(follow(&TALLY, dependencies(bench), shutdown.clone()));
        let after = records(42, 200, 10, 0);
        append(bench, &after).await;
        log.extend(after);
        stands_at_the_end(bench, "tally_v1").await;
        let lags = switch(&bench.pool, &TALLY, None, None).await;
        assert!(matches!(lags, Err(SwitchError::Lags(_))), "{lags:?}");
        let forced = switch(&bench.pool, &TALLY, None, Some("we know")).await.unwrap();
        assert_eq!(forced.live, "tally_v1_r2");
        let why: String = sqlx::query_scalar("select detail from pulsegate.projection_history where what = 'switched'")
            .fetch_one(&bench.pool)
            .await
            .unwrap();
        assert!(why.contains("we know"), "{why}");

        // Paused, nobody folds it; resumed, it goes on. The hold of the failed switch is over.
        assert_eq!(builds::resume(&bench.pool, &TALLY).await.unwrap(), 1);
        stands_at_the_end(bench, "tally_v1_r2").await;
        assert_eq!(Tallied::read(&bench.pool, "tally_v1_r2").await, Tallied::of(&log, 1, false));
        assert_eq!(builds::pause(&bench.pool, &TALLY).await.unwrap(), 2);
        assert_eq!(builds::pause(&bench.pool, &TALLY).await.unwrap(), 0);
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        append(bench, &records(43, 50, 10, 0)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let stands: Vec<i64> = sqlx::query_scalar("select next_offset from pulsegate.projection_offsets")
            .fetch_all(&bench.pool)
            .await
            .unwrap();
        assert_eq!(stands, [500, 500], "it was folded though it is paused");
        shutdown.cancel();
        running.await.unwrap().unwrap();
    })
    .await;
}
