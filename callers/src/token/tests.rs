use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;
use crate::issue::{self, Kind, SigningKey};

const NOW: i64 = 1_796_000_000;
const SESSION: &str = "3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e6f";

struct Issuer {
    keys: Vec<SigningKey>,
    file: tempfile::NamedTempFile,
}

impl Issuer {
    fn new(kinds: &[Kind]) -> Self {
        let keys = kinds.iter().map(|kind| SigningKey::generate(*kind).unwrap()).collect();
        let issuer = Self { keys, file: tempfile::NamedTempFile::new().unwrap() };
        issuer.publish(&issue::jwks(&issuer.keys));
        issuer
    }

    fn publish(&self, jwks: &Value) {
        std::fs::write(self.file.path(), jwks.to_string()).unwrap();
    }

    fn settings(&self) -> TokenSettings {
        let keys = KeySource::File(self.file.path().to_owned());
        TokenSettings { keys, issuer: None, audience: None, leeway: Duration::from_secs(30) }
    }

    fn tokens(&self) -> Tokens {
        Tokens::new(self.settings())
    }
}

async fn refused(tokens: &Tokens, token: &str) -> TokenError {
    tokens.check(token, NOW).await.unwrap_err()
}

#[tokio::test]
async fn a_good_token_says_whose_it_is() {
    let issuer = Issuer::new(&[Kind::Es256, Kind::EdDsa]);
    let tokens = issuer.tokens();
    for key in &issuer.keys {
        let claims = json!({"sub": "user", "account": "anna", "exp": NOW + 60, "session": SESSION, "device": "tv-1",
                            "policy": "premium", "scope": "whatever"});
        let token = key.sign(&claims).unwrap();
        for _ in 0..2 {
            let player = tokens.check(&token, NOW).await.unwrap();
            assert_eq!((player.account_id.as_str(), player.expires_at), ("anna", NOW + 60));
            assert_eq!(player.session_id.unwrap().to_string(), SESSION);
            assert_eq!(player.device_id.as_ref().unwrap().as_str(), "tv-1");
            assert_eq!(player.policy.as_ref().unwrap().as_str(), "premium");
        }
        let plain = key.sign(&json!({"sub": "ben", "exp": NOW + 60})).unwrap();
        let player = tokens.check(&plain, NOW).await.unwrap();
        assert_eq!((player.account_id.as_str(), player.session_id, &player.device_id), ("ben", None, &None));
    }
}

#[tokio::test]
async fn a_token_ends_when_it_says_also_one_that_is_remembered() {
    let issuer = Issuer::new(&[Kind::Es256]);
    let tokens = issuer.tokens();
    let token = issuer.keys[0].sign(&json!({"sub": "a", "exp": NOW + 60})).unwrap();
    assert!(tokens.check(&token, NOW + 89).await.is_ok(), "within the leeway");
    assert_eq!(tokens.check(&token, NOW + 90).await, Err(TokenError::Expired), "remembered");
    assert_eq!(issuer.tokens().check(&token, NOW + 90).await, Err(TokenError::Expired));
    let early = issuer.keys[0].sign(&json!({"sub": "a", "exp": NOW + 600, "nbf": NOW + 31})).unwrap();
    assert_eq!(refused(&tokens, &early).await, TokenError::Early);
    assert!(tokens.check(&early, NOW + 1).await.is_ok());
}

#[tokio::test]
async fn claims_must_be_there_and_of_their_kind() {
    let issuer = Issuer::new(&[Kind::Es256]);
    let tokens = issuer.tokens();
    for (claims, claim) in [
        (json!({"sub": "a"}), "exp"),
        (json!({"exp": NOW + 60}), "sub"),
        (json!({"exp": NOW + 60, "sub": "no spaces"}), "sub"),
        (json!({"exp": NOW + 60, "sub": "a", "account": "-"}), "account"),
        (json!({"exp": NOW + 60, "sub": "a", "session": "x"}), "session"),
        (json!({"exp": NOW + 60, "sub": "a", "device": ""}), "device"),
        (json!({"exp": NOW + 60, "sub": "a", "policy": "/"}), "policy"),
        (json!({"exp": "soon", "sub": "a"}), "set"),
    ] {
        let token = issuer.keys[0].sign(&claims).unwrap();
        match refused(&tokens, &token).await {
            TokenError::Claim(named, _) => assert_eq!(named, claim, "{claims}"),
            other => panic!("{claims}: {other}"),
        }
    }
}

#[tokio::test]
async fn issuer_and_audience_are_asked_for_where_they_are_set() {
    let issuer = Issuer::new(&[Kind::Es256]);
    let settings =
        TokenSettings { issuer: Some("https://login".into()), audience: Some("pulsegate".into()), ..issuer.settings() };
    let tokens = Tokens::new(settings);
    let check = async |iss: &str, aud: Value| {
        let token = issuer.keys[0].sign(&json!({"sub": "a", "exp": NOW + 60, "iss": iss, "aud": aud})).unwrap();
        tokens.check(&token, NOW).await.map(drop)
    };
    assert_eq!(check("https://login", json!("pulsegate")).await, Ok(()));
    assert_eq!(check("https://login", json!(["other", "pulsegate"])).await, Ok(()));
    assert_eq!(check("https://other", json!("pulsegate")).await, Err(TokenError::Issuer));
    assert_eq!(check("https://login", json!("other")).await, Err(TokenError::Audience));
    let bare = issuer.keys[0].sign(&json!({"sub": "a", "exp": NOW + 60})).unwrap();
    assert!(matches!(refused(&tokens, &bare).await, TokenError::Issuer | TokenError::Audience));
}

/// What `claims` look like under a header of one's own, signed by `sign`.
fn forged(header: &Value, claims: &Value, sign: impl Fn(&str) -> Vec<u8>) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(&message));
    format!("{message}.{signature}")
}

#[tokio::test]
async fn nothing_but_the_issuers_signature_counts() {
    let issuer = Issuer::new(&[Kind::Es256]);
    let tokens = issuer.tokens();
    let (key, kid) = (&issuer.keys[0], issuer.keys[0].kid());
    let claims = json!({"sub": "a", "exp": NOW + 60});
    let good = key.sign(&claims).unwrap();
    assert!(tokens.check(&good, NOW).await.is_ok());

    for alg in ["none", "None", "HS256", "HS512", "ES384", "PS256", "x"] {
        let token = forged(&json!({"alg": alg, "typ": "JWT", "kid": kid}), &claims, |_| Vec::new());
        assert_eq!(refused(&tokens, &token).await, TokenError::Algorithm, "{alg}");
    }
    // Signed with the public key as if it were a secret.
    let jwk = key.jwk().to_string();
    let mut header = Header::new(jsonwebtoken::Algorithm::HS256);
    header.kid = Some(kid.clone());
    let confused = encode(&header, &claims, &EncodingKey::from_secret(jwk.as_bytes())).unwrap();
    assert_eq!(refused(&tokens, &confused).await, TokenError::Algorithm);
    // A key of its own, in its own header.
    let own = SigningKey::generate(Kind::Es256).unwrap();
    let by_own = own.sign(&claims).unwrap();
    assert_eq!(refused(&tokens, &by_own).await, TokenError::KeyUnknown);
    let (_, body) = by_own.split_once('.').unwrap();
    let named = URL_SAFE_NO_PAD.encode(json!({"alg": "ES256", "kid": kid, "jwk": own.jwk()}).to_string());
    assert_eq!(refused(&tokens, &format!("{named}.{body}")).await, TokenError::Signature);
    // Another account under the same signature.
    let parts: Vec<_> = good.split('.').collect();
    let other = URL_SAFE_NO_PAD.encode(json!({"sub": "b", "exp": NOW + 60}).to_string());
    assert_eq!(refused(&tokens, &format!("{}.{other}.{}", parts[0], parts[2])).await, TokenError::Signature);
    let crit = forged(&json!({"alg": "ES256", "kid": kid, "crit": ["b64"], "b64": false}), &claims, |_| vec![0; 64]);
    assert_eq!(refused(&tokens, &crit).await, TokenError::Algorithm);
    for nonsense in ["", ".", "..", "a.b.c", "....", &"x".repeat(5_000)] {
        assert!(matches!(refused(&tokens, nonsense).await, TokenError::NoToken | TokenError::Algorithm), "{nonsense}");
    }
}

#[tokio::test]
async fn keys_rotate_and_one_that_is_gone_is_gone_for_remembered_tokens_too() {
    let issuer = Issuer::new(&[Kind::Es256, Kind::Es256]);
    let [old, new] = issuer.keys.as_slice() else { panic!() };
    issuer.publish(&issue::jwks([old]));
    let tokens = issuer.tokens();
    let (by_old, by_new) = (sign(old, "a"), sign(new, "b"));
    assert!(tokens.check(&by_old, NOW).await.is_ok());
    issuer.publish(&issue::jwks([old, new]));
    // Its turn comes a second after the keys were last read.
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while tokens.check(&by_new, NOW).await.is_err() {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(tokens.check(&by_old, NOW).await.is_ok(), "old keys are good until they are gone");
    issuer.publish(&issue::jwks([new]));
    assert_eq!(tokens.inner.source.read_now().await, Ok(()));
    assert_eq!(tokens.check(&by_old, NOW).await, Err(TokenError::KeyUnknown));
    assert!(tokens.check(&by_new, NOW).await.is_ok());
    // Keys that can't be read leave those that are known.
    std::fs::write(issuer.file.path(), "nonsense").unwrap();
    assert_eq!(tokens.inner.source.read_now().await, Err(()));
    assert!(tokens.check(&by_new, NOW).await.is_ok());
}

fn sign(key: &SigningKey, account: &str) -> String {
    key.sign(&json!({"sub": account, "exp": NOW + 60})).unwrap()
}

#[tokio::test]
async fn an_address_is_asked_once_however_many_unknown_keys_come() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let key = SigningKey::generate(Kind::Es256).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let served = Mutex::new(issue::jwks([&key]).to_string());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut request = [0; 4_096];
            drop(connection.read(&mut request));
            ASKED.fetch_add(1, Ordering::SeqCst);
            let body = served.lock().unwrap_or_else(PoisonError::into_inner);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            drop(connection.write_all((head + &body).as_bytes()));
        }
    });
    let settings = TokenSettings { keys: url.parse().unwrap(), issuer: None, audience: None, leeway: Duration::ZERO };
    let tokens = Tokens::new(settings);
    assert!(tokens.check(&sign(&key, "a"), NOW).await.is_ok());
    for _ in 0..20 {
        let stranger = SigningKey::generate(Kind::Es256).unwrap();
        assert_eq!(refused(&tokens, &sign(&stranger, "a")).await, TokenError::KeyUnknown);
    }
    assert_eq!(ASKED.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn without_keys_it_is_nobodys_fault() {
    let settings = TokenSettings {
        keys: "/nowhere/jwks.json".parse().unwrap(),
        issuer: None,
        audience: None,
        leeway: Duration::ZERO,
    };
    let token = sign(&SigningKey::generate(Kind::Es256).unwrap(), "a");
    assert_eq!(refused(&Tokens::new(settings), &token).await, TokenError::KeysAway);
}

#[test]
fn a_set_of_keys_is_read_with_what_it_holds_for_others() {
    let key = SigningKey::generate(Kind::EdDsa).unwrap();
    let again = SigningKey::from_pem(&key.to_pem()).unwrap();
    assert_eq!(again.jwk(), key.jwk());
    let mut listed = issue::jwks([&key]);
    let keys = listed["keys"].as_array_mut().unwrap();
    keys.push(json!({"kty": "oct", "k": "c2VjcmV0", "kid": "s"}));
    keys.push(json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}));
    let mut for_encryption = key.jwk();
    for_encryption["use"] = "enc".into();
    keys.push(for_encryption);
    keys.push(json!("nonsense"));
    assert_eq!(KeySet::parse(listed.to_string().as_bytes()).unwrap().len(), 1);
    for bad in [json!({}), json!([]), json!({"keys": []}), json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]})] {
        assert!(KeySet::parse(bad.to_string().as_bytes()).is_err(), "{bad}");
    }
    let many = json!({"keys": vec![key.jwk(); 101]});
    assert!(matches!(KeySet::parse(many.to_string().as_bytes()), Err(KeySetError::TooMany)));
}
