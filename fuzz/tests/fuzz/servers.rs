//! What servers send of themselves: lines of logs, deliveries, a licence server's questions; and the mapping that says
//! what stands where in them.

use pulsegate_domain::catalog::Catalog;
use pulsegate_domain::event::PlaybackEvent;
use pulsegate_domain::time::Timestamp;
use pulsegate_fuzz::{Bound, Said, Target, try_out};
use pulsegate_write_side::adapter::{CloudFront, Line, Mapping, parse_delivery, parse_licence};
use pulsegate_write_side::request::SignalRequest;
use pulsegate_write_side::stamp;

use super::events::stays;
use super::{BOUND, LEN_MAX, texts};

/// A line's query, headers and cookies are decoded anew for each thing that is looked for in them.
const LINES: Bound = Bound { a_byte: 256, at_least: 256 << 10 };

const MAPPING: &str = r#"{"cloudfront":{"fields":["timestamp","sc-status","cs-method","cs-uri-stem","cs-uri-query",
    "c-country","cs-cookie","cs-headers","c-ip","cs-user-agent","cmcd-content-id"],
    "paths":["/s/{account}/{title}/*","/vod/{title}/*"],"account_id":["path:account","query:jwt#/sub","cookie:uid",
    "query:account_id"],"title_id":["path:title","cmcd:cid"],"device_id":["query:device_id","cookie:dev",
    "header:X-Device-Id","hash:c-ip,cs-user-agent"],"manifests":[".m3u8"],"segments":[".ts",".m4s"]}}"#;

const LICENCE: &str = r#"{"licence":{"account_id":"/user/id","device_id":"/device/0","title_id":"/asset","kind":"/why",
    "renewals":["again"]}}"#;

fn seen(signal: SignalRequest) {
    let at = Timestamp::from_millis(1_795_380_423_120);
    stays(&PlaybackEvent::Signal(stamp::signal(signal, &Catalog::default(), None, at)));
}

#[test]
fn fuzzed_lines_of_a_log_are_read_or_refused() {
    let lines = [
        "1795380423.120\t200\tGET\t/vod/film-1/7.m4s\taccount_id=a&device_id=d&CMCD=cid%3D%22f%22%2Cot%3Dv%2Csid%3D%22S%22\tDE\t-\t-\t-\t-\t-",
        "1795380423\t304\tGET\t/s/acc-1/film-1/seg/1.ts\tdevice_id=tv%252D1\t-\ta=1;%20dev=tv-7\tHost:cdn%0AX-Device-Id:%20d\t192.0.2.1\tTV%2520box\tf",
        "1795380423\t200\tGET\t/x/a.m3u8?title_id=t\tjwt=e30.eyJzdWIiOiJhY2MtOSJ9.x&device_id=d\tAT\t-\tCMCD-Session:sid=%22S%22,cid=%22f%22\t-\t-\t-",
        "#Version: 1.0\n#Fields: date time cs-method cs(Host) cs-uri-stem sc-status cs-uri-query cs(Cookie)\n2026-11-22\t20:47:03\tGET\th\t/vod/f/1.ts\t200\taccount_id=a&device_id=d\t-",
    ];
    let mapping = Mapping::parse(MAPPING.as_bytes()).unwrap();
    try_out(
        &Target { name: "cloudfront", seeds: texts(&lines), bound: LINES, len_max: LEN_MAX, taken_min: 20 },
        |log| {
            let mut reader = CloudFront::new(&mapping);
            let mut said = Said::Refused;
            for line in log.split(|byte| *byte == b'\n') {
                if let Ok(Line::Seen(sighting)) = reader.line(line) {
                    seen(sighting.signal);
                    said = Said::Taken;
                }
            }
            said
        },
    );
}

#[test]
fn fuzzed_deliveries_are_taken_or_refused() {
    let seeds = [
        r#"{"requestId":"r-1","timestamp":1578090901599,"records":[{"data":"YQli"},{"data":"Ywo="}]}"#,
        r#"{"requestId":"r-2","records":[]}"#,
    ];
    try_out(
        &Target { name: "firehose", seeds: texts(&seeds), bound: BOUND, len_max: LEN_MAX, taken_min: 20 },
        |body| {
            let read = parse_delivery(body);
            if let Ok(delivery) = &read {
                assert!(delivery.lines.len() <= body.len());
            }
            Said::taken(read.is_ok())
        },
    );
}

#[test]
fn fuzzed_questions_of_licence_servers_are_taken_or_refused() {
    let plain = r#"{"account_id":"a","session_id":"6e2fb550-c457-11e9-bb97-0800200c9a66","device_id":7,"device_class":"tv",
        "title_id":"t","content_kind":"vod","territory":"DE","kind":"renewal"}"#;
    let mapped = r#"{"user":{"id":"a~1/b"},"device":["d"],"asset":12,"why":"again","user~":{"/id":null}}"#;
    for (name, mapping, seed) in [("licence", "{}", plain), ("licence-mapped", LICENCE, &mapped.replace("~1/b", ""))] {
        let mapping = Mapping::parse(mapping.as_bytes()).unwrap();
        try_out(&Target { name, seeds: texts(&[seed]), bound: BOUND, len_max: LEN_MAX, taken_min: 20 }, |body| {
            let read = parse_licence(body, &mapping);
            let said = Said::taken(read.is_ok());
            if let Ok(signal) = read {
                seen(signal);
            }
            said
        });
    }
}

#[test]
fn fuzzed_mappings_are_taken_or_refused() {
    let target = Target {
        name: "mapping",
        seeds: texts(&["{}", MAPPING, LICENCE]),
        bound: BOUND,
        len_max: LEN_MAX,
        taken_min: 20,
    };
    try_out(&target, |file| Said::taken(Mapping::parse(file).is_ok()));
}
