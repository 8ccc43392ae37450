//! Policies: immutable versions of the rules by which an account's streams are limited.
//!
//! The version in force is stamped into each event when it is accepted, and a fold looks the rules
//! up by that version. So a replay next year gives today's verdicts.

mod derived;
mod set;

use std::fmt;
use std::str::FromStr;

use compact_str::CompactString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

pub use derived::{DerivedFrom, is_derived};
pub use set::PolicySet;

use crate::ids::{ContentKind, DeviceClass, InvalidId, PolicyName, SignalKind};

/// Most rules in one policy.
pub const RULES_MAX: usize = 32;
/// Longest lease and pause, in milliseconds: 24 h, the time for which an ended session is remembered.
pub const LEASE_MS_MAX: u64 = 86_400_000;
/// Largest `max` of a rule.
pub const LIMIT_MAX: u32 = 10_000;

/// `name@version`, as stamped into events.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyRef {
    name: PolicyName,
    version: u32,
}

impl PolicyRef {
    /// The reference to `version` of `name`.
    #[must_use]
    pub const fn new(name: PolicyName, version: u32) -> Self {
        Self { name, version }
    }

    /// The policy's name.
    #[must_use]
    pub const fn name(&self) -> &PolicyName {
        &self.name
    }

    /// The version, from 1.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }
}

impl fmt::Display for PolicyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

impl FromStr for PolicyRef {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        // A name may hold an `@` itself; the version stands behind the last.
        let (name, version) = text.rsplit_once('@').ok_or(InvalidId::Opaque)?;
        // One spelling a reference: no sign, no leading zero.
        if !version.starts_with(|c: char| c.is_ascii_digit() && c != '0') {
            return Err(InvalidId::Opaque);
        }
        let version = version.parse().map_err(|_| InvalidId::Opaque)?;
        Ok(Self { name: name.parse()?, version })
    }
}

impl Serialize for PolicyRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Each answer of a check and each event has one: a formatter would cost more than its text.
        let mut text = CompactString::new(self.name.as_str());
        text.push('@');
        text.push_str(itoa::Buffer::new().format(self.version));
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for PolicyRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RefVisitor;
        impl serde::de::Visitor<'_> for RefVisitor {
            type Value = PolicyRef;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("name@version")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<PolicyRef, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(RefVisitor)
    }
}

/// Which sessions a rule counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All of the account.
    Account,
    /// Those of the asker's title.
    Title,
    /// Those on a class of devices.
    DeviceClass(DeviceClass),
    /// Those of a kind of content.
    ContentKind(ContentKind),
    /// Those in the asker's territory.
    Territory,
    /// Those of the asker's rights holder.
    RightsHolder,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account => f.write_str("account"),
            Self::Title => f.write_str("title"),
            Self::DeviceClass(class) => write!(f, "device_class:{class}"),
            Self::ContentKind(kind) => write!(f, "content_kind:{kind}"),
            Self::Territory => f.write_str("territory"),
            Self::RightsHolder => f.write_str("rights_holder"),
        }
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        match text {
            "account" => Ok(Self::Account),
            "title" => Ok(Self::Title),
            "territory" => Ok(Self::Territory),
            "rights_holder" => Ok(Self::RightsHolder),
            _ => match text.split_once(':') {
                Some(("device_class", class)) => class.parse().map(Self::DeviceClass).map_err(|_| InvalidScope),
                Some(("content_kind", kind)) => kind.parse().map(Self::ContentKind).map_err(|_| InvalidScope),
                _ => Err(InvalidScope),
            },
        }
    }
}

/// A text that names no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be account, title, territory, rights_holder, device_class:<class> or content_kind:<vod|live>")]
pub struct InvalidScope;

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a full rule does to an asker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLimit {
    /// The asker is told no.
    BlockNewest,
    /// The sessions that have held their slots longest make room.
    DisplaceOldest,
}

/// At most `max` streams at once in a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// Which sessions are counted together.
    pub scope: Scope,
    /// How many may hold a slot at once; 0 forbids.
    pub max: u32,
    /// What happens to one more.
    pub on_limit: OnLimit,
}

/// For how long each sign of life keeps its session alive, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Leases {
    /// After a start.
    pub started: u64,
    /// After a heartbeat.
    pub heartbeat: u64,
    /// After a media segment was delivered.
    pub cdn_segment: u64,
    /// After a manifest was delivered.
    pub manifest: u64,
    /// After a licence.
    pub drm_licence: u64,
    /// After a licence renewal.
    pub drm_renewal: u64,
}

impl Leases {
    /// The lease of a signal, in milliseconds.
    #[must_use]
    pub const fn signal(&self, kind: SignalKind) -> u64 {
        match kind {
            SignalKind::DrmLicence => self.drm_licence,
            SignalKind::DrmRenewal => self.drm_renewal,
            SignalKind::CdnSegment => self.cdn_segment,
            SignalKind::Manifest => self.manifest,
        }
    }
}

impl Default for Leases {
    fn default() -> Self {
        Self {
            started: 25_000,
            heartbeat: 25_000,
            cdn_segment: 30_000,
            manifest: 30_000,
            drm_licence: 330_000,
            drm_renewal: 330_000,
        }
    }
}

/// Whether a device may have more than one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PerDevice {
    /// A new stream replaces the device's other ones.
    #[default]
    One,
    /// Only streams inferred from signals are replaced.
    Many,
}

/// What a policy says, without its name and version: the body of a `PUT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Terms {
    /// The limits, in the order in which they are asked.
    pub rules: Vec<Rule>,
    /// How long signs of life last.
    #[serde(default)]
    pub leases_ms: Leases,
    /// For how long a paused session may keep its slot, in milliseconds.
    #[serde(default = "paused_hold_ms_default")]
    pub paused_hold_ms: u64,
    /// Whether a device may have more than one stream.
    #[serde(default)]
    pub per_device: PerDevice,
}

const fn paused_hold_ms_default() -> u64 {
    600_000
}

/// One immutable version of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Policy {
    /// The name, shared by all versions.
    pub name: PolicyName,
    /// The version, from 1.
    pub version: u32,
    /// What it says.
    #[serde(flatten)]
    pub terms: Terms,
}

impl Policy {
    /// `standard@1`, which is built in: two streams an account, the newest told no.
    #[must_use]
    pub fn standard() -> Self {
        Self {
            name: standard_name(),
            version: 1,
            terms: Terms {
                rules: vec![Rule { scope: Scope::Account, max: 2, on_limit: OnLimit::BlockNewest }],
                leases_ms: Leases::default(),
                paused_hold_ms: paused_hold_ms_default(),
                per_device: PerDevice::One,
            },
        }
    }

    /// `name@version`.
    #[must_use]
    pub fn reference(&self) -> PolicyRef {
        PolicyRef::new(self.name.clone(), self.version)
    }
}

fn standard_name() -> PolicyName {
    match "standard".parse() {
        Ok(name) => name,
        Err(_) => unreachable!("`standard` is an opaque id"),
    }
}

/// A mistake in a policy, with the place of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TermsProblem {
    /// JSON pointer into the body.
    pub pointer: String,
    /// What is wrong, as a phrase behind the place.
    pub detail: String,
}

impl Terms {
    /// Every mistake in these terms; empty when they may be published.
    #[must_use]
    pub fn problems(&self) -> Vec<TermsProblem> {
        let mut problems = Vec::new();
        let mut note = |pointer: String, detail: String| problems.push(TermsProblem { pointer, detail });
        if self.rules.is_empty() || self.rules.len() > RULES_MAX {
            note("/rules".into(), format!("must hold 1-{RULES_MAX} rules"));
        }
        for (index, rule) in self.rules.iter().enumerate() {
            if rule.max > LIMIT_MAX {
                note(format!("/rules/{index}/max"), format!("must be at most {LIMIT_MAX}"));
            }
            if self.rules[..index].iter().any(|earlier| earlier.scope == rule.scope) {
                note(format!("/rules/{index}/scope"), format!("must not repeat {}", rule.scope));
            }
        }
        let leases = &self.leases_ms;
        for (name, lease) in [
            ("started", leases.started),
            ("heartbeat", leases.heartbeat),
            ("cdn_segment", leases.cdn_segment),
            ("manifest", leases.manifest),
            ("drm_licence", leases.drm_licence),
            ("drm_renewal", leases.drm_renewal),
        ] {
            if lease == 0 || lease > LEASE_MS_MAX {
                note(format!("/leases_ms/{name}"), format!("must be 1-{LEASE_MS_MAX}"));
            }
        }
        if self.paused_hold_ms > LEASE_MS_MAX {
            note("/paused_hold_ms".into(), format!("must be at most {LEASE_MS_MAX}"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_1_is_the_policy_of_the_contract() {
        let json = serde_json::to_value(Policy::standard()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "name": "standard", "version": 1,
                "rules": [{"scope": "account", "max": 2, "on_limit": "block_newest"}],
                "leases_ms": {"started": 25000, "heartbeat": 25000, "cdn_segment": 30000, "manifest": 30000,
                              "drm_licence": 330_000, "drm_renewal": 330_000},
                "paused_hold_ms": 600_000, "per_device": "one"
            })
        );
    }

    #[test]
    fn a_reference_has_one_spelling() {
        assert_eq!("premium@3".parse::<PolicyRef>().unwrap().to_string(), "premium@3");
        assert_eq!("a@b@12".parse::<PolicyRef>().unwrap().version(), 12);
        for bad in ["premium", "premium@", "premium@0", "premium@03", "premium@+3", "@3", "premium@x"] {
            assert!(bad.parse::<PolicyRef>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_mistake_is_named_with_its_place() {
        let mut terms = Policy::standard().terms;
        terms.rules.push(terms.rules[0]);
        terms.leases_ms.manifest = 0;
        terms.paused_hold_ms = LEASE_MS_MAX + 1;
        let places: Vec<_> = terms.problems().into_iter().map(|problem| problem.pointer).collect();
        assert_eq!(places, ["/rules/1/scope", "/leases_ms/manifest", "/paused_hold_ms"]);
        assert!(Policy::standard().terms.problems().is_empty());
    }

    #[test]
    fn scopes_are_read_as_they_are_written() {
        for text in ["account", "title", "device_class:tv", "content_kind:live", "territory", "rights_holder"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        assert!("device_class:fridge".parse::<Scope>().is_err());
    }
}
