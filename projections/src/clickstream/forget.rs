//! Somebody is forgotten: that something was done stays, by nobody; what was written, and the visitor, go.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::PgConnection;

use super::person;
use crate::forget::Gone;

pub(super) fn forget<'t>(
    gone: &'t Gone,
    connection: &'t mut PgConnection,
) -> BoxFuture<'t, Result<Vec<(&'static str, u64)>, sqlx::Error>> {
    async move {
        let events = sqlx::query(
            "update events set account_id = $2, anonymous_id = null, properties = '{}' where account_id = $1",
        )
        .bind(gone.account.as_str())
        .bind(gone.who.to_string());
        let events = events.execute(&mut *connection).await?.rows_affected();
        let before = person::of(Some(&gone.account), None, 0, 0);
        let after = person::of(Some(&gone.who.pseudonym()), None, 0, 0);
        // Who is in a sample, the hash says, and it is another's now.
        let mut sampled = 0;
        for delete in ["delete from sample_16 where person = any($1)", "delete from sample_256 where person = any($1)"]
        {
            sampled += sqlx::query(delete).bind(vec![before, after]).execute(&mut *connection).await?.rows_affected();
        }
        for (one_in, insert) in [
            (
                16,
                "insert into sample_16 (partition, log_offset, logged_at, name, person, session_id, properties)
                 select partition, log_offset, logged_at, name, $2, session_id, '{}' from events where account_id = $1",
            ),
            (
                256,
                "insert into sample_256 (partition, log_offset, logged_at, name, person, session_id, properties)
                 select partition, log_offset, logged_at, name, $2, session_id, '{}' from events where account_id = $1",
            ),
        ] {
            if after & (one_in - 1) == 0 {
                sqlx::query(insert).bind(gone.who.to_string()).bind(after).execute(&mut *connection).await?;
            }
        }
        Ok(vec![("events", events), ("samples", sampled)])
    }
    .boxed()
}
