//! `block_check_ten_rules`: what a policy of ten rules costs at a block check, beside one of one rule.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::deployment::Deployment;
use crate::flow::Flow;
use crate::http::{ask_once, request};
use crate::load::{Span, closed_loop};
use crate::node::Node;
use crate::report::{Row, Target};
use crate::scale::{Scale, median};
use crate::viewers::checking;

/// Connections of checks.
const CONNECTIONS: usize = 64;
/// A check by ten rules may take so many times as long as one by one rule.
const TIMES_MAX: f64 = 1.3;

fn rules(scopes: &[&str]) -> Value {
    let rules = scopes.iter().map(|scope| json!({"scope": scope, "max": 4, "on_limit": "block_newest"}));
    json!({ "rules": rules.collect::<Vec<_>>() })
}

/// The policy of every account, and a heartbeat of each by it.
async fn put_in_force(node: &Node, flow: &mut Flow, terms: &Value) -> anyhow::Result<()> {
    let put = request("PUT", "/v1/policies/standard", &terms.to_string());
    let (status, body) = ask_once(node.address, &put).await.context("failed to publish a policy")?;
    anyhow::ensure!(status == 200, "a policy was answered {status} {}", String::from_utf8_lossy(&body));
    flow.settle(node).await
}

/// As fast as they are answered, in turns by one rule and by ten.
pub(crate) async fn measure(scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let (one, ten) = (
        rules(&["account"]),
        rules(&[
            "account",
            "title",
            "territory",
            "rights_holder",
            "device_class:tv",
            "device_class:mobile",
            "device_class:tablet",
            "device_class:web",
            "content_kind:vod",
            "content_kind:live",
        ]),
    );
    Deployment::scoped(async |deployment| {
        let (node, _) = Node::start(deployment).await?;
        let mut flow = Flow::new();
        let mut checks = checking(&flow.crowd, CONNECTIONS);
        let (mut by_one, mut by_ten) = (Vec::new(), Vec::new());
        for _ in 0..scale.rounds {
            for (terms, per_s) in [(&one, &mut by_one), (&ten, &mut by_ten)] {
                put_in_force(&node, &mut flow, terms).await?;
                let (measured, used) = closed_loop(node.address, checks, Span::from_now(scale)).await?;
                checks = used;
                per_s.push(measured.per_s);
            }
        }
        let target = Target::AtLeast { ratio: 1.0 / TIMES_MAX, value: 0.0 };
        Ok(vec![
            Row::new("block_check_ten_rules", median(by_ten), "1/s", target)
                .limit(median(by_one))
                .note(&format!("{CONNECTIONS} connections; limit: the same node, by a policy of one rule")),
        ])
    })
    .await
}
