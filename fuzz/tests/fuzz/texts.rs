//! Ids, words, paths, periods and questions: what is read of a text is written and read as the same.

use std::fmt::Display;
use std::str::FromStr;

use pulsegate_domain::ids::{AccountId, SessionId, Territory};
use pulsegate_domain::money::read_decimal;
use pulsegate_domain::policy::{PolicyRef, Scope};
use pulsegate_domain::time::Timestamp;
use pulsegate_fuzz::{Said, Target, try_out};
use pulsegate_projections::clickstream::path::{Having, Path};
use pulsegate_projections::clickstream::question::{KINDS, Question};
use pulsegate_projections::period::Period;

use super::{BOUND, texts};

const LEN_MAX: usize = 64 << 10;

fn words(name: &'static str, seeds: &[&str], read: impl Fn(&str) -> bool) {
    try_out(&Target { name, seeds: texts(seeds), bound: BOUND, len_max: LEN_MAX, taken_min: 20 }, |text| {
        Said::taken(std::str::from_utf8(text).is_ok_and(&read))
    });
}

/// Whether it can be read. If so, what it is written as is read as the same.
fn stays<T: FromStr + Display + PartialEq>(text: &str) -> bool {
    let Ok(read) = text.parse::<T>() else { return false };
    let written = read.to_string();
    assert!(written.parse::<T>().is_ok_and(|again| again == read), "{text:?} was written as {written:?}");
    true
}

#[test]
fn fuzzed_ids_and_words_stay_what_they_are() {
    words("id", &["acc-1", "title:42", "a.b@c_d-e:f"], stays::<AccountId>);
    words("session-id", &["019AB0C4-7e1a-7abc-8def-0123456789ab"], stays::<SessionId>);
    words("territory", &["DE", "ZZ"], stays::<Territory>);
    words("policy-ref", &["premium@3", "a@b@4294967295"], stays::<PolicyRef>);
    words("scope", &["account", "device_class:tv", "content_kind:live", "rights_holder"], stays::<Scope>);
    words("period", &["2026-10", "2026-Q4", "2026-10-31", "2026-10-01--2026-10-15"], stays::<Period>);
    words("time", &["2026-11-22T20:47:03.120Z", "2026-11-22T20:47:03+01:00"], |text| Timestamp::read(text).is_some());
    words("decimal", &["0.040", "123456789012.123456789", "5"], |text| {
        let read = read_decimal(text);
        assert_eq!(read.map(|decimal| read_decimal(&decimal.to_string())), read.map(Some), "{text:?}");
        read.is_some()
    });
}

#[test]
fn fuzzed_paths_stay_what_they_are() {
    words(
        "path",
        &["$.player.version", "$.items[0].id", r#"$."a key. with \"dots\"""#, r#"$["x"][12]"#],
        stays::<Path>,
    );
    words("having", &["$.title=Dune", "$.a[3]", r#"$."a=b"=c=d"#], |text| text.parse::<Having>().is_ok());
}

#[test]
fn fuzzed_questions_stay_what_they_are() {
    let seeds = [
        "trend by=hour&top=5&period=7d&name=search&name=play",
        "breakdown path=$.player.version&top=3&period=2026-10&where=$.a=b%26c&exact=true",
        "sessions gap=30m&period=7d&account=a",
        "sessions by=session_id&anonymous=v",
        "funnel step=search&step=play&where.2=$.title=Dune&window=2h",
        "retention first=play&back=play&period=28d&session=019ab0c4-7e1a-7abc-8def-0123456789ab",
    ];
    words("question", &seeds, |text| {
        let Some((kind, query)) = text.split_once(' ') else { return false };
        let Ok(question) = Question::read_query(kind, query) else { return false };
        assert!(KINDS.contains(&question.kind()));
        let written = question.query();
        assert_eq!(Question::read_query(kind, &written), Ok(question), "{written}");
        true
    });
}
