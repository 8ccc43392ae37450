//! `pulsegate doctor` on a real deployment, sound and then broken on purpose, one thing after the other.

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use crate::deployment::{Deployment, until};

/// What the doctor found, and whether it calls it sound; its exit code must agree.
pub(crate) struct Seen(Value);

impl Seen {
    pub(crate) fn of(deployment: &Deployment, settings: &[(&str, &str)]) -> Self {
        let output = deployment
            .command(&["doctor", "--json"])
            .env("PULSEGATE_LOG", "off")
            .envs(settings.iter().copied())
            .output()
            .expect("the binary starts");
        let seen = Self(serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {output:?}")));
        assert_eq!(output.status.code(), Some(i32::from(!seen.is_sound())), "{output:?}");
        seen
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.0["sound"].as_bool().expect("a word on it")
    }

    /// What is wrong, as `check of: says`; each with how to mend it.
    fn wrong(&self) -> Vec<String> {
        let findings = self.0["findings"].as_array().expect("findings");
        let wrong = findings.iter().filter(|finding| finding["state"] == "wrong");
        let text = |finding: &Value, field: &str| finding[field].as_str().unwrap_or_default().to_owned();
        wrong
            .map(|finding| {
                assert!(text(finding, "fix").len() > 10, "no help: {finding}");
                format!("{} {}: {}", text(finding, "check"), text(finding, "of"), text(finding, "says"))
            })
            .collect()
    }

    /// Asserts that exactly one thing is wrong with `check`, and that it says all of `words`.
    pub(crate) fn assert_wrong(&self, check: &str, words: &[&str]) {
        let wrong = self.wrong();
        let of_check: Vec<_> = wrong.iter().filter(|line| line.starts_with(check)).collect();
        let [line] = of_check[..] else { panic!("of {check}: {wrong:#?}") };
        for word in words {
            assert!(line.contains(word), "{word}: {line}");
        }
    }
}

async fn alter_retention(deployment: &Deployment, topic: &str, retention_ms: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &deployment.kafka).create().expect("an admin client");
    // What isn't said goes back to the broker's defaults.
    let config = AlterConfig::new(ResourceSpecifier::Topic(topic))
        .set("retention.ms", retention_ms)
        .set("cleanup.policy", "delete")
        .set("message.timestamp.type", "LogAppendTime");
    let altered = admin.alter_configs(&[config], &AdminOptions::new()).await.expect("an answer");
    assert!(altered.iter().all(Result::is_ok), "{altered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_what_was_broken_on_purpose() {
    let deployment = Deployment::new().await;
    let before = Seen::of(&deployment, &[]);
    assert_eq!(before.wrong().iter().filter(|line| line.ends_with("is not there")).count(), 5, "{:#?}", before.wrong());

    // A deployment that runs, and one that was stopped in order.
    let node = deployment.node().await;
    for device in ["tv", "tablet"] {
        let body = json!({"session_id": Uuid::now_v7(), "device_id": device, "title_id": "t"});
        assert_eq!(node.post("/v1/accounts/a/sessions", &body).await.status, 201);
    }
    until("a running deployment to be sound", || async { Seen::of(&deployment, &[]).is_sound() }).await;
    until("everything to be folded", || async {
        let status: Value = serde_json::from_str(&deployment.run(&["projection", "status", "--json"])).expect("JSON");
        status.as_array().expect("builds").iter().all(|build| build["lag_events"] == 0)
    })
    .await;
    node.stop();
    let stopped = Seen::of(&deployment, &[]);
    assert_eq!(stopped.wrong(), Vec::<String>::new(), "a deployment that was stopped is sound");

    // A topic that forgets.
    let playback = format!("{}playback", deployment.prefix);
    alter_retention(&deployment, &playback, "86400000").await;
    until("the broker to say so", || async { !Seen::of(&deployment, &[]).is_sound() }).await;
    Seen::of(&deployment, &[]).assert_wrong("topics", &[&playback, "retention.ms=86400000, not -1"]);
    alter_retention(&deployment, &playback, "-1").await;
    until("it to be mended", || async { Seen::of(&deployment, &[]).is_sound() }).await;

    // Another number of partitions than was made.
    let differs = Seen::of(&deployment, &[("PULSEGATE_PARTITIONS", "5")]);
    assert_eq!(differs.wrong().iter().filter(|line| line.contains("has 4 partitions, not 5")).count(), 4);

    // A read model of another log, a partition that nobody has folded, and a record that is parked.
    let mut database = PgConnection::connect(&deployment.database_url).await.expect("its database");
    database
        .execute(
            "update pulsegate.projection_offsets set next_offset = 1000000
             where build = 'licensing_v4' and topic = 'playback' and partition = 1",
        )
        .await
        .expect("an offset");
    database
        .execute(
            "update pulsegate.projection_offsets set next_offset = 0
             where build = 'active_sessions_v1' and topic = 'playback'",
        )
        .await
        .expect("an offset");
    database
        .execute(
            "insert into pulsegate.dead_letters (build, topic, partition, log_offset, error, kind)
             values ('licensing_v4', 'playback', 0, 0, 'no such policy', 'parked')",
        )
        .await
        .expect("a dead letter");
    let broken = Seen::of(&deployment, &[]);
    broken.assert_wrong("offsets", &["licensing_v4 playback/1", "folded up to 1000000", "another log"]);
    broken.assert_wrong("group", &["active_sessions_v1", "nobody folds it"]);
    broken.assert_wrong("dead letters", &["licensing_v4", "parked: 1"]);

    // A schema that is behind: what stands on it isn't looked at.
    let last = sqlx::query_scalar::<_, i64>(
        "delete from public._sqlx_migrations where version = (select max(version) from public._sqlx_migrations)
         returning version",
    )
    .fetch_one(&mut database)
    .await
    .expect("a migration");
    let behind = Seen::of(&deployment, &[]);
    behind.assert_wrong("schema", &["lacks", &format!("{last:04} ")]);
    assert_eq!(behind.wrong().len(), 1, "{:#?}", behind.wrong());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_who_does_not_answer_and_every_wrong_setting() {
    let deployment = Deployment::new().await;
    let nobody = [
        ("PULSEGATE_KAFKA_BOOTSTRAP", "127.0.0.1:1"),
        ("PULSEGATE_DATABASE_URL", "postgres://a:secret@127.0.0.1:1/none"),
        ("PULSEGATE_NO_SUCH_THING", "1"),
    ];
    let seen = Seen::of(&deployment, &nobody);
    seen.assert_wrong("broker", &["127.0.0.1:1", "does not answer"]);
    seen.assert_wrong("database", &["postgres://a:***@127.0.0.1:1/none", "does not answer"]);
    assert_eq!(seen.wrong().len(), 2, "{:#?}", seen.wrong());
    let findings = seen.0["findings"].as_array().expect("findings");
    let is_noted = |finding: &&Value| finding["state"] == "note" && finding["of"] == "PULSEGATE_NO_SUCH_THING";
    assert_eq!(findings.iter().filter(is_noted).count(), 1, "{findings:#?}");

    let output = deployment
        .command(&["doctor"])
        .env("PULSEGATE_PARTITIONS", "0")
        .env("PULSEGATE_LISTEN", "nowhere")
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("PULSEGATE_PARTITIONS") && said.contains("PULSEGATE_LISTEN"), "{said}");
}
