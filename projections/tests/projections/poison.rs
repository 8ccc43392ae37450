//! What can't be folded is skipped alone: nothing waits behind it, nothing of it is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use pulsegate_domain::policy::PolicySet;
use pulsegate_projections::active_sessions::PolicySource;
use pulsegate_projections::runner::Ownership;
use pulsegate_projections::{dead_letters, status};

use crate::households::{Households, policies};
use crate::recount::Recount;
use crate::services::on_a_bench;

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_skipped_alone_and_kept_with_its_bytes() {
    on_a_bench(1, async |bench| {
        let mut households = Households::new(8, 5);
        let good = households.events(300);
        bench.append(&good[..100]).await;
        let policy_of_nobody = String::from_utf8(good[0].value.clone())
            .unwrap()
            .replace("standard@1", "gone@7")
            .replace("family@1", "gone@7");
        let poison: [(&[u8], &[u8], &str); 4] = [
            (b"account-0", b"\xff\x00garbage", "not UTF-8"),
            (b"account-0", b"{\"id\":\"\\u0000\"}", "not an event"),
            (b"somebody-else", &good[0].value, "its key is not its account"),
            (good[0].account.as_str().as_bytes(), policy_of_nobody.as_bytes(), "policy gone@7 is not in the catalog"),
        ];
        for (key, value, _) in poison {
            bench.append_raw(key, value).await;
        }
        bench.append(&good[100..200]).await;
        // The last record of all is poison as well: the clock must have moved on with it.
        bench.append_raw(poison[0].0, poison[0].1).await;

        let running = bench.start(Ownership::Everything);
        bench.folded().await;
        running.stop().await;
        let recount = Recount::of(bench, &policies()).await;
        assert_eq!(recount.skipped().len(), 5);
        recount.agrees_with(&bench.pool).await;

        let mut letters = dead_letters::list(&bench.pool, Some("active_sessions"), 10).await.unwrap();
        letters.sort_by_key(|letter| letter.log_offset);
        for (letter, (key, value, why)) in letters.iter().zip(poison) {
            assert_eq!((letter.key.as_deref(), letter.value.as_deref()), (Some(key), Some(value)));
            assert!(letter.error.contains(why), "{}", letter.error);
            assert_eq!((letter.kind.as_str(), letter.topic.as_str()), ("skipped", "playback"));
        }
        let status = status(&bench.pool, &bench.kafka, &bench.topics).await.unwrap();
        let status = status.iter().find(|status| status.name == "active_sessions").unwrap();
        assert_eq!((status.skipped, status.parked), (5, 0));
        assert_eq!((status.lag_events, status.lag_seconds), (Some(0), Some(0.0)));
        assert_eq!((status.state.as_str(), status.partitions.len()), ("live", 1));
    })
    .await;
}

/// A catalog whose newest policies have not been read yet.
#[derive(Default)]
struct ReadLate(AtomicBool);

impl PolicySource for ReadLate {
    fn policies(&self) -> Arc<PolicySet> {
        Arc::new(if self.0.load(Ordering::Relaxed) { policies() } else { PolicySet::default() })
    }

    fn read_to_end(&self) -> BoxFuture<'_, ()> {
        async { self.0.store(true, Ordering::Relaxed) }.boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_the_catalogs_end_holds_is_waited_for() {
    on_a_bench(1, async |bench| {
        bench.append(&Households::new(9, 6).events(300)).await;
        let running = bench.start_judged_by(Ownership::Everything, Arc::new(ReadLate::default()));
        bench.folded().await;
        running.stop().await;
        let recount = Recount::of(bench, &policies()).await;
        assert!(recount.skipped().is_empty());
        recount.agrees_with(&bench.pool).await;
    })
    .await;
}
