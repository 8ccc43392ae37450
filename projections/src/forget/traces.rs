//! What of an account stands beside the builds: records that could not be folded, questions that somebody saved, and
//! what was noted of trouble.

use pulsegate_domain::topic::Topic;
use pulsegate_privacy::{UNTOLD, Veil, without_word};
use sqlx::PgPool;

use super::{Cleared, Gone};

/// Most rows of a kind that are looked at.
const ROWS_MAX: i64 = 1_000_000;

pub(super) async fn clear(gone: &Gone, veil: &Veil, pool: &PgPool) -> Result<Vec<Cleared>, sqlx::Error> {
    let cleared = |table: &str, rows| Cleared { of: "pulsegate".to_owned(), table: table.to_owned(), rows };
    Ok(vec![
        cleared("dead_letters", letters(gone, veil, pool).await?),
        cleared("saved_questions", questions(gone, pool).await?),
        cleared("projection_builds", trouble(gone, pool).await?),
        cleared("projection_history", history(gone, pool).await?),
    ])
}

#[derive(sqlx::FromRow)]
struct Letter {
    id: i64,
    topic: String,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    kind: String,
    error: String,
    reason: Option<String>,
}

/// As they would be kept if they were met today.
async fn letters(gone: &Gone, veil: &Veil, pool: &PgPool) -> Result<u64, sqlx::Error> {
    let (account, pseudonym) = (gone.account.as_str(), gone.who.to_string());
    let found = sqlx::query_as::<_, Letter>(
        "select id, topic, key, value, kind, error, reason from pulsegate.dead_letters
         where key = convert_to($1, 'UTF8') or position(convert_to($1, 'UTF8') in value) > 0
            or position($1 in error) > 0 or position($1 in reason) > 0
         order by id limit $2",
    )
    .bind(account)
    .bind(ROWS_MAX)
    .fetch_all(pool)
    .await?;
    let mut changed = 0;
    for Letter { id, topic, key, value, kind, error, reason } in found {
        let (old_key, old_value) = (key.as_deref(), value.as_deref());
        let topic = Topic::ALL.into_iter().find(|one| one.base_name() == topic);
        let veiled = topic.and_then(|topic| veil.over_record(topic, old_key, old_value));
        let error = without_word(&error, account, &pseudonym);
        let (key, value, error) = match veiled.or_else(|| veil.over_letter(old_key, old_value)) {
            Some(kept) if kind == "parked" => (kept.key, kept.value, error),
            Some(kept) => (kept.key, kept.value, UNTOLD.to_owned()),
            // Somebody else's, in whose words it stands.
            None => (key, value, error),
        };
        let reason = reason.map(|reason| without_word(&reason, account, &pseudonym));
        changed += sqlx::query(
            "update pulsegate.dead_letters set key = $2, value = $3, headers = null, error = $4, reason = $5
             where id = $1 and (key, value, error, reason) is distinct from ($2, $3, $4, $5)",
        )
        .bind(id)
        .bind(key)
        .bind(value)
        .bind(error)
        .bind(reason)
        .execute(pool)
        .await?
        .rows_affected();
    }
    Ok(changed)
}

/// Questions about one account are about nobody now.
async fn questions(gone: &Gone, pool: &PgPool) -> Result<u64, sqlx::Error> {
    let saved = sqlx::query_as::<_, (String, String)>("select name, query from pulsegate.saved_questions limit $1")
        .bind(ROWS_MAX)
        .fetch_all(pool)
        .await?;
    let names = |text: &str| without_word(text, gone.account.as_str(), "") != *text;
    let about = saved.iter().filter(|(name, query)| names(name) || names(&decoded(query)));
    let deleted = sqlx::query("delete from pulsegate.saved_questions where name = any($1)")
        .bind(about.map(|(name, _)| name.clone()).collect::<Vec<_>>())
        .execute(pool)
        .await?;
    Ok(deleted.rows_affected())
}

/// A query string without its escapes; words in it are parted by what no id holds.
fn decoded(query: &str) -> String {
    let mut bytes = Vec::with_capacity(query.len());
    let mut rest = query.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        match (first, escaped) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn trouble(gone: &Gone, pool: &PgPool) -> Result<u64, sqlx::Error> {
    let noted = sqlx::query_as::<_, (String, String)>(
        "select build, last_error from pulsegate.projection_builds where position($1 in last_error) > 0",
    )
    .bind(gone.account.as_str())
    .fetch_all(pool)
    .await?;
    let mut changed = 0;
    for (build, error) in noted {
        let without = without_word(&error, gone.account.as_str(), &gone.who.to_string());
        changed +=
            sqlx::query("update pulsegate.projection_builds set last_error = $2 where build = $1 and last_error <> $2")
                .bind(build)
                .bind(without)
                .execute(pool)
                .await?
                .rows_affected();
    }
    Ok(changed)
}

async fn history(gone: &Gone, pool: &PgPool) -> Result<u64, sqlx::Error> {
    let noted = sqlx::query_as::<_, (i64, String)>(
        "select id, detail from pulsegate.projection_history where position($1 in detail) > 0 limit $2",
    )
    .bind(gone.account.as_str())
    .bind(ROWS_MAX)
    .fetch_all(pool)
    .await?;
    let mut changed = 0;
    for (id, detail) in noted {
        let without = without_word(&detail, gone.account.as_str(), &gone.who.to_string());
        changed += sqlx::query("update pulsegate.projection_history set detail = $2 where id = $1 and detail <> $2")
            .bind(id)
            .bind(without)
            .execute(pool)
            .await?
            .rows_affected();
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_without_its_escapes() {
        assert_eq!(decoded("account=ada%40home&name=a+b&x=%zz%"), "account=ada@home&name=a b&x=%zz%");
    }
}
