//! pulsegate as its users meet it: the real binary, real Kafka, real PostgreSQL, real HTTP.
//!
//! Every answer that a test collects names its place in the log, so each test ends in a recount: the log
//! is read back and `StraightLine`, which knows only the rules, says what each answer should have been.

#[path = "../domain/tests/domain/straight_line.rs"]
#[allow(dead_code, reason = "the domain's own tests ask it more")]
mod straight_line;

#[path = "pulsegate/access.rs"]
mod access;
#[path = "pulsegate/chaos.rs"]
mod chaos;
#[path = "pulsegate/clickstream.rs"]
mod clickstream;
#[path = "pulsegate/clocks.rs"]
mod clocks;
#[path = "pulsegate/cluster.rs"]
mod cluster;
#[path = "pulsegate/commands.rs"]
mod commands;
#[path = "pulsegate/crashes.rs"]
mod crashes;
#[path = "pulsegate/cut_off.rs"]
mod cut_off;
#[path = "pulsegate/deployment.rs"]
mod deployment;
#[path = "pulsegate/doctor.rs"]
mod doctor;
#[path = "pulsegate/encrypted.rs"]
mod encrypted;
#[path = "pulsegate/explaining.rs"]
mod explaining;
#[path = "pulsegate/forgetting.rs"]
mod forgetting;
#[path = "pulsegate/hostile.rs"]
mod hostile;
#[path = "pulsegate/households.rs"]
mod households;
#[path = "pulsegate/main_job.rs"]
mod main_job;
#[path = "pulsegate/mute_household.rs"]
mod mute_household;
#[path = "pulsegate/observing.rs"]
mod observing;
#[path = "pulsegate/outages.rs"]
mod outages;
#[path = "pulsegate/pages.rs"]
mod pages;
#[path = "pulsegate/policies.rs"]
mod policies;
#[path = "pulsegate/proxy.rs"]
mod proxy;
#[path = "pulsegate/races.rs"]
mod races;
#[path = "pulsegate/recount.rs"]
mod recount;
#[path = "pulsegate/resend.rs"]
mod resend;
#[path = "pulsegate/rolling.rs"]
mod rolling;
#[path = "pulsegate/services.rs"]
mod services;
#[path = "pulsegate/statement.rs"]
mod statement;
#[path = "pulsegate/templates.rs"]
mod templates;
#[path = "pulsegate/tracing.rs"]
mod tracing;
#[path = "pulsegate/viewer.rs"]
mod viewer;
#[path = "pulsegate/waiting.rs"]
mod waiting;
#[path = "pulsegate/workers.rs"]
mod workers;
