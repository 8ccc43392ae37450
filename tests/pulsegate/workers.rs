//! Processes that only fold: killed again and again under load; and a rebuild beside them, by the commands alone.

use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::deployment::{Deployment, Node, free_address, until};
use crate::recount::{Recount, recount, same_decisions};

const KILLS: u64 = 50;
const ACCOUNTS: usize = 24;

/// A process of the role `project`, gone with the test.
struct Worker(Child);

impl Worker {
    fn start(deployment: &Deployment) -> Self {
        let child = deployment
            .command(&["project"])
            .env("PULSEGATE_ADMIN_LISTEN", free_address())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary starts");
        Self(child)
    }

    /// kill -9
    fn kill(mut self) {
        self.0.kill().expect("it is still there");
        self.0.wait().expect("it ends");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Already gone, if the test ended it itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Sends heartbeats of many sessions, by the hundred, until told to stop; counts what was taken.
async fn traffic(node: &Node, going_on: &AtomicBool, taken: &AtomicUsize) {
    let mut sessions: Vec<_> = (0..ACCOUNTS * 3).map(|_| (Uuid::now_v7().to_string(), 0_u64)).collect();
    let mut round = 0;
    while going_on.load(Ordering::Relaxed) {
        let beats: Vec<_> = sessions
            .iter_mut()
            .enumerate()
            .map(|(index, (session, sequence))| {
                // Now and then a device begins anew, and another loses its slot.
                if (index + round) % 41 == 0 {
                    (*session, *sequence) = (Uuid::now_v7().to_string(), 0);
                }
                *sequence += 1;
                json!({"account_id": format!("worker-{}", index % ACCOUNTS), "session_id": session,
                       "device_id": format!("device-{}", index / ACCOUNTS), "title_id": "t", "sequence": *sequence,
                       "elapsed_ms": *sequence * 10, "position_ms": *sequence * 10, "state": "playing"})
            })
            .collect();
        let answer = node.post("/v1/heartbeats", &json!({"heartbeats": beats})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        taken.fetch_add(
            usize::try_from(answer.body["accepted"].as_u64().unwrap_or_default()).unwrap(),
            Ordering::Relaxed,
        );
        round += 1;
    }
}

async fn live_build_is_at_the_end(node: &Node, build: &str) {
    until("the live build to be at the end of the log", || async {
        let answer = node.get("/v1/projections").await;
        let known = answer.body["projections"].as_array().cloned().unwrap_or_default();
        let live = known.iter().find(|one| one["name"] == "active_sessions" && one["state"] == "live");
        live.is_some_and(|live| live["build"] == build && live["lag_events"] == 0)
    })
    .await;
}

async fn decisions_agree(node: &Node, found: &Recount) {
    for index in 0..ACCOUNTS {
        let account = format!("worker-{index}");
        let mut kept = Vec::new();
        let mut path = format!("/v1/accounts/{account}/decisions?limit=500");
        loop {
            let answer = node.get(&path).await;
            kept.extend(answer.body["decisions"].as_array().cloned().unwrap_or_default());
            let Some(next) = answer.body["next"].as_str() else { break };
            next.clone_into(&mut path);
        }
        assert!(same_decisions(&found.model, &account, &kept), "decisions about {account}");
    }
}

fn said(deployment: &Deployment, args: &[&str]) -> Value {
    serde_json::from_str(&deployment.run(args)).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_killed_fifty_times_lose_and_double_nothing_and_a_rebuild_says_the_same() {
    let deployment = Deployment::new().await;
    let node = deployment.api_node().await;
    deployment.with_patience(&node).await;
    let (going_on, taken) = (AtomicBool::new(true), AtomicUsize::new(0));
    let killing = async {
        let killer = async |slot: u64| {
            for kill in 0..KILLS / 2 {
                let worker = Worker::start(&deployment);
                // Not a wait for anything: the points at which it dies differ.
                tokio::time::sleep(Duration::from_millis(60 + (kill * 2 + slot) * 53 % 500)).await;
                worker.kill();
            }
        };
        tokio::join!(killer(0), killer(1));
        // The rebuild runs beside the live build, under the same load.
        let _worker = Worker::start(&deployment);
        let built =
            tokio::task::block_in_place(|| said(&deployment, &["projection", "rebuild", "active_sessions", "--json"]));
        assert_eq!(built["build"], "active_sessions_v1_r2", "{built}");
        assert!(built["followers"].as_u64() > Some(0), "{built}");
        let verdict =
            tokio::task::block_in_place(|| said(&deployment, &["projection", "verify", "active_sessions", "--json"]));
        assert_eq!(verdict["same"], true, "{verdict}");
        let switched =
            tokio::task::block_in_place(|| said(&deployment, &["projection", "switch", "active_sessions", "--json"]));
        assert_eq!(switched["live"], "active_sessions_v1_r2", "{switched}");
        going_on.store(false, Ordering::Relaxed);
        live_build_is_at_the_end(&node, "active_sessions_v1_r2").await;
        let found = recount(&deployment, &[]);
        assert_eq!(found.records.len(), taken.load(Ordering::Relaxed));
        decisions_agree(&node, &found).await;
        let back =
            tokio::task::block_in_place(|| said(&deployment, &["projection", "rollback", "active_sessions", "--json"]));
        assert_eq!(back["live"], "active_sessions_v1", "{back}");
        live_build_is_at_the_end(&node, "active_sessions_v1").await;
        decisions_agree(&node, &found).await;
        println!("{} heartbeats, {KILLS} kills: {switched}, {back}", found.records.len());
    };
    tokio::join!(traffic(&node, &going_on, &taken), killing);
}
