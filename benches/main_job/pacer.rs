//! When requests are due that don't wait for each other's answers.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};

/// Turns that may wait to be taken; who falls further behind makes the pacer wait, and the turns late.
const TURNS_MAX: usize = 100_000;

/// Instants at which requests are due, shared by whoever sends them.
///
/// A turn is measured from when it was due and not from when it was sent: a server that stalls makes the
/// next ones late too, and a client that waited politely would not see that (coordinated omission).
#[derive(Clone)]
pub(crate) struct Turns {
    turns: Arc<Mutex<mpsc::Receiver<Instant>>>,
}

impl Turns {
    /// Turns at an even rate. A thread makes them, which sleeps more exactly than the runtime's timer:
    /// that one rounds up to its next millisecond, and would add it to every latency.
    pub(crate) fn start(per_s: u32, begin: Instant, end: Instant) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(TURNS_MAX);
        thread::Builder::new().name("pacer".into()).spawn(move || pace(per_s, begin, end, &sender))?;
        Ok(Self { turns: Arc::new(Mutex::new(receiver)) })
    }

    /// Waits for the next turn; `None` after the last.
    pub(crate) async fn next(&self) -> Option<Instant> {
        self.turns.lock().await.recv().await
    }
}

/// What is due within a millisecond is due at its beginning: a few requests together, as on a real line.
fn pace(per_s: u32, begin: Instant, end: Instant, sender: &mpsc::Sender<Instant>) {
    let mut sent = 0;
    for tick in 0_u64.. {
        let due = begin + Duration::from_millis(tick);
        if due >= end {
            return;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let wanted = (tick + 1) * u64::from(per_s) / 1_000;
        while sent < wanted {
            if sender.blocking_send(due).is_err() {
                return;
            }
            sent += 1;
        }
    }
}
