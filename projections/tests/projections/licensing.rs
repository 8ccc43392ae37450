//! Licensing: any split of the log gives the tables that the rules' text gives.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use pulsegate_domain::ids::{AccountId, SessionId};
use pulsegate_domain::topic::Topic;
use pulsegate_projections::licensing::Licensing;
use pulsegate_projections::runner::{Committed, Record, Source, Worker};
use sqlx::PgPool;

use crate::section_five::{Told, tell};
use crate::services::on_a_database;
use crate::splits::records;
use crate::viewers::{GRAIN_MS, Viewers};

pub(crate) const PARTITION: Source = Source { topic: Topic::Playback, partition: 0 };

pub(crate) fn records_of(seed: u64, count: usize) -> Vec<Record> {
    records(&Viewers::new(seed, 5).events(count))
}

/// What was watched on a day in a territory without leaving it.
#[derive(Debug, PartialEq, Eq)]
struct Fact {
    title: String,
    day: NaiveDate,
    territory: String,
    class: String,
    before: i128,
    watched: i128,
    aged: i128,
    content: i128,
    played: bool,
    intervals: Vec<(i64, i64)>,
}

/// Steps become facts where day and territory stay the same.
fn facts(told: &Told) -> Vec<Fact> {
    let mut facts: Vec<Fact> = Vec::new();
    for step in &told.steps {
        let same = |fact: &Fact| {
            let class = step.class.as_str();
            fact.day == step.day && fact.territory == step.territory.as_str() && fact.class == class
        };
        if !facts.last().is_some_and(same) {
            facts.push(Fact {
                title: step.title.as_str().into(),
                day: step.day,
                territory: step.territory.as_str().into(),
                class: step.class.as_str().into(),
                before: step.before,
                watched: 0,
                aged: 0,
                content: 0,
                played: false,
                intervals: Vec::new(),
            });
        }
        let fact = facts.last_mut().unwrap();
        fact.watched += step.watched;
        fact.aged += step.aged;
        fact.content += step.content;
        fact.played |= step.plays;
        if let Some((from, to)) = step.interval {
            match fact.intervals.last_mut() {
                Some(last) if last.1 == from => last.1 = to,
                _ => fact.intervals.push((from, to)),
            }
        }
    }
    facts
}

type Sessions = BTreeMap<(AccountId, SessionId), (Option<String>, i64, i64)>;

/// Fails unless the tables are what the rules say.
async fn agrees(pool: &PgPool, log: &[Record]) {
    let told = tell(log);
    let mut sessions = Sessions::new();
    let mut expected: BTreeMap<(AccountId, SessionId), Vec<Fact>> = BTreeMap::new();
    for (key, told) in &told {
        let seen_ms = i64::try_from(told.seen.len() as u64 * GRAIN_MS).unwrap();
        let watched_ms = i64::try_from(told.watched).unwrap();
        let title = told.title.as_ref().map(|title| title.as_str().to_owned());
        sessions.insert(key.clone(), (title, watched_ms, seen_ms));
        let facts = facts(told);
        if !facts.is_empty() {
            expected.insert(key.clone(), facts);
        }
    }
    assert!(expected.len() > 5, "only {} sessions watched", expected.len());
    let rows: Vec<(String, uuid::Uuid, Option<String>, i64, i64)> = sqlx::query_as(
        "select account_id, session_id, title_id,
                (select coalesce(sum(watched_ms), 0)::bigint from licensing.facts
                 where (facts.partition, facts.first_offset) = (sessions.partition, sessions.first_offset)),
                (select coalesce(sum(upper(one) - lower(one)), 0)::bigint
                 from licensing.facts, unnest(seen) as one
                 where (facts.partition, facts.first_offset) = (sessions.partition, sessions.first_offset))
         from licensing.sessions",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let key = |account: String, session| (account.parse().unwrap(), SessionId::new(session).unwrap());
    let mut found = Sessions::new();
    for (account, session, title, watched_ms, seen_ms) in rows {
        assert_eq!(found.insert(key(account, session), (title, watched_ms, seen_ms)), None, "a session twice");
    }
    // What it takes to fold a session on stands in one place: with its newest fact, else with itself.
    let misplaced = sqlx::query_scalar::<_, i64>(
        "select count(*) from (
           select place, state is null as settled, lead(place) over (partition by partition, first_offset order by place) as next
           from (select partition, first_offset, place, state from licensing.facts
                 union all select partition, first_offset, -1, state from licensing.sessions) as placed
         ) as placed where settled = (next is null)",
    );
    assert_eq!(misplaced.fetch_one(pool).await.unwrap(), 0);
    // Who was only evicted has no row.
    sessions.retain(|key, row| found.contains_key(key) || row.0.is_some());
    assert_eq!(found, sessions);

    let rows: Vec<(uuid::Uuid, FactRow)> = sqlx::query_as::<_, FactRow>(
        "select session_id, facts.account_id, facts.title_id, day, facts.territory, device_class, before_ms, facts.watched_ms, aged_ms,
                content_ms, played, array(select lower(one) from unnest(intervals) as one order by 1) as lows,
                array(select upper(one) from unnest(intervals) as one order by 1) as highs
         from licensing.facts join licensing.sessions using (partition, first_offset)
         order by partition, first_offset, place",
    )
    .fetch_all(pool)
    .await
    .unwrap()
    .into_iter()
    .map(|row| (row.session_id, row))
    .collect();
    let mut facts: BTreeMap<(AccountId, SessionId), Vec<Fact>> = BTreeMap::new();
    for (session, row) in rows {
        facts.entry(key(row.account_id, session)).or_default().push(Fact {
            title: row.title_id,
            day: row.day,
            territory: row.territory,
            class: row.device_class,
            before: row.before_ms.into(),
            watched: row.watched_ms.into(),
            aged: row.aged_ms.into(),
            content: row.content_ms.into(),
            played: row.played,
            intervals: row.lows.into_iter().zip(row.highs).collect(),
        });
    }
    assert_eq!(facts, expected);
}

#[derive(sqlx::FromRow)]
struct FactRow {
    session_id: uuid::Uuid,
    account_id: String,
    title_id: String,
    day: NaiveDate,
    territory: String,
    device_class: String,
    before_ms: i64,
    watched_ms: i64,
    aged_ms: i64,
    content_ms: i64,
    played: bool,
    lows: Vec<i64>,
    highs: Vec<i64>,
}

#[tokio::test(flavor = "multi_thread")]
async fn any_split_of_the_log_gives_what_the_rules_say() {
    on_a_database(async |pool| {
        let runtime = tokio::runtime::Handle::current();
        let worker = Worker::new(Licensing, pool.clone());
        let splits = (any::<u32>(), prop::collection::vec((1_usize..160, any::<bool>()), 1..10));
        let check = |(seed, splits): (u32, Vec<(usize, bool)>)| {
            runtime.block_on(async {
                for sql in [
                    "truncate licensing_v4.sessions, licensing_v4.facts, pulsegate.dead_letters",
                    "delete from pulsegate.projection_offsets",
                ] {
                    sqlx::query(sql).execute(pool).await.unwrap();
                }
                let log = records_of(seed.into(), 500);
                let mut partition = worker.take(PARTITION).await.unwrap();
                let mut stands = 0;
                for (length, restart) in splits {
                    let end = (stands + length).min(log.len());
                    // What was folded before is given again: it counts once.
                    worker.commit(&mut partition, &log[stands.saturating_sub(7)..end]).await.unwrap();
                    if restart {
                        partition = worker.take(PARTITION).await.unwrap();
                    }
                    stands = end;
                }
                worker.commit(&mut partition, &log[stands..]).await.unwrap();
                agrees(pool, &log).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_says_nonsense_is_left_out_alone() {
    on_a_database(async |pool| {
        let mut log = records_of(11, 200);
        let heartbeat = log.iter().rposition(|record| {
            std::str::from_utf8(record.value.as_deref().unwrap()).unwrap().contains("heartbeat.v1")
        });
        let place = heartbeat.unwrap();
        let value = String::from_utf8(log[place].value.clone().unwrap().to_vec()).unwrap();
        let (before, behind) = value.split_once("\"position_ms\":").unwrap();
        let behind = &behind[behind.find(',').unwrap()..];
        log[place].value = Some(format!("{before}\"position_ms\":9007199254740993{behind}").into_bytes().into());
        log[3].value = Some(b"\xff\x00garbage".to_vec().into());
        log[5].key = Some(b"somebody-else".to_vec().into());
        let worker = Worker::new(Licensing, pool.clone());
        let mut partition = worker.take(PARTITION).await.unwrap();
        let committed = worker.commit(&mut partition, &log).await.unwrap();
        assert_eq!(committed, Committed::Done { folded: 197, skipped: 3 });
        log[place].value = None;
        agrees(pool, &log).await;
    })
    .await;
}
