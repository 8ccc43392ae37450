//! Policies over HTTP: every scope, both ways at a limit, leases, pauses, many streams a device, entitlements that
//! change while people watch, and caps of contracts.

use pulsegate_domain::event::CatalogEvent;
use pulsegate_domain::policy::Policy;
use pulsegate_domain::topic::TopicNames;
use pulsegate_write_side::envelope::{self, Origin};
use pulsegate_write_side::{EventLog, LogSettings};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::deployment::{Answer, Deployment, Node, until};
use crate::recount::{Collected, recount};

/// Leases that outlast any stall of a slow machine.
fn patient() -> Value {
    json!({"started": 3_600_000, "heartbeat": 3_600_000})
}

fn rule(scope: &str, max: u32, on_limit: &str) -> Value {
    json!({"scope": scope, "max": max, "on_limit": on_limit})
}

/// Players of one account, and every answer that they got.
struct Account<'a> {
    node: &'a Node,
    name: String,
    collected: &'a mut Vec<Collected>,
}

impl Account<'_> {
    async fn entitle(&self, policy: &str) {
        let path = format!("/v1/accounts/{}/entitlement", self.name);
        let answer = self.node.put(&path, &json!({ "policy": policy })).await;
        assert_eq!((answer.status, &answer.body["policy"]), (200, &json!(policy)), "{answer:?}");
    }

    async fn ask(&mut self, path: &str, session: Uuid, body: &Value) -> Answer {
        let answer = self.node.post(&format!("/v1/accounts/{}/sessions{path}", self.name), body).await;
        self.collected.extend(Collected::from_body(&self.name, &session.to_string(), &answer.body));
        answer
    }

    /// A start of `session`: what it says beside its device and title stands in `more`.
    async fn start(&mut self, session: Uuid, device: &str, more: &Value) -> Answer {
        let mut body = json!({"session_id": session, "device_id": device, "title_id": "film"});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        self.ask("", session, &body).await
    }

    async fn beat(&mut self, session: Uuid, device: &str, sequence: u64, state: &str) -> Answer {
        let body = json!({"device_id": device, "title_id": "film", "sequence": sequence, "state": state,
                          "elapsed_ms": sequence * 10_000, "position_ms": 0});
        self.ask(&format!("/{session}/heartbeats"), session, &body).await
    }
}

async fn publish(node: &Node, name: &str, terms: &Value) -> Value {
    let answer = node.put(&format!("/v1/policies/{name}"), terms).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_of_a_policy_works_over_http() {
    let deployment = Deployment::new().await;
    let node = deployment.node().await;
    let mut collected = Vec::new();
    each_scope(&node, &mut collected).await;
    room_is_made_and_devices_play_many(&node, &mut collected).await;
    leases_and_pauses_end(&node, &mut collected).await;
    a_smaller_plan_is_met_by_who_asks_next(&node, &mut collected).await;
    mistakes_have_their_places(&node).await;
    let found = recount(&deployment, &collected);
    assert_eq!(found.compared + found.provisional, collected.len());
}

/// In each scope one stream: the second in it is told no by it, one outside it is not.
async fn each_scope(node: &Node, collected: &mut Vec<Collected>) {
    let north = json!({"name": "Film", "content_kind": "vod", "rights_holder_id": "north"});
    for (title, body) in [("film", &north), ("film-2", &north)] {
        assert_eq!(node.put(&format!("/v1/titles/{title}"), body).await.status, 200);
    }
    for (index, (scope, first, inside, outside)) in [
        ("account", json!({}), json!({"title_id": "other"}), None),
        ("title", json!({}), json!({}), Some(json!({"title_id": "other"}))),
        ("device_class:tv", json!({"device_class": "tv"}), json!({"device_class": "tv"}), Some(json!({}))),
        ("content_kind:live", json!({"content_kind": "live"}), json!({"content_kind": "live"}), Some(json!({}))),
        ("territory", json!({"territory": "DE"}), json!({"territory": "DE"}), Some(json!({"territory": "FR"}))),
        ("rights_holder", json!({}), json!({"title_id": "film-2"}), Some(json!({"title_id": "other"}))),
    ]
    .into_iter()
    .enumerate()
    {
        let policy = format!("one-{index}");
        let terms = json!({"rules": [rule(scope, 1, "block_newest")], "leases_ms": patient()});
        publish(node, &policy, &terms).await;
        let mut account = Account { node, name: format!("of-{index}"), collected: &mut *collected };
        account.entitle(&policy).await;
        let first = account.start(Uuid::now_v7(), "a", &first).await;
        assert_eq!((first.status, &first.body["verdict"]["policy"]), (201, &json!(format!("{policy}@1"))), "{first:?}");
        let second = account.start(Uuid::now_v7(), "b", &inside).await;
        let verdict = &second.body["verdict"];
        assert_eq!(
            (second.status, &verdict["rule"], &verdict["in_use"]),
            (409, &json!(scope), &json!(1)),
            "{second:?}"
        );
        if let Some(outside) = outside {
            assert_eq!(account.start(Uuid::now_v7(), "c", &outside).await.status, 201, "{scope}");
        }
    }
}

/// The oldest makes room, or a device plays more than one.
async fn room_is_made_and_devices_play_many(node: &Node, collected: &mut Vec<Collected>) {
    // The oldest makes room.
    publish(node, "swap", &json!({"rules": [rule("account", 1, "displace_oldest")], "leases_ms": patient()})).await;
    let mut account = Account { node, name: "swapper".to_owned(), collected: &mut *collected };
    account.entitle("swap").await;
    let (old, new) = (Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(account.start(old, "a", &json!({})).await.status, 201);
    assert_eq!(account.start(new, "b", &json!({})).await.status, 201);
    let told = account.beat(old, "a", 0, "playing").await;
    assert_eq!((told.status, &told.body["verdict"]["reason"]), (410, &json!("displaced")), "{told:?}");
    assert_eq!(told.body["verdict"]["by"]["session_id"], json!(new));

    // Many streams on one device.
    let many = json!({"rules": [rule("account", 2, "block_newest")], "leases_ms": patient(), "per_device": "many"});
    publish(node, "wall", &many).await;
    let mut account = Account { node, name: "waller".to_owned(), collected: &mut *collected };
    account.entitle("wall").await;
    for in_use in 1..=2 {
        let answer = account.start(Uuid::now_v7(), "wall", &json!({})).await;
        assert_eq!((answer.status, &answer.body["verdict"]["in_use"]), (201, &json!(in_use)), "{answer:?}");
    }
}

/// A short lease frees its slot by itself; a pause that may not last loses it.
async fn leases_and_pauses_end(node: &Node, collected: &mut Vec<Collected>) {
    let brief = json!({"rules": [rule("account", 1, "block_newest")], "paused_hold_ms": 0,
                       "leases_ms": {"started": 1, "heartbeat": 3_600_000}});
    publish(node, "brief", &brief).await;
    let mut account = Account { node, name: "brief".to_owned(), collected: &mut *collected };
    account.entitle("brief").await;
    let (gone, pauses) = (Uuid::now_v7(), Uuid::now_v7());
    account.start(gone, "a", &json!({})).await;
    let path = format!("/v1/accounts/brief/sessions/{gone}/verdict");
    until("its lease to run out", || async { node.get(&path).await.body["verdict"]["reason"] == "lease_expired" })
        .await;
    assert_eq!(account.beat(pauses, "b", 0, "playing").await.body["verdict"]["decision"], "allow");
    account.beat(pauses, "b", 1, "paused").await;
    let path = format!("/v1/accounts/brief/sessions/{pauses}/verdict");
    until("its pause to be too long", || async {
        node.get(&path).await.body["verdict"]["reason"] == "paused_too_long"
    })
    .await;
}

/// A smaller plan ends nobody who watches; the next ask meets it.
async fn a_smaller_plan_is_met_by_who_asks_next(node: &Node, collected: &mut Vec<Collected>) {
    publish(node, "large", &json!({"rules": [rule("account", 2, "block_newest")], "leases_ms": patient()})).await;
    publish(node, "small", &json!({"rules": [rule("account", 1, "block_newest")], "leases_ms": patient()})).await;
    let mut account = Account { node, name: "downgraded".to_owned(), collected: &mut *collected };
    account.entitle("large").await;
    let (a, b) = (Uuid::now_v7(), Uuid::now_v7());
    account.start(a, "a", &json!({})).await;
    account.start(b, "b", &json!({})).await;
    account.entitle("small").await;
    for (session, device) in [(a, "a"), (b, "b")] {
        let answer = account.beat(session, device, 0, "playing").await;
        assert_eq!((answer.status, &answer.body["verdict"]["decision"]), (200, &json!("allow")), "{answer:?}");
    }
    let third = account.start(Uuid::now_v7(), "c", &json!({})).await;
    let verdict = &third.body["verdict"];
    assert_eq!(
        (third.status, &verdict["policy"], &verdict["in_use"]),
        (409, &json!("small@1"), &json!(2)),
        "{third:?}"
    );
}

async fn mistakes_have_their_places(node: &Node) {
    let wrong = json!({"rules": [rule("planet", 1, "block_newest"), rule("account", 10_001, "explode")],
                       "leases_ms": {"manifest": 0}, "paused_hold_ms": -1, "per_device": "two"});
    let answer = node.put("/v1/policies/wrong", &wrong).await;
    let places: Vec<_> = answer.body["errors"].as_array().expect("errors").iter().map(|it| &it["pointer"]).collect();
    assert_eq!(answer.status, 422);
    assert_eq!(
        places,
        [
            "/rules/0/scope",
            "/rules/1/on_limit",
            "/paused_hold_ms",
            "/per_device",
            "/rules/1/max",
            "/leases_ms/manifest"
        ]
    );
    let nobody = node.put("/v1/accounts/a/entitlement", &json!({"policy": "nothing"})).await;
    assert_eq!((nobody.status, &nobody.body["errors"][0]["pointer"]), (422, &json!("/policy")), "{nobody:?}");
}

/// The names of what was derived from policies, as a node lists them.
async fn derived(node: &Node) -> Vec<String> {
    let listed = node.get("/v1/policies").await.body;
    let derived = listed["policies"].as_array().expect("policies").iter().filter(|it| it.get("derived_from").is_some());
    derived.map(|policy| policy["name"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contracts_cap_is_enforced_in_the_same_decision() {
    let deployment = Deployment::new().await;
    let (node, other) = (deployment.node().await, deployment.node().await);
    let mut collected = Vec::new();
    publish(&node, "standard", &json!({"rules": [rule("account", 4, "block_newest")], "leases_ms": patient()})).await;
    for (title, holder) in [("film", "north"), ("film-2", "north"), ("alien", "south")] {
        let body = json!({"name": title, "content_kind": "vod", "rights_holder_id": holder});
        assert_eq!(node.put(&format!("/v1/titles/{title}"), &body).await.status, 200);
    }
    let contract = json!({"rights_holder_id": "north", "valid_from": "2020-01-01", "territories": ["DE"],
                          "max_streams_per_account": 1});
    let put = node.put("/v1/contracts/c-1", &contract).await;
    assert_eq!((put.status, &put.body["max_streams_per_account"]), (200, &json!(1)), "{put:?}");
    assert_eq!(derived(&node).await, ["standard:2:cap:1"]);
    let capped = node.get("/v1/policies/standard:2:cap:1").await.body;
    assert_eq!(capped["derived_from"], json!({"policy": "standard@2", "max_streams_per_account": 1}));
    assert_eq!(capped["rules"][1], rule("rights_holder", 1, "block_newest"));
    until("the other node to know the contract", || async { other.get("/v1/contracts/c-1").await.status == 200 }).await;

    let german = json!({"territory": "DE"});
    let mut account = Account { node: &other, name: "family".to_owned(), collected: &mut collected };
    let first = account.start(Uuid::now_v7(), "tv", &german).await;
    assert_eq!((first.status, &first.body["verdict"]["policy"]), (201, &json!("standard:2:cap:1@1")), "{first:?}");
    let more = json!({"territory": "DE", "title_id": "film-2"});
    let second = account.start(Uuid::now_v7(), "phone", &more).await;
    let verdict = &second.body["verdict"];
    assert_eq!(second.status, 409, "{second:?}");
    assert_eq!(
        (&verdict["rule"], &verdict["max"], &verdict["in_use"]),
        (&json!("rights_holder"), &json!(1), &json!(1))
    );
    assert_eq!(verdict["conflicts"].as_array().map(Vec::len), Some(1));
    // Where the contract is not in force, and of whom it is not with, the plan alone counts.
    for more in [json!({"territory": "FR", "title_id": "film-2"}), json!({"territory": "DE", "title_id": "alien"})] {
        let answer = account.start(Uuid::now_v7(), "web", &more).await;
        assert_eq!((answer.status, &answer.body["verdict"]["policy"]), (201, &json!("standard@2")), "{answer:?}");
    }

    // Whoever publishes a version lays the caps on it.
    publish(&other, "standard", &json!({"rules": [rule("account", 3, "block_newest")], "leases_ms": patient()})).await;
    assert!(derived(&other).await.contains(&"standard:3:cap:1".to_owned()));
    // A node that was gone before it could: another one does.
    let settings = LogSettings::new(&deployment.kafka, TopicNames::new(&deployment.prefix));
    let log = EventLog::connect(&LogSettings { partitions: 4, ..settings }).expect("a log");
    let orphan = Policy { name: "orphan".parse().expect("a name"), ..Policy::standard() };
    let origin = Origin::new("/test", chrono::Utc::now().into());
    log.append(envelope::catalog(&CatalogEvent::PolicyPublished(orphan), &origin)).await.expect("it is appended");
    until("the cap to be laid", || async { derived(&node).await.contains(&"orphan:1:cap:1".to_owned()) }).await;

    // Such names are nobody's to publish under or to be given.
    let terms = json!({"rules": [rule("account", 9, "block_newest")]});
    let taken = node.put("/v1/policies/standard:2:cap:1", &terms).await;
    assert_eq!((taken.status, &taken.body["errors"][0]["pointer"]), (422, &json!("/name")), "{taken:?}");
    let given = node.put("/v1/accounts/family/entitlement", &json!({"policy": "standard:2:cap:1"})).await;
    assert_eq!((given.status, &given.body["errors"][0]["pointer"]), (422, &json!("/policy")), "{given:?}");
    let wrong = json!({"rights_holder_id": "north", "valid_from": "2020-01-01", "max_streams_per_account": -1});
    let answer = node.put("/v1/contracts/c-2", &wrong).await;
    assert_eq!(
        (answer.status, &answer.body["errors"][0]["pointer"]),
        (422, &json!("/max_streams_per_account")),
        "{answer:?}"
    );

    let found = recount(&deployment, &collected);
    assert_eq!(found.compared, collected.len());
}
