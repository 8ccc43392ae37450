//! A Kafka and a PostgreSQL that speak encrypted, and with who has the password, alone.

use serde_json::json;
use uuid::Uuid;

use crate::deployment::until;
use crate::doctor::Seen;
use crate::services::{Services, certificates};

#[tokio::test(flavor = "multi_thread")]
async fn kafka_and_postgresql_are_spoken_with_encrypted_and_who_is_refused_is_told_why() {
    let services = Services::encrypted();
    let deployment = services.deployment().await;
    let node = deployment.node().await;
    deployment.with_patience(&node).await;
    let start = async |device: &str| {
        let body = json!({"session_id": Uuid::now_v7(), "device_id": device, "title_id": "dune"});
        node.post("/v1/accounts/ada/sessions", &body).await.status
    };
    assert_eq!([start("tv").await, start("tablet").await, start("phone").await], [201, 201, 409]);
    until("the read model to have what was decided", || async {
        let kept = node.get("/v1/accounts/ada/decisions").await;
        kept.body["decisions"].as_array().is_some_and(|decisions| decisions.len() == 3)
    })
    .await;
    until("it to be sound", || async { Seen::of(&deployment, &[]).is_sound() }).await;
    node.stop();

    let other = certificates().join("other.crt").display().to_string();
    let url = &deployment.database_url;
    let by_another = url.replace("pulsegate:pulsegate@", "pulsegate:guessed@");
    let of_another = url.replace("one.crt", "other.crt");
    let in_the_clear = url.replace("verify-full", "disable");
    let refusals = [
        ("broker", "PULSEGATE_KAFKA_PASSWORD", "guessed", "invalid credentials"),
        ("broker", "PULSEGATE_KAFKA_SASL_MECHANISM", "SCRAM-SHA-256", "supported mechanisms: SCRAM-SHA-512"),
        ("broker", "PULSEGATE_KAFKA_SECURITY_PROTOCOL", "plaintext", "does not answer"),
        ("broker", "PULSEGATE_KAFKA_CA", &other, "certificate"),
        ("database", "PULSEGATE_DATABASE_URL", &by_another, "password authentication failed"),
        ("database", "PULSEGATE_DATABASE_URL", &of_another, "certificate verify failed"),
        ("database", "PULSEGATE_DATABASE_URL", &in_the_clear, "no encryption"),
    ];
    // At once: each waits for an answer that doesn't come.
    std::thread::scope(|scope| {
        for (check, variable, value, words) in refusals {
            let deployment = &deployment;
            scope.spawn(move || Seen::of(deployment, &[(variable, value)]).assert_wrong(check, &[words]));
        }
    });
}
