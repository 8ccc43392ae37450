//! Poison in the middle of a key: parked with what stands behind it, folded later in the same order, or given up.

use std::sync::atomic::Ordering;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::Topic;
use pulsegate_projections::builds::follow;
use pulsegate_projections::dead_letters::{self, SettleError, Settled};
use pulsegate_projections::registry::migrate_with;
use pulsegate_projections::runner::{BatchError, Committed, Record, Source, Worker};
use tokio_util::sync::CancellationToken;

use crate::rebuilds::{append, dependencies};
use crate::services::{on_a_bench, on_a_database};
use crate::tally::{MENDED, TALLY, Tallied, Tally, records};

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_behind_poison_waits_and_is_folded_in_order_once_it_is_mended() {
    on_a_bench(2, async |bench| {
        migrate_with(&bench.pool, &[&TALLY]).await.unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(follow(&TALLY, dependencies(bench), shutdown.clone()));
        let own = |records: Vec<(String, String)>| -> Vec<_> {
            records.into_iter().map(|(key, value)| (key.replace("key", "mend"), value)).collect()
        };
        let mut log = own(records(11, 1_200, 25, 1));
        append(bench, &log).await;
        bench.folded().await;
        let broken = Tallied::of(&log, 2, false);
        assert!(broken.parked.len() > 100 && broken.parked.values().any(Option::is_none));
        assert_eq!(Tallied::read(&bench.pool, "tally_v1").await, broken);

        // Shown: the event, and what waits behind it.
        let heads = dead_letters::parked(&bench.pool, Some("tally")).await.unwrap();
        let waits: Vec<_> = broken.parked.values().filter(|behind| behind.is_none()).collect();
        assert_eq!(heads.len(), waits.len());
        let shown = dead_letters::show(&bench.pool, heads[0]).await.unwrap().unwrap();
        assert!(
            ["park", "hold", "panic", "add 666"]
                .map(|kind| Some(kind.as_bytes().to_vec()))
                .contains(&shown.letter.value)
        );
        assert!(
            shown.letter.error.contains("says so") || shown.letter.error.contains("entries_n_is_believable"),
            "{}",
            shown.letter.error
        );
        assert!(shown.waiting > 0);

        // Nothing is mended: nothing is folded, and all of it still waits.
        let with = dependencies(bench);
        let settled = dead_letters::settle(&[&TALLY], &with, heads[0], None).await.unwrap();
        assert_eq!((settled.folded, settled.parked), (0, usize::try_from(shown.waiting).unwrap() + 1));
        assert_eq!(Tallied::read(&bench.pool, "tally_v1").await, broken);

        // Mended: the live runner, which remembers the partition, must take up what was folded beside it.
        MENDED.store(true, Ordering::Relaxed);
        for head in &heads {
            let settled = dead_letters::settle(&[&TALLY], &with, *head, None).await.unwrap();
            assert_eq!((settled.parked, &settled.error), (0, &None), "{settled:?}");
        }
        let after = own(records(12, 600, 25, 0));
        append(bench, &after).await;
        log.extend(after);
        bench.folded().await;
        let mended = Tallied::of(&log, 2, true);
        assert_eq!(Tallied::read(&bench.pool, "tally_v1").await, mended);
        assert!(matches!(dead_letters::settle(&[&TALLY], &with, heads[0], None).await, Err(SettleError::NotParked(_))));
        assert!(matches!(dead_letters::settle(&[&TALLY], &with, 1 << 40, None).await, Err(SettleError::Unknown(_))));
        shutdown.cancel();
        running.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_is_kept_with_the_reason_and_what_waited_goes_on() {
    on_a_bench(1, async |bench| {
        migrate_with(&bench.pool, &[&TALLY]).await.unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(follow(&TALLY, dependencies(bench), shutdown.clone()));
        let add = |n: i64| ("key-1".to_owned(), format!("add {n}"));
        let broken = |kind: &str| ("key-1".to_owned(), kind.to_owned());
        append(bench, &[add(1), broken("add 666"), add(2), add(3), broken("hold"), add(4)]).await;
        bench.folded().await;
        let with = dependencies(bench);
        let [head] = dead_letters::parked(&bench.pool, None).await.unwrap()[..] else { panic!("one poison event") };
        let settled = dead_letters::settle(&[&TALLY], &with, head, Some("a test wrote it")).await.unwrap();
        let why = Some("the fold says so".to_owned());
        assert_eq!(settled, Settled { id: head, folded: 2, parked: 2, error: why });
        let shown = dead_letters::show(&bench.pool, head).await.unwrap().unwrap().letter;
        assert_eq!((shown.kind.as_str(), shown.reason.as_deref()), ("skipped", Some("a test wrote it")));
        // The next poison event heads what is left.
        let [head] = dead_letters::parked(&bench.pool, None).await.unwrap()[..] else { panic!("one poison event") };
        assert_eq!(dead_letters::show(&bench.pool, head).await.unwrap().unwrap().letter.log_offset, 4);
        append(bench, &[add(5)]).await;
        bench.folded().await;
        dead_letters::settle(&[&TALLY], &with, head, Some("this one too")).await.unwrap();
        append(bench, &[add(6)]).await;
        bench.folded().await;
        let sum: (i64, i64) =
            sqlx::query_as("select n, sum from tally_v1.tallies").fetch_one(&bench.pool).await.unwrap();
        let expected = (1..=6).fold((0, 0), crate::tally::next);
        assert_eq!(sum, expected);
        shutdown.cancel();
        running.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_split_and_any_duplicate_parks_the_same() {
    on_a_database(async |pool| {
        migrate_with(pool, &[&TALLY]).await.unwrap();
        let runtime = tokio::runtime::Handle::current();
        let source = Source { topic: Topic::Playback, partition: 0 };
        let worker = Worker::new(Tally, pool.clone());
        let splits = (any::<u32>(), prop::collection::vec((1_usize..60, any::<bool>(), 0_usize..20), 1..12));
        let check = |(seed, splits): (u32, Vec<(usize, bool, usize)>)| {
            runtime.block_on(async {
                for sql in [
                    "truncate tally_v1.tallies, tally_v1.entries, pulsegate.dead_letters",
                    "delete from pulsegate.projection_offsets",
                ] {
                    sqlx::query(sql).execute(pool).await.unwrap();
                }
                // No refusal by the database: finding those is the runner's work, which has tests of its own.
                let mut appended = records(seed.into(), 250, 12, 6);
                appended.retain(|(_, value)| value != "add 666" && value != "panic");
                let log: Vec<_> = (0..)
                    .zip(&appended)
                    .map(|(offset, (key, value))| Record {
                        offset,
                        timestamp: Some(Timestamp::from_millis(1_790_000_000_000 + offset * 7)),
                        key: Some(key.clone().into_bytes().into()),
                        value: Some(value.clone().into_bytes().into()),
                        headers: Vec::new(),
                    })
                    .collect();
                let mut partition = worker.take(source).await.unwrap();
                let mut done = 0;
                for (length, restart, back) in splits {
                    let end = (done + length).min(log.len());
                    // Delivered once more: what was passed is left out.
                    worker.commit(&mut partition, &log[done - back.min(done)..end]).await.unwrap();
                    done = end;
                    if restart {
                        partition = worker.take(source).await.unwrap();
                    }
                }
                worker.commit(&mut partition, &log[done..]).await.unwrap();
                let model = Tallied::of(&appended, 1, false);
                assert_eq!(Tallied::read(pool, "tally_v1").await, model);
            });
            Ok(())
        };
        tokio::task::block_in_place(|| {
            let config = Config { cases: 10, failure_persistence: None, ..Config::default() };
            TestRunner::new(config).run(&splits, check).unwrap();
        });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_the_database_refuses_writes_nothing_of_it() {
    on_a_database(async |pool| {
        migrate_with(pool, &[&TALLY]).await.unwrap();
        let worker = Worker::new(Tally, pool.clone());
        let mut partition = worker.take(Source { topic: Topic::Playback, partition: 0 }).await.unwrap();
        let record = |offset, value: &'static str| Record {
            offset,
            timestamp: Some(Timestamp::from_millis(1)),
            key: Some("key-1".into()),
            value: Some(value.into()),
            headers: Vec::new(),
        };
        let log = [record(0, "add 1"), record(1, "add 666"), record(2, "add 2")];
        for poison in [&log[..], &[record(0, "panic")]] {
            let error = worker.commit(&mut partition, poison).await.unwrap_err();
            assert!(error.may_be_a_records_fault(), "{error}");
            assert!(matches!(error, BatchError::Database(_) | BatchError::Panicked(_)));
        }
        assert_eq!(Tallied::read(pool, "tally_v1").await, Tallied::default());
        assert_eq!(worker.commit(&mut partition, &log[..1]).await.unwrap(), Committed::Done { folded: 1, skipped: 0 });
    })
    .await;
}
