//! Who calls: what is asked of each request before a route sees it.
//!
//! Without configuration everything is open to everybody, as on a laptop. Closed, each route asks for what
//! `callers/needs.rs` says: a player's token of the account that the path names, or a key with a scope. **Invariant:** closed, a
//! route that stands in no row is nobody's.

mod admit;
mod binds;
mod cookies;
mod needs;

use std::fmt;
use std::sync::Arc;

use pulsegate_callers::key::{KeyRing, Server};
use pulsegate_callers::limit::Buckets;
use pulsegate_callers::sign_in::{Person, SignIn};
use pulsegate_callers::token::{Player, Tokens};
use sha2::{Digest as _, Sha256};

pub(crate) use admit::let_in;
pub(crate) use binds::By;
pub(crate) use cookies::{Cookie, is_own};
pub(crate) use needs::{NEEDS, Need, Row};

use http::HeaderName;

/// What nodes show each other, so that none of them asks again who called.
pub(crate) const NODE: HeaderName = HeaderName::from_static("pulsegate-node");

/// Who may call, and how often; [`Default`] is everybody, as often as they like. Cheap to clone.
#[derive(Clone, Default)]
pub struct Callers {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    wall: Option<Wall>,
    limits: Limits,
    proxies: usize,
}

/// What stands between a route and who calls.
#[derive(Default)]
pub struct Wall {
    /// Checks players' tokens; without it no player is let in.
    pub tokens: Option<Tokens>,
    /// Checks servers' keys.
    pub keys: KeyRing,
    /// Signs people in; without it nobody has a session.
    pub sign_in: Option<SignIn>,
    /// What the nodes of a deployment share.
    pub node_secret: Option<String>,
}

/// How often callers of each kind may call; `None`: as often as they like.
#[derive(Default)]
pub struct Limits {
    /// Of one account's players.
    pub account: Option<Buckets>,
    /// By one key.
    pub key: Option<Buckets>,
    /// From one address, without a good key.
    pub address: Option<Buckets>,
    /// From one address, on the way to and from where people sign in.
    pub sign_in: Option<Buckets>,
}

impl Callers {
    /// Callers as a deployment lets them in; without a `wall` everybody. `proxies` stand before this node, each of which
    /// adds an address to `X-Forwarded-For`.
    #[must_use]
    pub fn new(wall: Option<Wall>, limits: Limits, proxies: usize) -> Self {
        Self { inner: Arc::new(Inner { wall, limits, proxies }) }
    }

    /// How people sign in, where they do.
    pub(crate) fn sign_in(&self) -> Option<&SignIn> {
        self.inner.wall.as_ref()?.sign_in.as_ref()
    }

    /// Whether everybody is let in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.inner.wall.is_none()
    }

    /// Whether anything is asked of anybody: who they are, or how often they call.
    pub(crate) fn are_asked(&self) -> bool {
        !self.is_open() || self.inner.limits.address.is_some()
    }
}

impl fmt::Debug for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callers").field("open", &self.is_open()).finish_non_exhaustive()
    }
}

/// Who makes a request.
#[derive(Clone, Debug, Default)]
pub(crate) enum Caller {
    /// Nobody asked.
    #[default]
    Anyone,
    /// A player, by its account's token.
    Player(Arc<Player>),
    /// A server, by its key.
    Server(Arc<Server>),
    /// A person, by a session.
    Person(Arc<Person>),
    /// Another node, which has asked already.
    Node,
}

impl Wall {
    /// Whether it is what the nodes share, compared by hash, so that how long it takes tells nothing.
    fn is_node_secret(&self, shown: &[u8]) -> bool {
        let secret = self.node_secret.as_ref().filter(|secret| !secret.is_empty());
        secret.is_some_and(|secret| Sha256::digest(secret.as_bytes()) == Sha256::digest(shown))
    }
}
