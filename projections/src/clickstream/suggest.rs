//! What there is to ask about: the names of events, and the paths of their properties.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use sqlx::{PgPool, Postgres, QueryBuilder};

use super::ask::{begin, clock_ms};
use super::path::Path;
use super::question::Span;
use crate::live::ReadError;

/// Most names, paths, and values of a path that are suggested.
const NAMES_MAX: i64 = 200;
const PATHS_MAX: usize = 200;
const VALUES_MAX: usize = 5;
/// How many days the names are of.
const DAYS: u16 = 30;
/// How many of the newest events are looked into for their paths, and how deep.
const NEWEST: i64 = 200;
const DEPTH_MAX: usize = 8;
/// Values longer than so many characters are no suggestion, and of an array only the first element is.
const VALUE_CHARS_MAX: usize = 60;

/// A name that events have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct SuggestedName {
    /// The name.
    pub name: String,
    /// How many the log took in within the newest 30 days.
    pub events: i64,
}

/// A path that properties have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SuggestedPath {
    /// The path.
    pub path: String,
    /// Of so many of the newest events.
    pub events: u32,
    /// Some values that stand there, the most frequent first.
    pub values: Vec<String>,
}

/// The names of the newest 30 days, the most frequent first.
pub async fn names(pool: &PgPool) -> Result<Vec<SuggestedName>, ReadError> {
    let Some((mut tx, _)) = begin(pool).await? else { return Ok(Vec::new()) };
    let clock = clock_ms(&mut tx).await?;
    let Some((first, last)) = Span::Newest(DAYS).resolve(clock) else { return Ok(Vec::new()) };
    let names = sqlx::query_as(
        "select name, sum(events)::bigint as events from counts_by_day where day between $1 and $2
         group by name order by sum(events) desc, name collate \"C\" limit $3",
    )
    .bind(first)
    .bind(last)
    .bind(NAMES_MAX)
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(names)
}

/// The paths in the newest 200 events, of one name or of all.
pub async fn paths(pool: &PgPool, name: Option<&str>) -> Result<Vec<SuggestedPath>, ReadError> {
    let Some((mut tx, _)) = begin(pool).await? else { return Ok(Vec::new()) };
    let mut sql = QueryBuilder::<Postgres>::new("select properties from events ");
    if let Some(name) = name {
        sql.push("where name = ").push_bind(name.to_owned());
    }
    sql.push(" order by logged_at desc, partition desc, log_offset desc limit ").push_bind(NEWEST);
    let newest: Vec<String> = sql.build_query_scalar().fetch_all(&mut *tx).await?;
    tx.commit().await?;
    Ok(paths_of(&newest))
}

fn paths_of(newest: &[String]) -> Vec<SuggestedPath> {
    let mut found: BTreeMap<String, BTreeMap<String, u32>> = BTreeMap::new();
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for properties in newest {
        // What can't be read, a path finds nothing in.
        let Ok(Value::Object(members)) = serde_json::from_str(properties) else { continue };
        for (name, value) in &members {
            let is_known =
                |path: &str, counts: &BTreeMap<String, u32>| counts.contains_key(path) || counts.len() < PATHS_MAX;
            walk(&Path::member(name.as_str()), value, &mut |path, value| {
                let path = path.to_string();
                // A path that can't be asked for is no suggestion.
                if path.parse::<Path>().is_err() || !is_known(&path, &counts) {
                    return;
                }
                *counts.entry(path.clone()).or_default() += 1;
                if value.chars().count() <= VALUE_CHARS_MAX {
                    *found.entry(path).or_default().entry(value).or_default() += 1;
                }
            });
        }
    }
    let mut paths: Vec<_> = counts
        .into_iter()
        .map(|(path, events)| {
            let mut values: Vec<_> = found.remove(&path).unwrap_or_default().into_iter().collect();
            values.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            let values = values.into_iter().take(VALUES_MAX).map(|(value, _)| value).collect();
            SuggestedPath { path, events, values }
        })
        .collect();
    paths.sort_by_key(|path| std::cmp::Reverse(path.events));
    paths
}

fn walk(path: &Path, value: &Value, found: &mut impl FnMut(&Path, String)) {
    if path.steps().len() > DEPTH_MAX {
        return;
    }
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                walk(&path.join(name.as_str()), value, found);
            }
        }
        Value::Array(elements) => {
            if let Some(first) = elements.first() {
                walk(&path.join("0"), first, found);
            }
        }
        Value::String(text) => found(path, text.clone()),
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) => found(path, value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_that_can_be_asked_for() {
        let newest = [
            r#"{"player":{"version":"3.1","tags":["a","b"]},"n":1}"#,
            r#"{"player":{"version":"3.1"},"n":2,"a.b \"c\"":true,"none":null}"#,
            r#"{"player":{"version":"4"},"n":2}"#,
            r#"{"n":"\ud800"}"#,
        ]
        .map(str::to_owned);
        let paths: Vec<_> =
            paths_of(&newest).into_iter().map(|one| (one.path, one.events, one.values.join(" "))).collect();
        assert_eq!(
            paths,
            [
                ("$.n".into(), 3, "2 1".into()),
                ("$.player.version".into(), 3, "3.1 4".into()),
                (r#"$."a.b \"c\"""#.into(), 1, "true".into()),
                ("$.player.tags[0]".into(), 1, "a".into()),
            ]
        );
    }

    #[test]
    fn of_properties_without_end_some_are_suggested() {
        let wide = format!("{{{}}}", (0..1_000).map(|n| format!("\"k{n}\":{n}")).collect::<Vec<_>>().join(","));
        let deep = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
        assert_eq!(paths_of(&[wide]).len(), PATHS_MAX);
        assert!(paths_of(&[deep]).is_empty());
    }
}
