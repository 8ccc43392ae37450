//! Crashes, doubles, zombies, lost connections: each record counts once.

use std::sync::Arc;
use std::time::Duration;

use pulsegate_domain::topic::Topic;
use pulsegate_projections::active_sessions::{ActiveSessions, FixedPolicies};
use pulsegate_projections::runner::{Committed, Ownership, Source, Worker};

use crate::households::{Households, policies};
use crate::recount::Recount;
use crate::services::{Bench, on_a_bench, on_a_database};
use crate::splits::records;

async fn agrees(bench: &Bench) {
    bench.folded().await;
    let recount = Recount::of(bench, &policies()).await;
    assert!(recount.decided() > 100, "only {} decisions", recount.decided());
    recount.agrees_with(&bench.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_each_own_everything_fold_each_record_once() {
    on_a_bench(4, async |bench| {
        let mut households = Households::new(1, 20);
        bench.append(&households.events(1_000)).await;
        let (one, two) = (bench.start(Ownership::Everything), bench.start(Ownership::Everything));
        for _ in 0..20 {
            bench.append(&households.events(100)).await;
        }
        agrees(bench).await;
        one.stop().await;
        two.stop().await;
    })
    .await;
}

/// Each row of offsets tells by which transaction it was written last.
#[tokio::test(flavor = "multi_thread")]
async fn while_it_keeps_up_partitions_share_a_transaction() {
    on_a_bench(12, async |bench| {
        let mut households = Households::new(5, 60);
        let running = bench.start(Ownership::Everything);
        for _ in 0..10 {
            bench.append(&households.events(200)).await;
            bench.folded().await;
        }
        agrees(bench).await;
        let transactions: i64 =
            sqlx::query_scalar("select count(distinct xmin::text) from pulsegate.projection_offsets")
                .fetch_one(&bench.pool)
                .await
                .unwrap();
        assert!(transactions < 12, "12 partitions were moved by {transactions} transactions");
        running.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_again_and_again_it_loses_and_doubles_nothing() {
    on_a_bench(3, async |bench| {
        let mut households = Households::new(2, 20);
        for kill in 0..15 {
            let running = bench.start(Ownership::Everything);
            bench.append(&households.events(150)).await;
            // Not a wait for anything: the points at which it dies differ.
            tokio::time::sleep(Duration::from_millis(kill * 37 % 400)).await;
            running.kill().await;
        }
        let running = bench.start(Ownership::Everything);
        agrees(bench).await;
        running.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cuts_every_connection_loses_and_doubles_nothing() {
    on_a_bench(3, async |bench| {
        let mut households = Households::new(3, 20);
        let running = bench.start(Ownership::Everything);
        for _ in 0..25 {
            bench.append(&households.events(100)).await;
            let cut = sqlx::query(
                "select pg_terminate_backend(pid) from pg_stat_activity
                 where datname = current_database() and pid <> pg_backend_pid()",
            );
            // The connection that asks may have been cut itself a moment ago.
            drop(cut.execute(&bench.pool).await);
        }
        agrees(bench).await;
        running.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_shares_the_partitions_and_takes_over_from_one_that_leaves() {
    on_a_bench(4, async |bench| {
        let mut households = Households::new(4, 20);
        let (one, two) = (bench.start(Ownership::Group), bench.start(Ownership::Group));
        bench.append(&households.events(1_000)).await;
        bench.folded().await;
        one.stop().await;
        bench.append(&households.events(1_000)).await;
        agrees(bench).await;
        two.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_reads_from_its_next_offset_and_nothing_before() {
    on_a_bench(1, async |bench| {
        let mut households = Households::new(5, 5);
        let running = bench.start(Ownership::Everything);
        bench.append(&households.events(500)).await;
        bench.folded().await;
        running.stop().await;
        sqlx::query("delete from active_sessions_v1.decisions").execute(&bench.pool).await.unwrap();
        bench.append(&households.events(500)).await;
        let running = bench.start(Ownership::Everything);
        bench.folded().await;
        running.stop().await;
        let first: i64 = sqlx::query_scalar("select min(log_offset) from active_sessions.decisions")
            .fetch_one(&bench.pool)
            .await
            .unwrap();
        assert!(first >= 500, "record {first} was folded again");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_set_back_under_a_runner_are_folded_again() {
    on_a_bench(1, async |bench| {
        let mut households = Households::new(6, 5);
        let running = bench.start(Ownership::Everything);
        bench.append(&households.events(500)).await;
        bench.folded().await;
        let mut tx = bench.pool.begin().await.unwrap();
        for sql in [
            "truncate active_sessions_v1.session_states, active_sessions_v1.decisions",
            "update pulsegate.projection_offsets set next_offset = 0, clock_ms = (-9223372036854775808)",
        ] {
            sqlx::query(sql).execute(&mut *tx).await.unwrap();
        }
        tx.commit().await.unwrap();
        bench.append(&households.events(500)).await;
        agrees(bench).await;
        running.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombies_batch_is_rolled_back_and_it_goes_on_from_where_the_other_stands() {
    on_a_database(async |pool| {
        let worker = || Worker::new(ActiveSessions::new(Arc::new(FixedPolicies::new(policies()))), pool.clone());
        let source = Source { topic: Topic::Playback, partition: 0 };
        let log = records(&Households::new(7, 5).events(300));
        let (owner, zombie) = (worker(), worker());
        let mut asleep = zombie.take(source).await.unwrap();
        zombie.commit(&mut asleep, &log[..100]).await.unwrap();
        let mut held = owner.take(source).await.unwrap();
        owner.commit(&mut held, &log[..200]).await.unwrap();

        assert_eq!(zombie.commit(&mut asleep, &log[100..150]).await.unwrap(), Committed::Superseded);
        assert_eq!(asleep.position(), held.position());

        // What was superseded may be given again with what follows: only what follows is folded.
        let committed = zombie.commit(&mut asleep, &log[100..]).await.unwrap();
        assert_eq!(committed, Committed::Done { folded: 100, skipped: 0 });
        let mut recount = Recount::default();
        recount.partition(0, &log, &policies());
        recount.agrees_with(pool).await;
    })
    .await;
}
