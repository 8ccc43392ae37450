//! When certificates end: no more of X.509 than the way to that date.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDateTime, Utc};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// When each certificate of a PEM file ends, in its order; what can't be read is left out.
pub(super) fn ends(pem: &str) -> Vec<DateTime<Utc>> {
    let blocks = pem.split("-----BEGIN CERTIFICATE-----").skip(1);
    blocks
        .filter_map(|block| {
            let (body, _) = block.split_once("-----END CERTIFICATE-----")?;
            let body: String = body.split_whitespace().collect();
            end(&STANDARD.decode(body).ok()?)
        })
        .collect()
}

/// When a certificate ends, in DER.
fn end(der: &[u8]) -> Option<DateTime<Utc>> {
    let mut certificate = content(&mut &*der, SEQUENCE)?;
    let mut signed = content(&mut certificate, SEQUENCE)?;
    if signed.first() == Some(&VERSION) {
        content(&mut signed, VERSION)?;
    }
    content(&mut signed, INTEGER)?;
    // The algorithm, the issuer.
    content(&mut signed, SEQUENCE)?;
    content(&mut signed, SEQUENCE)?;
    let mut validity = content(&mut signed, SEQUENCE)?;
    time(&mut validity)?;
    time(&mut validity)
}

fn time(rest: &mut &[u8]) -> Option<DateTime<Utc>> {
    let tag = *rest.first()?;
    let text = std::str::from_utf8(content(rest, tag)?).ok()?;
    let text = match tag {
        // Two digits of a year: up to 49 they are of this century.
        UTC_TIME => format!("{}{text}", if text.get(..2)? < "50" { "20" } else { "19" }),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    Some(NaiveDateTime::parse_from_str(&text, "%Y%m%d%H%M%SZ").ok()?.and_utc())
}

/// Takes what comes next, which must be a `tag`.
fn content<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (&[found, length], behind) = rest.split_first_chunk()?;
    if found != tag {
        return None;
    }
    let (length, behind) = match length {
        0..=0x7f => (usize::from(length), behind),
        0x81..=0x84 => {
            let (bytes, behind) = behind.split_at_checked(usize::from(length & 0x7f))?;
            (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), behind)
        }
        _ => return None,
    };
    let (content, behind) = behind.split_at_checked(length)?;
    *rest = behind;
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by openssl: one until 2126, which is written with four digits, and one that ended with the year 2020.
    const PEM: &str = "
-----BEGIN CERTIFICATE-----
MIIBcDCCARWgAwIBAgIUPqxB1CgL8ry+UfPaSU9efLl1sV0wCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBYTAgFw0yNjExMjgyMDI2NDFaGA8yMTI2MTEwNDIwMjY0MVow
DDEKMAgGA1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABBTLnSujDsNC
q18AyRf2w3IAwzOwVJQnliFXju9lQ9fONBPUXfCzUrR0WE2BhiGUz+xC9tY2MlcO
Z+61k29abvujUzBRMB0GA1UdDgQWBBQiZfs3IPyQVzj4sYl3yYO2N/vI7DAfBgNV
HSMEGDAWgBQiZfs3IPyQVzj4sYl3yYO2N/vI7DAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0kAMEYCIQCoAYNarUc1kFL+pddupZ/w/oN7FbpaqnrQFD/RHErv
OAIhAN4Jus2A/QvEAuGINBt+CodlFU8QVvEW+g8ovhBtu6ny
-----END CERTIFICATE-----
-----BEGIN CERTIFICATE-----
MIIBUjCB+aADAgECAgEBMAoGCCqGSM49BAMCMAwxCjAIBgNVBAMMAWIwHhcNMjAw
MTAxMDAwMDAwWhcNMjEwMTAxMDAwMDAwWjAMMQowCAYDVQQDDAFiMFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAEvRRBaxoRsnn3OoUtXRdp+VWpZ51bHFuOxMD+x4bz
QoCH6UjWx78CtikmI9Gdxx55foxq/tGklvwgwHC7b7UHHaNMMEowCQYDVR0TBAIw
ADAdBgNVHQ4EFgQUD7ZBZFYg9ASGTAcpTJakfRjPG9MwHgYDVR0jBBcwFaEQpA4w
DDEKMAgGA1UEAwwBYoIBATAKBggqhkjOPQQDAgNIADBFAiEA+is7zdI2KPs8Hx3B
pYddm8pvvM4/Iw5hcZzkHY0iHxQCID2cSes1ETvVYDmlUYO1PEU8u4c9zPpoUNa9
m7zhWUub
-----END CERTIFICATE-----
";

    #[test]
    fn the_end_of_each_certificate_is_found() {
        let found: Vec<_> = ends(PEM).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["2126-11-04 20:26:41 UTC", "2021-01-01 00:00:00 UTC"]);
        assert!(ends("no certificate").is_empty());
        assert!(ends("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----").is_empty());
    }

    #[test]
    fn no_bytes_make_it_stumble() {
        let body: String = PEM.lines().skip(2).take_while(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(body).unwrap();
        assert!(end(&der).is_some());
        for length in 0..der.len() {
            assert_eq!(end(&der[..length]), None);
        }
        for at in 0..der.len() {
            let mut broken = der.clone();
            broken[at] ^= 0xff;
            // Whatever it says, it says something.
            let _ = end(&broken);
        }
    }
}
