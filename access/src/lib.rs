//! How a process shows on AWS who it is, without a password: its role's credentials sign a token that is good for a
//! quarter of an hour, for Kafka ([`kafka`]) and for `PostgreSQL` ([`postgres`]).
//!
//! Signing needs no network and no SDK; `docs/adr/0017-no-password-on-aws.md` says why it is done here.

mod credentials;
pub mod kafka;
pub mod postgres;
mod signature;

use std::time::Duration;

pub use self::credentials::{Credentials, CredentialsError};
pub use self::signature::Moment;

/// How long a token is good for: the most that either service accepts.
pub const TOKEN_LIFE: Duration = Duration::from_mins(15);
