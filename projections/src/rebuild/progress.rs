//! How far a rebuild is, for whoever shows it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::runner::Source;

/// What a rebuild is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It is looking what there is to do.
    #[default]
    Planning,
    /// It folds the log into tables that are not logged and have no indexes for readers.
    Filling,
    /// It makes the tables safe and then the indexes.
    Indexing,
    /// It follows the log until it has caught up.
    CatchingUp,
    /// Nothing more.
    Done,
}

impl Phase {
    /// As the tables and answers say it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planning => "planning",
            Self::Filling => "filling",
            Self::Indexing => "indexing",
            Self::CatchingUp => "catching_up",
            Self::Done => "done",
        }
    }
}

/// How far one partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionProgress {
    /// Where this run found it; for a build that begins, where the log begins.
    pub began_at: i64,
    /// Every record before this offset is folded; what is [gathered](crate::runner::Projection::gathers) may not be
    /// committed yet.
    pub next_offset: i64,
    /// Where it ends, as far as is known.
    pub end: i64,
    /// Whether a worker has taken it up.
    pub begun: bool,
    /// Whether it is read to its end.
    pub done: bool,
}

/// How far a rebuild is. Shared by those who work and whoever shows it.
#[derive(Debug, Default)]
pub struct Progress(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    build: String,
    partitions: BTreeMap<(&'static str, i32), PartitionProgress>,
}

impl Progress {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is being done.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.state().phase
    }

    /// The build that is worked on; empty before that is known.
    #[must_use]
    pub fn build(&self) -> String {
        self.state().build.clone()
    }

    /// Every partition, by topic and number.
    #[must_use]
    pub fn partitions(&self) -> Vec<((&'static str, i32), PartitionProgress)> {
        self.state().partitions.iter().map(|(source, progress)| (*source, *progress)).collect()
    }

    pub(crate) fn enters(&self, phase: Phase) {
        self.state().phase = phase;
    }

    pub(crate) fn works_on(&self, build: &str) {
        build.clone_into(&mut self.state().build);
    }

    pub(crate) fn plans(&self, source: Source, began_at: i64, end: i64) {
        let key = (source.topic.base_name(), source.partition);
        let known = PartitionProgress { began_at, next_offset: began_at, end, begun: false, done: false };
        let mut state = self.state();
        let partition = state.partitions.entry(key).or_insert(known);
        partition.end = partition.end.max(end);
        partition.done = partition.next_offset >= partition.end;
    }

    pub(crate) fn stands(&self, source: Source, next_offset: i64) {
        self.update(source, |partition| {
            partition.begun = true;
            partition.next_offset = partition.next_offset.max(next_offset);
            partition.end = partition.end.max(next_offset);
        });
    }

    pub(crate) fn is_done(&self, source: Source, next_offset: i64) {
        self.update(source, |partition| {
            partition.next_offset = partition.next_offset.max(next_offset);
            partition.end = partition.next_offset;
            partition.begun = true;
            partition.done = true;
        });
    }

    fn update(&self, source: Source, change: impl FnOnce(&mut PartitionProgress)) {
        if let Some(partition) = self.state().partitions.get_mut(&(source.topic.base_name(), source.partition)) {
            change(partition);
        }
    }
}
