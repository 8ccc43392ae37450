//! What each route asks of its caller, in one table. A test compares it with the router and with the API's description.

use std::collections::HashMap;
use std::sync::LazyLock;

use http::Method;
use pulsegate_callers::Scope::{self, Ingest, Operate, PoliciesWrite, ReportsClose, ReportsRead, Signals};

/// What a route asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The account's own player, by its token; or one of these scopes.
    Player(&'static [Scope]),
    /// One of these scopes.
    Scope(&'static [Scope]),
    /// Anybody who shows who it is.
    Known,
}

/// A method and a path of the API, and what they ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) need: Need,
}

const fn row(method: &'static str, path: &'static str, need: Need) -> Row {
    Row { method, path, need }
}

/// A player, or who speaks for players.
const PLAYER: Need = Need::Player(&[Ingest]);
const CATALOG_READ: Need = Need::Scope(&[PoliciesWrite, ReportsRead, Operate]);
const CATALOG_WRITE: Need = Need::Scope(&[PoliciesWrite]);
const SIGNALS: Need = Need::Scope(&[Signals]);
const REPORTS: Need = Need::Scope(&[ReportsRead]);
const CLOSE: Need = Need::Scope(&[ReportsClose]);
const OPERATE: Need = Need::Scope(&[Operate]);

/// Every route of the API.
pub(crate) const NEEDS: &[Row] = &[
    row("POST", "/v1/accounts/{account}/sessions", PLAYER),
    row("GET", "/v1/accounts/{account}/sessions", Need::Player(&[Ingest, Operate])),
    row("DELETE", "/v1/accounts/{account}/sessions/{session}", PLAYER),
    row("POST", "/v1/accounts/{account}/sessions/{session}/heartbeats", PLAYER),
    row("POST", "/v1/accounts/{account}/sessions/{session}/stop", PLAYER),
    row("POST", "/v1/accounts/{account}/sessions/{session}/evict", Need::Player(&[Operate])),
    row("GET", "/v1/accounts/{account}/sessions/{session}/verdict", Need::Player(&[Ingest, Signals, Operate])),
    row("GET", "/v1/accounts/{account}/verdicts", Need::Player(&[Ingest, Operate])),
    row("GET", "/v1/accounts/{account}/sessions/{session}/watch-time", REPORTS),
    row("GET", "/v1/accounts/{account}/decisions", OPERATE),
    row("GET", "/v1/accounts/{account}/entitlement", CATALOG_READ),
    row("PUT", "/v1/accounts/{account}/entitlement", CATALOG_WRITE),
    row("POST", "/v1/heartbeats", PLAYER),
    row("POST", "/v1/clickstream", PLAYER),
    row("GET", "/v1/clickstream", REPORTS),
    row("GET", "/v1/clickstream/trend", REPORTS),
    row("GET", "/v1/clickstream/breakdown", REPORTS),
    row("GET", "/v1/clickstream/sessions", REPORTS),
    row("GET", "/v1/clickstream/funnel", REPORTS),
    row("GET", "/v1/clickstream/retention", REPORTS),
    row("GET", "/v1/clickstream/timeline", REPORTS),
    row("GET", "/v1/clickstream/export", REPORTS),
    row("GET", "/v1/clickstream/names", REPORTS),
    row("GET", "/v1/clickstream/paths", REPORTS),
    row("GET", "/v1/clickstream/questions", REPORTS),
    row("GET", "/v1/clickstream/questions/{name}", REPORTS),
    // Who may ask may keep what was asked: it holds a question and no figure.
    row("PUT", "/v1/clickstream/questions/{name}", REPORTS),
    row("DELETE", "/v1/clickstream/questions/{name}", REPORTS),
    row("POST", "/v1/signals", SIGNALS),
    row("POST", "/v1/signals/licence", SIGNALS),
    row("POST", "/v1/signals/cloudfront", SIGNALS),
    row("GET", "/v1/policies", CATALOG_READ),
    row("GET", "/v1/policies/{name}", CATALOG_READ),
    row("PUT", "/v1/policies/{name}", CATALOG_WRITE),
    row("GET", "/v1/titles/{id}", CATALOG_READ),
    row("PUT", "/v1/titles/{id}", CATALOG_WRITE),
    row("GET", "/v1/rights-holders", CATALOG_READ),
    row("GET", "/v1/rights-holders/{id}", CATALOG_READ),
    row("PUT", "/v1/rights-holders/{id}", CATALOG_WRITE),
    row("GET", "/v1/contracts/{id}", CATALOG_READ),
    row("PUT", "/v1/contracts/{id}", CATALOG_WRITE),
    row("GET", "/v1/contracts/{id}/versions", CATALOG_READ),
    row("POST", "/v1/contracts/{id}/end", CATALOG_WRITE),
    row("GET", "/v1/reports/licensing", REPORTS),
    row("GET", "/v1/reports/clickstream", REPORTS),
    row("GET", "/v1/reports/concurrency", REPORTS),
    row("GET", "/v1/reports/usage", REPORTS),
    row("GET", "/v1/statements", REPORTS),
    row("GET", "/v1/statements/{period}", REPORTS),
    row("GET", "/v1/statements/{period}/rows", REPORTS),
    row("GET", "/v1/statements/{period}/sessions", REPORTS),
    row("POST", "/v1/statements/{period}/close", CLOSE),
    row("POST", "/v1/statements/{period}/restate", CLOSE),
    row("GET", "/v1/projections", OPERATE),
    row("GET", "/v1/provisional", OPERATE),
    row("GET", "/v1/live", OPERATE),
    row("GET", "/v1/cluster", OPERATE),
    row("GET", "/v1/cluster/node", OPERATE),
    row("GET", "/v1/me", Need::Known),
];

/// What a request to a route asks of its caller. A method that the path doesn't take is answered by the router, to whoever
/// may do anything there; a path without a row is nobody's.
pub(crate) fn need(method: &Method, path: &str) -> Option<Need> {
    static BY_PATH: LazyLock<HashMap<&str, Vec<&Row>>> = LazyLock::new(|| {
        let mut by_path: HashMap<_, Vec<_>> = HashMap::new();
        for row in NEEDS {
            by_path.entry(row.path).or_default().push(row);
        }
        by_path
    });
    let rows = BY_PATH.get(path)?;
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    rows.iter().find(|row| row.method == method).or_else(|| rows.first()).map(|row| row.need)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_route_stands_in_one_row_and_each_row_has_a_route() {
        let mut routes = BTreeSet::new();
        for (path, item) in crate::routes::described().into_openapi().paths.paths {
            for (method, operation) in
                [("GET", item.get), ("PUT", item.put), ("POST", item.post), ("DELETE", item.delete)]
            {
                if operation.is_some() {
                    routes.insert((method, path.clone()));
                }
            }
        }
        let rows: BTreeSet<_> = NEEDS.iter().map(|row| (row.method, row.path.to_owned())).collect();
        assert_eq!(rows.len(), NEEDS.len(), "a route stands in two rows");
        let without: Vec<_> = routes.difference(&rows).collect();
        assert!(without.is_empty(), "say in callers/needs.rs what these routes ask of their caller: {without:?}");
        let gone: Vec<_> = rows.difference(&routes).collect();
        assert!(gone.is_empty(), "there are no such routes: {gone:?}");
    }

    #[test]
    fn what_stands_nowhere_is_nobodys() {
        assert_eq!(need(&Method::GET, "/v1/unheard-of"), None);
        assert_eq!(need(&Method::HEAD, "/v1/live"), Some(OPERATE));
        assert_eq!(need(&Method::PATCH, "/v1/live"), Some(OPERATE));
    }
}
