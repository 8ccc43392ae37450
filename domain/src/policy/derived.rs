//! Policies that a contract's cap makes of others: the base's rules and one more, published as an ordinary version.
//!
//! A cap limits how many streams of one account may show a rights holder's titles at once. Events carry nothing but a
//! policy's name and version, so a cap is enforced by stamping a policy that says it. What it says follows from the
//! base version and the cap alone: whichever node publishes it, it is the same.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::{OnLimit, Policy, PolicyRef, Rule, Scope, Terms};
use crate::ids::PolicyName;

/// Stands between the base's version and the cap in a derived policy's name.
const MARK: &str = ":cap:";
/// Longest name of a policy.
const NAME_LEN_MAX: usize = 128;
/// How much of a long base name its derived policies' names begin with.
const STEM_LEN: usize = 48;

/// Which policy a cap was laid on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerivedFrom {
    /// The base: its rules are in the derived policy.
    pub base: PolicyRef,
    /// How many streams of one account may show the rights holder's titles at once.
    pub cap: u32,
}

/// The versions that were derived, by what they were derived from.
#[derive(Clone, Debug, Default)]
pub(super) struct DerivedSet {
    of: HashMap<PolicyRef, DerivedFrom>,
    /// For each base name and cap the newest base version, and what was derived from it.
    newest: HashMap<PolicyName, HashMap<u32, (u32, Arc<Policy>)>>,
}

impl Rule {
    /// The rule that a cap is.
    const fn of_cap(cap: u32) -> Self {
        Self { scope: Scope::RightsHolder, max: cap, on_limit: OnLimit::BlockNewest }
    }
}

impl Terms {
    /// Whether a cap says more than these terms do.
    #[must_use]
    pub fn lets_more_than(&self, cap: u32) -> bool {
        self.rules.iter().all(|rule| rule.scope != Scope::RightsHolder || rule.max > cap)
    }

    /// These terms and a cap; `None` if they are as strict as that by themselves.
    #[must_use]
    pub fn capped(&self, cap: u32) -> Option<Self> {
        if !self.lets_more_than(cap) {
            return None;
        }
        let mut terms = self.clone();
        // No scope stands twice: a looser rule of the policy's own gives way.
        match terms.rules.iter_mut().find(|rule| rule.scope == Scope::RightsHolder) {
            Some(rule) => *rule = Rule::of_cap(cap),
            None => terms.rules.push(Rule::of_cap(cap)),
        }
        Some(terms)
    }
}

impl Policy {
    /// This version with a cap; `None` if it is as strict as that by itself, or a derived one.
    #[must_use]
    pub fn capped(&self, cap: u32) -> Option<Self> {
        if is_derived(&self.name) {
            return None;
        }
        Some(Self { name: derived_name(&self.reference(), cap)?, version: 1, terms: self.terms.capped(cap)? })
    }
}

/// Whether a name is one that only a cap gives: nobody else may publish under it.
#[must_use]
pub fn is_derived(name: &PolicyName) -> bool {
    parts(name.as_str()).is_some()
}

/// `premium@3` under a cap of 2 is `premium:3:cap:2`. A base whose name is too long for that, or holds an `@`, is named
/// by its beginning and a hash.
fn derived_name(base: &PolicyRef, cap: u32) -> Option<PolicyName> {
    let rest = format!(":{}{MARK}{cap}", base.version());
    let name = base.name().as_str();
    if name.len() + rest.len() <= NAME_LEN_MAX && !name.contains('@') {
        return format!("{name}{rest}").parse().ok();
    }
    let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("pulsegate/policy/{name}").as_bytes());
    let beginning = name.replace('@', ".");
    // Ids are ASCII.
    let beginning = beginning.get(..STEM_LEN.min(beginning.len()))?;
    format!("{beginning}:{}{rest}", hash.simple()).parse().ok()
}

/// A derived name's stem, base version and cap.
fn parts(name: &str) -> Option<(&str, u32, u32)> {
    let (base, cap) = name.rsplit_once(MARK)?;
    let (stem, version) = base.rsplit_once(':')?;
    let number = |digits: &str| {
        let is_one = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        digits.parse().ok().filter(|_| is_one)
    };
    Some((stem, number(version)?, number(cap)?))
}

impl DerivedSet {
    /// Takes up a policy if it is what a cap makes of one in `versions`.
    pub(super) fn take_up<S: std::hash::BuildHasher>(
        &mut self,
        policy: &Arc<Policy>,
        versions: &HashMap<PolicyRef, Arc<Policy>, S>,
    ) {
        let Some((stem, version, cap)) = parts(policy.name.as_str()) else { return };
        let is_base = |base: &&Arc<Policy>| base.capped(cap).is_some_and(|capped| capped == **policy);
        let by_name = stem.parse().ok().and_then(|name| versions.get(&PolicyRef::new(name, version)));
        let by_hash = || versions.values().filter(|base| base.version == version).find(is_base);
        // Whatever else stands under such a name is a policy like any other, and no cap's.
        let Some(base) = by_name.filter(is_base).or_else(by_hash) else { return };
        self.of.insert(policy.reference(), DerivedFrom { base: base.reference(), cap });
        let newest = self.newest.entry(base.name.clone()).or_default().entry(cap);
        let newest = newest.or_insert_with(|| (version, Arc::clone(policy)));
        if newest.0 < version {
            *newest = (version, Arc::clone(policy));
        }
    }

    pub(super) fn from(&self, reference: &PolicyRef) -> Option<&DerivedFrom> {
        self.of.get(reference)
    }

    /// What was derived from the newest version of `base` of which anything was derived under `cap`.
    pub(super) fn newest(&self, base: &PolicyName, cap: u32) -> Option<&Arc<Policy>> {
        self.newest.get(base)?.get(&cap).map(|(_, policy)| policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicySet;

    fn premium(version: u32, max: u32) -> Policy {
        let mut policy = Policy { name: "premium".parse().unwrap(), version, ..Policy::standard() };
        policy.terms.rules[0].max = max;
        policy
    }

    #[test]
    fn a_cap_is_one_more_rule_and_gives_way_to_a_stricter_one() {
        let capped = premium(3, 4).capped(2).unwrap();
        assert_eq!(capped.reference().to_string(), "premium:3:cap:2@1");
        assert_eq!(capped.terms.rules[0], premium(3, 4).terms.rules[0]);
        assert_eq!(capped.terms.rules[1..], [Rule::of_cap(2)]);
        assert_eq!(capped.capped(1), None, "a cap is laid on a base");
        let mut own = premium(3, 4);
        own.terms.rules.push(Rule { scope: Scope::RightsHolder, max: 3, on_limit: OnLimit::DisplaceOldest });
        assert_eq!(own.capped(2).unwrap().terms.rules[1], Rule::of_cap(2));
        assert_eq!(own.capped(3), None);
    }

    #[test]
    fn any_base_has_a_name_of_its_own_under_a_cap() {
        let long = format!("{}x", "a".repeat(127));
        let mut names = std::collections::HashSet::new();
        for base in ["a", "a@b", "a.b", "a:b", &"a".repeat(128), &long] {
            let name = derived_name(&PolicyRef::new(base.parse().unwrap(), u32::MAX), 10_000).unwrap();
            assert!(is_derived(&name) && !name.as_str().contains('@'), "{name}");
            assert!(names.insert(name), "{base}");
        }
        for other in ["premium", "a:3:cap:", "a:3:cap:02", "a:x:cap:2", "a:cap:2", "cap:2"] {
            assert!(!is_derived(&other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn the_newest_version_that_has_its_cap_is_in_force_and_else_the_base() {
        let mut set = PolicySet::default();
        set.publish(premium(1, 4));
        let in_force = |set: &PolicySet, cap| {
            let base = Arc::clone(set.newest(&"premium".parse().unwrap()).unwrap());
            set.under_cap(&base, cap).reference().to_string()
        };
        assert_eq!(in_force(&set, 2), "premium@1");
        set.publish(premium(1, 4).capped(2).unwrap());
        assert_eq!((in_force(&set, 2), in_force(&set, 1)), ("premium:1:cap:2@1".into(), "premium@1".into()));
        // A version that was published and not derived from yet: the cap holds on, by the rules before.
        set.publish(premium(2, 5));
        assert_eq!(in_force(&set, 2), "premium:1:cap:2@1");
        set.publish(premium(2, 5).capped(2).unwrap());
        set.publish(premium(1, 4).capped(2).unwrap());
        assert_eq!(in_force(&set, 2), "premium:2:cap:2@1");
        let from = set.derived_from(&"premium:2:cap:2@1".parse().unwrap()).unwrap();
        assert_eq!((from.base.to_string().as_str(), from.cap), ("premium@2", 2));
    }

    #[test]
    fn what_only_looks_derived_is_no_cap() {
        let mut set = PolicySet::default();
        set.publish(premium(1, 4));
        let mut impostor = premium(1, 4).capped(2).unwrap();
        impostor.terms.rules[0].max = 100;
        set.publish(impostor.clone());
        assert_eq!(set.derived_from(&impostor.reference()), None);
        let base = Arc::clone(set.newest(&"premium".parse().unwrap()).unwrap());
        assert_eq!(set.under_cap(&base, 2), &base);
    }

    #[test]
    fn what_is_missing_is_what_the_newest_versions_lack() {
        let mut set = PolicySet::default();
        set.publish(premium(1, 4));
        set.publish(premium(2, 5));
        let missing = |set: &PolicySet| {
            let names = set.missing_under(&[1, 2].into()).into_iter().map(|policy| policy.reference().to_string());
            names.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        };
        assert_eq!(
            missing(&set),
            ["premium:2:cap:1@1", "premium:2:cap:2@1", "standard:1:cap:1@1", "standard:1:cap:2@1"]
        );
        for policy in set.missing_under(&[1].into()) {
            set.publish(policy);
        }
        assert_eq!(missing(&set), ["premium:2:cap:2@1", "standard:1:cap:2@1"]);
    }
}
