//! The flush: a batch's changes, written in the transaction that also moves the partition's offset.

use sqlx::PgTransaction;

use super::Changes;
use crate_path::sinks::Staged;

const CREATE: &str = "create temporary table if not exists projection_name_v1_staged
  (key text, n bigint) on commit delete rows";
const COPY: &str = "copy pg_temp.projection_name_v1_staged (key, n) from stdin (format binary)";
// In the order of the key, so that two partitions that write the same keys don't wait for each other.
const MERGE: &str = "insert into counts (key, n)
  select key, n from pg_temp.projection_name_v1_staged order by key
  on conflict on constraint counts_pk do update set n = counts.n + excluded.n";

pub(super) async fn flush(changes: Changes, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
    let mut rows = Staged::new(CREATE, COPY, 2, MERGE);
    for (key, n) in changes.counts {
        rows.row().text(&key).int8(n);
    }
    rows.send(tx).await
}
