//! Every version of every policy, as folds look them up.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::derived::{DerivedFrom, DerivedSet};
use super::{Policy, PolicyRef, Terms, standard_name};
use crate::ids::PolicyName;

/// Every version of every policy, as of a place in the catalog.
#[derive(Clone, Debug)]
pub struct PolicySet {
    versions: HashMap<PolicyRef, Arc<Policy>, foldhash::fast::RandomState>,
    newest: HashMap<PolicyName, Arc<Policy>>,
    derived: DerivedSet,
}

impl Default for PolicySet {
    fn default() -> Self {
        let mut set = Self { versions: HashMap::default(), newest: HashMap::new(), derived: DerivedSet::default() };
        set.publish(Policy::standard());
        set
    }
}

impl PolicySet {
    /// Takes up a published version. The first record of a `name@version` counts: a later one changes
    /// nothing and returns `false`.
    pub fn publish(&mut self, policy: Policy) -> bool {
        let reference = policy.reference();
        if self.versions.contains_key(&reference) {
            return false;
        }
        let policy = Arc::new(policy);
        self.versions.insert(reference, Arc::clone(&policy));
        self.derived.take_up(&policy, &self.versions);
        let newest = self.newest.entry(policy.name.clone()).or_insert_with(|| Arc::clone(&policy));
        if newest.version < policy.version {
            *newest = policy;
        }
        true
    }

    /// The version that an event names.
    #[must_use]
    pub fn get(&self, reference: &PolicyRef) -> Option<&Arc<Policy>> {
        self.versions.get(reference)
    }

    /// The newest version of a name.
    #[must_use]
    pub fn newest(&self, name: &PolicyName) -> Option<&Arc<Policy>> {
        self.newest.get(name)
    }

    /// The newest `standard`, for accounts without entitlement.
    #[must_use]
    pub fn standard(&self) -> &Arc<Policy> {
        &self.newest[&standard_name()]
    }

    /// What is stamped where `base` is in force and a contract caps the title's rights holder: the newest version of
    /// its name that was derived from under this cap, else `base` itself.
    #[must_use]
    pub fn under_cap<'a>(&'a self, base: &'a Arc<Policy>, cap: u32) -> &'a Arc<Policy> {
        if !base.terms.lets_more_than(cap) {
            return base;
        }
        self.derived.newest(&base.name, cap).unwrap_or(base)
    }

    /// What a version was derived from, if a cap made it.
    #[must_use]
    pub fn derived_from(&self, reference: &PolicyRef) -> Option<&DerivedFrom> {
        self.derived.from(reference)
    }

    /// What is yet to be published, so that each of `caps` can be laid on the newest version of every policy.
    #[must_use]
    pub fn missing_under(&self, caps: &BTreeSet<u32>) -> Vec<Policy> {
        let derived = self.newest.values().flat_map(|base| caps.iter().filter_map(|cap| base.capped(*cap)));
        derived.filter(|policy| !self.versions.contains_key(&policy.reference())).collect()
    }

    /// The same versions with other terms: those of one name, or all. What events name, they still name; what it
    /// says is another thing. Where a contract's cap was laid on a version, it is laid on the other terms.
    #[must_use]
    pub fn with_terms(&self, name: Option<&PolicyName>, terms: &Terms) -> Self {
        let replaced = |policy: &Arc<Policy>| {
            let from = self.derived.from(&policy.reference());
            let of = from.map_or(&policy.name, |from| from.base.name());
            if name.is_some_and(|name| name != of) {
                return Arc::clone(policy);
            }
            let capped = from.and_then(|from| terms.capped(from.cap));
            Arc::new(Policy { terms: capped.unwrap_or_else(|| terms.clone()), ..Policy::clone(policy) })
        };
        Self {
            versions: self.versions.iter().map(|(reference, policy)| (reference.clone(), replaced(policy))).collect(),
            newest: self.newest.iter().map(|(name, policy)| (name.clone(), replaced(policy))).collect(),
            derived: self.derived.clone(),
        }
    }

    /// All versions, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.versions.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_of_a_version_counts() {
        let mut set = PolicySet::default();
        let mut other = Policy::standard();
        other.terms.rules[0].max = 9;
        assert!(!set.publish(other.clone()));
        assert_eq!(set.standard().terms.rules[0].max, 2);
        other.version = 2;
        assert!(set.publish(other));
        assert_eq!(set.standard().version, 2);
    }

    #[test]
    fn other_terms_stand_under_the_old_names_and_a_cap_on_them() {
        let (mut set, mut premium) = (PolicySet::default(), Policy::standard());
        premium.name = "premium".parse().unwrap();
        set.publish(premium.clone());
        set.publish(premium.capped(1).unwrap());
        let mut terms = premium.terms.clone();
        terms.rules[0].max = 9;
        let maxima = |set: &PolicySet, name: &str| -> Vec<u32> {
            set.get(&name.parse().unwrap()).unwrap().terms.rules.iter().map(|rule| rule.max).collect()
        };
        let one = set.with_terms(Some(&premium.name), &terms);
        assert_eq!((maxima(&one, "premium@1"), maxima(&one, "standard@1")), (vec![9], vec![2]));
        assert_eq!(maxima(&one, "premium:1:cap:1@1"), [9, 1]);
        assert_eq!(one.newest(&premium.name).unwrap().terms, terms);
        let all = set.with_terms(None, &terms);
        assert_eq!((maxima(&all, "premium@1"), maxima(&all, "standard@1")), (vec![9], vec![9]));
    }
}
