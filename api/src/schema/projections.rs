//! How projections stand.

use chrono::{DateTime, Utc};
use utoipa::ToSchema;

/// What a build of a projection is for.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum ProjectionState {
    Live,
    Building,
    Shadow,
    Verified,
    Retired,
    Failed,
    Copy,
}

/// One build of a projection.
#[derive(ToSchema)]
pub(crate) struct Projection {
    name: String,
    version: i32,
    /// Which of the version's builds: the schema of its tables.
    build: String,
    state: ProjectionState,
    made_at: DateTime<Utc>,
    /// When it was found to say the same as the live build.
    #[schema(required = true)]
    verified_at: Option<DateTime<Utc>>,
    /// Since when nobody may fold it, because somebody said so.
    #[schema(required = true)]
    paused_at: Option<DateTime<Utc>>,
    /// The last instant of the log that a copy holds.
    #[schema(required = true)]
    as_of: Option<DateTime<Utc>>,
    /// Records folded a second, over the last few seconds.
    rate: f64,
    /// The rebuild that works on it, or was stopped and can go on.
    #[schema(required = true)]
    rebuild: Option<Rebuild>,
    /// When readers were switched to it.
    #[schema(required = true)]
    switched_at: Option<DateTime<Utc>>,
    /// How many records it is behind in all; null while Kafka doesn't say.
    #[schema(required = true)]
    lag_events: Option<i64>,
    /// How old, by the log's time, the last record folded is in the partition that is furthest behind; 0 at the end.
    #[schema(required = true)]
    lag_seconds: Option<f64>,
    /// Dead letters behind which their key waits.
    parked: i64,
    /// Dead letters that were left out.
    skipped: i64,
    /// The newest trouble.
    #[schema(required = true)]
    last_error: Option<String>,
    #[schema(required = true)]
    last_error_at: Option<DateTime<Utc>>,
    /// When it last committed anything.
    #[schema(required = true)]
    updated_at: Option<DateTime<Utc>>,
    /// What was done to it, the newest first; at most 20.
    history: Vec<HistoryEntry>,
    partitions: Vec<Partition>,
}

/// A rebuild of a projection.
#[derive(ToSchema)]
pub(crate) struct Rebuild {
    phase: RebuildPhase,
    /// Since when it is in this phase.
    #[schema(required = true)]
    since: Option<DateTime<Utc>>,
    /// Offsets passed, in all partitions together.
    done_events: i64,
    /// Offsets to pass.
    total_events: i64,
    /// How long it will take at this rate; null while it stands.
    #[schema(required = true)]
    left_seconds: Option<f64>,
}

/// What a rebuild is doing.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum RebuildPhase {
    Planning,
    Filling,
    Indexing,
    CatchingUp,
}

/// Something that was done to a build.
#[derive(ToSchema)]
pub(crate) struct HistoryEntry {
    at: DateTime<Utc>,
    /// For people, e.g. `switched`.
    what: String,
    /// More about it, for people; a forced switch says why.
    #[schema(required = true)]
    detail: Option<String>,
}

/// One build of a projection in one partition.
#[derive(ToSchema)]
pub(crate) struct Partition {
    /// The topic, without the deployment's prefix.
    topic: String,
    partition: i32,
    /// Every record before this offset is folded.
    next_offset: i64,
    /// The offset that the next record will have; null while Kafka doesn't say.
    #[schema(required = true)]
    end_offset: Option<i64>,
    #[schema(required = true)]
    lag_events: Option<i64>,
    #[schema(required = true)]
    lag_seconds: Option<f64>,
    /// The largest stamp of any record folded; null before the first.
    #[schema(required = true)]
    clock: Option<DateTime<Utc>>,
    /// Records folded a second, over the last few seconds.
    rate: f64,
    #[schema(required = true)]
    updated_at: Option<DateTime<Utc>>,
}
