//! What each role of the provider may do here.

use std::collections::BTreeMap;
use std::str::FromStr;

use thiserror::Error;

use crate::scope::{Scope, Scopes, UnknownScope};

/// Scopes by role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles(BTreeMap<String, Scopes>);

/// A text that says nothing of roles.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoRoles {
    /// Not `role=scope+scope`.
    #[error("must be role=scope+scope by comma, or role=* for every scope")]
    Form,
    /// A word that is no scope.
    #[error("must name scopes: {0}")]
    Scope(#[from] UnknownScope),
}

impl FromStr for Roles {
    type Err = NoRoles;

    /// Reads `admin=*,finance=reports:read+reports:close`.
    fn from_str(text: &str) -> Result<Self, NoRoles> {
        let mut roles = BTreeMap::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (role, scopes) = pair.split_once('=').filter(|(role, _)| !role.is_empty()).ok_or(NoRoles::Form)?;
            let scopes = if scopes == "*" {
                Scopes::ALL
            } else {
                scopes.split('+').map(Scope::from_str).collect::<Result<Scopes, _>>()?
            };
            roles.insert(role.to_owned(), scopes);
        }
        Ok(Self(roles))
    }
}

impl Roles {
    /// What somebody with these roles may do: a text, by space, or a list of texts.
    #[must_use]
    pub fn scopes(&self, claim: &serde_json::Value) -> Scopes {
        let mut scopes = Scopes::default();
        let mut take = |role: &str| scopes.extend(self.0.get(role).copied().unwrap_or_default().iter());
        match claim {
            serde_json::Value::String(roles) => roles.split_whitespace().for_each(take),
            serde_json::Value::Array(roles) => roles.iter().filter_map(|role| role.as_str()).for_each(&mut take),
            _ => {}
        }
        scopes
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn roles_add_up_and_unknown_ones_give_nothing() {
        let roles: Roles = "admin=*, finance=reports:read+reports:close,desk=operate".parse().unwrap();
        let scopes = |claim| roles.scopes(&claim).to_string();
        assert_eq!(scopes(json!(["finance", "desk", "cook"])), "reports:read reports:close operate");
        assert_eq!(scopes(json!("desk cook")), "operate");
        assert_eq!(roles.scopes(&json!(["admin"])), Scopes::ALL);
        for nothing in [json!(null), json!([]), json!(7), json!(["Admin"]), json!({"admin": true})] {
            assert!(roles.scopes(&nothing).is_empty());
        }
        assert_eq!("admin".parse::<Roles>(), Err(NoRoles::Form));
        assert!(matches!("admin=everything".parse::<Roles>(), Err(NoRoles::Scope(_))));
        assert_eq!("".parse::<Roles>(), Ok(Roles::default()));
    }
}
