//! A licence server's question, as JSON of any shape: the mapping's pointers say where in it what stands.

use std::fmt::Display;
use std::str::FromStr;

use pulsegate_domain::ids::SignalKind;
use serde_json::Value;

use super::encoding::text_of;
use super::mapping::Mapping;
use crate::json;
use crate::problems::{BodyError, FieldProblem};
use crate::request::SignalRequest;

/// Reads what a licence server asks.
///
/// # Errors
/// Every problem, each with the pointer at which the mapping looked.
pub fn parse_licence(body: &[u8], mapping: &Mapping) -> Result<SignalRequest, BodyError> {
    let text = json::text(body)?;
    let no_json = |error: serde_json::Error| BodyError::NotJson { detail: error.to_string() };
    json::check(text, 0).map_err(no_json)?;
    let mut question = Question { body: serde_json::from_str(text).map_err(no_json)?, problems: Vec::new() };
    let at = &mapping.licence;
    let account_id = question.required("account_id", &at.account);
    let device_id = question.required("device_id", &at.device);
    let title_id = question.required("title_id", &at.title);
    let session_id = question.optional("session_id", &at.session);
    let device_class = question.optional("device_class", &at.device_class);
    let content_kind = question.optional("content_kind", &at.content_kind);
    let territory = question.optional("territory", &at.territory);
    let renews = question.text("kind", &at.kind).is_some_and(|word| at.renewals.contains(&word));
    match (account_id, device_id, title_id) {
        (Some(account_id), Some(device_id), Some(title_id)) if question.problems.is_empty() => Ok(SignalRequest {
            account_id,
            session_id,
            device_id,
            device_class,
            title_id,
            content_kind,
            territory,
            kind: if renews { SignalKind::DrmRenewal } else { SignalKind::DrmLicence },
        }),
        _ => Err(BodyError::Invalid(question.problems)),
    }
}

struct Question {
    body: Value,
    problems: Vec<FieldProblem>,
}

impl Question {
    fn text(&mut self, field: &str, pointer: &str) -> Option<String> {
        let value = self.body.pointer(pointer).filter(|value| !value.is_null())?;
        let text = text_of(value);
        if text.is_none() {
            self.problems.push(FieldProblem::new(pointer, format!("must be a string ({field})")));
        }
        text
    }

    fn optional<T: FromStr<Err: Display>>(&mut self, field: &str, pointer: &str) -> Option<T> {
        let text = self.text(field, pointer)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problems.push(FieldProblem::new(pointer, format!("{error} ({field})")));
                None
            }
        }
    }

    fn required<T: FromStr<Err: Display>>(&mut self, field: &str, pointer: &str) -> Option<T> {
        let known = self.problems.len();
        let value = self.optional(field, pointer);
        if value.is_none() && self.problems.len() == known {
            self.problems.push(FieldProblem::new(pointer, format!("is required ({field})")));
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAPPED: &str = r#"{"licence":{"account_id":"/user/id","device_id":"/device/uuid","title_id":"/asset",
                                        "kind":"/type","renewals":["RENEW"]}}"#;

    fn parse(body: &str, mapping: &str) -> Result<SignalRequest, String> {
        let mapping = Mapping::parse(mapping.as_bytes()).unwrap();
        parse_licence(body.as_bytes(), &mapping).map_err(|error| error.to_string())
    }

    #[test]
    fn a_question_of_any_shape_is_a_signal() {
        let signal = parse(r#"{"account_id":"a","device_id":"d","title_id":"t","territory":"DE"}"#, "{}").unwrap();
        assert_eq!((signal.kind, signal.session_id), (SignalKind::DrmLicence, None));
        assert_eq!(signal.territory.unwrap().as_str(), "DE");
        let body = r#"{"user":{"id":77},"device":{"uuid":"d"},"asset":"t","type":"RENEW","more":[1]}"#;
        let signal = parse(body, MAPPED).unwrap();
        assert_eq!((signal.account_id.as_str(), signal.kind), ("77", SignalKind::DrmRenewal));
    }

    #[test]
    fn each_problem_names_the_place_and_the_field() {
        assert_eq!(
            parse(r#"{"user":{"id":""},"device":7.5,"asset":{},"territory":"de","session_id":null}"#, MAPPED),
            Err("invalid: /user/id must be 1-128 characters of A-Z a-z 0-9 . _ : @ -, the first a letter or digit \
                 (account_id); /device/uuid is required (device_id); /asset must be a string (title_id); \
                 /territory must be two upper-case letters, as in ISO 3166-1 alpha-2; ZZ where unknown (territory)"
                .to_owned())
        );
        assert!(parse("{", "{}").unwrap_err().starts_with("not JSON"));
        assert!(parse(r#"{"a":1,"a":2}"#, "{}").unwrap_err().contains("duplicate key"));
        assert!(parse("[]", "{}").unwrap_err().contains("/account_id is required"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..80)) {
            drop(parse_licence(&body, &Mapping::default()));
        }
    }
}
