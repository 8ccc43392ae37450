//! What a server or a person may do.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// What a key or a person may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Send what licence servers, delivery networks and manifest servers saw.
    Signals,
    /// Speak for players of any account, and send what people did.
    Ingest,
    /// Read reports, statements, the clickstream and the catalog.
    ReportsRead,
    /// Close and restate statements.
    ReportsClose,
    /// Change policies, entitlements, titles, rights holders and contracts.
    PoliciesWrite,
    /// See how the service stands, look into accounts, evict.
    Operate,
}

/// A word that is no scope.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no scope: there are signals, ingest, reports:read, reports:close, policies:write, operate")]
pub struct UnknownScope(String);

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 6] =
        [Self::Signals, Self::Ingest, Self::ReportsRead, Self::ReportsClose, Self::PoliciesWrite, Self::Operate];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signals => "signals",
            Self::Ingest => "ingest",
            Self::ReportsRead => "reports:read",
            Self::ReportsClose => "reports:close",
            Self::PoliciesWrite => "policies:write",
            Self::Operate => "operate",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

/// Some scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Every scope.
    pub const ALL: Self = Self(u8::MAX >> 2);

    /// Whether one of them is among these.
    #[must_use]
    pub fn hold_one_of(self, wanted: &[Scope]) -> bool {
        wanted.iter().any(|scope| self.0 & scope.bit() != 0)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.0 & scope.bit() != 0)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl Extend<Scope> for Scopes {
    fn extend<I: IntoIterator<Item = Scope>>(&mut self, scopes: I) {
        self.0 |= scopes.into_iter().collect::<Self>().0;
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.iter().map(Scope::as_str).collect();
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scope_is_read_as_it_is_written_and_told_from_the_others() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse(), Ok(scope));
            let alone: Scopes = [scope].into_iter().collect();
            assert_eq!(alone.iter().collect::<Vec<_>>(), [scope]);
            assert!(Scopes::ALL.hold_one_of(&[scope]));
        }
        assert!("reports".parse::<Scope>().unwrap_err().to_string().contains("reports:read"));
        assert_eq!(Scopes::ALL.iter().count(), Scope::ALL.len());
        assert!(!Scopes::default().hold_one_of(&Scope::ALL));
    }
}
