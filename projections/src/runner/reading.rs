//! Records as a fold reads them: those of the forgotten under a veil, what was sealed opened.
//!
//! No projection knows of either. So whatever folds the log, today or in years, shows no trace of somebody who was
//! forgotten before.

use std::collections::HashMap;

use pulsegate_domain::event::SealedRef;
use pulsegate_domain::time::Timestamp;
use pulsegate_domain::topic::Topic;
use pulsegate_privacy::{Forgotten, KeyError, UNTOLD, Veil};
use sqlx::PgPool;

use super::record::{Letter, Poison, Record};

/// What some records are read as, where that isn't what they are.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    veil: Option<Veil>,
    /// By their offset, and whether the record itself may not be kept anywhere.
    instead: HashMap<i64, (Record, bool), foldhash::fast::RandomState>,
}

impl Readings {
    /// Looks at records of one partition of `topic`, and asks for the keys of what is sealed.
    pub(crate) async fn of(
        records: &[Record],
        topic: Topic,
        forgotten: &Forgotten,
        pool: &PgPool,
    ) -> Result<Self, KeyError> {
        let mut readings = Self { veil: forgotten.veil(), instead: HashMap::default() };
        if readings.veil.is_none() && topic != Topic::Clickstream {
            return Ok(readings);
        }
        let mut sealed = Vec::new();
        for record in records {
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            if let Some(veiled) = readings.veil.as_ref().and_then(|veil| veil.over_record(topic, key, value)) {
                let (key, value) = (veiled.key.map(Into::into), veiled.value.map(Into::into));
                readings.instead.insert(record.offset, (Record { key, value, ..record.clone() }, true));
            } else if topic == Topic::Clickstream
                && let Some(event) = value.and_then(SealedRef::read)
            {
                sealed.push((record, event));
            }
        }
        if sealed.is_empty() {
            return Ok(readings);
        }
        let mut connection = pool.acquire().await?;
        let keys = forgotten.keys_of(sealed.iter().map(|(_, event)| event.account_id()), &mut connection).await?;
        for (record, event) in sealed {
            let account = event.account_id();
            // Without its key it says what it says without what was written: so does every later reading of it.
            let opened = keys.get(account).and_then(|key| key.open(account.as_str(), event.sealed()));
            let value = Some(event.opened(opened.as_deref().unwrap_or("{}")).into());
            readings.instead.insert(record.offset, (Record { value, ..record.clone() }, false));
        }
        Ok(readings)
    }

    /// What a record is read as.
    pub(crate) fn read<'a>(&'a self, record: &'a Record) -> &'a Record {
        self.instead.get(&record.offset).map_or(record, |(read, _)| read)
    }

    /// How many were forgotten when it was read.
    pub(crate) fn forgotten(&self) -> usize {
        self.veil.as_ref().map_or(0, Veil::len)
    }

    /// A record that isn't folded, as it is kept: what was sealed stays so.
    pub(crate) fn letter(&self, record: &Record, clock: Timestamp, poison: Poison, behind: Option<i64>) -> Letter {
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let kept = match self.instead.get(&record.offset) {
            Some((veiled, true)) => Some(veiled.clone()),
            _ => self.veil.as_ref().and_then(|veil| veil.over_letter(key, value)).map(|kept| {
                let (key, value) = (kept.key.map(Into::into), kept.value.map(Into::into));
                Record { key, value, ..record.clone() }
            }),
        };
        let Some(kept) = kept else { return Letter { record: record.clone(), clock, poison, behind } };
        let poison = match poison {
            Poison::Skip(_) => Poison::skip(UNTOLD),
            // It is looked at once more when it is tried again.
            Poison::Park(error) => Poison::Park(error),
        };
        Letter { record: Record { headers: Vec::new(), ..kept }, clock, poison, behind }
    }
}
