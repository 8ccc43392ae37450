//! The report as Parquet: its rows in columns, compressed; all else of it in the file's metadata.

use std::sync::Arc;

use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::parser::parse_message_type;
use serde_json::json;

use super::{Report, Row};

/// Rows of a row group.
const GROUP_ROWS: usize = 50_000;
/// Where the file says what its rows don't.
const METADATA: &str = "pulsegate.licensing";

/// A column of texts, null where there is none.
type Text = (&'static str, fn(&Row) -> Option<&str>);
/// A column of numbers.
type Number = (&'static str, fn(&Row) -> i64);

const TEXTS: [Text; 5] = [
    ("period", |row| Some(&row.period)),
    ("rights_holder_id", |row| row.rights_holder_id.as_deref()),
    ("contract_id", |row| row.contract_id.as_deref()),
    ("title_id", |row| Some(&row.title_id)),
    ("territory", |row| Some(&row.territory)),
];

const NUMBERS: [Number; 7] = [
    ("plays", |row| row.plays),
    ("qualified_views", |row| row.qualified_views),
    ("watched_ms", |row| row.watched_ms),
    ("aged_ms", |row| row.aged_ms),
    ("content_ms", |row| row.content_ms),
    ("distinct_accounts", |row| row.distinct_accounts),
    ("peak_concurrent", |row| row.peak_concurrent),
];

impl Report {
    /// The rows as a Parquet file; totals and what they are as of stand in its metadata, `pulsegate.licensing`.
    pub fn to_parquet(&self) -> Result<Vec<u8>, ParquetError> {
        let texts = TEXTS.iter().map(|(name, _)| format!("optional binary {name} (utf8);"));
        let numbers = NUMBERS.iter().map(|(name, _)| format!("required int64 {name};"));
        let columns: Vec<_> = texts.chain(numbers).collect();
        let schema = format!("message licensing {{ {} }}", columns.join(" "));
        let beside = json!({
            "period": self.period, "totals": self.totals, "inferred_sessions": self.inferred_sessions, "as_of": self.as_of,
        });
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by("pulsegate".to_owned())
            .set_key_value_metadata(Some(vec![KeyValue::new(METADATA.to_owned(), beside.to_string())]))
            .build();
        let mut file =
            SerializedFileWriter::new(Vec::new(), Arc::new(parse_message_type(&schema)?), Arc::new(properties))?;
        for rows in self.rows.chunks(GROUP_ROWS) {
            let mut group = file.next_row_group()?;
            for (_, text) in TEXTS {
                let values: Vec<_> = rows.iter().filter_map(text).map(ByteArray::from).collect();
                let levels: Vec<i16> = rows.iter().map(|row| i16::from(text(row).is_some())).collect();
                let mut column = next(&mut group)?;
                column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None)?;
                column.close()?;
            }
            for (_, number) in NUMBERS {
                let values: Vec<_> = rows.iter().map(number).collect();
                let mut column = next(&mut group)?;
                column.typed::<Int64Type>().write_batch(&values, None, None)?;
                column.close()?;
            }
            group.close()?;
        }
        file.into_inner()
    }
}

fn next<'a>(group: &'a mut SerializedRowGroupWriter<'_, Vec<u8>>) -> Result<SerializedColumnWriter<'a>, ParquetError> {
    group.next_column()?.ok_or_else(|| ParquetError::General("the schema has fewer columns".to_owned()))
}

#[cfg(test)]
mod tests {
    use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
    use ::parquet::record::RowAccessor as _;

    use super::super::Totals;
    use super::*;

    #[test]
    fn the_file_says_what_the_report_says() {
        let row = |n: i64| Row {
            period: "2026-10".into(),
            rights_holder_id: (n % 2 == 0).then(|| "orvessa".into()),
            contract_id: None,
            title_id: format!("film-{n}"),
            territory: "DE".into(),
            plays: n,
            qualified_views: 0,
            watched_ms: n * 1_000,
            aged_ms: 0,
            content_ms: 0,
            distinct_accounts: 1,
            peak_concurrent: 2,
        };
        let mut report = Report {
            period: "2026-10".into(),
            rows: (0..60_000).map(row).collect(),
            totals: Totals::default(),
            inferred_sessions: 3,
            as_of: Vec::new(),
        };
        let read =
            |report: &Report| SerializedFileReader::new(bytes::Bytes::from(report.to_parquet().unwrap())).unwrap();
        let file = read(&report);
        let metadata = file.metadata().file_metadata();
        assert_eq!((file.num_row_groups(), metadata.num_rows()), (2, 60_000));
        let beside = metadata.key_value_metadata().unwrap().iter().find(|pair| pair.key == METADATA);
        assert!(beside.unwrap().value.as_ref().unwrap().contains("\"inferred_sessions\":3"));
        let rows: Vec<_> = file.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!((rows[4].get_string(1).unwrap().as_str(), rows[4].get_long(7).unwrap()), ("orvessa", 4_000));
        assert_eq!(rows[5].get_string(3).unwrap(), "film-5");
        assert!(rows[5].get_string(1).is_err() && rows[5].get_string(2).is_err(), "what isn't known is null");
        // A period in which nobody watched is a file all the same.
        report.rows.clear();
        assert_eq!(read(&report).metadata().file_metadata().num_rows(), 0);
    }
}
