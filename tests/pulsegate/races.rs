//! Simultaneous starts on two nodes over one log: one truth, nobody over the limit, nobody refused in vain.

use serde_json::json;
use uuid::Uuid;

use crate::deployment::{Deployment, until};
use crate::recount::{Collected, recount};

const ACCOUNTS: usize = 500;
const STARTS_AN_ACCOUNT: usize = 4;
const LIMIT: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_simultaneous_starts_on_two_nodes_admit_exactly_the_limit() {
    let deployment = Deployment::new().await;
    let nodes = [deployment.node().await, deployment.node().await];
    deployment.with_patience(&nodes[0]).await;
    // The other node has it within a second; what it accepts until then names the older version.
    until("the other node to know the policy", || async {
        nodes[1].get("/v1/policies/standard").await.body["version"] == 2
    })
    .await;
    let nodes = &nodes;
    let starts = (0..ACCOUNTS).flat_map(|account| {
        (0..STARTS_AN_ACCOUNT).map(move |device| async move {
            let account = format!("race-{account}");
            let session = Uuid::now_v7();
            let body = json!({"session_id": session, "device_id": format!("device-{device}"), "title_id": "t"});
            let path = format!("/v1/accounts/{account}/sessions");
            let mut answer = nodes[device % 2].post(&path, &body).await;
            // Not acknowledged in time, on a slow machine: the same start again is safe.
            for _ in 0..10 {
                if answer.status == 503 {
                    answer = nodes[device % 2].post(&path, &body).await;
                }
            }
            assert!([201, 409].contains(&answer.status), "{answer:?}");
            let collected = Collected::from_body(&account, &session.to_string(), &answer.body).expect("a verdict");
            (account, answer.status, collected)
        })
    });
    // All at once: the two nodes decide what waits.
    let answers = futures_util::future::join_all(starts).await;
    let collected: Vec<_> = answers.iter().map(|(_, _, collected)| collected.clone()).collect();
    let found = recount(&deployment, &collected);
    assert_eq!(found.compared + found.provisional, ACCOUNTS * STARTS_AN_ACCOUNT);
    for index in 0..ACCOUNTS {
        let account = format!("race-{index}");
        let of_account = || answers.iter().filter(|(of, _, collected)| *of == account && !collected.provisional);
        let allowed = of_account().filter(|(_, status, _)| *status == 201).count();
        assert!(allowed <= LIMIT, "{account}: {allowed} allowed");
        if of_account().count() == STARTS_AN_ACCOUNT {
            assert_eq!(allowed, LIMIT, "{account}: a start was refused in vain");
        }
    }
    // Both nodes say the same of every session, once both have folded the log.
    for (account, _, collected) in answers.iter().step_by(97) {
        let path = format!("/v1/accounts/{account}/sessions/{}/verdict", collected.session);
        let (one, other) = (nodes[0].get(&path).await.body, nodes[1].get(&path).await.body);
        assert_eq!(one["verdict"]["decision"], other["verdict"]["decision"], "{path}");
    }
}
