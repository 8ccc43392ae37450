//! Questions about the clickstream, as people ask them: on the page, on the command line, over HTTP.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::deployment::{Deployment, root, until};

#[tokio::test(flavor = "multi_thread")]
async fn what_people_did_is_asked_in_a_real_browser() {
    let deployment = Deployment::new().await;
    let node = deployment.node().await;
    let status = Command::new("npm")
        .args(["run", "--silent", "test:clickstream"])
        .current_dir(root().join("web"))
        .env("PULSEGATE_URL", &node.url)
        .status()
        .expect("npm runs: is Node.js installed?");
    assert!(status.success(), "the browser test ended with {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_means_the_same_over_http_on_the_command_line_and_saved() {
    let deployment = Deployment::new().await;
    let node = deployment.node().await;
    let event = |person: usize, name: &str| {
        let kind = if person.is_multiple_of(2) { "tv" } else { "web" };
        json!({"name": name, "account_id": format!("p{person}"), "properties": {"kind": kind, "a \"b\"": person}})
    };
    let opened = (0..20).map(|person| event(person, "open"));
    let played = (0..10).map(|person| event(person, "play"));
    let sent = node.post("/v1/clickstream", &json!({"events": opened.chain(played).collect::<Vec<_>>()})).await;
    assert_eq!((sent.status, &sent.body["accepted"]), (202, &json!(30)), "{sent:?}");
    until("the events to be folded", || async {
        node.get("/v1/clickstream/trend?period=2d").await.body["events"] == json!(30)
    })
    .await;

    let funnel = "step=open&step=play&where.2=$.kind%3Dtv&window=1h&period=2d";
    let over_http = node.get(&format!("/v1/clickstream/funnel?{funnel}")).await;
    assert_eq!(over_http.status, 200, "{over_http:?}");
    let people: Vec<_> = over_http.body["rows"].as_array().unwrap().iter().map(|row| row["people"].clone()).collect();
    assert_eq!(people, [20, 5]);

    let report = |args: &[&str]| deployment.run(&[&["report", "clickstream"], args].concat());
    let asked = ["funnel", "open", "play", "--step-where", "2:$.kind=tv", "--window", "60m", "--period", "2d"];
    let by_command: Value = serde_json::from_str(&report(&[&asked[..], &["--json"]].concat())).unwrap();
    assert_eq!(by_command["question"], over_http.body["question"]);
    assert_eq!(by_command["rows"], over_http.body["rows"]);
    let table = report(&[&asked[..], &["--csv"]].concat());
    assert!(table.contains("\r\n1,open,20,,1000,1000,\r\n2,play,5,,250,250,"), "{table}");
    assert!(report(&asked).contains("of 30 events, all of them"));
    let breakdown = report(&["breakdown", r#"$."a \"b\"""#, "--top", "1", "--csv", "--period", "2d"]);
    assert!(
        breakdown.starts_with("of,value,events,error,people,people_error\r\nvalue,0,2,,1,\r\nother,,28,,19,\r\n"),
        "{breakdown}"
    );
    let lines = report(&["events", "--name", "play", "--limit", "3"]);
    assert_eq!(
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["name"].clone()).collect::<Vec<_>>(),
        ["play"; 3]
    );

    let place = "/v1/clickstream/questions/Open%20%2F%20play";
    let saved = node.send("PUT", &format!("{place}?kind=funnel&{funnel}"), None).await;
    assert_eq!(
        (saved.status, &saved.body["name"], &saved.body["query"]),
        (200, &json!("Open / play"), &over_http.body["question"])
    );
    assert_eq!(node.get(saved.body["answer"].as_str().unwrap()).await.body["rows"], over_http.body["rows"]);
    let again: Value = serde_json::from_str(&report(&["saved", "Open / play", "--json"])).unwrap();
    assert_eq!(again["rows"], over_http.body["rows"]);
    assert!(report(&["saved"]).contains("Open / play"));
    assert_eq!(node.send("DELETE", place, None).await.status, 204);
    assert_eq!(node.get(place).await.status, 404);

    // What is wrong is told with its places, everywhere.
    let wrong = node.get("/v1/clickstream/funnel?step=open&window=9w").await;
    let pointers: Vec<_> =
        wrong.body["errors"].as_array().unwrap().iter().map(|error| error["pointer"].clone()).collect();
    assert_eq!((wrong.status, pointers), (422, vec![json!("/step"), json!("/window")]));
    let output = deployment
        .command(&["report", "clickstream", "funnel", "open", "--window", "9w"])
        .stdout(Stdio::null())
        .output()
        .expect("the binary starts");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("step must stand 2-8 times") && told.contains("window must be a length of time"), "{told}");
    let csv = node.client.get(format!("{}/v1/clickstream/export?format=csv&name=play", node.url)).send().await.unwrap();
    let csv = csv.text().await.unwrap();
    assert_eq!((csv.lines().count(), csv.starts_with("logged_at,occurred_at,name,")), (11, true), "{csv}");
}
