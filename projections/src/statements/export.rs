//! A statement as a file: JSON, comma-separated values, or a table in the shape of a digital sales report. Written while
//! the rows pass by, so a million of them need no memory.

mod parquet;

use std::fmt::Write as _;
use std::str::FromStr;

use compact_str::CompactString;

use super::{About, FIGURES, Head, Row, StatementError};
use crate::csv;

/// How a statement is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Everything, so that it can be verified by who receives it.
    Json,
    /// The rows.
    Csv,
    /// Tab-separated, with head, summary and sales blocks: shaped like a DDEX digital sales report, and not claimed to be
    /// one.
    Tsv,
    /// The rows in columns, the rest in the file's metadata.
    Parquet,
}

impl FromStr for Format {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            "tsv" => Ok(Self::Tsv),
            "parquet" => Ok(Self::Parquet),
            _ => Err("must be json, csv, tsv or parquet"),
        }
    }
}

impl Format {
    /// Its media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Tsv => "text/tab-separated-values; charset=utf-8",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// The name of a file of it.
    #[must_use]
    pub fn file_name(self, about: &About, head: &Head) -> String {
        match self {
            Self::Json => format!("{}.json", about.file_name(head.revision)),
            Self::Csv => format!("{}.csv", about.file_name(head.revision)),
            Self::Parquet => format!("{}.parquet", about.file_name(head.revision)),
            // In the manner of DSR: who sends, who receives, which usage, when, how many files.
            Self::Tsv => {
                let holder = about.rights_holder.as_ref().map_or("all", |holder| holder.as_str()).replace(':', "-");
                format!("DSR_pulsegate_{holder}_r{}_{}_multi_1of1.tsv", head.revision, about.period)
            }
        }
    }
}

/// Writes one statement.
#[derive(Debug)]
pub struct Writer {
    format: Format,
    /// How many rows were written, and lines of a table.
    rows: u64,
    lines: u64,
    /// The contract and title of the block that is being written.
    block: Option<(CompactString, CompactString)>,
    columns: Option<parquet::File>,
}

impl Writer {
    /// Begins a file; what it returns comes first.
    pub fn begin(format: Format, about: &About, head: &Head) -> Result<(Self, Vec<u8>), StatementError> {
        let mut writer = Self { format, rows: 0, lines: 0, block: None, columns: None };
        let mut text = String::new();
        match format {
            Format::Json => {
                // A head was read from JSON or made of texts and numbers.
                let head = serde_json::to_string(head).unwrap_or_default();
                let _ = write!(text, "{{\"statement\":{head},\n\"rows\":[");
            }
            Format::Csv => {
                let ids =
                    ["period", "revision", "rights_holder_id", "contract_id", "title_id", "territory", "device_class"];
                let names = ids.into_iter().chain(FIGURES).chain(["completion_per_mille", "currency", "amount"]);
                csv::line(&mut text, names);
            }
            Format::Tsv => writer.begin_table(&mut text, about, head),
            Format::Parquet => writer.columns = Some(parquet::File::begin(head).map_err(|error| unwritten(&error))?),
        }
        Ok((writer, text.into_bytes()))
    }

    /// The next rows.
    pub fn rows(&mut self, head: &Head, rows: &[Row]) -> Result<Vec<u8>, StatementError> {
        if let Some(columns) = &mut self.columns {
            return columns.rows(rows).map_err(|error| unwritten(&error));
        }
        let mut text = String::with_capacity(rows.len() * 256);
        for row in rows {
            match self.format {
                Format::Json => {
                    text.push_str(if self.rows == 0 { "\n" } else { ",\n" });
                    text.push_str(&serde_json::to_string(row).unwrap_or_default());
                }
                Format::Csv => csv_row(&mut text, head, row),
                Format::Tsv => self.table_row(&mut text, row),
                // Its rows went their own way.
                Format::Parquet => {}
            }
            self.rows += 1;
        }
        Ok(text.into_bytes())
    }

    /// What comes last.
    pub fn end(mut self) -> Result<Vec<u8>, StatementError> {
        if let Some(columns) = self.columns {
            return columns.end().map_err(|error| unwritten(&error));
        }
        let text = match self.format {
            Format::Json => "\n]}\n".to_owned(),
            Format::Csv | Format::Parquet => String::new(),
            Format::Tsv => {
                let mut text = String::new();
                let lines = self.lines + 1;
                self.line(&mut text, ["FOOT", &lines.to_string(), &self.rows.to_string()]);
                text
            }
        };
        Ok(text.into_bytes())
    }

    fn line<'a>(&mut self, text: &mut String, fields: impl IntoIterator<Item = &'a str>) {
        for (index, field) in fields.into_iter().enumerate() {
            if index > 0 {
                text.push('\t');
            }
            // Ids hold neither, a name might.
            text.push_str(&field.replace(['\t', '\n', '\r'], " "));
        }
        text.push('\n');
        self.lines += 1;
    }

    fn begin_table(&mut self, text: &mut String, about: &About, head: &Head) {
        let names = [
            "#HEAD\tForm\tSender\tRecipient\tPeriodStart\tPeriodEnd\tState\tRevision\tClosedAt\tSha256",
            "#SY01\tContract\tRightsHolder\tContractVersion\tCurrency\tSumOfRounded\tRoundedSum\tAmount",
            "#AS01\tBlock\tTitle\tRightsHolder\tRuntimeMs",
            "#SU01\tBlock\tContract\tTerritory\tDeviceClass\tPlays\tQualifiedViews\tViews\tWatchedMs\tAgedMs\tContentMs\t\
             DistinctAccounts\tPeakConcurrent\tBlockedAttempts\tOutsideWindowMs\tOutsideTerritoryMs\tCurrency\tAmount",
            "#FOOT\tLines\tRows",
        ];
        for name in names {
            self.line(text, name.split('\t'));
        }
        let (first, last) = (about.period.first().to_string(), about.period.last().to_string());
        let closed_at = head.closed_at.map(|at| at.to_rfc3339()).unwrap_or_default();
        let recipient = head.rights_holder_id.as_deref().unwrap_or_default();
        let revision = head.revision.to_string();
        self.line(
            text,
            [
                "HEAD",
                "pulsegate-dsr-shaped-1",
                "pulsegate",
                recipient,
                &first,
                &last,
                head.state.as_str(),
                &revision,
                &closed_at,
                &head.sha256,
            ],
        );
        for contract in &head.contracts {
            let version = contract.version.to_string();
            let money =
                contract.due.as_ref().map(|due| [&due.currency, &due.sum_of_rounded, &due.rounded_sum, &due.amount]);
            let ids = ["SY01", &contract.contract_id, &contract.rights_holder_id, &version];
            let money = money.iter().flatten().map(|text| text.as_str());
            self.line(text, ids.into_iter().chain(money));
        }
    }

    fn table_row(&mut self, text: &mut String, row: &Row) {
        let of = (row.key.rights_holder_id.clone(), row.key.title_id.clone());
        let is_new = self.block.as_ref() != Some(&of);
        let block = (self.lines + u64::from(is_new)).to_string();
        if is_new {
            let runtime = row.figures.runtime_ms.to_string();
            self.line(text, ["AS01", &block, &of.1, &of.0, &runtime]);
            self.block = Some(of);
        }
        let figures: Vec<_> = row.figures.array()[..11].iter().map(ToString::to_string).collect();
        let amount = amount(row);
        let ids = ["SU01", &block, &row.key.contract_id, &row.key.territory, &row.key.device_class];
        let figures = figures.iter().map(String::as_str);
        self.line(text, ids.into_iter().chain(figures).chain([row.key.currency.as_str(), &amount]));
    }
}

fn unwritten(error: &::parquet::errors::ParquetError) -> StatementError {
    StatementError::Unwritten(error.to_string())
}

fn amount(row: &Row) -> String {
    if row.key.currency.is_empty() { String::new() } else { row.amount.to_string() }
}

fn csv_row(text: &mut String, head: &Head, row: &Row) {
    let revision = head.revision.to_string();
    let key = &row.key;
    let ids = [
        head.period.as_str(),
        &revision,
        &key.rights_holder_id,
        &key.contract_id,
        &key.title_id,
        &key.territory,
        &key.device_class,
    ];
    csv::begin(text, ids);
    for figure in row.figures.array() {
        let _ = write!(text, ",{figure}");
    }
    let completion = row.completion_per_mille().map(|completion| completion.to_string()).unwrap_or_default();
    let _ = write!(text, ",{completion},{},{}\r\n", key.currency, amount(row));
}
