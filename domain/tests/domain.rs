//! The domain seen from outside: records of the log go in as bytes, and what is asked are answers.

#[path = "domain/agree.rs"]
mod agree;
#[path = "domain/door.rs"]
mod door;
#[path = "domain/explaining.rs"]
mod explaining;
#[path = "domain/golden.rs"]
mod golden;
#[path = "domain/interleavings.rs"]
mod interleavings;
#[path = "domain/logs.rs"]
mod logs;
#[path = "domain/player.rs"]
mod player;
#[path = "domain/properties.rs"]
mod properties;
#[path = "domain/reader.rs"]
mod reader;
#[path = "domain/script.rs"]
mod script;
#[path = "domain/situations.rs"]
mod situations;
#[path = "domain/straight_line.rs"]
#[expect(dead_code, reason = "tests of other crates ask it more")]
mod straight_line;
#[path = "domain/told.rs"]
mod told;
#[path = "domain/waiting.rs"]
mod waiting;
#[path = "domain/watch_time.rs"]
mod watch_time;
