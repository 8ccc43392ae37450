//! The flush: what is new by COPY straight into the tables, what changed by way of staging tables.
//!
//! What is new is known from memory, so nothing is asked of the tables: no other worker's rows can be in the way, since
//! the batch's transaction holds the partition.

use sqlx::PgTransaction;

use super::{Changes, packs};
use crate::sinks::{Copy, Staged};

impl Changes {
    /// Nothing is changed yet.
    pub(super) const fn none() -> Self {
        Self {
            touched: Vec::new(),
            new_sessions: Copy::new(
                "copy sessions (partition, first_offset, account_id, session_id, title_id, territory, state)
                 from stdin (format binary)",
                7,
            ),
            new_facts: Copy::new(
                "copy facts (partition, first_offset, place, account_id, title_id, day, territory, device_class,
                             before_ms, watched_ms, aged_ms, content_ms, played, intervals, seen, state)
                 from stdin (format binary)",
                16,
            ),
            changed_sessions: Staged::new(
                "create temporary table if not exists licensing_v4_changed_sessions
                   (partition int, first_offset bigint, account_id text, session_id uuid, title_id text,
                    territory text, state json)
                 on commit delete rows",
                "copy pg_temp.licensing_v4_changed_sessions from stdin (format binary)",
                7,
                "update sessions set title_id = changed.title_id, territory = changed.territory, state = changed.state
                 from pg_temp.licensing_v4_changed_sessions changed
                 where sessions.partition = changed.partition and sessions.first_offset = changed.first_offset",
            ),
            changed_facts: Staged::new(
                "create temporary table if not exists licensing_v4_changed_facts
                   (partition int, first_offset bigint, place int, account_id text, title_id text, day date,
                    territory text, device_class text, before_ms bigint, watched_ms bigint, aged_ms bigint, content_ms bigint,
                    played boolean, intervals int8multirange, seen int8multirange, state json)
                 on commit delete rows",
                "copy pg_temp.licensing_v4_changed_facts from stdin (format binary)",
                16,
                "update facts set watched_ms = changed.watched_ms, aged_ms = changed.aged_ms,
                                  content_ms = changed.content_ms, played = changed.played,
                                  intervals = changed.intervals, seen = changed.seen, state = changed.state
                 from pg_temp.licensing_v4_changed_facts changed
                 where facts.partition = changed.partition and facts.first_offset = changed.first_offset
                   and facts.place = changed.place",
            ),
            noted: Vec::new(),
        }
    }
}

pub(super) async fn flush(changes: Changes, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
    changes.new_sessions.send(tx).await?;
    changes.new_facts.send(tx).await?;
    changes.changed_sessions.send(tx).await?;
    changes.changed_facts.send(tx).await?;
    // Behind the facts: see there.
    packs::note(changes.noted, tx).await
}
