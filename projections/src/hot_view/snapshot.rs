//! What a view starts from: sessions and offsets, as the read model has them at one moment.

use std::collections::HashMap;

use pulsegate_domain::account::{Account, SessionState};
use pulsegate_domain::ids::AccountId;
use pulsegate_domain::time::Timestamp;
use rdkafka::Offset;

/// What a view may start from.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// `(partition, next offset, clock)`; a partition that is left out is folded from its beginning.
    pub partitions: Vec<(i32, i64, Timestamp)>,
    /// `(partition, account, session)`.
    pub sessions: Vec<(i32, AccountId, SessionState)>,
}

/// One partition of a snapshot.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) next_offset: i64,
    pub(super) clock: Timestamp,
    pub(super) accounts: Vec<(AccountId, Account)>,
}

impl Default for Part {
    fn default() -> Self {
        Self { next_offset: 0, clock: Timestamp::MIN, accounts: Vec::new() }
    }
}

impl Part {
    /// From where the log is read on.
    pub(super) const fn offset(&self) -> Offset {
        if self.next_offset == 0 { Offset::Beginning } else { Offset::Offset(self.next_offset) }
    }
}

impl Snapshot {
    pub(super) fn by_partition(self) -> HashMap<i32, Part> {
        let mut parts: HashMap<i32, Part> = HashMap::new();
        for (partition, next_offset, clock) in self.partitions {
            parts.insert(partition, Part { next_offset, clock, accounts: Vec::new() });
        }
        let mut accounts: HashMap<(i32, AccountId), Vec<SessionState>> = HashMap::new();
        for (partition, account, session) in self.sessions {
            accounts.entry((partition, account)).or_default().push(session);
        }
        for ((partition, id), sessions) in accounts {
            if let Some(part) = parts.get_mut(&partition) {
                part.accounts.push((id, Account::from_sessions(sessions)));
            }
        }
        parts
    }
}
