//! Common media client data (CTA-5004): what a player says of itself with each request.

/// The request headers that may carry it.
pub(super) const HEADERS: [&str; 4] = ["CMCD-Session", "CMCD-Object", "CMCD-Request", "CMCD-Status"];

/// The value of a key in `br=3200,bs,cid="film-1",sid="…"`; a key alone is `true`.
pub(super) fn value(text: &str, wanted: &str) -> Option<String> {
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(['=', ',']).unwrap_or(rest.len());
        let (key, behind) = (rest[..end].trim(), &rest[end..]);
        let (value, behind) = match behind.strip_prefix('=') {
            None => ("true".to_owned(), behind),
            Some(value) => value.trim_start().strip_prefix('"').map_or_else(|| bare(value), unquoted),
        };
        if key == wanted {
            return Some(value);
        }
        rest = behind.find(',').map_or("", |comma| &behind[comma + 1..]);
    }
    None
}

/// A value up to its comma, and what stands from there on.
fn bare(text: &str) -> (String, &str) {
    let end = text.find(',').unwrap_or(text.len());
    (text[..end].trim().to_owned(), &text[end..])
}

/// A quoted text up to its end, and what stands behind.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((index, letter)) = letters.next() {
        match letter {
            '"' => return (value, &text[index + 1..]),
            '\\' => value.extend(letters.next().map(|(_, escaped)| escaped)),
            _ => value.push(letter),
        }
    }
    (value, "")
}

/// The field of a real-time log that has a key's value.
pub(super) fn log_field(key: &str) -> Option<&'static str> {
    Some(match key {
        "cid" => "cmcd-content-id",
        "ot" => "cmcd-object-type",
        "sf" => "cmcd-streaming-format",
        "sid" => "cmcd-session-id",
        "st" => "cmcd-stream-type",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_keys_value_is_found_and_unquoted() {
        let data = r#"br=3200,bs,cid="a,b=\"c\"",ot=v, sid="6e2f",v="#;
        for (key, expected) in [
            ("br", Some("3200")),
            ("bs", Some("true")),
            ("cid", Some("a,b=\"c\"")),
            ("ot", Some("v")),
            ("sid", Some("6e2f")),
            ("v", Some("")),
            ("b", None),
            ("c\"", None),
        ] {
            assert_eq!(value(data, key).as_deref(), expected, "{key}");
        }
        assert_eq!(value("sid=\"open", "sid").as_deref(), Some("open"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(text in "[a-z=,\"\\\\ é]{0,40}", key in "[a-z]{1,2}") {
            value(&text, &key);
        }
    }
}
