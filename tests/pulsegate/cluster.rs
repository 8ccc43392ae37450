//! Three nodes that share the partitions: each has its own in memory and passes on what is another's. One is paused and
//! comes back as if nothing had been, one is killed under load. By the log, nobody is over the limit and nobody was
//! refused in vain but by answers that said that they were provisional, and each of those is listed with the log's word.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::deployment::{Deployment, Node, SOON, until};
use crate::recount::{Collected, recount};

const PARTITIONS: usize = 4;
const STARTS_AN_ACCOUNT: usize = 4;

/// Who owns and who folds each partition, as a node knows it; `None` unless each has one ready fold, its owner's.
async fn settled(node: &Node, nodes: &[&Node]) -> Option<BTreeMap<u64, String>> {
    let cluster = node.try_send("GET", "/v1/cluster", None).await?.body;
    let known: BTreeSet<_> = cluster["nodes"].as_array()?.iter().filter_map(|node| node["address"].as_str()).collect();
    if known != nodes.iter().map(|node| node.address()).collect() {
        return None;
    }
    let mut owners = BTreeMap::new();
    for node in cluster["nodes"].as_array()? {
        let folded: Vec<_> = node["partitions"].as_array()?.iter().collect();
        if folded.iter().any(|fold| fold["state"] != "ready") || folded.len() != node["owns"].as_array()?.len() {
            return None;
        }
        for fold in folded {
            owners.insert(fold["partition"].as_u64()?, node["address"].as_str()?.to_owned());
        }
    }
    (owners.len() == PARTITIONS).then_some(owners)
}

/// Waits until every node says the same of a cluster that is settled; gives the owner of each partition.
async fn until_settled(nodes: &[&Node]) -> BTreeMap<u64, String> {
    until("each partition to be with its owner alone", || async {
        let mut known = Vec::new();
        for node in nodes {
            known.push(settled(node, nodes).await);
        }
        known[0].is_some() && known.iter().all(|view| *view == known[0])
    })
    .await;
    settled(nodes[0], nodes).await.expect("it is settled")
}

/// A start as a player sends it: to any node, and to the next one if that doesn't answer.
async fn start(nodes: &[&Node], turn: usize, account: &str, device: usize) -> Collected {
    let session = Uuid::now_v7();
    let body = json!({"session_id": session, "device_id": format!("device-{device}"), "title_id": "t"});
    let path = format!("/v1/accounts/{account}/sessions");
    let deadline = Instant::now() + SOON;
    for turn in turn.. {
        assert!(Instant::now() < deadline, "a start of {account} is not taken");
        let Some(answer) = nodes[turn % nodes.len()].try_send("POST", &path, Some(&body)).await else { continue };
        match answer.status {
            201 | 409 => return Collected::from_body(account, &session.to_string(), &answer.body).expect("a verdict"),
            503 => assert!(answer.headers.contains_key("retry-after"), "{answer:?}"),
            _ => panic!("{answer:?}"),
        }
    }
    unreachable!("turns don't end")
}

/// Every device of every account starts, some at a time, over all nodes.
async fn race(nodes: &[&Node], accounts: &[String]) -> Vec<Collected> {
    race_and(nodes, accounts, usize::MAX, || {}).await
}

/// The same; `act` is done once so many were answered.
async fn race_and(nodes: &[&Node], accounts: &[String], after: usize, act: impl FnOnce()) -> Vec<Collected> {
    let starts = (0..STARTS_AN_ACCOUNT).flat_map(|device| accounts.iter().map(move |account| (account, device)));
    let starts = stream::iter(starts.enumerate());
    let mut running = starts.map(|(turn, (account, device))| start(nodes, turn, account, device)).buffer_unordered(16);
    let (mut answers, mut act) = (Vec::new(), Some(act));
    while let Some(answer) = running.next().await {
        answers.push(answer);
        if answers.len() == after
            && let Some(act) = act.take()
        {
            act();
        }
    }
    answers
}

fn accounts(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|index| format!("{name}-{index}")).collect()
}

/// Accounts of the partitions of one owner.
fn accounts_of(name: &str, owners: &BTreeMap<u64, String>, owner: &str, count: usize) -> Vec<String> {
    let is_its = |account: &String| {
        let partition = pulsegate_domain::topic::partition_of(account.as_bytes(), 4);
        owners[&u64::try_from(partition).expect("a partition")] == owner
    };
    accounts(name, 10_000).into_iter().filter(is_its).take(count).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_share_the_partitions_through_a_pause_and_a_kill() {
    let deployment = Deployment::new().await;
    let mut seen = Vec::new();
    let (first, second) = (deployment.sharing_node().await, deployment.sharing_node().await);
    let lost = deployment.sharing_node().await;
    deployment.with_patience(&first).await;
    for node in [&second, &lost] {
        until("the others to know the policy", || async {
            node.get("/v1/policies/standard").await.body["version"] == 2
        })
        .await;
    }
    let all = [&first, &second, &lost];
    let owners = until_settled(&all).await;
    assert_eq!(owners.values().collect::<BTreeSet<_>>().len(), 3, "each owns some: {owners:?}");

    // Whoever is asked, the owner answers.
    seen.extend(race(&all, &accounts("calm", 40)).await);
    assert!(seen.iter().all(|answer| !answer.provisional), "nothing is wrong: {seen:?}");
    batches_are_split_and_merged(&all, &mut seen).await;

    // A node that is paused is stood in for; what was passed on to it is answered here, provisionally.
    let held = accounts_of("paused", &owners, lost.address(), 12);
    lost.signal("STOP");
    let others = [&first, &second];
    seen.extend(race(&others, &held).await);
    until("the group to give its partitions away", || async { settled(&first, &others).await.is_some() }).await;
    seen.extend(race(&others, &accounts_of("stood-in", &owners, lost.address(), 12)).await);
    // It comes back, takes itself for the owner, and answers from its own memory: as the log says.
    lost.signal("CONT");
    seen.extend(race(&[&lost], &accounts_of("zombie", &owners, lost.address(), 12)).await);
    until_settled(&all).await;

    // A node is killed under load.
    let killed = accounts("killed", 120);
    seen.extend(race_and(&others, &killed, 100, || lost.kill()).await);
    until("checks of the lost node's accounts to be certain again", || async {
        for account in &held {
            let sessions = first.get(&format!("/v1/accounts/{account}/sessions")).await;
            if sessions.status != 200 || sessions.body.get("provisional").is_some() {
                return false;
            }
        }
        true
    })
    .await;

    // One that is stopped in an orderly way hands over; one that is new takes its share.
    let fresh = deployment.sharing_node().await;
    until_settled(&[&first, &second, &fresh]).await;
    second.stop();
    let left = [&first, &fresh];
    let after = race(&left, &accounts("after", 20)).await;
    until_settled(&left).await;
    seen.extend(after);

    every_answer_stands(&deployment, &first, &seen).await;
}

/// Heartbeats and signals of many accounts in one request, some of them wrong.
async fn batches_are_split_and_merged(nodes: &[&Node], seen: &mut Vec<Collected>) {
    let accounts = accounts("batch", 24);
    let sessions: Vec<_> = accounts.iter().map(|_| Uuid::now_v7()).collect();
    let beat = |index: usize, device: &str| {
        json!({"account_id": accounts[index], "session_id": sessions[index], "device_id": device, "title_id": "t",
               "sequence": 0, "elapsed_ms": 0, "position_ms": 0, "state": "playing"})
    };
    let mut heartbeats: Vec<_> = (0..accounts.len()).map(|index| beat(index, "tv")).collect();
    heartbeats[5] = json!({"account_id": accounts[5]});
    let first = nodes[0].post("/v1/heartbeats", &json!({"heartbeats": heartbeats})).await;
    assert_eq!((first.status, &first.body["accepted"]), (200, &json!(23)), "{first:?}");
    assert_eq!(first.body["rejected"][0]["index"], 5, "{first:?}");
    // A second device in the name of two sessions of which different nodes know.
    let mut again: Vec<_> = (0..accounts.len()).map(|index| beat(index, "tv")).collect();
    for index in [3, 11, 17] {
        again[index] = beat(index, "other");
    }
    let again = nodes[1].post("/v1/heartbeats", &json!({"heartbeats": again})).await;
    let rejected: Vec<_> = again.body["rejected"].as_array().expect("a list").iter().collect();
    let places: Vec<_> = rejected.iter().map(|item| (item["index"].as_u64(), item["code"].as_str())).collect();
    let mismatch = Some("session-mismatch");
    assert_eq!(places, [(Some(3), mismatch), (Some(11), mismatch), (Some(17), mismatch)], "{again:?}");

    let signal =
        |account: &String| json!({"account_id": account, "device_id": "tv", "title_id": "t", "kind": "drm_licence"});
    let signals: Vec<_> = accounts.iter().map(signal).collect();
    let judged = nodes[2].post("/v1/signals", &json!({"signals": signals})).await;
    let verdicts = judged.body["verdicts"].as_array().expect("verdicts");
    assert_eq!(verdicts.len(), accounts.len());
    for (index, (verdict, account)) in verdicts.iter().zip(&accounts).enumerate() {
        assert_eq!(verdict["index"], index, "in order");
        let session = verdict["session_id"].as_str().expect("a session");
        assert_eq!(verdict["verdict"]["decision"], "allow", "{verdict:?}");
        seen.extend(Collected::from_body(account, session, verdict));
    }
}

/// Every certain answer is what the rules say at its place, and every provisional one is listed with what they say.
async fn every_answer_stands(deployment: &Deployment, node: &Node, seen: &[Collected]) {
    let found = recount(deployment, seen);
    assert!(found.provisional > 0, "the pause made none");
    let printed = deployment.run(&["decisions", "provisional", "--since", "2020-01-01T00:00:00Z", "--json"]);
    let listing: Value = serde_json::from_str(&printed).expect("JSON");
    let listed: BTreeMap<_, _> = listing["answers"]
        .as_array()
        .expect("answers")
        .iter()
        .map(|answer| ((answer["partition"].as_i64(), answer["offset"].as_i64()), answer))
        .collect();
    let (mut let_through, mut refused) = (0, 0);
    for (answer, word) in &found.settled {
        let place = (answer.as_of["partition"].as_i64(), answer.as_of["offset"].as_i64());
        let kept = listed.get(&place).unwrap_or_else(|| panic!("{answer:?} is not listed"));
        assert_eq!(kept["account_id"], answer.account);
        assert_eq!(kept["session_id"], answer.session);
        assert_eq!(kept["given"]["decision"], answer.verdict["decision"]);
        assert_eq!(kept["log"]["decision"].as_str(), word.as_deref(), "{kept}");
        match (answer.verdict["decision"].as_str(), word.as_deref()) {
            (Some("allow"), Some("block")) => {
                let_through += 1;
                assert_eq!(kept["wrongly"], "let_through");
            }
            (Some("block"), Some("allow")) => {
                refused += 1;
                assert_eq!(kept["wrongly"], "refused");
            }
            _ => assert_eq!(kept["wrongly"], Value::Null),
        }
    }
    assert!(listing["let_through"].as_u64() >= Some(let_through) && listing["refused"].as_u64() >= Some(refused));
    // The route says the same.
    let route = node.get("/v1/provisional?since=2020-01-01T00:00:00Z&limit=10000").await;
    assert_eq!(route.body["answers"], listing["answers"], "{route:?}");
}
