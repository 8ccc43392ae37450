//! The HTTP surface: one file a resource, the problem table, `OpenAPI`, the pages.
//!
//! [`router`] makes the whole of it from an [`ApiState`], [`serve`] serves it until told to stop. What a request becomes in the log and how
//! the fold answers it is [`playback`]'s.
//!
//! **Invariant:** a handler extracts, makes one call and answers. It holds no SQL, knows no rule and
//! maps no error: [`problem`] does, in one table.

mod answer;
mod body;
pub mod callers;
#[expect(clippy::result_large_err, reason = "an error carries its verdict, and is as much an answer as a success")]
pub mod cluster;
mod extract;
mod instant;
mod measures;
mod middleware;
mod openapi;
#[expect(clippy::result_large_err, reason = "an error carries its verdict, and is as much an answer as a success")]
pub mod playback;
pub mod problem;
mod reads;
mod refused;
mod routes;
mod schema;
mod server;
mod settings;
mod state;
mod wait;

pub use cluster::Cluster;
pub use middleware::REQUEST_ID;
pub use openapi::json as openapi_json;
pub use playback::Playback;
pub use problem::{Problem, ProblemKind};
pub use reads::Reads;
pub use routes::{router, router_with};
pub use server::{ServerSettings, Tls, TlsError, serve};
pub use settings::{ApiSettings, CorsOrigins, InvalidOrigin};
pub use state::ApiState;
