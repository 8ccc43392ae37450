//! People: signed in by an `OpenID` provider, with the authorization code flow and PKCE.
//!
//! Nothing is kept on a node: what must be remembered between the way out and the way back, and who is signed in, are
//! cookies that only a node can read or make. So any node takes any request, and a session ends when it says; to end all of
//! them at once, the secret that seals them is changed.

mod flow;
mod provider;
mod roles;
mod seal;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use flow::{Begun, SignedIn};
pub use roles::{NoRoles, Roles};

use crate::scope::{Scope, Scopes};
use crate::token::{NoSource, TokenError};
use provider::Provider;
use seal::Seal;

/// How long somebody may take at the provider.
pub const LOGIN_MAX: Duration = Duration::from_mins(10);
/// Longest cookie that is looked at, in bytes.
const COOKIE_BYTES_MAX: usize = 4_096;

/// How people sign in.
#[derive(Clone)]
pub struct SignInSettings {
    /// The provider.
    pub issuer: Url,
    /// What it calls this deployment.
    pub client_id: String,
    /// By which it knows it; a public client has none.
    pub client_secret: Option<String>,
    /// Where people find this deployment's pages.
    pub public_url: Url,
    /// The claim that names a person's roles.
    pub roles_claim: String,
    /// What each role may do.
    pub roles: Roles,
    /// How long a session lasts.
    pub session_life: Duration,
    /// What seals the cookies, the same on each node; `None`: made anew at each start.
    pub secret: Option<String>,
}

/// Reads the address of a provider, or of this deployment: https, or http to this machine.
pub fn read_url(text: &str) -> Result<Url, NoSource> {
    crate::token::secret_url(text)
}

/// Somebody who is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// What the provider calls them; never given to anybody else.
    pub subject: String,
    /// What people call them.
    pub name: String,
    /// What they may do.
    pub scopes: Scopes,
    /// When their session ends, in seconds since 1970.
    pub expires_at: i64,
}

/// Why somebody isn't signed in.
#[derive(Debug, Error)]
pub enum SignInError {
    /// The way back is not the way out's: another browser's, an old one, or somebody else's doing.
    #[error("this sign-in was not begun here, or took longer than {} minutes", LOGIN_MAX.as_secs() / 60)]
    NotBegun,
    /// The provider says no.
    #[error("the provider did not sign in: {0}")]
    Refused(String),
    /// The provider doesn't answer, or not as one.
    #[error("the provider: {0}")]
    Provider(String),
    /// What the provider signed isn't good.
    #[error("the provider's word: {0}")]
    Token(#[from] TokenError),
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

struct Inner {
    settings: SignInSettings,
    redirect_uri: String,
    origin: String,
    provider: Provider,
    seal: Seal,
}

/// Signs people in; cheap to clone.
#[derive(Clone)]
pub struct SignIn {
    inner: Arc<Inner>,
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignIn").field("issuer", &self.inner.settings.issuer.as_str()).finish_non_exhaustive()
    }
}

/// A session as it is sealed.
#[derive(Serialize, Deserialize)]
struct Session {
    sub: String,
    name: String,
    scopes: Vec<String>,
    exp: i64,
}

impl SignIn {
    /// Nothing is asked of the provider before somebody signs in.
    pub fn new(settings: SignInSettings) -> Result<Self, SignInError> {
        let base = settings.public_url.as_str().trim_end_matches('/');
        let seal = Seal::new(settings.secret.as_deref())?;
        let inner = Inner {
            redirect_uri: format!("{base}/login/callback"),
            origin: settings.public_url.origin().ascii_serialization(),
            provider: Provider::new(settings.issuer.clone())?,
            seal,
            settings,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The provider.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.inner.settings.issuer.as_str()
    }

    /// Whether people come encrypted, so that a cookie never travels otherwise.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.inner.settings.public_url.scheme() == "https"
    }

    /// The origin of this deployment's own pages.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.inner.origin
    }

    /// Whether sessions end with this process, and are of no other node: nobody said by what they are sealed.
    #[must_use]
    pub fn is_of_one_process(&self) -> bool {
        self.inner.settings.secret.is_none()
    }

    /// How long a session lasts.
    #[must_use]
    pub fn session_life(&self) -> Duration {
        self.inner.settings.session_life
    }

    /// Who a session's cookie says it is, at `now` in seconds since 1970.
    #[must_use]
    pub fn person(&self, cookie: &str, now: i64) -> Option<Person> {
        if cookie.len() > COOKIE_BYTES_MAX {
            return None;
        }
        let session: Session = self.inner.seal.open("session", cookie)?;
        let scopes = session.scopes.iter().filter_map(|scope| scope.parse::<Scope>().ok()).collect();
        let person = Person { subject: session.sub, name: session.name, scopes, expires_at: session.exp };
        (now < person.expires_at).then_some(person)
    }

    fn sealed(&self, person: &Person) -> Result<String, SignInError> {
        let scopes = person.scopes.iter().map(|scope| scope.as_str().to_owned()).collect();
        let session =
            Session { sub: person.subject.clone(), name: person.name.clone(), scopes, exp: person.expires_at };
        self.inner.seal.seal("session", &session)
    }
}
