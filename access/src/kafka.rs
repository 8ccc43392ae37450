//! Kafka: MSK's IAM access control, as a token of `OAUTHBEARER`.
//!
//! A client's configuration says the region ([`configure`]); each context of a client hands [`token`] on, and each
//! consumer is [`sign_in`]ed once it is made.

use std::error::Error;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use rdkafka::ClientConfig;
use rdkafka::client::OAuthToken;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};

use crate::TOKEN_LIFE;
use crate::credentials::Credentials;
use crate::signature::{Moment, Request, presigned};

/// What the settings call it.
pub const MECHANISM: &str = "AWS_MSK_IAM";

/// What librdkafka calls a mechanism whose tokens its user makes.
const OAUTHBEARER: &str = "OAUTHBEARER";
/// Which tokens, in librdkafka's own words; handed to whoever makes one.
const TOKEN_CONFIG: &str = "sasl.oauthbearer.config";
/// What stands before the region in it.
const REGION: &str = "aws-msk-iam region=";
/// How long a first poll may take: what it is for lies ready.
const SIGN_IN: Duration = Duration::from_millis(20);

/// Lets a client sign in with the role of its process, in the cluster's region.
pub fn configure(client: &mut ClientConfig, region: &str) {
    client.set("sasl.mechanism", OAUTHBEARER).set(TOKEN_CONFIG, format!("{REGION}{region}"));
}

/// Whether a client signs in with the role of its process.
#[must_use]
pub fn by_role(client: &ClientConfig) -> bool {
    client.get("sasl.mechanism") == Some(OAUTHBEARER)
}

/// A fresh token: what a context's `generate_oauth_token` hands on.
pub fn token(config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
    let region = config.and_then(|config| config.strip_prefix(REGION)).ok_or("no region to sign a token for")?;
    let credentials = Credentials::find().inspect_err(|error| tracing::error!(%error, "no token for Kafka"))?;
    Ok(signed(region, &credentials, Utc::now()))
}

/// Lets a consumer that was just made have its first token, which librdkafka asks for in a poll only: a question for
/// metadata before would wait for nothing until it gives up.
pub fn sign_in<C: ConsumerContext>(consumer: &BaseConsumer<C>, config: &ClientConfig) {
    if by_role(config) {
        // Nothing is assigned yet, so no record can come; trouble is told to the context.
        drop(consumer.poll(SIGN_IN));
    }
}

fn signed(region: &str, credentials: &Credentials, now: Moment) -> OAuthToken {
    let host = format!("kafka.{region}.amazonaws.com");
    let parameters = [("Action", "kafka-cluster:Connect")];
    let request = Request { service: "kafka-cluster", region, host: &host, parameters: &parameters };
    let url = format!("https://{}&User-Agent=pulsegate", presigned(&request, credentials, now));
    let life_ms = i64::try_from(TOKEN_LIFE.as_millis()).unwrap_or(i64::MAX);
    OAuthToken {
        token: URL_SAFE_NO_PAD.encode(url),
        // MSK takes it from the signature; librdkafka wants one.
        principal_name: credentials.key_id.clone(),
        lifetime_ms: now.timestamp_millis() + life_ms,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc;
    use std::thread;

    use rdkafka::client::ClientContext;
    use rdkafka::consumer::Consumer as _;

    use super::*;
    use crate::signature::tests::known;

    /// Made by AWS's own signer for Python (`aws-msk-iam-sasl-signer-python` 1.0.2) for the same credentials and moment,
    /// but for the agent's name, which isn't signed.
    #[test]
    fn a_token_is_what_awss_own_signer_makes() {
        let head = "https://kafka.eu-central-1.amazonaws.com/?Action=kafka-cluster%3AConnect\
            &X-Amz-Algorithm=AWS4-HMAC-SHA256\
            &X-Amz-Credential=AKIDEXAMPLE%2F20261128%2Feu-central-1%2Fkafka-cluster%2Faws4_request\
            &X-Amz-Date=20261128T123456Z&X-Amz-Expires=900";
        for (session_token, rest) in [
            (
                None,
                "&X-Amz-SignedHeaders=host\
                &X-Amz-Signature=233e5e1d0972f675e2e027c48c5511d66d3d3cf6fd6ca8fe1a8551db5c6371b7",
            ),
            (
                Some("IQoJb3JpZ2luX2VjE/+=token"),
                "&X-Amz-Security-Token=IQoJb3JpZ2luX2VjE%2F%2B%3Dtoken&X-Amz-SignedHeaders=host\
                &X-Amz-Signature=55d830c11cf5de7a67ab6fc10f87744ac5381fc9da28c914e86df6a9950f6146",
            ),
        ] {
            let (credentials, now) = known(session_token);
            let token = signed("eu-central-1", &credentials, now);
            let url = String::from_utf8(URL_SAFE_NO_PAD.decode(&token.token).unwrap()).unwrap();
            let (same, agent) = url.rsplit_once("&User-Agent=").unwrap();
            assert_eq!(agent, "pulsegate");
            assert_eq!(in_order(same), in_order(&format!("{head}{rest}")));
            assert_eq!(token.lifetime_ms, 1_795_870_196_000);
        }
    }

    /// The order of parameters in a URL says nothing; that in a signature is the signature's own.
    fn in_order(url: &str) -> Vec<&str> {
        let mut parts: Vec<_> = url.split('&').collect();
        parts.sort_unstable();
        parts
    }

    #[test]
    fn without_a_region_there_is_no_token() {
        assert_eq!(token(None).err().unwrap().to_string(), "no region to sign a token for");
    }

    struct Signing;

    impl ClientContext for Signing {
        const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

        fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
            assert_eq!(config, Some("aws-msk-iam region=eu-central-1"));
            // Not the known moment: librdkafka refuses a token that has run out.
            Ok(signed("eu-central-1", &known(None).0, Utc::now()))
        }
    }

    impl ConsumerContext for Signing {}

    #[test]
    fn a_consumer_that_signed_in_shows_its_token_to_whom_it_asks() {
        let broker = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", broker.local_addr().unwrap().to_string())
            .set("security.protocol", "sasl_plaintext");
        configure(&mut config, "eu-central-1");
        let (shown, seen) = mpsc::channel();
        thread::spawn(move || {
            for connection in broker.incoming() {
                let shown = shown.clone();
                thread::spawn(move || while serve(connection.as_ref().unwrap(), &shown).is_some() {});
            }
        });
        let consumer: BaseConsumer<Signing> = config.create_with_context(Signing).unwrap();
        sign_in(&consumer, &config);
        let asking = thread::spawn(move || drop(consumer.fetch_metadata(None, Duration::from_secs(1))));
        let shown = seen.recv_timeout(Duration::from_secs(10)).expect("a token within the deadline");
        let token = shown.strip_prefix("n,,\u{1}auth=Bearer ").unwrap().strip_suffix("\u{1}\u{1}").unwrap();
        let url = String::from_utf8(URL_SAFE_NO_PAD.decode(token).unwrap()).unwrap();
        assert!(url.starts_with("https://kafka.eu-central-1.amazonaws.com/?Action=kafka-cluster%3AConnect&"), "{url}");
        asking.join().unwrap();
    }

    /// As much of a broker as a client needs to sign in: answers one request, hands on what is shown to it.
    fn serve(mut connection: &TcpStream, shown: &mpsc::Sender<String>) -> Option<()> {
        const API_VERSIONS: i16 = 18;
        const SASL_HANDSHAKE: i16 = 17;
        const SASL_AUTHENTICATE: i16 = 36;
        let mut size = [0; 4];
        connection.read_exact(&mut size).ok()?;
        let mut request = vec![0; usize::try_from(u32::from_be_bytes(size)).ok()?];
        connection.read_exact(&mut request).ok()?;
        let short = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
        let mut body = Vec::new();
        match (short(0), short(2)) {
            (API_VERSIONS, 0) => {
                body.extend(0_i16.to_be_bytes());
                body.extend(3_i32.to_be_bytes());
                for (key, newest) in [(API_VERSIONS, 0), (SASL_HANDSHAKE, 1_i16), (SASL_AUTHENTICATE, 0)] {
                    body.extend([key, 0, newest].iter().flat_map(|short| short.to_be_bytes()));
                }
            }
            // A newer one than this broker knows.
            (API_VERSIONS, _) => {
                body.extend(35_i16.to_be_bytes());
                body.extend(0_i32.to_be_bytes());
            }
            (SASL_HANDSHAKE, _) => {
                body.extend(0_i16.to_be_bytes());
                body.extend(1_i32.to_be_bytes());
                body.extend(11_i16.to_be_bytes());
                body.extend(b"OAUTHBEARER");
            }
            (SASL_AUTHENTICATE, _) => {
                // Behind the header (whose last part is the client's name) and the length.
                let name = usize::try_from(short(8)).ok()?;
                shown.send(String::from_utf8(request[10 + name + 4..].to_vec()).ok()?).ok()?;
                return None;
            }
            _ => return None,
        }
        let length = u32::try_from(body.len() + 4).ok()?;
        connection.write_all(&[&length.to_be_bytes()[..], &request[4..8], &body].concat()).ok()
    }
}
