//! Which two builds of a projection are meant.

use sqlx::PgConnection;
use thiserror::Error;

use super::Build;
use crate::registry::Registered;

/// The live build, and another beside it.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) live: Build,
    pub(crate) shadow: Build,
    /// Whether the other was compared with what was live, and found to be the same.
    pub(crate) is_verified: bool,
}

/// Why there are no two builds to choose.
#[derive(Debug, Error)]
pub enum ChoiceError {
    /// Nothing is live.
    #[error("no build of {0} is live: run `pulsegate migrate`")]
    NothingLive(String),
    /// There is no other.
    #[error("{0} has no shadow: run `pulsegate projection rebuild {0}` first")]
    NoShadow(String),
    /// The one that was named is none.
    #[error("{0} is no shadow of {1}")]
    NotAShadow(String, String),
    /// Nothing was live before.
    #[error("no build of {0} was live before, or it is not kept any more")]
    NothingBefore(String),
    /// The database said no, or nothing.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
}

impl Choice {
    /// The newest shadow, or the one named.
    pub(crate) async fn of(
        connection: &mut PgConnection,
        registered: &'static Registered,
        named: Option<&str>,
    ) -> Result<Self, ChoiceError> {
        let missing = || match named {
            Some(named) => ChoiceError::NotAShadow(named.to_owned(), registered.name.to_owned()),
            None => ChoiceError::NoShadow(registered.name.to_owned()),
        };
        Self::among(connection, registered, named, false).await?.ok_or_else(missing)
    }

    /// The build that was live before.
    pub(crate) async fn of_the_one_before(
        connection: &mut PgConnection,
        registered: &'static Registered,
    ) -> Result<Self, ChoiceError> {
        let missing = || ChoiceError::NothingBefore(registered.name.to_owned());
        Self::among(connection, registered, None, true).await?.ok_or_else(missing)
    }

    /// By one question. Of those that were live, the last one; else the newest, and first of all those that never were.
    async fn among(
        connection: &mut PgConnection,
        registered: &'static Registered,
        named: Option<&str>,
        was_live: bool,
    ) -> Result<Option<Self>, ChoiceError> {
        let found = sqlx::query_as::<_, (String, bool, Option<String>)>(
            "select build, state = 'verified',
                    (select build from pulsegate.projection_builds where name = $1 and state = 'live')
             from pulsegate.projection_builds
             where name = $1 and state in ('shadow', 'verified')
               and ($2::text is null or build = $2) and (not $3 or replaced_at is not null)
             order by case when $3 then replaced_at end desc, replaced_at is null desc, version desc, number desc
             limit 1",
        )
        .bind(registered.name)
        .bind(named)
        .bind(was_live)
        .fetch_optional(connection)
        .await?;
        let Some((shadow, is_verified, live)) = found else { return Ok(None) };
        let live = live.ok_or_else(|| ChoiceError::NothingLive(registered.name.to_owned()))?;
        let named = |build: &str| Build::named(registered, build);
        Ok(Some(Self { live: named(&live), shadow: named(&shadow), is_verified }))
    }
}
