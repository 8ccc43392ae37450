//! The rules of pulsegate, pure: ids, events, policies, the account fold, watch time, contracts and what is due under them.
//!
//! Everything here is a function of its arguments. No I/O, no clock, no randomness, no async
//! beyond the signature that the `eventually` seam demands: `clippy.toml` beside this crate bans
//! the rest. Time is a [`Timestamp`](time::Timestamp) that the caller read from the log.

pub mod account;
pub mod catalog;
pub mod contract;
pub mod event;
pub mod ids;
pub mod money;
pub mod policy;
pub mod time;
pub mod topic;
pub mod watch_time;
