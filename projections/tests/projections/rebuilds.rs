//! Rebuilds: from nothing, stopped anywhere, crashed under, poisoned, as of some time; each ends in a recount.

use std::sync::Arc;
use std::time::Duration;

use pulsegate_domain::time::Timestamp;
use pulsegate_projections::active_sessions::FixedPolicies;
use pulsegate_projections::rebuild::{self, Progress, RebuildError, Rebuilt, Wanted, rebuild};
use pulsegate_projections::registry::{Dependencies, Registered, migrate_with};
use pulsegate_projections::status;
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use sqlx::AssertSqlSafe;
use tokio_util::sync::CancellationToken;

use crate::households::policies;
use crate::services::{Bench, DEADLINE, on_a_bench};
use crate::tally::{TALLY, Tallied, records};

pub(crate) const SHADOW: Wanted = Wanted { workers: 2, parks: false, copy: None };

/// What jobs on a bench need.
pub(crate) fn dependencies(bench: &Bench) -> Dependencies {
    let policies = Arc::new(FixedPolicies::new(policies()));
    Dependencies::new(bench.pool.clone(), bench.kafka.clone(), bench.topics.clone(), policies)
}

pub(crate) async fn append(bench: &Bench, records: &[(String, String)]) {
    let sent = records.iter().map(|(key, value)| bench.append_raw(key.as_bytes(), value.as_bytes()));
    futures_util::future::join_all(sent).await;
}

pub(crate) async fn rebuilt(
    bench: &Bench,
    registered: &'static Registered,
    wanted: &Wanted,
    stop: CancellationToken,
) -> Result<Rebuilt, RebuildError> {
    loop {
        match rebuild(registered, &dependencies(bench), wanted, &Arc::new(Progress::default()), stop.clone()).await {
            // The database learns a little later that the one before is gone.
            Err(RebuildError::Busy(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            outcome => return outcome,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_is_the_fold_of_the_whole_log() {
    on_a_bench(3, async |bench| {
        migrate_with(&bench.pool, &[&TALLY]).await.unwrap();
        let mut log = records(1, 1_500, 20, 0);
        // What is skipped stops nothing.
        log.extend(
            records(2, 300, 20, 30).into_iter().filter(|(_, value)| value == "skip" || value.starts_with("add")),
        );
        log.retain(|(_, value)| value != "add 666");
        append(bench, &log).await;
        let built = rebuilt(bench, &TALLY, &SHADOW, CancellationToken::new()).await.unwrap();
        assert_eq!((built.build.schema(), built.records), ("tally_v1_r2", i64::try_from(log.len()).unwrap()));
        let model = Tallied::of(&log, 3, false);
        assert!(!model.skipped.is_empty());
        assert_eq!(Tallied::read(&bench.pool, "tally_v1_r2").await, model);

        // Its tables are as safe as any, partitions too, and have what readers need.
        let unsafe_ones: i64 = sqlx::query_scalar(
            "select count(*) from pg_class
             where relnamespace = 'tally_v1_r2'::regnamespace and relkind in ('r', 'i') and relpersistence <> 'p'",
        )
        .fetch_one(&bench.pool)
        .await
        .unwrap();
        assert_eq!(unsafe_ones, 0);
        let indexed: bool = sqlx::query_scalar("select to_regclass('tally_v1_r2.entries_of_key') is not null")
            .fetch_one(&bench.pool)
            .await
            .unwrap();
        assert!(indexed);
        let known = status(&bench.pool, &bench.kafka, &bench.topics).await.unwrap();
        let shadow = known.iter().find(|one| one.build == "tally_v1_r2").unwrap();
        assert_eq!((shadow.state.as_str(), &shadow.rebuild), ("shadow", &None));
        let done: Vec<_> = shadow.history.iter().map(|entry| entry.what.as_str()).collect();
        assert_eq!(done, ["caught up", "rebuilt", "rebuild begun"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_or_killed_anywhere_it_goes_on_from_there() {
    on_a_bench(3, async |bench| {
        migrate_with(&bench.pool, &[&TALLY]).await.unwrap();
        let log = records(3, 4_000, 30, 0);
        append(bench, &log).await;
        let mut ends = [0_u32; 3];
        for turn in 0_u64.. {
            let stop = CancellationToken::new();
            let (pool_bench, token) = (dependencies(bench), stop.clone());
            let progress = Arc::new(Progress::default());
            let seen = Arc::clone(&progress);
            let mut task = tokio::spawn(async move { rebuild(&TALLY, &pool_bench, &SHADOW, &progress, token).await });
            // It dies at another point each time: after so many records more, and a little.
            let begun = std::time::Instant::now();
            let passed = || seen.partitions().iter().map(|(_, one)| one.next_offset - one.began_at).sum::<i64>();
            while passed() < 100 && !task.is_finished() && begun.elapsed() < DEADLINE {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::sleep(Duration::from_millis(turn * 7 % 30)).await;
            if turn % 2 == 0 {
                stop.cancel();
            } else {
                task.abort();
            }
            match (&mut task).await {
                Ok(Ok(built)) => {
                    assert_eq!(built.build.schema(), "tally_v1_r2");
                    break;
                }
                Ok(Err(error)) if error.is_stop() => ends[0] += 1,
                Ok(Err(RebuildError::Busy(_))) => ends[1] += 1,
                Ok(Err(error)) => panic!("{error}"),
                Err(aborted) if aborted.is_cancelled() => ends[2] += 1,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        assert!(ends[0] > 0 && ends[2] > 0, "stopped, refused, killed: {ends:?}");
        assert_eq!(Tallied::read(&bench.pool, "tally_v1_r2").await, Tallied::of(&log, 3, false));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_a_crash_has_emptied_are_filled_again() {
    on_a_bench(2, async |bench| {
        migrate_with(&bench.pool, &[&TALLY]).await.unwrap();
        let mut log = records(4, 600, 10, 0);
        log.push(("key-1".into(), "park".into()));
        append(bench, &log).await;
        let stopped = rebuilt(bench, &TALLY, &SHADOW, CancellationToken::new()).await.unwrap_err();
        assert!(stopped.is_poison(), "{stopped}");
        let folded: i64 =
            sqlx::query_scalar("select count(*) from tally_v1_r2.entries").fetch_one(&bench.pool).await.unwrap();
        assert!(folded > 100, "{folded}");
        // What recovery does with unlogged tables.
        sqlx::raw_sql("truncate tally_v1_r2.tallies, tally_v1_r2.entries, tally_v1_r2.unlogged_since")
            .execute(&bench.pool)
            .await
            .unwrap();
        let parks = Wanted { parks: true, ..SHADOW };
        let built = rebuilt(bench, &TALLY, &parks, CancellationToken::new()).await.unwrap();
        assert_eq!(Tallied::read(&bench.pool, built.build.schema()).await, Tallied::of(&log, 2, false));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_stops_a_rebuild_by_its_name_or_is_parked_with_what_waits() {
    on_a_bench(2, async |bench| {
        migrate_with(&bench.pool, &[&TALLY]).await.unwrap();
        let mut log = records(5, 400, 12, 0);
        for (kind, key) in ["park", "hold", "panic", "add 666"].iter().zip(["key-1", "key-2", "key-3", "key-4"]) {
            log.push((key.to_owned(), (*kind).to_owned()));
        }
        log.extend(records(6, 400, 12, 0));
        append(bench, &log).await;
        let stopped = rebuilt(bench, &TALLY, &SHADOW, CancellationToken::new()).await.unwrap_err();
        let said = stopped.to_string();
        assert!(stopped.is_poison() && said.contains("key key-") && said.contains("offset"), "{said}");
        let known = status(&bench.pool, &bench.kafka, &bench.topics).await.unwrap();
        let building = known.iter().find(|one| one.build == "tally_v1_r2").unwrap();
        assert_eq!((building.state.as_str(), building.last_error.as_ref()), ("building", Some(&said)));
        assert!(building.rebuild.is_some());

        let parks = Wanted { parks: true, ..SHADOW };
        rebuilt(bench, &TALLY, &parks, CancellationToken::new()).await.unwrap();
        let model = Tallied::of(&log, 2, false);
        assert!(model.parked.len() > 50);
        assert_eq!(Tallied::read(&bench.pool, "tally_v1_r2").await, model);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_holds_the_log_up_to_its_instant_and_no_more() {
    on_a_bench(2, async |bench| {
        migrate_with(&bench.pool, &[&TALLY]).await.unwrap();
        let before = records(7, 500, 10, 0);
        append(bench, &before).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let as_of = Timestamp::from(chrono::Utc::now());
        tokio::time::sleep(Duration::from_millis(20)).await;
        append(bench, &records(8, 300, 10, 0)).await;
        let copy = |into: &str| {
            let copy = rebuild::Copy { as_of, into: into.to_owned() };
            Wanted { copy: Some(copy), ..SHADOW }
        };
        for refused in ["tally_v1", "pg_tally", "Tally", "public", "x; drop schema public"] {
            let error = rebuilt(bench, &TALLY, &copy(refused), CancellationToken::new()).await.unwrap_err();
            assert!(matches!(error, RebuildError::Name(..)), "{refused}: {error}");
        }
        let built = rebuilt(bench, &TALLY, &copy("tally_then"), CancellationToken::new()).await.unwrap();
        assert_eq!((built.build.schema(), built.records), ("tally_then", 500));
        assert_eq!(Tallied::read(&bench.pool, "tally_then").await, Tallied::of(&before, 2, false));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_ends_in_a_transactions_markers_has_an_end_all_the_same() {
    on_a_bench(1, async |bench| {
        migrate_with(&bench.pool, &[&TALLY]).await.unwrap();
        let topic = bench.topics.name(pulsegate_domain::topic::Topic::Playback);
        let producer: ThreadedProducer<_> = bench.kafka.clone().set("transactional.id", &topic).create().unwrap();
        let transact = |value: &'static str, commit: bool| {
            let (producer, topic) = (producer.clone(), topic.clone());
            tokio::task::spawn_blocking(move || {
                producer.begin_transaction().unwrap();
                producer
                    .send(BaseRecord::to(&topic).partition(0).key("key-1").payload(value))
                    .map_err(|(error, _)| error)
                    .unwrap();
                producer.flush(DEADLINE).unwrap();
                if commit { producer.commit_transaction(DEADLINE) } else { producer.abort_transaction(DEADLINE) }
                    .unwrap();
            })
        };
        let init = producer.clone();
        tokio::task::spawn_blocking(move || init.init_transactions(DEADLINE)).await.unwrap().unwrap();
        let shutdown = CancellationToken::new();
        let live = tokio::spawn(pulsegate_projections::builds::follow(&TALLY, dependencies(bench), shutdown.clone()));
        transact("add 1", true).await.unwrap();
        transact("add 2", false).await.unwrap();
        // Offsets 0 and 2 are records, 1 and 3 markers; the runner must come to stand at 4.
        assert_eq!(bench.ends().await, [(0, 4)].into());
        let stands = async |build: &'static str| {
            sqlx::query_scalar::<_, i64>("select next_offset from pulsegate.projection_offsets where build = $1")
                .bind(build)
                .fetch_optional(&bench.pool)
                .await
                .unwrap()
        };
        let begun = std::time::Instant::now();
        while stands("tally_v1").await != Some(4) {
            assert!(begun.elapsed() < DEADLINE, "it stands at {:?}", stands("tally_v1").await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        rebuilt(bench, &TALLY, &SHADOW, CancellationToken::new()).await.unwrap();
        assert_eq!(stands("tally_v1_r2").await, Some(4));
        let known = status(&bench.pool, &bench.kafka, &bench.topics).await.unwrap();
        let ours: Vec<_> = known.iter().filter(|one| one.name == "tally").map(|one| one.lag_events).collect();
        assert_eq!(ours, [Some(0), Some(0)]);
        for build in ["tally_v1", "tally_v1_r2"] {
            let sum: Vec<(String, i64, i64)> = sqlx::query_as(AssertSqlSafe(format!("select * from {build}.tallies")))
                .fetch_all(&bench.pool)
                .await
                .unwrap();
            assert_eq!(sum, [("key-1".to_owned(), 1, 1)], "{build}");
        }
        shutdown.cancel();
        live.await.unwrap().unwrap();
    })
    .await;
}
