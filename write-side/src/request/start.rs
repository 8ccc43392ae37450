//! `POST /v1/accounts/{account}/sessions`

use pulsegate_domain::account::EVICT_MAX;
use pulsegate_domain::ids::{AccountId, ContentKind, DeviceClass, DeviceId, SessionId, Territory, TitleId};

use super::StartRequest;
use crate::json::field::List;
use crate::json::wire::{read, wire};
use crate::problems::BodyError;

wire!(StartBody {
    required { device_id: DeviceId, title_id: TitleId }
    optional {
        session_id: SessionId,
        device_class: DeviceClass,
        content_kind: ContentKind,
        territory: Territory,
        evict: List<SessionId, 0, EVICT_MAX>,
    }
});

/// Reads the body of a start.
pub fn parse_start(account: AccountId, body: &[u8]) -> Result<StartRequest, BodyError> {
    let body: StartBody = read(body)?;
    Ok(StartRequest {
        account_id: account,
        session_id: body.session_id,
        device_id: body.device_id,
        device_class: body.device_class,
        title_id: body.title_id,
        content_kind: body.content_kind,
        territory: body.territory,
        evict: body.evict.map_or_else(Vec::new, |list| list.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<StartRequest, String> {
        parse_start("acc-1".parse().unwrap(), body.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_start_names_its_device_and_title() {
        let request = parse(r#"{"device_id":"tv-1","title_id":"t","territory":null,"new_in_2031":{"a":[]}}"#).unwrap();
        assert_eq!((request.device_id.as_str(), request.territory, request.evict), ("tv-1", None, Vec::new()));
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let error = parse(
            r#"{"session_id":"00000000-0000-0000-0000-000000000000","device_id":null,"title_id":"/",
                "device_class":"fridge","territory":"de","content_kind":3,"evict":["x"]}"#,
        );
        assert_eq!(
            error.unwrap_err(),
            "invalid: /device_id is required; \
             /title_id must be 1-128 characters of A-Z a-z 0-9 . _ : @ -, the first a letter or digit; \
             /session_id must be a UUID that is not nil; \
             /device_class must be one of tv, mobile, tablet, web, console, other; \
             /content_kind must be a string; \
             /territory must be two upper-case letters, as in ISO 3166-1 alpha-2; ZZ where unknown; \
             /evict/0 must be a UUID that is not nil"
        );
    }

    #[test]
    fn at_most_32_sessions_make_room() {
        let body = |count: usize| {
            let ids = vec!["\"019ab0c4-7e1a-7abc-8def-0123456789ab\""; count].join(",");
            format!(r#"{{"device_id":"d","title_id":"t","evict":[{ids}]}}"#)
        };
        assert_eq!(parse(&body(32)).unwrap().evict.len(), 32);
        assert_eq!(parse(&body(33)), Err("invalid: /evict must hold 0-32 elements".to_owned()));
    }

    #[test]
    fn what_is_no_object_or_no_json_is_told_apart() {
        assert_eq!(parse("[]"), Err("invalid: must be an object".to_owned()));
        assert!(parse("").unwrap_err().starts_with("not JSON: EOF"));
        assert!(parse(r#"{"device_id":"d","device_id":"d","title_id":"t"}"#).unwrap_err().contains("duplicate key"));
        let error = parse_start("a".parse().unwrap(), b"{\"device_id\":\"\xff\"}").unwrap_err().to_string();
        assert!(error.starts_with("not JSON: not UTF-8"), "{error}");
    }
}
