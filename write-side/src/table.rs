//! Tables of titles and contracts, as comma-separated values: their columns, and how a line becomes a body as the HTTP
//! surface takes it.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::str::FromStr;

use pulsegate_domain::event::CatalogEvent;
use pulsegate_domain::ids::InvalidId;
use serde::Serialize;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::problems::{BodyError, FieldProblem};
use crate::request::{parse_contract, parse_title};

/// Most lines of one table.
const LINES_MAX: usize = 1_000_000;

/// What a table registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A title a line.
    Titles,
    /// A contract a line.
    Contracts,
}

/// Why a table can't be read at all.
#[derive(Debug, Error)]
pub enum TableError {
    /// It broke off, or its first line can't be read.
    #[error("failed to read the {0}")]
    Unreadable(&'static str, #[source] csv::Error),
    /// A column that no table has.
    #[error("there is no column {name:?}; known are {known}")]
    NoColumn {
        /// What stands in the line of names.
        name: String,
        /// What might.
        known: String,
    },
    /// One column, two places.
    #[error("the column {0} stands there twice")]
    Twice(String),
    /// The column without which no line is anything.
    #[error("the column {name} is missing; known are {known}")]
    Missing {
        /// Which.
        name: &'static str,
        /// What may stand there.
        known: String,
    },
    /// More than is sent at once.
    #[error("the table has more than {LINES_MAX} good lines; send it in parts")]
    TooLong,
}

/// How a cell becomes JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Text,
    Integer,
    /// Several, parted by `;`.
    List,
    /// `2026-10=100000.00;2026-11=…`
    Pairs,
}

/// A column: its name, where its value stands in the body, and what it is.
type Column = (&'static str, &'static str, Cell);

const TITLES: &[Column] = &[
    ("title_id", "", Cell::Text),
    ("name", "/name", Cell::Text),
    ("content_kind", "/content_kind", Cell::Text),
    ("rights_holder_id", "/rights_holder_id", Cell::Text),
    ("runtime_ms", "/runtime_ms", Cell::Integer),
];

const CONTRACTS: &[Column] = &[
    ("contract_id", "", Cell::Text),
    ("rights_holder_id", "/rights_holder_id", Cell::Text),
    ("title_ids", "/title_ids", Cell::List),
    ("territories", "/territories", Cell::List),
    ("valid_from", "/valid_from", Cell::Text),
    ("valid_until", "/valid_until", Cell::Text),
    ("view_threshold_ms", "/view_threshold_ms", Cell::Integer),
    ("views", "/counting/views", Cell::Text),
    ("round_to", "/counting/round_to", Cell::Integer),
    ("views_rounding", "/counting/rounding", Cell::Text),
    ("currency", "/payment/currency", Cell::Text),
    ("rounding", "/payment/rounding", Cell::Text),
    ("rounded", "/payment/rounded", Cell::Text),
    ("per_view", "/payment/per_view", Cell::Text),
    ("per_hour", "/payment/per_hour", Cell::Text),
    ("fixed_per_month", "/payment/fixed_per_month", Cell::Text),
    ("percent", "/payment/revenue_share/percent", Cell::Text),
    ("pools", "/payment/revenue_share/pools", Cell::Pairs),
    ("minimum_per_month", "/payment/minimum_per_month", Cell::Text),
];

impl Kind {
    const fn columns(self) -> &'static [Column] {
        match self {
            Self::Titles => TITLES,
            Self::Contracts => CONTRACTS,
        }
    }

    /// Reads a line's body under its id.
    fn parse(self, id: &str, body: &[u8]) -> Result<CatalogEvent, BodyError> {
        match self {
            Self::Titles => under(id, |id| parse_title(id, body)).map(CatalogEvent::TitleRegistered),
            Self::Contracts => under(id, |id| parse_contract(id, body)).map(CatalogEvent::ContractRegistered),
        }
    }
}

/// Reads a body under its id, and says what is wrong with either.
fn under<Id: FromStr<Err = InvalidId>, T>(
    id: &str,
    read: impl FnOnce(Id) -> Result<T, BodyError>,
) -> Result<T, BodyError> {
    let wrong = match id.parse() {
        Ok(id) => return read(id),
        Err(error) => FieldProblem::new("", error.to_string()),
    };
    // The body is looked at all the same, under an id that is one.
    let more = match "any".parse().map(read) {
        Ok(Err(BodyError::Invalid(more))) => more,
        _ => Vec::new(),
    };
    Err(BodyError::Invalid(std::iter::once(wrong).chain(more).collect()))
}

/// Why a line can't be registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bad {
    /// Which line of the file, from 1.
    pub line: u64,
    /// Its column; none where the line itself is wrong.
    pub column: Option<&'static str>,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.line)?;
        if let Some(column) = self.column {
            write!(f, "{column}: ")?;
        }
        f.write_str(&self.reason)
    }
}

/// A table that was read.
#[derive(Debug, Default)]
pub struct Read {
    /// What the good lines register, in their order.
    pub lines: Vec<CatalogEvent>,
    /// Every mistake of the others.
    pub mistakes: Vec<Bad>,
    /// Lines with at least one mistake.
    pub bad: usize,
}

/// Reads a whole table.
///
/// # Errors
/// What is wrong with the table: it can't be read, or has other columns. What is wrong with a line stands in [`Read`].
pub fn read(file: impl io::Read, kind: Kind) -> Result<Read, TableError> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(file);
    let names = reader.headers().map_err(|error| TableError::Unreadable("line of names", error))?.clone();
    let columns = columns(&names, kind)?;
    let (mut read, mut seen) = (Read::default(), HashSet::new());
    let mut record = csv::StringRecord::new();
    loop {
        let mut wrong = |line: u64, reason: String| {
            read.mistakes.push(Bad { line, column: None, reason });
            read.bad += 1;
        };
        match reader.read_record(&mut record) {
            Ok(false) => return Ok(read),
            Err(error) if error.is_io_error() => return Err(TableError::Unreadable("table", error)),
            Err(error) => wrong(error.position().map_or(0, csv::Position::line), "is not UTF-8".to_owned()),
            Ok(true) => {
                let line = record.position().map_or(0, csv::Position::line);
                if record.len() != columns.len() {
                    wrong(line, format!("has {} cells where the line of names has {}", record.len(), columns.len()));
                    continue;
                }
                if read.lines.len() >= LINES_MAX {
                    return Err(TableError::TooLong);
                }
                let cells: Vec<_> = columns.iter().copied().zip(record.iter()).collect();
                match of_line(&cells, kind, line, &mut seen) {
                    Ok(event) => read.lines.push(event),
                    Err(bad) => {
                        read.bad += 1;
                        read.mistakes.extend(bad);
                    }
                }
            }
        }
    }
}

/// The columns of a table, in its order.
fn columns(names: &csv::StringRecord, kind: Kind) -> Result<Vec<Column>, TableError> {
    let known = || kind.columns().iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ");
    let mut columns: Vec<Column> = Vec::new();
    for name in names {
        let Some(column) = kind.columns().iter().find(|(known, ..)| *known == name.trim_start_matches('\u{feff}'))
        else {
            return Err(TableError::NoColumn { name: name.to_owned(), known: known() });
        };
        if columns.contains(column) {
            return Err(TableError::Twice(name.to_owned()));
        }
        columns.push(*column);
    }
    let (id, ..) = kind.columns()[0];
    if !columns.iter().any(|(name, ..)| *name == id) {
        return Err(TableError::Missing { name: id, known: known() });
    }
    Ok(columns)
}

fn of_line(
    cells: &[(Column, &str)],
    kind: Kind,
    line: u64,
    seen: &mut HashSet<String>,
) -> Result<CatalogEvent, Vec<Bad>> {
    let (id_name, ..) = kind.columns()[0];
    let mut id = "";
    let mut body = Map::new();
    for ((name, pointer, cell), text) in cells.iter().filter(|(_, text)| !text.is_empty()) {
        if *name == id_name {
            id = text;
        } else {
            put(&mut body, pointer, value(*cell, text));
        }
    }
    let bytes = Value::Object(body).to_string();
    let event = kind.parse(id, bytes.as_bytes()).map_err(|error| bad_of(error, kind, line))?;
    if seen.insert(id.to_owned()) {
        Ok(event)
    } else {
        Err(vec![Bad { line, column: Some(id_name), reason: format!("{id} stands in the table twice") }])
    }
}

fn value(cell: Cell, text: &str) -> Value {
    let parts = || text.split(';').map(str::trim).filter(|part| !part.is_empty());
    match cell {
        Cell::Text => json!(text),
        // What is none is left for the parser to say.
        Cell::Integer => text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number)),
        Cell::List => parts().collect(),
        Cell::Pairs => {
            let pair = |part: &str| match part.split_once('=') {
                Some((name, value)) => (name.trim().to_owned(), json!(value.trim())),
                None => (part.to_owned(), Value::Null),
            };
            Value::Object(parts().map(pair).collect())
        }
    }
}

/// Puts a value where `pointer` says, making the objects on the way.
fn put(body: &mut Map<String, Value>, pointer: &str, value: Value) {
    match pointer.trim_start_matches('/').split_once('/') {
        None => {
            body.insert(pointer.trim_start_matches('/').to_owned(), value);
        }
        Some((first, rest)) => {
            if let Value::Object(inner) = body.entry(first).or_insert_with(|| Value::Object(Map::new())) {
                put(inner, rest, value);
            }
        }
    }
}

fn bad_of(error: BodyError, kind: Kind, line: u64) -> Vec<Bad> {
    let problems = match error {
        BodyError::NotJson { detail } => return vec![Bad { line, column: None, reason: detail }],
        BodyError::Invalid(problems) => problems,
    };
    let of_problem = |FieldProblem { pointer, detail }: FieldProblem| {
        // The column whose place is the longest beginning of the problem's.
        let is_within = |place: &str| pointer == place || pointer.starts_with(&format!("{place}/"));
        let mut within: Vec<_> = kind.columns().iter().filter(|(_, place, _)| is_within(place)).collect();
        within.sort_by_key(|(_, place, _)| place.len());
        let column = if pointer.is_empty() {
            kind.columns().first()
        } else {
            within.pop().filter(|(_, place, _)| !place.is_empty())
        };
        let inside = column.map_or("", |(_, place, _)| pointer.strip_prefix(place).unwrap_or_default());
        let reason = match (inside.strip_prefix('/'), column) {
            (Some(inside), _) => match inside.parse::<usize>() {
                Ok(index) => format!("element {} {detail}", index + 1),
                Err(_) => format!("{inside} {detail}"),
            },
            (None, Some(_)) => detail,
            (None, None) => format!("{pointer} {detail}"),
        };
        Bad { line, column: column.map(|(name, ..)| *name), reason }
    };
    problems.into_iter().map(of_problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str, kind: Kind) -> Vec<String> {
        read(text.as_bytes(), kind).unwrap().mistakes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_line_is_what_the_http_surface_would_take() {
        let table = "contract_id,rights_holder_id,territories,valid_from,valid_until,currency,per_view,percent,pools\n\
                     c-1,orvessa,DE; AT,2026-01-01,,EUR,0.04,,\n\
                     c-2,orvessa,,2026-01-01,2026-12-31,EUR,,12.5,2026-10=1000.00;2026-11=900\n";
        let read = read(table.as_bytes(), Kind::Contracts).unwrap();
        assert_eq!((read.lines.len(), read.bad), (2, 0), "{:?}", read.mistakes);
        let CatalogEvent::ContractRegistered(first) = &read.lines[0] else { panic!("a contract") };
        assert_eq!(first.territories.as_ref().unwrap().len(), 2);
        assert_eq!(first.terms["payment"], json!({"currency": "EUR", "per_view": "0.04"}));
        let CatalogEvent::ContractRegistered(second) = &read.lines[1] else { panic!("a contract") };
        let pools = json!({"2026-10": "1000.00", "2026-11": "900"});
        assert_eq!(second.terms["payment"]["revenue_share"], json!({"percent": "12.5", "pools": pools}));
    }

    #[test]
    fn each_bad_line_is_told_with_its_column_and_the_reason() {
        let table = "title_id,name,content_kind,rights_holder_id,runtime_ms\n\
                     film,Film,vod,orvessa,5400000\n\
                     -film,,movie,orvessa,long\n\
                     film,Film,vod,orvessa,\n\
                     short,Short\n\
                     \"two\nlines\",Lines,vod,orvessa,1\n\
                     last,Last,live,orvessa,\n";
        assert_eq!(
            mistakes(table, Kind::Titles),
            [
                "3: title_id: must be 1-128 characters of A-Z a-z 0-9 . _ : @ -, the first a letter or digit",
                "3: name: is required",
                "3: content_kind: must be one of vod, live",
                "3: runtime_ms: must be an integer of 0-9007199254740991",
                "4: title_id: film stands in the table twice",
                "5: has 2 cells where the line of names has 5",
                "6: title_id: must be 1-128 characters of A-Z a-z 0-9 . _ : @ -, the first a letter or digit",
            ]
        );
    }

    #[test]
    fn a_mistake_inside_a_cell_is_told_by_its_column() {
        let table = "contract_id,rights_holder_id,title_ids,valid_from,currency,rounding,percent,pools\n\
                     c-1,orvessa,a;-;c,2026-01-01,EUR,up,101,2026-10=1.005;soon=1;2026-11\n\
                     c-2,orvessa,,2026-01-01,EUR,,,\n";
        let mistakes = mistakes(table, Kind::Contracts);
        let heads: Vec<_> = mistakes.iter().map(|line| line.split(" must").next().unwrap()).collect();
        assert_eq!(
            heads,
            [
                "2: title_ids: element 2",
                "2: rounding:",
                "2: percent:",
                "2: pools: 2026-10",
                "2: pools: 2026-11",
                "2: pools: soon",
                "3: /payment",
            ],
            "{mistakes:#?}"
        );
    }

    #[test]
    fn a_table_without_its_columns_is_no_table() {
        let error = |text: &str| read(text.as_bytes(), Kind::Titles).unwrap_err().to_string();
        assert_eq!(
            error("title_id,nmae\n"),
            "there is no column \"nmae\"; known are title_id, name, content_kind, rights_holder_id, runtime_ms"
        );
        assert!(error("name\n").starts_with("the column title_id is missing"));
        assert_eq!(error("title_id,title_id\n"), "the column title_id stands there twice");
    }
}
