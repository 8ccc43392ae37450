//! The bytes of a pack: what was watched of a title in a month.
//!
//! Numbers are written seven bits a byte, the lowest first, the last byte below 128. A day of facts is the day of the
//! month, how many bytes follow, and the facts; a fact is its place and whether it was played, its account, four times and
//! its intervals, each by its beginning after the day's and its length.

use chrono::{Datelike as _, Days, NaiveDate};
use pulsegate_domain::ids::{DeviceClass, Territory};

/// Letters of a territory's code.
const LETTERS: u16 = 26;
/// Classes of device that a place has room for.
const CLASSES: u16 = 8;
pub(super) const DAY_MS: i64 = 86_400_000;

/// A pack that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pack of facts can't be read")]
pub(crate) struct Unreadable;

impl From<Unreadable> for sqlx::Error {
    fn from(error: Unreadable) -> Self {
        Self::Decode(error.into())
    }
}

/// A territory and a class of device, as one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place(u16);

impl Place {
    /// The place of two columns.
    pub(super) fn of(territory: &str, device_class: &str) -> Result<Self, Unreadable> {
        let [a @ b'A'..=b'Z', b @ b'A'..=b'Z'] = territory.as_bytes() else { return Err(Unreadable) };
        let class = DeviceClass::ALL.iter().position(|class| class.as_str() == device_class).ok_or(Unreadable)?;
        let class = u16::try_from(class).map_err(|_| Unreadable)?;
        Ok(Self((u16::from(a - b'A') * LETTERS + u16::from(b - b'A')) * CLASSES + class))
    }

    fn read(number: u64) -> Result<Self, Unreadable> {
        let place = Self(u16::try_from(number).map_err(|_| Unreadable)?);
        let is_one = place.0 / CLASSES < LETTERS * LETTERS && usize::from(place.0 % CLASSES) < DeviceClass::ALL.len();
        if is_one { Ok(place) } else { Err(Unreadable) }
    }

    /// Where.
    pub(crate) fn territory(self) -> Territory {
        let number = self.0 / CLASSES;
        let code = [number / LETTERS, number % LETTERS].map(|letter| b'A' + letter.to_le_bytes()[0]);
        std::str::from_utf8(&code).ok().and_then(|code| code.parse().ok()).unwrap_or_default()
    }

    /// On what.
    pub(crate) fn device_class(self) -> DeviceClass {
        DeviceClass::ALL.get(usize::from(self.0 % CLASSES)).copied().unwrap_or(DeviceClass::Other)
    }

    /// Both.
    pub(crate) fn pair(self) -> (Territory, DeviceClass) {
        (self.territory(), self.device_class())
    }
}

/// A day, counted from 1970-01-01.
pub(crate) type Day = i32;

/// The number of a day.
pub(crate) fn day_number(day: NaiveDate) -> Day {
    i32::try_from(day.signed_duration_since(NaiveDate::default()).num_days()).unwrap_or(i32::MAX)
}

/// The day of a number.
pub(crate) fn day_of(number: Day) -> NaiveDate {
    let days = Days::new(u64::try_from(number).unwrap_or(0));
    NaiveDate::default().checked_add_days(days).unwrap_or(NaiveDate::MAX)
}

/// A fact, as the figures need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) day: Day,
    pub(crate) place: Place,
    pub(crate) played: bool,
    /// Its number among the accounts.
    pub(crate) account: u32,
    pub(crate) before_ms: i64,
    pub(crate) watched_ms: i64,
    pub(crate) aged_ms: i64,
    pub(crate) content_ms: i64,
    /// Its first interval among its title's, and how many it has.
    intervals: (u32, u32),
}

/// The facts of one title.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) facts: Vec<Fact>,
    intervals: Vec<(i64, i64)>,
}

/// A fact's numbers, in the order in which they stand.
pub(super) struct Numbers {
    pub(super) day: Day,
    pub(super) place: Place,
    pub(super) played: bool,
    pub(super) account: u32,
    pub(super) times: [i64; 4],
}

impl Facts {
    /// When something of it was watched.
    pub(crate) fn intervals(&self, fact: &Fact) -> &[(i64, i64)] {
        let (first, count) = fact.intervals;
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        self.intervals.get(first..first + usize::try_from(count).unwrap_or(0)).unwrap_or_default()
    }

    /// Takes a fact up.
    pub(super) fn push(&mut self, numbers: &Numbers, intervals: impl Iterator<Item = (i64, i64)>) {
        let first = u32::try_from(self.intervals.len()).unwrap_or(u32::MAX);
        self.intervals.extend(intervals);
        let count = u32::try_from(self.intervals.len()).unwrap_or(u32::MAX) - first;
        let [before_ms, watched_ms, aged_ms, content_ms] = numbers.times;
        let Numbers { day, place, played, account, .. } = *numbers;
        let intervals = (first, count);
        self.facts.push(Fact { day, place, played, account, before_ms, watched_ms, aged_ms, content_ms, intervals });
    }

    /// Takes another's up.
    pub(super) fn append(&mut self, other: &Self) {
        let moved = u32::try_from(self.intervals.len()).unwrap_or(u32::MAX);
        self.intervals.extend_from_slice(&other.intervals);
        self.facts.extend(
            other
                .facts
                .iter()
                .map(|fact| Fact { intervals: (fact.intervals.0.saturating_add(moved), fact.intervals.1), ..*fact }),
        );
    }

    /// Forgets all of it, and keeps the room.
    pub(super) fn clear(&mut self) {
        self.facts.clear();
        self.intervals.clear();
    }

    /// The bytes of the facts, which are of one month.
    pub(super) fn write(&mut self) -> Vec<u8> {
        self.facts.sort_unstable_by_key(|fact| (fact.day, fact.place, fact.account, fact.before_ms));
        let (mut bytes, mut block) = (Vec::with_capacity(self.facts.len() * 24), Vec::new());
        for of_day in self.facts.chunk_by(|a, b| a.day == b.day) {
            block.clear();
            for fact in of_day {
                self.write_fact(fact, &mut block);
            }
            let Some(first) = of_day.first() else { continue };
            bytes.push(u8::try_from(day_of(first.day).day()).unwrap_or(0));
            write(&mut bytes, block.len() as u64);
            bytes.extend_from_slice(&block);
        }
        bytes
    }

    fn write_fact(&self, fact: &Fact, bytes: &mut Vec<u8>) {
        write(bytes, u64::from(fact.place.0) * 2 + u64::from(fact.played));
        write(bytes, fact.account.into());
        for time in [fact.before_ms, fact.watched_ms, fact.aged_ms, fact.content_ms] {
            write(bytes, time.cast_unsigned());
        }
        let intervals = self.intervals(fact);
        write(bytes, intervals.len() as u64);
        for (from, to) in intervals {
            // By the log's time, which may be before the day or long after it.
            let after = from.wrapping_sub(i64::from(fact.day) * DAY_MS);
            write(bytes, ((after << 1) ^ (after >> 63)).cast_unsigned());
            write(bytes, to.wrapping_sub(*from).cast_unsigned());
        }
    }

    /// Reads the facts of a month's days that are wanted.
    pub(super) fn read(
        &mut self,
        month: NaiveDate,
        mut bytes: &[u8],
        mut is_wanted: impl FnMut(Day) -> bool,
    ) -> Result<(), Unreadable> {
        let before = day_number(month) - 1;
        while let [day, rest @ ..] = bytes {
            bytes = rest;
            let (day, length) = (before + i32::from(*day), length(&mut bytes)?);
            let (mut block, rest) = bytes.split_at_checked(length).ok_or(Unreadable)?;
            bytes = rest;
            if is_wanted(day) {
                while !block.is_empty() {
                    self.read_fact(day, &mut block)?;
                }
            }
        }
        Ok(())
    }

    fn read_fact(&mut self, day: Day, bytes: &mut &[u8]) -> Result<(), Unreadable> {
        let place = read(bytes)?;
        let account = u32::try_from(read(bytes)?).map_err(|_| Unreadable)?;
        let mut times = [0; 4];
        for time in &mut times {
            *time = read(bytes)?.cast_signed();
        }
        let first = u32::try_from(self.intervals.len()).map_err(|_| Unreadable)?;
        let count = u32::try_from(length(bytes)?).map_err(|_| Unreadable)?;
        for _ in 0..count {
            let after = read(bytes)?;
            let after = (after >> 1).cast_signed() ^ -(after & 1).cast_signed();
            let from = after.wrapping_add(i64::from(day) * DAY_MS);
            self.intervals.push((from, from.wrapping_add(read(bytes)?.cast_signed())));
        }
        let [before_ms, watched_ms, aged_ms, content_ms] = times;
        self.facts.push(Fact {
            day,
            place: Place::read(place / 2)?,
            played: place % 2 == 1,
            account,
            before_ms,
            watched_ms,
            aged_ms,
            content_ms,
            intervals: (first, count),
        });
        Ok(())
    }

    /// Watched time by day, as bytes; the facts stand in the order of their days.
    pub(super) fn write_days(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for of_day in self.facts.chunk_by(|a, b| a.day == b.day) {
            let Some(first) = of_day.first() else { continue };
            bytes.push(u8::try_from(day_of(first.day).day()).unwrap_or(0));
            let watched_ms = of_day.iter().fold(0_i64, |sum, fact| sum.saturating_add(fact.watched_ms));
            write(&mut bytes, watched_ms.cast_unsigned());
        }
        bytes
    }
}

/// Reads watched time by day.
pub(super) fn read_days(month: NaiveDate, mut bytes: &[u8]) -> Result<Vec<(Day, i64)>, Unreadable> {
    let before = day_number(month) - 1;
    let mut days = Vec::new();
    while let [day, rest @ ..] = bytes {
        bytes = rest;
        days.push((before + i32::from(*day), read(&mut bytes)?.cast_signed()));
    }
    Ok(days)
}

/// The figures of some facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) plays: i64,
    pub(crate) qualified_views: i64,
    pub(crate) watched_ms: i64,
    pub(crate) aged_ms: i64,
    pub(crate) content_ms: i64,
    pub(crate) distinct_accounts: i64,
    pub(crate) peak_concurrent: i64,
}

/// Writes the figures of each place.
pub(super) fn write_sums(sums: &[(Place, Counted)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(sums.len() * 24);
    for (place, counted) in sums {
        write(&mut bytes, place.0.into());
        for figure in [
            counted.plays,
            counted.qualified_views,
            counted.watched_ms,
            counted.aged_ms,
            counted.content_ms,
            counted.distinct_accounts,
            counted.peak_concurrent,
        ] {
            write(&mut bytes, figure.cast_unsigned());
        }
    }
    bytes
}

/// Reads them.
pub(super) fn read_sums(mut bytes: &[u8]) -> Result<Vec<(Place, Counted)>, Unreadable> {
    let mut sums = Vec::new();
    while !bytes.is_empty() {
        let place = Place::read(read(&mut bytes)?)?;
        let mut figures = [0; 7];
        for figure in &mut figures {
            *figure = read(&mut bytes)?.cast_signed();
        }
        let [plays, qualified_views, watched_ms, aged_ms, content_ms, distinct_accounts, peak_concurrent] = figures;
        sums.push((
            place,
            Counted { plays, qualified_views, watched_ms, aged_ms, content_ms, distinct_accounts, peak_concurrent },
        ));
    }
    Ok(sums)
}

fn write(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 128 {
        bytes.push(number.to_le_bytes()[0] | 128);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn read(bytes: &mut &[u8]) -> Result<u64, Unreadable> {
    let mut number = 0;
    for place in 0..10 {
        let [byte, rest @ ..] = *bytes else { return Err(Unreadable) };
        *bytes = rest;
        number |= u64::from(byte & 127) << (7 * place);
        if *byte < 128 {
            return Ok(number);
        }
    }
    Err(Unreadable)
}

fn length(bytes: &mut &[u8]) -> Result<usize, Unreadable> {
    usize::try_from(read(bytes)?).map_err(|_| Unreadable)
}

/// Reads the intervals of a multirange as the server sends it.
pub(super) fn sent_intervals(bytes: &[u8]) -> Result<Vec<(i64, i64)>, Unreadable> {
    /// A lower bound that is in it, an upper one that isn't: as the server writes every range of integers.
    const HALF_OPEN: u8 = 2;
    /// How many bytes such a range has.
    const RANGE: usize = 25;
    let (count, mut rest) = bytes.split_first_chunk::<4>().ok_or(Unreadable)?;
    let mut intervals = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        let (length, range) = rest.split_first_chunk::<4>().ok_or(Unreadable)?;
        let (range, behind) = range.split_first_chunk::<RANGE>().ok_or(Unreadable)?;
        rest = behind;
        let [HALF_OPEN, 0, 0, 0, 8, bounds @ ..] = range else { return Err(Unreadable) };
        let (from, to) = bounds.split_first_chunk::<8>().ok_or(Unreadable)?;
        let (of_to, to) = to.split_first_chunk::<4>().ok_or(Unreadable)?;
        let to = to.first_chunk::<8>().ok_or(Unreadable)?;
        if u32::from_be_bytes(*length) != 25 || u32::from_be_bytes(*of_to) != 8 {
            return Err(Unreadable);
        }
        intervals.push((i64::from_be_bytes(*from), i64::from_be_bytes(*to)));
    }
    if rest.is_empty() { Ok(intervals) } else { Err(Unreadable) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn october() -> NaiveDate {
        "2026-10-01".parse().unwrap()
    }

    type Made = (i32, u16, bool, u32, [i64; 4], Vec<(i64, i64)>);

    fn facts_of(made: &[Made]) -> Facts {
        let mut facts = Facts::default();
        for (day, place, played, account, times, intervals) in made {
            let place = Place::read(u64::from(place % 676) * 8 + u64::from(place % 6)).unwrap();
            let day = day_number(october()) + day;
            let numbers = Numbers { day, place, played: *played, account: *account, times: *times };
            facts.push(&numbers, intervals.iter().copied());
        }
        facts
    }

    /// Each fact with its intervals, in an order that doesn't matter.
    fn told(facts: &Facts) -> Vec<String> {
        let one = |fact: &Fact| format!("{:?} {:?}", Fact { intervals: (0, 0), ..*fact }, facts.intervals(fact));
        let mut told: Vec<_> = facts.facts.iter().map(one).collect();
        told.sort();
        told
    }

    proptest! {
        #[test]
        fn facts_are_read_as_they_were_written(
            made in prop::collection::vec(
                (0..31_i32, any::<u16>(), any::<bool>(), any::<u32>(), any::<[i64; 4]>(),
                 prop::collection::vec((-(1_i64 << 53)..1 << 53, -(1_i64 << 53)..1 << 53), 0..4)),
                0..40)
        ) {
            let mut facts = facts_of(&made);
            let bytes = facts.write();
            let mut again = Facts::default();
            again.read(october(), &bytes, |_| true).unwrap();
            prop_assert_eq!(told(&again), told(&facts));
            // Days can be left out, and another's facts put in.
            let middle = day_number(october()) + 15;
            let (mut early, mut late) = (Facts::default(), Facts::default());
            early.read(october(), &bytes, |day| day < middle).unwrap();
            late.read(october(), &bytes, |day| day >= middle).unwrap();
            early.append(&late);
            prop_assert_eq!(told(&early), told(&facts));
            let days = read_days(october(), &facts.write_days()).unwrap();
            prop_assert!(days.is_sorted_by(|a, b| a.0 < b.0));
            // Cut short, it is no pack, or one of fewer days.
            if !bytes.is_empty() {
                let mut cut = Facts::default();
                let read = cut.read(october(), &bytes[..bytes.len() - 1], |_| true);
                prop_assert!(read.is_err() || cut.facts.len() < facts.facts.len());
            }
        }

        #[test]
        fn no_bytes_make_a_mistake(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            _ = Facts::default().read(october(), &bytes, |_| true);
            _ = (read_sums(&bytes), read_days(october(), &bytes), sent_intervals(&bytes));
        }
    }

    #[test]
    fn a_place_is_a_territory_and_a_class_of_device() {
        for (territory, class) in [("DE", "tablet"), ("AA", "tv"), ("ZZ", "other")] {
            let place = Place::of(territory, class).unwrap();
            assert_eq!((place.territory().as_str(), place.device_class().as_str()), (territory, class));
            assert_eq!(Place::read(place.0.into()), Ok(place));
        }
        assert_eq!(Place::of("de", "tv"), Err(Unreadable));
        assert_eq!(Place::of("DE", "toaster"), Err(Unreadable));
        assert_eq!(Place::read(676 * 8), Err(Unreadable));
    }

    #[test]
    fn sums_are_read_as_they_were_written() {
        let counted = Counted { plays: 300, watched_ms: i64::MAX, peak_concurrent: 1, ..Counted::default() };
        let sums = [(Place::of("DE", "tv").unwrap(), counted), (Place::of("FR", "web").unwrap(), Counted::default())];
        assert_eq!(read_sums(&write_sums(&sums)), Ok(sums.to_vec()));
    }
}
