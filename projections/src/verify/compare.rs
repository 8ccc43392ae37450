//! Two builds in one snapshot: counts, checksums, the first keys that differ.

use serde::Serialize;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};

use crate::builds::Build;

/// Most differing rows that are shown of a table.
const SHOWN_MAX: usize = 10;

/// How a table compares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableVerdict {
    /// The table.
    pub table: String,
    /// Whether both say the same.
    pub same: bool,
    /// How many rows the live build has.
    pub live_rows: i64,
    /// How many the shadow has.
    pub shadow_rows: i64,
    /// Columns that only one of them has, and which therefore were left out.
    pub left_out: Vec<String>,
    /// The first rows that differ, by key.
    pub differences: Vec<Difference>,
}

/// A row that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Difference {
    /// Its key; the whole row where the table has none.
    pub key: String,
    /// The row in the live build, if it is there.
    pub live: Option<String>,
    /// The row in the shadow, if it is there.
    pub shadow: Option<String>,
}

/// A moment at which both builds stand at one vector.
pub(super) struct Snapshot {
    tx: Transaction<'static, Postgres>,
    live: Build,
    shadow: Build,
    pub(super) records: i64,
}

/// One table of both.
struct Table {
    name: String,
    /// What is compared, with `{build}` where the schema's name belongs.
    query: String,
    columns: Vec<String>,
    key: Vec<String>,
    left_out: Vec<String>,
}

impl Snapshot {
    /// `None` if the builds do not stand at one vector.
    pub(super) async fn begin(pool: &PgPool, live: &Build, shadow: &Build) -> Result<Option<Self>, sqlx::Error> {
        let mut tx = pool.begin().await?;
        sqlx::query("set transaction isolation level repeatable read, read only").execute(&mut *tx).await?;
        let vectors = sqlx::query_as::<_, (Option<i64>, Option<i64>)>(
            "select live.next_offset, shadow.next_offset
             from (select * from pulsegate.projection_offsets where build = $1) as live
             full join (select * from pulsegate.projection_offsets where build = $2) as shadow
               using (topic, partition)",
        )
        .bind(live.schema())
        .bind(shadow.schema())
        .fetch_all(&mut *tx)
        .await?;
        let records = vectors.iter().filter_map(|(live, _)| *live).sum();
        let equal = vectors.iter().all(|(live, shadow)| live == shadow);
        Ok(equal.then(|| Self { tx, live: live.clone(), shadow: shadow.clone(), records }))
    }

    /// Compares every table that both have, and the dead letters.
    pub(super) async fn compare(&mut self) -> Result<Vec<TableVerdict>, sqlx::Error> {
        let mut verdicts = Vec::new();
        for table in self.tables().await? {
            verdicts.push(self.table(table).await?);
        }
        Ok(verdicts)
    }

    async fn tables(&mut self) -> Result<Vec<Table>, sqlx::Error> {
        let registered = self.shadow.registered();
        let mut tables = Vec::new();
        for name in registered.tables {
            let columns = sqlx::query_as::<_, (String, bool, bool)>(
                "select column_name::text, bool_or(table_schema = $1), bool_or(table_schema = $2)
                 from information_schema.columns where table_name = $3 and table_schema in ($1, $2)
                 group by column_name order by min(ordinal_position), column_name",
            )
            .bind(self.live.schema())
            .bind(self.shadow.schema())
            .bind(*name)
            .fetch_all(&mut *self.tx)
            .await?;
            let key = sqlx::query_scalar::<_, String>(
                "select attname::text from pg_index
                 join pg_attribute on attrelid = indrelid and attnum = any(indkey)
                 where indrelid = to_regclass($1) and indisprimary order by array_position(indkey, attnum)",
            )
            .bind(format!("{}.{name}", self.shadow))
            .fetch_all(&mut *self.tx)
            .await?;
            let (both, one): (Vec<_>, Vec<_>) = columns.into_iter().partition(|(_, live, shadow)| *live && *shadow);
            let columns: Vec<String> = both.into_iter().map(|(column, ..)| column).collect();
            if columns.is_empty() {
                continue;
            }
            let compared = registered.compared.iter().find(|(table, _)| table == name);
            tables.push(Table {
                name: (*name).to_owned(),
                query: compared
                    .map_or_else(|| format!("select * from {{build}}.{name}"), |(_, query)| (*query).to_owned()),
                key: if key.iter().all(|column| columns.contains(column)) { key } else { Vec::new() },
                columns,
                left_out: one.into_iter().map(|(column, ..)| column).collect(),
            });
        }
        let text = |list: [&str; 3]| list.map(str::to_owned).to_vec();
        tables.push(Table {
            name: "dead_letters".to_owned(),
            query: "select topic, partition, log_offset, kind from pulsegate.dead_letters
                    where build = '{build}' and kind <> 'retried'"
                .to_owned(),
            columns: vec!["topic".into(), "partition".into(), "log_offset".into(), "kind".into()],
            key: text(["topic", "partition", "log_offset"]),
            left_out: Vec::new(),
        });
        Ok(tables)
    }

    async fn table(&mut self, table: Table) -> Result<TableVerdict, sqlx::Error> {
        let live = self.checksum(&self.live.clone(), &table).await?;
        let shadow = self.checksum(&self.shadow.clone(), &table).await?;
        let same = live == shadow;
        let differences = if same { Vec::new() } else { self.differences(&table).await? };
        let Table { name, left_out, .. } = table;
        Ok(TableVerdict { table: name, same, live_rows: live.0, shadow_rows: shadow.0, left_out, differences })
    }

    /// How many rows, and the sums of two hashes of each.
    async fn checksum(&mut self, build: &Build, table: &Table) -> Result<(i64, String, String), sqlx::Error> {
        let rows = rows(build, table);
        let sql = format!(
            "{} select count(*), coalesce(sum(hashtextextended(compared::text, 0)), 0)::text,
                    coalesce(sum(hashtextextended(compared::text, 1)), 0)::text
             from ({rows}) as compared",
            clocks(&[("clocks", build)])
        );
        sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&mut *self.tx).await
    }

    async fn differences(&mut self, table: &Table) -> Result<Vec<Difference>, sqlx::Error> {
        let key = if table.key.is_empty() { table.columns.join(", ") } else { table.key.join(", ") };
        let keyed = |build: &Build, clocks: &str| {
            let rows = rows(build, table).replace("join clocks ", &format!("join {clocks} as clocks "));
            format!("(select row({key})::text as key, compared::text as found from ({rows}) as compared)")
        };
        let (live, shadow) = (keyed(&self.live, "clocks_live"), keyed(&self.shadow, "clocks_shadow"));
        let sql = format!(
            "{} select key, live.found as live, shadow.found as shadow
             from {live} as live full join {shadow} as shadow using (key)
             where live.found is distinct from shadow.found order by key limit {SHOWN_MAX}",
            clocks(&[("clocks_live", &self.live), ("clocks_shadow", &self.shadow)])
        );
        sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut *self.tx).await
    }
}

/// The rows that are compared, with the columns that both builds have. All names are checked ones.
fn rows(build: &Build, table: &Table) -> String {
    let columns: Vec<_> = table.columns.iter().map(|column| format!("\"{}\"", column.replace('"', "\"\""))).collect();
    format!("select {} from ({}) as whole", columns.join(", "), table.query.replace("{build}", build.schema()))
}

/// Where a build stands in each partition, as a table that the queries may join.
fn clocks(named: &[(&str, &Build)]) -> String {
    let each = named.iter().map(|(name, build)| {
        format!(
            "{name} as (select topic, partition, next_offset, to_timestamp(greatest(clock_ms, 0) / 1000.0) as clock
               from pulsegate.projection_offsets where build = '{build}')"
        )
    });
    format!("with {}", each.collect::<Vec<_>>().join(", "))
}
