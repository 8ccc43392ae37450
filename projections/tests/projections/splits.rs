//! The batches don't matter: any split of the log, with or without memory between, gives the same tables.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use pulsegate_domain::topic::Topic;
use pulsegate_projections::active_sessions::{ActiveSessions, FixedPolicies};
use pulsegate_projections::runner::{Record, Source, Worker};

use crate::households::{Event, Households, policies};
use crate::recount::Recount;
use crate::services::on_a_database;

/// The records of these events, as one partition holds them.
pub(crate) fn records(events: &[Event]) -> Vec<Record> {
    let record = |(offset, event): (i64, &Event)| Record {
        offset,
        timestamp: Some(event.at),
        key: Some(event.account.as_str().as_bytes().to_vec().into()),
        value: Some(event.value.clone().into()),
        headers: Vec::new(),
    };
    (0..).zip(events).map(record).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn any_split_into_batches_gives_the_same_tables() {
    on_a_database(async |pool| {
        let runtime = tokio::runtime::Handle::current();
        let source = Source { topic: Topic::Playback, partition: 0 };
        let worker = Worker::new(ActiveSessions::new(Arc::new(FixedPolicies::new(policies()))), pool.clone());
        let splits = (any::<u32>(), prop::collection::vec((1_usize..120, any::<bool>()), 1..12));
        let check = |(seed, splits): (u32, Vec<(usize, bool)>)| {
            runtime.block_on(async {
                for sql in [
                    "truncate active_sessions_v1.session_states, active_sessions_v1.decisions, pulsegate.dead_letters",
                    "delete from pulsegate.projection_offsets",
                ] {
                    sqlx::query(sql).execute(pool).await.unwrap();
                }
                let log = records(&Households::new(seed.into(), 6).events(400));
                let mut partition = worker.take(source).await.unwrap();
                let mut rest = &log[..];
                for (length, restart) in splits {
                    let (batch, after) = rest.split_at(length.min(rest.len()));
                    worker.commit(&mut partition, batch).await.unwrap();
                    if restart {
                        partition = worker.take(source).await.unwrap();
                    }
                    rest = after;
                }
                worker.commit(&mut partition, rest).await.unwrap();
                let mut recount = Recount::default();
                recount.partition(0, &log, &policies());
                assert!(recount.decided() > 20);
                recount.agrees_with(pool).await;
            });
            Ok(())
        };
        tokio::task::block_in_place(|| {
            let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
            TestRunner::new(config).run(&splits, check).unwrap();
        });
    })
    .await;
}
