//! Stamps a request with what is in force when it is accepted, so that it becomes an event.
//!
//! Pure: the catalog, what is known of the session, and when the request was accepted are passed in. A fold takes the rules from the
//! event and looks nothing up at its own time, so a replay gives the same verdicts.

use pulsegate_domain::account::Session;
use pulsegate_domain::catalog::Catalog;
use pulsegate_domain::event::{Evicted, Heartbeat, Signal, Started, Stopped};
use pulsegate_domain::ids::{AccountId, ContentKind, DeviceClass, SessionId, Territory, TitleId};
use pulsegate_domain::policy::PolicyRef;
use pulsegate_domain::time::Timestamp;

use crate::request::{EvictRequest, HeartbeatRequest, SignalRequest, StartRequest, StopRequest};

/// What is known of an open session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What kind of device it runs on.
    pub device_class: DeviceClass,
    /// Recorded or live.
    pub content_kind: ContentKind,
    /// Where it is watched.
    pub territory: Territory,
}

impl From<&Session> for Known {
    fn from(session: &Session) -> Self {
        Self {
            device_class: session.device_class(),
            content_kind: session.content_kind(),
            territory: session.territory(),
        }
    }
}

/// A start as an event. `session` is the one that it names, or a new one.
#[must_use]
pub fn started(
    request: StartRequest,
    session: SessionId,
    catalog: &Catalog,
    known: Option<Known>,
    at: Timestamp,
) -> Started {
    let StartRequest { account_id, session_id: _, device_id, device_class, title_id, content_kind, territory, evict } =
        request;
    let territory = place_of(territory, known);
    Started {
        policy: policy_for(&account_id, &title_id, territory, catalog, at),
        rights_holder: catalog.title(&title_id).map(|title| title.rights_holder_id.clone()),
        device_class: Some(device_class.or(known.map(|session| session.device_class)).unwrap_or(DeviceClass::Other)),
        content_kind: Some(kind_of(content_kind, known, &title_id, catalog)),
        territory: Some(territory),
        account_id,
        session_id: session,
        device_id,
        title_id,
        evict,
    }
}

/// A heartbeat as an event.
#[must_use]
pub fn heartbeat(request: HeartbeatRequest, catalog: &Catalog, known: Option<Known>, at: Timestamp) -> Heartbeat {
    let territory = place_of(request.territory, known);
    Heartbeat {
        policy: policy_for(&request.account_id, &request.title_id, territory, catalog, at),
        rights_holder: catalog.title(&request.title_id).map(|title| title.rights_holder_id.clone()),
        content_kind: Some(kind_of(request.content_kind, known, &request.title_id, catalog)),
        territory: Some(territory),
        account_id: request.account_id,
        session_id: request.session_id,
        device_id: request.device_id,
        device_class: request.device_class,
        title_id: request.title_id,
        sequence: request.sequence,
        elapsed_ms: request.elapsed_ms,
        age_ms: request.age_ms,
        position_ms: request.position_ms,
        state: request.state,
        rate_milli: request.rate_milli,
    }
}

/// A signal as an event. Known is the session that it names, or its device's.
#[must_use]
pub fn signal(request: SignalRequest, catalog: &Catalog, known: Option<Known>, at: Timestamp) -> Signal {
    let territory = place_of(request.territory, known);
    Signal {
        policy: policy_for(&request.account_id, &request.title_id, territory, catalog, at),
        rights_holder: catalog.title(&request.title_id).map(|title| title.rights_holder_id.clone()),
        content_kind: Some(kind_of(request.content_kind, known, &request.title_id, catalog)),
        territory: Some(territory),
        account_id: request.account_id,
        session_id: request.session_id,
        device_id: request.device_id,
        device_class: request.device_class,
        title_id: request.title_id,
        kind: request.kind,
    }
}

/// A stop as an event: it names no rules, for it asks for nothing.
#[must_use]
pub fn stopped(request: StopRequest) -> Stopped {
    let StopRequest { account_id, session_id, sequence, elapsed_ms, position_ms } = request;
    Stopped { account_id, session_id, sequence, elapsed_ms, position_ms }
}

/// An eviction as an event.
#[must_use]
pub fn evicted(request: EvictRequest) -> Evicted {
    let EvictRequest { account_id, session_id, by } = request;
    Evicted { account_id, session_id, by }
}

fn policy_for(
    account: &AccountId,
    title: &TitleId,
    territory: Territory,
    catalog: &Catalog,
    at: Timestamp,
) -> PolicyRef {
    catalog.policy_for(account, title, territory, at.to_utc().date_naive()).reference()
}

fn kind_of(said: Option<ContentKind>, known: Option<Known>, title: &TitleId, catalog: &Catalog) -> ContentKind {
    said.or(known.map(|session| session.content_kind))
        .or_else(|| catalog.title(title).map(|title| title.content_kind))
        .unwrap_or(ContentKind::Vod)
}

fn place_of(said: Option<Territory>, known: Option<Known>) -> Territory {
    said.or(known.map(|session| session.territory)).unwrap_or(Territory::UNKNOWN)
}

#[cfg(test)]
mod tests {
    use pulsegate_domain::event::{CatalogEvent, EntitlementChanged, TitleRegistered};
    use pulsegate_domain::policy::Policy;

    use super::*;
    use crate::request::parse_start;

    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        catalog.apply(CatalogEvent::PolicyPublished(Policy {
            name: "premium".parse().unwrap(),
            version: 3,
            ..Policy::standard()
        }));
        catalog.apply(CatalogEvent::EntitlementChanged(EntitlementChanged {
            account_id: "rich".parse().unwrap(),
            policy: "premium".parse().unwrap(),
        }));
        catalog.apply(CatalogEvent::TitleRegistered(TitleRegistered {
            title_id: "channel".parse().unwrap(),
            name: "Channel".to_owned(),
            content_kind: ContentKind::Live,
            rights_holder_id: "holder".parse().unwrap(),
            runtime_ms: None,
        }));
        catalog
    }

    fn start(account: &str, body: &str, known: Option<Known>) -> Started {
        let request = parse_start(account.parse().unwrap(), body.as_bytes()).unwrap();
        let session = "019ab0c4-7e1a-7abc-8def-0123456789ab".parse().unwrap();
        started(request, session, &catalog(), known, Timestamp::from_millis(1_795_380_423_120))
    }

    const KNOWN: Known =
        Known { device_class: DeviceClass::Tv, content_kind: ContentKind::Vod, territory: Territory::UNKNOWN };

    #[test]
    fn the_rules_in_force_and_the_owner_are_stamped() {
        let event = start("rich", r#"{"device_id":"d","title_id":"channel"}"#, None);
        assert_eq!(event.policy.to_string(), "premium@3");
        assert_eq!(event.rights_holder.unwrap().as_str(), "holder");
        let event = start("poor", r#"{"device_id":"d","title_id":"film"}"#, None);
        assert_eq!((event.policy.to_string().as_str(), event.rights_holder), ("standard@1", None));
    }

    #[test]
    fn where_a_contract_caps_the_owner_the_derived_policy_is_stamped() {
        let mut catalog = catalog();
        let contract = serde_json::json!({"contract_id": "c", "rights_holder_id": "holder", "territories": ["DE"],
            "valid_from": "2026-11-22", "valid_until": "2026-11-22", "max_streams_per_account": 1});
        catalog.apply(CatalogEvent::ContractRegistered(serde_json::from_value(contract).unwrap()));
        for policy in catalog.policies().missing_under(&[1].into()) {
            catalog.apply(CatalogEvent::PolicyPublished(policy));
        }
        let day = |days: u64| Timestamp::from_millis(1_795_305_600_000).plus_ms(days * 86_400_000);
        let session = "019ab0c4-7e1a-7abc-8def-0123456789ab".parse().unwrap();
        for (account, title, territory, at, policy) in [
            ("rich", "channel", "DE", day(0), "premium:3:cap:1@1"),
            ("poor", "channel", "DE", day(1).minus_ms(1), "standard:1:cap:1@1"),
            ("rich", "channel", "FR", day(0), "premium@3"),
            ("rich", "channel", "DE", day(1), "premium@3"),
            ("rich", "film", "DE", day(0), "premium@3"),
        ] {
            let body = format!(r#"{{"device_id":"d","title_id":"{title}","territory":"{territory}"}}"#);
            let request = parse_start(account.parse().unwrap(), body.as_bytes()).unwrap();
            let event = started(request, session, &catalog, None, at);
            assert_eq!(event.policy.to_string(), policy, "{account} {title} {territory}");
        }
    }

    #[test]
    fn what_is_said_wins_then_what_is_known_then_the_title_then_the_default() {
        let nothing = r#"{"device_id":"d","title_id":"channel"}"#;
        let all =
            r#"{"device_id":"d","title_id":"channel","device_class":"web","content_kind":"live","territory":"DE"}"#;
        let known = Known { territory: "AT".parse().unwrap(), ..KNOWN };
        for (body, known, class, kind, territory) in [
            (all, Some(known), DeviceClass::Web, ContentKind::Live, "DE"),
            (nothing, Some(known), DeviceClass::Tv, ContentKind::Vod, "AT"),
            (nothing, None, DeviceClass::Other, ContentKind::Live, "ZZ"),
            (r#"{"device_id":"d","title_id":"film"}"#, None, DeviceClass::Other, ContentKind::Vod, "ZZ"),
        ] {
            let event = start("a", body, known);
            assert_eq!(
                (event.device_class, event.content_kind, event.territory),
                (Some(class), Some(kind), Some(territory.parse().unwrap())),
                "{body}"
            );
        }
    }
}
