//! Random households against the running server, and each verdict against the straight-line model.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::deployment::{Deployment, Node};
use crate::recount::{Collected, recount, same_decisions};

const HOUSEHOLDS: u64 = 24;
const STEPS: usize = 60;

/// What a household knows of one of its viewings.
struct Viewing {
    session: Uuid,
    device: String,
    title: String,
    sequence: u64,
}

struct Household<'a> {
    node: &'a Node,
    other: &'a Node,
    account: String,
    rng: ChaCha8Rng,
    viewings: Vec<Viewing>,
    collected: Vec<Collected>,
}

impl Household<'_> {
    fn node(&mut self) -> &Node {
        if self.rng.random_bool(0.5) { self.node } else { self.other }
    }

    fn any(&mut self) -> usize {
        self.rng.random_range(0..self.viewings.len().max(1))
    }

    async fn ask(&mut self, method: &str, path: &str, session: &str, body: Option<Value>) -> u16 {
        let account = self.account.clone();
        let answer = self.node().send(method, path, body.as_ref()).await;
        // A problem without a verdict is an answer too; a failure is not.
        assert!(answer.status < 500, "{method} {path}: {answer:?}");
        self.collected.extend(Collected::from_body(&account, session, &answer.body));
        answer.status
    }

    async fn step(&mut self) {
        let sessions = format!("/v1/accounts/{}/sessions", self.account);
        let choice = self.rng.random_range(0..100);
        if self.viewings.is_empty() || choice < 20 {
            let viewing = Viewing {
                session: Uuid::now_v7(),
                device: format!("device-{}", self.rng.random_range(0..4)),
                title: format!("title-{}", self.rng.random_range(0..3)),
                sequence: 0,
            };
            let mut body = json!({"session_id": viewing.session, "device_id": viewing.device, "title_id": viewing.title,
                                  "territory": "DE", "device_class": "tv"});
            if self.rng.random_bool(0.2) && !self.viewings.is_empty() {
                let named = self.any();
                body["evict"] = json!([self.viewings[named].session]);
            }
            let session = viewing.session.to_string();
            self.viewings.push(viewing);
            self.ask("POST", &sessions, &session, Some(body)).await;
            return;
        }
        let index = self.any();
        let session = self.viewings[index].session.to_string();
        match choice {
            // A retried start.
            20..30 => {
                let viewing = &self.viewings[index];
                let body = json!({"session_id": session, "device_id": viewing.device, "title_id": viewing.title});
                self.ask("POST", &sessions, &session, Some(body)).await;
            }
            30..75 => {
                let states = ["playing", "playing", "paused", "buffering", "seeking", "blocked"];
                let state = states[self.rng.random_range(0..states.len())];
                let age_ms = if self.rng.random_bool(0.1) { self.rng.random_range(0..60_000) } else { 0 };
                let repeated = self.rng.random_bool(0.1);
                let viewing = &mut self.viewings[index];
                let mut body = json!({"device_id": viewing.device, "title_id": viewing.title, "state": state,
                    "sequence": viewing.sequence, "elapsed_ms": viewing.sequence * 10_000, "age_ms": age_ms,
                    "position_ms": viewing.sequence * 10_000, "rate": 1.25});
                if !repeated {
                    viewing.sequence += 1;
                }
                if self.rng.random_bool(0.05) {
                    body["device_id"] = json!("somebody-elses");
                }
                self.ask("POST", &format!("{sessions}/{session}/heartbeats"), &session, Some(body)).await;
            }
            75..83 => {
                let status = self.ask("DELETE", &format!("{sessions}/{session}"), &session, None).await;
                assert_eq!(status, 204);
            }
            83..87 => {
                self.ask("POST", &format!("{sessions}/{session}/evict"), &session, Some(json!({}))).await;
            }
            87..92 => self.signal(index).await,
            _ => {
                self.ask("GET", &format!("{sessions}/{session}/verdict"), &session, None).await;
            }
        }
    }

    async fn signal(&mut self, index: usize) {
        let kinds = ["drm_licence", "drm_renewal", "cdn_segment", "manifest"];
        let kind = kinds[self.rng.random_range(0..kinds.len())];
        let viewing = &self.viewings[index];
        let mut signal = json!({"account_id": self.account, "device_id": viewing.device, "title_id": viewing.title,
                                "kind": kind});
        if self.rng.random_bool(0.4) {
            signal["session_id"] = json!(self.viewings[index].session);
        }
        let account = self.account.clone();
        let answer = self.node().post("/v1/signals", &json!({"signals": [signal]})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let verdict = &answer.body["verdicts"][0];
        let session = verdict["session_id"].as_str().unwrap_or_default().to_owned();
        self.collected.extend(Collected::from_body(&account, &session, verdict));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verdict_is_the_one_that_the_rules_give() {
    let given = std::env::var("PULSEGATE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| u64::from(Uuid::now_v7().as_fields().1));
    println!("PULSEGATE_TEST_SEED={seed}");
    let deployment = Deployment::new().await;
    let (node, other) = (deployment.node().await, deployment.node().await);
    let policy = json!({"rules": [{"scope": "account", "max": 2, "on_limit": "displace_oldest"},
                                  {"scope": "title", "max": 1, "on_limit": "block_newest"}],
                        "leases_ms": {"started": 1_500, "heartbeat": 1_500, "cdn_segment": 1_000},
                        "paused_hold_ms": 700, "per_device": "many"});
    assert_eq!(node.put("/v1/policies/odd", &policy).await.status, 200);
    let families = (0..HOUSEHOLDS).map(|index| {
        let (node, other) = (&node, &other);
        async move {
            let mut household = Household {
                node,
                other,
                account: format!("family-{index}"),
                rng: ChaCha8Rng::seed_from_u64(seed.wrapping_add(index)),
                viewings: Vec::new(),
                collected: Vec::new(),
            };
            if index % 2 == 1 {
                let path = format!("/v1/accounts/{}/entitlement", household.account);
                assert_eq!(node.put(&path, &json!({"policy": "odd"})).await.status, 200);
            }
            for _ in 0..STEPS {
                household.step().await;
            }
            (household.account, household.collected)
        }
    });
    let families = futures_util::future::join_all(families).await;
    let collected: Vec<_> = families.iter().flat_map(|(_, collected)| collected.clone()).collect();
    let found = recount(&deployment, &collected);
    println!("{} verdicts compared, {} provisional", found.compared, found.provisional);
    assert!(found.compared > collected.len() / 2, "most answers must be whole");
    for (account, _) in &families {
        crate::deployment::until("the decisions to be kept", || async {
            let answer = node.get(&format!("/v1/accounts/{account}/decisions?limit=500")).await;
            let kept = answer.body["decisions"].as_array().cloned().unwrap_or_default();
            same_decisions(&found.model, account, &kept)
        })
        .await;
    }
}
