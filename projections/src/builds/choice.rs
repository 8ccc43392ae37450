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
        let shadow = sqlx::query_scalar::<_, String>(
            "select build from pulsegate.projection_builds
             where name = $1 and state in ('shadow', 'verified') and ($2::text is null or build = $2)
             order by replaced_at is null desc, version desc, number desc limit 1",
        )
        .bind(registered.name)
        .bind(named)
        .fetch_optional(&mut *connection)
        .await?;
        let missing = || match named {
            Some(named) => ChoiceError::NotAShadow(named.to_owned(), registered.name.to_owned()),
            None => ChoiceError::NoShadow(registered.name.to_owned()),
        };
        Self::with(connection, registered, &shadow.ok_or_else(missing)?).await
    }

    /// The build that was live before.
    pub(crate) async fn of_the_one_before(
        connection: &mut PgConnection,
        registered: &'static Registered,
    ) -> Result<Self, ChoiceError> {
        let before = sqlx::query_scalar::<_, String>(
            "select build from pulsegate.projection_builds
             where name = $1 and state in ('shadow', 'verified') and replaced_at is not null
             order by replaced_at desc limit 1",
        )
        .bind(registered.name)
        .fetch_optional(&mut *connection)
        .await?;
        let before = before.ok_or_else(|| ChoiceError::NothingBefore(registered.name.to_owned()))?;
        Self::with(connection, registered, &before).await
    }

    async fn with(
        connection: &mut PgConnection,
        registered: &'static Registered,
        shadow: &str,
    ) -> Result<Self, ChoiceError> {
        let live = sqlx::query_scalar::<_, String>(
            "select build from pulsegate.projection_builds where name = $1 and state = 'live'",
        )
        .bind(registered.name)
        .fetch_optional(connection)
        .await?;
        let live = live.ok_or_else(|| ChoiceError::NothingLive(registered.name.to_owned()))?;
        Ok(Self { live: Build::named(registered, &live), shadow: Build::named(registered, shadow) })
    }

    pub(crate) async fn shadow_is_verified(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar("select state = 'verified' from pulsegate.projection_builds where build = $1")
            .bind(self.shadow.schema())
            .fetch_one(connection)
            .await
    }
}
