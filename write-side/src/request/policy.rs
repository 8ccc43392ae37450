//! `PUT /v1/policies/{name}`

use std::fmt;
use std::str::FromStr;

use pulsegate_domain::policy::{Leases, OnLimit, PerDevice, Policy, RULES_MAX, Rule, Scope, Terms};

use crate::json::field::{Integer, Phrase, elements};
use crate::json::{Reader, read_body};
use crate::problems::{BodyError, FieldProblem};

/// The largest `max` that can be read at all; how large it may be, the terms say.
const U32_MAX: u64 = 4_294_967_295;

/// Reads the terms of a policy. What isn't said is as in the built-in policy.
pub fn parse_policy(body: &[u8]) -> Result<Terms, BodyError> {
    read_body(body, |reader| {
        let standard = Policy::standard().terms;
        let read_rules = reader.raw("rules").map(|raw| rules(raw, reader.problems()));
        if read_rules.is_none() {
            reader.note("rules", "is required");
        }
        let leases_ms = match reader.raw("leases_ms") {
            Some(raw) => leases(raw, reader.problems()),
            None => standard.leases_ms,
        };
        let pause = reader.optional::<Integer>("paused_hold_ms").ok().flatten();
        let per_device = reader.optional::<Phrase<Word<PerDevice>>>("per_device").ok().flatten();
        // Rules that can't be read are left out here, so that the others are still checked.
        let (places, rules) =
            read_rules.flatten().unwrap_or_default().into_iter().unzip::<_, _, Vec<usize>, Vec<Rule>>();
        let terms = Terms {
            rules,
            leases_ms,
            paused_hold_ms: pause.map_or(standard.paused_hold_ms, |integer| integer.0),
            per_device: per_device.map_or(standard.per_device, |phrase| phrase.0.0),
        };
        for problem in terms.problems() {
            // How many rules there are was checked where all of them were seen.
            if let Some(pointer) = place_in_body(&problem.pointer, &places) {
                reader.problems().push(FieldProblem { pointer, detail: problem.detail });
            }
        }
        Some(terms)
    })
}

/// The pointer into the body for one into terms that hold only the rules of `places`.
fn place_in_body(pointer: &str, places: &[usize]) -> Option<String> {
    let Some(rest) = pointer.strip_prefix("/rules") else { return Some(pointer.to_owned()) };
    let (index, field) = rest.strip_prefix('/')?.split_once('/')?;
    let place = places.get(index.parse::<usize>().ok()?)?;
    Some(format!("/rules/{place}/{field}"))
}

/// Each rule whose scope can be read, with its place.
fn rules(raw: &str, problems: &mut Vec<FieldProblem>) -> Option<Vec<(usize, Rule)>> {
    let elements = elements(raw, "/rules", problems)?;
    if !(1..=RULES_MAX).contains(&elements.len()) {
        problems.push(FieldProblem::new("/rules", format!("must hold 1-{RULES_MAX} rules")));
    }
    let rules = elements.iter().take(RULES_MAX).enumerate().filter_map(|(index, element)| {
        let mut reader = Reader::open(element.get(), &format!("/rules/{index}"), problems)?;
        let scope = reader.required::<Phrase<Scope>>("scope");
        let max = reader.required::<Integer<U32_MAX>>("max");
        let on_limit = reader.required::<Phrase<Word<OnLimit>>>("on_limit");
        // The rest of a rule that is wrong was noted: its scope still counts against the others.
        Some((
            index,
            Rule {
                scope: scope?.0,
                max: max.and_then(|integer| u32::try_from(integer.0).ok()).unwrap_or(0),
                on_limit: on_limit.map_or(OnLimit::BlockNewest, |phrase| phrase.0.0),
            },
        ))
    });
    Some(rules.collect())
}

fn leases(raw: &str, problems: &mut Vec<FieldProblem>) -> Leases {
    let mut leases = Leases::default();
    let Some(mut reader) = Reader::open(raw, "/leases_ms", problems) else { return leases };
    for (name, lease) in [
        ("started", &mut leases.started),
        ("heartbeat", &mut leases.heartbeat),
        ("cdn_segment", &mut leases.cdn_segment),
        ("manifest", &mut leases.manifest),
        ("drm_licence", &mut leases.drm_licence),
        ("drm_renewal", &mut leases.drm_renewal),
    ] {
        if let Ok(Some(integer)) = reader.optional::<Integer>(name) {
            *lease = integer.0;
        }
    }
    leases
}

/// A word of one of a policy's vocabularies.
#[derive(Clone, Copy, Debug)]
struct Word<T>(T);

/// A word that the vocabulary doesn't hold.
struct NoWord(&'static str);

impl fmt::Display for NoWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "must be one of {}", self.0)
    }
}

impl FromStr for Word<OnLimit> {
    type Err = NoWord;

    fn from_str(text: &str) -> Result<Self, NoWord> {
        match text {
            "block_newest" => Ok(Self(OnLimit::BlockNewest)),
            "displace_oldest" => Ok(Self(OnLimit::DisplaceOldest)),
            _ => Err(NoWord("block_newest, displace_oldest")),
        }
    }
}

impl FromStr for Word<PerDevice> {
    type Err = NoWord;

    fn from_str(text: &str) -> Result<Self, NoWord> {
        match text {
            "one" => Ok(Self(PerDevice::One)),
            "many" => Ok(Self(PerDevice::Many)),
            _ => Err(NoWord("one, many")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(body: &str) -> Result<Terms, String> {
        parse_policy(body.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_is_as_in_the_built_in_policy() {
        let terms =
            parse(r#"{"rules":[{"scope":"account","max":2,"on_limit":"block_newest"}],"leases_ms":{"manifest":5}}"#);
        let mut expected = Policy::standard().terms;
        expected.leases_ms.manifest = 5;
        assert_eq!(terms, Ok(expected));
    }

    #[test]
    fn every_mistake_is_named_with_its_place() {
        assert_eq!(
            parse(
                r#"{"rules":[{"scope":"planet","max":1,"on_limit":"block_newest"},
                             {"scope":"account","max":10001,"on_limit":"explode"},
                             {"scope":"account","max":-1,"on_limit":"displace_oldest"},
                             7],
                    "leases_ms":{"manifest":0,"started":"1"},"paused_hold_ms":86400001,"per_device":"two"}"#
            ),
            Err("invalid: /rules/0/scope must be account, title, territory, rights_holder, device_class:<class> or content_kind:<vod|live>; \
                 /rules/1/on_limit must be one of block_newest, displace_oldest; \
                 /rules/2/max must be an integer of 0-4294967295; \
                 /rules/3 must be an object; \
                 /leases_ms/started must be an integer of 0-9007199254740991; \
                 /per_device must be one of one, many; \
                 /rules/1/max must be at most 10000; \
                 /rules/2/scope must not repeat account; \
                 /leases_ms/manifest must be 1-86400000; \
                 /paused_hold_ms must be at most 86400000"
                .to_owned())
        );
        assert_eq!(parse("{}"), Err("invalid: /rules is required".to_owned()));
        assert_eq!(parse(r#"{"rules":[]}"#), Err("invalid: /rules must hold 1-32 rules".to_owned()));
    }

    proptest! {
        #[test]
        fn terms_are_read_as_they_are_written(max in 0_u32..10_000, lease in 1_u64..86_400_000, many in any::<bool>()) {
            let mut terms = Policy::standard().terms;
            terms.rules.push(Rule { scope: Scope::Title, max, on_limit: OnLimit::DisplaceOldest });
            terms.leases_ms.heartbeat = lease;
            terms.per_device = if many { PerDevice::Many } else { PerDevice::One };
            prop_assert_eq!(parse_policy(&serde_json::to_vec(&terms).unwrap()), Ok(terms));
        }
    }
}
