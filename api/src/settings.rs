//! What an operator may set of the HTTP surface.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use pulsegate_write_side::adapter::Mapping;
use thiserror::Error;

use crate::callers::Callers;

/// Limits and habits of the HTTP surface; [`Default`] is what the documentation promises.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Who may call, and how often.
    pub callers: Callers,
    /// Whose pages may call from a browser; empty: only our own.
    pub cors_origins: CorsOrigins,
    /// Whether browsers come by https, here or at a balancer: then they are told to come by nothing else.
    pub is_https: bool,
    /// Longest body, in bytes, as sent and as decompressed.
    pub body_bytes_max: usize,
    /// For how long a body may arrive.
    pub body_time_max: Duration,
    /// For how long an answer may be worked on, its body's arrival included.
    pub answer_time_max: Duration,
    /// Most `GET`s under way at once; more are turned away.
    pub reads_in_flight_max: usize,
    /// Most other requests under way at once; counted apart, so that writes that wait for a broker that is
    /// away don't turn checks away.
    pub writes_in_flight_max: usize,
    /// How often a player is asked to send a heartbeat, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// Where formats of others say what a signal needs.
    pub mapping: Arc<Mapping>,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            callers: Callers::default(),
            cors_origins: CorsOrigins::default(),
            is_https: false,
            body_bytes_max: 1 << 20,
            body_time_max: Duration::from_secs(10),
            answer_time_max: Duration::from_secs(30),
            reads_in_flight_max: 4_096,
            writes_in_flight_max: 4_096,
            heartbeat_interval_ms: 10_000,
            mapping: Arc::default(),
        }
    }
}

/// The list of origins whose pages may call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CorsOrigins {
    /// Only our own pages, which need no permission.
    #[default]
    Own,
    /// Every page.
    Any,
    /// The pages of these origins.
    Listed(Vec<HeaderValue>),
}

/// A text that is no list of origins.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no origin: must be scheme://host or scheme://host:port, or * alone for every page")]
pub struct InvalidOrigin(String);

impl std::str::FromStr for CorsOrigins {
    type Err = InvalidOrigin;

    /// Reads `https://a.example,https://b.example:8443`, `*`, or nothing.
    fn from_str(list: &str) -> Result<Self, InvalidOrigin> {
        let origins: Vec<_> = list.split(',').map(str::trim).filter(|origin| !origin.is_empty()).collect();
        match origins.as_slice() {
            [] => Ok(Self::Own),
            ["*"] => Ok(Self::Any),
            many => many.iter().map(|origin| read_origin(origin)).collect::<Result<_, _>>().map(Self::Listed),
        }
    }
}

fn read_origin(origin: &str) -> Result<HeaderValue, InvalidOrigin> {
    let invalid = || InvalidOrigin(origin.to_owned());
    let (scheme, authority) = origin.split_once("://").ok_or_else(invalid)?;
    let authority_is_one: bool = authority.parse::<http::uri::Authority>().is_ok() && !authority.contains('@');
    if !matches!(scheme, "http" | "https") || !authority_is_one {
        return Err(invalid());
    }
    // A browser writes both in lower case, and they are compared byte by byte.
    HeaderValue::try_from(origin.to_ascii_lowercase()).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_origins_is_read_with_all_its_spellings() {
        assert_eq!(" ".parse(), Ok(CorsOrigins::Own));
        assert_eq!("*".parse(), Ok(CorsOrigins::Any));
        let listed = "https://A.example, http://localhost:5173".parse::<CorsOrigins>();
        assert_eq!(
            listed,
            Ok(CorsOrigins::Listed(vec![
                HeaderValue::from_static("https://a.example"),
                HeaderValue::from_static("http://localhost:5173")
            ]))
        );
    }

    #[test]
    fn what_is_no_origin_is_named() {
        for bad in ["a.example", "https://", "https://a.example/", "ftp://a.example", "https://a,*", "https://u@a"] {
            let error = bad.parse::<CorsOrigins>().unwrap_err().to_string();
            assert!(error.contains("is no origin"), "{bad}: {error}");
        }
    }
}
