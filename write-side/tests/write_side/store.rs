//! One account is replayed, alone and exactly.

use std::sync::Arc;

use eventually::aggregate::AggregateRootBuilder;
use eventually::repository::Repository;
use eventually::store::{AppendError as _, EventStore as _, Expected, Select};
use eventually::versioning::Versioned as _;
use futures_util::TryStreamExt as _;
use pulsegate_domain::account::{AccountAggregate, Place, PlacedEvent, Session};
use pulsegate_domain::catalog::Catalog;
use pulsegate_domain::event::PlaybackEvent;
use pulsegate_domain::ids::{AccountId, SessionId};
use pulsegate_domain::policy::PolicySet;
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::Topic;
use pulsegate_write_side::envelope::{self, Origin, new_session_id};
use pulsegate_write_side::request::parse_start;
use pulsegate_write_side::store::{AccountStore, StoreError};
use pulsegate_write_side::{Appended, EventLog, LogSettings, Record, stamp};

use crate::fixture::log;

fn start(account: &AccountId) -> (SessionId, PlaybackEvent) {
    let session = new_session_id();
    let body = format!(r#"{{"device_id":"{session}","title_id":"t"}}"#);
    let request = parse_start(account.clone(), body.as_bytes()).unwrap();
    (
        session,
        PlaybackEvent::Started(stamp::started(request, session, &Catalog::default(), None, Timestamp::from_millis(0))),
    )
}

async fn append(log: &EventLog, event: &PlaybackEvent) -> Appended {
    log.append(envelope::playback(event, &Origin::new("/test", Timestamp::from_millis(0)))).await.unwrap()
}

fn store(log: &EventLog, settings: &LogSettings) -> AccountStore {
    AccountStore::new(log.clone(), settings.clone(), Arc::new(PolicySet::default()), "/test")
}

/// An account, and another one in the same partition.
fn neighbours(store: &AccountStore) -> (AccountId, AccountId) {
    let account: AccountId = "acc-0".parse().unwrap();
    let neighbour = (1..1_000)
        .map(|n| format!("acc-{n}").parse::<AccountId>().unwrap())
        .find(|other| store.partition(other) == store.partition(&account));
    (account, neighbour.unwrap())
}

#[tokio::test]
async fn a_replay_takes_up_the_account_and_nothing_else() {
    let (log, settings) = log().await;
    let store = store(&log, &settings);
    let (account, neighbour) = neighbours(&store);
    assert_eq!(store.replay_until(&account, None).await.unwrap().last, None);

    let (session, event) = start(&account);
    let first = append(&log, &event).await;
    append(&log, &start(&neighbour).1).await;
    // Under the account's key, but no event, or none of its own.
    for value in [b"not JSON".to_vec(), envelope::playback(&start(&neighbour).1, &Origin::new("/test", first.at)).value]
    {
        let record = Record { topic: Topic::Playback, key: Some(account.as_str().into()), value, headers: Vec::new() };
        log.append(record).await.unwrap();
    }
    let (second, event) = start(&account);
    append(&log, &event).await;
    let last = append(&log, &start(&neighbour).1).await;

    let replayed = store.replay_until(&account, None).await.unwrap();
    assert_eq!((replayed.events, replayed.skipped), (2, 2));
    assert_eq!(replayed.last, Some(Place { offset: last.offset, at: last.at }));
    let open: Vec<_> = replayed.account.open().iter().map(Session::id).collect();
    assert_eq!(open, [session, second]);
    assert!(replayed.account.open_session(session).unwrap().holds_slot());
}

#[tokio::test]
async fn a_replay_ends_at_the_time_that_is_asked_for() {
    let (log, settings) = log().await;
    let store = store(&log, &settings);
    let (account, neighbour) = neighbours(&store);
    let (session, event) = start(&account);
    let first = append(&log, &event).await;
    while append(&log, &start(&neighbour).1).await.at == first.at {}
    append(&log, &start(&account).1).await;

    let replayed = store.replay_until(&account, Some(first.at)).await.unwrap();
    assert_eq!(replayed.events, 1);
    assert!(replayed.account.open_session(session).is_some());
    assert_eq!(replayed.last.unwrap().at, first.at);
    let before = store.replay_until(&account, Some(first.at.minus_ms(1))).await.unwrap();
    assert_eq!((before.events, before.last), (0, None));
}

#[tokio::test]
async fn an_account_goes_through_the_seams_own_repository() {
    let (log, settings) = log().await;
    let mut store = store(&log, &settings);
    let (account, _) = neighbours(&store);
    let policies = Arc::new(PolicySet::default());
    let place = Place { offset: 0, at: Timestamp::from_millis(0) };
    let placed = |event| PlacedEvent {
        id: uuid::Uuid::now_v7().to_string(),
        source: String::new(),
        event,
        place,
        policies: Arc::clone(&policies),
    };
    let (session, event) = start(&account);
    let events = vec![placed(event), placed(start(&account).1)];
    assert_eq!(store.append(account.clone(), Expected::Any, events).await.unwrap(), 2);

    let versions: Vec<_> = store
        .stream(account.clone(), Select::From(2))
        .await
        .unwrap()
        .map_ok(|event| (event.version(), event.sequence_number()))
        .try_collect()
        .await
        .unwrap();
    assert_eq!(versions, [(2, 1)]);

    let root =
        Repository::new(AggregateRootBuilder::from(AccountAggregate::new(policies)), store).get(account).await.unwrap();
    assert_eq!(root.version(), 2);
    assert!(root.state().open_session(session).unwrap().holds_slot());
}

#[tokio::test]
async fn only_another_version_is_a_conflict_and_nothing_is_removed() {
    let (log, settings) = log().await;
    let mut store = store(&log, &settings);
    let (account, neighbour) = neighbours(&store);
    append(&log, &start(&account).1).await;
    let right = store.append(account.clone(), Expected::Exact(1), Vec::new()).await.unwrap_err();
    assert!(matches!(right, StoreError::Unconditional) && !right.is_conflict_error());
    let wrong = store.append(account.clone(), Expected::Exact(7), Vec::new()).await.unwrap_err();
    assert!(wrong.is_conflict_error());
    assert_eq!(wrong.to_string(), "account acc-0 has version 1, not 7");

    let foreign = PlacedEvent {
        id: uuid::Uuid::now_v7().to_string(),
        source: String::new(),
        event: start(&neighbour).1,
        place: Place { offset: 0, at: Timestamp::from_millis(0) },
        policies: Arc::new(PolicySet::default()),
    };
    let error = store.append(account.clone(), Expected::Any, vec![foreign]).await.unwrap_err();
    assert!(matches!(error, StoreError::OtherAccount(_)));
    assert!(matches!(store.remove(account).await, Err(StoreError::NeverRemoved)));
    assert!(matches!(store.stream_all(Select::All).await, Err(StoreError::NoGlobalOrder)));
}
