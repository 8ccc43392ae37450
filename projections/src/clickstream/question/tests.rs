use super::*;

fn read(kind: &str, query: &[(&str, &str)]) -> Result<Question, Vec<String>> {
    let pairs: Vec<_> = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Question::read(kind, &pairs).map_err(|mistakes| mistakes.iter().map(|mistake| mistake.pointer.clone()).collect())
}

#[test]
fn a_question_says_everything_once() {
    let funnel = read(
        "funnel",
        &[
            ("step", "search"),
            ("step", "play"),
            ("where.2", "$.title=The Lamplighter & co"),
            ("window", "120m"),
            ("period", "2026-11"),
            ("account", "ada"),
            ("unknown", "is left alone"),
        ],
    )
    .unwrap();
    assert_eq!(
        funnel.query(),
        "period=2026-11&step=search&step=play&where.2=$.title%3DThe%20Lamplighter%20%26%20co&window=2h&account=ada"
    );
    assert_eq!(Question::read("funnel", &funnel.pairs()), Ok(funnel.clone()));
    assert_eq!(Question::read_query("funnel", &funnel.query()), Ok(funnel));
    assert_eq!(read("trend", &[]).unwrap().query(), "period=7d&by=day&top=10");
    assert_eq!(read("sessions", &[]).unwrap().query(), "period=7d&gap=30m");
    assert_eq!(read("retention", &[("first", "play")]).unwrap().query(), "period=56d&first=play");
    assert_eq!(
        read("breakdown", &[("path", "$.a"), ("exact", "true"), ("name", "b"), ("where", "$.c")]).unwrap().query(),
        "period=7d&path=$.a&top=10&name=b&where=$.c&exact=true"
    );
    for kind in KINDS {
        let said = [("path", "$.a"), ("step", "a"), ("step", "b"), ("first", "a")];
        let question = read(kind, &said).unwrap();
        assert_eq!(question.kind(), kind);
        assert_eq!(Question::read(kind, &question.pairs()), Ok(question));
    }
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let many: Vec<_> = (0..9).map(|_| ("step", "a")).collect();
    for (kind, query, pointers) in [
        ("funnel", vec![("step", "a")], vec!["/step"]),
        ("funnel", many, vec!["/step"]),
        ("funnel", vec![("step", "a"), ("step", ""), ("window", "32d")], vec!["/step", "/window"]),
        (
            "funnel",
            vec![("step", "a"), ("step", "b"), ("where.3", "$.a"), ("where.1", "a")],
            vec!["/where.1", "/where.3"],
        ),
        ("funnel", vec![("step", "a"), ("step", "b"), ("name", "a")], vec!["/name"]),
        ("funnel", vec![("step", "a"), ("step", "b"), ("period", "93d")], vec!["/period"]),
        ("breakdown", vec![], vec!["/path"]),
        ("breakdown", vec![("path", "$"), ("top", "101")], vec!["/path", "/top"]),
        ("trend", vec![("by", "minute"), ("top", "0"), ("exact", "yes")], vec!["/by", "/top", "/exact"]),
        ("trend", vec![("by", "hour"), ("period", "2026-Q4")], vec!["/period"]),
        ("trend", vec![("period", "2026-13"), ("account", "no id")], vec!["/period", "/account"]),
        ("trend", vec![("name", "a\0b")], vec!["/name"]),
        ("sessions", vec![("by", "gap"), ("gap", "0m")], vec!["/gap"]),
        ("sessions", vec![("by", "session_id"), ("gap", "5m")], vec!["/gap"]),
        ("sessions", vec![("by", "weather")], vec!["/by"]),
        ("retention", vec![("period", "200d")], vec!["/first"]),
        ("retention", vec![("first", "a"), ("period", "200d")], vec!["/period"]),
        ("weather", vec![], vec!["/kind"]),
    ] {
        assert_eq!(read(kind, &query), Err(pointers.into_iter().map(str::to_owned).collect()), "{kind} {query:?}");
    }
}

#[test]
fn a_length_of_time_is_written_in_its_largest_unit() {
    for (text, ms, written) in
        [("30m", 1_800_000, "30m"), ("90s", 90_000, "90s"), ("24h", DAY_MS, "1d"), ("60m", 3_600_000, "1h")]
    {
        let window: Window = text.parse().unwrap();
        assert_eq!((window.0, window.to_string().as_str()), (ms, written));
    }
    for bad in ["", "m", "30", "0d", "-1d", "+1d", "1w", "99999999999999999d", "1.5h", "30M"] {
        assert!(bad.parse::<Window>().is_err(), "{bad}");
    }
}
