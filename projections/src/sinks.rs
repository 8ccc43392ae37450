//! Sinks: fast ways for a flush to write, each within the transaction that the flush is handed.
//!
//! | a read model that | uses |
//! |---|---|
//! | appends rows | [`Copy`](struct@Copy), straight into the table |
//! | keeps a row a key | fold the batch per key first, then [`Staged`]: one COPY and one `insert … on conflict` |
//! | counts | [`Deltas`] while folding, then [`Staged`] with `set n = table.n + excluded.n` |
//! | does anything else | its own SQL: the flush has the transaction |
//!
//! A batch that has to be replayed is rolled back whole, so a delta is never added twice.

mod copy;
mod deltas;
mod staged;

pub use copy::{Copy, Row};
pub use deltas::Deltas;
pub use staged::Staged;
