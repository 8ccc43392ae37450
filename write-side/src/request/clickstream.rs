//! `POST /v1/clickstream`

use pulsegate_domain::event::Recorded;
use pulsegate_domain::ids::{AccountId, AnonymousId, SessionId};
use serde_json::value::RawValue;

use super::{Batch, ClickstreamRequest};
use crate::json::field::{Instant, Name, Properties};
use crate::json::wire::{read_batch, wire};
use crate::problems::BodyError;

wire!(ClickstreamItem {
    required { name: Name }
    optional {
        occurred_at: Instant,
        account_id: AccountId,
        anonymous_id: AnonymousId,
        session_id: SessionId,
        properties: Properties,
    }
    conflict = |item| {
        let nobody = item.account_id.is_none() && item.anonymous_id.is_none();
        nobody.then_some("must have account_id or anonymous_id")
    }
});

impl From<ClickstreamItem> for ClickstreamRequest {
    fn from(item: ClickstreamItem) -> Self {
        Self {
            occurred_at: item.occurred_at.map(|instant| instant.0),
            recorded: Recorded {
                name: item.name.0,
                account_id: item.account_id,
                anonymous_id: item.anonymous_id,
                session_id: item.session_id,
                properties: item.properties.map_or_else(no_properties, |properties| properties.0),
            },
        }
    }
}

fn no_properties() -> Box<RawValue> {
    match RawValue::from_string("{}".to_owned()) {
        Ok(empty) => empty,
        Err(_) => unreachable!("`{{}}` is JSON"),
    }
}

/// Reads `{"events": […]}`: 1-1 000 of them, each good or bad by itself.
pub fn parse_clickstream_batch(body: &[u8]) -> Result<Batch<ClickstreamRequest>, BodyError> {
    read_batch(body, "events", |item: ClickstreamItem| ClickstreamRequest::from(item))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::wire::{fast_batch, slow_batch};

    #[test]
    fn properties_are_kept_as_they_came() {
        let properties = r#"{ "price":1.10, "big": 12345678901234567890123, "ä":"\u00e4" }"#;
        for more in ["", ",\"unknown\":1"] {
            let body = format!(r#"{{"events":[{{"name":"n","anonymous_id":"v","properties":{properties}{more}}}]}}"#);
            let batch = parse_clickstream_batch(body.as_bytes()).unwrap();
            assert_eq!(batch.accepted[0].1.recorded.properties.get(), properties, "{more}");
        }
        let batch = parse_clickstream_batch(br#"{"events":[{"name":"n","account_id":"a"}]}"#).unwrap();
        assert_eq!(batch.accepted[0].1.recorded.properties.get(), "{}");
    }

    #[test]
    fn somebody_must_have_done_it() {
        let body = br#"{"events":[{"name":"n"},{"name":"","properties":[]}]}"#;
        let batch = parse_clickstream_batch(body).unwrap();
        assert_eq!(batch.rejected[0].detail, "must have account_id or anonymous_id");
        let places: Vec<_> = batch.rejected[1].problems.iter().map(|problem| problem.pointer.as_str()).collect();
        assert_eq!(places, ["/name", "/properties"]);
    }

    #[test]
    fn a_key_that_stands_twice_is_found_in_properties_too() {
        let body = br#"{"events":[{"name":"n","account_id":"a","properties":{"x":[{"y":1,"y":2}]}}]}"#;
        assert!(matches!(parse_clickstream_batch(body), Err(BodyError::NotJson { .. })));
    }

    #[test]
    fn properties_end_at_the_same_depth_on_both_ways() {
        for (levels, good) in [(60, true), (61, false), (5_000, false)] {
            let nested = "[".repeat(levels) + &"]".repeat(levels);
            for more in ["", ",\"unknown\":1"] {
                let body =
                    format!(r#"{{"events":[{{"name":"n","account_id":"a","properties":{{"x":{nested}}}{more}}}]}}"#);
                assert_eq!(parse_clickstream_batch(body.as_bytes()).is_ok(), good, "{levels}{more}");
            }
        }
    }

    proptest! {
        #[test]
        fn both_ways_to_read_agree(
            properties in prop::sample::select(vec![
                "{}", "{\"a\":{\"b\":[1,{}]}}", "{\"a\":1,\"a\":2}", "[]", "null", "{\"a\":\"\\ud800\"}", "{\"a\":1e999}",
            ]),
            key in prop::sample::select(vec!["\"account_id\":\"a\",", "\"anonymous_id\":\"v\",", "\"account_id\":null,", ""]),
            when in prop::sample::select(vec!["", "\"occurred_at\":\"2026-11-22T20:47:03Z\",", "\"occurred_at\":1,"]),
        ) {
            let body = format!(r#"{{"events":[{{{key}{when}"name":"n","properties":{properties}}}]}}"#);
            let slow = slow_batch(body.as_bytes(), "events", |item: ClickstreamItem| item);
            match fast_batch::<ClickstreamItem>(&body, "events") {
                Some(fast) => {
                    let accepted = fast.into_iter().enumerate().collect();
                    prop_assert_eq!(slow, Ok(Batch { accepted, rejected: Vec::new() }));
                }
                None => prop_assert!(slow.is_err() || slow.is_ok_and(|read| !read.rejected.is_empty())),
            }
        }
    }
}
