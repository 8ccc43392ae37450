//! Who is let in: players by token, servers by key, people by a real `OpenID` provider.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::deployment::{Deployment, Node, free_address, root, until};

const SESSION: &str = "3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e6f";
const OTHER: &str = "019ab0c4-7e1a-7abc-8def-0123456789ab";

/// Files of a laptop's login service.
struct LoginService<'a> {
    deployment: &'a Deployment,
    folder: tempfile::TempDir,
}

impl<'a> LoginService<'a> {
    fn new(deployment: &'a Deployment) -> Self {
        let service = Self { deployment, folder: tempfile::tempdir().expect("a folder") };
        deployment.run(&["token", "keygen", "--out", &service.path("key.pem")]);
        let jwks = deployment.run(&["token", "jwks", &service.path("key.pem")]);
        std::fs::write(service.path("jwks.json"), jwks).expect("the keys are written");
        service
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    fn token(&self, account: &str, more: &[&str]) -> String {
        let key = self.path("key.pem");
        let arguments = [&["token", "issue", account, "--key", &key], more].concat();
        self.deployment.run(&arguments).trim().to_owned()
    }
}

/// The status of an answer, and its body.
async fn ask(node: &Node, credential: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let request = node.client.request(method.parse().expect("a method"), format!("{}{path}", node.url));
    let request = request.header("authorization", format!("Bearer {credential}"));
    let request = if body.is_null() { request } else { request.json(body) };
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_by_its_token_and_a_server_by_its_key_and_nobody_else() {
    let deployment = Deployment::new().await;
    let login = LoginService::new(&deployment);
    let node = deployment.node_with(&[("PULSEGATE_TOKENS_JWKS", &login.path("jwks.json"))]).await;
    let start = json!({"session_id": SESSION, "device_id": "tv-1", "title_id": "film"});
    let beat = json!({"device_id": "tv-1", "title_id": "film", "sequence": 0, "elapsed_ms": 0, "position_ms": 0, "state": "playing"});
    let (sessions, beats) = ("/v1/accounts/anna/sessions", format!("/v1/accounts/anna/sessions/{SESSION}/heartbeats"));
    assert_eq!(node.post(sessions, &start).await.status, 401, "nobody is let in");

    let anna = login.token("anna", &["--session", SESSION, "--device", "tv-1"]);
    assert_eq!(ask(&node, &anna, "POST", sessions, &start).await.0, 201);
    assert_eq!(ask(&node, &anna, "POST", &beats, &beat).await.0, 200);
    let ben = login.token("ben", &[]);
    for (method, path, body) in [("POST", sessions, &start), ("POST", &beats, &beat), ("GET", sessions, &Value::Null)] {
        let (status, problem) = ask(&node, &ben, method, path, body).await;
        assert_eq!((status, &problem["code"]), (403, &json!("forbidden")), "{method} {path}");
    }
    // What was heard of her, said again for another session, or from another device.
    let replayed = json!({"session_id": OTHER, "device_id": "tv-1", "title_id": "film"});
    assert_eq!(ask(&node, &anna, "POST", sessions, &replayed).await.0, 403);
    let elsewhere = format!("/v1/accounts/anna/sessions/{OTHER}/heartbeats");
    assert_eq!(ask(&node, &anna, "POST", &elsewhere, &beat).await.0, 403);

    let made = deployment.run(&["keys", "create", "cdn", "--scope", "signals,operate", "--for", "1d", "--json"]);
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let (id, key) = (made["id"].as_str().expect("an id").to_owned(), made["key"].as_str().expect("a key").to_owned());
    let status = async |key: &str, path: &str| ask(&node, key, "GET", path, &Value::Null).await.0;
    until("the node to know the key", || async { status(&key, "/v1/live").await == 200 }).await;
    assert_eq!(status(&key, "/v1/statements").await, 403);
    let signal =
        json!({"signals": [{"account_id": "anna", "device_id": "tv-1", "title_id": "film", "kind": "drm_licence"}]});
    assert_eq!(ask(&node, &key, "POST", "/v1/signals", &signal).await.0, 200);

    let rotated = deployment.run(&["keys", "rotate", &id, "--json"]);
    let rotated: Value = serde_json::from_str(&rotated).expect("JSON");
    let new = rotated["key"].as_str().expect("a key");
    until("the new secret to be good", || async { status(new, "/v1/live").await == 200 }).await;
    assert_eq!(status(&key, "/v1/live").await, 200, "both are good for a day");

    let drawn: Value = serde_json::from_str(&deployment.run(&["keys", "draw", "--id", &id, "--json"])).expect("JSON");
    let (elsewhere, told) =
        (drawn["key"].as_str().expect("a key"), drawn["drawn"].as_str().expect("what may be known"));
    assert_eq!(status(elsewhere, "/v1/live").await, 401, "nobody has made it known");
    let said = deployment.run(&["keys", "rotate", &id, "--drawn", told]);
    assert_eq!(said, "", "what was drawn elsewhere is not shown");
    until("the drawn secret to be good", || async { status(elsewhere, "/v1/live").await == 200 }).await;

    deployment.run(&["keys", "revoke", &id]);
    until("the key to be good no more", || async { status(new, "/v1/live").await == 401 }).await;
    assert_eq!(status(&key, "/v1/live").await, 401);
    node.stop();
    let listed: Value = serde_json::from_str(&deployment.run(&["keys", "list", "--json"])).expect("JSON");
    assert!(listed[0]["revoked_at"].is_string(), "{listed}");
    assert!(!listed.to_string().contains(&key[17..]), "a secret is shown again");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_share_partitions_let_each_other_in_and_pass_on_what_was_let_in() {
    let deployment = Deployment::new().await;
    let login = LoginService::new(&deployment);
    let jwks = login.path("jwks.json");
    let settings = [
        ("PULSEGATE_TOKENS_JWKS", jwks.as_str()),
        ("PULSEGATE_CLUSTER", "owned"),
        ("PULSEGATE_NODE_SECRET", "what-these-nodes-share"),
    ];
    let (one, other) = (deployment.node_with(&settings).await, deployment.node_with(&settings).await);
    let made = deployment.run(&["keys", "create", "operator", "--scope", "operate"]);
    until("each node to have heard of the other", || async {
        let (_, cluster) = ask(&one, made.trim(), "GET", "/v1/cluster", &Value::Null).await;
        let nodes = cluster["nodes"].as_array();
        nodes.is_some_and(|nodes| nodes.len() == 2 && nodes.iter().all(|node| node["reachable"] == true))
    })
    .await;
    for index in 0..16 {
        let account = format!("account-{index}");
        let token = login.token(&account, &[]);
        let path = format!("/v1/accounts/{account}/sessions");
        let start = json!({"device_id": "tv-1", "title_id": "film"});
        for node in [&one, &other] {
            let (status, answer) = ask(node, &token, "POST", &path, &start).await;
            assert_eq!(status, 201, "{account}: {answer}");
        }
        // What its token binds holds on whichever node its account is.
        let bound = login.token(&account, &["--device", "tv-1"]);
        for node in [&one, &other] {
            let elsewhere = json!({"device_id": "tv-2", "title_id": "film"});
            assert_eq!(ask(node, &bound, "POST", &path, &elsewhere).await.0, 403, "{account}");
        }
        // Who only says that a node has asked already is asked.
        let forged = one.client.get(format!("{}{path}", one.url)).header("pulsegate-hop", other.address());
        assert_eq!(forged.send().await.expect("an answer").status().as_u16(), 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_changed_what_is_in_the_log() {
    let deployment = Deployment::new().await;
    let node = deployment.node_with(&[("PULSEGATE_ACCESS", "closed")]).await;
    let made = deployment.run(&["keys", "create", "billing", "--scope", "policies:write", "--json"]);
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let (id, key) = (made["id"].as_str().expect("an id"), made["key"].as_str().expect("a key"));
    let terms = json!({"rules": [{"scope": "account", "max": 4, "on_limit": "block_newest"}]});
    until("the node to know the key", || async {
        ask(&node, key, "PUT", "/v1/policies/premium", &terms).await.0 == 200
    })
    .await;
    let entitlement = json!({"policy": "premium"});
    assert_eq!(ask(&node, key, "PUT", "/v1/accounts/anna/entitlement", &entitlement).await.0, 200);
    // The same again changes nothing, so there is nothing to say of it.
    assert_eq!(ask(&node, key, "PUT", "/v1/accounts/anna/entitlement", &entitlement).await.0, 200);
    deployment.run(&["keys", "revoke", id]);
    let told = deployment.run(&["audit", "--since", "1d", "--json"]);
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let by_key = format!("key:{id} billing");
    let said: Vec<_> = told
        .iter()
        .map(|one| (one["change"].as_str().unwrap_or_default(), one["subject"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(
        said,
        [("key_created", id), ("policy_published", "premium"), ("entitlement_changed", "anna"), ("key_revoked", id)]
    );
    for (one, by) in told.iter().zip(["command:", &by_key, &by_key, "command:"]) {
        assert!(one["by"].as_str().is_some_and(|who| who.starts_with(by)), "{one} is not by {by}");
    }
    let by_servers = deployment.run(&["audit", "--by", "key:", "--json"]);
    assert_eq!(by_servers.lines().count(), 2, "{by_servers}");
}

/// A provider in a process of its own.
struct Provider(Child);

impl Drop for Provider {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_sign_in_by_a_real_provider_in_a_real_browser() {
    let deployment = Deployment::new().await;
    let (listen, provider) = (free_address(), free_address());
    let (url, port) = (format!("http://{listen}"), provider.rsplit_once(':').expect("a port").1);
    let _provider = Provider(
        Command::new("node")
            .args(["tests/provider.mjs", port, &format!("{url}/login/callback")])
            .current_dir(root().join("web"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("node runs: is Node.js installed?"),
    );
    let issuer = format!("http://{provider}");
    let client = reqwest::Client::new();
    until("the provider to listen", || async {
        let asked = client.get(format!("{issuer}/.well-known/openid-configuration")).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    let node = deployment
        .node_with(&[
            ("PULSEGATE_LISTEN", &listen),
            ("PULSEGATE_OIDC_ISSUER", &issuer),
            ("PULSEGATE_OIDC_CLIENT_ID", "pulsegate"),
            ("PULSEGATE_OIDC_CLIENT_SECRET", "a secret: of/the client+"),
            ("PULSEGATE_OIDC_ROLES", "ops=operate,finance=reports:read+reports:close"),
            ("PULSEGATE_PUBLIC_URL", &url),
        ])
        .await;
    assert_eq!(node.get("/v1/me").await.status, 401);
    let status = Command::new("node")
        .arg("tests/sign-in.mjs")
        .current_dir(root().join("web"))
        .env("PULSEGATE_URL", &url)
        .status()
        .expect("node runs");
    assert!(status.success(), "the browser test ended with {status}");
}
