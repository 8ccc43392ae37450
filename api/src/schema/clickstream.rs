//! Questions about the clickstream, and their answers.

use chrono::{DateTime, NaiveDate, Utc};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::reports::{Format, ReportAsOf};

/// How a file of events is written.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum ExportFormat {
    Jsonl,
    Csv,
}

/// How finely a trend is told.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Bucket {
    Hour,
    Day,
}

/// What makes a session.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum SessionsBy {
    Gap,
    SessionId,
}

/// The kinds of questions.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Kind {
    Trend,
    Breakdown,
    Sessions,
    Funnel,
    Retention,
}

/// Where not all events were looked into: each figure is what was found times `one_in`, and has an `error`.
#[derive(ToSchema)]
pub(crate) struct SampleOfPeople {
    /// Everything that one person in so many did.
    one_in: i64,
}

macro_rules! answers {
    ($($(#[$doc:meta])* $name:ident of $row:ident;)+) => {
        $($(#[$doc])*
        #[derive(ToSchema)]
        pub(crate) struct $name {
            kind: Kind,
            /// The question as a query string, in the one way in which it is written.
            question: String,
            /// The first of its days; null while the log has no time.
            #[schema(required = true)]
            first: Option<NaiveDate>,
            /// The last of them.
            #[schema(required = true)]
            last: Option<NaiveDate>,
            /// How many events of its names these days have, other conditions aside.
            events: i64,
            /// Null where all of these were looked into.
            #[schema(required = true)]
            sample: Option<SampleOfPeople>,
            rows: Vec<$row>,
            /// The newest instant of the log that is in it.
            #[schema(required = true)]
            as_of_time: Option<DateTime<Utc>>,
            as_of: Vec<ReportAsOf>,
        })+
    };
}

answers! {
    /// How many events of each name over time.
    TrendAnswer of TrendRow;
    /// How many events have which value.
    BreakdownAnswer of BreakdownRow;
    /// How many sessions, how long and how rich.
    SessionsOfClickstreamAnswer of VisitsRow;
    /// How many people did one thing after another.
    FunnelAnswer of FunnelRow;
    /// How many people came back.
    RetentionAnswer of RetentionRow;
}

/// Of which names, where a question has no names of its own.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OfNames {
    /// Only of these names, up to 20.
    name: Option<Vec<String>>,
}

/// What every question may be narrowed by, and how it is to be answered.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Asked {
    /// Only of this account.
    account: Option<String>,
    /// Only of this visitor.
    anonymous: Option<String>,
    /// Only of this session.
    session: Option<Uuid>,
    /// `$.player.version=3.1`, or `$.error` for any value; up to 4, all of which must hold for every event that counts.
    #[param(rename = "where")]
    having: Option<Vec<String>>,
    /// Look into all events, up to 5 000 000, rather than into a sample where there are more than 50 000.
    exact: Option<bool>,
    /// `json` where absent.
    format: Option<Format>,
}

/// Events of a name within an hour or a day.
#[derive(ToSchema)]
pub(crate) struct TrendRow {
    /// When that begins.
    at: DateTime<Utc>,
    /// Null: all names that aren't told apart.
    #[schema(required = true)]
    name: Option<String>,
    events: i64,
    /// The most that it is off, in 95 of 100 samples; null where it is exact.
    #[schema(required = true)]
    error: Option<i64>,
}

/// What a row of a breakdown is of: one value, all others, or none.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum BreakdownOf {
    Value,
    Other,
    Missing,
}

/// Events that have a value.
#[derive(ToSchema)]
pub(crate) struct BreakdownRow {
    of: BreakdownOf,
    /// As text, cut after 200 characters.
    #[schema(required = true)]
    value: Option<String>,
    events: i64,
    /// The most that it is off, in 95 of 100 samples; null where it is exact.
    #[schema(required = true)]
    error: Option<i64>,
    people: i64,
    /// The most that `people` is off, in 95 of 100 samples; null where it is exact.
    #[schema(required = true)]
    people_error: Option<i64>,
}

/// Sessions that began on a day.
#[derive(ToSchema)]
pub(crate) struct VisitsRow {
    /// Null: all together.
    #[schema(required = true)]
    day: Option<NaiveDate>,
    sessions: i64,
    /// The most that it is off, in 95 of 100 samples; null where it is exact.
    #[schema(required = true)]
    error: Option<i64>,
    people: i64,
    /// The most that `people` is off, in 95 of 100 samples; null where it is exact.
    #[schema(required = true)]
    people_error: Option<i64>,
    events: i64,
    /// Of one event only.
    single: i64,
    /// From the first event to the last; half of them took at most so long.
    median_ms: i64,
    p95_ms: i64,
}

/// People who got to a step.
#[derive(ToSchema)]
pub(crate) struct FunnelRow {
    /// From 1.
    step: usize,
    name: String,
    people: i64,
    /// The most that it is off, in 95 of 100 samples; null where it is exact.
    #[schema(required = true)]
    error: Option<i64>,
    /// In thousandths of those who began.
    #[schema(required = true)]
    of_first_milli: Option<i64>,
    /// In thousandths of those who got to the step before.
    #[schema(required = true)]
    of_previous_milli: Option<i64>,
    /// From the step before; half of them took at most so long.
    #[schema(required = true)]
    median_ms: Option<i64>,
}

/// Newcomers of a week, or those of them who came back in a later one.
#[derive(ToSchema)]
pub(crate) struct RetentionRow {
    /// The Monday of their first week.
    week: NaiveDate,
    /// How many weeks later; 0 is all of them.
    after: i32,
    people: i64,
    /// The most that it is off, in 95 of 100 samples; null where it is exact.
    #[schema(required = true)]
    error: Option<i64>,
}

/// What playback decided.
#[derive(ToSchema)]
pub(crate) struct DecidedBeside {
    at: DateTime<Utc>,
    decision: String,
    session_id: Uuid,
    #[schema(required = true)]
    title_id: Option<String>,
    #[schema(required = true)]
    reason: Option<String>,
    partition: i32,
    offset: i64,
}

/// A name that events have.
#[derive(ToSchema)]
pub(crate) struct NameThere {
    name: String,
    /// Within the newest 30 days.
    events: i64,
}

/// A path that properties have.
#[derive(ToSchema)]
pub(crate) struct PathThere {
    path: String,
    /// Of so many of the newest events.
    events: u32,
    /// Some that stand there, the most frequent first.
    values: Vec<String>,
}

/// A question that was saved.
#[derive(ToSchema)]
pub(crate) struct SavedQuestion {
    name: String,
    kind: Kind,
    /// The question as a query string.
    query: String,
    saved_at: DateTime<Utc>,
    /// The path that asks it.
    answer: String,
    /// The path of the page that shows it.
    page: String,
}
