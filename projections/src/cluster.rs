//! Who owns which partition of the playback topic, when nodes share them instead of folding everything each.
//!
//! A Kafka consumer group says who owns what ([`Group`]); what each node does about it is decided by a pure
//! [`Placement`]. Neither is needed for an answer to be right: the log's order is the arbiter, and any node's fold of a
//! partition says the same at the same offset. Ownership only says whose memory a partition is in, so two nodes that
//! both take themselves for its owner cost memory and nothing else, and no lease or fence is needed between them.

mod group;
mod members;
#[cfg(test)]
mod model;
mod placement;

pub use group::{Group, GroupView};
pub use placement::{Address, PATIENCE_MS, Placement, Route};
