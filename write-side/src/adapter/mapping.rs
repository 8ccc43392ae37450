//! The mapping: where in a format's records a signal's fields are found. A JSON file; what it leaves out is as here.

use std::fmt;
use std::str::FromStr;

use super::source::{Pattern, Place, Source};
use crate::json::field::{List, Phrase};
use crate::json::{Reader, read_body};
use crate::problems::{BodyError, FieldProblem, PROBLEMS_TOLD_MAX};

/// Most places that one field is looked up in.
const SOURCES_MAX: usize = 16;
/// Most paths, endings and words of one list.
const LIST_MAX: usize = 64;
/// Most fields of a log.
const FIELDS_MAX: usize = 128;

/// The fields of a real-time log, in the order in which `CloudFront` writes them, where all are chosen that there were
/// from the beginning.
const FIELDS: [&str; 40] = [
    "timestamp",
    "c-ip",
    "time-to-first-byte",
    "sc-status",
    "sc-bytes",
    "cs-method",
    "cs-protocol",
    "cs-host",
    "cs-uri-stem",
    "cs-bytes",
    "x-edge-location",
    "x-edge-request-id",
    "x-host-header",
    "time-taken",
    "cs-protocol-version",
    "c-ip-version",
    "cs-user-agent",
    "cs-referer",
    "cs-cookie",
    "cs-uri-query",
    "x-edge-response-result-type",
    "x-forwarded-for",
    "ssl-protocol",
    "ssl-cipher",
    "x-edge-result-type",
    "fle-encrypted-fields",
    "fle-status",
    "sc-content-type",
    "sc-content-len",
    "sc-range-start",
    "sc-range-end",
    "c-port",
    "x-edge-detailed-result-type",
    "c-country",
    "cs-accept-encoding",
    "cs-accept",
    "cache-behavior-path-pattern",
    "cs-headers",
    "cs-header-names",
    "cs-headers-count",
];

/// Where each format says what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    pub(super) cloudfront: CloudFrontMapping,
    pub(super) licence: LicenceMapping,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CloudFrontMapping {
    pub(super) fields: Vec<String>,
    pub(super) paths: Vec<Pattern>,
    pub(super) account: Vec<Source>,
    pub(super) device: Vec<Source>,
    pub(super) title: Vec<Source>,
    pub(super) session: Vec<Source>,
    pub(super) device_class: Vec<Source>,
    pub(super) territory: Vec<Source>,
    /// How the path of a manifest ends, in lower case.
    pub(super) manifests: Vec<String>,
    /// How the path of a segment ends, in lower case.
    pub(super) segments: Vec<String>,
}

/// JSON pointers into what a licence server asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LicenceMapping {
    pub(super) account: String,
    pub(super) device: String,
    pub(super) title: String,
    pub(super) session: String,
    pub(super) device_class: String,
    pub(super) content_kind: String,
    pub(super) territory: String,
    pub(super) kind: String,
    /// The words by which it says that a licence is renewed.
    pub(super) renewals: Vec<String>,
}

impl Default for CloudFrontMapping {
    fn default() -> Self {
        let sources = |texts: &[&str]| texts.iter().filter_map(|text| text.parse().ok()).collect();
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self {
            fields: texts(&FIELDS),
            paths: Vec::new(),
            account: sources(&["query:account_id", "cookie:account_id", "header:X-Account-Id"]),
            device: sources(&["query:device_id", "cookie:device_id", "header:X-Device-Id"]),
            title: sources(&["query:title_id", "cmcd:cid"]),
            session: sources(&["cmcd:sid", "query:session_id"]),
            device_class: sources(&["query:device_class"]),
            territory: sources(&["field:c-country"]),
            manifests: texts(&[".m3u8", ".mpd", ".ism/manifest"]),
            segments: texts(&[".ts", ".m4s", ".mp4", ".cmfv", ".cmfa", ".m4v", ".m4a", ".aac", ".webm"]),
        }
    }
}

impl Default for LicenceMapping {
    fn default() -> Self {
        Self {
            account: "/account_id".to_owned(),
            device: "/device_id".to_owned(),
            title: "/title_id".to_owned(),
            session: "/session_id".to_owned(),
            device_class: "/device_class".to_owned(),
            content_kind: "/content_kind".to_owned(),
            territory: "/territory".to_owned(),
            kind: "/kind".to_owned(),
            renewals: vec!["drm_renewal".to_owned(), "renewal".to_owned()],
        }
    }
}

impl Mapping {
    /// Reads a mapping's file.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn parse(file: &[u8]) -> Result<Self, BodyError> {
        read_body(file, |reader| {
            let mut mapping = Self::default();
            refuse_others(reader, &["cloudfront", "licence"]);
            if let Some(raw) = reader.raw("cloudfront") {
                mapping.cloudfront.read(raw, reader.problems());
            }
            if let Some(raw) = reader.raw("licence") {
                mapping.licence.read(raw, reader.problems());
            }
            Some(mapping)
        })
    }
}

impl CloudFrontMapping {
    fn read(&mut self, raw: &str, problems: &mut Vec<FieldProblem>) {
        let Some(mut reader) = Reader::open(raw, "/cloudfront", problems) else { return };
        let mut known = vec!["fields", "paths", "manifests", "segments"];
        list::<Word, _, FIELDS_MAX>(&mut reader, "fields", &mut self.fields, |word| word.0.to_ascii_lowercase());
        list::<Pattern, _, LIST_MAX>(&mut reader, "paths", &mut self.paths, |pattern| pattern);
        list::<Word, _, LIST_MAX>(&mut reader, "manifests", &mut self.manifests, |word| word.0.to_ascii_lowercase());
        list::<Word, _, LIST_MAX>(&mut reader, "segments", &mut self.segments, |word| word.0.to_ascii_lowercase());
        for (name, sources) in [
            ("account_id", &mut self.account),
            ("device_id", &mut self.device),
            ("title_id", &mut self.title),
            ("session_id", &mut self.session),
            ("device_class", &mut self.device_class),
            ("territory", &mut self.territory),
        ] {
            known.push(name);
            list::<Source, _, SOURCES_MAX>(&mut reader, name, sources, |source| source);
            for (index, source) in sources.iter().enumerate() {
                if let Some(detail) = unfindable(source, &self.paths, &self.fields) {
                    reader.note(&format!("{name}/{index}"), detail);
                }
            }
        }
        refuse_others(&mut reader, &known);
    }
}

/// Why a source will never find anything. What a file's own `#Fields` brings is not known here, so only a field that no
/// log has is a mistake.
fn unfindable(source: &Source, paths: &[Pattern], fields: &[String]) -> Option<String> {
    let is_known = |field: &String| fields.contains(field) || FIELDS.contains(&field.as_str()) || is_standard(field);
    match &source.place {
        Place::Path(name) if !paths.iter().any(|path| path.names(name)) => {
            Some(format!("names a part of a path, and no path has {{{name}}}"))
        }
        Place::Field(field) if !is_known(field) => Some(format!("names the field {field}, which no log has")),
        Place::Hash(hashed) => {
            let unknown = hashed.iter().find(|field| !is_known(field))?;
            Some(format!("names the field {unknown}, which no log has"))
        }
        _ => None,
    }
}

/// Fields of standard logs that real-time logs don't have, and those that came later.
fn is_standard(field: &str) -> bool {
    matches!(field, "date" | "time" | "timestamp(ms)" | "asn" | "distributionid") || field.starts_with("cmcd-")
}

impl LicenceMapping {
    fn read(&mut self, raw: &str, problems: &mut Vec<FieldProblem>) {
        let Some(mut reader) = Reader::open(raw, "/licence", problems) else { return };
        let mut known = vec!["renewals"];
        list::<Word, _, LIST_MAX>(&mut reader, "renewals", &mut self.renewals, |word| word.0);
        for (name, pointer) in [
            ("account_id", &mut self.account),
            ("device_id", &mut self.device),
            ("title_id", &mut self.title),
            ("session_id", &mut self.session),
            ("device_class", &mut self.device_class),
            ("content_kind", &mut self.content_kind),
            ("territory", &mut self.territory),
            ("kind", &mut self.kind),
        ] {
            known.push(name);
            if let Ok(Some(given)) = reader.optional::<Phrase<Pointer>>(name) {
                *pointer = given.0.0;
            }
        }
        refuse_others(&mut reader, &known);
    }
}

/// Reads a list in place of what is there.
fn list<T: FromStr<Err: fmt::Display>, K, const MAX: usize>(
    reader: &mut Reader<'_, '_>,
    name: &str,
    place: &mut Vec<K>,
    keep: impl Fn(T) -> K,
) {
    if let Ok(Some(given)) = reader.optional::<List<Phrase<T>, 0, MAX>>(name) {
        *place = given.0.into_iter().map(|phrase| keep(phrase.0)).collect();
    }
}

/// A misspelt name would silently leave a default in force.
fn refuse_others(reader: &mut Reader<'_, '_>, known: &[&str]) {
    let others: Vec<_> = reader.others(known).map(|(name, _)| name.to_owned()).take(PROBLEMS_TOLD_MAX + 1).collect();
    for name in others {
        reader.note(&name, format!("is nothing that a mapping has; there are: {}", known.join(", ")));
    }
}

/// A word that is not blank.
struct Word(String);

impl FromStr for Word {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=256).contains(&text.len()) && !text.chars().any(|letter| letter.is_control() || letter == ' ');
        if fits { Ok(Self(text.to_owned())) } else { Err("must be 1-256 characters without spaces") }
    }
}

/// A JSON pointer.
struct Pointer(String);

impl FromStr for Pointer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with('/') { Ok(Self(text.to_owned())) } else { Err("must be a JSON pointer, as /user/id") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(file: &str) -> String {
        Mapping::parse(file.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_a_mapping_leaves_out_is_as_by_default() {
        assert_eq!(Mapping::parse(b"{}"), Ok(Mapping::default()));
        let mapping = Mapping::parse(br#"{"cloudfront":{"paths":["/{t}/*"],"title_id":["path:t"]}}"#).unwrap();
        assert_eq!(mapping.cloudfront.account, Mapping::default().cloudfront.account);
        assert_eq!(mapping.cloudfront.title[0].to_string(), "path:t");
        // Every default can be read.
        let CloudFrontMapping { account, device, title, session, .. } = CloudFrontMapping::default();
        assert_eq!([account.len(), device.len(), title.len(), session.len()], [3, 3, 2, 2]);
    }

    #[test]
    fn every_mistake_of_a_mapping_has_its_place() {
        assert_eq!(
            mistakes(
                r#"{"cloudfront":{"account":["query:a"],"account_id":["nowhere:a"],"title_id":["path:title"],
                    "device_id":["hash:c-ip,c-shoe"],"paths":["vod"]},"licence":{"device_id":"user"},"more":1}"#
            ),
            "invalid: /more is nothing that a mapping has; there are: cloudfront, licence; \
             /cloudfront/paths/0 must be a path like /vod/{title}/*, each part a word, {name} or *; \
             /cloudfront/account_id/0 must be query:<name>, cookie:<name>, header:<name>, cmcd:<key>, path:<name>, \
             field:<name> or hash:<field>,<field>; #/<pointer> behind it looks into a token; \
             /cloudfront/device_id/0 names the field c-shoe, which no log has; \
             /cloudfront/title_id/0 names a part of a path, and no path has {title}; \
             /cloudfront/account is nothing that a mapping has; there are: fields, paths, manifests, segments, \
             account_id, device_id, title_id, session_id, device_class, territory; \
             /licence/device_id must be a JSON pointer, as /user/id"
        );
        assert!(mistakes("[]").contains("must be an object"));
        assert!(mistakes(r#"{"licence":{},"licence":{}}"#).contains("duplicate key"));
    }
}
