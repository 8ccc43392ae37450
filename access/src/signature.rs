//! AWS Signature Version 4 of a GET without a body, as part of its URL.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::TOKEN_LIFE;
use crate::credentials::Credentials;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// When something is signed.
pub type Moment = DateTime<Utc>;

/// What a token asks for.
pub(crate) struct Request<'a> {
    /// The service's name in a signature, e.g. `rds-db`.
    pub(crate) service: &'a str,
    pub(crate) region: &'a str,
    /// With the port where it isn't the scheme's own.
    pub(crate) host: &'a str,
    /// The service's own parameters, not yet encoded.
    pub(crate) parameters: &'a [(&'a str, &'a str)],
}

/// `host/?…` with its signature: what the service takes for a proof of who signed it.
pub(crate) fn presigned(request: &Request<'_>, credentials: &Credentials, now: Moment) -> String {
    let at = now.format("%Y%m%dT%H%M%SZ").to_string();
    let day = &at[..8];
    let scope = format!("{day}/{}/{}/aws4_request", request.region, request.service);
    let credential = format!("{}/{scope}", credentials.key_id);
    let life = TOKEN_LIFE.as_secs().to_string();
    let mut parameters = request.parameters.to_vec();
    parameters.extend([
        ("X-Amz-Algorithm", ALGORITHM),
        ("X-Amz-Credential", &credential),
        ("X-Amz-Date", &at),
        ("X-Amz-Expires", &life),
        ("X-Amz-SignedHeaders", "host"),
    ]);
    if let Some(token) = &credentials.session_token {
        parameters.push(("X-Amz-Security-Token", token));
    }
    let mut encoded: Vec<_> =
        parameters.iter().map(|(name, value)| format!("{}={}", percent(name), percent(value))).collect();
    encoded.sort_unstable();
    let query = encoded.join("&");
    let canonical = format!("GET\n/\n{query}\nhost:{}\n\nhost\n{}", request.host, hex(&Sha256::digest(b"")));
    let to_sign = format!("{ALGORITHM}\n{at}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let first = format!("AWS4{}", credentials.secret_key);
    let key = [day, request.region, request.service, "aws4_request"]
        .iter()
        .fold(first.into_bytes(), |key, part| keyed(&key, part.as_bytes()));
    format!("{}/?{query}&X-Amz-Signature={}", request.host, hex(&keyed(&key, to_sign.as_bytes())))
}

fn keyed(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        // Writing to a string can't fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Everything but letters, digits and `-._~`, as the signature wants it.
fn percent(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The credentials and the moment at which AWS's own signers made the tokens of these tests.
    pub(crate) fn known(session_token: Option<&str>) -> (Credentials, Moment) {
        let credentials = Credentials {
            key_id: "AKIDEXAMPLE".to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: session_token.map(str::to_owned),
        };
        (credentials, "2026-11-28T12:34:56Z".parse().unwrap())
    }

    #[test]
    fn what_is_no_letter_or_digit_is_encoded() {
        assert_eq!(percent("a-._~Z9"), "a-._~Z9");
        assert_eq!(percent("k/2 :+ü"), "k%2F2%20%3A%2B%C3%BC");
    }
}
