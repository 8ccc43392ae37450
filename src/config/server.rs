//! How connections are kept within bounds, and encrypted, as the configuration says it.

use std::path::PathBuf;

use pulsegate_api::{ServerSettings, Tls, TlsError};
use pulsegate_service::variables::Reader;

use super::ClusterMode;
use super::callers::Access;

/// Most connections from one address, where the wall is closed and nothing is said: homes share an address, sometimes
/// streets do.
const PER_ADDRESS: u64 = 1_024;

/// How the HTTP surface is served.
#[derive(Clone, Debug)]
pub(crate) struct ServerConfig {
    connections_max: usize,
    per_address_max: Option<usize>,
    certificate: PathBuf,
    key: PathBuf,
}

impl ServerConfig {
    pub(super) fn read(reader: &mut Reader<'_>, cluster: ClusterMode, access: Access, proxies: usize) -> Self {
        let connections_max = reader.within("PULSEGATE_CONNECTIONS", 16_384, 16, 1_000_000);
        // Behind a balancer every connection is its.
        let default = if access == Access::Closed && proxies == 0 { PER_ADDRESS } else { 0 };
        let per_address = reader.within("PULSEGATE_CONNECTIONS_PER_ADDRESS", default, 0, 1_000_000);
        let certificate = reader.text("PULSEGATE_TLS_CERTIFICATE", "");
        let key = reader.text("PULSEGATE_TLS_KEY", "");
        match (certificate.is_empty(), key.is_empty()) {
            (true, false) => {
                reader.mistake("PULSEGATE_TLS_CERTIFICATE", "must be set with PULSEGATE_TLS_KEY".to_owned());
            }
            (false, true) => {
                reader.mistake("PULSEGATE_TLS_KEY", "must be set with PULSEGATE_TLS_CERTIFICATE".to_owned());
            }
            (false, false) => {
                if let Err(error) = Tls::read(certificate.as_ref(), key.as_ref()) {
                    reader.mistake("PULSEGATE_TLS_CERTIFICATE", format!("must be a certificate with its key: {error}"));
                }
                if cluster == ClusterMode::Owned {
                    let detail =
                        "must not be set where nodes share the partitions: they speak plain HTTP with each other; \
                                  encrypt at the balancer"
                            .to_owned();
                    reader.mistake("PULSEGATE_TLS_CERTIFICATE", detail);
                }
            }
            (true, true) => {}
        }
        Self {
            connections_max: usize::try_from(connections_max).unwrap_or(usize::MAX),
            per_address_max: usize::try_from(per_address).ok().filter(|most| *most > 0),
            certificate: certificate.into(),
            key: key.into(),
        }
    }

    /// Whether connections are encrypted here.
    pub(crate) fn is_encrypted(&self) -> bool {
        !self.certificate.as_os_str().is_empty()
    }

    /// The same for the server.
    pub(crate) fn settings(&self) -> Result<ServerSettings, TlsError> {
        let tls = self.is_encrypted().then(|| Tls::read(&self.certificate, &self.key)).transpose()?;
        Ok(ServerSettings {
            connections_max: self.connections_max,
            connections_per_address_max: self.per_address_max,
            tls,
            ..ServerSettings::default()
        })
    }
}
