//! Who calls, what each may do, and how often.
//!
//! - A **player** shows a signed token of one account ([`token`]); the platform's login service issues it, and on a laptop
//!   [`issue`] does.
//! - A **server** shows a key with scopes ([`key`]).
//! - A **person** has signed in through an `OpenID` provider ([`sign_in`]).
//!
//! Nothing here knows a route: what a call needs is the HTTP surface's to say. **Invariant:** no check waits for
//! `PostgreSQL`, and only a token of a key that nobody has seen yet waits for the network, within a bound.

mod generations;
pub mod issue;
pub mod key;
pub mod limit;
mod scope;
pub mod sign_in;
pub mod token;

pub use scope::{Scope, Scopes, UnknownScope};
