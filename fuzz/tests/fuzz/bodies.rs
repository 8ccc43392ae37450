//! Bodies of requests. What the door takes, every reader of the log must be able to read; and it says the same with a
//! field beside that nobody knows, which is read another way.

use std::fmt::Debug;

use pulsegate_domain::catalog::Catalog;
use pulsegate_domain::event::{CatalogEvent, ClickstreamEvent, EntitlementChanged, PlaybackEvent};
use pulsegate_domain::ids::{AccountId, SessionId};
use pulsegate_domain::policy::Policy;
use pulsegate_domain::time::Timestamp;
use pulsegate_fuzz::{Bound, Said, Target, try_out};
use pulsegate_write_side::BodyError;
use pulsegate_write_side::request::{
    parse_clickstream_batch, parse_contract, parse_contract_end, parse_entitlement, parse_evict, parse_heartbeat,
    parse_heartbeat_batch, parse_policy, parse_rights_holder, parse_signal_batch, parse_start, parse_statement,
    parse_stop, parse_title,
};
use pulsegate_write_side::stamp;

use super::events::stays;
use super::{BOUND, LEN_MAX, texts};

const NOW: Timestamp = Timestamp::from_millis(1_795_380_423_120);

fn account() -> AccountId {
    "acc-1".parse().unwrap()
}

fn session() -> SessionId {
    "019ab0c4-7e1a-7abc-8def-0123456789ab".parse().unwrap()
}

/// The same body with one field more.
fn with_more(body: &[u8]) -> Option<Vec<u8>> {
    let body = body.trim_ascii_end().strip_suffix(b"}")?.trim_ascii_end();
    let comma: &[u8] = if body.ends_with(b"{") { b"" } else { b"," };
    Some([body, comma, br#""zz_more":[1,{"x":null}]}"#].concat())
}

/// A batch may tell of each of a thousand items what is wrong with it.
const BATCHES: Bound = Bound { a_byte: 64, at_least: 8 << 20 };

/// Tries a body; `as_event` is done with what is taken.
fn bodies<T: Debug>(
    name: &'static str,
    seeds: &[&str],
    parse: impl Fn(&[u8]) -> Result<T, BodyError>,
    as_event: impl Fn(T),
) {
    let bound = if matches!(name, "heartbeats" | "signals" | "events") { BATCHES } else { BOUND };
    try_out(&Target { name, seeds: texts(seeds), bound, len_max: LEN_MAX, taken_min: 20 }, |body| {
        let read = parse(body);
        let Ok(request) = read else { return Said::Refused };
        let is_known = body.windows(7).any(|part| part == b"zz_more");
        if let Some(more) = with_more(body).filter(|_| !is_known && name != "contract") {
            let more = parse(&more).expect("what nobody knows is passed over");
            assert_eq!(format!("{request:?}"), format!("{more:?}"));
        }
        as_event(request);
        Said::Taken
    });
}

#[test]
fn fuzzed_starts_are_taken_or_refused() {
    bodies(
        "start",
        &[
            r#"{"device_id":"tv-1","title_id":"t"}"#,
            r#"{"session_id":"019AB0C4-7e1a-7abc-8def-0123456789ab","device_id":"tv-1","device_class":"tv","title_id":"t",
                "content_kind":"live","territory":"DE","evict":["6e2fb550-c457-11e9-bb97-0800200c9a66"]}"#,
            r#"{"session_id":null,"device_id":"tv-1","title_id":"t","evict":[],"later":{"a":[1,2]}}"#,
        ],
        |body| parse_start(account(), body),
        |request| {
            let session = request.session_id.unwrap_or_else(session);
            stays(&PlaybackEvent::Started(stamp::started(request, session, &Catalog::default(), None, NOW)));
        },
    );
}

#[test]
fn fuzzed_heartbeats_are_taken_or_refused() {
    bodies(
        "heartbeat",
        &[
            r#"{"device_id":"d","title_id":"t","sequence":3,"elapsed_ms":30012,"position_ms":29480,"state":"playing"}"#,
            r#"{"device_id":"d","device_class":"web","title_id":"t","content_kind":"vod","territory":"AT","sequence":0,
                "elapsed_ms":9007199254740991,"age_ms":604800000,"position_ms":0,"state":"paused","rate":1.25}"#,
        ],
        |body| parse_heartbeat(account(), session(), body),
        |request| stays(&PlaybackEvent::Heartbeat(stamp::heartbeat(request, &Catalog::default(), None, NOW))),
    );
}

#[test]
fn fuzzed_batches_of_heartbeats_are_taken_or_refused() {
    bodies(
        "heartbeats",
        &[
            r#"{"heartbeats":[{"account_id":"a","session_id":"6e2fb550-c457-11e9-bb97-0800200c9a66","device_id":"d",
                "title_id":"t","sequence":1,"elapsed_ms":10000,"position_ms":9800,"state":"playing"}]}"#,
            r#"{"heartbeats":[{"account_id":"a"},7,{"account_id":"b","session_id":"6e2fb550-c457-11e9-bb97-0800200c9a66",
                "device_id":"d","title_id":"t","sequence":1,"elapsed_ms":1,"position_ms":9,"state":"seeking","rate":0}]}"#,
        ],
        parse_heartbeat_batch,
        |batch| {
            for (_, request) in batch.accepted {
                stays(&PlaybackEvent::Heartbeat(stamp::heartbeat(request, &Catalog::default(), None, NOW)));
            }
        },
    );
}

#[test]
fn fuzzed_batches_of_signals_are_taken_or_refused() {
    bodies(
        "signals",
        &[
            r#"{"signals":[{"account_id":"a","device_id":"d","title_id":"t","kind":"drm_licence"}]}"#,
            r#"{"signals":[{"account_id":"a","session_id":"6e2fb550-c457-11e9-bb97-0800200c9a66","device_id":"d",
                "device_class":"tv","title_id":"t","content_kind":"live","territory":"FR","kind":"cdn_segment"},{}]}"#,
        ],
        parse_signal_batch,
        |batch| {
            for (_, request) in batch.accepted {
                stays(&PlaybackEvent::Signal(stamp::signal(request, &Catalog::default(), None, NOW)));
            }
        },
    );
}

#[test]
fn fuzzed_ends_are_taken_or_refused() {
    let stop = |body: &[u8]| parse_stop(account(), session(), body);
    let stops = ["", "{}", r#"{"sequence":7,"elapsed_ms":80000,"position_ms":79500}"#, r#"{"elapsed_ms":null}"#];
    bodies("stop", &stops, stop, |request| stays(&PlaybackEvent::Stopped(stamp::stopped(request))));
    let evict = |body: &[u8]| parse_evict(account(), session(), body);
    let evicts = ["", r#"{"by":"viewer"}"#, r#"{"by":"operator","why":[]}"#];
    bodies("evict", &evicts, evict, |request| stays(&PlaybackEvent::Evicted(stamp::evicted(request))));
}

#[test]
fn fuzzed_clickstream_is_taken_or_refused() {
    bodies(
        "events",
        &[
            r#"{"events":[{"name":"search","account_id":"a","properties":{"q":"x","n":[1.10,{"a":null}],"e":"\u00e4"}}]}"#,
            r#"{"events":[{"name":"n"},{"name":"open","occurred_at":"2026-11-22T21:47:03.12+01:00","anonymous_id":"v",
                "session_id":"6e2fb550-c457-11e9-bb97-0800200c9a66"}]}"#,
        ],
        parse_clickstream_batch,
        |batch| {
            for (_, request) in batch.accepted {
                stays(&ClickstreamEvent::Recorded(request.recorded));
            }
        },
    );
}

#[test]
fn fuzzed_policies_are_taken_or_refused() {
    bodies(
        "policy",
        &[
            r#"{"rules":[{"scope":"account","max":4,"on_limit":"block_newest"}]}"#,
            r#"{"name":"x","version":9,"rules":[{"scope":"device_class:tv","max":1,"on_limit":"displace_oldest"},
                {"scope":"content_kind:live","max":0,"on_limit":"block_newest"},{"scope":"title","max":2,
                "on_limit":"block_newest"},{"scope":"rights_holder","max":2,"on_limit":"block_newest"}],"leases_ms":
                {"started":25000,"heartbeat":25000,"cdn_segment":30000,"manifest":30000,"drm_licence":330000,
                "drm_renewal":330000},"paused_hold_ms":600000,"per_device":"many"}"#,
        ],
        parse_policy,
        |terms| {
            assert_eq!(terms.problems(), []);
            let policy = Policy { name: "premium".parse().unwrap(), version: 3, terms };
            stays(&CatalogEvent::PolicyPublished(policy));
        },
    );
}

#[test]
fn fuzzed_titles_holders_and_entitlements_are_taken_or_refused() {
    bodies(
        "title",
        &[
            r#"{"name":"Das Boot","content_kind":"vod","rights_holder_id":"r","runtime_ms":8940000}"#,
            r#"{"title_id":"other","name":"\u00e4\ud83d\ude00","content_kind":"live","rights_holder_id":"r.1:2@x"}"#,
        ],
        |body| parse_title("t".parse().unwrap(), body),
        |title| stays(&CatalogEvent::TitleRegistered(title)),
    );
    bodies(
        "rights-holder",
        &[r#"{"name":"North Sea Pictures"}"#, r#"{"name":"x","country":"DE","tags":["a"]}"#],
        |body| parse_rights_holder("r".parse().unwrap(), body),
        |holder| stays(&CatalogEvent::RightsHolderRegistered(holder)),
    );
    bodies(
        "entitlement",
        &[r#"{"policy":"premium"}"#, r#"{"policy":"a.b:c@1","note":null}"#],
        |body| parse_entitlement(account(), body),
        |change: EntitlementChanged| stays(&CatalogEvent::EntitlementChanged(change)),
    );
}

#[test]
fn fuzzed_contracts_are_taken_or_refused() {
    bodies(
        "contract",
        &[
            r#"{"rights_holder_id":"r","valid_from":"2026-01-01"}"#,
            r#"{"rights_holder_id":"r","title_ids":["a","b"],"territories":["DE","AT"],"valid_from":"2026-01-01",
                "valid_until":"2026-12-31","view_threshold_ms":30000,"max_streams_per_account":2,"signed":{"by":[1.5]},
                "counting":{"views":"hours_by_runtime","round_to":100000,"rounding":"half_even"},
                "payment":{"currency":"EUR","per_view":"0.04","per_hour":"0.010","minimum_per_month":"500.00"}}"#,
            r#"{"rights_holder_id":"r","valid_from":"2026-01-01","payment":{"currency":"JPY","fixed_per_month":"5",
                "revenue_share":{"percent":"12.5","pools":{"2026-10":"1000","2026-11":"900"}}}}"#,
        ],
        |body| parse_contract("c".parse().unwrap(), body),
        |contract| stays(&CatalogEvent::ContractRegistered(contract)),
    );
    bodies(
        "contract-end",
        &[r#"{"last_day":"2026-03-31"}"#, r#"{ "last_day" : "9999-12-31" }"#],
        parse_contract_end,
        |day| {
            assert_eq!(day.to_string().len(), 10);
        },
    );
}

#[test]
fn fuzzed_statements_are_asked_for_or_refused() {
    let seeds = ["", "{}", r#"{"rights_holder_id":"orvessa","early":true}"#, r#"{"rights_holder_id":null}"#];
    bodies("statement", &seeds, parse_statement, |_| ());
}
