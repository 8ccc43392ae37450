//! Provisional statements that took long to make, kept for a while for whoever asks next.
//!
//! One that is made within a quarter of a second is made anew for everybody. A larger one is answered again as of the offsets that it
//! says, for ten times as long as it took and no longer than ten minutes; who asks later still gets it, while the next one
//! is being made. Nobody makes one twice at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{About, ROWS_MAX, Statement, StatementError};

/// What is made within this time is not kept.
const QUICK: Duration = Duration::from_millis(250);
/// For how many times as long as it took one is as good as new.
const FRESH_TIMES: u32 = 10;
/// For how long at most one is as good as new.
const FRESH_MAX: Duration = Duration::from_mins(10);
/// For how long one is answered at all.
const KEPT_MAX: Duration = Duration::from_hours(1);
/// How long somebody waits for one that nobody has made yet.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// Most rows that are kept of all statements together.
const KEPT_ROWS_MAX: usize = ROWS_MAX;

/// The statements that are kept; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    slots: Arc<Mutex<HashMap<Key, Slot>>>,
}

type Key = (String, String);
/// A statement, or why it can't be had, for everybody who waits for it.
type Shared = Result<Arc<Statement>, Arc<StatementError>>;
type Outcome = Option<Shared>;

#[derive(Debug, Default)]
struct Slot {
    made: Option<Made>,
    making: Option<watch::Receiver<Outcome>>,
}

#[derive(Clone, Debug)]
struct Made {
    statement: Arc<Statement>,
    at: Instant,
    took: Duration,
}

impl Made {
    fn is_fresh(&self) -> bool {
        self.at.elapsed() < (self.took * FRESH_TIMES).min(FRESH_MAX)
    }
}

impl Recent {
    /// A provisional statement: one that is kept, or the one that `make` makes.
    pub async fn get<Making>(&self, about: &About, make: impl FnOnce() -> Making + Send) -> Shared
    where
        Making: Future<Output = Result<Statement, StatementError>> + Send + 'static,
    {
        let key = (about.period.to_string(), about.holder().to_owned());
        let mut outcome = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let slot = slots.entry(key.clone()).or_default();
            slot.made.take_if(|made| made.at.elapsed() >= KEPT_MAX);
            if let Some(made) = slot.made.as_ref().filter(|made| made.is_fresh()) {
                return Ok(made.statement.clone());
            }
            let making = match &slot.making {
                // One whose maker is gone will never be done.
                Some(making) if making.has_changed().is_ok() => making.clone(),
                _ => slot.making.insert(self.begin(key, make())).clone(),
            };
            if let Some(made) = &slot.made {
                return Ok(made.statement.clone());
            }
            making
        };
        let done = tokio::time::timeout(WAIT_MAX, outcome.wait_for(Option::is_some)).await;
        let outcome = done.ok().and_then(Result::ok).and_then(|outcome| outcome.clone());
        outcome.unwrap_or_else(|| Err(Arc::new(StatementError::Making)))
    }

    /// Makes one on a task of its own: who asked for it may go away.
    fn begin<Making>(&self, key: Key, making: Making) -> watch::Receiver<Outcome>
    where
        Making: Future<Output = Result<Statement, StatementError>> + Send + 'static,
    {
        let (told, outcome) = watch::channel(None);
        let recent = self.clone();
        tokio::spawn(async move {
            let begun = Instant::now();
            let made = making.await.map(Arc::new).map_err(Arc::new);
            recent.settle(key, made.as_ref().ok(), begun);
            told.send_replace(Some(made));
        });
        outcome
    }

    fn settle(&self, key: Key, made: Option<&Arc<Statement>>, begun: Instant) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let took = begun.elapsed();
        match made.filter(|statement| took >= QUICK && statement.rows.len() <= KEPT_ROWS_MAX) {
            Some(statement) => {
                let made = Made { statement: statement.clone(), at: Instant::now(), took };
                slots.insert(key, Slot { made: Some(made), making: None });
            }
            // What failed may be behind what is kept.
            None => match slots.get_mut(&key) {
                Some(slot) if slot.made.is_some() && made.is_none() => slot.making = None,
                _ => _ = slots.remove(&key),
            },
        }
        let rows = |slots: &HashMap<Key, Slot>| {
            slots
                .values()
                .filter_map(|slot| slot.made.as_ref())
                .map(|made| made.statement.rows.len() + 1)
                .sum::<usize>()
        };
        while rows(&slots) > KEPT_ROWS_MAX {
            let oldest = slots.iter().filter_map(|(key, slot)| Some((slot.made.as_ref()?.at, key.clone()))).min();
            let Some((_, oldest)) = oldest else { return };
            if let Some(slot) = slots.get_mut(&oldest) {
                slot.made = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::statements::{Head, Row};

    fn about() -> About {
        About { period: "2026-10".parse().unwrap(), rights_holder: None }
    }

    fn statement(service_watched_ms: i64) -> Statement {
        let head: Head = serde_json::from_value(serde_json::json!({
            "period": "2026-10", "rights_holder_id": null, "revision": 0, "state": "provisional", "closed_at": null,
            "sha256": "", "previous_sha256": null, "as_of": [], "service_watched_ms": service_watched_ms,
            "contracts": [], "problems": []
        }))
        .unwrap();
        Statement { head, rows: Vec::<Row>::new() }
    }

    /// Makes the statements 1, 2, 3, each in so long.
    async fn asked(recent: &Recent, count: &Arc<AtomicUsize>, takes: Duration) -> i64 {
        let count = count.clone();
        let make = move || async move {
            tokio::time::sleep(takes).await;
            Ok(statement(i64::try_from(count.fetch_add(1, Ordering::SeqCst)).unwrap() + 1))
        };
        recent.get(&about(), make).await.unwrap().head.service_watched_ms
    }

    #[tokio::test]
    async fn what_is_made_quickly_is_made_anew() {
        let (recent, made) = (Recent::default(), Arc::default());
        assert_eq!(asked(&recent, &made, Duration::ZERO).await, 1);
        assert_eq!(asked(&recent, &made, Duration::ZERO).await, 2);
        assert!(recent.slots.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_takes_long_is_made_once_for_everybody_and_kept() {
        let (recent, made) = (Recent::default(), Arc::default());
        let both = tokio::join!(asked(&recent, &made, QUICK), asked(&recent, &made, QUICK));
        assert_eq!(both, (1, 1));
        assert_eq!(asked(&recent, &made, QUICK).await, 1);
        // An older one is answered while the next is made.
        let age = |by: Duration| {
            for slot in recent.slots.lock().unwrap().values_mut() {
                let made = slot.made.as_mut().unwrap();
                made.at = made.at.checked_sub(by).unwrap();
            }
        };
        age(QUICK * 11);
        assert_eq!(asked(&recent, &made, QUICK).await, 1);
        let again = recent.slots.lock().unwrap().values().next().unwrap().making.clone();
        again.unwrap().wait_for(Option::is_some).await.unwrap();
        assert_eq!(asked(&recent, &made, QUICK).await, 2);
    }

    #[tokio::test]
    async fn a_failure_is_told_as_it_is_and_not_kept() {
        async fn gives_up() -> Result<Statement, StatementError> {
            panic!("as a test wants it")
        }
        let recent = Recent::default();
        let failed = recent.get(&about(), || async { Err(StatementError::CatalogAway) }).await;
        assert!(matches!(*failed.unwrap_err(), StatementError::CatalogAway));
        let gone = recent.get(&about(), gives_up).await;
        assert!(matches!(*gone.unwrap_err(), StatementError::Making));
        assert_eq!(asked(&recent, &Arc::default(), Duration::ZERO).await, 1);
    }
}
