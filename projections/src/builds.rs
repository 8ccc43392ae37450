//! Builds: the tables of a projection, once or several times beside each other.
//!
//! A build has a schema of its own, which is also its name: `licensing_v2` is the first build of version
//! 2, `licensing_v2_r3` its third. Its offsets and dead letters are its own, too. Of one projection one
//! build is live: readers see it through views that keep their names.

mod choice;
mod control;
mod follow;
pub(crate) mod history;
mod meet;
pub(crate) mod tables;

use std::fmt;
use std::sync::Arc;

use crate::registry::Registered;

pub(crate) use choice::Choice;
pub use choice::ChoiceError;
pub use control::{ControlError, pause, resume, retire};
pub use follow::follow;
pub use meet::MeetError;
pub(crate) use meet::meet;

/// One build of a projection, as whoever folds or reads it needs it.
#[derive(Clone, Debug)]
pub struct Build {
    registered: &'static Registered,
    schema: Arc<str>,
}

impl Build {
    /// The first build of a version.
    #[must_use]
    pub fn first(registered: &'static Registered) -> Self {
        Self::numbered(registered, 1)
    }

    /// The `number`th build of a version, counted from 1.
    #[must_use]
    pub fn numbered(registered: &'static Registered, number: i32) -> Self {
        let schema = if number == 1 { registered.to_string() } else { format!("{registered}_r{number}") };
        Self { registered, schema: schema.into() }
    }

    /// The build of a name that the database says is one of this version.
    #[must_use]
    pub fn named(registered: &'static Registered, schema: &str) -> Self {
        Self { registered, schema: schema.into() }
    }

    /// What it is a build of.
    #[must_use]
    pub const fn registered(&self) -> &'static Registered {
        self.registered
    }

    /// Its schema, a plain identifier: its name.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.schema)
    }
}

/// What a build is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Readers see it.
    Live,
    /// A rebuild works on it.
    Building,
    /// It is kept current beside the live one.
    Shadow,
    /// A shadow that was compared with the live one and found to be the same.
    Verified,
    /// Nobody folds it any more.
    Retired,
    /// Its rebuild can't go on.
    Failed,
    /// It holds the log up to some time, and no more ever.
    Copy,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 7] =
        [Self::Live, Self::Building, Self::Shadow, Self::Verified, Self::Retired, Self::Failed, Self::Copy];

    /// As the tables and answers say it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Building => "building",
            Self::Shadow => "shadow",
            Self::Verified => "verified",
            Self::Retired => "retired",
            Self::Failed => "failed",
            Self::Copy => "copy",
        }
    }

    /// Whether runners keep it current.
    #[must_use]
    pub const fn is_followed(self) -> bool {
        match self {
            Self::Live | Self::Shadow | Self::Verified => true,
            Self::Building | Self::Retired | Self::Failed | Self::Copy => false,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A state that this version doesn't know.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no state of a build")]
pub struct UnknownState(String);

impl std::str::FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| UnknownState(text.to_owned()))
    }
}
