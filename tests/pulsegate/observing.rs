//! What is measured, told and alarmed on: the page of metrics, the rules, the dashboard and the runbook agree with the
//! code and with a running node.

#[path = "observing/exposed.rs"]
mod exposed;
#[path = "observing/page.rs"]
mod page;
#[path = "observing/rules.rs"]
mod rules;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::json;
use uuid::Uuid;

use crate::deployment::{Deployment, Node, root, until};
pub(crate) use exposed::Exposed;
use page::Page;

/// The build that a fresh deployment has.
const LICENSING: &str = "licensing_v4";

/// Every metric that the code names: the literal behind a macro of the crate `metrics`, or behind our own gauge of lags.
fn named_in_code() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in [
        "domain/src",
        "access/src",
        "traces/src",
        "callers/src",
        "write-side/src",
        "projections/src",
        "service/src",
        "api/src",
        "src",
    ] {
        look_into(&root().join(folder), &mut found);
    }
    found
}

fn look_into(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            look_into(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let code = fs::read_to_string(&path).expect("UTF-8");
            for (at, _) in code.match_indices("\"pulsegate_") {
                let before = code[..at].trim_end();
                let is_metric =
                    ["counter!(", "gauge!(", "histogram!(", "lag("].iter().any(|call| before.ends_with(call));
                if is_metric {
                    let name = code[at + 1..].split('"').next().expect("a literal");
                    found.insert(name.to_owned());
                }
            }
        }
    }
}

#[test]
fn the_page_of_metrics_tells_what_the_code_measures() {
    let told: BTreeSet<_> = Page::read().metrics.into_keys().collect();
    let named = named_in_code();
    let (untold, unmeasured): (Vec<_>, Vec<_>) = (named.difference(&told).collect(), told.difference(&named).collect());
    assert!(untold.is_empty(), "docs/metrics.md lacks {untold:?}");
    assert!(unmeasured.is_empty(), "docs/metrics.md tells of {unmeasured:?}, which nothing measures");
}

/// A start that is let in, one that is told no, and a request that is wrong: what fills most of the figures.
async fn play(node: &Node) {
    for device in ["tv", "tablet", "phone"] {
        let body = json!({"session_id": Uuid::now_v7(), "device_id": device, "title_id": "t"});
        let status = node.post("/v1/accounts/a/sessions", &body).await.status;
        assert_eq!(status, if device == "phone" { 409 } else { 201 });
    }
    assert_eq!(node.post("/v1/accounts/a/sessions", &json!({})).await.status, 422);
    let batch = node.post("/v1/heartbeats", &json!({"heartbeats": [{}]})).await;
    assert_eq!((batch.status, &batch.body["accepted"]), (200, &json!(0)), "{batch:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_node_tells_what_the_page_of_metrics_says() {
    let deployment = Deployment::new().await;
    let node = deployment.node().await;
    deployment.with_patience(&node).await;
    play(&node).await;
    let page = Page::read();
    let now = async || Exposed::read(&node.admin("/metrics").await.1);
    until("every metric that is always there", || async {
        let exposed = now().await;
        page.metrics.iter().all(|(name, metric)| metric.is_born_late || exposed.0.contains_key(name))
            && exposed.value("pulsegate_projection_lag_events", &[("projection", LICENSING)]).is_some()
            && exposed.value("pulsegate_seen_timestamp_seconds", &[("of", "broker")]).is_some()
    })
    .await;
    let exposed = now().await;
    for (name, family) in &exposed.0 {
        let metric = page.metrics.get(name).unwrap_or_else(|| panic!("docs/metrics.md lacks {name}"));
        assert_eq!(family.kind, metric.kind, "{name}");
        for (labels, _) in &family.samples {
            let labels: BTreeSet<_> = labels.iter().map(|(label, _)| label.clone()).collect();
            assert_eq!(labels, metric.labels, "{name}");
        }
    }
    let value =
        |name, labels: &[(&str, &str)]| exposed.value(name, labels).unwrap_or_else(|| panic!("{name} {labels:?}"));
    assert!(value("pulsegate_ready", &[]) > 0.0);
    assert!(value("pulsegate_verdicts_total", &[("decision", "block"), ("reason", "limit_reached")]) >= 1.0);
    assert!(value("pulsegate_problems_total", &[("code", "invalid")]) >= 1.0);
    assert!(value("pulsegate_items_refused_total", &[("code", "invalid")]) >= 1.0);
    assert!(value("pulsegate_log_appended_total", &[("topic", "playback")]) >= 3.0);
    assert!(value("pulsegate_fold_wait_seconds_count", &[]) >= 3.0);
    assert!(value("pulsegate_projection_live", &[("projection", LICENSING)]) > 0.0);
    // One machine, one clock.
    assert!(value("pulsegate_clock_ahead_seconds", &[("of", "broker")]).abs() < 1.0);
    assert!(value("pulsegate_clock_ahead_seconds", &[("of", "database")]).abs() < 1.0);
    node.stop();
}
