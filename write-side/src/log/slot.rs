//! The producer in use, and its successor.

use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;

use super::producer::Generation;
use super::{ConnectError, Inner};

/// A producer is renewed at most this often: one that fails as soon as it starts, because the broker
/// forbids it to write, must not be started without end.
const RENEWAL_PAUSE: Duration = Duration::from_secs(1);

/// Holds the producer in use. It is empty after a fatal error, until the producer may be renewed.
pub(super) struct Slot {
    config: ClientConfig,
    log: Weak<Inner>,
    held: RwLock<Held>,
}

struct Held {
    generation: Option<Arc<Generation>>,
    started: u64,
    renewed_at: Option<Instant>,
}

impl Slot {
    pub(super) const fn new(config: ClientConfig, log: Weak<Inner>) -> Self {
        Self { config, log, held: RwLock::new(Held { generation: None, started: 0, renewed_at: None }) }
    }

    /// Starts the first producer.
    pub(super) fn start(&self) -> Result<(), ConnectError> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.start(&self.config, &self.log)
    }

    /// The producer in use.
    pub(super) fn current(&self) -> Option<Arc<Generation>> {
        if let Some(generation) = &self.held.read().unwrap_or_else(PoisonError::into_inner).generation {
            return Some(Arc::clone(generation));
        }
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.start_if_due(&self.config, &self.log);
        held.generation.clone()
    }

    /// How many producers followed another.
    pub(super) fn renewals(&self) -> u64 {
        self.held.read().unwrap_or_else(PoisonError::into_inner).started.saturating_sub(1)
    }

    /// Gives the producer of `number` up and starts its successor, now or, if the last renewal was less
    /// than the pause ago, when one is next asked for. Says whether it was still in use.
    pub(super) fn renew(&self, number: u64) -> bool {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let in_use = held.generation.as_ref().is_some_and(|generation| generation.number == number);
        if in_use {
            held.generation = None;
            held.start_if_due(&self.config, &self.log);
        }
        in_use
    }
}

impl Held {
    fn start(&mut self, config: &ClientConfig, log: &Weak<Inner>) -> Result<(), ConnectError> {
        self.started += 1;
        self.generation = Some(Arc::new(Generation::start(config, Weak::clone(log), self.started)?));
        Ok(())
    }

    fn start_if_due(&mut self, config: &ClientConfig, log: &Weak<Inner>) {
        let due = self.renewed_at.is_none_or(|at| at.elapsed() >= RENEWAL_PAUSE);
        if self.generation.is_none() && due {
            self.renewed_at = Some(Instant::now());
            if let Err(error) = self.start(config, log) {
                tracing::error!(%error, "the log's producer cannot be renewed");
            }
        }
    }
}
