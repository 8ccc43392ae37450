//! Every decoder, fed with what nobody would send. A minute or a night of it: `make fuzz`, by `FUZZ_SECONDS`.

#[path = "fuzz/bodies.rs"]
mod bodies;
#[path = "fuzz/events.rs"]
mod events;
#[path = "fuzz/servers.rs"]
mod servers;
#[path = "fuzz/tables.rs"]
mod tables;
#[path = "fuzz/texts.rs"]
mod texts;
#[path = "fuzz/tokens.rs"]
mod tokens;

use pulsegate_fuzz::Bound;

/// As long as the longest body.
const LEN_MAX: usize = 1 << 20;
/// What decoders of JSON and lines keep to.
const BOUND: Bound = Bound { a_byte: 64, at_least: 256 << 10 };

/// A file of this repository.
fn file(path: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn texts(of: &[&str]) -> Vec<Vec<u8>> {
    of.iter().map(|text| text.as_bytes().to_vec()).collect()
}
