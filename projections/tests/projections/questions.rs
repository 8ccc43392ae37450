//! Questions about the clickstream: each against a straight recomputation over random events.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike as _, Days, NaiveDate};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::Topic;
use pulsegate_projections::clickstream::funnel::{Moment, Reached, furthest};
use pulsegate_projections::clickstream::path::{Having, Path};
use pulsegate_projections::clickstream::question::{Ask, Bucket, Question, SessionsBy, Step};
use pulsegate_projections::clickstream::{
    self, Breakdown, Clickstream, Of, READ_MAX, Retained, Rows, SaveError, SavedName, TimelineQuestion, Trend, Visits,
    Whose,
};
use pulsegate_projections::live::ReadError;
use pulsegate_projections::runner::{Record, Source, Worker};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::services::on_a_database;

/// 2026-11-02T00:00:00Z, a Monday.
const BEGIN_MS: i64 = 1_793_577_600_000;
const DAY_MS: i64 = 86_400_000;
const NAMES: [&str; 5] = ["open", "search", "play", "finish", "say \"no\"; drop table events --"];
const KEY: &str = "a.b \"c\" = größe";

/// An event as it was sent.
#[derive(Clone, Debug)]
struct Sent {
    offset: i64,
    at_ms: i64,
    name: &'static str,
    account: Option<u8>,
    visitor: Option<u8>,
    session: Option<u8>,
    properties: Value,
}

impl Sent {
    /// The account, else the visitor.
    fn person(&self) -> String {
        match (self.account, self.visitor) {
            (Some(account), _) => format!("account-{account}"),
            (None, visitor) => format!("visitor-{}", visitor.unwrap_or_default()),
        }
    }

    fn record(&self) -> Record {
        let mut data = json!({"name": self.name, "properties": self.properties});
        if let Some(account) = self.account {
            data["account_id"] = json!(format!("account-{account}"));
        }
        if let Some(visitor) = self.visitor {
            data["anonymous_id"] = json!(format!("visitor-{visitor}"));
        }
        if let Some(session) = self.session {
            data["session_id"] = json!(session_id(session));
        }
        let value = json!({"id": self.offset.to_string(), "type": "pulsegate.clickstream.recorded.v1", "data": data});
        raw(self.offset, self.at_ms, value.to_string())
    }

    fn day(&self) -> NaiveDate {
        DateTime::from_timestamp_millis(self.at_ms).unwrap().date_naive()
    }

    /// What stands at a path, as text.
    fn said(&self, path: &Path) -> Option<String> {
        let found = path.steps().iter().try_fold(&self.properties, |value, step| match value {
            Value::Object(members) => members.get(step),
            Value::Array(elements) => elements.get(step.parse::<usize>().ok()?),
            _ => None,
        });
        match found? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    fn has(&self, having: &[Having]) -> bool {
        having.iter().all(|one| match (&one.is, self.said(&one.path)) {
            (Some(wanted), Some(said)) => *wanted == said,
            (None, said) => said.is_some(),
            (Some(_), None) => false,
        })
    }
}

fn session_id(session: u8) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001 + u128::from(session))
}

fn raw(offset: i64, at_ms: i64, value: String) -> Record {
    Record {
        offset,
        timestamp: Some(Timestamp::from_millis(at_ms)),
        key: Some("a".into()),
        value: Some(value.into()),
        headers: Vec::new(),
    }
}

/// Random events over some weeks, in clusters, of few people.
fn events() -> impl Strategy<Value = Vec<Sent>> {
    let properties = prop_oneof![
        Just(json!({})),
        (0_u8..4).prop_map(|n| json!({"player": {"version": format!("3.{n}")}, "n": n})),
        (0_u8..3).prop_map(|n| json!({"player": {"version": n}, KEY: [n, {"deep": true}]})),
        Just(json!({"player": null, KEY: "'; drop table events; --"})),
        Just(json!({"player": {"version": null}, KEY: []})),
    ];
    let pause_ms = prop_oneof![0_i64..2_000, 0_i64..3_600_000, 0_i64..3 * DAY_MS];
    let one = (pause_ms, 0..NAMES.len(), 0_u8..5, 0_u8..3, prop::option::of(0_u8..6), properties);
    prop::collection::vec(one, 1..120).prop_map(|told| {
        let mut at_ms = BEGIN_MS + 3 * DAY_MS;
        let sent = |(offset, (pause, name, who, visitor, session, properties)): (i64, (_, _, _, _, _, _))| {
            at_ms += pause;
            // Some without an account, and some with both.
            let (account, visitor) =
                if who == 4 { (None, Some(visitor)) } else { (Some(who), (who == 3).then_some(visitor)) };
            Sent { offset, at_ms, name: NAMES[name], account, visitor, session, properties }
        };
        (0..).zip(told).map(sent).collect()
    })
}

fn having() -> impl Strategy<Value = Vec<Having>> {
    let one = prop::sample::select(vec![
        "$.player.version=3.1".to_owned(),
        "$.player.version=1".to_owned(),
        "$.player.version".to_owned(),
        "$.n=2".to_owned(),
        format!("{}='; drop table events; --", Path::member(KEY)),
        format!("{}[1].deep=true", Path::member(KEY)),
    ]);
    prop::collection::vec(one.prop_map(|text| text.parse().unwrap()), 0..2)
}

fn asks() -> impl Strategy<Value = Ask> {
    let names = || prop::sample::select(&NAMES[..]).prop_map(str::to_owned);
    let paths = [Path::member("n"), "$.player.version".parse().unwrap(), Path::member(KEY).join("0")];
    let steps = prop::collection::vec((names(), having()).prop_map(|(name, having)| Step { name, having }), 2..5);
    prop_oneof![
        (any::<bool>(), 1_u32..5)
            .prop_map(|(hourly, top)| Ask::Trend { by: if hourly { Bucket::Hour } else { Bucket::Day }, top }),
        (prop::sample::select(paths.to_vec()), 1_u32..4).prop_map(|(path, top)| Ask::Breakdown { path, top }),
        prop_oneof![Just(SessionsBy::SessionId), (1_i64..7_200).prop_map(|s| SessionsBy::Gap(s * 1_000))]
            .prop_map(|by| Ask::Sessions { by }),
        (steps, 1_i64..172_800).prop_map(|(steps, window_s)| Ask::Funnel { steps, window_ms: window_s * 1_000 }),
        (names(), prop::option::of(names())).prop_map(|(first, back)| Ask::Retention { first, back }),
    ]
}

fn questions() -> impl Strategy<Value = Vec<Question>> {
    let filter = (
        prop::collection::vec(prop::sample::select(&NAMES[..]).prop_map(str::to_owned), 0..3),
        prop::option::weighted(0.2, 0_u8..5),
        prop::option::weighted(0.1, 0_u8..6),
        having(),
    );
    let spans = prop::sample::select(vec!["2026-11", "30d", "3d", "2026-11-05--2026-11-20", "2026-11-07"]);
    let one = (asks(), filter, spans).prop_map(|(ask, (names, account, session, having), span)| {
        let names = if matches!(ask, Ask::Funnel { .. } | Ask::Retention { .. }) { Vec::new() } else { names };
        let mut question = Question::read("trend", &[("period".to_owned(), span.to_owned())]).unwrap();
        question.filter.names = names;
        question.filter.account_id = account.map(|account| format!("account-{account}").parse().unwrap());
        question.filter.session_id = session.map(|session| session_id(session).to_string().parse().unwrap());
        question.filter.having = having;
        question.ask = ask;
        question
    });
    prop::collection::vec(one, 12..24)
}

/// What the question is about, in the order of the log.
fn asked<'a>(sent: &'a [Sent], question: &Question) -> Vec<&'a Sent> {
    let newest = sent.last().unwrap().day();
    let text = question.span.to_string();
    let (first, last) = match text.as_str() {
        "2026-11" => (day("2026-11-01"), day("2026-11-30")),
        "2026-11-07" => (day("2026-11-07"), day("2026-11-07")),
        "30d" => (newest - Days::new(29), newest),
        "3d" => (newest - Days::new(2), newest),
        _ => (day("2026-11-05"), day("2026-11-20")),
    };
    let first = if matches!(question.ask, Ask::Retention { .. }) { monday(first) } else { first };
    let filter = &question.filter;
    let is_asked = |one: &&Sent| {
        (first..=last).contains(&one.day())
            && (filter.names.is_empty() || filter.names.iter().any(|name| name == one.name))
            && filter
                .account_id
                .as_ref()
                .is_none_or(|id| one.account.is_some_and(|n| id.as_str() == format!("account-{n}")))
            && filter.session_id.is_none_or(|id| one.session.is_some_and(|n| id.uuid() == session_id(n)))
            && one.has(&filter.having)
    };
    sent.iter().filter(is_asked).collect()
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn monday(day: NaiveDate) -> NaiveDate {
    day - Days::new(day.weekday().num_days_from_monday().into())
}

/// The most frequent, then the first in the alphabet.
fn top<'a>(counts: &BTreeMap<&'a str, i64>, top: u32) -> Vec<&'a str> {
    let mut ranked: Vec<_> = counts.iter().map(|(name, n)| (-n, *name)).collect();
    ranked.sort_unstable();
    ranked.into_iter().take(top.try_into().unwrap()).map(|(_, name)| name).collect()
}

fn straight(asked: &[&Sent], ask: &Ask) -> Rows {
    match ask {
        Ask::Trend { by, top } => Rows::Trend(straight_trend(asked, *by, *top)),
        Ask::Breakdown { path, top } => Rows::Breakdown(straight_breakdown(asked, path, *top)),
        Ask::Sessions { by } => Rows::Sessions(straight_sessions(asked, *by)),
        Ask::Funnel { steps, window_ms } => Rows::Funnel(straight_funnel(asked, steps, *window_ms)),
        Ask::Retention { first, back } => Rows::Retention(straight_retention(asked, first, back.as_deref())),
    }
}

fn straight_trend(asked: &[&Sent], by: Bucket, told: u32) -> Vec<Trend> {
    let mut counts = BTreeMap::new();
    for one in asked {
        *counts.entry(one.name).or_insert(0) += 1;
    }
    let named = top(&counts, told);
    let step_ms = if by == Bucket::Hour { 3_600_000 } else { DAY_MS };
    // What isn't named comes last.
    let mut rows: BTreeMap<(i64, bool, Option<&str>), i64> = BTreeMap::new();
    for one in asked {
        let name = Some(one.name).filter(|name| named.contains(name));
        *rows.entry((one.at_ms / step_ms * step_ms, name.is_none(), name)).or_default() += 1;
    }
    let row = |((at, _, name), events): ((i64, bool, Option<&str>), i64)| Trend {
        at: DateTime::from_timestamp_millis(at).unwrap(),
        name: name.map(str::to_owned),
        events,
        error: None,
    };
    rows.into_iter().map(row).collect()
}

fn straight_breakdown(asked: &[&Sent], path: &Path, told: u32) -> Vec<Breakdown> {
    let said: Vec<_> = asked.iter().map(|one| one.said(path)).collect();
    let mut counts = BTreeMap::new();
    for value in said.iter().flatten() {
        *counts.entry(value.as_str()).or_insert(0) += 1;
    }
    let named = top(&counts, told);
    let mut rows: BTreeMap<(u8, usize), (i64, BTreeSet<String>)> = BTreeMap::new();
    for (one, value) in asked.iter().zip(&said) {
        let place = value.as_deref().map(|value| named.iter().position(|named| *named == value));
        let key = match place {
            Some(Some(rank)) => (0, rank),
            Some(None) => (1, 0),
            None => (2, 0),
        };
        let row = rows.entry(key).or_default();
        row.0 += 1;
        row.1.insert(one.person());
    }
    let row = |((kind, rank), (events, people)): ((u8, usize), (i64, BTreeSet<String>))| Breakdown {
        of: [Of::Value, Of::Other, Of::Missing][usize::from(kind)],
        value: (kind == 0).then(|| named[rank].to_owned()),
        events,
        error: None,
        people: people.len().try_into().unwrap(),
    };
    rows.into_iter().map(row).collect()
}

fn by_person<'a>(asked: &[&'a Sent]) -> BTreeMap<String, Vec<&'a Sent>> {
    let mut people: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for one in asked {
        people.entry(one.person()).or_default().push(*one);
    }
    people
}

fn straight_sessions(asked: &[&Sent], by: SessionsBy) -> Vec<Visits> {
    let mut visits: Vec<(String, Vec<&Sent>)> = Vec::new();
    match by {
        SessionsBy::Gap(gap_ms) => {
            for (person, did) in by_person(asked) {
                for (index, one) in did.iter().enumerate() {
                    if index > 0 && one.at_ms - did[index - 1].at_ms <= gap_ms {
                        visits.last_mut().unwrap().1.push(one);
                    } else {
                        visits.push((person.clone(), vec![one]));
                    }
                }
            }
        }
        SessionsBy::SessionId => {
            let mut sessions: BTreeMap<u8, Vec<&Sent>> = BTreeMap::new();
            for one in asked {
                if let Some(session) = one.session {
                    sessions.entry(session).or_default().push(one);
                }
            }
            for (_, did) in sessions {
                // Of several people who share one the database's least is taken; an account's comes first.
                let person = did.iter().map(|one| one.person()).min().unwrap();
                visits.push((person, did));
            }
        }
    }
    let days: BTreeSet<_> = visits.iter().map(|(_, did)| did[0].day()).collect();
    let groups = days.into_iter().map(Some).chain((!visits.is_empty()).then_some(None));
    groups.map(|day| figures(day, visits.iter().filter(|(_, did)| day.is_none_or(|day| did[0].day() == day)))).collect()
}

fn figures<'a>(day: Option<NaiveDate>, visits: impl Iterator<Item = &'a (String, Vec<&'a Sent>)> + Clone) -> Visits {
    let mut lengths: Vec<_> = visits.clone().map(|(_, did)| did.last().unwrap().at_ms - did[0].at_ms).collect();
    lengths.sort_unstable();
    // The first that so many of a hundred are at most.
    let at = |of_100: usize| lengths[(lengths.len() * of_100).div_ceil(100) - 1];
    Visits {
        day,
        sessions: lengths.len().try_into().unwrap(),
        error: None,
        people: visits.clone().map(|(person, _)| person).collect::<BTreeSet<_>>().len().try_into().unwrap(),
        events: visits.clone().map(|(_, did)| i64::try_from(did.len()).unwrap()).sum(),
        single: visits.filter(|(_, did)| did.len() == 1).count().try_into().unwrap(),
        median_ms: at(50),
        p95_ms: at(95),
    }
}

fn straight_funnel(asked: &[&Sent], steps: &[Step], window_ms: i64) -> Vec<Reached> {
    let fits = |one: &Sent| {
        steps
            .iter()
            .enumerate()
            .filter(|(_, step)| step.name == one.name && one.has(&step.having))
            .map(|(n, _)| 1_u8 << n)
            .sum()
    };
    // How one person is walked has a test of its own, against each try by itself.
    let walks: Vec<_> = by_person(asked)
        .into_values()
        .map(|did| {
            let moments = did.iter().map(|one| Moment { at_ms: one.at_ms, steps: fits(one) });
            furthest(moments.filter(|moment| moment.steps > 0), steps.len(), window_ms)
        })
        .collect();
    let reached = |step: usize| i64::try_from(walks.iter().filter(|times| times.len() > step).count()).unwrap();
    let milli = |part: i64, whole: i64| (whole > 0).then(|| (part * 1_000 + whole / 2) / whole);
    let row = |(index, step): (usize, &Step)| {
        let mut took: Vec<_> = walks
            .iter()
            .filter(|times| index > 0 && times.len() > index)
            .map(|times| times[index] - times[index - 1])
            .collect();
        took.sort_unstable();
        Reached {
            step: index + 1,
            name: step.name.clone(),
            people: reached(index),
            error: None,
            of_first_milli: milli(reached(index), reached(0)),
            of_previous_milli: milli(reached(index), reached(index.saturating_sub(1))),
            median_ms: took.get(took.len().saturating_sub(1) / 2).copied(),
        }
    };
    steps.iter().enumerate().map(row).collect()
}

fn straight_retention(asked: &[&Sent], first: &str, back: Option<&str>) -> Vec<Retained> {
    let mut rows: BTreeMap<(NaiveDate, i32), i64> = BTreeMap::new();
    for did in by_person(asked).into_values() {
        let Some(came) = did.iter().find(|one| one.name == first).map(|one| monday(one.day())) else { continue };
        let returned = did.iter().filter(|one| back.is_none_or(|back| one.name == back)).map(|one| monday(one.day()));
        let weeks: BTreeSet<_> = returned.filter(|week| *week > came).chain([came]).collect();
        for week in weeks {
            let after = i32::try_from((week - came).num_days() / 7).unwrap();
            *rows.entry((came, after)).or_default() += 1;
        }
    }
    rows.into_iter().map(|((week, after), people)| Retained { week, after, people, error: None }).collect()
}

async fn fold(pool: &PgPool, partition: i32, log: &[Record]) {
    let worker = Worker::new(Clickstream, pool.clone());
    let mut held = worker.take(Source { topic: Topic::Clickstream, partition }).await.unwrap();
    for batch in log.chunks(20_000) {
        worker.commit(&mut held, batch).await.unwrap();
    }
}

async fn empty(pool: &PgPool) {
    for table in ["events", "counts", "counts_by_hour", "counts_by_day", "sample_16", "sample_256"] {
        sqlx::query(AssertSqlSafe(format!("truncate clickstream_v2.{table}"))).execute(pool).await.unwrap();
    }
    sqlx::query("delete from pulsegate.projection_offsets").execute(pool).await.unwrap();
}

fn question(kind: &str, said: &[(&str, &str)]) -> Question {
    let pairs: Vec<_> = said.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Question::read(kind, &pairs).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_question_is_answered_as_a_straight_recomputation_does() {
    on_a_database(async |pool| {
        let runtime = tokio::runtime::Handle::current();
        let check = |(sent, questions): (Vec<Sent>, Vec<Question>)| {
            runtime.block_on(async {
                empty(pool).await;
                fold(pool, 0, &sent.iter().map(Sent::record).collect::<Vec<_>>()).await;
                for question in &questions {
                    // A question means what its text means.
                    assert_eq!(
                        Question::read_query(question.kind(), &question.query()).map(|read| read.query()),
                        Ok(question.query())
                    );
                    let answer = clickstream::ask(pool, question).await.unwrap();
                    assert_eq!(answer.sample, None);
                    assert_eq!(
                        answer.rows,
                        straight(&asked(&sent, question), &question.ask),
                        "{question:?}\nof {sent:#?}"
                    );
                }
            });
            Ok(())
        };
        tokio::task::block_in_place(|| {
            let config = Config { cases: 20, failure_persistence: None, max_shrink_iters: 40, ..Config::default() };
            TestRunner::new(config).run(&(events(), questions()), check).unwrap();
        });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_json_is_broken_down_and_none_stops_a_question() {
    on_a_database(async |pool| {
        let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(10_000));
        let properties = [
            r#"{"a":"\u0000"}"#,
            r#"{"a":1e999999}"#,
            r#"{"a":"\ud800"}"#,
            &deep,
            r#"{"a":1,"a":"the last counts"}"#,
            r#"{"a":1.0}"#,
            r#"{"a":1e2}"#,
            r#"{"a":"1.0"}"#,
            r#"{"a":123456789012345678901234567890}"#,
            r#"{"a":{"c" : 1, "b":[ ]}}"#,
            r#"{"a":true}"#,
            r#"{"a":null}"#,
            r#"{"größe":"XL"}"#,
            &long,
        ];
        let record = |(offset, properties): (i64, &&str)| {
            let value = format!(
                r#"{{"id":"{offset}","type":"pulsegate.clickstream.recorded.v1","data":
                     {{"name":"n","account_id":"a{offset}","properties":{properties}}}}}"#
            );
            raw(offset, BEGIN_MS, value)
        };
        fold(pool, 0, &(0..).zip(&properties).map(record).collect::<Vec<_>>()).await;
        let told = async |path: &str| -> Vec<(Of, String, i64)> {
            let question = question("breakdown", &[("path", path), ("top", "100")]);
            let Rows::Breakdown(rows) = clickstream::ask(pool, &question).await.unwrap().rows else {
                panic!("another kind")
            };
            rows.into_iter().map(|row| (row.of, row.value.unwrap_or_default(), row.events)).collect()
        };
        let values = [
            ("1.0", 2),
            ("100", 1),
            ("123456789012345678901234567890", 1),
            ("the last counts", 1),
            ("true", 1),
            (&"x".repeat(200), 1),
            (r#"{"b": [], "c": 1}"#, 1),
        ];
        let mut expected: Vec<_> = values.iter().map(|(value, n)| (Of::Value, (*value).to_owned(), *n)).collect();
        // Those that jsonb can't hold have nothing there; neither have null and the other name.
        expected.push((Of::Missing, String::new(), 6));
        assert_eq!(told("$.a").await, expected);
        assert_eq!(told("$.größe").await, [(Of::Value, "XL".to_owned(), 1), (Of::Missing, String::new(), 13)]);
        assert_eq!(told("$.a.b").await.first(), Some(&(Of::Value, "[]".to_owned(), 1)));
        let found = clickstream::paths(pool, None).await.unwrap();
        assert!(found.iter().any(|one| one.path == "$.größe" && one.values == ["XL"]), "{found:?}");
        // What a sender or an asker says is never a part of a statement.
        for nasty in ["$.\"'; drop table events; --\"", "$.\"$1\"", r#"$."\\' or 1=1""#, r#"$."a') is null; --""#] {
            assert_eq!(told(nasty).await, [(Of::Missing, String::new(), 14)]);
            let having = format!("{nasty}='; delete from events where ''='");
            let trend = question("trend", &[("where", &having), ("name", "'; truncate counts; --")]);
            assert_eq!(clickstream::ask(pool, &trend).await.unwrap().rows, Rows::Trend(vec![]));
        }
        assert_eq!(told("$.größe").await.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_events_a_sample_of_people_says_what_all_say_within_its_error() {
    on_a_database(async |pool| {
        let count = READ_MAX + 10_000;
        let record = |offset: i64| {
            let person = offset.wrapping_mul(7_919) % 3_000;
            let name = ["open", "search", "play"][usize::try_from(offset / 3_000 % 3).unwrap()];
            let value = format!(
                r#"{{"id":"{offset}","type":"pulsegate.clickstream.recorded.v1","data":
                     {{"name":"{name}","account_id":"account-{person}","properties":{{"kind":"{}"}}}}}}"#,
                ["tv", "web", "phone", "tv"][usize::try_from(person % 4).unwrap()]
            );
            raw(offset, BEGIN_MS + offset * 20_000, value)
        };
        fold(pool, 0, &(0..count).map(record).collect::<Vec<_>>()).await;
        let (sampled, people): (i64, i64) =
            sqlx::query_as("select count(*), count(distinct person) from clickstream.sample_16")
                .fetch_one(pool)
                .await
                .unwrap();
        let (thinner, right): (i64, i64) = sqlx::query_as(
            "select (select count(*) from clickstream.sample_256),
                    (select count(*) from clickstream.sample_16 where person & 255 = 0)",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        assert!(sampled > 0 && thinner == right, "{sampled} {thinner} {right}");
        let ask = async |kind: &str, said: &[(&str, &str)], exact: bool| {
            let mut question = question(kind, said);
            question.exact = exact;
            clickstream::ask(pool, &question).await.unwrap()
        };
        let all = [("period", "2026-11")];
        let breakdown = [all[0], ("path", "$.kind")];
        let (found, exact) = (ask("breakdown", &breakdown, false).await, ask("breakdown", &breakdown, true).await);
        assert_eq!((found.sample.map(|sample| sample.one_in), exact.sample, found.events), (Some(16), None, count));
        let (Rows::Breakdown(found), Rows::Breakdown(exact)) = (found.rows, exact.rows) else { panic!("another kind") };
        assert_eq!(found.iter().map(|row| row.events).sum::<i64>(), sampled * 16);
        assert_eq!(found.iter().map(|row| row.people).sum::<i64>(), people * 16);
        assert_eq!(exact.iter().map(|row| row.events).sum::<i64>(), count);
        for row in &exact {
            let found = found.iter().find(|found| found.value == row.value).unwrap();
            let error = found.error.unwrap();
            assert!((found.events - row.events).abs() <= 2 * error && error < row.events, "{found:?} {row:?}");
        }
        for (kind, said) in [
            ("funnel", vec![all[0], ("step", "open"), ("step", "search"), ("step", "play"), ("window", "5d")]),
            ("retention", vec![("period", "2026-11"), ("first", "open")]),
            ("sessions", vec![all[0]]),
        ] {
            let (found, exact) = (ask(kind, &said, false).await, ask(kind, &said, true).await);
            assert!(found.sample.is_some() && exact.sample.is_none());
            let people = |rows: &Rows| match rows {
                Rows::Funnel(rows) => rows.iter().map(|row| (row.people, row.error)).collect::<Vec<_>>(),
                Rows::Retention(rows) => rows.iter().map(|row| (row.people, row.error)).collect(),
                Rows::Sessions(rows) => rows.iter().map(|row| (row.sessions, row.error)).collect(),
                Rows::Trend(_) | Rows::Breakdown(_) => panic!("another kind"),
            };
            let (found, exact) = (people(&found.rows), people(&exact.rows));
            assert_eq!(found.len(), exact.len(), "{kind}");
            for ((found, error), (exact, none)) in found.into_iter().zip(exact) {
                assert!(
                    none.is_none() && (found - exact).abs() <= 2 * error.unwrap(),
                    "{kind}: {found} {error:?} {exact}"
                );
            }
        }
        // Whoever is asked about alone is looked at alone, in a sample or not.
        for person in 0..20 {
            let account = format!("account-{person}");
            let one = ask("sessions", &[all[0], ("account", &account)], false).await;
            let Rows::Sessions(rows) = one.rows else { panic!("another kind") };
            assert_eq!((one.sample, rows.last().unwrap().events), (None, count / 3_000));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_or_too_old_is_said() {
    on_a_database(async |pool| {
        let record = |offset: i64| {
            let value = format!(
                r#"{{"id":"{offset}","type":"pulsegate.clickstream.recorded.v1","data":
                     {{"name":"n","account_id":"a","properties":{{}}}}}}"#
            );
            raw(offset, BEGIN_MS + offset, value)
        };
        assert_eq!(clickstream::ask(pool, &question("sessions", &[])).await.unwrap().rows, Rows::Sessions(vec![]));
        fold(pool, 0, &(0..=READ_MAX).map(record).collect::<Vec<_>>()).await;
        let error = clickstream::ask(pool, &question("sessions", &[("account", "a")])).await.unwrap_err();
        assert!(matches!(error, ReadError::TooLong(why) if why.contains("50 000")), "{error}");
        let exact = question("sessions", &[("account", "a"), ("exact", "true")]);
        assert!(clickstream::ask(pool, &exact).await.is_ok());
        sqlx::query("update clickstream_v2.counts_by_day set events = 6000000").execute(pool).await.unwrap();
        let error = clickstream::ask(pool, &question("sessions", &[("exact", "true")])).await.unwrap_err();
        assert!(matches!(error, ReadError::TooLong(why) if why.contains("5 000 000")), "{error}");
        sqlx::query("drop view clickstream.sample_256").execute(pool).await.unwrap();
        sqlx::query("drop table clickstream_v2.sample_256").execute(pool).await.unwrap();
        let error = clickstream::ask(pool, &question("sessions", &[])).await.unwrap_err();
        assert!(matches!(error, ReadError::Old(why) if why.contains("rebuild clickstream")), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_goes_on_page_by_page() {
    on_a_database(async |pool| {
        let record = |offset: i64| {
            let value = format!(
                r#"{{"id":"{offset}","type":"pulsegate.clickstream.recorded.v1","data":
                     {{"name":"n","account_id":"ada","session_id":"{}","properties":{{"n":{offset}}}}}}}"#,
                session_id(u8::try_from(offset % 2).unwrap())
            );
            // Several at one instant.
            raw(offset, BEGIN_MS + offset / 4, value)
        };
        fold(pool, 0, &(0..100).map(record).collect::<Vec<_>>()).await;
        let session = session_id(1).to_string().parse().unwrap();
        let mut question =
            TimelineQuestion { whose: Whose::Session(session), from: None, until: None, after: None, limit: 7 };
        let mut offsets = Vec::new();
        loop {
            let page = clickstream::timeline(pool, &question).await.unwrap();
            assert!(page.decisions.is_empty() && page.events.len() <= 7);
            offsets.extend(page.events.iter().map(|event| event.offset));
            let Some(next) = page.next else { break };
            question.after = Some(next);
        }
        assert_eq!(offsets, (0..100).filter(|offset| offset % 2 == 1).collect::<Vec<_>>());
        let ada = TimelineQuestion {
            whose: Whose::Account("ada".parse().unwrap()),
            from: DateTime::from_timestamp_millis(BEGIN_MS + 10),
            until: DateTime::from_timestamp_millis(BEGIN_MS + 11),
            after: None,
            limit: 1_000,
        };
        assert_eq!(clickstream::timeline(pool, &ada).await.unwrap().events.len(), 4);
        sqlx::query(
            "insert into active_sessions_v1.decisions
               (account_id, partition, log_offset, ordinal, decision, session_id, counted, at)
             select 'ada', 0, n, 0, 'grant', $1, '{}', to_timestamp($2 / 1000.0) + interval '1 minute' * (n - 2)
             from generate_series(0, 4) as n",
        )
        .bind(session_id(9))
        .bind(BEGIN_MS)
        .execute(pool)
        .await
        .unwrap();
        let page = clickstream::timeline(pool, &ada).await.unwrap();
        // Those within a minute around.
        assert_eq!(page.decisions.iter().map(|decided| decided.offset).collect::<Vec<_>>(), [2, 3]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_saved_under_a_name_replaced_and_deleted() {
    on_a_database(async |pool| {
        let name = |text: &str| text.parse::<SavedName>().unwrap();
        let funnel = question("funnel", &[("step", "search"), ("step", "play"), ("where.2", "$.title=A & b")]);
        let kept = clickstream::save(pool, &name("Search → play"), &funnel).await.unwrap();
        assert_eq!((kept.kind.as_str(), kept.question()), ("funnel", Ok(funnel)));
        let trend = question("trend", &[]);
        clickstream::save(pool, &name("b"), &trend).await.unwrap();
        clickstream::save(pool, &name("Search → play"), &trend).await.unwrap();
        let listed = clickstream::saved(pool).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|one| (one.name.as_str(), one.query.as_str())).collect();
        assert_eq!(listed, [("Search → play", "period=7d&by=day&top=10"), ("b", "period=7d&by=day&top=10")]);
        assert!(clickstream::delete_saved(pool, &name("b")).await.unwrap());
        assert!(!clickstream::delete_saved(pool, &name("b")).await.unwrap());
        assert_eq!(clickstream::find_saved(pool, &name("b")).await.unwrap(), None);
        sqlx::query(
            "insert into pulsegate.saved_questions select 'n' || n, 'trend', '' from generate_series(2, 1000) as n",
        )
        .execute(pool)
        .await
        .unwrap();
        let error = clickstream::save(pool, &name("one more"), &trend).await.unwrap_err();
        assert!(matches!(error, SaveError::Full), "{error}");
        assert!(clickstream::save(pool, &name("n7"), &trend).await.is_ok());
    })
    .await;
}
