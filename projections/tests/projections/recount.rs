//! A straight recount: one pass over the log, record by record, with nothing clever; and whether the
//! tables say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pulsegate_domain::account::{Account, Decision, EndedSession, Observe, Place, Session, SessionState};
use pulsegate_domain::event::{self, PlaybackEvent};
use pulsegate_domain::ids::{AccountId, SessionId};
use pulsegate_domain::policy::PolicySet;
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::Topic;
use pulsegate_projections::active_sessions::{self, Before};
use pulsegate_projections::hot_view::HotView;
use pulsegate_projections::runner::Record;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use sqlx::PgPool;

use crate::services::{Bench, DEADLINE};

/// What the tables must say.
#[derive(Default)]
pub(crate) struct Recount {
    accounts: BTreeMap<AccountId, (i32, Account)>,
    decisions: BTreeMap<AccountId, Vec<(i64, i32, Decision)>>,
    positions: BTreeMap<i32, (i64, Timestamp)>,
    skipped: BTreeSet<(i32, i64)>,
}

impl Recount {
    /// Recounts a whole topic.
    pub(crate) async fn of(bench: &Bench, policies: &PolicySet) -> Self {
        let (ends, kafka, topic) = (bench.ends().await, bench.kafka.clone(), bench.topics.name(Topic::Playback));
        let read = move || {
            let consumer: BaseConsumer = kafka.clone().set("group.id", "recount").create().unwrap();
            let mut log = BTreeMap::new();
            for (partition, end) in ends {
                let mut from = TopicPartitionList::new();
                from.add_partition_offset(&topic, partition, Offset::Beginning).unwrap();
                consumer.assign(&from).unwrap();
                let mut records: Vec<Record> = Vec::new();
                while records.last().is_none_or(|last| last.offset + 1 < end) {
                    // A poll may also return because of something else than a record.
                    let mut polls = (0..DEADLINE.as_secs()).map(|_| consumer.poll(Duration::from_secs(1)));
                    let message = polls.find_map(|polled| polled).expect("the log went silent").unwrap();
                    records.push(Record {
                        offset: message.offset(),
                        timestamp: message.timestamp().to_millis().map(Timestamp::from_millis),
                        key: message.key().map(|key| key.to_vec().into()),
                        value: message.payload().map(|value| value.to_vec().into()),
                        headers: Vec::new(),
                    });
                }
                log.insert(partition, records);
            }
            consumer.unassign().unwrap();
            log
        };
        let log = tokio::task::spawn_blocking(read).await.unwrap();
        let mut recount = Self::default();
        for (partition, records) in &log {
            recount.partition(*partition, records, policies);
        }
        recount
    }

    /// Recounts one partition.
    pub(crate) fn partition(&mut self, partition: i32, records: &[Record], policies: &PolicySet) {
        let mut clock = Timestamp::MIN;
        for record in records {
            clock = clock.max(record.timestamp.unwrap());
            self.positions.insert(partition, (record.offset + 1, clock));
            let place = Place { offset: record.offset, at: clock };
            if self.record(partition, record, place, policies).is_none() {
                self.skipped.insert((partition, record.offset));
            }
        }
    }

    fn record(&mut self, partition: i32, record: &Record, place: Place, policies: &PolicySet) -> Option<()> {
        let envelope = event::decode::<PlaybackEvent>(record.value.as_ref()?).ok()?;
        let id = envelope.event.account_id();
        if record.key.as_deref()? != id.as_str().as_bytes() {
            return None;
        }
        let (_, account) = self.accounts.entry(id.clone()).or_insert((partition, Account::default()));
        let mut decided = Decided::default();
        account.apply(&envelope.id, &envelope.event, place, policies, &mut decided).ok()?;
        let decisions = self.decisions.entry(id.clone()).or_default();
        for (ordinal, decision) in (0..).zip(decided.0) {
            decisions.push((place.offset, ordinal, decision));
        }
        Some(())
    }

    /// The sessions of an account that are still remembered where its partition stands.
    fn remembered(&self, partition: i32, account: &Account) -> BTreeMap<SessionId, SessionState> {
        let clock = self.positions[&partition].1;
        let ids = account.open().iter().map(Session::id).chain(account.ended().iter().map(EndedSession::id));
        let states = ids.map(|id| (id, account.session_state(id).unwrap()));
        states.filter(|(_, state)| clock < state.forget_at()).collect()
    }

    /// Fails unless the tables, read in every way there is, say exactly this.
    pub(crate) async fn agrees_with(&self, pool: &PgPool) {
        let snapshot = active_sessions::load_partitions(pool).await.unwrap();
        let positions: BTreeMap<_, _> = snapshot
            .partitions
            .iter()
            .filter(|(_, next, _)| *next > 0)
            .map(|(partition, next, clock)| (*partition, (*next, *clock)))
            .collect();
        assert_eq!(positions, self.positions, "positions");

        let mut tables: BTreeMap<AccountId, BTreeMap<SessionId, SessionState>> = BTreeMap::new();
        for (partition, account, state) in snapshot.sessions {
            assert_eq!(self.accounts[&account].0, partition, "the partition of {account}");
            if self.positions[&partition].1 < state.forget_at() {
                tables.entry(account).or_default().insert(state.id(), state);
            }
        }
        for (id, (partition, account)) in &self.accounts {
            let remembered = self.remembered(*partition, account);
            assert_eq!(tables.remove(id).unwrap_or_default(), remembered, "sessions of {id}");
            self.account_agrees(id, *partition, account, pool).await;
            self.decisions_agree(id, pool).await;
        }
        assert!(tables.is_empty(), "sessions of nobody: {tables:?}");

        let skipped: Vec<(i32, i64)> =
            sqlx::query_as("select partition, log_offset from pulsegate.dead_letters where kind = 'skipped'")
                .fetch_all(pool)
                .await
                .unwrap();
        assert_eq!(skipped.len(), self.skipped.len(), "skipped twice");
        assert_eq!(BTreeSet::from_iter(skipped), self.skipped, "dead letters");
    }

    /// The account as read for a cold check is the one that was folded.
    async fn account_agrees(&self, id: &AccountId, partition: i32, account: &Account, pool: &PgPool) {
        let clock = self.positions[&partition].1;
        let forgetful = |account: &Account| {
            let mut account = account.clone();
            account.forget(clock, &mut ());
            account
        };
        let known = active_sessions::account(pool, id).await.unwrap();
        assert_eq!(known.partition, Some(partition), "{id}");
        assert_eq!((known.position.next_offset, known.position.clock), self.positions[&partition]);
        assert_eq!(forgetful(&known.account), forgetful(account), "{id}");
    }

    async fn decisions_agree(&self, id: &AccountId, pool: &PgPool) {
        let mut pages = Vec::new();
        let mut before = None;
        loop {
            let page = active_sessions::decisions(pool, id, 37, before).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Some(Before { offset: last.decision.offset, ordinal: last.ordinal });
            pages.extend(page.into_iter().map(|row| (row.decision.offset, row.ordinal, row.decision)));
        }
        pages.reverse();
        let expected = self.decisions.get(id).map_or(&[][..], Vec::as_slice);
        assert_eq!(pages, expected, "decisions about {id}");
    }

    /// Fails unless the hot view, which stands where this does, remembers exactly this.
    pub(crate) fn is_what_the_view_holds(&self, view: &HotView) {
        for (id, (partition, account)) in &self.accounts {
            let clock = self.positions[partition].1;
            let forgetful = |account: &Account| {
                let mut account = account.clone();
                account.forget(clock, &mut ());
                account
            };
            let seen = view.look(id, |look| look.account.map(forgetful).unwrap_or_default());
            assert_eq!(seen, forgetful(account), "{id}");
        }
    }

    /// How much there is to agree on, so that a test can't pass on nothing.
    pub(crate) fn decided(&self) -> usize {
        self.decisions.values().map(Vec::len).sum()
    }

    pub(crate) fn skipped(&self) -> &BTreeSet<(i32, i64)> {
        &self.skipped
    }
}

#[derive(Default)]
struct Decided(Vec<Decision>);

impl Observe for Decided {
    fn decided(&mut self, decision: impl FnOnce() -> Decision) {
        self.0.push(decision());
    }
}
