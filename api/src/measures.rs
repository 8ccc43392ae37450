//! What is counted of requests and answers. Handles are made once: a lookup by name costs more than a
//! block check.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use http::{Method, StatusCode};
use metrics::{Counter, Histogram, counter, describe_counter, describe_histogram, gauge, histogram};
use pulsegate_domain::account::{Reason, Verdict};
use pulsegate_projections::hot_view::TooManyWaiters;

use crate::playback::Stamp;
use crate::problem::ProblemKind;

/// What requests without a route are counted under.
pub(crate) const UNMATCHED: &str = "unmatched";

/// How many methods are counted by name; the others are counted together.
const METHODS_LEN: usize = 6;
static METHODS: [Method; METHODS_LEN] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS];
const OTHER_METHOD: &str = "other";
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What a method is called, of which anybody may invent more.
pub(crate) fn name_of(method: &Method) -> &'static str {
    METHODS.iter().find(|known| *known == method).map_or(OTHER_METHOD, Method::as_str)
}

/// The counts of all requests and answers.
pub(crate) struct Measures {
    routes: HashMap<Box<str>, [OnceLock<OfRoute>; METHODS_LEN + 1], foldhash::fast::RandomState>,
    allowed: Counter,
    blocked: Vec<Counter>,
    provisional: Counter,
    problems: Vec<Counter>,
}

struct OfRoute {
    by_class: [Counter; CLASSES.len()],
    seconds: Histogram,
}

impl Measures {
    /// Counts for these routes. The recorder must have been installed before.
    pub(crate) fn of_routes(routes: impl IntoIterator<Item = String>) -> Self {
        describe_counter!("pulsegate_http_requests_total", "Requests by method, route and class of status.");
        describe_histogram!(
            "pulsegate_http_request_seconds",
            "From a request's head to its answer's, by method and route."
        );
        describe_counter!("pulsegate_verdicts_total", "Verdicts given, by decision and reason.");
        describe_counter!("pulsegate_verdicts_provisional_total", "Verdicts given from less than the whole log.");
        // An alert can't see a count grow that comes into being with its first case.
        for because in ["starting", "view_behind", "partition_moving"] {
            counter!("pulsegate_provisional_answers_total", "because" => because).increment(0);
        }
        for limit in TooManyWaiters::LIMITS {
            counter!("pulsegate_waiting_refused_total", "limit" => limit).increment(0);
        }
        counter!("pulsegate_provisional_unkept_total").increment(0);
        counter!("pulsegate_changes_unnoted_total").increment(0);
        counter!("pulsegate_connections_refused_total").increment(0);
        counter!("pulsegate_rejected_lost_total").increment(0);
        gauge!("pulsegate_waiters").increment(0);
        let blocked = Reason::ALL
            .iter()
            .map(|reason| counter!("pulsegate_verdicts_total", "decision" => "block", "reason" => reason.as_str()))
            .collect();
        let routes = routes.into_iter().chain([UNMATCHED.to_owned()]);
        Self {
            routes: routes.map(|route| (route.into_boxed_str(), Default::default())).collect(),
            allowed: counter!("pulsegate_verdicts_total", "decision" => "allow", "reason" => ""),
            blocked,
            provisional: counter!("pulsegate_verdicts_provisional_total"),
            problems: ProblemKind::ALL
                .iter()
                .map(|kind| counter!("pulsegate_problems_total", "code" => kind.code()))
                .collect(),
        }
    }

    /// Counts an answered request.
    pub(crate) fn request(&self, method: &Method, route: Option<&str>, status: StatusCode, took: Duration) {
        let (name, of_methods) = route
            .and_then(|route| self.routes.get_key_value(route))
            .or_else(|| self.routes.get_key_value(UNMATCHED))
            .unwrap_or_else(|| unreachable!("the unmatched route is always counted"));
        let index = METHODS.iter().position(|known| known == method);
        let slot = &of_methods[index.unwrap_or(METHODS_LEN)];
        let of_route =
            slot.get_or_init(|| OfRoute::new(index.map_or(OTHER_METHOD, |index| METHODS[index].as_str()), name));
        let class = usize::from(status.as_u16() / 100 - 1).min(CLASSES.len() - 1);
        of_route.by_class[class].increment(1);
        of_route.seconds.record(took.as_secs_f64());
    }

    /// Counts an answer that is a problem.
    pub(crate) fn problem(&self, kind: ProblemKind) {
        if let Some(index) = ProblemKind::ALL.iter().position(|known| *known == kind) {
            self.problems[index].increment(1);
        }
    }

    /// Counts a verdict that is given.
    pub(crate) fn verdict(&self, verdict: &Verdict, stamp: &Stamp) {
        match verdict.reason {
            None => self.allowed.increment(1),
            Some(reason) => {
                if let Some(index) = Reason::ALL.iter().position(|known| *known == reason) {
                    self.blocked[index].increment(1);
                }
            }
        }
        if stamp.provisional {
            self.provisional.increment(1);
        }
    }
}

impl OfRoute {
    fn new(method: &str, route: &str) -> Self {
        Self {
            by_class: CLASSES.map(|class| {
                counter!(
                    "pulsegate_http_requests_total",
                    "method" => method.to_owned(), "route" => route.to_owned(), "status" => class
                )
            }),
            seconds: histogram!(
                "pulsegate_http_request_seconds",
                "method" => method.to_owned(), "route" => route.to_owned()
            ),
        }
    }
}
