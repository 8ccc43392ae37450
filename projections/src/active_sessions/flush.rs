//! The flush: a batch's changes in a handful of statements, whatever its size.

use pulsegate_domain::account::Reason;
use pulsegate_domain::ids::{DeviceClass, DeviceId, SessionId, TitleId};
use pulsegate_domain::policy::{PolicyRef, Scope};
use pulsegate_domain::time::Timestamp;
use sqlx::PgTransaction;

use super::Changes;
use crate::column_time;

const HOUR_MS: u64 = 3_600_000;

pub(super) async fn flush(changes: &Changes, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
    upsert_sessions(changes, tx).await?;
    delete_gone(changes, tx).await?;
    insert_decisions(changes, tx).await?;
    purge(changes, tx).await
}

/// One list a column, as `unnest` takes them.
macro_rules! columns {
    ($rows:expr => |$row:ident| $($name:ident: $value:expr),+ $(,)?) => {
        $(let $name: Vec<_> = $rows.iter().map(|$row| $value).collect();)+
    };
}

async fn upsert_sessions(changes: &Changes, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
    if changes.sessions.is_empty() {
        return Ok(());
    }
    columns!(changes.sessions => |row|
        partitions: row.partition,
        account_ids: row.account.as_str(),
        session_ids: row.state.id().uuid(),
        forget_hours: column_time(hour_after(row.state.forget_at())),
    );
    let states = changes.sessions.iter().map(|row| serde_json::to_string(&row.state));
    let states = states.collect::<Result<Vec<_>, _>>().map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query(
        "insert into session_states (account_id, session_id, partition, forget_hour, state)
         select account_id, session_id, partition, forget_hour, state
         from unnest($1::int[], $2::text[], $3::uuid[], $4::timestamptz[], $5::text[])
           as changed (partition, account_id, session_id, forget_hour, state)
         on conflict on constraint session_states_pk do update set
           forget_hour = excluded.forget_hour, state = excluded.state",
    )
    .bind(partitions)
    .bind(account_ids)
    .bind(session_ids)
    .bind(forget_hours)
    .bind(states)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn delete_gone(changes: &Changes, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
    if changes.gone.is_empty() {
        return Ok(());
    }
    columns!(changes.gone => |row|
        account_ids: row.account.as_str(),
        session_ids: row.session.uuid(),
    );
    sqlx::query(
        "delete from session_states as state using unnest($1::text[], $2::uuid[]) as gone (account_id, session_id)
         where state.account_id = gone.account_id and state.session_id = gone.session_id",
    )
    .bind(account_ids)
    .bind(session_ids)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn insert_decisions(changes: &Changes, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
    if changes.decisions.is_empty() {
        return Ok(());
    }
    columns!(changes.decisions => |row|
        partitions: row.partition,
        account_ids: row.account.as_str(),
        log_offsets: row.decision.offset,
        ordinals: row.ordinal,
        decisions: row.decision.decision.as_str(),
        session_ids: row.decision.session_id.uuid(),
        device_ids: row.decision.device_id.as_ref().map(DeviceId::as_str),
        device_classes: row.decision.device_class.map(DeviceClass::as_str),
        title_ids: row.decision.title_id.as_ref().map(TitleId::as_str),
        reasons: row.decision.reason.map(Reason::as_str),
        policies: row.decision.policy.as_ref().map(PolicyRef::to_string),
        rules: row.decision.rule.as_ref().map(Scope::to_string),
        maxima: row.decision.max.map(|max| i32::try_from(max).unwrap_or(i32::MAX)),
        counted: array_text(&row.decision.counted),
        by_sessions: row.decision.by.as_ref().map(|by| by.session_id.uuid()),
        by_devices: row.decision.by.as_ref().map(|by| by.device_id.as_str()),
        ats: column_time(row.decision.at),
    );
    sqlx::query(
        "insert into decisions
           (partition, account_id, log_offset, ordinal, decision, session_id, device_id, device_class, title_id,
            reason, policy, rule, max, counted, by_session, by_device, at)
         select partition, account_id, log_offset, ordinal, decision, session_id, device_id, device_class, title_id,
                reason, policy, rule, max, counted::uuid[], by_session, by_device, at
         from unnest($1::int[], $2::text[], $3::bigint[], $4::int[], $5::text[], $6::uuid[], $7::text[], $8::text[],
                     $9::text[], $10::text[], $11::text[], $12::text[], $13::int[], $14::text[], $15::uuid[],
                     $16::text[], $17::timestamptz[])
           as decided (partition, account_id, log_offset, ordinal, decision, session_id, device_id, device_class, title_id,
                       reason, policy, rule, max, counted, by_session, by_device, at)",
    )
    .bind(partitions)
    .bind(account_ids)
    .bind(log_offsets)
    .bind(ordinals)
    .bind(decisions)
    .bind(session_ids)
    .bind(device_ids)
    .bind(device_classes)
    .bind(title_ids)
    .bind(reasons)
    .bind(policies)
    .bind(rules)
    .bind(maxima)
    .bind(counted)
    .bind(by_sessions)
    .bind(by_devices)
    .bind(ats)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Deletes what no account remembers, also of accounts that are never heard of again. Changes no answer:
/// the fold and the reads pass over such rows anyway.
async fn purge(changes: &Changes, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
    for (partition, clock) in &changes.purge {
        sqlx::query(
            "delete from session_states where ctid = any(array(
               select ctid from session_states where partition = $1 and forget_hour <= $2 limit 2000))",
        )
        .bind(partition)
        .bind(column_time(*clock))
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// The first full hour at or after an instant. Purging by it deletes nothing early, and late by an hour at most.
const fn hour_after(at: Timestamp) -> Timestamp {
    let into_the_hour = at.millis().rem_euclid(HOUR_MS.cast_signed()).cast_unsigned();
    if into_the_hour == 0 { at } else { at.plus_ms(HOUR_MS - into_the_hour) }
}

/// Session ids as the text of a `uuid[]`: lists of lists of different lengths can't be unnested.
fn array_text(ids: &[SessionId]) -> String {
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    format!("{{{}}}", ids.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hour_after_is_never_before() {
        for (at, after) in [(0, 0), (1, 3_600_000), (3_600_000, 3_600_000), (3_600_001, 7_200_000), (-1, 0)] {
            assert_eq!(hour_after(Timestamp::from_millis(at)), Timestamp::from_millis(after), "{at}");
        }
    }
}
