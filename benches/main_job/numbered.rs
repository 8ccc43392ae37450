//! Bytes that are made once and carry another number each time.

/// What the bytes hold where a number is to stand. All numbers have as many digits, so that nothing moves.
pub(crate) const FIRST: u64 = 1_000_000;
/// Digits of a number.
pub(crate) const DIGITS: usize = 7;

/// Bytes with the places at which the number stands.
#[derive(Debug)]
pub(crate) struct Numbered {
    bytes: Vec<u8>,
    places: Vec<usize>,
    number: u64,
}

impl Numbered {
    /// Finds each value that is [`FIRST`], and takes further places as given.
    pub(crate) fn new(bytes: Vec<u8>, further: &[usize]) -> Self {
        let mark = format!(":{FIRST}");
        let found = bytes.windows(mark.len()).enumerate().filter(|(_, window)| *window == mark.as_bytes());
        let places = found.map(|(at, _)| at + 1).chain(further.iter().copied()).collect();
        Self { bytes, places, number: FIRST }
    }

    /// The bytes with the next number, beginning at [`FIRST`].
    pub(crate) fn next(&mut self) -> &[u8] {
        let mut digits = [b'0'; DIGITS];
        let mut rest = self.number;
        for digit in digits.iter_mut().rev() {
            // A remainder of ten is a digit.
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        self.number += 1;
        for place in &self.places {
            self.bytes[*place..*place + DIGITS].copy_from_slice(&digits);
        }
        &self.bytes
    }

    /// Lets the next number be another one: it was given away elsewhere.
    pub(crate) fn take_number(&mut self) -> u64 {
        self.number += 1;
        self.number - 1
    }
}
