//! Questions about the clickstream: each against a straight recomputation over random events.

mod random;
mod straight;

use chrono::DateTime;
use proptest::prelude::{Strategy, prop, prop_oneof};
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use pulsegate_domain::topic::Topic;
use pulsegate_projections::clickstream::question::Question;
use pulsegate_projections::clickstream::{
    self, Clickstream, Of, READ_MAX, Rows, SaveError, SavedName, TimelineQuestion, Whose,
};
use pulsegate_projections::live::ReadError;
use pulsegate_projections::runner::{Record, Source, Worker};
use sqlx::{AssertSqlSafe, PgPool};

use crate::services::on_a_database;
use random::{events, questions};
use straight::{Sent, asked, raw, session_id, straight};

/// 2026-11-02T00:00:00Z, a Monday.
const BEGIN_MS: i64 = 1_793_577_600_000;

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

/// JSON objects, some of which `jsonb` can't hold.
fn objects() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => select(&[
            "null", "true", "false", "0", "-0", "1.50", "1e5", "1E+400000", "1e-20000", "-1.5E3", r#""""#, r#""1e5""#,
            r#""\u0041""#, r#""\u0000""#, r#""\ud83d\ude00""#, r#""\ud83d""#, r#""\\u0000""#, r#""\\\u0000""#, r#""\"1e9\"""#,
            r#""größe""#, r#""\n\/""#,
        ][..]).prop_map(str::to_owned),
        1 => "[1-9][0-9]{0,400}(\\.[0-9]{1,400})?",
        1 => (1..400_usize).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth)),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|values| format!("[{}]", values.join(" , "))),
            prop::collection::vec((select(&["a", "e", "1e", r"\u0000", "\\\""][..]), inner), 0..4).prop_map(|fields| {
                let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\" : {value}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    });
    value.prop_map(|value| format!(r#"{{"v":{value}}}"#))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_holds_as_jsonb_whatever_jsonb_can_hold() {
    on_a_database(async |pool| {
        let mut runner = TestRunner::deterministic();
        let log: Vec<_> = (0..6_000)
            .map(|offset| {
                let properties = objects().new_tree(&mut runner).unwrap().current();
                let value = format!(
                    r#"{{"id":"{offset}","type":"pulsegate.clickstream.recorded.v1","data":
                         {{"name":"n","account_id":"a{offset}","properties":{properties}}}}}"#
                );
                raw(offset, BEGIN_MS, value)
            })
            .collect();
        fold(pool, 0, &log).await;
        let (rows, without, other) = sqlx::query_as::<_, (i64, i64, i64)>(
            "select count(*), count(*) filter (where sample.properties is null),
                    count(*) filter (where sample.properties is distinct from
                                           clickstream_v2.properties_of(events.properties))
             from clickstream_v2.sample_16 as sample join clickstream_v2.events using (partition, log_offset)",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        assert!(rows > 200 && without > 20 && without < rows / 2, "{without} of {rows} rows have no properties");
        assert_eq!(other, 0);
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
            let error = found.people_error.unwrap();
            assert!((found.people - row.people).abs() <= 2 * error && error < row.people, "{found:?} {row:?}");
            assert_eq!(row.people_error, None);
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
                Rows::Sessions(rows) => {
                    let of = |row: &clickstream::Visits| [(row.sessions, row.error), (row.people, row.people_error)];
                    rows.iter().flat_map(of).collect()
                }
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
