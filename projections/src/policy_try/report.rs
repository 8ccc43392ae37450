//! What came of trying a draft.

use std::time::Duration;

use pulsegate_domain::ids::{AccountId, PolicyName};
use pulsegate_domain::policy::Terms;
use pulsegate_domain::time::Timestamp;
use serde::Serialize;

use super::Question;
use super::fold::Fold;

/// Hours of a day.
pub(super) const HOURS: usize = 24;
/// Accounts that wanted this many streams at once, or more, are counted together.
pub const STREAMS_MAX: usize = 16;
/// How many of the most affected accounts are named.
pub const MOST_AFFECTED: usize = 10;

/// Sessions to which something happened: by what was in force, by the draft, by only one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sessions {
    /// By what was in force.
    pub before: u64,
    /// By the draft.
    pub after: u64,
    /// By the draft alone.
    pub added: u64,
    /// By what was in force alone.
    pub removed: u64,
}

impl Sessions {
    pub(super) fn count(&mut self, before: bool, after: bool) {
        self.before += u64::from(before);
        self.after += u64::from(after);
        self.added += u64::from(after && !before);
        self.removed += u64::from(before && !after);
    }

    fn add(&mut self, other: &Self) {
        self.before += other.before;
        self.after += other.after;
        self.added += other.added;
        self.removed += other.removed;
    }
}

/// An account to which the draft says something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AffectedAccount {
    /// Which one.
    pub account_id: AccountId,
    /// Its sessions that were told no.
    pub told_no: Sessions,
    /// Its sessions that had to make room.
    pub displaced: Sessions,
}

/// An hour of the day, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Hour {
    /// 0 to 23.
    pub hour: usize,
    /// Sessions first told no in it, by what was in force.
    pub before: u64,
    /// The same by the draft.
    pub after: u64,
}

/// How many accounts wanted so many streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Concurrency {
    /// Most streams wanted at once; the last row is this many or more.
    pub streams: usize,
    /// Accounts whose most it was.
    pub accounts: u64,
    /// Accounts that wanted more: a limit of so many would hit them.
    pub a_limit_of_it_hits: u64,
}

/// How far one partition was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AsOf {
    /// The partition of the playback topic.
    pub partition: i32,
    /// The first offset that was read, to warm up.
    pub from: i64,
    /// The offset behind the last one.
    pub next_offset: i64,
}

/// What came of trying a draft.
#[derive(Clone, Debug, Serialize)]
pub struct Tried {
    /// Of which policy the draft took the place; of every one where null.
    pub policy: Option<PolicyName>,
    /// The draft.
    pub draft: Terms,
    /// What happened from here on counts.
    pub since: Timestamp,
    /// What happened at or after this doesn't; as of [`as_of`](Self::as_of) where null.
    pub until: Option<Timestamp>,
    /// How much earlier the folds began, in milliseconds.
    pub warm_up_ms: u64,
    /// Records read, to warm up among them.
    pub records: u64,
    /// Events that count.
    pub events: u64,
    /// Records that no fold takes up.
    pub skipped: u64,
    /// Accounts that were heard of.
    pub accounts: u64,
    /// Accounts to which the draft says something else.
    pub accounts_affected: u64,
    /// Sessions that were told no at least once.
    pub told_no: Sessions,
    /// Sessions that had to make room for a newer one.
    pub displaced: Sessions,
    /// The hours of the day in which sessions were first told no.
    pub hours: Vec<Hour>,
    /// Those with the most sessions told something else, most first.
    pub most_affected: Vec<AffectedAccount>,
    /// How many streams accounts wanted at once, blocked ones that were still there among them.
    pub concurrency: Vec<Concurrency>,
    /// How far the log was read.
    pub as_of: Vec<AsOf>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

impl Tried {
    pub(super) fn of(question: &Question, mut folds: Vec<(i32, i64, Fold)>, took: Duration) -> Self {
        folds.sort_by_key(|(partition, ..)| *partition);
        let Question { terms, name, since, until, warm_up_ms } = question.clone();
        let mut tried = Self {
            policy: name,
            draft: terms,
            since,
            until,
            warm_up_ms,
            records: 0,
            events: 0,
            skipped: 0,
            accounts: 0,
            accounts_affected: 0,
            told_no: Sessions::default(),
            displaced: Sessions::default(),
            hours: (0..HOURS).map(|hour| Hour { hour, before: 0, after: 0 }).collect(),
            most_affected: Vec::new(),
            concurrency: Vec::new(),
            as_of: Vec::new(),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        };
        let mut peaks = [0; STREAMS_MAX + 1];
        for (partition, from, fold) in folds {
            tried.as_of.push(AsOf { partition, from, next_offset: fold.next_offset });
            tried.add(&fold);
            peaks.iter_mut().zip(fold.peaks()).for_each(|(sum, more)| *sum += more);
        }
        let of_account = |one: &AffectedAccount| {
            one.told_no.added + one.told_no.removed + one.displaced.added + one.displaced.removed
        };
        tried.most_affected.sort_by(|a, b| of_account(b).cmp(&of_account(a)).then(a.account_id.cmp(&b.account_id)));
        tried.most_affected.truncate(MOST_AFFECTED);
        let above = |streams: usize| peaks[streams + 1..].iter().sum();
        tried.concurrency = (0..=STREAMS_MAX)
            .map(|streams| Concurrency { streams, accounts: peaks[streams], a_limit_of_it_hits: above(streams) })
            .collect();
        tried
    }

    fn add(&mut self, fold: &Fold) {
        self.records += fold.records;
        self.events += fold.events;
        self.skipped += fold.skipped;
        self.accounts += fold.counted.len() as u64;
        for (hour, (before, after)) in self.hours.iter_mut().zip(fold.by_hour) {
            hour.before += before;
            hour.after += after;
        }
        for (account_id, counted) in &fold.counted {
            self.told_no.add(&counted.told_no);
            self.displaced.add(&counted.displaced);
            if counted.is_affected() {
                self.accounts_affected += 1;
                let (told_no, displaced) = (counted.told_no, counted.displaced);
                self.most_affected.push(AffectedAccount { account_id: account_id.clone(), told_no, displaced });
            }
        }
    }
}
