//! Topics are made right or refused.

use pulsegate_domain::topic::Topic;
use pulsegate_write_side::{LogSettings, TopicsError, ensure_topics};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::fixture::settings;

#[tokio::test]
async fn two_nodes_that_start_at_once_both_find_the_topics() {
    let settings = settings();
    let (one, other) = tokio::join!(ensure_topics(&settings), ensure_topics(&settings));
    one.unwrap();
    other.unwrap();
    ensure_topics(&settings).await.unwrap();
}

#[tokio::test]
async fn topics_that_are_otherwise_are_refused_and_every_mismatch_is_named() {
    let settings = settings();
    let admin: AdminClient<DefaultClientContext> = settings.client.create().unwrap();
    let (playback, rejected) =
        (format!("{}playback", settings.topics.prefix()), format!("{}rejected", settings.topics.prefix()));
    let foreign = [
        NewTopic::new(&playback, 5, TopicReplication::Fixed(-1))
            .set("retention.ms", "3600000")
            .set("message.timestamp.type", "LogAppendTime"),
        NewTopic::new(&rejected, 3, TopicReplication::Fixed(-1))
            .set("retention.ms", "-1")
            .set("cleanup.policy", "compact"),
    ];
    for made in admin.create_topics(&foreign, &AdminOptions::new()).await.unwrap() {
        made.unwrap();
    }
    let error = ensure_topics(&settings).await.unwrap_err();
    let TopicsError::Mismatch(mismatches) = error else { panic!("{error}") };
    assert_eq!(
        mismatches,
        [
            format!("{playback} has 5 partitions, not 3"),
            format!("{playback} has retention.ms=3600000, not -1"),
            format!("{rejected} has cleanup.policy=compact, not delete"),
            format!("{rejected} has message.timestamp.type=CreateTime, not LogAppendTime"),
        ]
    );
}

#[tokio::test]
async fn another_partition_count_later_is_refused() {
    let settings = settings();
    ensure_topics(&settings).await.unwrap();
    let error = ensure_topics(&LogSettings { partitions: 4, ..settings }).await.unwrap_err();
    assert_eq!(error.to_string().matches("has 3 partitions, not 4").count(), Topic::ALL.len() - 1, "{error}");
}

#[tokio::test]
async fn who_signs_in_by_role_makes_no_topics_and_counts_those_that_are_there() {
    let settings = settings();
    let mut by_role = settings.clone();
    pulsegate_access::kafka::configure(&mut by_role.client, "eu-central-1");
    let error = ensure_topics(&by_role).await.unwrap_err();
    let TopicsError::Missing(missing) = error else { panic!("{error}") };
    assert_eq!(missing.len(), Topic::ALL.len());
    ensure_topics(&settings).await.unwrap();
    ensure_topics(&by_role).await.unwrap();
    let error = ensure_topics(&LogSettings { partitions: 4, ..by_role }).await.unwrap_err();
    let TopicsError::Mismatch(mismatches) = error else { panic!("{error}") };
    // The catalog has one partition always.
    assert_eq!(mismatches.len(), Topic::ALL.len() - 1, "{mismatches:?}");
}
