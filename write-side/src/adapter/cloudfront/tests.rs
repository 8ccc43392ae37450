use proptest::prelude::*;

use super::*;

const SESSION: &str = "6e2fb550-c457-11e9-bb97-0800200c9a66";

/// A real-time record of 40 fields, with these in place of `-`.
fn record(fields: &[(&str, &str)]) -> String {
    let mapping = Mapping::default();
    let mut values = vec!["-"; mapping.cloudfront.fields.len()];
    for (name, value) in fields {
        let index = mapping.cloudfront.fields.iter().position(|field| field == name).expect(name);
        values[index] = value;
    }
    values.join("\t")
}

fn read_with(mapping: &str, line: &str) -> Result<Line, String> {
    let mapping = Mapping::parse(mapping.as_bytes()).unwrap();
    CloudFront::new(&mapping).line(line.as_bytes()).map_err(|error| error.to_string())
}

fn read(line: &str) -> Result<Line, String> {
    read_with("{}", line)
}

fn seen(read: Result<Line, String>) -> Sighting {
    match read {
        Ok(Line::Seen(sighting)) => *sighting,
        other => panic!("{other:?}"),
    }
}

fn segment(query: &str) -> String {
    record(&[
        ("timestamp", "1795380423.120"),
        ("sc-status", "200"),
        ("cs-method", "GET"),
        ("cs-uri-stem", "/vod/film-1/1080p/7.m4s"),
        ("cs-uri-query", query),
        ("c-country", "DE"),
    ])
}

#[test]
fn a_real_time_record_with_media_data_in_its_query_is_a_sighting() {
    let query = format!(
        "account_id=acc-1&device_id=tv-1&CMCD=bl%3D21300%2Ccid%3D%22film-1%22%2Cot%3Dv%2Csid%3D%22{SESSION}%22%2Cst%3Dl"
    );
    let Sighting { at, signal } = seen(read(&segment(&query)));
    assert_eq!(at.to_string(), "2026-11-22T20:47:03.120Z");
    assert_eq!((signal.account_id.as_str(), signal.device_id.as_str()), ("acc-1", "tv-1"));
    assert_eq!((signal.title_id.as_str(), signal.kind), ("film-1", SignalKind::CdnSegment));
    assert_eq!(signal.session_id.unwrap().to_string(), SESSION);
    assert_eq!(signal.content_kind, Some(ContentKind::Live));
    assert_eq!(signal.territory.unwrap().as_str(), "DE");
}

#[test]
fn a_log_that_encodes_what_was_encoded_is_read_the_same() {
    let once = "account_id=acc-1&device_id=tv-1&CMCD=cid%3D%22film-1%22%2Cot%3Dm";
    let twice = once.replace('%', "%25");
    assert_eq!(read(&segment(once)), read(&segment(&twice)));
    assert_eq!(seen(read(&segment(&twice))).signal.kind, SignalKind::Manifest);
}

#[test]
fn media_data_also_comes_in_headers_and_in_fields_of_the_log() {
    let base = [
        ("timestamp", "1795380423"),
        ("cs-uri-stem", "/x.ts?account_id=a&device_id=d"),
        ("cs-headers", "Host:cdn%0ACMCD-Session:sid=%22S%22,cid=%22film-2%22"),
    ];
    assert_eq!(seen(read(&record(&base))).signal.title_id.as_str(), "film-2");
    let mapping = r#"{"cloudfront":{"fields":["timestamp","cs-uri-stem","cmcd-content-id","cmcd-object-type"]}}"#;
    let line = "1795380423\t/x?account_id=a&device_id=d\tfilm-3\tav";
    let signal = seen(read_with(mapping, line)).signal;
    assert_eq!((signal.title_id.as_str(), signal.kind), ("film-3", SignalKind::CdnSegment));
    // A session that is no UUID is the player's own word.
    assert_eq!(seen(read(&record(&base))).signal.session_id, None);
}

#[test]
fn accounts_are_found_in_paths_cookies_tokens_and_devices_in_what_there_is() {
    let mapping = r#"{"cloudfront":{
        "paths":["/s/{account}/{title}/*"], "account_id":["path:account"], "title_id":["path:title"],
        "device_id":["cookie:dev","hash:c-ip,cs-user-agent"]}}"#;
    let line = |cookie| {
        record(&[
            ("timestamp", "1795380423"),
            ("c-ip", "192.0.2.1"),
            ("cs-user-agent", "TV%2520box"),
            ("cs-cookie", cookie),
            ("cs-uri-stem", "/s/acc-1/film-1/seg/1.ts"),
        ])
    };
    let signal = seen(read_with(mapping, &line("a=1;%20dev=tv-7"))).signal;
    assert_eq!((signal.account_id.as_str(), signal.title_id.as_str()), ("acc-1", "film-1"));
    assert_eq!(signal.device_id.as_str(), "tv-7");
    let (one, other) = (seen(read_with(mapping, &line("-"))), seen(read_with(mapping, &line("a=1"))));
    assert_eq!(one.signal.device_id, other.signal.device_id);
    assert!(one.signal.device_id.as_str().starts_with("h-"));

    let mapping = r#"{"cloudfront":{"account_id":["query:jwt#/sub"]}}"#;
    // {"sub":"acc-9"}
    let line = segment("jwt=e30.eyJzdWIiOiJhY2MtOSJ9.x&device_id=d&title_id=t");
    assert_eq!(seen(read_with(mapping, &line)).signal.account_id.as_str(), "acc-9");
}

#[test]
fn a_standard_log_names_its_fields_itself() {
    let mapping = Mapping::default();
    let mut log = CloudFront::new(&mapping);
    let mut line = |line: &str| log.line(line.as_bytes()).map_err(|error| error.to_string());
    assert_eq!(line("#Version: 1.0"), Ok(Line::Blank));
    assert_eq!(
        line("#Fields: date time x-edge-location cs-method cs(Host) cs-uri-stem sc-status cs-uri-query cs(Cookie)"),
        Ok(Line::Blank)
    );
    let sighting = seen(line(
        "2026-11-22\t20:47:03\tFRA56\tGET\td.cloudfront.net\t/a/index.m3u8\t304\ttitle_id=film-1&device_id=tv\taccount_id=acc-1",
    ));
    assert_eq!(sighting.at.to_string(), "2026-11-22T20:47:03.000Z");
    assert_eq!((sighting.signal.account_id.as_str(), sighting.signal.kind), ("acc-1", SignalKind::Manifest));
    assert_eq!(line("2026-11-22\t20:47:03"), Err("line has 2 fields, and 9 are listed".to_owned()));
}

#[test]
fn what_was_not_served_and_what_is_no_media_is_passed_over() {
    let line = |method, status, path| {
        record(&[("timestamp", "1"), ("cs-method", method), ("sc-status", status), ("cs-uri-stem", path)])
    };
    assert_eq!(read(&line("GET", "403", "/x.ts")), Ok(Line::NotServed));
    assert_eq!(read(&line("GET", "000", "/x.ts")), Ok(Line::NotServed));
    assert_eq!(read(&line("HEAD", "200", "/x.ts")), Ok(Line::NotServed));
    assert_eq!(read(&line("GET", "200", "/poster.jpg")), Ok(Line::NotMedia));
    assert_eq!(read(""), Ok(Line::Blank));
}

#[test]
fn an_error_names_the_field_and_what_was_looked_at() {
    assert_eq!(
        read(&segment("device_id=d&title_id=t")),
        Err("account_id was found in none of query:account_id, cookie:account_id, header:X-Account-Id".to_owned())
    );
    assert_eq!(
        read(&segment("account_id=-&device_id=d&title_id=t")),
        Err("account_id must be 1-128 characters of A-Z a-z 0-9 . _ : @ -, the first a letter or digit \
             (query:account_id says \"-\")"
            .to_owned())
    );
    assert_eq!(
        read(&segment("account_id=a&device_id=d&title_id=t").replace("1795380423.120", "yesterday")),
        Err("timestamp is \"yesterday\", which is no time".to_owned())
    );
    assert_eq!(read(&segment("").replace("200", "ok")), Err("sc-status is \"ok\", which is no status".to_owned()));
    assert_eq!(read("a\tb"), Err("line has 2 fields, and 40 are listed".to_owned()));
    let mapping = Mapping::default();
    let mut log = CloudFront::new(&mapping);
    assert_eq!(log.line(b"\xff").unwrap_err().to_string(), "line is not UTF-8");
    assert_eq!(log.line(&vec![b'x'; LINE_LEN_MAX + 1]).unwrap_err().to_string(), "line is longer than 65536 bytes");
}

#[test]
fn a_time_is_seconds_or_milliseconds() {
    for (text, ms) in [
        ("1795380423", Some(1_795_380_423_000)),
        ("1795380423.12", Some(1_795_380_423_120)),
        ("1795380423.1209", Some(1_795_380_423_120)),
        ("1795380423120", Some(1_795_380_423_120)),
        ("1795380423120.5", Some(1_795_380_423_120)),
        ("", None),
        ("-1", None),
        ("1e9", None),
        (".5", None),
        ("99999999999999999999", None),
    ] {
        assert_eq!(seconds(text).map(Timestamp::millis), ms, "{text}");
    }
}

/// Bytes that look like a line, so that more than its length is read.
fn odd_line() -> impl Strategy<Value = Vec<u8>> {
    let odd = prop::sample::select(vec![
        "-",
        "",
        "%",
        "%25%32",
        "1795380423.1",
        "/x.ts?CMCD=%22",
        "CMCD=sid%3D%22%5C",
        "account_id=a&device_id=%FF&title_id=t",
        "a=b;%20c",
        "é\u{0}",
        "GET",
        "200",
        "CMCD-Session:sid=",
    ]);
    let field =
        prop_oneof![4 => odd.prop_map(|text| text.as_bytes().to_vec()), 1 => prop::collection::vec(any::<u8>(), 0..12)];
    prop::collection::vec(field, 38..42).prop_map(|fields| fields.join(&b'\t'))
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_each_error_names_a_field(
        lines in prop::collection::vec(prop_oneof![odd_line(), prop::collection::vec(any::<u8>(), 0..200)], 1..8),
        fields in prop::option::of("[a-z()# -]{0,60}"),
    ) {
        let mapping = Mapping::parse(
            br#"{"cloudfront":{"paths":["/{t}/*"],"account_id":["query:jwt#/sub","path:t","query:account_id"],
                "device_id":["hash:c-ip,cs-host"],"title_id":["cmcd:cid","header:x","cookie:c","field:cs-host"]}}"#,
        ).unwrap();
        let mut log = CloudFront::new(&mapping);
        if let Some(fields) = fields {
            prop_assert_eq!(log.line(format!("#Fields: {fields}").as_bytes()), Ok(Line::Blank));
        }
        for line in lines {
            if let Err(error) = log.line(&line) {
                prop_assert!(!error.field.is_empty() && !error.detail.is_empty());
            }
        }
    }
}
