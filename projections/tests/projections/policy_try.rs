//! A draft tried on random households says what a straight recount says: the model, which knows only the rules, reads
//! the log once by what was in force and once by the draft.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pulsegate_domain::policy::{OnLimit, PolicySet, Rule, Scope};
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::{Topic, TopicNames, partition_of};
use pulsegate_projections::policy_try::{self, Progress, Question, STREAMS_MAX, Sessions, Tried, WARM_UP_MS};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::FutureRecord;
use tokio_util::sync::CancellationToken;

use crate::households::{Event, Households, policies};
use crate::services::{DEADLINE, on_a_bench, producer};
use crate::straight_line::StraightLine;

const PARTITIONS: i32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_tried_draft_is_the_straight_recount_of_random_households() {
    let events = Households::new(23, 12).events(4_000);
    on_a_history(&events, async |kafka, topics| {
        let mut terms = policies().standard().terms.clone();
        terms.rules = vec![Rule { scope: Scope::Account, max: 1, on_limit: OnLimit::BlockNewest }];
        let (first, last) = (events[0].at, events[events.len() - 1].at);
        let middle = Timestamp::from_millis(i64::midpoint(first.millis(), last.millis()));
        let everything = Question { terms: terms.clone(), name: None, since: first, until: None, warm_up_ms: 0 };
        let some = Question {
            name: Some("standard".parse().unwrap()),
            since: middle,
            until: Some(last.minus_ms(3_600_000)),
            warm_up_ms: WARM_UP_MS,
            ..everything.clone()
        };
        let mut looser = terms;
        looser.rules[0].max = 3;
        let loose = Question { terms: looser, ..everything.clone() };
        for question in [everything, some, loose] {
            let tried = run(kafka, topics, &question).await.unwrap();
            let recount = Recount::of(&events, &question);
            assert_eq!((tried.told_no, tried.displaced), (recount.told_no(), recount.displaced()));
            assert!(tried.told_no.added + tried.told_no.removed > 0, "{:?}", tried.told_no);
            assert_eq!(tried.accounts_affected, recount.affected().len() as u64);
            let named: BTreeSet<_> = tried.most_affected.iter().map(|one| one.account_id.to_string()).collect();
            assert!(named.is_subset(&recount.affected()) && !named.is_empty());
            assert_eq!(tried.events, recount.events);
            let hours: Vec<_> = tried.hours.iter().map(|hour| (hour.before, hour.after)).collect();
            assert_eq!(hours.iter().map(|hour| hour.0).sum::<u64>(), tried.told_no.before);
            assert_eq!(hours, recount.hours());
            let peaks: Vec<_> = tried.concurrency.iter().map(|row| row.accounts).collect();
            assert_eq!(peaks, recount.peaks());
            let hit: u64 = peaks[3..].iter().sum();
            assert_eq!(tried.concurrency[2].a_limit_of_it_hits, hit);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_tried_says_why() {
    on_a_history(&Households::new(1, 1).events(10), async |kafka, topics| {
        let terms = policies().standard().terms.clone();
        let since = Timestamp::from_millis(0);
        let question = Question { terms, name: Some("gold".parse().unwrap()), since, until: None, warm_up_ms: 0 };
        let unknown = run(kafka, topics, &question).await.unwrap_err();
        assert_eq!(unknown, "there is no policy gold; there are: family, standard");
        let backwards = run(kafka, topics, &Question { name: None, until: Some(since), ..question.clone() }).await;
        assert_eq!(backwards.unwrap_err(), "the time to be looked at ends before it begins");
        // Nothing has happened since.
        let later = Timestamp::from_millis(4_000_000_000_000);
        let nothing = run(kafka, topics, &Question { name: None, since: later, ..question }).await.unwrap();
        assert_eq!((nothing.records, nothing.accounts, nothing.told_no), (0, 0, Sessions::default()));
    })
    .await;
}

async fn run(kafka: &ClientConfig, topics: &TopicNames, question: &Question) -> Result<Tried, String> {
    let (kafka, topics, question) = (kafka.clone(), topics.clone(), question.clone());
    let progress = Arc::new(Progress::default());
    let seen = Arc::clone(&progress);
    let tried = tokio::task::spawn_blocking(move || {
        policy_try::run(&kafka, &topics, &Arc::new(policies()), &question, &progress, &CancellationToken::new())
    });
    let tried = tried.await.unwrap().map_err(|error| error.to_string())?;
    let (folded, total) = seen.of_all();
    assert_eq!(folded, total, "all of it");
    Ok(tried)
}

type Key = (String, String);

/// What the model says of each session, before and with the draft.
#[derive(Default)]
struct Recount {
    no: [BTreeMap<Key, i64>; 2],
    displaced: [BTreeSet<Key>; 2],
    peaks: BTreeMap<String, usize>,
    events: u64,
}

impl Recount {
    fn of(events: &[Event], question: &Question) -> Self {
        let mut recount = Self::default();
        let draft = policies().with_terms(question.name.as_ref(), &question.terms);
        for (which, policies) in [policies(), draft].iter().enumerate() {
            recount.fold(which, events, policies, question);
        }
        recount
    }

    fn fold(&mut self, which: usize, events: &[Event], policies: &PolicySet, question: &Question) {
        let published = policies.iter().map(|policy| serde_json::to_value(policy.as_ref()).unwrap());
        let mut model = StraightLine::judging_by(published);
        let mut offsets = [0; 3];
        for event in events {
            let account = event.account.as_str();
            let partition = partition_of(account.as_bytes(), PARTITIONS);
            let offset = &mut offsets[usize::try_from(partition).unwrap()];
            model.record(partition, *offset, event.at.millis(), Some(account.as_bytes()), &event.value);
            *offset += 1;
            let counts = event.at >= question.since && question.until.is_none_or(|until| event.at < until);
            if which == 0 && counts {
                self.events += 1;
                let peak = self.peaks.entry(account.to_owned()).or_default();
                *peak = (*peak).max(model.wanted(account, event.at.millis()));
            }
        }
        for account in events.iter().map(|event| event.account.as_str()).collect::<BTreeSet<_>>() {
            for decision in model.decisions(account) {
                let at: Timestamp = serde_json::from_value(decision["at"].clone()).unwrap();
                if at < question.since || question.until.is_some_and(|until| at >= until) {
                    continue;
                }
                let key = (account.to_owned(), decision["session_id"].as_str().unwrap().to_owned());
                if decision["decision"] == "refuse" {
                    self.no[which].entry(key).or_insert(at.millis().div_euclid(3_600_000).rem_euclid(24));
                } else if decision["reason"] == "displaced" {
                    self.displaced[which].insert(key);
                }
            }
        }
    }

    fn told_no(&self) -> Sessions {
        let [before, after] = &self.no;
        sessions(&before.keys().cloned().collect(), &after.keys().cloned().collect())
    }

    fn displaced(&self) -> Sessions {
        sessions(&self.displaced[0], &self.displaced[1])
    }

    fn affected(&self) -> BTreeSet<String> {
        let no = self.no.each_ref().map(|of| of.keys().cloned().collect::<BTreeSet<_>>());
        let differ =
            no[0].symmetric_difference(&no[1]).chain(self.displaced[0].symmetric_difference(&self.displaced[1]));
        differ.map(|(account, _)| account.clone()).collect()
    }

    fn hours(&self) -> Vec<(u64, u64)> {
        let count = |which: usize, hour: i64| self.no[which].values().filter(|at| **at == hour).count() as u64;
        (0..24).map(|hour| (count(0, hour), count(1, hour))).collect()
    }

    fn peaks(&self) -> Vec<u64> {
        let with =
            |streams: usize| self.peaks.values().filter(|peak| (**peak).min(STREAMS_MAX) == streams).count() as u64;
        (0..=STREAMS_MAX).map(with).collect()
    }
}

fn sessions(before: &BTreeSet<Key>, after: &BTreeSet<Key>) -> Sessions {
    Sessions {
        before: before.len() as u64,
        after: after.len() as u64,
        added: after.difference(before).count() as u64,
        removed: before.difference(after).count() as u64,
    }
}

/// Runs a test on a log that holds these events at their own times, as history is brought in.
async fn on_a_history(events: &[Event], test: impl AsyncFnOnce(&ClientConfig, &TopicNames)) {
    on_a_bench(PARTITIONS, async |bench| {
        let topics = TopicNames::new(format!("{}history.", bench.topics.prefix()));
        let name = topics.name(Topic::Playback);
        let topic = NewTopic::new(&name, PARTITIONS, TopicReplication::Fixed(1))
            .set("message.timestamp.type", "CreateTime")
            .set("retention.ms", "-1");
        let admin: AdminClient<DefaultClientContext> = bench.kafka.create().unwrap();
        for made in admin.create_topics([&topic], &AdminOptions::new()).await.unwrap() {
            made.unwrap();
        }
        let producer = producer(&bench.kafka);
        let sent = events.iter().map(|event| {
            let key = event.account.as_str().as_bytes();
            let record = FutureRecord::to(&name).partition(partition_of(key, PARTITIONS)).key(key);
            producer.send(record.payload(&event.value).timestamp(event.at.millis()), DEADLINE)
        });
        for delivered in futures_util::future::join_all(sent).await {
            delivered.unwrap();
        }
        test(&bench.kafka, &topics).await;
        admin.delete_topics(&[&name], &AdminOptions::new()).await.unwrap();
    })
    .await;
}
