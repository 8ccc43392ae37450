//! Reading where records may say something else than they do in the log: some at a time, because keys are asked for.

use pulsegate_domain::account::Place;
use pulsegate_domain::time::Timestamp;
use rdkafka::message::{BorrowedMessage, Message};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{Next, POLL, Piece, Reading, Then};
use crate::runner::arena::{Arena, unusual_headers};
use crate::runner::{Batch, Placed, Poison, Position, Projection, Record, RunError, Sorted, Waiting, Worker, uncaught};

/// For how many records keys are asked at once.
const TOGETHER_MAX: usize = 8_192;

impl Reading {
    /// As [`piece`](Reading::piece) does.
    pub(super) fn piece_otherwise<P: Projection>(
        &self,
        worker: &Worker<P>,
        runtime: &Handle,
        clock: &mut Timestamp,
        stop: &CancellationToken,
    ) -> Result<Option<Piece<P::Event>>, RunError> {
        let mut arena = Arena::default();
        let mut events = Vec::with_capacity(P::REBUILD_RECORDS);
        let (mut letters, mut last, mut forgotten) = (Vec::new(), None, None);
        let mut then = Then::More;
        while then == Then::More && events.len() + letters.len() < P::REBUILD_RECORDS {
            let most = TOGETHER_MAX.min(P::REBUILD_RECORDS - events.len() - letters.len());
            let Some((messages, end)) = self.some(most, last, stop)? else { return Ok(None) };
            then = end;
            // Headers are asked of the few whose headers are kept.
            let records: Vec<_> = messages.iter().map(|message| arena.record(message, Vec::new())).collect();
            let Ok(readings) = runtime.block_on(worker.read(self.target.source.topic, &records)) else {
                // Whoever reads with care waits until the keys can be had, or says why not.
                then = Then::Trouble;
                break;
            };
            let as_of = readings.forgotten();
            if *forgotten.get_or_insert(as_of) != as_of {
                then = Then::Trouble;
                break;
            }
            for (record, message) in records.iter().zip(&messages) {
                let at = record.timestamp.map_or(*clock, |stamp| (*clock).max(stamp));
                match uncaught(|| worker.projection().decode(readings.read(record))) {
                    Ok(Ok(event)) => events.push(Placed { place: Place { offset: record.offset, at }, event }),
                    Ok(Err(poison @ Poison::Skip(_))) => {
                        let record = Record { headers: unusual_headers(message), ..record.clone() };
                        letters.push(readings.letter(&record, at, poison, None));
                    }
                    Ok(Err(Poison::Park(_))) | Err(_) => {
                        then = Then::Trouble;
                        break;
                    }
                }
                *clock = at;
                last = Some(record.offset);
            }
        }
        let sorted = last.map(|last| {
            let ends_at = Position { next_offset: last + 1, clock: *clock };
            let batch = Batch { source: self.target.source, ends_at, events };
            let forgotten = forgotten.unwrap_or_default();
            Sorted { batch, letters, newly_waiting: Waiting::default(), forgotten }
        });
        Ok(Some(Piece { sorted, then }))
    }

    /// The next records, behind the one at `last`; `None` because of a stop.
    fn some(
        &self,
        most: usize,
        last: Option<i64>,
        stop: &CancellationToken,
    ) -> Result<Option<(Vec<BorrowedMessage<'_>>, Then)>, RunError> {
        let mut messages: Vec<BorrowedMessage<'_>> = Vec::with_capacity(most);
        while messages.len() < most {
            if let Some(end) = self.ended(messages.last().map(Message::offset).or(last)) {
                return Ok(Some((messages, end)));
            }
            match self.next(POLL)? {
                Next::Record(message) => messages.push(message),
                Next::End(offset) => return Ok(Some((messages, Then::End(offset)))),
                Next::Nothing if stop.is_cancelled() => return Ok(None),
                Next::Nothing => {}
            }
        }
        Ok(Some((messages, Then::More)))
    }
}
