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

/// One version of a projection.
#[derive(ToSchema)]
pub(crate) struct Projection {
    name: String,
    version: i32,
    /// Which of the version's builds: the schema of its tables.
    build: String,
    state: ProjectionState,
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
    partitions: Vec<Partition>,
}

/// One version of a projection in one partition.
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
    #[schema(required = true)]
    updated_at: Option<DateTime<Utc>>,
}
