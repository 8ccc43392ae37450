//! Feeds decoders with what nobody would send.
//!
//! Inputs are made of others that a decoder takes, by changes a parser is likely to trip over ([`mutation`]). There is no
//! feedback from coverage, so that any toolchain runs it; instead what was taken is changed further, which leads deep.
//!
//! A target is run ten thousand times in the test suite, always by the same seed, and for as long as `FUZZ_SECONDS` says,
//! by `FUZZ_SEED` or another seed each time, where somebody asks for it (`make fuzz`). What it trips over is written to
//! `fuzz/found/`; once mended, the file belongs into `fuzz/golden/`, from where it is tried in each run.

pub mod mutation;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use mutation::Mutator;

/// How many inputs of each target the suite tries.
const IN_SUITE: u64 = 10_000;
/// The suite's seed: a finding there is one everywhere.
const SUITE_SEED: u64 = 1;
/// Most inputs that are changed further.
const POOL_MAX: usize = 512;
/// The longest of these, in bytes: what is made of long ones is long, and a long one is tried now and then anyway.
const POOLED_LEN_MAX: usize = 8 << 10;

/// What a decoder said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It was taken.
    Taken,
    /// It was refused.
    Refused,
}

impl Said {
    /// Taken, if so.
    #[must_use]
    pub const fn taken(is: bool) -> Self {
        if is { Self::Taken } else { Self::Refused }
    }
}

/// How much memory a decoder may ask for, in all, for an input: work that grows faster than its input shows there, on a
/// quick machine and on a slow one.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Bytes for each byte of the input.
    pub a_byte: u64,
    /// Bytes for any input.
    pub at_least: u64,
}

/// A decoder and what it is fed with.
#[derive(Clone, Debug)]
pub struct Target {
    /// The name of its files, and of its failures.
    pub name: &'static str,
    /// What it takes; everything else is made of these.
    pub seeds: Vec<Vec<u8>>,
    /// How much it may ask for.
    pub bound: Bound,
    /// The longest input, in bytes.
    pub len_max: usize,
    /// Of a thousand inputs, how many it must at least take: else only its first line would have been tried.
    pub taken_min: u64,
}

/// Tries a target: first what it tripped over before, then its seeds, then what is made of them.
///
/// `check` panics where a decoder's promise is broken.
///
/// # Panics
/// If `check` does, or if the decoder asked for more memory than its bound. The input stands in a file then, whose name is
/// said.
pub fn try_out(target: &Target, check: impl Fn(&[u8]) -> Said) {
    for (path, input) in golden(target.name) {
        if let Err(what) = judge(target, &input, &check) {
            panic!("{}: {what}: {}", target.name, path.display());
        }
    }
    for seed in &target.seeds {
        match judge(target, seed, &check) {
            Ok(Said::Taken) => {}
            Ok(Said::Refused) => panic!("{}: a seed was refused: {}", target.name, String::from_utf8_lossy(seed)),
            Err(what) => panic!("{}: {what}: {}", target.name, found(target.name, seed).display()),
        }
    }
    let limit = Limit::read();
    let mut rng = ChaCha8Rng::seed_from_u64(limit.seed);
    let mutator = Mutator::new(target.seeds.clone(), target.len_max);
    let mut pool = target.seeds.clone();
    let (mut taken, mut tried) = (0_u64, 0_u64);
    let began = Instant::now();
    while limit.goes_on(tried, began) {
        let from = &pool[rng.random_range(0..pool.len())];
        let input = mutator.change(from, &mut rng);
        tried += 1;
        match judge(target, &input, &check) {
            Ok(Said::Refused) => {}
            Ok(Said::Taken) => {
                taken += 1;
                if input.len() > POOLED_LEN_MAX {
                    continue;
                }
                if pool.len() < POOL_MAX {
                    pool.push(input);
                } else {
                    // The seeds stay.
                    let index = rng.random_range(target.seeds.len()..POOL_MAX);
                    pool[index] = input;
                }
            }
            Err(what) => {
                let path = found(target.name, &input);
                panic!("{}: {what} (FUZZ_SEED={}, input {tried}): {}", target.name, limit.seed, path.display());
            }
        }
    }
    println!("{}: {tried} inputs, {taken} of them taken; FUZZ_SEED={}", target.name, limit.seed);
    assert!(taken * 1_000 >= tried * target.taken_min, "{}: of {tried} inputs only {taken} were taken", target.name);
    assert!(taken < tried, "{}: nothing was refused", target.name);
}

/// One input; what is wrong, if anything is.
fn judge(target: &Target, input: &[u8], check: &impl Fn(&[u8]) -> Said) -> Result<Said, String> {
    let mut said = None;
    let asked = allocation_counter::measure(|| {
        said = Some(catch_unwind(AssertUnwindSafe(|| check(input))));
    });
    let said = match said {
        Some(Ok(said)) => said,
        Some(Err(panic)) => {
            let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            return Err(format!("panicked: {text}"));
        }
        None => return Err("was not tried".to_owned()),
    };
    let most = target.bound.at_least + target.bound.a_byte * input.len() as u64;
    if asked.bytes_total > most {
        let len = input.len();
        return Err(format!("asked for {} bytes for an input of {len}, and may for {most}", asked.bytes_total));
    }
    Ok(said)
}

/// How long one target is tried.
struct Limit {
    seed: u64,
    time: Option<Duration>,
}

impl Limit {
    fn read() -> Self {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let time = number("FUZZ_SECONDS").map(Duration::from_secs);
        let seed = match (number("FUZZ_SEED"), time) {
            (Some(seed), _) => seed,
            (None, Some(_)) => rand::random(),
            (None, None) => SUITE_SEED,
        };
        Self { seed, time }
    }

    fn goes_on(&self, tried: u64, began: Instant) -> bool {
        match self.time {
            Some(time) => began.elapsed() < time,
            None => tried < IN_SUITE,
        }
    }
}

fn folder(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(of)
}

/// What a target tripped over before.
fn golden(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(files) = fs::read_dir(folder("golden").join(name)) else { return Vec::new() };
    let mut paths: Vec<_> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let input = fs::read(&path);
        (path, input.expect("a golden file is read"))
    };
    paths.into_iter().map(read).collect()
}

/// Writes an input down, and says where.
fn found(name: &str, input: &[u8]) -> PathBuf {
    let folder = folder("found").join(name);
    // A name of its own for each input: FNV-1a.
    let hash = input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let path = folder.join(format!("{hash:016x}"));
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, input));
    written.expect("what was found is written down");
    path
}
