//! Packs: the facts once more, as statements and reports over millions of them read them.
//!
//! A pack is what was watched of one title in one month, in a few kilobytes that are read in one piece. Days are packed
//! once they are over, by a job beside the fold. From the moment on at which a day is *sealed* the fold notes in the
//! transaction that changes one of its facts whose day and title it is; and a reader takes what was noted, and the days
//! that aren't packed yet, from the facts themselves.
//!
//! **Invariant:** in any snapshot, the packs without what is noted, and the facts of what is noted and of the days not
//! packed, are all facts, each once. So what is read from packs is what is read from facts.

mod form;
mod keep;
mod make;
mod note;
mod read;
mod tally;

pub(crate) use form::{Counted, Day, Facts, Place, day_number, day_of};
pub use keep::keep_packed;
pub use make::{Packed, pack};
pub(super) use note::{Noted, note};
pub(crate) use read::Packs;
pub(crate) use tally::{Accounts, Tally};
