//! The way out to the provider, and the way back.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Validation, decode};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::provider::{Endpoints, read};
use super::{LOGIN_MAX, Person, SignIn, SignInError};
use crate::token::{TokenError, header_of, token_error};

/// How far the provider's clock and this node's may be apart, in seconds.
const LEEWAY_S: u64 = 30;
/// Longest name that is taken over.
const NAME_CHARS_MAX: usize = 100;
/// Claims that say what people call somebody, the best first.
const NAMES: [&str; 3] = ["name", "preferred_username", "email"];
/// Longest subject.
const SUBJECT_LEN_MAX: usize = 255;

/// The way out.
pub struct Begun {
    /// Where the browser goes.
    pub location: String,
    /// What it must bring back: a cookie for the way back alone.
    pub cookie: String,
}

/// The way back is done.
pub struct SignedIn {
    /// Who it is.
    pub person: Person,
    /// What says so from now on: the session's cookie.
    pub cookie: String,
    /// The page that was asked for in the first place.
    pub to: String,
}

/// What is remembered between the two.
#[derive(Serialize, Deserialize)]
struct Login {
    state: String,
    nonce: String,
    verifier: String,
    to: String,
    exp: i64,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    access_token: Option<String>,
}

impl SignIn {
    /// Begins to sign somebody in who wanted to see the page `to`.
    pub async fn begin(&self, to: &str, now: i64) -> Result<Begun, SignInError> {
        let endpoints = self.inner.provider.endpoints().await?;
        let login = Login {
            state: random()?,
            nonce: random()?,
            verifier: random()?,
            to: own_page(to).to_owned(),
            exp: now + LOGIN_MAX.as_secs().cast_signed(),
        };
        let mut location = endpoints.authorization.clone();
        location
            .query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.inner.settings.client_id)
            .append_pair("redirect_uri", &self.inner.redirect_uri)
            .append_pair("scope", "openid profile email")
            .append_pair("state", &login.state)
            .append_pair("nonce", &login.nonce)
            .append_pair("code_challenge", &challenge(&login.verifier))
            .append_pair("code_challenge_method", "S256");
        Ok(Begun { location: location.into(), cookie: self.inner.seal.seal("login", &login)? })
    }

    /// Ends it: the provider's code for its word on who it is. `query` is what the provider sent the browser back with.
    pub async fn finish(&self, query: &str, cookie: &str, now: i64) -> Result<SignedIn, SignInError> {
        let login: Login = self.inner.seal.open("login", cookie).ok_or(SignInError::NotBegun)?;
        let query = Query::read(query);
        let is_same = query.state.is_some_and(|state| bool::from(state.as_bytes().ct_eq(login.state.as_bytes())));
        if !is_same || now >= login.exp {
            return Err(SignInError::NotBegun);
        }
        // RFC 9207: whose answer it is, where the provider says so.
        let issuer = self.inner.settings.issuer.as_str().trim_end_matches('/');
        if query.issuer.is_some_and(|said| said.trim_end_matches('/') != issuer) {
            return Err(SignInError::NotBegun);
        }
        if let Some(error) = query.error {
            return Err(SignInError::Refused(error));
        }
        let code = query.code.ok_or(SignInError::NotBegun)?;
        let endpoints = self.inner.provider.endpoints().await?;
        let tokens = self.exchange(&endpoints, &code, &login.verifier).await?;
        let claims = self.identity(&endpoints, &tokens, &login.nonce, now).await?;
        let person = self.person_of(&claims, now)?;
        Ok(SignedIn { cookie: self.sealed(&person)?, person, to: login.to })
    }

    async fn exchange(&self, endpoints: &Endpoints, code: &str, verifier: &str) -> Result<Tokens, SignInError> {
        let settings = &self.inner.settings;
        let mut form = form(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.inner.redirect_uri),
            ("code_verifier", verifier),
        ]);
        let mut asked = self.inner.provider.client.post(endpoints.token.clone());
        match &settings.client_secret {
            Some(secret) => {
                let pair = format!("{}:{}", encoded(&settings.client_id), encoded(secret));
                asked = asked.header("authorization", format!("Basic {}", STANDARD.encode(pair)));
            }
            None => form = format!("{form}&client_id={}", encoded(&settings.client_id)),
        }
        read(asked.header("content-type", "application/x-www-form-urlencoded").body(form)).await
    }

    /// The claims of the provider's signed word, and where it leaves roles or names out, of what it says when asked.
    async fn identity(
        &self,
        endpoints: &Arc<Endpoints>,
        tokens: &Tokens,
        nonce: &str,
        now: i64,
    ) -> Result<Value, SignInError> {
        let header = header_of(&tokens.id_token)?;
        let (key, _) = endpoints.keys.key(header.kid.as_deref(), header.alg).await?;
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = LEEWAY_S;
        validation.set_audience(&[&self.inner.settings.client_id]);
        let issuer = self.inner.settings.issuer.as_str();
        // A URL without a path has a slash more than its provider may write.
        validation.set_issuer(&[issuer, issuer.trim_end_matches('/')]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        let mut claims: Value = decode(&tokens.id_token, &key.checks, &validation)
            .map(|data| data.claims)
            .map_err(|error| token_error(error.kind()))?;
        let is_same = claims["nonce"].as_str().is_some_and(|said| bool::from(said.as_bytes().ct_eq(nonce.as_bytes())));
        if !is_same {
            return Err(SignInError::NotBegun);
        }
        if claims["azp"].as_str().is_some_and(|party| party != self.inner.settings.client_id) {
            return Err(TokenError::Audience.into());
        }
        if claims["exp"].as_i64().is_none_or(|end| now >= end + LEEWAY_S.cast_signed()) {
            return Err(TokenError::Expired.into());
        }
        let claim = &self.inner.settings.roles_claim;
        let lacks_name = NAMES.iter().all(|name| claims.get(*name).is_none());
        if (lacks_name || claims.get(claim).is_none())
            && let (Some(userinfo), Some(token)) = (&endpoints.userinfo, &tokens.access_token)
        {
            let said: Value = read(self.inner.provider.client.get(userinfo.clone()).bearer_auth(token)).await?;
            // Somebody else's must not be taken for theirs.
            if said["sub"] != claims["sub"] {
                return Err(SignInError::Provider("it speaks of somebody else when asked".to_owned()));
            }
            for name in NAMES.into_iter().chain([claim.as_str()]) {
                if claims.get(name).is_none()
                    && let Some(value) = said.get(name)
                {
                    claims[name] = value.clone();
                }
            }
        }
        Ok(claims)
    }

    fn person_of(&self, claims: &Value, now: i64) -> Result<Person, SignInError> {
        let settings = &self.inner.settings;
        let subject = claims["sub"].as_str().filter(|subject| (1..=SUBJECT_LEN_MAX).contains(&subject.len()));
        let subject = subject.ok_or_else(|| TokenError::Claim("sub", "is missing or too long".to_owned()))?;
        let name = NAMES.iter().find_map(|claim| claims[*claim].as_str());
        let name = name.unwrap_or(subject).chars().filter(|letter| !letter.is_control()).take(NAME_CHARS_MAX).collect();
        Ok(Person {
            subject: subject.to_owned(),
            name,
            scopes: settings.roles.scopes(&claims[&settings.roles_claim]),
            expires_at: now.saturating_add(settings.session_life.as_secs().cast_signed()),
        })
    }
}

/// A page of this deployment, and never another's: else a link to sign in could lead anywhere.
fn own_page(to: &str) -> &str {
    let is_path = to.starts_with('/') && !to.starts_with("//") && !to.contains(['\\', '\r', '\n']);
    if is_path && !to.starts_with("/login") && to.len() <= 500 { to } else { "/" }
}

fn random() -> Result<String, SignInError> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| SignInError::NoRandom)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

#[derive(Default)]
struct Query {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
    issuer: Option<String>,
}

impl Query {
    fn read(text: &str) -> Self {
        let mut query = Self::default();
        let Ok(url) = Url::parse(&format!("http://x/?{text}")) else { return query };
        for (name, value) in url.query_pairs() {
            let value = Some(value.into_owned());
            match name.as_ref() {
                "code" => query.code = value,
                "state" => query.state = value,
                "error" => query.error = value,
                "iss" => query.issuer = value,
                _ => {}
            }
        }
        query
    }
}

/// A form's body.
fn form(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.join("&")
}

/// As forms and Basic credentials of OAuth write what isn't a plain letter.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string doesn't fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_led_back_to_a_page_of_this_deployment_only() {
        assert_eq!(own_page("/projections?x=1"), "/projections?x=1");
        for other in ["", "https://evil.example", "//evil.example", "/\\evil.example", "/a\r\nset-cookie: x", "/login"]
        {
            assert_eq!(own_page(other), "/", "{other}");
        }
    }

    #[test]
    fn the_challenge_is_as_rfc_7636_has_it() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn what_a_provider_sends_back_is_decoded() {
        let query = Query::read("code=a%2Fb&state=s&session_state=x");
        assert_eq!((query.code.as_deref(), query.state.as_deref(), query.error), (Some("a/b"), Some("s"), None));
        assert_eq!(encoded("a b:/ä~"), "a%20b%3A%2F%C3%A4~");
    }
}
