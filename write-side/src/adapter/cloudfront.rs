//! `CloudFront`: the records of its real-time logs, and the lines of its standard logs.
//!
//! Both are fields between tabs. A real-time record has the fields that its configuration lists, in
//! that order; a standard log names them in a line that begins with `#Fields:`.

use std::borrow::Cow;
use std::collections::HashMap;

use chrono::NaiveDateTime;
use pulsegate_domain::ids::{ContentKind, SessionId, SignalKind};
use pulsegate_domain::time::Timestamp;
use uuid::Uuid;

use super::mapping::{CloudFrontMapping, Mapping};
use super::source::{Place, Source};
use super::{LINE_LEN_MAX, Line, LineError, Sighting, cmcd, encoding};
use crate::request::SignalRequest;

/// Seconds since 1970 are fewer, milliseconds more.
const SECONDS_MAX: i64 = 100_000_000_000;

/// Reads a log line by line.
#[derive(Clone, Debug)]
pub struct CloudFront<'m> {
    mapping: &'m CloudFrontMapping,
    columns: Columns,
}

/// Which field stands where.
#[derive(Clone, Debug)]
struct Columns {
    of: HashMap<String, usize>,
    count: usize,
}

impl Columns {
    fn of(names: impl IntoIterator<Item = String>) -> Self {
        let mut columns = Self { of: HashMap::new(), count: 0 };
        for name in names {
            // The first of two of one name.
            columns.of.entry(name).or_insert(columns.count);
            columns.count += 1;
        }
        columns
    }
}

impl<'m> CloudFront<'m> {
    /// A reader of records with the fields that `mapping` lists, until the log says others.
    #[must_use]
    pub fn new(mapping: &'m Mapping) -> Self {
        let mapping = &mapping.cloudfront;
        Self { mapping, columns: Columns::of(mapping.fields.iter().cloned()) }
    }

    /// Reads a line, without its end.
    ///
    /// # Errors
    /// [`LineError`] names the field that is wrong.
    pub fn line(&mut self, line: &[u8]) -> Result<Line, LineError> {
        if line.len() > LINE_LEN_MAX {
            return Err(LineError::new("line", format!("is longer than {LINE_LEN_MAX} bytes")));
        }
        let line = std::str::from_utf8(line).map_err(|_| LineError::new("line", "is not UTF-8"))?;
        let line = line.strip_suffix('\r').unwrap_or(line);
        if let Some(fields) = line.strip_prefix("#Fields:") {
            self.columns = Columns::of(fields.split_whitespace().map(plain_name));
            return Ok(Line::Blank);
        }
        if line.is_empty() || line.starts_with('#') {
            return Ok(Line::Blank);
        }
        let values: Vec<_> = line.split('\t').collect();
        // Some deliver a record with a tab at its end.
        let given = values.len() - usize::from(values.len() == self.columns.count + 1 && values.last() == Some(&""));
        if given != self.columns.count {
            let expected = self.columns.count;
            return Err(LineError::new("line", format!("has {given} fields, and {expected} are listed")));
        }
        Row { mapping: self.mapping, columns: &self.columns, values }.read()
    }
}

/// `cs(User-Agent)` of a standard log is `cs-user-agent` of a real-time one.
fn plain_name(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    match name.strip_prefix("cs(").and_then(|rest| rest.strip_suffix(')')) {
        Some(header) => format!("cs-{header}"),
        None => name,
    }
}

/// One record.
struct Row<'a> {
    mapping: &'a CloudFrontMapping,
    columns: &'a Columns,
    values: Vec<&'a str>,
}

impl Row<'_> {
    /// A field's value; a log writes `-` where there is none.
    fn field(&self, name: &str) -> Option<&str> {
        let value = *self.values.get(*self.columns.of.get(name)?)?;
        Some(value).filter(|value| !value.is_empty() && *value != "-")
    }

    fn read(&self) -> Result<Line, LineError> {
        if !self.was_served()? {
            return Ok(Line::NotServed);
        }
        let Some(kind) = self.kind() else { return Ok(Line::NotMedia) };
        let at = self.at()?;
        let signal = SignalRequest {
            account_id: self.id("account_id", &self.mapping.account)?,
            device_id: self.id("device_id", &self.mapping.device)?,
            title_id: self.id("title_id", &self.mapping.title)?,
            // A player may call its session by any text; one that is no id of ours is found by its device.
            session_id: self.found(&self.mapping.session).and_then(|(text, _)| text.parse::<SessionId>().ok()),
            device_class: self.found(&self.mapping.device_class).and_then(|(text, _)| text.parse().ok()),
            content_kind: self.stream_type(),
            territory: self.found(&self.mapping.territory).and_then(|(text, _)| text.parse().ok()),
            kind,
        };
        Ok(Line::Seen(Box::new(Sighting { at, signal })))
    }

    fn was_served(&self) -> Result<bool, LineError> {
        if self.field("cs-method").is_some_and(|method| method != "GET") {
            return Ok(false);
        }
        let Some(status) = self.field("sc-status") else { return Ok(true) };
        let status: u16 =
            status.parse().map_err(|_| LineError::new("sc-status", format!("is {status:?}, which is no status")))?;
        // Not modified: who asks for a manifest again and again is watching.
        Ok(matches!(status, 200..=299 | 304))
    }

    /// By what the player says that it asks for, else by how the path ends.
    fn kind(&self) -> Option<SignalKind> {
        match self.cmcd("ot").as_deref() {
            Some("m") => return Some(SignalKind::Manifest),
            Some("v" | "a" | "av" | "i" | "c" | "tt") => return Some(SignalKind::CdnSegment),
            Some(_) | None => {}
        }
        let path = encoding::decoded(self.path()?)?.to_ascii_lowercase();
        let ends_in = |endings: &[String]| endings.iter().any(|ending| path.ends_with(ending));
        if ends_in(&self.mapping.manifests) {
            Some(SignalKind::Manifest)
        } else if ends_in(&self.mapping.segments) {
            Some(SignalKind::CdnSegment)
        } else {
            None
        }
    }

    fn stream_type(&self) -> Option<ContentKind> {
        match self.cmcd("st").as_deref() {
            Some("v") => Some(ContentKind::Vod),
            Some("l") => Some(ContentKind::Live),
            Some(_) | None => None,
        }
    }

    fn at(&self) -> Result<Timestamp, LineError> {
        if let Some(text) = self.field("timestamp(ms)") {
            return seconds(text).ok_or_else(|| LineError::new("timestamp(ms)", no_time(text)));
        }
        if let Some(text) = self.field("timestamp") {
            return seconds(text).ok_or_else(|| LineError::new("timestamp", no_time(text)));
        }
        let (Some(date), Some(time)) = (self.field("date"), self.field("time")) else {
            return Err(LineError::new("timestamp", "is missing, and so are date and time"));
        };
        let text = format!("{date} {time}");
        let at = NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S").ok();
        at.map(|at| at.and_utc().into()).ok_or_else(|| LineError::new("time", no_time(&text)))
    }

    /// The path, without the query that a real-time log writes behind it.
    fn path(&self) -> Option<&str> {
        self.field("cs-uri-stem")?.split('?').next()
    }

    fn query(&self) -> Option<&str> {
        self.field("cs-uri-query").or_else(|| self.field("cs-uri-stem")?.split_once('?').map(|(_, query)| query))
    }

    /// A key of what the player says of itself: in the query, in headers, in fields of the log.
    fn cmcd(&self, key: &str) -> Option<String> {
        let in_query = || {
            let data = encoding::decoded_twice(encoding::parameter(self.query()?, "CMCD")?)?;
            cmcd::value(&data, key)
        };
        let in_headers = || {
            let headers = self.field("cs-headers")?;
            cmcd::HEADERS.iter().find_map(|name| cmcd::value(&encoding::header(headers, name)?, key))
        };
        let in_fields = || {
            let value = encoding::decoded_twice(self.field(cmcd::log_field(key)?)?)?;
            Some(value.trim_matches('"').to_owned())
        };
        in_query().or_else(in_headers).or_else(in_fields).filter(|value| !value.is_empty())
    }

    /// What stands at the first of the places that has anything.
    fn found<'s>(&self, sources: &'s [Source]) -> Option<(String, &'s Source)> {
        sources.iter().find_map(|source| Some((self.find(source)?, source)))
    }

    fn find(&self, source: &Source) -> Option<String> {
        let text = match &source.place {
            Place::Query(name) => encoding::decoded_twice(encoding::parameter(self.query()?, name)?)?.into_owned(),
            Place::Cookie(name) => encoding::cookie(self.field("cs-cookie")?, name)?,
            Place::Header(name) => encoding::header(self.field("cs-headers")?, name)?,
            Place::Cmcd(key) => self.cmcd(key)?,
            Place::Path(name) => {
                let path = self.path()?;
                let part = self.mapping.paths.iter().find_map(|pattern| pattern.find(path, name))?;
                encoding::decoded_twice(part)?.into_owned()
            }
            Place::Field(name) => encoding::decoded_twice(self.field(name)?).map(Cow::into_owned)?,
            Place::Hash(names) => self.hash(names)?,
        };
        let text = match &source.claim {
            Some(pointer) => encoding::claim(&text, pointer)?,
            None => text,
        };
        Some(text).filter(|text| !text.is_empty())
    }

    /// Fields as one id: none where none of them says anything.
    fn hash(&self, names: &[String]) -> Option<String> {
        let values: Vec<_> = names.iter().map(|name| self.field(name).unwrap_or_default()).collect();
        if values.iter().all(|value| value.is_empty()) {
            return None;
        }
        Some(format!("h-{}", Uuid::new_v5(&Uuid::NAMESPACE_OID, values.join("\t").as_bytes()).simple()))
    }

    fn id<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        field: &str,
        sources: &[Source],
    ) -> Result<T, LineError> {
        let Some((text, source)) = self.found(sources) else {
            let places: Vec<_> = sources.iter().map(ToString::to_string).collect();
            return Err(LineError::new(field, format!("was found in none of {}", places.join(", "))));
        };
        text.parse().map_err(|error| LineError::new(field, format!("{error} ({source} says {text:?})")))
    }
}

fn no_time(text: &str) -> String {
    format!("is {text:?}, which is no time")
}

/// Seconds since 1970 with or without a fraction, or milliseconds.
fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    if whole >= SECONDS_MAX {
        return Some(Timestamp::from_millis(whole));
    }
    let thousandths = fraction.bytes().chain(std::iter::repeat(b'0')).take(3);
    let ms = thousandths.fold(0, |ms, digit| ms * 10 + i64::from(digit - b'0'));
    Some(Timestamp::from_millis(whole * 1_000 + ms))
}

#[cfg(test)]
#[path = "cloudfront/tests.rs"]
mod tests;
