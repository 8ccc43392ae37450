//! How people sign in, as the configuration says it.

use std::str::FromStr;
use std::time::Duration;

use pulsegate_callers::sign_in::{Roles, SignIn, SignInSettings, read_url};
use pulsegate_service::variables::Reader;

/// Shortest secret that seals sessions.
const SECRET_LEN_MIN: usize = 32;

/// How people come here.
pub(super) struct People {
    /// Signs them in, where a provider is set.
    pub(super) sign_in: Option<SignIn>,
    /// Whether they find the pages by https.
    pub(super) come_by_https: bool,
}

pub(super) fn read(reader: &mut Reader<'_>) -> People {
    let Address(public_url) = reader.parsed("PULSEGATE_PUBLIC_URL", "", Address(None));
    let come_by_https = public_url.as_ref().is_some_and(|url| url.scheme() == "https");
    People { sign_in: provider(reader, public_url), come_by_https }
}

/// Signs people in by the provider that is set, if one is.
fn provider(reader: &mut Reader<'_>, public_url: Option<reqwest::Url>) -> Option<SignIn> {
    let Address(issuer) = reader.parsed("PULSEGATE_OIDC_ISSUER", "", Address(None));
    let client_id = reader.text("PULSEGATE_OIDC_CLIENT_ID", "");
    let client_secret = reader.text("PULSEGATE_OIDC_CLIENT_SECRET", "");
    let roles_claim = reader.text("PULSEGATE_OIDC_ROLES_CLAIM", "roles");
    let roles = reader.parsed("PULSEGATE_OIDC_ROLES", "", Roles::default());
    let minutes = reader.within("PULSEGATE_SESSION_MINUTES", 480, 5, 10_080);
    let secret = reader.text("PULSEGATE_SESSION_SECRET", "");
    if !secret.is_empty() && secret.len() < SECRET_LEN_MIN {
        let detail = format!("must have at least {SECRET_LEN_MIN} characters, e.g. by openssl rand -base64 32");
        reader.mistake("PULSEGATE_SESSION_SECRET", detail);
    }
    let issuer = issuer?;
    let mut is_whole = true;
    for (variable, is_missing) in [
        ("PULSEGATE_OIDC_CLIENT_ID", client_id.is_empty()),
        ("PULSEGATE_PUBLIC_URL", public_url.is_none()),
        ("PULSEGATE_OIDC_ROLES", roles == Roles::default()),
    ] {
        if is_missing {
            is_whole = false;
            reader.mistake(variable, "must be set with PULSEGATE_OIDC_ISSUER".to_owned());
        }
    }
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let settings = SignInSettings {
        issuer,
        client_id,
        client_secret: some(client_secret),
        public_url: public_url.filter(|_| is_whole)?,
        roles_claim,
        roles,
        session_life: Duration::from_mins(minutes),
        secret: some(secret),
    };
    match SignIn::new(settings) {
        Ok(sign_in) => Some(sign_in),
        Err(error) => {
            reader.mistake("PULSEGATE_OIDC_ISSUER", format!("must be usable: {error}"));
            None
        }
    }
}

/// An address that nobody on the way can stand in for.
struct Address(Option<reqwest::Url>);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let url = read_url(text).map_err(|error| error.to_string())?;
        let is_plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        if is_plain { Ok(Self(Some(url))) } else { Err("must have no query, fragment or user".to_owned()) }
    }
}
