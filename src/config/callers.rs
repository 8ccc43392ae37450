//! Who may call, and how often, as the configuration says it.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use pulsegate_api::callers::{Callers, Limits, Wall};
use pulsegate_callers::key::KeyRing;
use pulsegate_callers::limit::Buckets;
use pulsegate_callers::sign_in::SignIn;
use pulsegate_callers::token::{KeySet, KeySource, TokenSettings, Tokens};
use pulsegate_service::variables::Reader;

use super::sign_in::People;
use super::{ClusterMode, sign_in};

/// Shortest secret that nodes share.
const NODE_SECRET_LEN_MIN: usize = 16;

/// Calls a second, where the wall is closed and nothing is said: far above what players and servers do.
const ACCOUNT_LIMIT: u64 = 100;
const KEY_LIMIT: u64 = 20_000;
const ADDRESS_LIMIT: u64 = 1_000;
/// An office shares an address, and an attempt is two requests.
const SIGN_IN_LIMIT: u64 = 5;
const LIMIT_MAX: u64 = 1_000_000;

/// Whether anybody may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody may do everything.
    Open,
    /// Each call shows who makes it.
    Closed,
}

impl FromStr for Access {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "open" => Ok(Self::Open),
            "closed" => Ok(Self::Closed),
            _ => Err("must be open or closed"),
        }
    }
}

/// Who may call, and how often.
#[derive(Clone, Debug)]
pub(crate) struct CallersConfig {
    pub(crate) access: Access,
    tokens: Option<TokenSettings>,
    sign_in: Option<SignIn>,
    node_secret: String,
    account_limit: u32,
    key_limit: u32,
    address_limit: u32,
    sign_in_limit: u32,
    pub(crate) proxies: usize,
    /// Whether people find the pages by https.
    pub(crate) come_by_https: bool,
}

/// What checks callers, and what must be kept running for it.
pub(crate) struct Checks {
    pub(crate) callers: Callers,
    pub(crate) tokens: Option<Tokens>,
    pub(crate) keys: Option<KeyRing>,
}

impl CallersConfig {
    pub(super) fn read(reader: &mut Reader<'_>, cluster: ClusterMode) -> Self {
        let JwksPlace(keys) = reader.parsed("PULSEGATE_TOKENS_JWKS", "", JwksPlace(None));
        let People { sign_in, come_by_https } = sign_in::read(reader);
        let default = if keys.is_some() || sign_in.is_some() { "closed" } else { "open" };
        let access = reader.parsed("PULSEGATE_ACCESS", default, Access::Closed);
        let is_closed = access == Access::Closed;
        if !is_closed && (keys.is_some() || sign_in.is_some()) {
            let detail =
                "\"open\" must be closed where PULSEGATE_TOKENS_JWKS or PULSEGATE_OIDC_ISSUER is set".to_owned();
            reader.mistake("PULSEGATE_ACCESS", detail);
        }
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let issuer = some(reader.text("PULSEGATE_TOKENS_ISSUER", ""));
        let audience = some(reader.text("PULSEGATE_TOKENS_AUDIENCE", ""));
        let leeway = Duration::from_secs(reader.within("PULSEGATE_TOKENS_LEEWAY_S", 30, 0, 300));
        let tokens = keys.map(|keys| TokenSettings { keys, issuer, audience, leeway });
        let node_secret = reader.text("PULSEGATE_NODE_SECRET", "");
        if is_closed && cluster == ClusterMode::Owned && node_secret.len() < NODE_SECRET_LEN_MIN {
            let detail = format!(
                "must be set, to at least {NODE_SECRET_LEN_MIN} characters, where nodes share the partitions and access is closed"
            );
            reader.mistake("PULSEGATE_NODE_SECRET", detail);
        }
        if !node_secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            reader.mistake("PULSEGATE_NODE_SECRET", "must be of printable ASCII without spaces".to_owned());
        }
        let mut limit = |variable, closed| {
            let default = if is_closed { closed } else { 0 };
            u32::try_from(reader.within(variable, default, 0, LIMIT_MAX)).unwrap_or(u32::MAX)
        };
        let account_limit = limit("PULSEGATE_LIMIT_ACCOUNT", ACCOUNT_LIMIT);
        let key_limit = limit("PULSEGATE_LIMIT_KEY", KEY_LIMIT);
        let address_limit = limit("PULSEGATE_LIMIT_ADDRESS", ADDRESS_LIMIT);
        let sign_in_limit = limit("PULSEGATE_LIMIT_SIGN_IN", SIGN_IN_LIMIT);
        let proxies = usize::try_from(reader.within("PULSEGATE_PROXIES", 0, 0, 10)).unwrap_or_default();
        Self {
            access,
            tokens,
            sign_in,
            node_secret,
            account_limit,
            key_limit,
            address_limit,
            sign_in_limit,
            proxies,
            come_by_https,
        }
    }

    /// What nodes show each other; `None` where nobody asks.
    pub(crate) fn node_secret(&self) -> Option<&str> {
        Some(self.node_secret.as_str()).filter(|secret| self.access == Access::Closed && !secret.is_empty())
    }

    /// What checks callers.
    pub(crate) fn checks(&self) -> Checks {
        let (mut tokens, mut keys, mut wall) = (None, None, None);
        if self.access == Access::Closed {
            tokens = self.tokens.clone().map(Tokens::new);
            let ring = KeyRing::default();
            keys = Some(ring.clone());
            wall = Some(Wall {
                tokens: tokens.clone(),
                keys: ring,
                sign_in: self.sign_in.clone(),
                node_secret: self.node_secret().map(str::to_owned),
            });
        }
        let limits = Limits {
            account: Buckets::new(self.account_limit),
            key: Buckets::new(self.key_limit),
            address: Buckets::new(self.address_limit),
            sign_in: Buckets::new(self.sign_in_limit),
        };
        Checks { callers: Callers::new(wall, limits, self.proxies), tokens, keys }
    }

    /// Says who is let in at `listen`, once, at the start.
    pub(crate) fn announce(&self, listen: SocketAddr) {
        match self.access {
            Access::Open if listen.ip().is_loopback() => {
                tracing::info!("access: open, everybody on this machine may do everything");
            }
            Access::Open => tracing::warn!(
                %listen,
                "access: OPEN, everybody who reaches this address may do everything; see PULSEGATE_ACCESS in docs/access.md"
            ),
            Access::Closed => {
                let tokens = self.tokens.as_ref().map_or_else(|| "none".to_owned(), |tokens| tokens.keys.to_string());
                let per_second = format!(
                    "account {}, key {}, address {} (0: no limit)",
                    self.account_limit, self.key_limit, self.address_limit
                );
                if self.sign_in.as_ref().is_some_and(SignIn::is_of_one_process) {
                    tracing::warn!(
                        "sessions end with this process, and no other node takes them: set PULSEGATE_SESSION_SECRET"
                    );
                }
                let people = self.sign_in.as_ref().map_or("none", SignIn::issuer);
                tracing::info!(
                    players_by = tokens,
                    people_by = people,
                    per_second,
                    "access: closed, players by token, servers by key, people by OpenID Connect"
                );
            }
        }
    }
}

/// Where a JWKS is; a file is read at once, so that a mistake in it is one of the configuration.
struct JwksPlace(Option<KeySource>);

impl FromStr for JwksPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let place: KeySource = text.parse().map_err(|error: pulsegate_callers::token::NoSource| error.to_string())?;
        if let KeySource::File(path) = &place {
            let json = std::fs::read(path).map_err(|error| error.to_string())?;
            KeySet::parse(&json).map_err(|error| error.to_string())?;
        }
        Ok(Self(Some(place)))
    }
}
