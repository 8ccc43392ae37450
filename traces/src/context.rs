//! A sampled span, as others are told of it: W3C's Trace Context.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The header's name, in HTTP and in the log.
pub const HEADER: &str = "traceparent";

/// `00-` trace id `-` span id `-` flags.
const LEN: usize = 55;
const SAMPLED: u8 = 1;

/// Which span of which trace; it is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) context: Context,
    pub(crate) is_sampled: bool,
}

impl Context {
    /// The context of a header that says that it is sampled.
    #[must_use]
    pub fn of_sampled(header: &[u8]) -> Option<Self> {
        Said::read(header).filter(|said| said.is_sampled).map(|said| said.context)
    }

    /// The header by which others are told.
    #[must_use]
    pub fn header(&self) -> String {
        format!("00-{}-{}-{SAMPLED:02x}", self.trace, self.span)
    }

    /// The trace's id, as logs and collectors write it.
    #[must_use]
    pub fn trace_id(&self) -> String {
        self.trace.to_string()
    }

    pub(crate) fn otel(&self, is_remote: bool) -> SpanContext {
        SpanContext::new(self.trace, self.span, TraceFlags::SAMPLED, is_remote, TraceState::default())
    }
}

/// The trace's id that a header names, sampled or not.
#[must_use]
pub fn trace_id_of(header: &[u8]) -> Option<String> {
    Said::read(header).map(|said| said.context.trace_id())
}

impl Said {
    /// `None` where it is no header of this kind: then it says nothing.
    pub(crate) fn read(header: &[u8]) -> Option<Self> {
        let (known, more) = header.split_at_checked(LEN)?;
        let [v1, v2, b'-', trace @ .., f1, f2] = known else { return None };
        let (trace, rest) = trace.split_at_checked(32)?;
        let [b'-', span @ .., b'-'] = rest else { return None };
        let version = hex(&[*v1, *v2])?;
        // A version to come may say more behind what is known of it; 255 is none.
        let is_whole = if version == 0 { more.is_empty() } else { more.first().is_none_or(|byte| *byte == b'-') };
        let flags = hex(&[*f1, *f2])?;
        let (trace, span) = (hex(trace)?, u64::try_from(hex(span)?).ok()?);
        (version != 255 && is_whole && trace != 0 && span != 0).then(|| Self {
            context: Context { trace: TraceId::from(trace), span: SpanId::from(span) },
            is_sampled: flags & u128::from(SAMPLED) != 0,
        })
    }
}

/// Lower-case digits only, as the standard has them.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written_the_same() {
        let context = Context::of_sampled(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(context.header(), EXAMPLE);
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace_id_of(EXAMPLE.as_bytes()), Some(context.trace_id()));
    }

    #[test]
    fn not_sampled_is_read_and_follows_nobody() {
        let header = EXAMPLE.replace("-01", "-02");
        assert_eq!(Context::of_sampled(header.as_bytes()), None);
        assert!(trace_id_of(header.as_bytes()).is_some());
        assert!(Context::of_sampled(EXAMPLE.replace("-01", "-03").as_bytes()).is_some());
    }

    #[test]
    fn what_is_no_header_says_nothing() {
        let more = format!("{EXAMPLE}-more");
        for bad in [
            "",
            "00",
            &EXAMPLE[..54],
            &more,
            &EXAMPLE.to_uppercase(),
            &EXAMPLE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &EXAMPLE.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &EXAMPLE.replacen("00-", "ff-", 1),
            &EXAMPLE.replacen("00-", "0x-", 1),
            &EXAMPLE.replace('-', "_"),
            &EXAMPLE.replace("4bf9", "4bg9"),
        ] {
            assert_eq!(trace_id_of(bad.as_bytes()), None, "{bad}");
        }
        // A version to come is read as far as it is known.
        assert!(trace_id_of(more.replacen("00-", "01-", 1).as_bytes()).is_some());
        assert!(trace_id_of(format!("{EXAMPLE}more").replacen("00-", "01-", 1).as_bytes()).is_none());
    }
}
