//! The text of an `int8multirange`: the driver reads its values in no other form.

/// The half-open ranges of `{[0,30000),[40000,50000)}`, as the server writes them; `None` if it is no such text.
pub(super) fn read(text: &str) -> Option<Vec<(i64, i64)>> {
    let mut rest = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut ranges = Vec::new();
    while !rest.is_empty() {
        let (range, behind) = rest.strip_prefix('[')?.split_once(')')?;
        let (start, end) = range.split_once(',')?;
        ranges.push((start.parse().ok()?, end.parse().ok()?));
        rest = if behind.is_empty() { behind } else { behind.strip_prefix(',')? };
    }
    Some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_nothing_else() {
        assert_eq!(read("{}"), Some(vec![]));
        assert_eq!(read("{[0,1)}"), Some(vec![(0, 1)]));
        assert_eq!(read("{[-5,1),[7,9223372036854775807)}"), Some(vec![(-5, 1), (7, i64::MAX)]));
        for bad in ["", "{", "[1,2)", "{[1,2]}", "{[1,2)[3,4)}", "{[1)}", "{(,)}"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
