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
#[path = "pulsegate/cluster.rs"]
mod cluster;
#[path = "pulsegate/crashes.rs"]
mod crashes;
#[path = "pulsegate/deployment.rs"]
mod deployment;
#[path = "pulsegate/doctor.rs"]
mod doctor;
#[path = "pulsegate/explaining.rs"]
mod explaining;
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
#[path = "pulsegate/services.rs"]
mod services;
#[path = "pulsegate/statement.rs"]
mod statement;
#[path = "pulsegate/templates.rs"]
mod templates;
#[path = "pulsegate/waiting.rs"]
mod waiting;
#[path = "pulsegate/workers.rs"]
mod workers;
