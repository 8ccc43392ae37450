//! `POST …/heartbeats` and `POST /v1/heartbeats`

use pulsegate_domain::ids::{
    AccountId, ContentKind, DeviceClass, DeviceId, PlayerState, SessionId, Territory, TitleId,
};

use super::{AGE_MS_MAX, Batch, HeartbeatRequest};
use crate::json::field::{Integer, Rate};
use crate::json::wire::{read, read_batch, wire};
use crate::problems::BodyError;

/// A rate that nobody said: as filmed.
const RATE_MILLI: u32 = 1_000;

/// A heartbeat's fields, behind those that say whose it is where its route doesn't.
macro_rules! heartbeat {
    ($name:ident { $($key:ident: $key_type:ty),* }) => {
        wire!($name {
            required {
                $($key: $key_type,)*
                device_id: DeviceId,
                title_id: TitleId,
                sequence: Integer,
                elapsed_ms: Integer,
                position_ms: Integer,
                state: PlayerState,
            }
            optional {
                device_class: DeviceClass,
                content_kind: ContentKind,
                territory: Territory,
                age_ms: Integer<AGE_MS_MAX>,
                rate: Rate,
            }
        });

        impl $name {
            fn into_request(self, account_id: AccountId, session_id: SessionId) -> HeartbeatRequest {
                HeartbeatRequest {
                    account_id,
                    session_id,
                    device_id: self.device_id,
                    device_class: self.device_class,
                    title_id: self.title_id,
                    content_kind: self.content_kind,
                    territory: self.territory,
                    sequence: self.sequence.0,
                    elapsed_ms: self.elapsed_ms.0,
                    age_ms: self.age_ms.map_or(0, |age| age.0),
                    position_ms: self.position_ms.0,
                    state: self.state,
                    rate_milli: self.rate.map_or(RATE_MILLI, |rate| rate.milli),
                }
            }
        }
    };
}

heartbeat!(HeartbeatBody {});
heartbeat!(HeartbeatItem { account_id: AccountId, session_id: SessionId });

/// Reads the body of a heartbeat.
pub fn parse_heartbeat(account: AccountId, session: SessionId, body: &[u8]) -> Result<HeartbeatRequest, BodyError> {
    read(body).map(|body: HeartbeatBody| body.into_request(account, session))
}

/// Reads `{"heartbeats": […]}`: 1-1 000 of them, each good or bad by itself.
pub fn parse_heartbeat_batch(body: &[u8]) -> Result<Batch<HeartbeatRequest>, BodyError> {
    read_batch(body, "heartbeats", |item: HeartbeatItem| {
        let account = item.account_id.clone();
        let session = item.session_id;
        item.into_request(account, session)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::wire::{fast, fast_batch, slow, slow_batch};

    const SESSION: &str = "019ab0c4-7e1a-7abc-8def-0123456789ab";

    fn item(extra: &str) -> String {
        format!(
            r#"{{"account_id":"a","session_id":"{SESSION}","device_id":"d","title_id":"t","sequence":1,
                "elapsed_ms":10000,"position_ms":9000,"state":"playing"{extra}}}"#
        )
    }

    fn batch(items: &[String]) -> String {
        format!(r#"{{"heartbeats":[{}]}}"#, items.join(","))
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let request = parse_heartbeat("b".parse().unwrap(), SESSION.parse().unwrap(), item("").as_bytes()).unwrap();
        assert_eq!((request.age_ms, request.rate_milli, request.territory), (0, 1_000, None));
        // The route says whose it is, whatever the body says.
        assert_eq!(request.account_id.as_str(), "b");
    }

    #[test]
    fn a_heartbeat_is_at_most_seven_days_old() {
        let parse = |age: u64| parse_heartbeat_batch(batch(&[item(&format!(",\"age_ms\":{age}"))]).as_bytes()).unwrap();
        assert_eq!(parse(AGE_MS_MAX).accepted[0].1.age_ms, AGE_MS_MAX);
        assert_eq!(parse(AGE_MS_MAX + 1).rejected[0].detail, "/age_ms must be an integer of 0-604800000");
    }

    #[test]
    fn a_bad_item_spoils_no_other() {
        let bad = r#"{"account_id":"a","state":"dancing","rate":17}"#.to_owned();
        let body = batch(&[item(""), bad.clone(), "7".to_owned(), item(",\"sdk\":\"2.0\"")]);
        let read = parse_heartbeat_batch(body.as_bytes()).unwrap();
        assert_eq!(read.accepted.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 3]);
        let [first, second] = &read.rejected[..] else { panic!("two are bad") };
        assert_eq!((first.index, first.key.as_deref(), &first.original), (1, Some("a"), &bad));
        assert_eq!(first.problems.len(), 8);
        assert!(first.detail.contains("/state must be one of playing"), "{}", first.detail);
        assert_eq!((second.index, second.detail.as_str()), (2, "must be an object"));
    }

    #[test]
    fn a_batch_holds_1_to_1000() {
        let parse = |count| parse_heartbeat_batch(batch(&vec![item(""); count]).as_bytes()).map(|read| read.len());
        assert_eq!(parse(1), Ok(1));
        assert_eq!(parse(1_000), Ok(1_000));
        for count in [0, 1_001] {
            assert_eq!(parse(count).unwrap_err().to_string(), "invalid: /heartbeats must hold 1-1000 heartbeats");
        }
        for (body, says) in [
            ("{}", "invalid: /heartbeats is required"),
            (r#"{"heartbeats":{}}"#, "invalid: /heartbeats must be an array"),
            ("[]", "invalid: must be an object"),
        ] {
            assert_eq!(parse_heartbeat_batch(body.as_bytes()).unwrap_err().to_string(), says);
        }
    }

    #[test]
    fn a_key_that_stands_twice_anywhere_spoils_the_whole_batch() {
        for twice in [r#","state":"paused""#, r#","x":1,"x":1"#, r#","x":{"y":1,"y":1}"#] {
            let error = parse_heartbeat_batch(batch(&[item(""), item(twice)]).as_bytes()).unwrap_err();
            assert!(matches!(&error, BodyError::NotJson { detail } if detail.contains("duplicate key")), "{error}");
        }
    }

    /// A body of a heartbeat: each field right, wrong or left out, in any order, sometimes with more.
    fn bodies() -> impl Strategy<Value = (String, bool)> {
        let field = |name: &'static str, values: &'static [&'static str]| {
            prop_oneof![
                8 => Just(values[0]).prop_map(move |value| Some(format!("\"{name}\":{value}"))),
                3 => prop::sample::select(values).prop_map(move |value| Some(format!("\"{name}\" : {value}"))),
                1 => Just(None),
            ]
        };
        let known = (
            field("device_id", &["\"d\"", "\"\"", "7", "null", "\"a\\u0040b\"", "\"\\ud800\""]),
            field("title_id", &["\"t\"", "\"-t\"", "[]"]),
            field("sequence", &["0", "9007199254740991", "9007199254740992", "-1", "1.0", "1e2", "-0", "\"1\""]),
            field("elapsed_ms", &["10000", "null", "18446744073709551616"]),
            field("position_ms", &["1", "true"]),
            field("state", &["\"playing\"", "\"Playing\"", "{}"]),
            field("device_class", &["\"tv\"", "null", "\"fridge\""]),
            field("territory", &["\"DE\"", "\"de\"", "null"]),
            field("age_ms", &["0", "604800001", "1.5"]),
            field("rate", &["1", "1.25", "16.1", "-0.0", "1e999", "null"]),
        );
        let unknown = prop_oneof![
            6 => Just(None),
            1 => Just(Some("\"x\":{\"y\":[1,2]}".to_owned())),
            1 => Just(Some("\"x\":{\"y\":1,\"y\":2}".to_owned())),
            1 => Just(Some("\"state\":\"paused\"".to_owned())),
        ];
        (known, unknown).prop_flat_map(|((a, b, c, d, e, f, g, h, i, j), unknown)| {
            let more = unknown.is_some();
            let fields: Vec<_> = [a, b, c, d, e, f, g, h, i, j, unknown].into_iter().flatten().collect();
            (Just(fields).prop_shuffle(), Just(more))
                .prop_map(|(fields, more)| (format!("{{{}}}", fields.join(",")), more))
        })
    }

    proptest! {
        #[test]
        fn both_ways_to_read_agree((body, more) in bodies()) {
            let slow = slow::<HeartbeatBody>(body.as_bytes());
            match fast::<HeartbeatBody>(&body) {
                Some(fast) => prop_assert_eq!(slow, Ok(fast)),
                // Only what is unknown may cost a good body its fast reading.
                None => prop_assert!(slow.is_err() || more, "{}", body),
            }
        }

        #[test]
        fn both_ways_to_read_a_batch_agree(items in prop::collection::vec(bodies(), 1..5)) {
            let more = items.iter().any(|(_, more)| *more);
            let body = format!(r#"{{"heartbeats":[{}]}}"#, items.into_iter().map(|(body, _)| body).collect::<Vec<_>>().join(","));
            let slow = slow_batch(body.as_bytes(), "heartbeats", |item: HeartbeatBody| item);
            match fast_batch::<HeartbeatBody>(&body, "heartbeats") {
                Some(fast) => {
                    let accepted = fast.into_iter().enumerate().collect();
                    prop_assert_eq!(slow, Ok(Batch { accepted, rejected: Vec::new() }));
                }
                None => prop_assert!(more || slow.is_err() || slow.is_ok_and(|read| !read.rejected.is_empty())),
            }
        }

        #[test]
        fn nothing_that_is_sent_breaks_a_parser(body in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(parse_heartbeat_batch(&body));
            drop(parse_heartbeat("a".parse().unwrap(), SESSION.parse().unwrap(), &body));
        }
    }
}
