//! What a rebuild has to do: which build, from where, up to where.

use std::sync::Arc;
use std::time::Duration;

use pulsegate_domain::time::Timestamp;
use rdkafka::consumer::Consumer as _;
use rdkafka::metadata::MetadataPartition;
use rdkafka::{Offset, TopicPartitionList};
use sqlx::{AssertSqlSafe, PgTransaction};

use super::{Copy, Phase, Progress, RebuildError, Target};
use crate::builds::{Build, history, tables};
use crate::reader;
use crate::registry::{Dependencies, Registered};
use crate::runner::{Source, offsets};

/// How long one question to the brokers may take.
const ASK_MAX: Duration = Duration::from_secs(10);

/// The build to work on: the one that was begun, or a new one.
pub(super) async fn build(
    registered: &'static Registered,
    copy: Option<&Copy>,
    with: &Dependencies,
) -> Result<Build, RebuildError> {
    let mut tx = with.pool.begin().await?;
    sqlx::query("select pg_advisory_xact_lock(hashtext('pulsegate.projections'))").execute(&mut *tx).await?;
    let build = match copy {
        Some(copy) => copy_of(registered, copy, &mut tx).await?,
        None => shadow_of(registered, &mut tx).await?,
    };
    tx.commit().await?;
    Ok(build)
}

async fn shadow_of(registered: &'static Registered, tx: &mut PgTransaction<'_>) -> Result<Build, RebuildError> {
    // Also one that has its tables already and was stopped while it caught up.
    let begun = sqlx::query_scalar::<_, String>(
        "select build from pulsegate.projection_builds
         where name = $1 and version = $2 and as_of_ms is null
           and (state = 'building' or state = 'shadow' and phase <> 'done')
         order by number desc limit 1",
    )
    .bind(registered.name)
    .bind(registered.version)
    .fetch_optional(&mut **tx)
    .await?;
    if let Some(schema) = begun {
        return Ok(Build::named(registered, &schema));
    }
    let number = sqlx::query_scalar::<_, i32>(
        "select coalesce(max(number), 0) + 1 from pulsegate.projection_builds where name = $1 and version = $2",
    )
    .bind(registered.name)
    .bind(registered.version)
    .fetch_one(&mut **tx)
    .await?;
    let build = Build::numbered(registered, number);
    begin(&build, Some(number), None, tx).await?;
    Ok(build)
}

async fn copy_of(
    registered: &'static Registered,
    copy: &Copy,
    tx: &mut PgTransaction<'_>,
) -> Result<Build, RebuildError> {
    let refused = |why| RebuildError::Name(copy.into.clone(), why);
    let plain = copy.into.starts_with(|first: char| first.is_ascii_lowercase())
        && copy.into.len() <= 60
        && copy.into.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if !plain {
        return Err(refused("it must be at most 60 of a-z 0-9 _, the first a letter"));
    }
    if copy.into.starts_with("pg_") {
        return Err(refused("PostgreSQL keeps names that begin with pg_ for itself"));
    }
    let build = Build::named(registered, &copy.into);
    let begun = sqlx::query_as::<_, (String, i32, Option<i64>, String)>(
        "select name, version, as_of_ms, state from pulsegate.projection_builds where build = $1",
    )
    .bind(&copy.into)
    .fetch_optional(&mut **tx)
    .await?;
    if let Some((name, version, as_of, state)) = begun {
        let same = name == registered.name && version == registered.version;
        if same && as_of == Some(copy.as_of.millis()) && state == "building" {
            return Ok(build);
        }
        return Err(refused("there is a build of this name already"));
    }
    let taken: bool =
        sqlx::query_scalar("select to_regnamespace($1) is not null").bind(&copy.into).fetch_one(&mut **tx).await?;
    if taken {
        return Err(refused("there is a schema of this name already"));
    }
    begin(&build, None, Some(copy.as_of), tx).await?;
    Ok(build)
}

async fn begin(
    build: &Build,
    number: Option<i32>,
    as_of: Option<Timestamp>,
    tx: &mut PgTransaction<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into pulsegate.projection_builds (build, name, version, number, state, as_of_ms, phase, phase_at)
         values ($1, $2, $3, $4, 'building', $5, 'planning', now())",
    )
    .bind(build.schema())
    .bind(build.registered().name)
    .bind(build.registered().version)
    .bind(number)
    .bind(as_of.map(Timestamp::millis))
    .execute(&mut **tx)
    .await?;
    tables::create(build, tx).await?;
    tables::unlog(build, tx).await?;
    history::note(&mut **tx, build, "rebuild begun", &as_of.map_or_else(String::new, |as_of| format!("as of {as_of}")))
        .await
}

/// Empties a build, whose tables a crash has emptied already, and what is kept about it.
pub(super) async fn begin_again(build: &Build, with: &Dependencies) -> Result<(), RebuildError> {
    let mut tx = with.pool.begin().await?;
    tables::empty(build, &mut tx).await?;
    for sql in [
        "delete from pulsegate.projection_offsets where build = $1",
        "delete from pulsegate.dead_letters where build = $1",
    ] {
        sqlx::query(sql).bind(build.schema()).execute(&mut *tx).await?;
    }
    history::note(&mut *tx, build, "rebuild begun again", "a crash of the database had emptied its tables").await?;
    tx.commit().await?;
    Ok(())
}

/// Whether its tables are finished; if they are not but a crash has emptied them, it is begun again.
pub(super) async fn is_finished(build: &Build, with: &Dependencies) -> Result<bool, RebuildError> {
    let mut tx = with.pool.begin().await?;
    sqlx::raw_sql(AssertSqlSafe(format!("set local search_path = {build}"))).execute(&mut *tx).await?;
    let state: String = sqlx::query_scalar("select state from pulsegate.projection_builds where build = $1")
        .bind(build.schema())
        .fetch_one(&mut *tx)
        .await?;
    if state != "building" {
        return Ok(true);
    }
    let holds = tables::hold_their_rows(&mut tx).await?;
    tx.rollback().await?;
    if !holds {
        tracing::warn!(%build, "the database has crashed and emptied the build's tables: it begins again");
        begin_again(build, with).await?;
    }
    Ok(false)
}

/// Says what is being done, also to those who ask for the status.
pub(super) async fn enter(
    build: &Build,
    with: &Dependencies,
    progress: &Progress,
    phase: Phase,
) -> Result<(), RebuildError> {
    progress.enters(phase);
    sqlx::query("update pulsegate.projection_builds set phase = $2, phase_at = now() where build = $1 and phase <> $2")
        .bind(build.schema())
        .bind(phase.as_str())
        .execute(&with.pool)
        .await?;
    Ok(())
}

/// Keeps why a rebuild stopped. Best effort: it may be the database itself that is away.
pub(super) async fn note(build: &Build, with: &Dependencies, error: &RebuildError) {
    if error.is_stop() {
        return;
    }
    let text = error.to_string();
    let note = async {
        offsets::note_error(&with.pool, build, &text).await?;
        if error.is_hopeless() {
            sqlx::query(
                "update pulsegate.projection_builds set state = 'failed' where build = $1 and state = 'building'",
            )
            .bind(build.schema())
            .execute(&with.pool)
            .await?;
            history::note(&with.pool, build, "rebuild failed", &text).await?;
        }
        Ok::<_, sqlx::Error>(())
    };
    if !matches!(tokio::time::timeout(Duration::from_secs(5), note).await, Ok(Ok(()))) {
        tracing::debug!("the error could not be kept in the database");
    }
}

/// What is to be read of each partition, the longest first, and how much that is.
pub(super) async fn targets(
    build: &Build,
    with: &Dependencies,
    copy: Option<&Copy>,
    progress: &Arc<Progress>,
) -> Result<(Vec<Target>, i64), RebuildError> {
    let mut found = Vec::new();
    for bounds in bounds(build, with, copy.map(|copy| copy.as_of)).await? {
        let stands = offsets::position(&with.pool, build, bounds.source).await?;
        let next = stands.next_offset.max(bounds.low);
        sqlx::query(
            "update pulsegate.projection_offsets set rebuild_end = $4 where build = $1 and topic = $2 and partition = $3",
        )
        .bind(build.schema())
        .bind(bounds.source.topic.base_name())
        .bind(bounds.source.partition)
        .bind(bounds.end)
        .execute(&with.pool)
        .await?;
        progress.plans(bounds.source, next, bounds.end);
        found.push((bounds.end - next, Target { source: bounds.source, end: bounds.end }));
    }
    found.retain(|(rest, _)| *rest > 0);
    found.sort_unstable_by_key(|(rest, _)| std::cmp::Reverse(*rest));
    let rest = found.iter().map(|(rest, _)| rest).sum();
    Ok((found.into_iter().map(|(_, target)| target).collect(), rest))
}

/// How many records a build is behind the log, while a runner folds it; shown in the progress.
pub(super) async fn watch(build: &Build, with: &Dependencies, progress: &Progress) -> Result<i64, RebuildError> {
    let mut behind = 0;
    for bounds in bounds(build, with, None).await? {
        let stands = offsets::position(&with.pool, build, bounds.source).await?;
        progress.plans(bounds.source, stands.next_offset.max(bounds.low), bounds.end);
        progress.stands(bounds.source, stands.next_offset);
        behind += (bounds.end - stands.next_offset.max(bounds.low)).max(0);
    }
    Ok(behind)
}

/// What the log holds of a partition.
struct Bounds {
    source: Source,
    low: i64,
    /// Behind the last record, or behind the last one that is not after some instant.
    end: i64,
}

async fn bounds(build: &Build, with: &Dependencies, as_of: Option<Timestamp>) -> Result<Vec<Bounds>, RebuildError> {
    let (kafka, topics, registered) = (with.kafka.clone(), with.topics.clone(), build.registered());
    let ask = move || {
        let consumer = reader::consumer(&kafka)?;
        let mut found = Vec::new();
        for topic in registered.topics {
            let name = topics.name(*topic);
            let metadata = consumer.fetch_metadata(Some(&name), ASK_MAX)?;
            let known = metadata.topics().iter().find(|found| found.name() == name);
            let partitions: Vec<_> =
                known.map_or_else(Vec::new, |topic| topic.partitions().iter().map(MetadataPartition::id).collect());
            if partitions.is_empty() {
                return Err(RebuildError::NoTopic(name));
            }
            for partition in partitions {
                let (low, high) = consumer.fetch_watermarks(&name, partition, ASK_MAX)?;
                let mut end = high;
                if let Some(as_of) = as_of {
                    // The first record after the instant; the end where there is none.
                    let mut asked = TopicPartitionList::new();
                    asked.add_partition_offset(&name, partition, Offset::Offset(as_of.millis() + 1))?;
                    let answered = consumer.offsets_for_times(asked, ASK_MAX)?;
                    let first = answered.find_partition(&name, partition).and_then(|one| one.offset().to_raw());
                    end = first.filter(|offset| *offset >= 0).unwrap_or(high);
                }
                found.push(Bounds { source: Source { topic: *topic, partition }, low, end });
            }
        }
        Ok(found)
    };
    tokio::task::spawn_blocking(ask).await.map_err(|_| crate::runner::RunError::ReaderDied)?
}
