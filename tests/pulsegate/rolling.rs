//! Three nodes are restarted one after the other, as a new version is rolled out, while viewers play: nobody who tries
//! again notices, and what was acknowledged is in the log.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::deployment::{Deployment, Node, until};
use crate::recount::{recount, same_decisions};
use crate::viewer::{Crowd, Patience, nothing_is_lost};

const NODES: usize = 3;
const VIEWERS: u64 = 16;
/// How long a stop may take by default (`PULSEGATE_SHUTDOWN_GRACE_MS`).
const GRACE: Duration = Duration::from_secs(20);
/// Every request has its answer within this time, whatever is restarted.
const ANSWERED: Duration = Duration::from_secs(30);
const SEED: u64 = 7;

async fn nodes(deployment: &Deployment, settings: &[(&str, &str)]) -> Vec<Node> {
    futures_util::future::join_all((0..NODES).map(|_| deployment.role_with("api", settings))).await
}

/// Restarts each node, one after the other.
async fn roll(deployment: &Deployment, settings: &[(&str, &str)], nodes: &mut Vec<Node>, crowd: &Crowd) {
    for index in 0..NODES {
        let told = Instant::now();
        // Ends by itself, with 0.
        let old = nodes.remove(index);
        tokio::task::spawn_blocking(move || old.stop()).await.expect("it ends");
        let took = told.elapsed();
        println!("{settings:?}: node {index} ended {:.1} s after SIGTERM", took.as_secs_f64());
        assert!(took < GRACE, "it was cut off");
        let node = deployment.role_with("api", settings).await;
        crowd.replace(index, &node.url);
        nodes.insert(index, node);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_nothing_and_nobody_who_tries_again_notices() {
    let deployment = Deployment::new().await;
    let worker = deployment.role_with("project", &[]).await;
    let mut heard = Vec::new();
    for mode in ["whole", "owned"] {
        let settings = [("PULSEGATE_CLUSTER", mode)];
        let mut nodes = nodes(&deployment, &settings).await;
        let urls = nodes.iter().map(|node| node.url.clone()).collect();
        let crowd = Crowd::start(&format!("rolling-{mode}"), VIEWERS, urls, SEED, Patience::Answered(ANSWERED));
        if mode == "owned" {
            until("the nodes to share the partitions", || async { all_owned(&nodes[0]).await }).await;
        }
        roll(&deployment, &settings, &mut nodes, &crowd).await;
        heard.push(crowd.end().await);
        for node in nodes {
            node.stop();
        }
    }

    let node = deployment.api_node().await;
    for (mode, heard) in ["whole", "owned"].into_iter().zip(&heard) {
        let found = recount(&deployment, &heard.collected);
        nothing_is_lost(&found, heard);
        assert_eq!(heard.unanswered, 0);
        for account in &heard.accounts {
            until("the decisions to be those of the rules", || async {
                let answer = node.get(&format!("/v1/accounts/{account}/decisions?limit=500")).await;
                let kept = answer.body["decisions"].as_array().map_or(&[] as &[Value], Vec::as_slice);
                same_decisions(&found.model, account, kept)
            })
            .await;
        }
        println!("{mode}: {} answers, {} of them provisional; none is wrong", heard.answered, found.provisional);
    }
    node.stop();
    worker.stop();
}

/// Whether each partition has an owner that has folded it.
async fn all_owned(node: &Node) -> bool {
    let cluster = node.get("/v1/cluster").await.body;
    let ready = |node: &Value| {
        let folds = node["partitions"].as_array().map_or(&[] as &[Value], Vec::as_slice);
        folds.iter().filter(|fold| fold["state"] == "ready").count()
    };
    let nodes = cluster["nodes"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    nodes.len() == NODES && nodes.iter().map(ready).sum::<usize>() == 4
}
