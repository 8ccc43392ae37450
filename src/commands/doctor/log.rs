//! Kafka: whether it answers, and whether its topics are as the log needs them.

use pulsegate_domain::topic::Topic;
use pulsegate_projections::reader;
use pulsegate_write_side::inspect_topics;

use super::finding::Report;
use crate::commands::serve;
use crate::commands::topic_reader::BROKER_TIMEOUT;
use crate::config::Config;

const REACH: &str = "start Kafka, or mend PULSEGATE_KAFKA_BOOTSTRAP, security settings or the network";

/// Looks; says whether Kafka answers.
pub(super) async fn look(config: &Config, report: &mut Report) -> bool {
    let (kafka, names) = (config.kafka.clone(), Topic::ALL.map(|topic| config.topics.name(topic)));
    let asked = tokio::task::spawn_blocking(move || {
        let consumer = reader::consumer(&kafka)?;
        let metadata = reader::metadata(&consumer, None, BROKER_TIMEOUT)?;
        let mut troubles = Vec::new();
        for topic in metadata.topics().iter().filter(|topic| names.iter().any(|name| name == topic.name())) {
            for partition in topic.partitions() {
                let of = format!("{}/{}", topic.name(), partition.id());
                if partition.leader() < 0 {
                    troubles.push((of, "it has no leader: what is keyed there is answered 503".to_owned()));
                } else if partition.isr().len() < partition.replicas().len() {
                    let (synced, all) = (partition.isr().len(), partition.replicas().len());
                    troubles.push((of, format!("{synced} of {all} replicas are in sync")));
                }
            }
        }
        anyhow::Ok((metadata.brokers().len(), troubles))
    });
    let at = config.kafka.get("bootstrap.servers").unwrap_or_default();
    match asked.await {
        Ok(Ok((brokers, troubles))) => {
            report.ok("broker", at, format!("answers; {brokers} in the cluster"));
            for (of, says) in troubles {
                report.wrong("broker", of, says, "bring the broker back that holds it");
            }
        }
        Ok(Err(error)) => {
            report.wrong("broker", at, format!("does not answer: {error:#}"), REACH);
            report.unknown("topics", config.topics.to_string(), "Kafka must answer first");
            return false;
        }
        Err(_) => {
            report.unknown("broker", at, "could not be asked");
            return false;
        }
    }
    topics(config, report).await;
    true
}

async fn topics(config: &Config, report: &mut Report) {
    let inspected = match inspect_topics(&serve::log_settings(config)).await {
        Ok(inspected) => inspected,
        Err(error) => {
            report.wrong("topics", config.topics.to_string(), error.to_string(), REACH);
            return;
        }
    };
    if inspected.missing.is_empty() && inspected.differences.is_empty() {
        let says = "all there, with the partitions, retention, cleanup and stamps that a log needs";
        report.ok("topics", config.topics.to_string(), says);
    }
    for topic in inspected.missing {
        report.wrong(
            "topics",
            topic,
            "is not there",
            "`pulsegate up` or `api` makes it; by role, the infrastructure does",
        );
    }
    for difference in inspected.differences {
        let fix = if difference.setting == "partitions" {
            format!(
                "set PULSEGATE_PARTITIONS={}, if that is the deployment's number; else the topic was made by another hand",
                difference.actual
            )
        } else {
            format!(
                "kafka-configs.sh --alter --entity-type topics --entity-name {} --add-config {}={}",
                difference.topic, difference.setting, difference.wanted
            )
        };
        report.wrong("topics", difference.topic.clone(), difference.to_string(), fix);
    }
}
