//! Somebody is forgotten: what was watched stays, as numbers of nobody.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::PgConnection;

use crate::forget::Gone;

pub(super) fn forget<'t>(
    gone: &'t Gone,
    connection: &'t mut PgConnection,
) -> BoxFuture<'t, Result<Vec<(&'static str, u64)>, sqlx::Error>> {
    async move {
        // Who packs meanwhile would name the account once more.
        sqlx::query("select pg_advisory_xact_lock(hashtext('pulsegate.packs'))").execute(&mut *connection).await?;
        // No index finds an account here, since nobody else asks for one: each table is read once.
        let sessions = sqlx::query(
            "update sessions set account_id = $2, state = pulsegate.veiled_state($3, state::text)::json
             where account_id = $1",
        );
        let sessions = gone.bound(sessions).execute(&mut *connection).await?.rows_affected();
        let facts = sqlx::query(
            "update facts set account_id = $2, state = pulsegate.veiled_state($3, state::text)::json
             where account_id = $1",
        );
        let facts = gone.bound(facts).execute(&mut *connection).await?.rows_affected();
        // Packs know accounts by number: a name is in one place.
        let named = sqlx::query(
            "update accounts set account_id = $2 where account_id = $1 and length($3) > 0
               and not exists (select from accounts other where other.account_id = $2)",
        );
        let mut accounts = gone.bound(named).execute(&mut *connection).await?.rows_affected();
        // Both have one, as after a backup of before: packs would count them as two, so they are made anew.
        let both = sqlx::query_scalar::<_, bool>("select exists (select from accounts where account_id = $1)");
        if both.bind(gone.account.as_str()).fetch_one(&mut *connection).await? {
            sqlx::raw_sql("delete from packed_months; delete from packs").execute(&mut *connection).await?;
            accounts += sqlx::query("delete from accounts").execute(&mut *connection).await?.rows_affected();
        }
        Ok(vec![("sessions", sessions), ("facts", facts), ("accounts", accounts)])
    }
    .boxed()
}
