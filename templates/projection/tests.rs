//! Given these events, then these rows.

use pulsegate_domain::event::PlaybackEvent;
use pulsegate_domain::topic::Topic;
use sqlx::PgPool;

use super::{COUNTS_MAX, Count, ProjectionName, counts};
use crate_path::runner::Poison;
use crate_path::testing::{Log, folded, heartbeat, noon, session, started, tables};

const UNWRITTEN: &str = "the fold of projection_name is not written yet, or counts something else: `counted` in \
                         projection_name/fold.rs says what an event adds. Write it, and say here what should come of it";

/// Ada and Bob start the same title, and Ada plays on.
fn given() -> Log {
    Log::of(Topic::Playback)
        .event("ada", noon(0), &PlaybackEvent::Started(started("ada", session(1))))
        .event("ada", noon(10), &PlaybackEvent::Heartbeat(heartbeat("ada", session(1), 0)))
        .event("bob", noon(12), &PlaybackEvent::Started(started("bob", session(2))))
}

#[tokio::test]
async fn what_people_did_is_counted() {
    let mut counted: Vec<_> = folded(&ProjectionName, &given()).await.changes.counts.into_iter().collect();
    counted.sort_unstable();
    assert_eq!(counted, [("dune".to_owned(), 2)], "{UNWRITTEN}");
}

#[tokio::test]
async fn what_cannot_be_read_is_skipped_alone() {
    let log = given().raw("ada", noon(20), "nonsense");
    let poison = folded(&ProjectionName, &log).await.poison;
    assert!(matches!(&poison[..], [(3, Poison::Skip(_))]), "{poison:?}");
}

#[tokio::test]
async fn any_batches_make_the_same_rows() {
    let rows = async |pool: &PgPool| counts(pool, COUNTS_MAX).await.expect("the rows can be read");
    let whole = tables(ProjectionName, &given(), 100, rows).await;
    assert_eq!(whole, [Count { key: "dune".to_owned(), n: 2 }], "{UNWRITTEN}");
    assert_eq!(tables(ProjectionName, &given(), 1, rows).await, whole, "one record a batch makes other rows");
}
