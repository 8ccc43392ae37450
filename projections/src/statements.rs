//! Licensing statements: what was used, what is due for it, closed so that it stands, and checked by anybody.
//!
//! A statement is about a period and perhaps one rights holder. While it is *provisional* it is made anew from the read
//! models each time. Closing pins the offsets that it is as of and keeps its rows for ever, with a hash over both. What
//! arrives later becomes the signed rows of a restatement: what it then says is the sum of all rows up to it. Anybody with
//! the log can fold it again up to the same offsets ([`recount`]), by another way than the read models take.

mod agreements;
mod assemble;
mod canonical;
mod caught_up;
mod closing;
mod drill;
pub mod export;
mod lines;
mod packed;
mod page;
mod provisional;
mod recent;
mod recount;
mod rows;
mod stored;
mod verify;
mod watched;

use chrono::{DateTime, Utc};
use pulsegate_domain::contract::ContractDue;
use pulsegate_domain::event::{Change, ChangeNoted};
use pulsegate_domain::ids::RightsHolderId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

pub use agreements::Agreements;
pub use caught_up::{LAG_WAIT, caught_up};
pub use closing::{Closed, close, restate};
pub use drill::{Beat, Beats, SessionBehind, SessionsQuestion, beats, sessions_behind};
pub use page::{Largest, RowTotals, Selection, StatementPage, page};
pub use provisional::provisional;
pub use recent::Recent;
pub use recount::{RecountError, recount};
pub use rows::{FIGURES, Figures, Key, Row};
pub use stored::{Listed, Rows, added, find, list};
pub use verify::{Difference, Verdict, compare, verify, verify_file};

use crate::live::{AsOf, ReadError};
use crate::period::Period;

/// Most rows of one statement.
pub const ROWS_MAX: usize = 1_000_000;

/// How late a heartbeat may come: so long after its end a period should not be closed, in days.
pub const LATE_DAYS: u64 = 7;

/// Which statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Which days.
    pub period: Period,
    /// To whom; everybody where absent.
    pub rights_holder: Option<RightsHolderId>,
}

impl About {
    /// The rights holder as a column holds it: an id is never empty, so '' stands for everybody.
    pub(crate) fn holder(&self) -> &str {
        self.rights_holder.as_ref().map_or("", RightsHolderId::as_str)
    }

    /// The name of a file about it, without an ending.
    #[must_use]
    pub fn file_name(&self, revision: u32) -> String {
        let holder = self.rights_holder.as_ref().map_or("all", RightsHolderId::as_str);
        // An id may hold a colon, which some file systems don't take.
        format!("statement_{}_{}_r{revision}", self.period, holder.replace(':', "-"))
    }
}

/// How final a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Made anew each time.
    Provisional,
    /// As it was closed.
    Closed,
    /// As it was after what arrived later.
    Restated,
}

impl State {
    /// The state of a revision; 0 is none yet.
    #[must_use]
    pub const fn of(revision: u32) -> Self {
        match revision {
            0 => Self::Provisional,
            1 => Self::Closed,
            _ => Self::Restated,
        }
    }

    /// The word as it stands in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provisional => "provisional",
            Self::Closed => "closed",
            Self::Restated => "restated",
        }
    }
}

/// Everything of a statement but its rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Head {
    /// The period, as it was asked for.
    pub period: String,
    /// To whom; `null`: everybody.
    pub rights_holder_id: Option<String>,
    /// 0: provisional; 1: as it was closed; from 2 on restatements.
    pub revision: u32,
    /// In a word.
    pub state: State,
    /// When it was closed or restated.
    pub closed_at: Option<DateTime<Utc>>,
    /// SHA-256 over its canonical text (docs/statements.md), in hexadecimal.
    pub sha256: String,
    /// That of the revision before.
    pub previous_sha256: Option<String>,
    /// Every record before or at these offsets is in it.
    pub as_of: Vec<AsOf>,
    /// Watched of everything in the period by anybody: what a part of a pool is a part of.
    pub service_watched_ms: i64,
    /// The contracts that it rests on, with what is due under each.
    pub contracts: Vec<OfContract>,
    /// What could not be told.
    pub problems: Vec<Trouble>,
}

impl Head {
    /// What is noted of it for whoever asks who changed what.
    #[must_use]
    pub fn noted(&self, change: Change) -> ChangeNoted {
        let whose = self.rights_holder_id.as_ref().map(|holder| format!(" of {holder}")).unwrap_or_default();
        let detail = format!("revision {}{whose}, sha256 {}", self.revision, self.sha256);
        ChangeNoted { change, subject: self.period.clone(), detail: Some(detail) }
    }
}

/// A contract in a statement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OfContract {
    /// Which.
    pub contract_id: String,
    /// With whom.
    pub rights_holder_id: String,
    /// How often it had been changed.
    pub version: u32,
    /// Its words, as they stand in the catalog.
    pub contract: Box<RawValue>,
    /// What is due; `null` where it says nothing of money.
    pub due: Option<OfDue>,
}

/// What is due under a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfDue {
    /// ISO 4217.
    pub currency: String,
    /// The rounded lines and monthly parts, summed: a decimal.
    pub sum_of_rounded: String,
    /// Their exact sum, rounded once.
    pub rounded_sum: String,
    /// What is due, no less than the guarantee.
    pub amount: String,
    /// What belongs to no row, step by step.
    pub working: serde_json::Value,
}

impl From<&ContractDue> for OfDue {
    fn from(due: &ContractDue) -> Self {
        Self {
            currency: due.currency.code().to_owned(),
            sum_of_rounded: due.sum_of_rounded.to_string(),
            rounded_sum: due.rounded_sum.to_string(),
            amount: due.amount.to_string(),
            // A list of numbers and texts is always JSON.
            working: serde_json::to_value(&due.working).unwrap_or_default(),
        }
    }
}

/// Why an amount can't be told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Trouble {
    /// Under which contract.
    pub contract_id: String,
    /// For which title, where it is about one.
    pub title_id: Option<String>,
    /// Why.
    pub detail: String,
}

/// A statement whose rows are all at hand.
#[derive(Clone, Debug)]
pub struct Statement {
    /// All else.
    pub head: Head,
    /// In the order of their keys.
    pub rows: Vec<Row>,
}

/// Why a statement can't be had, closed or restated.
#[derive(Debug, Error)]
pub enum StatementError {
    /// The read models can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The live licensing tables have no class of device yet.
    #[error(
        "licensing_v1 is live, which knows no class of device: run `pulsegate projection rebuild licensing`, then switch"
    )]
    OldLicensing,
    /// No licensing tables are live.
    #[error("no build of licensing is live: run `pulsegate migrate`")]
    NothingLive,
    /// Without the newest contract a statement would be wrong and look right.
    #[error("the catalog has not been read to its end")]
    CatalogAway,
    /// The read models stand before what was closed.
    #[error(
        "the read models stand before the offsets that the statement must be as of; wait until they have caught up"
    )]
    Backwards,
    /// The log can't be read.
    #[error("the log can't be read: {0}")]
    LogAway(String),
    /// One read model is behind the other.
    #[error("active_sessions is behind licensing; try again in a moment")]
    Behind,
    /// The read model hasn't folded yet what may belong to the period.
    #[error(
        "licensing is {records} records behind the log, in {partitions} partitions; what is closed now would lack them"
    )]
    Lagging {
        /// In all of them.
        records: i64,
        /// How many partitions.
        partitions: usize,
    },
    /// It is closed.
    #[error("the statement of {0} is closed already; what arrived since is a restatement")]
    ClosedAlready(String),
    /// It isn't.
    #[error("the statement of {0} is not closed yet")]
    NotClosed(String),
    /// There is no such revision.
    #[error("the statement of {0} has no revision {1}")]
    NoRevision(String, u32),
    /// Heartbeats may still come.
    #[error("heartbeats of {0} may come until {1}; closed earlier, they would be a restatement")]
    TooEarly(String, chrono::NaiveDate),
    /// Records that may belong to it could not be folded.
    #[error(
        "{} records that may belong to it are parked: {}; settle them with `pulsegate dead-letters retry` or `skip`",
        .0.len(), told(.0)
    )]
    Parked(Vec<String>),
    /// An amount can't be told.
    #[error("{} amounts can't be told: {}", .0.len(), told(.0))]
    Incomplete(Vec<Trouble>),
    /// Somebody waits for it already, or nobody any more.
    #[error("it is being made, which takes longer than anybody is kept waiting; ask again in a moment")]
    Making,
    /// Its rows don't fit.
    #[error("it has more than 1 000 000 rows; make one for each rights holder")]
    TooLong,
    /// The thread that made it has died.
    #[error("it could not be made: {0}")]
    Unmade(String),
    /// A file of it can't be written.
    #[error("it can't be written: {0}")]
    Unwritten(String),
    /// What was kept can't be read.
    #[error("what was kept of it can't be read: {0}")]
    Kept(String),
}

impl From<sqlx::Error> for StatementError {
    fn from(error: sqlx::Error) -> Self {
        Self::Read(error.into())
    }
}

/// Most troubles that one line tells.
const TOLD_MAX: usize = 5;

fn told(troubles: &[impl ToString]) -> String {
    let mut lines: Vec<_> = troubles.iter().take(TOLD_MAX).map(ToString::to_string).collect();
    if troubles.len() > TOLD_MAX {
        lines.push(format!("and {} more", troubles.len() - TOLD_MAX));
    }
    lines.join("; ")
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "contract {}: ", self.contract_id)?;
        if let Some(title) = &self.title_id {
            write!(f, "title {title}: ")?;
        }
        f.write_str(&self.detail)
    }
}
