//! Changes that a parser is likely to trip over.

use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;

/// Most changes of one input.
const CHANGES_MAX: usize = 5;

/// What parsers of JSON, of logs and of tables have tripped over: ends of numbers, of nesting, of texts and of time.
const WORDS: &[&str] = &[
    "null",
    "true",
    "\"\"",
    "{}",
    "[]",
    "0",
    "-0",
    "-1",
    "1.0",
    "0.1",
    "1e3",
    "1e-999",
    "1e999",
    "9007199254740991",
    "9007199254740992",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "4294967296",
    "100001",
    "604800000",
    "604800001",
    "16.0001",
    "NaN",
    "Infinity",
    "\"\\ud800\"",
    "\"\\ud83d\\ude00\"",
    "\"\\u0000\"",
    "\\u0041",
    "\u{0}",
    "\u{feff}",
    "\u{2028}",
    "ä",
    "\u{1f600}",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    ":",
    ",",
    ";",
    "=",
    "&",
    "%",
    "%00",
    "%ff",
    "%25",
    "%2525",
    "\t",
    "\r\n",
    "\n",
    "#",
    "#Fields: date time",
    "-",
    "$",
    "$.a[0]",
    "$.\"a b\"",
    "..",
    "@",
    "'",
    "2026-02-30",
    "2026-11-22T23:59:60Z",
    "9999-12-31T23:59:59Z",
    "+12026-01-01T00:00:00Z",
    "1969-12-31T23:59:59Z",
    "00000000-0000-0000-0000-000000000000",
    "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
    "ZZ",
    "standard@1",
    "@1",
    "a@0",
    "a@4294967296",
    "\"type\":\"\"",
    "\"data\":{}",
    "\"id\":1",
    "\"properties\":[]",
];

/// Makes inputs of others.
#[derive(Clone, Debug)]
pub struct Mutator {
    seeds: Vec<Vec<u8>>,
    len_max: usize,
}

impl Mutator {
    /// Makes inputs of at most `len_max` bytes; parts of `seeds` come into others.
    #[must_use]
    pub const fn new(seeds: Vec<Vec<u8>>, len_max: usize) -> Self {
        Self { seeds, len_max }
    }

    /// An input made of another.
    #[must_use]
    pub fn change(&self, input: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
        let mut input = input.to_vec();
        for _ in 0..rng.random_range(1..=CHANGES_MAX) {
            self.once(&mut input, rng);
        }
        input.truncate(self.len_max);
        input
    }

    fn once(&self, input: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
        match rng.random_range(0..20) {
            0 => flip(input, rng),
            1 => {
                let at = place(input, rng);
                input.insert(at, rng.random());
            }
            2 => remove(input, rng),
            3 => repeat(input, rng, 2),
            4 => {
                // Long: what is said once is said up to some ten thousand times.
                if rng.random_bool(0.1) {
                    let times = rng.random_range(2..=20_000);
                    repeat(input, rng, times);
                }
            }
            5 => {
                if rng.random_bool(0.1) {
                    deepen(input, rng);
                }
            }
            6 => {
                let at = place(input, rng);
                input.truncate(at);
            }
            7 => self.splice(input, rng),
            8 => escape(input, rng),
            9 | 10 => {
                let at = place(input, rng);
                insert(input, at, word(rng));
            }
            // Token for token: what comes of it still has the form of what was.
            11..=14 => replace_token(input, word(rng), rng),
            15 | 16 => {
                if let Some(other) = self.seeds.choose(rng)
                    && let Some(token) = tokens(other).choose(rng)
                {
                    replace_token(input, &other[token.clone()], rng);
                }
            }
            17 => repeat_member(input, rng),
            18 => remove_member(input, rng),
            _ => swap_tokens(input, rng),
        }
    }

    /// The beginning of one and the end of another.
    fn splice(&self, input: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
        let Some(other) = self.seeds.choose(rng) else { return };
        let (at, from) = (place(input, rng), place(other, rng));
        input.truncate(at);
        input.extend_from_slice(&other[from..]);
    }
}

fn word(rng: &mut ChaCha8Rng) -> &'static [u8] {
    WORDS.choose(rng).map_or(b"", |word| word.as_bytes())
}

/// Anywhere, the end too.
fn place(input: &[u8], rng: &mut ChaCha8Rng) -> usize {
    rng.random_range(0..=input.len())
}

fn insert(input: &mut Vec<u8>, at: usize, more: &[u8]) {
    input.splice(at..at, more.iter().copied());
}

fn flip(input: &mut [u8], rng: &mut ChaCha8Rng) {
    if !input.is_empty() {
        let index = rng.random_range(0..input.len());
        input[index] ^= 1 << rng.random_range(0..8);
    }
}

/// A short stretch.
fn stretch(input: &[u8], rng: &mut ChaCha8Rng) -> std::ops::Range<usize> {
    let from = place(input, rng);
    from..(from + rng.random_range(0..=64)).min(input.len())
}

fn remove(input: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    let part = stretch(input, rng);
    input.drain(part);
}

fn repeat(input: &mut Vec<u8>, rng: &mut ChaCha8Rng, times: usize) {
    let part = stretch(input, rng);
    let more = input[part.clone()].repeat(times.min(1 << 20) - 1);
    insert(input, part.end, &more);
}

/// Puts brackets around a token, few or far too many.
fn deepen(input: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    let Some(token) = tokens(input).choose(rng).cloned() else { return };
    let levels = *[1, 2, 60, 61, 64, 65, 127, 128, 129, 5_000, 100_000].choose(rng).unwrap_or(&1);
    let (open, close): (&[u8], &[u8]) = if rng.random_bool(0.5) { (b"[", b"]") } else { (b"{\"a\":", b"}") };
    // Without its end now and then.
    let ends = if rng.random_bool(0.9) { levels } else { 0 };
    let inside = [open.repeat(levels), input[token.clone()].to_vec(), close.repeat(ends)].concat();
    input.splice(token, inside);
}

/// Writes a letter as an escape, of JSON or of a URL.
fn escape(input: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    let letters: Vec<_> = (0..input.len()).filter(|index| input[*index].is_ascii_alphanumeric()).collect();
    let Some(index) = letters.choose(rng) else { return };
    let letter = input[*index];
    let escaped = if rng.random_bool(0.5) { format!("\\u{letter:04x}") } else { format!("%{letter:02x}") };
    input.splice(*index..=*index, escaped.into_bytes());
}

/// The texts between quotes, the words and numbers between signs, and the signs.
fn tokens(input: &[u8]) -> Vec<std::ops::Range<usize>> {
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte) || byte >= 0x80;
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(byte) = input.get(at) {
        let end = match byte {
            b'"' => {
                let mut end = at + 1;
                while let Some(inside) = input.get(end) {
                    end += 1;
                    match inside {
                        b'"' => break,
                        b'\\' => end += 1,
                        _ => {}
                    }
                }
                end.min(input.len())
            }
            byte if is_inside(*byte) => {
                at + input[at..].iter().position(|byte| !is_inside(*byte)).unwrap_or(input.len() - at)
            }
            _ => at + 1,
        };
        tokens.push(at..end);
        at = end;
    }
    tokens
}

fn replace_token(input: &mut Vec<u8>, by: &[u8], rng: &mut ChaCha8Rng) {
    if let Some(token) = tokens(input).choose(rng) {
        input.splice(token.clone(), by.iter().copied());
    }
}

fn swap_tokens(input: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    let tokens = tokens(input);
    let (Some(one), Some(other)) = (tokens.choose(rng), tokens.choose(rng)) else { return };
    let (first, second) = if one.start <= other.start { (one, other) } else { (other, one) };
    if first.end <= second.start {
        let (a, b) = (input[first.clone()].to_vec(), input[second.clone()].to_vec());
        input.splice(second.clone(), a);
        input.splice(first.clone(), b);
    }
}

/// From one comma, or opening bracket, to the next.
fn member(input: &[u8], rng: &mut ChaCha8Rng) -> Option<std::ops::Range<usize>> {
    let commas: Vec<_> = (0..input.len()).filter(|index| matches!(input[*index], b',' | b'\t' | b'&')).collect();
    let from = *commas.choose(rng)?;
    let len = input[from + 1..].iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b'\t' | b'&'));
    Some(from..from + 1 + len.unwrap_or(input.len() - from - 1))
}

fn repeat_member(input: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    if let Some(part) = member(input, rng) {
        let more = input[part.clone()].to_vec();
        insert(input, part.end, &more);
    }
}

fn remove_member(input: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    if let Some(part) = member(input, rng) {
        input.drain(part);
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn tokens_are_texts_words_and_signs_and_nothing_is_lost() {
        let text = br#"{"a \" b":-1.5e3,"x":[null]}"#;
        let found: Vec<_> = tokens(text).into_iter().map(|token| std::str::from_utf8(&text[token]).unwrap()).collect();
        assert_eq!(found, ["{", r#""a \" b""#, ":", "-1.5e3", ",", "\"x\"", ":", "[", "null", "]", "}"]);
        for cut in 0..text.len() {
            let cut = &text[..cut];
            assert_eq!(tokens(cut).into_iter().map(|token| token.len()).sum::<usize>(), cut.len());
        }
    }

    #[test]
    fn a_seed_makes_the_same_inputs_and_they_are_bounded() {
        let mutator = Mutator::new(vec![br#"{"a":[1,2],"b":"c"}"#.to_vec(), b"x\ty\tz".to_vec(), Vec::new()], 4_096);
        let made = |seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut input = Vec::new();
            (0..500)
                .map(|_| {
                    input = mutator.change(if input.is_empty() { &mutator.seeds[0] } else { &input }, &mut rng);
                    input.clone()
                })
                .collect::<Vec<_>>()
        };
        let (first, second) = (made(7), made(7));
        assert_eq!(first, second);
        assert_ne!(first, made(8));
        assert!(first.iter().all(|input| input.len() <= 4_096));
    }
}
