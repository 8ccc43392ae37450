//! What parameters of one name must be, wherever they stand.

use utoipa::openapi::path::Operation;
use utoipa::openapi::{RefOr, Schema};

/// An opaque id, as the domain reads it.
const ID: &str = "^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$";
/// A territory, as the domain reads it.
const TERRITORY: &str = "^[A-Z]{2}$";

const PATTERNS: &[(&str, &str)] = &[
    ("account", ID),
    ("anonymous", ID),
    ("contract", ID),
    ("id", ID),
    ("rights_holder", ID),
    ("territory", TERRITORY),
    ("title", ID),
];

/// Says it of an operation's parameters.
pub(super) fn complete(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        let pattern = PATTERNS.iter().find(|(name, _)| *name == parameter.name);
        if let (Some((_, pattern)), Some(RefOr::T(Schema::Object(schema)))) = (pattern, &mut parameter.schema) {
            schema.pattern = Some((*pattern).to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use pulsegate_domain::ids::{AccountId, AnonymousId, ContractId, RightsHolderId, Territory, TitleId};

    use super::*;

    /// Whether a text fits one of the two patterns: there is no reader of patterns here.
    fn fits(pattern: &str, text: &str) -> bool {
        if pattern == TERRITORY {
            return text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte);
        text.len() <= 128
            && text.bytes().all(is_plain)
            && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
    }

    #[test]
    fn the_description_says_of_ids_what_the_domain_says() {
        let long = ["a".repeat(128), "a".repeat(129)];
        let texts = ["", "a", "-a", ".", "a b", "ä", "A.b_c:d@e-f", "DE", "de", "D", "DEU", "D1", &long[0], &long[1]];
        for text in texts {
            assert_eq!(text.parse::<Territory>().is_ok(), fits(TERRITORY, text), "{text:?}");
            let read = [
                text.parse::<AccountId>().is_ok(),
                text.parse::<AnonymousId>().is_ok(),
                text.parse::<ContractId>().is_ok(),
                text.parse::<RightsHolderId>().is_ok(),
                text.parse::<TitleId>().is_ok(),
            ];
            assert_eq!(read, [fits(ID, text); 5], "{text:?}");
        }
    }
}
