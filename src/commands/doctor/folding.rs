//! The read models: offsets against what the log holds, the groups that fold, what could not be folded.

use std::collections::BTreeMap;

use chrono::Utc;
use pulsegate_domain::topic::Topic;
use pulsegate_projections::builds::Build;
use pulsegate_projections::registry;
use pulsegate_projections::runner::group_of;
use pulsegate_projections::{PartitionStatus, ProjectionStatus, reader};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;

use super::finding::Report;
use crate::commands::topic_reader::BROKER_TIMEOUT;
use crate::config::Config;

/// An error that was noted longer ago than this is history.
const RECENT_MIN: i64 = 10;

pub(super) async fn look(config: &Config, builds: Vec<ProjectionStatus>, kafka: bool, report: &mut Report) {
    // A copy and what was retired stand still for good.
    for build in builds.into_iter().filter(|build| !matches!(build.state.as_str(), "copy" | "retired" | "failed")) {
        letters(&build, report);
        if !kafka {
            report.unknown("offsets", &build.build, "Kafka must answer first");
            continue;
        }
        let Some(registered) = registry::find(&build.name) else {
            report.unknown("offsets", &build.build, "another program folds it");
            continue;
        };
        let group_name = group_of(&Build::named(registered, &build.build), &config.topics);
        let (asking, asked) = (config.clone(), build.clone());
        match tokio::task::spawn_blocking(move || Ends::ask(&asking, group_name, &asked)).await {
            Ok(Ok(ends)) => {
                offsets(&build, &ends, report);
                group(&build, &ends, report);
            }
            Ok(Err(error)) => report.unknown("offsets", &build.build, format!("Kafka does not say: {error}")),
            Err(error) => report.unknown("offsets", &build.build, error.to_string()),
        }
    }
}

/// What the brokers say of a build's partitions and of its group.
struct Ends {
    /// First offset, the one behind the last, and what the group was shown, of each topic's partition.
    partitions: BTreeMap<(String, i32), (i64, i64, Option<i64>)>,
    group: String,
    state: String,
    members: usize,
}

impl Ends {
    fn ask(config: &Config, group: String, build: &ProjectionStatus) -> Result<Self, KafkaError> {
        let mut client = config.kafka.clone();
        client.set("group.id", group.clone()).set("enable.auto.commit", "false");
        let consumer = reader::consumer(&client)?;
        let full_name = |base: &str| {
            Topic::ALL.into_iter().find(|topic| topic.base_name() == base).map(|topic| config.topics.name(topic))
        };
        let mut asked = TopicPartitionList::new();
        let mut partitions = BTreeMap::new();
        for PartitionStatus { topic, partition, .. } in &build.partitions {
            let Some(name) = full_name(topic) else { continue };
            let (low, high) = consumer.fetch_watermarks(&name, *partition, BROKER_TIMEOUT)?;
            asked.add_partition(&name, *partition);
            partitions.insert((topic.clone(), *partition), (low, high, None));
        }
        let shown = consumer.committed_offsets(asked, BROKER_TIMEOUT)?;
        for ((topic, partition), (.., committed)) in &mut partitions {
            let name = full_name(topic).unwrap_or_default();
            *committed = shown
                .find_partition(&name, *partition)
                .and_then(|element| element.offset().to_raw())
                .filter(|raw| *raw >= 0);
        }
        let groups = consumer.fetch_group_list(Some(&group), BROKER_TIMEOUT)?;
        let found = groups.groups().iter().find(|known| known.name() == group);
        let state = found.map_or("Dead", |known| known.state()).to_owned();
        Ok(Self { partitions, group, state, members: found.map_or(0, |known| known.members().len()) })
    }
}

/// What a partition is called in a finding.
fn of(build: &ProjectionStatus, partition: &PartitionStatus) -> String {
    format!("{} {}/{}", build.build, partition.topic, partition.partition)
}

fn offsets(build: &ProjectionStatus, ends: &Ends, report: &mut Report) {
    let mut is_sound = true;
    for partition in &build.partitions {
        let Some((low, high, committed)) = ends.partitions.get(&(partition.topic.clone(), partition.partition)) else {
            continue;
        };
        let next = partition.next_offset;
        if next > *high {
            is_sound = false;
            let says =
                format!("is folded up to {next}, and the log ends at {high}: it is another log, or has lost its end");
            let fix = "check PULSEGATE_KAFKA_BOOTSTRAP and PULSEGATE_TOPIC_PREFIX; if the log is right, rebuild the projection";
            report.wrong("offsets", of(build, partition), says, fix);
        } else if next < *low {
            is_sound = false;
            let says =
                format!("is folded up to {next}, and the log begins at {low}: {} records are lost to it", low - next);
            report.wrong(
                "offsets",
                of(build, partition),
                says,
                "set retention.ms=-1, restore the log if it can be, then rebuild",
            );
        } else if committed.is_some_and(|committed| committed > next) {
            is_sound = false;
            let says =
                format!("is folded up to {next}, and was shown to its group as {}", committed.unwrap_or_default());
            let fix = "nothing, if the database was restored: it folds again from where it stands";
            report.note("offsets", of(build, partition), says, fix);
        }
    }
    if is_sound {
        let behind = match (build.lag_events, build.lag_seconds) {
            (Some(0), _) => "at the log's end".to_owned(),
            (Some(events), Some(seconds)) => format!("{events} records, {seconds:.0} s behind the log's end"),
            (Some(events), None) => format!("{events} records behind the log's end"),
            (None, _) => "how far behind, Kafka does not say".to_owned(),
        };
        report.ok("offsets", &build.build, format!("within the log; {behind}"));
    }
}

fn group(build: &ProjectionStatus, ends: &Ends, report: &mut Report) {
    let Ends { group, state, members, .. } = ends;
    if let Some(since) = build.paused_at {
        let says = format!("is paused since {}", since.format("%F %T"));
        report.note("group", &build.build, says, format!("`pulsegate projection resume {}`", build.name));
    } else if *members > 0 {
        report.ok("group", &build.build, format!("{group}: {}, members: {members}", state.to_lowercase()));
    } else if build.lag_events.is_some_and(|lag| lag > 0) {
        let says = format!("nobody folds it ({group} has no members), and there is something to fold");
        report.wrong("group", &build.build, says, "start `pulsegate project` or `up`");
    } else {
        report.note(
            "group",
            &build.build,
            format!("nobody folds it ({group} has no members)"),
            "start `pulsegate project` or `up`",
        );
    }
}

fn letters(build: &ProjectionStatus, report: &mut Report) {
    if build.parked > 0 {
        let says = format!("parked: {}, and what their keys did since waits", build.parked);
        report.wrong(
            "dead letters",
            &build.build,
            says,
            "`pulsegate dead-letters list`, mend the cause, `dead-letters retry --all`",
        );
    }
    if build.skipped > 0 {
        let says = format!("left out: {}", build.skipped);
        report.note("dead letters", &build.build, says, "`pulsegate dead-letters list` says which and why");
    }
    if build.parked + build.skipped == 0 {
        report.ok("dead letters", &build.build, "none");
    }
    let is_recent = build.last_error_at.is_some_and(|at| (Utc::now() - at).num_minutes() < RECENT_MIN);
    if let Some(error) = build.last_error.as_ref().filter(|_| is_recent) {
        report.note(
            "trouble",
            &build.build,
            format!("noted in the last minutes: {error}"),
            "`pulsegate projection status` says when",
        );
    }
}
