//! A household in which no player ever sends a heartbeat: a television of which only a licence server hears, a stick of
//! which only a delivery network's log tells, and a tablet.

use std::io::Write as _;

use chrono::{DateTime, Duration, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::deployment::{Answer, Deployment, Node, until};
use crate::recount::{Collected, recount};

const ACCOUNT: &str = "mute";

/// The fields that the mapping of this test lists.
const MAPPING: &str = r#"{"cloudfront": {"fields": ["timestamp", "sc-status", "cs-method", "cs-uri-stem", "cs-uri-query"],
  "paths": ["/{account}/{device}/*"], "account_id": ["path:account"], "device_id": ["path:device"]},
  "licence": {"account_id": "/user/id", "device_id": "/device", "title_id": "/asset", "kind": "/type"}}"#;

fn line(at: DateTime<Utc>, account: &str, device: &str, file: &str) -> String {
    let (seconds, ms) = (at.timestamp(), at.timestamp_subsec_millis());
    format!("{seconds}.{ms:03}\t200\tGET\t/{account}/{device}/{file}\tCMCD=cid%3D%22dune%22\n")
}

struct Household<'a> {
    node: &'a Node,
    collected: Vec<Collected>,
}

impl Household<'_> {
    /// The licence server asks before it issues.
    async fn licence(&mut self, account: &str, device: &str, kind: &str) -> Answer {
        let question = json!({"user": {"id": account}, "device": device, "asset": "dune", "type": kind});
        let answer = self.node.post("/v1/signals/licence", &question).await;
        let session = answer.body["session_id"].as_str().unwrap_or_default().to_owned();
        self.collected.extend(Collected::from_body(account, &session, &answer.body));
        answer
    }

    /// The network's log comes in.
    async fn log(&self, lines: String) -> Value {
        let url = format!("{}/v1/signals/cloudfront", self.node.url);
        let request = self.node.client.post(url).header("content-type", "text/plain").body(lines);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        answer.json().await.expect("JSON")
    }

    async fn sessions(&self) -> Vec<Value> {
        let answer = self.node.get(&format!("/v1/accounts/{ACCOUNT}/sessions")).await;
        answer.body["sessions"].as_array().expect("sessions").clone()
    }
}

fn counts(outcome: &Value) -> [u64; 5] {
    ["lines", "accepted", "thinned", "too_old", "refused"].map(|name| outcome[name].as_u64().expect(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_household_that_never_sends_a_heartbeat_is_blocked_right() {
    let folder = tempfile::tempdir().expect("a folder");
    let mapping = folder.path().join("mapping.json");
    std::fs::write(&mapping, MAPPING).expect("a mapping");
    let deployment = Deployment::new().await;
    let node = deployment.node_with(&[("PULSEGATE_SIGNALS_MAPPING", mapping.to_str().expect("UTF-8"))]).await;
    let patient = json!({"rules": [{"scope": "account", "max": 2, "on_limit": "block_newest"}],
        "leases_ms": {"cdn_segment": 3_600_000, "manifest": 3_600_000, "drm_licence": 3_600_000,
                      "drm_renewal": 3_600_000}});
    assert_eq!(node.put("/v1/policies/standard", &patient).await.status, 200);
    let mut household = Household { node: &node, collected: Vec::new() };

    let television = household.licence(ACCOUNT, "tv", "LICENSE").await;
    assert_eq!((television.status, &television.body["verdict"]["in_use"]), (200, &json!(1)), "{television:?}");
    let now = Utc::now();
    let mut lines = line(now, ACCOUNT, "stick", "index.m3u8");
    for segment in 0..50 {
        lines.push_str(&line(now + Duration::milliseconds(segment), ACCOUNT, "stick", "7.m4s"));
    }
    lines.push_str("what is this?\n");
    lines.push_str(&line(now - Duration::hours(2), ACCOUNT, "attic", "7.m4s"));
    let outcome = household.log(lines).await;
    assert_eq!(counts(&outcome), [53, 1, 50, 1, 1], "{outcome}");
    assert_eq!(outcome["rejected"][0]["line"], 52, "{outcome}");
    until("the stick to have its slot", || async { household.sessions().await.len() == 2 }).await;

    // Both play, by different senders: the tablet gets no licence, and sees who is in the way.
    let tablet = household.licence(ACCOUNT, "tablet", "LICENSE").await;
    assert_eq!((tablet.status, &tablet.body["code"]), (409, &json!("concurrency-limit-reached")), "{tablet:?}");
    let mut in_the_way: Vec<_> = tablet.body["verdict"]["conflicts"]
        .as_array()
        .expect("conflicts")
        .iter()
        .map(|conflict| conflict["device_id"].as_str().expect("a device"))
        .collect();
    in_the_way.sort_unstable();
    assert_eq!(in_the_way, ["stick", "tv"]);
    assert_eq!(household.licence("somebody-else", "tv", "LICENSE").await.status, 200);
    assert_eq!(household.licence(ACCOUNT, "tv", "renewal").await.status, 200, "it goes on");
    // The stick fetches a licence too: it is the same viewing.
    let stick = household.licence(ACCOUNT, "stick", "LICENSE").await;
    assert_eq!((stick.status, &stick.body["verdict"]["in_use"]), (200, &json!(2)), "{stick:?}");
    assert_eq!(household.sessions().await.len(), 3);

    // A television that is sent away may not come back by a licence; the tablet gets its slot.
    let session = television.body["session_id"].as_str().expect("a session");
    let evicted = node.post(&format!("/v1/accounts/{ACCOUNT}/sessions/{session}/evict"), &json!({})).await;
    assert_eq!(evicted.status, 200);
    let again = household.licence(ACCOUNT, "tv", "LICENSE").await;
    assert_eq!((again.status, &again.body["code"]), (410, &json!("session-ended")), "{again:?}");
    assert_eq!(household.licence(ACCOUNT, "tablet", "LICENSE").await.status, 200);

    // The log also comes as a file: whoever is in it and in nobody's way plays, the rest waits.
    let file = folder.path().join("log.gz");
    let mut gzip = GzEncoder::new(std::fs::File::create(&file).expect("a file"), Compression::fast());
    let now = Utc::now();
    let lines = [
        line(now, ACCOUNT, "console", "1.ts"),
        line(now, "guest", "phone", "1.ts"),
        line(now, "guest", "phone", "2.ts"),
        line(now - Duration::hours(2), "guest", "web", "1.ts"),
        line(now, "-", "phone", "1.ts"),
        line(now, "guest", "phone", "poster.jpg"),
    ];
    gzip.write_all(lines.concat().as_bytes()).expect("written");
    gzip.finish().expect("written");
    let import =
        ["signals", "import", "--format", "cloudfront", "--json", "--mapping", mapping.to_str().expect("UTF-8")];
    let run = |more: &[&str]| -> Value {
        let args = [&import, more, &[file.to_str().expect("UTF-8")]].concat();
        serde_json::from_str(&deployment.run(&args)).expect("JSON")
    };
    for report in [run(&["--dry-run"]), run(&[])] {
        let counts =
            ["lines", "sent", "thinned", "too_old", "not_media"].map(|name| report[name].as_u64().expect(name));
        assert_eq!(counts, [6, 2, 1, 1, 1], "{report}");
        assert_eq!(report["refused"]["account_id"]["first"], json!([format!("{}:5", file.display())]), "{report}");
    }
    // Many files are one log.
    let both = run(&["--dry-run", file.to_str().expect("UTF-8")]);
    assert_eq!(["lines", "sent", "thinned"].map(|name| both[name].as_u64().expect(name)), [12, 2, 4], "{both}");
    until("the console to wait", || async { household.sessions().await.len() == 3 }).await;
    let sessions = household.sessions().await;
    let console = sessions.iter().find(|session| session["device_id"] == "console").expect("a console");
    assert_eq!(console["verdict"]["reason"], "limit_reached", "{console}");

    // What Firehose delivers is read the same, and answered as it wants.
    let delivery = json!({"requestId": "r-1", "timestamp": 1_578_090_901_599_u64, "records": [{"data": "YQliCg=="}]});
    let answer = node.post("/v1/signals/cloudfront", &delivery).await;
    assert_eq!((answer.status, &answer.body["requestId"]), (200, &json!("r-1")), "{answer:?}");
    assert!(answer.body["timestamp"].is_i64() && answer.body["refused"] == 1, "{answer:?}");

    let found = recount(&deployment, &household.collected);
    assert_eq!(found.compared, household.collected.len());
    assert!(found.records.iter().all(|record| !record.value.contains(".heartbeat.v1")), "nobody sent a heartbeat");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mute_players_slot_frees_when_all_who_speak_of_it_are_silent() {
    let deployment = Deployment::new().await;
    let node = deployment.node().await;
    let brief = json!({"rules": [{"scope": "account", "max": 1, "on_limit": "block_newest"}],
                       "leases_ms": {"drm_licence": 1_500, "cdn_segment": 1_000}});
    assert_eq!(node.put("/v1/policies/standard", &brief).await.status, 200);
    let ask = async |device: &str| {
        let question = json!({"account_id": ACCOUNT, "device_id": device, "title_id": "dune"});
        node.post("/v1/signals/licence", &question).await
    };
    assert_eq!(ask("tv").await.status, 200);
    // The licence server asks again and again for the tablet: it is issued as soon as the television is gone.
    until("the tablet's licence", || async { ask("tablet").await.status == 200 }).await;
    let television = ask("tv").await;
    assert_eq!((television.status, &television.body["verdict"]["reason"]), (409, &json!("limit_reached")));
}
