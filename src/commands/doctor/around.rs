//! What stands around log and database: settings, certificates, the processes that run.

use std::time::Duration;

use chrono::{DateTime, Utc};
use pulsegate_service::health;
use pulsegate_service::variables;
use reqwest::StatusCode;
use serde::Deserialize;

use super::certificate;
use super::finding::Report;
use crate::config::{ClusterMode, Config};

/// How long another process may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// From so many days before its end on, a certificate is worth a word.
const SOON_DAYS: i64 = 30;

/// Wrong values have ended the program before this; here it is what nobody reads.
pub(super) fn settings(config: &Config, report: &mut Report) {
    let known = config.shown();
    let set = known.values().filter(|shown| shown.from == "environment").count();
    report.ok("settings", "", format!("{set} set, {} by default (`pulsegate config`)", known.len() - set));
    for name in config.unread(&variables::of_environment()) {
        let fix = "unset it, or mend its name: docs/configuration.md has all";
        report.note("settings", name, "nothing reads this variable", fix);
    }
}

/// What a file of certificates is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certificates {
    /// Those who signed what is shown to this process: one that is good is enough.
    Roots,
    /// What this process shows, and behind it who signed that.
    Chain,
}

/// The files of certificates that the settings name.
fn certificate_files(config: &Config) -> Vec<(Certificates, String)> {
    let set = |variable: &str| config.shown().get(variable).map(|shown| shown.value.clone());
    let (_, parameters) = config.database_url.split_once('?').unwrap_or_default();
    let of_database = parameters.split('&').find_map(|pair| pair.strip_prefix("sslrootcert=")).map(str::to_owned);
    let named = [
        (Certificates::Chain, set("PULSEGATE_TLS_CERTIFICATE")),
        (Certificates::Roots, set("PULSEGATE_KAFKA_CA")),
        (Certificates::Chain, set("PULSEGATE_KAFKA_CERTIFICATE")),
        (Certificates::Roots, of_database),
    ];
    named.into_iter().filter_map(|(purpose, path)| Some((purpose, path.filter(|path| !path.is_empty())?))).collect()
}

/// Looks when they end.
pub(super) fn certificates(config: &Config, report: &mut Report) {
    let files = certificate_files(config);
    if files.is_empty() {
        let kafka = config.kafka.get("security.protocol").unwrap_or_default();
        let says = if kafka.ends_with("ssl") {
            "no file is named; Kafka is reached by TLS: one that has run out would not have answered"
        } else {
            "no file is named, and Kafka is reached without TLS"
        };
        report.ok("certificates", "", says);
    }
    for (purpose, path) in files {
        match std::fs::read_to_string(&path) {
            Ok(pem) => judge(purpose, &path, &certificate::ends(&pem), Utc::now(), report),
            Err(error) => {
                report.wrong("certificates", &path, error.to_string(), "mend the path, or the rights on the file");
            }
        }
    }
}

fn judge(purpose: Certificates, path: &str, ends: &[DateTime<Utc>], now: DateTime<Utc>, report: &mut Report) {
    let end = match purpose {
        Certificates::Roots => ends.iter().max(),
        Certificates::Chain => ends.iter().min(),
    };
    let Some(end) = end else {
        report.wrong("certificates", path, "holds no certificate", "put a PEM file there");
        return;
    };
    let says = format!("{} certificates, good until {}", ends.len(), end.format("%F"));
    let fix = "put the newer ones there, and restart what reads them";
    match (*end - now).num_days() {
        ..0 => report.wrong("certificates", path, says, fix),
        0..SOON_DAYS => report.note("certificates", path, says, fix),
        SOON_DAYS.. => report.ok("certificates", path, says),
    }
}

#[derive(Deserialize)]
struct Nodes {
    nodes: Vec<Node>,
    unowned: Vec<i32>,
}

#[derive(Deserialize)]
struct Node {
    address: String,
    reachable: bool,
}

/// The process that runs here, and the nodes that share partitions with it.
pub(super) async fn processes(config: &Config, report: &mut Report) {
    let admin = config.admin_listen;
    match tokio::task::spawn_blocking(move || health::check(admin)).await {
        Ok(Ok(())) => report.ok("process", admin.to_string(), "one runs here and lives"),
        _ => report.note(
            "process",
            admin.to_string(),
            "none answers here",
            "start one: `pulsegate up`, `api` or `project`",
        ),
    }
    if config.cluster == ClusterMode::Whole {
        report.ok("nodes", "", "each folds every partition, and needs no other");
        return;
    }
    let url = format!("http://{}/v1/cluster", config.advertise);
    let asked = async {
        // Nodes speak with each other without encryption.
        let client = reqwest::Client::builder().timeout(ANSWER_MAX).build()?;
        let answer = client.get(&url).send().await?;
        if matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Ok(None);
        }
        answer.error_for_status()?.json::<Nodes>().await.map(Some)
    };
    match asked.await {
        Ok(None) => report.unknown("nodes", &config.advertise, "says it only to who has a key: ask `GET /v1/cluster`"),
        Ok(Some(Nodes { nodes, unowned })) => {
            let fix = "restart it, or mend the network: its PULSEGATE_ADVERTISE must be reachable from every node";
            for lost in nodes.iter().filter(|node| !node.reachable) {
                report.wrong("nodes", &lost.address, format!("{} does not reach it", config.advertise), fix);
            }
            if unowned.is_empty() {
                report.ok("nodes", "", format!("{} share the partitions", nodes.len()));
            } else {
                let says = format!("nobody owns the partitions {unowned:?}");
                report.wrong("nodes", "", says, "start a node, or wait until the group has settled");
            }
        }
        Err(error) => {
            let fix = "start it, or set PULSEGATE_ADVERTISE to where it is reached";
            report.wrong("nodes", &config.advertise, format!("does not say who shares the partitions: {error}"), fix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_good_as_long_as_one_is_and_a_chain_as_long_as_all_are() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let ends = [at("2021-01-01T00:00:00Z"), at("2030-01-01T00:00:00Z")];
        let is_sound = |ends: &[_], now| {
            let mut report = Report::default();
            judge(Certificates::Roots, "roots.pem", ends, at(now), &mut report);
            report.is_sound()
        };
        assert!(is_sound(&ends, "2029-06-01T00:00:00Z"));
        assert!(is_sound(&ends, "2029-12-31T00:00:00Z"));
        assert!(!is_sound(&ends, "2030-01-02T00:00:00Z"));
        assert!(!is_sound(&ends[..1], "2026-01-01T00:00:00Z"));
        assert!(!is_sound(&[], "2026-01-01T00:00:00Z"));
        let mut report = Report::default();
        judge(Certificates::Chain, "chain.pem", &ends, at("2026-01-01T00:00:00Z"), &mut report);
        assert!(!report.is_sound());
    }
}
