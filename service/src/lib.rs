//! What every process on pulsegate's log has, and a whole service of projections.
//!
//! [`variables`] and [`settings`] read the configuration, [`logs`] writes lines and hears signals, [`admin`] serves
//! health and metrics on a thread of its own, [`process`] puts them together. [`main`] is all that a service of
//! projections needs, and what `pulsegate new service` makes a project around.
//!
//! **Invariant:** nothing here knows a projection, a route or a command of pulsegate's own.

pub mod admin;
pub mod health;
pub mod logs;
pub mod measures;
mod nodelay;
pub mod process;
mod projecting;
pub mod settings;
mod traces;
pub mod variables;

pub use projecting::main;
