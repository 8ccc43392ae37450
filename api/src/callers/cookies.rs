//! The cookies by which people are known.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue, Method, header};
use pulsegate_callers::sign_in::SignIn;

/// Who is signed in. A browser keeps other hosts and plain HTTP from setting a cookie with such a name.
const SESSION_HTTPS: &str = "__Host-pulsegate";
const SESSION_HTTP: &str = "pulsegate";
/// What a sign-in under way must bring back.
const LOGIN: &str = "pulsegate-login";
const LOGIN_PATH: &str = "/login";

/// Which cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cookie {
    Session,
    Login,
}

impl Cookie {
    const fn name(self, is_https: bool) -> &'static str {
        match self {
            Self::Session if is_https => SESSION_HTTPS,
            Self::Session => SESSION_HTTP,
            Self::Login => LOGIN,
        }
    }

    /// The value that a request brings.
    pub(crate) fn of(self, sign_in: &SignIn, headers: &HeaderMap) -> Option<String> {
        let name = self.name(sign_in.is_https());
        let pairs =
            headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|all| all.split(';'));
        let mut values = pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|(key, _)| *key == name);
        values.next().map(|(_, value)| value.to_owned())
    }

    /// The header that sets it; for `life_s` seconds, 0 takes it away.
    pub(crate) fn set(self, sign_in: &SignIn, value: &str, life_s: u64) -> Option<HeaderValue> {
        let path = if self == Self::Login { LOGIN_PATH } else { "/" };
        let secure = if sign_in.is_https() { "; Secure" } else { "" };
        let name = self.name(sign_in.is_https());
        // Lax, not Strict: whoever comes by a link is signed in. A form elsewhere is not let in: see `is_own`.
        let text = format!("{name}={value}; Path={path}; Max-Age={life_s}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::try_from(text).ok()
    }
}

/// Whether a request that a cookie vouches for comes from this deployment's own pages. What only reads may come from
/// anywhere: whoever is elsewhere can't see the answer.
pub(crate) fn is_own(method: &Method, headers: &HeaderMap, sign_in: &SignIn) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return true;
    }
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    match text(header::HeaderName::from_static("sec-fetch-site")) {
        Some(site) => site == "same-origin",
        // An old browser: it says where a form was.
        None => text(header::ORIGIN) == Some(sign_in.origin()),
    }
}
