//! What has been released is a fact for ever: `tests/golden/` holds a record of every type.

use pulsegate_domain::event::{
    Attributes, CatalogEvent, ClickstreamEvent, Event, KINDS, PlaybackEvent, ProvisionalEvent, Unreadable, decode,
    encode,
};
use pulsegate_domain::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

fn golden(kind: &str) -> String {
    let path = format!("{}/tests/golden/{kind}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path);
    text.unwrap_or_else(|error| panic!("each type needs a golden file: {path}: {error}")).trim_end().to_owned()
}

/// Reads a record and writes it again, with the attributes that the log has beside the event.
fn again(text: &str) -> Result<String, Unreadable> {
    fn of<T: Event + Serialize>(text: &str, attributes: &Attributes<'_>) -> Result<String, Unreadable> {
        let envelope = decode::<T>(text.as_bytes())?;
        assert_eq!(envelope.id, attributes.id.to_string());
        Ok(String::from_utf8(encode(attributes, &envelope.event)).unwrap())
    }

    let record: Value = serde_json::from_str(text).unwrap();
    let word = |name: &str| record[name].as_str().unwrap();
    let attributes = Attributes {
        id: word("id").parse().unwrap(),
        source: word("source"),
        subject: word("subject"),
        time: serde_json::from_value::<Timestamp>(record["time"].clone()).unwrap(),
        partition_key: word("partitionkey"),
    };
    match word("type").split('.').nth(1) {
        Some("playback") => of::<PlaybackEvent>(text, &attributes),
        Some("clickstream") => of::<ClickstreamEvent>(text, &attributes),
        Some("catalog") => of::<CatalogEvent>(text, &attributes),
        Some("provisional") => of::<ProvisionalEvent>(text, &attributes),
        family => panic!("{family:?} is no family of events"),
    }
}

/// The same JSON with every letter and digit of every text and name written as an escape.
fn escaped(value: &Value) -> String {
    fn text(text: &str) -> String {
        text.encode_utf16().fold(String::new(), |out, unit| out + &format!("\\u{unit:04x}"))
    }

    match value {
        Value::String(string) => format!("\"{}\"", text(string)),
        Value::Array(items) => format!("[{}]", items.iter().map(escaped).collect::<Vec<_>>().join(" , ")),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("\"{}\" : {}", text(name), escaped(value)));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join("\n, "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn every_type_is_read_and_written_byte_for_byte() {
    for kind in KINDS {
        let text = golden(kind);
        assert_eq!(value(&text)["type"], json!(kind));
        assert_eq!(again(&text).unwrap(), text, "{kind}");
    }
}

#[test]
fn every_golden_file_is_of_a_type_that_is_still_read() {
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(KINDS.iter().any(|kind| name == format!("{kind}.json")), "{name} is of no known type");
    }
}

#[test]
fn escapes_and_spaces_change_nothing() {
    for kind in KINDS {
        let text = golden(kind);
        assert_eq!(value(&again(&escaped(&value(&text))).unwrap()), value(&text), "{kind}");
    }
}

#[test]
fn data_may_stand_before_type() {
    for kind in KINDS {
        let text = golden(kind);
        let (head, data) = text.strip_suffix('}').unwrap().split_once(",\"data\":").unwrap();
        let early = format!("{{\"data\":{data},{}}}", head.strip_prefix('{').unwrap());
        assert_eq!(again(&early).unwrap(), text, "{kind}");
    }
}

#[test]
fn what_others_add_is_passed_over() {
    for kind in KINDS {
        let text = golden(kind);
        let more = text.replacen('{', r#"{"traceparent":"00-1-2-01","ext":{"data":[{}]},"#, 1);
        assert_eq!(again(&more).unwrap(), text, "{kind}");
        let inside = text.replacen(r#""data":{"#, r#""data":{"note":{"id":[1,null]},"#, 1);
        let mut read = value(&again(&inside).unwrap());
        // A contract keeps what the parties agreed on beside what this program knows.
        if *kind == "pulsegate.catalog.contract_registered.v1" {
            assert_eq!(read["data"]["note"], json!({"id": [1, null]}));
            read["data"].as_object_mut().unwrap().remove("note");
        }
        assert_eq!(read, value(&text), "{kind}");
    }
}

#[test]
fn what_may_be_left_out_has_its_default() {
    let mut heartbeat = value(&golden("pulsegate.playback.heartbeat.v1"));
    let mut started = value(&golden("pulsegate.playback.started.v1"));
    let mut policy = value(&golden("pulsegate.catalog.policy_published.v1"));
    for (record, fields) in [
        (&mut heartbeat, &["device_class", "content_kind", "territory", "rights_holder", "age_ms", "rate_milli"][..]),
        (&mut started, &["device_class", "content_kind", "territory", "rights_holder", "evict"]),
        (&mut policy, &["leases_ms", "paused_hold_ms", "per_device"]),
    ] {
        for field in fields {
            record["data"].as_object_mut().unwrap().remove(*field).unwrap();
        }
    }
    let heartbeat = value(&again(&heartbeat.to_string()).unwrap());
    assert_eq!(heartbeat["data"]["age_ms"], 0);
    assert_eq!(heartbeat["data"]["rate_milli"], 1_000);
    assert_eq!(heartbeat["data"].get("device_class"), None);
    let started = value(&again(&started.to_string()).unwrap());
    assert_eq!(started["data"]["evict"], json!([]));
    let policy = value(&again(&policy.to_string()).unwrap());
    assert_eq!(policy["data"], value(&golden("pulsegate.catalog.policy_published.v1"))["data"]);
}

#[test]
fn what_an_event_lacks_or_misspells_is_named() {
    let text = golden("pulsegate.playback.heartbeat.v1");
    for (from, to, says) in [
        (r#""sequence":0,"#, "", "missing field `sequence`"),
        (r#""sequence":0"#, r#""sequence":-1"#, "invalid value"),
        (r#""sequence":0"#, r#""sequence":0,"sequence":1"#, "duplicate field `sequence`"),
        (r#""state":"playing""#, r#""state":"Playing""#, "must be one of playing, paused"),
        (r#""territory":"DE""#, r#""territory":"de""#, "two upper-case letters"),
        (r#""title_id":"title:42""#, r#""title_id":"/42""#, "1-128 characters"),
        (r#""policy":"premium@3""#, r#""policy":"premium""#, "1-128 characters"),
        ("0123456789ab\",\"device_id", "0123456789\",\"device_id", "a UUID that is not nil"),
        ("heartbeat.v1", "heartbeat.v2", "unknown event type"),
        (r#","data":"#, r#","data":null,"data":"#, "invalid type: null"),
    ] {
        let wrong = text.replacen(from, to, 1);
        assert_ne!(wrong, text, "{from} is not in the golden file");
        let error = decode::<PlaybackEvent>(wrong.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(says), "{to}: {error}");
    }
}
