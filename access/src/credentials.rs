//! Whose signature it is: the credentials of the task's role.

use std::env;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

/// Where a container of ECS asks for the credentials of its task's role.
const ENDPOINT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 170, 2)), 80);
/// Which path it asks for; set by ECS.
const RELATIVE_URI: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
/// How long an answer may take. It comes from the machine itself.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Why there are none.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// Nothing says where to find them.
    #[error(
        "find AWS credentials: neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI (an ECS task with a role) nor \
         AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are set"
    )]
    None,
    /// The endpoint doesn't answer.
    #[error("ask {ENDPOINT} for the credentials of the task's role: {0}")]
    Endpoint(#[from] io::Error),
    /// It answers something else.
    #[error("read the credentials of the task's role: {0}")]
    Answer(String),
}

/// What signs: the credentials of a role, or of a user on a laptop.
#[derive(Clone, Deserialize)]
pub struct Credentials {
    #[serde(rename = "AccessKeyId")]
    pub(crate) key_id: String,
    #[serde(rename = "SecretAccessKey")]
    pub(crate) secret_key: String,
    #[serde(rename = "Token")]
    pub(crate) session_token: Option<String>,
}

/// Without the secrets.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Those of the task's role, else those of the environment. A role's are renewed by AWS, so ask each time.
    /// Blocks for two seconds at most.
    pub fn find() -> Result<Self, CredentialsError> {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        if let Some(path) = variable(RELATIVE_URI) {
            return ask(ENDPOINT, &path);
        }
        match (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
            (Some(key_id), Some(secret_key)) => {
                Ok(Self { key_id, secret_key, session_token: variable("AWS_SESSION_TOKEN") })
            }
            _ => Err(CredentialsError::None),
        }
    }
}

/// One request over HTTP 1.0, whose answer ends with the connection and never comes in chunks.
fn ask(endpoint: SocketAddr, path: &str) -> Result<Credentials, CredentialsError> {
    let wrong = |what: &str| CredentialsError::Answer(what.to_owned());
    if !path.starts_with('/') || path.bytes().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
        return Err(wrong(&format!("{RELATIVE_URI}={path:?} must be a path")));
    }
    let mut connection = TcpStream::connect_timeout(&endpoint, ANSWER_MAX)?;
    connection.set_read_timeout(Some(ANSWER_MAX))?;
    connection.set_write_timeout(Some(ANSWER_MAX))?;
    write!(connection, "GET {path} HTTP/1.0\r\nHost: {endpoint}\r\nAccept: application/json\r\n\r\n")?;
    let mut answer = Vec::new();
    connection.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer).map_err(|_| wrong("the answer is not UTF-8"))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| wrong("the answer is cut off"))?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(wrong(&format!("the answer is {status:?}")));
    }
    // Its error would quote what it read.
    serde_json::from_str(body).map_err(|_| wrong("the answer lacks AccessKeyId or SecretAccessKey"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What comes of an endpoint's answer, and what it was asked.
    fn answered(answer: &'static str) -> (Result<Credentials, CredentialsError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                connection.read_exact(&mut byte).unwrap();
                asked.push(byte[0]);
            }
            connection.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        });
        let credentials = ask(endpoint, "/v2/credentials/1");
        (credentials, server.join().unwrap())
    }

    #[test]
    fn a_roles_credentials_are_asked_for_by_path() {
        let (credentials, asked) = answered(
            "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"RoleArn\":\"arn:aws:iam::1:role/api\",\
             \"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":\"2026-11-28T18:00:00Z\"}",
        );
        let credentials = credentials.unwrap();
        assert!(asked.starts_with("GET /v2/credentials/1 HTTP/1.0\r\n"), "{asked}");
        assert_eq!((credentials.key_id.as_str(), credentials.session_token.as_deref()), ("ASIA1", Some("t")));
        assert!(!format!("{credentials:?}").contains("\"s\""));
    }

    #[test]
    fn an_answer_that_has_none_says_so_and_shows_nothing_of_it() {
        let (refused, _) = answered("HTTP/1.0 429 Too Many Requests\r\n\r\n{}");
        assert_eq!(
            refused.unwrap_err().to_string(),
            "read the credentials of the task's role: the answer is \"HTTP/1.0 429 Too Many Requests\""
        );
        let (empty, _) = answered("HTTP/1.0 200 OK\r\n\r\n{\"SecretAccessKey\":\"hidden\"}");
        assert!(!empty.unwrap_err().to_string().contains("hidden"));
        assert!(matches!(ask(ENDPOINT, "/a b").unwrap_err(), CredentialsError::Answer(_)));
    }
}
