//! Events in, read models out: the runner, the read models, the hot view.
//!
//! A projection is one folder: its name, version, topics and tables, its fold, its flush into a
//! transaction that it is handed, its reads, its tests. [`runner`] folds the log into it exactly once;
//! [`registry`] knows every one and makes its tables. The views in memory fold the same log beside it.

pub mod active_sessions;
pub mod builds;
pub mod cache;
pub mod catalog_view;
pub mod clickstream;
pub mod cluster;
pub mod concurrency;
mod csv;
pub mod dead_letters;
pub mod forget;
pub mod hot_view;
pub mod licensing;
pub mod live;
pub mod period;
pub mod policy_try;
pub mod provisional;
pub mod reader;
pub mod rebuild;
pub mod registry;
pub mod runner;
pub mod sinks;
pub mod statements;
pub mod switch;
pub mod testing;
mod traced;
pub mod verify;

pub use registry::{MigrateError, migrate};
pub use runner::{PartitionStatus, ProjectionStatus, status};

/// An instant as a column holds it: `PostgreSQL`'s calendar is shorter than the log's, and a stamp
/// before 1970 is no stamp.
pub(crate) fn column_time(at: pulsegate_domain::time::Timestamp) -> chrono::DateTime<chrono::Utc> {
    at.to_utc().max(chrono::DateTime::UNIX_EPOCH)
}
