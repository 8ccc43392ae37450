//! A node whose clock is an hour off: verdicts, and when leases end, are those of the log's time all the same.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::deployment::{Answer, Deployment, Node, root, until};
use crate::observing::Exposed;
use crate::recount::{Collected, recount};

const HOUR_MS: i64 = 3_600_000;

/// A clock that a process is given and that can be stepped while it runs.
pub(crate) struct Clock {
    folder: TempDir,
    ahead: File,
}

impl Clock {
    /// `None`, and a word on it, where no C compiler is at hand.
    pub(crate) fn new() -> Option<Self> {
        let folder = TempDir::new().expect("a folder");
        let source = root().join("tests/pulsegate/clocks/clock.c");
        let library = folder.path().join("clock.so");
        let compiled = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
        match compiled {
            Ok(status) => assert!(status.success(), "cc ended with {status}"),
            Err(error) => {
                println!("clock steps are skipped: there is no C compiler: {error}");
                return None;
            }
        }
        let ahead = File::create(folder.path().join("ahead")).expect("a file");
        let clock = Self { folder, ahead };
        clock.step(0);
        Some(clock)
    }

    /// From now on it is so far ahead of the machine's; behind where that is negative.
    pub(crate) fn step(&self, ahead_ms: i64) {
        self.ahead.write_all_at(&ahead_ms.to_ne_bytes(), 0).expect("it is stepped");
    }

    /// What a process has it by.
    pub(crate) fn variables(&self) -> [(&'static str, PathBuf); 2] {
        [("LD_PRELOAD", self.folder.path().join("clock.so")), ("CLOCK_FILE", self.folder.path().join("ahead"))]
    }
}

fn at(answer: &Answer) -> DateTime<Utc> {
    let at = answer.body["as_of"]["at"].as_str().unwrap_or_else(|| panic!("no time: {answer:?}"));
    DateTime::parse_from_rfc3339(at).expect("RFC 3339").to_utc()
}

/// A node with a clock of its own, and what was heard.
struct Off {
    node: Node,
    collected: Vec<Collected>,
}

impl Off {
    async fn check(&mut self, account: &str, session: Uuid) -> Answer {
        let asked = Utc::now();
        let answer = self.node.get(&format!("/v1/accounts/{account}/sessions/{session}/verdict")).await;
        self.collected.extend(Collected::from_body(account, &session.to_string(), &answer.body));
        // The view is known to be at the log's end every half second; a clock that is a second off is believed.
        let margin = TimeDelta::seconds(4);
        let is_now = asked - margin <= at(&answer) && at(&answer) <= Utc::now() + margin;
        assert!(is_now, "asked at {asked}: {answer:?}");
        answer
    }

    async fn start(&mut self, account: &str, device: &str) -> Uuid {
        let session = Uuid::now_v7();
        let answer = start(&self.node, account, device, session).await;
        self.collected.extend(Collected::from_body(account, &session.to_string(), &answer.body));
        assert_eq!(answer.status, 201, "{answer:?}");
        session
    }

    /// Says that a session plays; its lease is short from then on.
    async fn beat(&mut self, account: &str, device: &str, session: Uuid) {
        let body = json!({"device_id": device, "title_id": "t", "sequence": 0, "elapsed_ms": 0, "position_ms": 0,
                          "state": "playing"});
        let answer = self.node.post(&format!("/v1/accounts/{account}/sessions/{session}/heartbeats"), &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        self.collected.extend(Collected::from_body(account, &session.to_string(), &answer.body));
    }
}

async fn start(node: &Node, account: &str, device: &str, session: Uuid) -> Answer {
    let body = json!({"session_id": session, "device_id": device, "title_id": "t"});
    node.post(&format!("/v1/accounts/{account}/sessions"), &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_clock_is_an_hour_off_answers_by_the_logs_time() {
    let Some(clock) = Clock::new() else { return };
    let deployment = Deployment::new().await;
    let node = Deployment::node_by(deployment.command(&["up"]).envs(clock.variables()));
    node.ready().await;
    let mut off = Off { node, collected: Vec::new() };
    // A start is good for ten minutes and a heartbeat for two seconds.
    let terms = json!({"rules": [{"scope": "account", "max": 2, "on_limit": "block_newest"}],
                       "leases_ms": {"started": 600_000, "heartbeat": 2_000}});
    assert_eq!(off.node.put("/v1/policies/standard", &terms).await.status, 200);
    let long = off.start("a", "tv").await;
    let started_at = at(&off.check("a", long).await);
    until("the view to be proven once more", || async {
        let answer = off.node.get(&format!("/v1/accounts/a/sessions/{long}/verdict")).await;
        at(&answer) > started_at + TimeDelta::seconds(2)
    })
    .await;

    for ahead_ms in [HOUR_MS, -HOUR_MS] {
        clock.step(ahead_ms);
        for _ in 0..20 {
            let check = off.check("a", long).await;
            assert_eq!(check.body["verdict"]["decision"], "allow", "its lease has not ended: {check:?}");
            assert!(check.body.get("stale_ms").is_none(), "{check:?}");
        }
        // Asked again, it is the same start, and not one of an ended session.
        assert_eq!(start(&off.node, "a", "tv", long).await.status, 201);
        let exposed = Exposed::read(&off.node.admin("/metrics").await.1);
        let ahead = exposed.value("pulsegate_clock_ahead_seconds", &[("of", "broker")]).expect("it is measured");
        assert!((ahead - if ahead_ms > 0 { 3_600.0 } else { -3_600.0 }).abs() < 60.0, "{ahead}");

        // A lease ends when it ends, and who waits for that is told.
        let account = format!("b-{}", u8::from(ahead_ms > 0));
        let short = off.start(&account, "phone").await;
        off.beat(&account, "phone", short).await;
        let path = format!("/v1/accounts/{account}/sessions/{short}/verdict");
        let told = off.node.get(&format!("{path}?wait=60s&since=allow")).await;
        assert_eq!(told.body["verdict"]["reason"], "lease_expired", "{told:?}");
        assert_eq!(off.check(&account, short).await.body["verdict"]["reason"], "lease_expired");

        let seen =
            deployment.command(&["doctor", "--json"]).envs(clock.variables()).output().expect("the doctor comes");
        let seen: Value = serde_json::from_slice(&seen.stdout).expect("JSON");
        let way = if ahead_ms > 0 { "ahead of" } else { "behind" };
        let names_it = |finding: &Value| {
            finding["check"] == "clock" && finding["state"] == "wrong" && finding["says"].to_string().contains(way)
        };
        assert!(seen["findings"].as_array().expect("findings").iter().any(names_it), "{seen:#}");
    }
    clock.step(0);
    off.check("a", long).await;
    recount(&deployment, &off.collected);
    off.node.stop();
}
