//! Somebody asks to be forgotten, and an operator does it.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

use crate::deployment::{Deployment, Node, until};

const KEY: (&str, &str) = ("PULSEGATE_PRIVACY_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
const GONE: &str = "ada-lovelace-1815";
const WORDS: &str = "the analytical engine";

/// A minute of a film, in a session of its own, and a start that is told no behind two others.
async fn watch(node: &Node, account: &str, number: u32) {
    let session = format!("3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e{number:02}");
    for n in 0..4_u32 {
        let beat = json!({"device_id": format!("{account}-tv"), "device_class": "tv", "title_id": "film",
                          "territory": "DE", "sequence": n, "elapsed_ms": n * 1_500, "position_ms": n * 1_500,
                          "state": "playing"});
        let path = format!("/v1/accounts/{account}/sessions/{session}/heartbeats");
        assert_eq!(node.post(&path, &beat).await.status, 200);
    }
}

async fn start(node: &Node, account: &str, device: &str) -> u16 {
    let body = json!({"device_id": format!("{account}-{device}"), "title_id": "film", "territory": "DE"});
    node.post(&format!("/v1/accounts/{account}/sessions"), &body).await.status
}

fn clicks(account: &str, words: &str) -> Value {
    json!([{"name": "search", "account_id": account, "anonymous_id": format!("{account}.cookie"),
            "properties": {"query": words}},
           {"name": "play", "account_id": account, "properties": {"title": words, "n": 2}}])
}

/// Where in the database a text stands, as text or as bytes.
async fn places_of(pool: &PgPool, text: &str) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables
         where schemaname not in ('pg_catalog', 'information_schema') and schemaname not like 'pg_temp%' order by 1",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert!(tables.len() > 20, "{tables:?}");
    let hex = text.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let mut places = Vec::new();
    for table in tables {
        let sql = format!(
            "select count(*) from {table} as row where row::text like '%' || $1 || '%' or row::text like '%' || $2 || '%'"
        );
        let rows: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).bind(text).bind(&hex).fetch_one(pool).await.unwrap();
        if rows > 0 {
            places.push(format!("{table}: {rows}"));
        }
    }
    places
}

/// Every figure that somebody rests on.
async fn figures(node: &Node, month: &str) -> Value {
    let mut all = Vec::new();
    for path in [
        format!("/v1/statements/{month}?rights_holder=orvessa"),
        format!("/v1/reports/licensing?period={month}"),
        format!("/v1/reports/concurrency?period={month}&by=day"),
        format!("/v1/reports/usage?period={month}&by=title"),
        "/v1/clickstream/trend?period=2d&by=day".to_owned(),
        "/v1/clickstream/funnel?period=2d&step=search&step=play&window=1h".to_owned(),
        "/v1/clickstream/sessions?period=2d".to_owned(),
    ] {
        let answer = node.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        all.push(answer.body);
    }
    without_places(all.into())
}

/// How fresh a figure is may change while it stays, and with it the hash of a statement, which holds the offsets.
fn without_places(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(name, _)| !["as_of", "made_at", "sha256", "stale_ms", "lag_ms"].contains(&name.as_str()))
            .map(|(name, value)| (name, without_places(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_places).collect(),
        other => other,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_forgotten_and_no_figure_changes() {
    let deployment = Deployment::new().await;
    let node = deployment.node_with(&[KEY]).await;
    deployment.with_patience(&node).await;
    let pool = PgPool::connect(&deployment.database_url).await.unwrap();
    let with_key = |args: &[&str]| deployment.command(args).env(KEY.0, KEY.1).output().expect("the binary starts");
    let done = |args: &[&str]| {
        let output = with_key(args);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    };

    let title = json!({"name": "Film", "content_kind": "vod", "rights_holder_id": "orvessa"});
    assert_eq!(node.put("/v1/titles/film", &title).await.status, 200);
    let contract = json!({"rights_holder_id": "orvessa", "valid_from": "2020-01-01", "view_threshold_ms": 1_000,
                          "payment": {"currency": "EUR", "per_view": "0.50"}});
    assert_eq!(node.put("/v1/contracts/c-1", &contract).await.status, 200);
    for (number, account) in [(1, GONE), (2, "bob"), (3, "eve")] {
        watch(&node, account, number).await;
        let sent = node.post("/v1/clickstream", &json!({"events": clicks(account, WORDS)})).await;
        assert_eq!((sent.status, &sent.body["accepted"]), (202, &json!(2)), "{sent:?}");
    }
    // Two are on already; who is told no is counted.
    assert_eq!((start(&node, GONE, "web").await, start(&node, GONE, "phone").await), (201, 409));
    // What is refused isn't kept.
    let refused = json!({"events": [{"account_id": GONE, "properties": {"query": WORDS}}]});
    assert_eq!(node.post("/v1/clickstream", &refused).await.body["rejected"][0]["code"], "invalid");
    let question = format!("/v1/clickstream/questions/hers?kind=trend&account={GONE}&period=2d");
    assert_eq!(node.send("PUT", &question, None).await.status, 200);

    let month = chrono::Utc::now().format("%Y-%m").to_string();
    until("everything to be folded", || async {
        let decided = node.get(&format!("/v1/accounts/{GONE}/decisions")).await.body;
        let told_no =
            decided["decisions"].as_array().is_some_and(|all| all.iter().any(|one| one["decision"] == "refuse"));
        let trend = node.get("/v1/clickstream/trend?period=2d").await.body;
        let statement = node.get(&format!("/v1/statements/{month}?rights_holder=orvessa")).await.body;
        let viewed =
            statement["rows"].as_array().is_some_and(|rows| rows.iter().any(|row| row["qualified_views"] == 3));
        told_no && viewed && trend["events"] == json!(6)
    })
    .await;

    // Whoever may ask reads what was written; whoever reads the log doesn't.
    let hers = node.get(&format!("/v1/clickstream?account={GONE}")).await.body;
    assert_eq!(hers["events"][1]["properties"], json!({"query": WORDS}));
    for topic in ["clickstream", "rejected"] {
        let log = deployment.run(&["events", "tail", topic, "--from-beginning", "--until-end", "--json"]);
        assert!(!log.contains(WORDS) && log.lines().count() > 0, "{log}");
    }
    assert!(places_of(&pool, GONE).await.len() >= 6, "the search finds what is there");
    let before = figures(&node, &month).await;

    // It is never done by accident, nor by halves.
    let without_key = deployment.command(&["accounts", "forget", GONE, "--yes"]).output().unwrap();
    let told = String::from_utf8_lossy(&without_key.stderr).into_owned();
    assert_eq!(without_key.status.code(), Some(64), "{told}");
    assert!(told.contains("PULSEGATE_PRIVACY_KEY: must be set"), "{told}");
    let mut unasked = deployment.command(&["accounts", "forget", GONE]);
    let unasked = unasked.env(KEY.0, KEY.1).stdin(std::process::Stdio::null()).output().unwrap();
    assert_eq!(unasked.status.code(), Some(2), "{unasked:?}");
    assert!(!places_of(&pool, GONE).await.is_empty());

    let report: Value = serde_json::from_str(&done(&["accounts", "forget", GONE, "--yes", "--json"])).unwrap();
    let pseudonym = report["pseudonym"].as_str().unwrap().to_owned();
    assert!(pseudonym.starts_with("forgotten:") && report["left"] == json!([]), "{report}");
    assert_eq!(places_of(&pool, GONE).await, Vec::<String>::new());
    // The others' words are theirs.
    assert_eq!(node.get("/v1/clickstream?account=bob").await.body["events"][1]["properties"], json!({"query": WORDS}));
    let theirs = node.get(&format!("/v1/clickstream?account={pseudonym}")).await.body;
    assert_eq!(theirs["events"].as_array().unwrap().iter().filter(|one| one["properties"] == json!({})).count(), 2);
    // Who took the last slot is named, and by another name now.
    let renamed: Value = serde_json::from_str(&before.to_string().replace(GONE, &pseudonym)).unwrap();
    assert_eq!(figures(&node, &month).await, renamed);
    assert_eq!(node.get(&format!("/v1/accounts/{GONE}/decisions")).await.body["decisions"], json!([]));

    // Once more is as good, and it is told without names.
    let again = done(&["accounts", "forget", GONE, "--yes"]);
    assert!(again.contains("its key was destroyed before") && again.contains(&pseudonym), "{again}");
    let listed: Value = serde_json::from_str(&done(&["accounts", "forgotten", "--json"])).unwrap();
    assert_eq!(listed[0]["pseudonym"], json!(pseudonym));
    let audit = deployment.run(&["audit", "--json"]);
    assert!(audit.contains("account_forgotten") && audit.contains(&pseudonym) && !audit.contains(GONE), "{audit}");

    // What still comes is nobody's, and its words go nowhere.
    watch(&node, GONE, 1).await;
    let late = node.post("/v1/clickstream", &json!({"events": clicks(GONE, "late words")})).await;
    assert_eq!(late.body["accepted"], 2);
    until("it to be folded", || async { node.get("/v1/clickstream/trend?period=2d").await.body["events"] == json!(8) })
        .await;

    // All of history once more: the same, and no trace.
    for projection in ["active_sessions", "clickstream", "licensing"] {
        done(&["projection", "rebuild", projection]);
        let verified = done(&["projection", "verify", projection, "--json"]);
        assert!(!verified.contains("\"same\":false") && !verified.contains("\"same\": false"), "{verified}");
        done(&["projection", "switch", projection]);
    }
    for text in [GONE, "late words"] {
        assert_eq!(places_of(&pool, text).await, Vec::<String>::new(), "{text}");
    }
    let after = figures(&node, &month).await;
    let (statements, licensing) = (&after[0]["rows"], &after[1]["rows"]);
    assert_eq!((statements, licensing), (&before[0]["rows"], &before[1]["rows"]));
    pool.close().await;
}
