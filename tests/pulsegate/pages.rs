//! The pages in a real browser: three tabs as three devices, the live page, and reports.

use std::process::Command;

use serde_json::json;

use crate::deployment::{Deployment, root};

#[tokio::test(flavor = "multi_thread")]
async fn three_tabs_play_as_three_devices_in_a_real_browser() {
    let deployment = Deployment::new().await;
    let node = deployment.node().await;
    // A browser on a busy machine may hold its heartbeats back for longer than the usual 25 s.
    let terms = json!({"rules": [{"scope": "account", "max": 2, "on_limit": "block_newest"}],
                       "leases_ms": {"started": 90_000, "heartbeat": 90_000}});
    assert_eq!(node.put("/v1/policies/standard", &terms).await.status, 200);
    browse("test:browser", &node.url);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_looked_at_in_a_real_browser() {
    let deployment = Deployment::new().await;
    let node = deployment.node().await;
    browse("test:reports", &node.url);
}

fn browse(script: &str, url: &str) {
    let status = Command::new("npm")
        .args(["run", "--silent", script])
        .current_dir(root().join("web"))
        .env("PULSEGATE_URL", url)
        .status()
        .expect("npm runs: is Node.js installed?");
    assert!(status.success(), "the browser test ended with {status}");
}
