//! What is wrong with a request's body.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most mistakes of one body that are told: whoever makes more makes them by machine.
pub const PROBLEMS_TOLD_MAX: usize = 100;

/// One thing that is wrong, with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldProblem {
    /// JSON pointer into the body, or into the item of a batch.
    pub pointer: String,
    /// What is wrong, as a phrase behind the place.
    pub detail: String,
}

impl FieldProblem {
    /// A problem at `pointer`.
    #[must_use]
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

impl fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.pointer.is_empty() {
            write!(f, "{} ", self.pointer)?;
        }
        f.write_str(&self.detail)
    }
}

/// Every problem in one line.
#[must_use]
pub fn in_one_line(problems: &[FieldProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The first of them, and how many more there are.
pub(crate) fn bounded(mut problems: Vec<FieldProblem>) -> Vec<FieldProblem> {
    let more = problems.len().saturating_sub(PROBLEMS_TOLD_MAX);
    if more > 0 {
        problems.truncate(PROBLEMS_TOLD_MAX);
        problems.push(FieldProblem::new("", format!("has at least {more} mistakes more")));
    }
    problems
}

/// Why a body is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    /// Not JSON, or JSON that two readers may read differently: text that is not UTF-8, a key that stands
    /// twice in an object, something behind the end, more than 64 levels.
    #[error("not JSON: {detail}")]
    NotJson {
        /// What is wrong and where.
        detail: String,
    },
    /// Well-formed but wrong: everything that is, at once.
    #[error("invalid: {}", in_one_line(.0))]
    Invalid(Vec<FieldProblem>),
}
