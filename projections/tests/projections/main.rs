//! The projections on a real Kafka and a real `PostgreSQL`, each test with topics and a database of its
//! own. However it is run, killed, doubled or split, the tables must be what a straight recount of the
//! log says.

mod carried_over;
mod clickstream;
mod closed_statements;
mod concurrency;
mod desk;
mod exactly_once;
mod forgetting;
mod hot_view;
mod households;
mod licensing;
mod packs;
mod parking;
mod poison;
mod policy_try;
mod questions;
mod reads;
mod rebuilds;
mod rebuilt_reads;
mod recount;
mod section_five;
mod services;
mod sinks;
mod splits;
mod statements;
#[path = "../../../domain/tests/domain/straight_line.rs"]
#[allow(dead_code, reason = "the domain's own tests ask it more")]
mod straight_line;
mod switching;
mod tally;
mod usage;
mod viewers;
