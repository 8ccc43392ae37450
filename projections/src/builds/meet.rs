//! Bringing two builds to one offset vector, while runners go on folding both.
//!
//! In each partition the one that is behind is let go on up to where the other stands, and neither beyond. The rule is
//! in the database, where each batch meets it; it ends by itself, so that whoever made it may die.

use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection, PgPool};
use thiserror::Error;

/// How often it is looked whether both have arrived.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Two builds that stand at one vector, until [`release`](Self::release).
#[derive(Debug)]
pub(crate) struct Meeting {
    pool: PgPool,
    builds: [String; 2],
    /// Holds the lock that only one meeting of a projection can have.
    lock: PgConnection,
}

/// Why two builds don't come to stand at one vector.
#[derive(Debug, Error)]
pub enum MeetError {
    /// Somebody else compares or switches builds of this projection.
    #[error("another verify, switch or rollback of {0} is under way")]
    Busy(String),
    /// One of them does not get there.
    #[error("{build} is {events} events behind and did not catch up within {} s: is it being folded?", .waited.as_secs())]
    Behind {
        /// Which.
        build: String,
        /// By how many records.
        events: i64,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The database said no, or nothing.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
}

/// Waits for at most `wait` until both builds of `name` stand at one vector, where they then stay.
pub(crate) async fn meet(pool: &PgPool, name: &str, builds: [&str; 2], wait: Duration) -> Result<Meeting, MeetError> {
    // Taken out of the pool for good, because the lock is the connection's; a new one would take as long as all the rest.
    let mut lock = pool.acquire().await?.detach();
    let locked: bool = sqlx::query_scalar("select pg_try_advisory_lock(hashtext('pulsegate.meet'), hashtext($1))")
        .bind(name)
        .fetch_one(&mut lock)
        .await?;
    if !locked {
        return Err(MeetError::Busy(name.to_owned()));
    }
    hold(pool, builds, wait).await?;
    let meeting = Meeting { pool: pool.clone(), builds: builds.map(str::to_owned), lock };
    let begun = Instant::now();
    loop {
        let behind = sqlx::query_as::<_, (String, i64)>(
            "select build, sum(hold_at - next_offset)::bigint from pulsegate.projection_offsets
             where build = any($1) and next_offset < hold_at group by build order by 2 desc",
        )
        .bind(&meeting.builds[..])
        .fetch_optional(pool)
        .await;
        match behind {
            Ok(None) => return Ok(meeting),
            Ok(Some((build, events))) if begun.elapsed() >= wait => {
                meeting.release().await?;
                return Err(MeetError::Behind { build, events, waited: wait });
            }
            Ok(Some(_)) => tokio::time::sleep(LOOK_EVERY).await,
            Err(error) => {
                meeting.release().await?;
                return Err(error.into());
            }
        }
    }
}

async fn hold(pool: &PgPool, builds: [&str; 2], wait: Duration) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    // A batch that is under way is waited for, but not for ever.
    sqlx::query("set local lock_timeout = '30s'").execute(&mut *tx).await?;
    sqlx::query(
        "insert into pulsegate.projection_offsets (build, topic, partition, next_offset, clock_ms)
         select build, topic, partition, 0, (-9223372036854775808)
         from unnest($1::text[]) as both_of (build),
              (select distinct topic, partition from pulsegate.projection_offsets where build = any($1)) as of_either
         order by build, topic, partition
         on conflict do nothing",
    )
    .bind(&builds[..])
    .execute(&mut *tx)
    .await?;
    // With every row locked, none of them moves while it is said how far they may.
    sqlx::query(
        "select from pulsegate.projection_offsets where build = any($1) order by build, topic, partition for update",
    )
    .bind(&builds[..])
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "update pulsegate.projection_offsets as offsets
         set hold_at = furthest.next_offset, hold_until = clock_timestamp() + make_interval(secs => $2)
         from (select topic, partition, max(next_offset) as next_offset from pulsegate.projection_offsets
               where build = any($1) group by topic, partition) as furthest
         where offsets.build = any($1)
           and offsets.topic = furthest.topic and offsets.partition = furthest.partition",
    )
    .bind(&builds[..])
    .bind((wait + Duration::from_secs(15)).as_secs_f64())
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

impl Meeting {
    /// Lets both go on.
    pub(crate) async fn release(self) -> Result<(), sqlx::Error> {
        sqlx::query("update pulsegate.projection_offsets set hold_at = null, hold_until = null where build = any($1)")
            .bind(&self.builds[..])
            .execute(&self.pool)
            .await?;
        self.lock.close().await
    }
}
