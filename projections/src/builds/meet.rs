//! Bringing two builds to one offset vector, while runners go on folding both.
//!
//! In each partition the one that is behind is let go on up to where the other stands, and neither beyond. The rule is
//! in the database, where each batch meets it; it ends by itself, so that whoever made it may die.

use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, PgConnection, Postgres};
use thiserror::Error;

/// How often it is looked whether both have arrived.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Two builds that stand at one vector, until [`release`](Self::release).
#[derive(Debug)]
pub(crate) struct Meeting {
    builds: [String; 2],
    lock: Lock,
}

/// The lock that only one meeting of a projection can have. It is the connection's, which is closed unless the lock was
/// let go.
#[derive(Debug)]
struct Lock {
    connection: PoolConnection<Postgres>,
    is_let_go: bool,
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

/// Waits for at most `wait` until both builds of `name` stand at one vector, where they then stay. Everything is said over
/// one connection: of readers in a hurry each question may have to wait for a core.
pub(crate) async fn meet(
    connection: PoolConnection<Postgres>,
    name: &str,
    builds: [&str; 2],
    wait: Duration,
) -> Result<Meeting, MeetError> {
    let Some(mut lock) = Lock::take(connection, name).await? else { return Err(MeetError::Busy(name.to_owned())) };
    hold(&mut lock.connection, builds, wait).await?;
    let mut meeting = Meeting { builds: builds.map(str::to_owned), lock };
    let begun = Instant::now();
    loop {
        let behind = sqlx::query_as::<_, (String, i64)>(
            "select build, sum(hold_at - next_offset)::bigint from pulsegate.projection_offsets
             where build = any($1) and next_offset < hold_at group by build order by 2 desc",
        )
        .bind(&meeting.builds[..])
        .fetch_optional(&mut *meeting.lock.connection)
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

/// Holds both at the furthest offset of either. One question to the database, and so one transaction.
async fn hold(connection: &mut PgConnection, builds: [&str; 2], wait: Duration) -> Result<(), sqlx::Error> {
    let [one, other] = builds;
    let seconds = (wait + Duration::from_secs(15)).as_secs();
    // Names of builds are names of schemas that were checked. A batch that is under way is waited for, but not for ever.
    // With every row locked, none of them moves while it is said how far they may.
    let sql = format!(
        "set local lock_timeout = '30s';
         insert into pulsegate.projection_offsets (build, topic, partition, next_offset, clock_ms)
         select build, topic, partition, 0, (-9223372036854775808)
         from (values ('{one}'), ('{other}')) as both_of (build),
              (select distinct topic, partition from pulsegate.projection_offsets
               where build in ('{one}', '{other}')) as of_either
         order by build, topic, partition
         on conflict do nothing;
         select from pulsegate.projection_offsets where build in ('{one}', '{other}')
         order by build, topic, partition for update;
         update pulsegate.projection_offsets as offsets
         set hold_at = furthest.next_offset, hold_until = clock_timestamp() + interval '{seconds} s'
         from (select topic, partition, max(next_offset) as next_offset from pulsegate.projection_offsets
               where build in ('{one}', '{other}') group by topic, partition) as furthest
         where offsets.build in ('{one}', '{other}')
           and offsets.topic = furthest.topic and offsets.partition = furthest.partition"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

impl Meeting {
    /// The connection that holds it, for what is done meanwhile.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.lock.connection
    }

    /// Lets both go on, and others meet.
    pub(crate) async fn release(mut self) -> Result<(), sqlx::Error> {
        let [one, other] = &self.builds;
        // The connection holds no other lock. Whoever has it next waits for the rows that are changed here.
        let sql = format!(
            "update pulsegate.projection_offsets set hold_at = null, hold_until = null where build in ('{one}', '{other}');
             select pg_advisory_unlock_all()"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(self.connection()).await?;
        self.lock.is_let_go = true;
        Ok(())
    }
}

impl Lock {
    /// Takes it, unless somebody else has it.
    async fn take(connection: PoolConnection<Postgres>, name: &str) -> Result<Option<Self>, sqlx::Error> {
        let mut lock = Self { connection, is_let_go: false };
        let is_taken: bool =
            sqlx::query_scalar("select pg_try_advisory_lock(hashtext('pulsegate.meet'), hashtext($1))")
                .bind(name)
                .fetch_one(&mut *lock.connection)
                .await?;
        lock.is_let_go = !is_taken;
        Ok(is_taken.then_some(lock))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.is_let_go {
            self.connection.close_on_drop();
        }
    }
}
