//! What is laid over the records of a forgotten account, wherever they are read: in the place of its id and its devices
//! stands something that names nobody, what it wrote is gone, and all numbers stay.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use pulsegate_domain::topic::Topic;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::master::{MasterKey, Who};

/// What the id of a forgotten account begins with in read models.
pub const PREFIX: &str = "forgotten:";

/// Why a record of somebody forgotten was left out, for whoever asks: the reason itself may quote what it says.
pub const UNTOLD: &str = "it could not be folded; why, is not kept of an account that was forgotten";

/// Most accounts of which one veil remembers whether they were forgotten.
const REMEMBERED_MAX: usize = 200_000;

/// The account that a record's value names, where it names one.
#[must_use]
pub fn account_of(value: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

    #[derive(Deserialize)]
    struct Said<'a> {
        #[serde(borrow)]
        data: Data<'a>,
    }

    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow, default)]
        account_id: Option<Text<'a>>,
    }

    serde_json::from_slice::<Said<'_>>(value).ok()?.data.account_id.map(|Text(account)| account)
}

/// Lays itself over the records of those who were forgotten. For one piece of work.
#[derive(Debug)]
pub struct Veil {
    master: MasterKey,
    forgotten: Arc<HashSet<Who, foldhash::fast::RandomState>>,
    /// Naming an account costs as much as reading an event, and the same ones come again and again.
    remembered: Mutex<HashMap<Box<[u8]>, Option<Who>, foldhash::fast::RandomState>>,
}

impl Veil {
    pub(crate) fn new(master: MasterKey, forgotten: Arc<HashSet<Who, foldhash::fast::RandomState>>) -> Self {
        Self { master, forgotten, remembered: Mutex::default() }
    }

    /// Only over the records of this one.
    #[must_use]
    pub fn over(master: MasterKey, who: Who) -> Self {
        let mut forgotten = HashSet::default();
        forgotten.insert(who);
        Self::new(master, Arc::new(forgotten))
    }

    /// How many were forgotten when it was made.
    #[must_use]
    pub fn len(&self) -> usize {
        self.forgotten.len()
    }

    /// Whether it lies over nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.forgotten.is_empty()
    }

    /// Who this account was, if it was forgotten.
    #[must_use]
    pub fn forgotten(&self, account: &[u8]) -> Option<Who> {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = remembered.get(account) {
            return *known;
        }
        let who = self.master.who(account);
        let known = self.forgotten.contains(&who).then_some(who);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(account.into(), known);
        known
    }

    /// A record's key and value as they are read from now on; `None` where it is nobody's who was forgotten.
    ///
    /// Of `playback` the key says whose it is, as it does for every fold of it; of other topics the value.
    #[must_use]
    pub fn over_record(&self, topic: Topic, key: Option<&[u8]>, value: Option<&[u8]>) -> Option<Veiled> {
        let named = match topic {
            Topic::Playback => Cow::Borrowed(std::str::from_utf8(key?).ok()?),
            Topic::Clickstream | Topic::Catalog | Topic::Rejected | Topic::Provisional => account_of(value?)?,
        };
        let who = self.forgotten(named.as_bytes())?;
        let is_its_key = key.is_some_and(|key| key == named.as_bytes());
        Some(Veiled {
            key: if is_its_key { Some(who.to_string().into_bytes()) } else { key.map(<[u8]>::to_vec) },
            value: value.and_then(|value| rewritten(value, &named, who)),
        })
    }

    /// What is kept of a record that can't be folded: one that names somebody forgotten in a place where nobody looks for
    /// it loses its value.
    #[must_use]
    pub fn over_letter(&self, key: Option<&[u8]>, value: Option<&[u8]>) -> Option<Veiled> {
        let in_value = value.and_then(account_of).and_then(|named| Some((self.forgotten(named.as_bytes())?, named)));
        let in_key = key.and_then(|key| Some((self.forgotten(key)?, String::from_utf8_lossy(key))));
        let (who, named) = in_value.or(in_key)?;
        let is_its_key = key.is_some_and(|key| key == named.as_bytes());
        let key = if is_its_key { Some(who.to_string().into_bytes()) } else { key.map(<[u8]>::to_vec) };
        Some(Veiled { key, value: None })
    }
}

/// A record under the veil.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Veiled {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; none where it could not be read.
    pub value: Option<Vec<u8>>,
}

/// The same event with nobody in it; `None` if it is none, or still says who it was.
fn rewritten(value: &[u8], account: &str, who: Who) -> Option<Vec<u8>> {
    let pseudonym = who.to_string();
    let mut event = serde_json::from_slice::<Value>(value).ok()?;
    for attribute in ["partitionkey", "subject"] {
        if event.get(attribute).and_then(Value::as_str) == Some(account) {
            event[attribute] = json!(pseudonym);
        }
    }
    let is_click = event.get("type")?.as_str()?.starts_with("pulsegate.clickstream.");
    if is_click {
        event["type"] = json!("pulsegate.clickstream.recorded.v1");
        // The visitor that it was before it signed in.
        if event.get("subject").and_then(Value::as_str) == event["data"].get("anonymous_id").and_then(Value::as_str) {
            event["subject"] = json!(pseudonym);
        }
    }
    let data = event.get_mut("data")?.as_object_mut()?;
    if data.get("account_id")?.as_str()? != account {
        return None;
    }
    data.insert("account_id".to_owned(), json!(pseudonym));
    if let Some(device) = data.get("device_id").and_then(Value::as_str) {
        let device = json!(who.device(device));
        data.insert("device_id".to_owned(), device);
    }
    if is_click {
        data.remove("anonymous_id");
        data.remove("sealed");
        data.insert("properties".to_owned(), json!({}));
    }
    serde_json::to_vec(&event).ok()
}

/// A text with `word` replaced, where that stands as a word of its own: an account may be called `a`.
#[must_use]
pub fn without_word(text: &str, word: &str, instead: &str) -> String {
    let belongs = |letter: char| letter.is_ascii_alphanumeric() || "._:@-".contains(letter);
    let mut written = String::with_capacity(text.len());
    let mut rest = text;
    while !word.is_empty()
        && let Some(at) = rest.find(word)
    {
        let (before, found) = rest.split_at(at);
        let after = &found[word.len()..];
        // A point or a colon ends a word unless more of one follows.
        let mut following = after.chars();
        let goes_on = match following.next() {
            Some('.' | ':') => following.next().is_some_and(|next| next.is_ascii_alphanumeric()),
            Some(next) => belongs(next),
            None => false,
        };
        let begins =
            before.chars().next_back().or_else(|| written.chars().next_back()).is_none_or(|last| !belongs(last));
        written.push_str(before);
        written.push_str(if begins && !goes_on { instead } else { word });
        rest = after;
    }
    written + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn veil_over(account: &str) -> (Veil, Who) {
        let master: MasterKey = HEX.parse().unwrap();
        let who = master.who(account.as_bytes());
        (Veil::over(master, who), who)
    }

    fn golden(kind: &str) -> String {
        let path = format!("{}/../domain/tests/golden/pulsegate.{kind}.json", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap().trim_end().to_owned()
    }

    #[test]
    fn a_heartbeat_keeps_its_numbers_and_loses_its_names() {
        let (veil, who) = veil_over("acc-1");
        let text = golden("playback.heartbeat.v1");
        let veiled = veil.over_record(Topic::Playback, Some(b"acc-1"), Some(text.as_bytes())).unwrap();
        assert_eq!(veiled.key.as_deref(), Some(who.to_string().as_bytes()));
        let (before, after): (Value, Value) =
            (serde_json::from_str(&text).unwrap(), serde_json::from_slice(&veiled.value.unwrap()).unwrap());
        assert_eq!(after["data"]["account_id"], json!(who.to_string()));
        assert_eq!(after["data"]["device_id"], json!(who.device(before["data"]["device_id"].as_str().unwrap())));
        for same in ["session_id", "title_id", "sequence", "elapsed_ms", "position_ms", "state", "policy"] {
            assert_eq!(after["data"][same], before["data"][same], "{same}");
        }
        assert!(!after.to_string().contains("acc-1"), "{after}");
    }

    #[test]
    fn a_click_loses_what_was_written_whether_it_is_sealed_or_not() {
        let (veil, who) = veil_over("acc-1");
        for kind in ["clickstream.recorded.v1", "clickstream.recorded.v2"] {
            let text = golden(kind);
            let veiled = veil.over_record(Topic::Clickstream, Some(b"acc-1"), Some(text.as_bytes())).unwrap();
            let value = veiled.value.unwrap();
            let read = pulsegate_domain::event::RecordedRef::read(&value).unwrap();
            assert_eq!((read.name.as_ref(), read.properties), ("row_scrolled", "{}"));
            assert_eq!(read.account_id, Some(who.pseudonym()));
            assert_eq!(read.anonymous_id, None);
            let all = String::from_utf8(value.clone()).unwrap();
            assert!(["acc-1", "anon-7", "dich"].iter().all(|gone| !all.contains(gone)), "{all}");
        }
    }

    #[test]
    fn others_are_left_as_they_are() {
        let (veil, _) = veil_over("acc-2");
        for (topic, kind) in [(Topic::Playback, "playback.started.v1"), (Topic::Clickstream, "clickstream.recorded.v1")]
        {
            let text = golden(kind);
            for _ in 0..2 {
                assert_eq!(veil.over_record(topic, Some(b"acc-1"), Some(text.as_bytes())), None);
            }
        }
        // A visitor whose cookie says what an account is called is not that account.
        let visitor = golden("clickstream.recorded.v1").replace("\"account_id\":\"acc-1\",", "");
        assert_eq!(
            veil_over("acc-1").0.over_record(Topic::Clickstream, Some(b"acc-1"), Some(visitor.as_bytes())),
            None
        );
    }

    #[test]
    fn what_can_not_be_read_loses_its_value() {
        let (veil, who) = veil_over("acc-1");
        let veiled = veil.over_record(Topic::Playback, Some(b"acc-1"), Some(b"{acc-1")).unwrap();
        assert_eq!(veiled, Veiled { key: Some(who.to_string().into_bytes()), value: None });
        let foreign = golden("playback.started.v1");
        let letter = veil.over_letter(Some(b"acc-2"), Some(foreign.as_bytes()));
        assert_eq!(letter, Some(Veiled { key: Some(b"acc-2".to_vec()), value: None }));
        assert_eq!(veil_over("acc-3").0.over_letter(Some(b"acc-2"), Some(foreign.as_bytes())), None);
    }

    #[test]
    fn a_word_is_replaced_only_where_it_is_one() {
        for (text, without) in [
            ("account a", "account X"),
            ("a: an account, a.", "X: an account, X."),
            ("a.b a:b aa a-a @a b.a", "a.b a:b aa a-a @a b.a"),
            ("(a) \"a\"", "(X) \"X\""),
            ("", ""),
        ] {
            assert_eq!(without_word(text, "a", "X"), without, "{text}");
        }
    }
}
