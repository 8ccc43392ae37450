//! Upserts of many rows: COPY into a temporary table, then one statement that merges it.

use sqlx::PgTransaction;

use super::{Copy, Row};

/// A batch's rows of a keyed table, folded to one row a key.
///
/// ```no_run
/// # use pulsegate_projections::sinks::Staged;
/// const CREATE: &str = "create temporary table if not exists viewing_counts_staged
///   (title_id text, n bigint) on commit delete rows";
/// const COPY: &str = "copy pg_temp.viewing_counts_staged (title_id, n) from stdin (format binary)";
/// const MERGE: &str = "insert into counts (title_id, n)
///   select title_id, n from pg_temp.viewing_counts_staged order by title_id
///   on conflict (title_id) do update set n = counts.n + excluded.n";
///
/// # async fn flush(tx: &mut sqlx::PgTransaction<'_>) -> Result<(), sqlx::Error> {
/// let mut rows = Staged::new(CREATE, COPY, 2, MERGE);
/// rows.row().text("dune").int8(7);
/// rows.send(tx).await?;
/// # Ok(())
/// # }
/// ```
///
/// The staging table belongs to the connection and is emptied by each commit. Its name must be the
/// author's alone (begin it with the projection's name and version), since connections are shared by
/// all projections. In the staging table a column may have another type than in the target and be cast
/// by the merge: `ranges text` and `ranges::int8multirange`, for instance.
///
/// The merge should sort by key: two partitions that write the same keys in different orders would wait
/// for each other until the database ends one of them (which is tried again).
#[derive(Debug)]
pub struct Staged {
    create: &'static str,
    rows: Copy,
    merge: &'static str,
}

impl Staged {
    /// No rows yet: `create` makes the staging table where there is none, `copy` with its number of
    /// columns fills it, `merge` brings its rows into the target.
    #[must_use]
    pub const fn new(create: &'static str, copy: &'static str, columns: i16, merge: &'static str) -> Self {
        Self { create, rows: Copy::new(copy, columns), merge }
    }

    /// Begins a row.
    pub fn row(&mut self) -> Row<'_> {
        self.rows.row()
    }

    /// How many rows there are.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows.rows()
    }

    /// Takes another's rows of the same staging table behind its own. Both together must still hold a key once.
    pub fn append(&mut self, other: Self) {
        self.rows.append(other.rows);
    }

    /// Merges all rows; without any, nothing.
    pub async fn send(self, tx: &mut PgTransaction<'_>) -> Result<(), sqlx::Error> {
        if self.rows.is_empty() {
            return Ok(());
        }
        sqlx::raw_sql(self.create).execute(&mut **tx).await?;
        self.rows.send(tx).await?;
        // Not prepared: a plan that was made while the staging table was small would be kept for a large one.
        sqlx::raw_sql(self.merge).execute(&mut **tx).await?;
        Ok(())
    }
}
