//! The key under which accounts' keys are kept: whether it is there, and the right one.

use pulsegate_privacy::{Forgotten, KeyError};
use sqlx::PgPool;

use super::finding::Report;
use crate::config::Config;

const FIX: &str = "set PULSEGATE_PRIVACY_KEY to the one that they were made under, in every process: docs/privacy.md";

/// Looks.
pub(super) async fn look(config: &Config, pool: &PgPool, report: &mut Report) {
    match Forgotten::new(config.privacy_key.clone()).keys_kept(pool).await {
        Ok((0, 0)) if config.privacy_key.is_none() => {
            report.ok("privacy", "", "nothing is sealed, and nobody was forgotten");
        }
        Ok((keys, forgotten)) => {
            report.ok("privacy", "", format!("{keys} accounts have a key, {forgotten} were forgotten"));
        }
        Err(KeyError::Database(error)) => report.unknown("privacy", "", format!("can't be read: {error}")),
        Err(error) => report.wrong("privacy", "", error.to_string(), FIX),
    }
}
