//! What the API's description says of the cluster's shapes that other crates define.

use chrono::{DateTime, Utc};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Reason, VerdictDecision};

/// How far a node is with a partition.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum FoldState {
    /// It has not been at the end of the log yet: answers are provisional.
    Filling,
    Ready,
}

/// A partition on a node that folds it.
#[derive(ToSchema)]
pub(crate) struct PartitionFold {
    partition: i32,
    state: FoldState,
    /// The offset behind the last record folded.
    next_offset: i64,
    /// How many records there were behind it when the log's end was asked for last.
    lag: u64,
    /// Since when it is folded there.
    since: DateTime<Utc>,
}

/// What was asked.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Question {
    Start,
    Heartbeat,
    Signal,
    Stop,
    Evict,
    Check,
}

/// Why an answer is provisional.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Because {
    /// The node had just started.
    Starting,
    /// Its view had not come to the event within the wait.
    ViewBehind,
    /// The account's partition was on its way to another node.
    PartitionMoving,
}

/// In what way an answer was wrong.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Wrongly {
    /// It said yes where the log says no.
    LetThrough,
    /// It said no where the log says yes.
    Refused,
}

/// Yes or no, and why not.
#[derive(ToSchema)]
pub(crate) struct Word {
    decision: VerdictDecision,
    #[schema(required = true)]
    reason: Option<Reason>,
}

/// A provisional answer beside the log's word.
#[derive(ToSchema)]
pub(crate) struct SettledAnswer {
    /// When it was given.
    given_at: DateTime<Utc>,
    account_id: String,
    #[schema(required = true)]
    session_id: Option<Uuid>,
    question: Question,
    because: Because,
    /// The node that answered.
    node: String,
    partition: i32,
    /// The question's own event; null for a check.
    #[schema(required = true)]
    offset: Option<i64>,
    /// The instant that was answered for.
    at: DateTime<Utc>,
    given: Word,
    /// What the log says at the same place; null where it knows no such session.
    #[schema(required = true)]
    log: Option<Word>,
    /// In what way the answer was wrong; null where it was right.
    #[schema(required = true)]
    wrongly: Option<Wrongly>,
    /// How many records the answer's state was behind its event.
    #[schema(required = true)]
    behind_events: Option<i64>,
    /// How far the answer's state was behind, in milliseconds of the log's time.
    #[schema(required = true)]
    behind_ms: Option<u64>,
}
