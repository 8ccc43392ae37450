//! Somebody is forgotten: sessions and decisions stay, because statements and reports count them, and name nobody.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::PgConnection;

use crate::forget::Gone;

pub(super) fn forget<'t>(
    gone: &'t Gone,
    connection: &'t mut PgConnection,
) -> BoxFuture<'t, Result<Vec<(&'static str, u64)>, sqlx::Error>> {
    async move {
        let sessions = sqlx::query(
            "update session_states set account_id = $2, state = pulsegate.veiled_state($3, state)
             where account_id = $1",
        );
        let sessions = gone.bound(sessions).execute(&mut *connection).await?.rows_affected();
        let decisions = sqlx::query(
            "update decisions set account_id = $2, device_id = pulsegate.veiled_device($3, device_id),
                                  by_device = pulsegate.veiled_device($3, by_device)
             where account_id = $1",
        );
        let decisions = gone.bound(decisions).execute(&mut *connection).await?.rows_affected();
        Ok(vec![("sessions", sessions), ("decisions", decisions)])
    }
    .boxed()
}
