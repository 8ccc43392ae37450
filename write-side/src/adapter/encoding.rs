//! The encodings inside a line: percent, queries, cookies, headers, tokens.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Longest part of a token that is decoded, in bytes.
const TOKEN_LEN_MAX: usize = 16 << 10;

/// Undoes percent-encoding; what is none stays as it is. `None` if the result is no text.
pub(super) fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (bytes[index], digit(index + 1), digit(index + 2)) {
            decoded.extend(u8::try_from(high << 4 | low));
            index += 3;
        } else {
            decoded.push(bytes[index]);
            index += 1;
        }
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

/// Undoes it twice: logs encode what came encoded once more.
pub(super) fn decoded_twice(text: &str) -> Option<Cow<'_, str>> {
    match decoded(text)? {
        Cow::Borrowed(text) => Some(Cow::Borrowed(text)),
        Cow::Owned(once) => decoded(&once).map(|twice| Cow::Owned(twice.into_owned())),
    }
}

/// The raw value of a parameter of a query.
pub(super) fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let pairs = query.trim_start_matches('?').split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// A cookie of a `Cookie` header, as a log encodes it.
pub(super) fn cookie(header: &str, name: &str) -> Option<String> {
    let header = decoded_twice(header)?;
    let mut cookies = header.split(';').filter_map(|cookie| cookie.trim().split_once('='));
    cookies.find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"').to_owned())
}

/// A header of all headers, as a log encodes them: `Name:value`, a line each.
pub(super) fn header(headers: &str, name: &str) -> Option<String> {
    let headers = decoded_twice(headers)?;
    let mut headers = headers.lines().filter_map(|line| line.split_once(':'));
    headers.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

/// What the payload of a JSON web token says at a JSON pointer. Whoever let the request through has checked the token.
pub(super) fn claim(token: &str, pointer: &str) -> Option<String> {
    let payload = token.split('.').nth(1).filter(|payload| payload.len() <= TOKEN_LEN_MAX)?;
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let payload: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    text_of(payload.pointer(pointer)?)
}

/// A JSON value that can be an id: a text, or a whole number.
pub(super) fn text_of(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) if number.is_u64() || number.is_i64() => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_and_the_rest_stays() {
        for (text, once, twice) in [
            ("plain", "plain", "plain"),
            ("a%20b", "a b", "a b"),
            ("a%2520b", "a%20b", "a b"),
            ("100%", "100%", "100%"),
            ("%zz%2", "%zz%2", "%zz%2"),
        ] {
            assert_eq!(decoded(text).as_deref(), Some(once));
            assert_eq!(decoded_twice(text).as_deref(), Some(twice));
        }
        assert_eq!(decoded("%ff"), None);
    }

    #[test]
    fn queries_cookies_headers_and_tokens_are_looked_into() {
        assert_eq!(parameter("?a=1&b=2&b=3", "b"), Some("2"));
        assert_eq!(parameter("ab=1&c", "c"), None);
        assert_eq!(cookie("x=1;%20uid=%22u-1%22", "uid").as_deref(), Some("u-1"));
        assert_eq!(header("Host:cdn%0AX-Device:%20tv-1", "x-device").as_deref(), Some("tv-1"));
        let token = format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(r#"{"sub":"acc-1","n":7,"user":{"id":"u"}}"#));
        assert_eq!(claim(&token, "/sub").as_deref(), Some("acc-1"));
        assert_eq!(claim(&token, "/n").as_deref(), Some("7"));
        assert_eq!(claim(&token, "/user/id").as_deref(), Some("u"));
        assert_eq!(claim(&token, "/user"), None);
        assert_eq!(claim("no-token", "/sub"), None);
    }
}
