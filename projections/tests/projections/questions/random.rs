//! Random events and random questions.

use proptest::prelude::*;
use pulsegate_projections::clickstream::path::{Having, Path};
use pulsegate_projections::clickstream::question::{Ask, Bucket, Question, SessionsBy, Step};
use serde_json::json;

use super::BEGIN_MS;
use super::straight::{Sent, session_id};

const DAY_MS: i64 = 86_400_000;
const NAMES: [&str; 5] = ["open", "search", "play", "finish", "say \"no\"; drop table events --"];
const KEY: &str = "a.b \"c\" = größe";

/// Random events over some weeks, in clusters, of few people.
pub(super) fn events() -> impl Strategy<Value = Vec<Sent>> {
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

pub(super) fn questions() -> impl Strategy<Value = Vec<Question>> {
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
