//! service-name: (in one sentence, the question that it answers).
//!
//! A projection is one module: its tables, its fold, its flush, its reads, its tests. [`REGISTERED`] is what the service
//! keeps current.

pub mod projection_name;

use pulsegate_projections::registry::Registered;

/// What this service keeps current; a new projection adds its line.
pub static REGISTERED: &[&Registered] = &[&projection_name::REGISTERED];
