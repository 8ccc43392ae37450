//! Every version of every policy, as folds look them up.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::derived::{DerivedFrom, DerivedSet};
use super::{Policy, PolicyRef, standard_name};
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
}
