//! The HTTP surface over a log and a database that are away: whatever needs neither, and what is
//! answered without them.

mod answers;
mod around;
mod bodies;
mod pages;
mod surface;
