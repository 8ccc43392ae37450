//! Tokens, keys and sets of keys: whatever is made of a good one says nothing else than that one.

use std::time::Duration;

use pulsegate_callers::issue::{Claims, Kind, SigningKey, jwks};
use pulsegate_callers::key::{KeyRing, Server};
use pulsegate_callers::sign_in::Roles;
use pulsegate_callers::token::{KeySet, KeySource, TokenSettings, Tokens};
use pulsegate_callers::{Scope, Scopes};
use pulsegate_fuzz::{Bound, Said, Target, try_out};

use super::{BOUND, LEN_MAX, texts};

/// A signature is checked in memory of its own.
const SIGNED: Bound = Bound { a_byte: 64, at_least: 1 << 20 };

fn claims(account: &str, now: i64) -> Claims {
    Claims {
        sub: account.to_owned(),
        exp: now + 3_600,
        iat: Some(now),
        iss: Some("login".to_owned()),
        aud: Some("pulsegate".to_owned()),
        session: Some("019ab0c4-7e1a-7abc-8def-0123456789ab".to_owned()),
        device: Some("tv-1".to_owned()),
        policy: None,
    }
}

#[test]
fn fuzzed_tokens_are_the_ones_that_were_signed_or_none() {
    let keys = [SigningKey::generate(Kind::Es256).unwrap(), SigningKey::generate(Kind::EdDsa).unwrap()];
    let stranger = SigningKey::generate(Kind::Es256).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, jwks(&keys).to_string()).unwrap();
    let tokens = Tokens::new(TokenSettings {
        keys: KeySource::File(file),
        issuer: Some("login".to_owned()),
        audience: Some("pulsegate".to_owned()),
        leeway: Duration::from_secs(30),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let now = chrono::Utc::now().timestamp();
    let seeds: Vec<_> = keys.iter().map(|key| key.sign(&claims("acc-1", now)).unwrap().into_bytes()).collect();
    let forged = stranger.sign(&claims("acc-2", now)).unwrap();
    assert!(runtime.block_on(tokens.check(&forged, now)).is_err());
    let target = Target { name: "token", seeds, bound: SIGNED, len_max: 16 << 10, taken_min: 0 };
    try_out(&target, |token| {
        let Ok(text) = std::str::from_utf8(token) else { return Said::Refused };
        let checked = runtime.block_on(tokens.check(text, now));
        if let Ok(player) = &checked {
            let session = player.session_id.map(|id| id.to_string());
            assert_eq!(player.account_id.as_str(), "acc-1");
            assert_eq!(session.as_deref(), Some("019ab0c4-7e1a-7abc-8def-0123456789ab"));
            assert_eq!((player.device_id.as_ref().unwrap().as_str(), player.expires_at), ("tv-1", now + 3_600));
        }
        Said::taken(checked.is_ok())
    });
}

#[test]
fn fuzzed_keys_are_the_ones_that_were_made_or_none() {
    let (server, shown) = Server::new("cdn", [Scope::Signals].into_iter().collect()).unwrap();
    let ring = KeyRing::of([server]);
    let now = chrono::Utc::now().timestamp();
    let target = Target { name: "key", seeds: texts(&[&shown]), bound: BOUND, len_max: LEN_MAX, taken_min: 0 };
    try_out(&target, |key| {
        let found = std::str::from_utf8(key).is_ok_and(|key| ring.check(key, now).is_ok());
        assert!(!found || key == shown.as_bytes());
        Said::taken(found)
    });
}

#[test]
fn fuzzed_sets_of_keys_and_roles_are_read_or_refused() {
    let keys = [SigningKey::generate(Kind::Es256).unwrap(), SigningKey::generate(Kind::EdDsa).unwrap()];
    let both = jwks(&keys).to_string();
    let target = Target {
        name: "jwks",
        seeds: texts(&[&both, &jwks(&keys[..1]).to_string()]),
        bound: BOUND,
        len_max: LEN_MAX,
        taken_min: 20,
    };
    try_out(&target, |json| Said::taken(KeySet::parse(json).is_ok()));

    let roles = "finance=reports:read+reports:close,admin=*";
    let target =
        Target { name: "roles", seeds: texts(&[roles, "a=signals"]), bound: BOUND, len_max: LEN_MAX, taken_min: 20 };
    try_out(&target, |text| {
        let read = std::str::from_utf8(text).ok().and_then(|text| text.parse::<Roles>().ok());
        if let Some(roles) = &read {
            assert_eq!(roles.scopes(&serde_json::json!(["nobody-has-this-role "])), Scopes::default());
        }
        Said::taken(read.is_some())
    });
}
