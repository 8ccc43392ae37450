//! The API's description: what the routes say of themselves, and the problems that any of them may
//! answer with.

mod parameters;

use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required};

use pulsegate_callers::Scope;

use crate::callers::{NEEDS, Need, Row};
use crate::problem::ProblemKind;
use crate::schema;

const PLAYER_TOKEN: &str = "player_token";
const API_KEY: &str = "api_key";
const SESSION: &str = "session";

/// The frame into which the routes' descriptions are put.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "pulsegate",
        description = "Playback backend of a media streaming service: who may play, who must be told no, and why. \
                       Times are RFC 3339 UTC; durations have their unit in the name. Unknown fields are ignored. \
                       Every error is `application/problem+json`; its `type` is a path at which it is explained. \
                       Requests carry their own ids, so that each may be sent again.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "playback", description = "What players do and ask."),
        (name = "ingest", description = "Many events at once, each standing for itself."),
        (name = "catalog", description = "Policies, entitlements, titles, rights holders, contracts."),
        (name = "reports", description = "What is owed for, and what people did, in figures."),
        (name = "statements", description = "What is due to whom, closed so that it stands, and what is behind it."),
        (name = "operation", description = "How the service stands."),
    ),
    components(schemas(schema::Problem, schema::reports::Format, schema::reports::LicensingFormat, schema::reports::Resolution, schema::reports::Per, schema::reports::UsageBy, schema::reports::MostBy, schema::statements::Largest, schema::statements::WhichRows, schema::statements::StatementFormat, schema::clickstream::Bucket, schema::clickstream::SessionsBy,
                       schema::clickstream::Kind, schema::clickstream::ExportFormat)),
)]
pub(crate) struct Description;

/// Where a body may be left out.
const MAY_BE_EMPTY: [&str; 4] = [
    "/v1/accounts/{account}/sessions/{session}/stop",
    "/v1/accounts/{account}/sessions/{session}/evict",
    "/v1/statements/{period}/close",
    "/v1/statements/{period}/restate",
];

/// The whole description.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    let mut document = crate::routes::described().into_openapi();
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            add_common_problems(operation);
            parameters::complete(operation);
            if MAY_BE_EMPTY.contains(&path.as_str())
                && let Some(RefOr::T(body)) = &mut operation.request_body
            {
                body.required = Some(Required::False);
            }
            operation.security = NEEDS.iter().find(|row| row.method == method && row.path == path).map(security);
        }
    }
    let schemes = &mut document.components.get_or_insert_default().security_schemes;
    schemes.insert(PLAYER_TOKEN.to_owned(), bearer("A player's token: a JWT of one account.", Some("JWT")));
    schemes.insert(
        API_KEY.to_owned(),
        bearer("A server's key, `pgk_…`; the scopes are those of which it needs one.", None),
    );
    let session = ApiKeyValue::with_description(
        "__Host-pulsegate",
        "Somebody who signed in by `/login`; by plain HTTP `pulsegate`.",
    );
    schemes.insert(SESSION.to_owned(), RefOr::T(SecurityScheme::ApiKey(ApiKey::Cookie(session))));
    document
}

/// The whole description as JSON.
#[must_use]
pub fn json() -> String {
    // It is made of texts and numbers only; a test reads it.
    document().to_pretty_json().unwrap_or_default()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [("GET", &mut item.get), ("PUT", &mut item.put), ("POST", &mut item.post), ("DELETE", &mut item.delete)]
        .into_iter()
        .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// What a deployment that is not open asks of who calls: one of these.
fn security(row: &Row) -> Vec<SecurityRequirement> {
    let (player, scopes): (_, &[Scope]) = match row.need {
        Need::Player(scopes) => (true, scopes),
        Need::Scope(scopes) => (false, scopes),
        Need::Known => (true, &Scope::ALL),
    };
    let mut ways = Vec::new();
    if player {
        ways.push(SecurityRequirement::new::<_, [&str; 0], &str>(PLAYER_TOKEN, []));
    }
    // A key or a person needs one of them, and a requirement means all that it lists.
    for scheme in [API_KEY, SESSION] {
        ways.extend(scopes.iter().map(|scope| SecurityRequirement::new(scheme, [scope.as_str()])));
    }
    ways
}

fn bearer(description: &str, format: Option<&str>) -> RefOr<SecurityScheme> {
    let mut http = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description));
    if let Some(format) = format {
        http = http.bearer_format(format);
    }
    RefOr::T(SecurityScheme::Http(http.build()))
}

/// The problems that an operation may answer with whatever it does.
fn add_common_problems(operation: &mut Operation) {
    let takes_body = operation.request_body.is_some();
    let takes_parameters = operation.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty());
    let statuses = [
        (401, true),
        (403, true),
        (429, true),
        (400, takes_body),
        (408, takes_body),
        (413, takes_body),
        (415, takes_body),
        (422, takes_body || takes_parameters),
        (500, true),
        (503, true),
    ];
    for (status, _) in statuses.into_iter().filter(|(_, applies)| *applies) {
        operation.responses.responses.entry(status.to_string()).or_insert_with(|| RefOr::T(problem_response(status)));
    }
}

fn problem_response(status: u16) -> Response {
    let kinds: Vec<_> = ProblemKind::ALL
        .iter()
        .filter(|kind| kind.status().as_u16() == status)
        .map(|kind| format!("`{}`", kind.code()))
        .collect();
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new()
        .description(format!("{}.", kinds.join(", ")))
        .content("application/problem+json", problem)
        .build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use pulsegate_domain::event::{ContractRegistered, RightsHolderRegistered, TitleRegistered};
    use pulsegate_domain::policy::Policy;
    use pulsegate_write_side::problems::BodyError;
    use pulsegate_write_side::request::{
        parse_clickstream_batch, parse_contract, parse_contract_end, parse_entitlement, parse_evict, parse_heartbeat,
        parse_heartbeat_batch, parse_policy, parse_rights_holder, parse_signal_batch, parse_start, parse_statement,
        parse_stop, parse_title,
    };
    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use super::*;

    fn schema(name: &str) -> Value {
        let document: Value = serde_json::from_str(&json()).unwrap();
        document["components"]["schemas"][name].clone()
    }

    fn keys(object: &Value) -> BTreeSet<String> {
        object.as_object().unwrap_or_else(|| panic!("{object} is no object")).keys().cloned().collect()
    }

    /// What is really written has exactly the members that its description says it has.
    fn check_answer<T: DeserializeOwned + serde::Serialize>(name: &str, example: &Value) {
        let read: T = serde_json::from_value(example.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(keys(&serde_json::to_value(read).unwrap()), keys(&schema(name)["properties"]), "{name}");
    }

    #[test]
    fn the_domains_shapes_are_as_described() {
        use pulsegate_domain::account::{Decision, Verdict};
        let verdict = schema("Verdict")["example"].clone();
        check_answer::<Verdict>("Verdict", &verdict);
        check_answer::<Policy>("Policy", &schema("Policy")["example"]);
        check_answer::<TitleRegistered>(
            "Title",
            &serde_json::json!({
                "title_id": "t", "name": "T", "content_kind": "vod", "rights_holder_id": "r", "runtime_ms": 1
            }),
        );
        check_answer::<RightsHolderRegistered>(
            "RightsHolder",
            &serde_json::json!({"rights_holder_id": "r", "name": "R"}),
        );
        check_answer::<ContractRegistered>(
            "Contract",
            &serde_json::json!({
                "contract_id": "c", "rights_holder_id": "r", "title_ids": ["t"], "territories": ["DE"],
                "valid_from": "2026-01-01", "valid_until": "2026-12-31", "view_threshold_ms": 1,
                "max_streams_per_account": 1,
                "counting": {"views": "qualified"}, "payment": {"currency": "EUR", "per_view": "0.04"}
            }),
        );
        // The routes put an account and the rest of the place beside a decision.
        let decision: Decision = serde_json::from_value(schema("Decision")["example"].clone()).unwrap();
        let mut written = keys(&serde_json::to_value(decision).unwrap());
        written.extend(["account_id", "partition", "ordinal", "evidence"].map(str::to_owned));
        assert_eq!(written, keys(&schema("Decision")["properties"]));
    }

    #[test]
    fn reports_are_as_described() {
        use pulsegate_projections::clickstream::{CountRow, Counts, Resolution};
        use pulsegate_projections::licensing::{Report, Row, Totals};
        let row = Row {
            period: String::new(),
            rights_holder_id: None,
            contract_id: None,
            title_id: String::new(),
            territory: String::new(),
            plays: 0,
            qualified_views: 0,
            watched_ms: 0,
            aged_ms: 0,
            content_ms: 0,
            distinct_accounts: 0,
            peak_concurrent: 0,
        };
        let report = Report {
            period: String::new(),
            rows: vec![row],
            totals: Totals::default(),
            inferred_sessions: 0,
            as_of: pulsegate_projections::live::AsOf::before(pulsegate_domain::topic::Topic::Playback, 0, 1)
                .into_iter()
                .collect(),
        };
        let counts = Counts {
            period: String::new(),
            by: Resolution::Day,
            rows: vec![CountRow { at: chrono::DateTime::UNIX_EPOCH, name: String::new(), events: 0 }],
            events: 0,
            as_of: Vec::new(),
        };
        let (report, counts) = (serde_json::to_value(report).unwrap(), serde_json::to_value(counts).unwrap());
        for (written, name) in [
            (&report, "LicensingReport"),
            (&report["rows"][0], "LicensingRow"),
            (&report["totals"], "LicensingTotals"),
            (&report["totals"]["of_rows"], "LicensingTotalsOfRows"),
            (&report["totals"]["of_plays"], "LicensingTotalsOfPlays"),
            (&report["as_of"][0], "ReportAsOf"),
            (&counts, "ClickstreamReport"),
            (&counts["rows"][0], "ClickstreamCount"),
        ] {
            assert_eq!(keys(written), keys(&schema(name)["properties"]), "{name}");
        }
    }

    fn written(written: &impl serde::Serialize) -> Value {
        serde_json::to_value(written).unwrap()
    }

    #[test]
    fn statements_are_as_described() {
        use pulsegate_projections::statements::{
            Beat, Beats, Figures, Head, Key, Listed, OfContract, OfDue, Row, SessionBehind, State, Trouble,
        };
        let epoch = chrono::DateTime::UNIX_EPOCH;
        let due = OfDue {
            currency: String::new(),
            sum_of_rounded: String::new(),
            rounded_sum: String::new(),
            amount: String::new(),
            working: Value::Null,
        };
        let contract = OfContract {
            contract_id: String::new(),
            rights_holder_id: String::new(),
            version: 1,
            contract: Box::default(),
            due: Some(due),
        };
        let head = Head {
            period: String::new(),
            rights_holder_id: None,
            revision: 0,
            state: State::Provisional,
            closed_at: None,
            sha256: String::new(),
            previous_sha256: None,
            as_of: Vec::new(),
            service_watched_ms: 0,
            contracts: vec![contract],
            problems: vec![Trouble { contract_id: String::new(), title_id: None, detail: String::new() }],
        };
        let row = Row { key: Key::default(), figures: Figures::default(), amount: 0.into() };
        let listed = Listed {
            period: String::new(),
            rights_holder_id: None,
            revision: 1,
            closed_at: epoch,
            rows: 0,
            sha256: String::new(),
        };
        let behind = SessionBehind {
            account_id: String::new(),
            session_id: uuid::Uuid::nil(),
            partition: 0,
            first_offset: 0,
            first_day: epoch.date_naive(),
            last_day: epoch.date_naive(),
            played: true,
            qualified: true,
            watched_ms: 0,
            aged_ms: 0,
            content_ms: 0,
        };
        let beat = Beat {
            offset: 0,
            at: epoch.into(),
            kind: "started",
            sequence: None,
            elapsed_ms: None,
            age_ms: None,
            position_ms: None,
            state: None,
            watched_ms: 0,
            aged_ms: 0,
            content_ms: 0,
            played: false,
        };
        let beats = Beats { topic: "playback", partition: 0, records: vec![beat], is_whole: true };
        let (head, beats) = (written(&head), written(&beats));
        for (value, name) in [
            (&head, "StatementHead"),
            (&head["contracts"][0], "StatementContract"),
            (&head["contracts"][0]["due"], "StatementDue"),
            (&head["problems"][0], "StatementProblem"),
            (&written(&row), "StatementRow"),
            (&written(&listed), "StatementListed"),
            (&written(&behind), "SessionBehind"),
            (&beats, "WatchTime"),
            (&beats["records"][0], "WatchTimeRecord"),
        ] {
            assert_eq!(keys(value), keys(&schema(name)["properties"]), "{name}");
        }
    }

    #[test]
    fn concurrency_is_as_described() {
        use pulsegate_projections::concurrency::{AtLimit, Blocked, ByRule, ByWhat, Concurrency, Per, Streams};
        let epoch = chrono::DateTime::UNIX_EPOCH;
        let blocked = Blocked {
            by_rule: vec![ByRule { policy: None, rule: None, max: None, attempts: 0 }],
            by_title: vec![ByWhat { of: String::new(), attempts: 0 }],
            ..Blocked::default()
        };
        let concurrency = Concurrency {
            period: String::new(),
            by: pulsegate_projections::clickstream::Resolution::Day,
            per: Per::Everything,
            streams: vec![Streams { of: String::new(), at: epoch, peak: 0 }],
            blocked,
            accounts: vec![AtLimit { account_id: String::new(), refused: 0, took_the_last: 0 }],
            titles: std::collections::BTreeMap::new(),
            as_of: Vec::new(),
        };
        let concurrency = written(&concurrency);
        for (value, name) in [
            (&concurrency, "ConcurrencyReport"),
            (&concurrency["streams"][0], "ConcurrencyStreams"),
            (&concurrency["blocked"], "ConcurrencyBlocked"),
            (&concurrency["blocked"]["by_rule"][0], "ConcurrencyByRule"),
            (&concurrency["blocked"]["by_title"][0], "ConcurrencyByWhat"),
            (&concurrency["accounts"][0], "ConcurrencyAccount"),
        ] {
            assert_eq!(keys(value), keys(&schema(name)["properties"]), "{name}");
        }
    }

    #[test]
    fn answers_about_the_clickstream_are_as_described() {
        use pulsegate_projections::clickstream::funnel::Reached;
        use pulsegate_projections::clickstream::{
            Answer, Breakdown, Decided, Of, Retained, Rows, Sample, SuggestedName, SuggestedPath, Trend, Visits,
        };
        let epoch = chrono::DateTime::UNIX_EPOCH;
        let answer = Answer {
            kind: "trend",
            question: String::new(),
            first: None,
            last: None,
            events: 0,
            sample: Some(Sample { one_in: 16 }),
            rows: Rows::Trend(vec![Trend { at: epoch, name: None, events: 0, error: None }]),
            as_of_time: None,
            as_of: Vec::new(),
        };
        let breakdown = Breakdown { of: Of::Value, value: None, events: 0, error: None, people: 0, people_error: None };
        let visits = Visits {
            day: None,
            sessions: 0,
            error: None,
            people: 0,
            people_error: None,
            events: 0,
            single: 0,
            median_ms: 0,
            p95_ms: 0,
        };
        let reached = Reached {
            step: 1,
            name: String::new(),
            people: 0,
            error: None,
            of_first_milli: None,
            of_previous_milli: None,
            median_ms: None,
        };
        let retained = Retained { week: epoch.date_naive(), after: 0, people: 0, error: None };
        let decided = Decided {
            at: epoch,
            decision: String::new(),
            session_id: uuid::Uuid::nil(),
            title_id: None,
            reason: None,
            partition: 0,
            offset: 0,
        };
        let answer = written(&answer);
        for (value, name) in [
            (&answer, "TrendAnswer"),
            (&answer, "FunnelAnswer"),
            (&answer["rows"][0], "TrendRow"),
            (&answer["sample"], "SampleOfPeople"),
            (&written(&breakdown), "BreakdownRow"),
            (&written(&visits), "VisitsRow"),
            (&written(&reached), "FunnelRow"),
            (&written(&retained), "RetentionRow"),
            (&written(&decided), "DecidedBeside"),
            (&written(&SuggestedName { name: String::new(), events: 0 }), "NameThere"),
            (&written(&SuggestedPath { path: String::new(), events: 0, values: Vec::new() }), "PathThere"),
        ] {
            assert_eq!(keys(value), keys(&schema(name)["properties"]), "{name}");
        }
    }

    #[test]
    fn the_examples_of_requests_are_taken_and_what_they_must_have_is_required() {
        let (account, session) = (|| "a".parse().unwrap(), || "3f2b8c1e-5d7a-4e90-9b3c-1a2b3c4d5e6f".parse().unwrap());
        check_request("StartRequest", |body| parse_start(account(), body).map(drop));
        check_request("HeartbeatRequest", |body| parse_heartbeat(account(), session(), body).map(drop));
        check_request("StopRequest", |body| parse_stop(account(), session(), body).map(drop));
        check_request("EvictRequest", |body| parse_evict(account(), session(), body).map(drop));
        check_request("HeartbeatBatch", |body| parse_heartbeat_batch(body).map(|batch| assert_eq!(batch.rejected, [])));
        check_request("SignalBatch", |body| parse_signal_batch(body).map(|batch| assert_eq!(batch.rejected, [])));
        check_request("ClickstreamBatch", |body| {
            parse_clickstream_batch(body).map(|batch| assert_eq!(batch.rejected, []))
        });
        check_request("PolicyTerms", |body| parse_policy(body).map(drop));
        check_request("EntitlementBody", |body| parse_entitlement(account(), body).map(drop));
        check_request("TitleBody", |body| parse_title("t".parse().unwrap(), body).map(drop));
        check_request("RightsHolderBody", |body| parse_rights_holder("r".parse().unwrap(), body).map(drop));
        check_request("StatementBody", |body| parse_statement(body).map(drop));
        check_request("ContractEndBody", |body| parse_contract_end(body).map(drop));
        check_request("ContractBody", |body| parse_contract("c".parse().unwrap(), body).map(drop));
    }

    fn check_request(name: &str, parse: impl Fn(&[u8]) -> Result<(), BodyError>) {
        let example = schema(name)["example"].clone();
        assert_eq!(parse(example.to_string().as_bytes()), Ok(()), "the example of {name}");
        let required: BTreeSet<_> = schema(name)["required"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect();
        let needed: BTreeSet<_> = match parse(b"{}") {
            Ok(()) => BTreeSet::new(),
            Err(BodyError::Invalid(problems)) => {
                problems.iter().map(|problem| problem.pointer.trim_start_matches('/').to_owned()).collect()
            }
            Err(error) => panic!("{name}: {error}"),
        };
        assert_eq!(needed, required, "what {name} must have");
    }
}
