//! Makes the topics, or checks the ones that are there.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pulsegate_access::kafka as access;
use pulsegate_domain::topic::Topic;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext, OAuthToken};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaErrorCode;
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::settings::LogSettings;

/// What a difference in the number of partitions is called.
const PARTITIONS: &str = "partitions";
/// What makes a topic a log: nothing is ever deleted or compacted, and time is the broker's.
pub(crate) const SETTINGS: [(&str, &str); 3] =
    [("retention.ms", "-1"), ("cleanup.policy", "delete"), ("message.timestamp.type", "LogAppendTime")];
/// The same while history is brought in: its records keep their own time.
pub(crate) const SETTINGS_OF_HISTORY: [(&str, &str); 3] =
    [("retention.ms", "-1"), ("cleanup.policy", "delete"), ("message.timestamp.type", "CreateTime")];

/// How long one request to the broker may take.
pub(crate) const REQUEST: Duration = Duration::from_secs(10);
/// How long a topic that was just made may take to be seen.
const APPEAR: Duration = Duration::from_secs(30);
/// Between two looks for it.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Why there is no log to write to.
#[derive(Debug, Error)]
pub enum TopicsError {
    /// The broker can't be asked.
    #[error("ask the broker for its topics: {0}")]
    Broker(#[from] KafkaError),
    /// The broker doesn't make a topic.
    #[error("make the topics: {0}")]
    NotMade(String),
    /// Topics are there and are not what the log needs; all that is wrong, at once.
    #[error("topics are not as they must be: {}", .0.join("; "))]
    Mismatch(Vec<String>),
    /// Topics are missing, and who signs in by role doesn't make them.
    #[error("topics are missing, and with {} the infrastructure makes them: {}", access::MECHANISM, .0.join(", "))]
    Missing(Vec<String>),
    /// A topic was made and isn't seen.
    #[error("topics do not appear: {}", .0.join(", "))]
    NotSeen(Vec<String>),
}

/// A setting of a topic that isn't what the log needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which topic, by its full name.
    pub topic: String,
    /// `partitions`, or the name of a topic's setting.
    pub setting: &'static str,
    /// What it is.
    pub actual: String,
    /// What it must be.
    pub wanted: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, setting, actual, wanted } = self;
        match *setting {
            PARTITIONS => write!(f, "{topic} has {actual} partitions, not {wanted}"),
            setting => write!(f, "{topic} has {setting}={actual}, not {wanted}"),
        }
    }
}

/// How the topics that are there compare with what the log needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Topics that are not there.
    pub missing: Vec<String>,
    /// What is wrong with those that are.
    pub differences: Vec<Difference>,
}

pub(crate) type Admin = AdminClient<DefaultClientContext>;

/// Makes each topic that is missing and checks each that is there. Any number of nodes may do so at once.
///
/// Who signs in by role only counts partitions: librdkafka's admin client, as it is bound, can't have a token, and a
/// role that may make no topics is the better one.
pub async fn ensure_topics(settings: &LogSettings) -> Result<(), TopicsError> {
    let wanted = Topic::ALL.map(|topic| (settings.topics.name(topic), settings.partitions_of(topic)));
    if access::by_role(&settings.client) {
        return verify_by_role(settings, &wanted).await;
    }
    let admin: Arc<Admin> = Arc::new(settings.client.create()?);
    let present = partitions(&admin).await?;
    let missing: Vec<_> = wanted.iter().filter(|(name, _)| !present.contains_key(name)).collect();
    if !missing.is_empty() {
        make(&admin, &missing, settings.replication, &SETTINGS).await?;
    }
    let present = once_seen(&admin, &wanted).await?;
    let mut differences = partitions_that_differ(&present, &wanted);
    differences.extend(settings_that_differ(&admin, &wanted).await?);
    mismatch(&differences)
}

fn mismatch(differences: &[Difference]) -> Result<(), TopicsError> {
    if differences.is_empty() {
        return Ok(());
    }
    Err(TopicsError::Mismatch(differences.iter().map(ToString::to_string).collect()))
}

/// Looks at the topics and makes none. Who signs in by role sees only how many partitions there are.
pub async fn inspect_topics(settings: &LogSettings) -> Result<Inspection, TopicsError> {
    let wanted = Topic::ALL.map(|topic| (settings.topics.name(topic), settings.partitions_of(topic)));
    let by_role = access::by_role(&settings.client);
    let admin: Arc<Admin> = Arc::new(settings.client.create()?);
    let present = if by_role { partitions_by_role(settings).await? } else { partitions(&admin).await? };
    let (there, missing): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(name, _)| present.contains_key(name));
    let mut differences = partitions_that_differ(&present, &there);
    if !by_role {
        differences.extend(settings_that_differ(&admin, &there).await?);
    }
    Ok(Inspection { missing: missing.into_iter().map(|(name, _)| name).collect(), differences })
}

async fn partitions_by_role(settings: &LogSettings) -> Result<HashMap<String, i32>, TopicsError> {
    let client = settings.client.clone();
    let ask = move || {
        let consumer: BaseConsumer<ByRole> = client.create_with_context(ByRole)?;
        access::sign_in(&consumer, &client);
        Ok::<_, KafkaError>(counted(&consumer.fetch_metadata(None, REQUEST)?))
    };
    Ok(tokio::task::spawn_blocking(ask).await.map_err(|_| KafkaError::Canceled)??)
}

async fn verify_by_role(settings: &LogSettings, wanted: &[(String, i32)]) -> Result<(), TopicsError> {
    let present = partitions_by_role(settings).await?;
    let missing: Vec<_> = wanted.iter().filter(|(name, _)| !present.contains_key(name)).collect();
    if !missing.is_empty() {
        return Err(TopicsError::Missing(missing.into_iter().map(|(name, _)| name.clone()).collect()));
    }
    mismatch(&partitions_that_differ(&present, wanted))
}

/// The context of a consumer that only asks for metadata.
struct ByRole;

impl ClientContext for ByRole {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        access::token(config)
    }
}

impl ConsumerContext for ByRole {}

fn partitions_that_differ(present: &HashMap<String, i32>, wanted: &[(String, i32)]) -> Vec<Difference> {
    let differs = |(name, partitions): &(String, i32)| {
        let actual = present[name];
        (actual != *partitions).then(|| Difference {
            topic: name.clone(),
            setting: PARTITIONS,
            actual: actual.to_string(),
            wanted: partitions.to_string(),
        })
    };
    wanted.iter().filter_map(differs).collect()
}

fn counted(metadata: &Metadata) -> HashMap<String, i32> {
    let count = |partitions: usize| i32::try_from(partitions).unwrap_or(i32::MAX);
    metadata.topics().iter().map(|topic| (topic.name().to_owned(), count(topic.partitions().len()))).collect()
}

/// Every topic of the cluster with its partitions. Asked for by name, a missing topic could come into
/// being with the broker's defaults.
pub(crate) async fn partitions(admin: &Arc<Admin>) -> Result<HashMap<String, i32>, TopicsError> {
    let admin = Arc::clone(admin);
    let metadata = tokio::task::spawn_blocking(move || admin.inner().fetch_metadata(None, REQUEST)).await;
    Ok(counted(&metadata.map_err(|_| KafkaError::Canceled)??))
}

pub(crate) async fn make(
    admin: &Admin,
    missing: &[&(String, i32)],
    replication: i32,
    settings: &[(&'static str, &'static str)],
) -> Result<(), TopicsError> {
    let topics: Vec<_> = missing
        .iter()
        .map(|(name, partitions)| {
            let topic = NewTopic::new(name, *partitions, TopicReplication::Fixed(replication));
            settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    let options = AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST));
    let refused: Vec<_> = admin
        .create_topics(&topics, &options)
        .await?
        .into_iter()
        .filter_map(Result::err)
        // Another node was first, and what it made is checked like any other.
        .filter(|(_, code)| *code != RDKafkaErrorCode::TopicAlreadyExists)
        .map(|(name, code)| format!("{name}: {code}"))
        .collect();
    if refused.is_empty() { Ok(()) } else { Err(TopicsError::NotMade(refused.join("; "))) }
}

/// Waits until every topic is seen: metadata of a new one take a moment to reach the broker that is asked.
pub(crate) async fn once_seen(
    admin: &Arc<Admin>,
    wanted: &[(String, i32)],
) -> Result<HashMap<String, i32>, TopicsError> {
    let deadline = Instant::now() + APPEAR;
    loop {
        let present = partitions(admin).await?;
        let unseen = wanted.iter().filter(|(name, _)| present.get(name).is_none_or(|partitions| *partitions == 0));
        let unseen: Vec<_> = unseen.map(|(name, _)| name.clone()).collect();
        if unseen.is_empty() {
            return Ok(present);
        }
        if Instant::now() >= deadline {
            return Err(TopicsError::NotSeen(unseen));
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn settings_that_differ(admin: &Admin, wanted: &[(String, i32)]) -> Result<Vec<Difference>, TopicsError> {
    let deadline = Instant::now() + APPEAR;
    let options = AdminOptions::new().request_timeout(Some(REQUEST));
    let mut differ = Vec::new();
    for (name, _) in wanted {
        let resource = loop {
            let asked = [ResourceSpecifier::Topic(name)];
            match admin.describe_configs(&asked, &options).await?.into_iter().next() {
                Some(Ok(resource)) => break resource,
                Some(Err(RDKafkaErrorCode::UnknownTopicOrPartition)) if Instant::now() < deadline => {
                    sleep(LOOK_AGAIN).await;
                }
                Some(Err(code)) => return Err(KafkaError::AdminOp(code).into()),
                None => return Err(TopicsError::NotSeen(vec![name.clone()])),
            }
        };
        for (key, value) in SETTINGS {
            let actual = resource.get(key).and_then(|entry| entry.value.as_deref()).unwrap_or("nothing");
            if actual != value {
                differ.push(Difference {
                    topic: name.clone(),
                    setting: key,
                    actual: actual.to_owned(),
                    wanted: value.to_owned(),
                });
            }
        }
    }
    Ok(differ)
}
