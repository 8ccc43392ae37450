//! The pages in a real browser: three tabs as three devices, and the live page.

use std::process::Command;

use crate::deployment::{Deployment, root};

#[tokio::test(flavor = "multi_thread")]
async fn three_tabs_play_as_three_devices_in_a_real_browser() {
    let deployment = Deployment::new().await;
    let node = deployment.node().await;
    let status = Command::new("npm")
        .args(["run", "--silent", "test:browser"])
        .current_dir(root().join("web"))
        .env("PULSEGATE_URL", &node.url)
        .status()
        .expect("npm runs: is Node.js installed?");
    assert!(status.success(), "the browser test ended with {status}");
}
