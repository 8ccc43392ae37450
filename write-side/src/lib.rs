//! Commands in, events out.
//!
//! A request's bytes are parsed ([`request`]; what servers send of themselves by [`adapter`]), stamped with the rules in force ([`stamp`]), put into an
//! envelope ([`envelope`]) and appended to the log ([`log`]). What is refused goes to a topic of its own
//! ([`rejected`]), and is read once more when it is sent in again ([`resend`]). One account is replayed through [`store`].
//!
//! **Invariant:** nothing here folds, answers or keeps state of an account. What the write side needs to
//! know of one is passed in.

pub mod adapter;
pub mod envelope;
pub mod history;
mod json;
pub mod log;
pub mod problems;
pub mod record;
pub mod rejected;
mod replay;
pub mod request;
pub mod resend;
pub mod settings;
pub mod stamp;
pub mod store;
pub mod table;
pub mod topics;

pub use log::{ConnectError, EventLog};
pub use problems::{BodyError, FieldProblem};
pub use record::{AppendError, Appended, Record};
pub use rejected::Rejected;
pub use settings::LogSettings;
pub use store::AccountStore;
pub use topics::{TopicsError, ensure_topics, inspect_topics};
