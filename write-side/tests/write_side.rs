//! The write side on a real Kafka, each test behind a topic prefix of its own.
//!
//! `PULSEGATE_KAFKA_BOOTSTRAP` says where it is, 127.0.0.1:9092 if nothing does.

#[path = "write_side/fixture.rs"]
mod fixture;
#[path = "write_side/log.rs"]
mod log;
#[path = "write_side/rejected.rs"]
mod rejected;
#[path = "write_side/store.rs"]
mod store;
#[path = "write_side/topics.rs"]
mod topics;
