//! What of this process is traced, and where it is told.

use pulsegate_traces::Settings;

use crate::variables::{OTLP_ENDPOINT, Reader};

/// Which part of requests is sampled where nobody says anything: of a thousand requests a second ten are followed.
const RATIO: f64 = 0.01;

/// Reads the settings; `None` where nothing is traced.
pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Settings> {
    let usual = reader.text(OTLP_ENDPOINT, "");
    let endpoint = reader.text("PULSEGATE_TRACES_ENDPOINT", &usual);
    let is_address = endpoint.parse::<http::Uri>().is_ok_and(|uri| {
        uri.host().is_some_and(|host| !host.is_empty()) && matches!(uri.scheme_str(), Some("http" | "https"))
    });
    if !endpoint.is_empty() && !is_address {
        let detail = format!("{endpoint:?} must be a collector's address, e.g. http://127.0.0.1:4318");
        reader.mistake("PULSEGATE_TRACES_ENDPOINT", detail);
    }
    let ratio = reader.parsed("PULSEGATE_TRACES_RATIO", &RATIO.to_string(), RATIO);
    if !(0.0..=1.0).contains(&ratio) {
        reader.mistake("PULSEGATE_TRACES_RATIO", format!("{ratio} must be 0-1"));
    }
    let forced_per_s = reader.within("PULSEGATE_TRACES_FORCED_PER_S", 10, 0, 1_000_000);
    (!endpoint.is_empty()).then(|| Settings {
        endpoint,
        ratio,
        forced_per_s: u32::try_from(forced_per_s).unwrap_or(u32::MAX),
        service: program(),
        instance: instance(),
    })
}

/// What runs here: pulsegate, or a service of projections on its log.
fn program() -> String {
    let path = std::env::current_exe().ok();
    let name = path.as_deref().and_then(|path| path.file_stem()?.to_str());
    name.unwrap_or("pulsegate").to_owned()
}

/// A process among its like.
fn instance() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}", host.trim(), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Option<Settings>, Vec<String>> {
        let variables = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut reader = Reader::new(&variables);
        let settings = read(&mut reader);
        let mistakes = reader.finish().err().unwrap_or_default();
        if mistakes.is_empty() { Ok(settings) } else { Err(mistakes.iter().map(ToString::to_string).collect()) }
    }

    #[test]
    fn nothing_is_traced_until_somebody_says_where() {
        assert_eq!(of(&[]), Ok(None));
        let standard = (OTLP_ENDPOINT, "http://collector:4318");
        let traced = of(&[standard]).unwrap().unwrap();
        assert_eq!((traced.endpoint.as_str(), traced.ratio, traced.forced_per_s), ("http://collector:4318", 0.01, 10));
        let own = ("PULSEGATE_TRACES_ENDPOINT", "https://other:4318");
        assert_eq!(of(&[standard, own]).unwrap().unwrap().endpoint, "https://other:4318");
    }

    #[test]
    fn every_mistake_is_named() {
        for (variable, wrong) in [
            ("PULSEGATE_TRACES_ENDPOINT", "127.0.0.1:4318"),
            ("PULSEGATE_TRACES_ENDPOINT", "grpc://collector:4317"),
            ("PULSEGATE_TRACES_RATIO", "1.5"),
            ("PULSEGATE_TRACES_RATIO", "NaN"),
            ("PULSEGATE_TRACES_RATIO", "much"),
            ("PULSEGATE_TRACES_FORCED_PER_S", "-1"),
        ] {
            let mistakes = of(&[(variable, wrong)]).unwrap_err();
            assert!(mistakes.len() == 1 && mistakes[0].starts_with(variable), "{mistakes:?}");
        }
    }
}
