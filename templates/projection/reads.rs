//! The reads: what is asked of the rows. They go through the views, which show the live build.

use sqlx::PgPool;

/// Most counts that one call returns.
pub const COUNTS_MAX: i64 = 1_000;

/// How often something was counted.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Count {
    /// What.
    pub key: String,
    /// How often.
    pub n: i64,
}

/// The largest counts first, at most [`COUNTS_MAX`].
pub async fn counts(pool: &PgPool, limit: i64) -> Result<Vec<Count>, sqlx::Error> {
    sqlx::query_as("select key, n from projection_name.counts order by n desc, key limit $1")
        .bind(limit.clamp(0, COUNTS_MAX))
        .fetch_all(pool)
        .await
}
