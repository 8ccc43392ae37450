//! The HTTP surface over a log and a database that are away: whatever needs neither, and what is
//! answered without them. Reports stand on a database of their own.

mod answers;
mod around;
mod bodies;
mod callers;
mod pages;
mod reports;
mod server;
mod signals;
mod surface;
