//! What a person wrote, sealed under a key of their own; and whose key was destroyed.
//!
//! The log is for ever, so what is to be forgotten is sealed before it goes there. Each account has a random key, which
//! is kept in `PostgreSQL`, wrapped by the deployment's [`MasterKey`] and under a name that says nobody. An account is
//! forgotten by destroying its key; from then on its records are read with something else in the place of its id, so
//! that the numbers that others rest on stay what they are.
//!
//! **Invariant:** neither the list of the forgotten nor what stands in their place names an account to somebody who
//! doesn't have the master key.

mod clicks;
mod forgotten;
mod keys;
mod master;
mod sealed;
mod veil;

pub use clicks::Seals;
pub use forgotten::{FORGOTTEN_MAX, Forgotten, ForgottenAccount};
pub use keys::{AccountKeys, KeyError, Sealing};
pub use master::{InvalidMasterKey, MasterKey, Who};
pub use sealed::DataKey;
pub use veil::{PREFIX, UNTOLD, Veil, Veiled, account_of, without_word};
