//! What was sent in again, as the database remembers it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, bail};
use pulsegate_write_side::rejected::RejectedPlace;
use pulsegate_write_side::resend::Identity;
use sqlx::types::Json;
use sqlx::{Connection as _, PgConnection, PgPool};

use super::ResendArgs;

/// Topic → partition → where it ends.
pub(super) type LogEnds = BTreeMap<String, BTreeMap<i32, i64>>;

/// What a run that was cut short left behind.
pub(super) struct Unsettled {
    /// Where the log ended before that run sent anything.
    pub(super) log_ends: LogEnds,
    /// How long ago its last claim was.
    pub(super) age: Duration,
}

/// What became of a claimed record.
pub(super) struct Settled {
    pub(super) identity: Identity,
    /// Events of it that stand in the log.
    pub(super) sent: i32,
    /// Items of it that went back to the topic.
    pub(super) refused: i32,
    /// Something of it is not known to have arrived.
    pub(super) is_open: bool,
}

impl Settled {
    pub(super) const fn new(identity: Identity) -> Self {
        Self { identity, sent: 0, refused: 0, is_open: false }
    }
}

/// One connection for all of a run: the turn belongs to it, and with the connection both are lost.
pub(super) struct Claims {
    connection: PgConnection,
    topic: String,
}

impl Claims {
    pub(super) async fn open(pool: &PgPool, topic: String) -> anyhow::Result<Self> {
        let connection = PgConnection::connect_with(&pool.connect_options())
            .await
            .context("failed to connect to PULSEGATE_DATABASE_URL")?;
        Ok(Self { connection, topic })
    }

    /// Fails if another run has the turn.
    pub(super) async fn take_turn(&mut self) -> anyhow::Result<()> {
        let is_ours =
            sqlx::query_scalar::<_, bool>("select pg_try_advisory_lock(hashtext('pulsegate.resend'), hashtext($1))")
                .bind(&self.topic)
                .fetch_one(&mut self.connection)
                .await?;
        if !is_ours {
            bail!("another `events resend` is running; one at a time sends what was refused");
        }
        Ok(())
    }

    /// What an earlier run claimed and didn't settle; only for whoever has the turn.
    pub(super) async fn unsettled(&mut self) -> anyhow::Result<Option<Unsettled>> {
        let found = sqlx::query_as::<_, (Json<LogEnds>, f64)>(
            "select (select log_ends from pulsegate.resends where id = min(resend_id)),
                    extract(epoch from clock_timestamp() - max(claimed_at))::float8
             from pulsegate.resent where topic = $1 and settled_at is null
             having count(*) > 0",
        )
        .bind(&self.topic)
        .fetch_optional(&mut self.connection)
        .await
        .context("failed to read what was sent before (is the database migrated? `pulsegate migrate`)")?;
        Ok(found.map(|(Json(log_ends), age)| Unsettled { log_ends, age: Duration::from_secs_f64(age.max(0.0)) }))
    }

    /// Notes that a run begins, and where the log ends before it.
    pub(super) async fn begin(&mut self, args: &ResendArgs, log_ends: LogEnds) -> anyhow::Result<i64> {
        let reasons: Vec<_> = args.reasons.iter().map(|reason| reason.code()).collect();
        let id = sqlx::query_scalar(
            "insert into pulsegate.resends (reasons, since, until, log_ends) values ($1, $2, $3, $4) returning id",
        )
        .bind(reasons)
        .bind(args.since)
        .bind(args.until)
        .bind(Json(log_ends))
        .fetch_one(&mut self.connection)
        .await?;
        Ok(id)
    }

    /// Claims these, but those that were settled before; what was claimed and not settled is claimed again,
    /// and stays with the run that first claimed it: what that one sent stands behind its own `log_ends`.
    pub(super) async fn claim(&mut self, resend: i64, asked: &[Identity]) -> anyhow::Result<BTreeSet<Identity>> {
        let columns = Columns::of(asked.iter());
        let rows = sqlx::query_as::<_, (i32, i64, i32, i32)>(
            "insert into pulsegate.resent as known (topic, partition, log_offset, item, attempt, resend_id)
             select $1, partition, log_offset, item, attempt, $2
             from unnest($3::int[], $4::bigint[], $5::int[], $6::int[]) as asked (partition, log_offset, item, attempt)
             on conflict on constraint resent_pk do update set claimed_at = now() where known.settled_at is null
             returning partition, log_offset, item, attempt",
        )
        .bind(&self.topic)
        .bind(resend)
        .bind(columns.partitions)
        .bind(columns.offsets)
        .bind(columns.items)
        .bind(columns.attempts)
        .fetch_all(&mut self.connection)
        .await?;
        Ok(rows.into_iter().map(identity).collect())
    }

    /// Which of these were sent in again before.
    pub(super) async fn settled_among(&mut self, asked: &[Identity]) -> anyhow::Result<BTreeSet<Identity>> {
        let columns = Columns::of(asked.iter());
        let rows = sqlx::query_as::<_, (i32, i64, i32, i32)>(
            "select partition, log_offset, item, attempt
             from unnest($2::int[], $3::bigint[], $4::int[], $5::int[]) as asked (partition, log_offset, item, attempt)
             join pulsegate.resent using (partition, log_offset, item, attempt)
             where topic = $1 and settled_at is not null",
        )
        .bind(&self.topic)
        .bind(columns.partitions)
        .bind(columns.offsets)
        .bind(columns.items)
        .bind(columns.attempts)
        .fetch_all(&mut self.connection)
        .await
        .context("failed to read what was sent before (is the database migrated? `pulsegate migrate`)")?;
        Ok(rows.into_iter().map(identity).collect())
    }

    /// Settles what has arrived whole.
    pub(super) async fn settle(&mut self, settled: &[Settled]) -> anyhow::Result<()> {
        let whole = || settled.iter().filter(|one| !one.is_open);
        let columns = Columns::of(whole().map(|one| &one.identity));
        sqlx::query(
            "update pulsegate.resent set settled_at = now(), sent = done.sent, refused = done.refused
             from unnest($2::int[], $3::bigint[], $4::int[], $5::int[], $6::int[], $7::int[])
               as done (partition, log_offset, item, attempt, sent, refused)
             where resent.topic = $1 and resent.partition = done.partition and resent.log_offset = done.log_offset
               and resent.item = done.item and resent.attempt = done.attempt",
        )
        .bind(&self.topic)
        .bind(columns.partitions)
        .bind(columns.offsets)
        .bind(columns.items)
        .bind(columns.attempts)
        .bind(whole().map(|one| one.sent).collect::<Vec<_>>())
        .bind(whole().map(|one| one.refused).collect::<Vec<_>>())
        .execute(&mut self.connection)
        .await
        .context("failed to remember what was sent; the next run looks it up in the log")?;
        Ok(())
    }

    /// Notes that the run ended; says how many claims are not settled, this run's or another's.
    pub(super) async fn end(&mut self, resend: Option<i64>) -> anyhow::Result<i64> {
        if let Some(resend) = resend {
            sqlx::query("update pulsegate.resends set ended_at = now() where id = $1")
                .bind(resend)
                .execute(&mut self.connection)
                .await?;
        }
        let unsettled =
            sqlx::query_scalar("select count(*) from pulsegate.resent where topic = $1 and settled_at is null");
        Ok(unsettled.bind(&self.topic).fetch_one(&mut self.connection).await?)
    }
}

/// Identities as the columns of an array each.
#[derive(Default)]
struct Columns {
    partitions: Vec<i32>,
    offsets: Vec<i64>,
    items: Vec<i32>,
    attempts: Vec<i32>,
}

impl Columns {
    fn of<'a>(identities: impl Iterator<Item = &'a Identity>) -> Self {
        let mut columns = Self::default();
        for Identity { root, item, attempt } in identities {
            columns.partitions.push(root.partition);
            columns.offsets.push(root.offset);
            columns.items.push(item.map_or(-1, |item| i32::try_from(item).unwrap_or(i32::MAX)));
            columns.attempts.push(i32::try_from(*attempt).unwrap_or(i32::MAX));
        }
        columns
    }
}

fn identity((partition, offset, item, attempt): (i32, i64, i32, i32)) -> Identity {
    Identity {
        root: RejectedPlace { partition, offset },
        item: usize::try_from(item).ok(),
        attempt: u32::try_from(attempt).unwrap_or_default(),
    }
}
