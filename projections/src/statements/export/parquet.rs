//! A statement as Parquet: columns, compressed, a row group at a time, so that no more than one is in memory.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::parser::parse_message_type;
use compact_str::CompactString;
use rust_decimal::Decimal;

use super::super::{FIGURES, Head, Key, Row};

/// Rows of a row group.
const GROUP_ROWS: usize = 50_000;
/// Digits of an amount behind the point: more than any currency has.
const AMOUNT_SCALE: u32 = 6;

/// The texts of a row.
type Text = (&'static str, fn(&Key) -> &CompactString);

const TEXTS: [Text; 6] = [
    ("rights_holder_id", |key| &key.rights_holder_id),
    ("contract_id", |key| &key.contract_id),
    ("title_id", |key| &key.title_id),
    ("territory", |key| &key.territory),
    ("device_class", |key| &key.device_class),
    ("currency", |key| &key.currency),
];

/// What was written and not taken yet.
#[derive(Clone, Debug, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Pipe {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes one file.
pub(super) struct File {
    writer: SerializedFileWriter<Pipe>,
    pipe: Pipe,
    waiting: Vec<Row>,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl File {
    pub(super) fn begin(head: &Head) -> Result<Self, ParquetError> {
        let texts = TEXTS.iter().map(|(name, _)| format!("optional binary {name} (utf8);"));
        let figures = FIGURES.iter().map(|name| format!("required int64 {name};"));
        let amount = format!("optional int64 amount (decimal(18,{AMOUNT_SCALE}));");
        let columns: Vec<_> = texts.chain(figures).chain([amount]).collect();
        let schema = format!("message statement {{ {} }}", columns.join(" "));
        // All of the head stands in the file's metadata.
        let head = KeyValue::new("pulsegate.statement".to_owned(), serde_json::to_string(head).ok());
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by("pulsegate".to_owned())
            .set_key_value_metadata(Some(vec![head]))
            .build();
        let pipe = Pipe::default();
        let writer =
            SerializedFileWriter::new(pipe.clone(), Arc::new(parse_message_type(&schema)?), Arc::new(properties))?;
        Ok(Self { writer, pipe, waiting: Vec::new() })
    }

    pub(super) fn rows(&mut self, rows: &[Row]) -> Result<Vec<u8>, ParquetError> {
        self.waiting.extend_from_slice(rows);
        if self.waiting.len() >= GROUP_ROWS {
            self.group()?;
        }
        Ok(self.pipe.take())
    }

    pub(super) fn end(mut self) -> Result<Vec<u8>, ParquetError> {
        if !self.waiting.is_empty() {
            self.group()?;
        }
        self.writer.close()?;
        Ok(self.pipe.take())
    }

    fn group(&mut self) -> Result<(), ParquetError> {
        let rows = std::mem::take(&mut self.waiting);
        let mut group = self.writer.next_row_group()?;
        for (_, text) in TEXTS {
            let said = rows.iter().map(|row| text(&row.key)).filter(|text| !text.is_empty());
            let values: Vec<_> = said.map(|text| ByteArray::from(text.as_str())).collect();
            let levels: Vec<i16> = rows.iter().map(|row| i16::from(!text(&row.key).is_empty())).collect();
            let mut column = next(&mut group)?;
            column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None)?;
            column.close()?;
        }
        for place in 0..FIGURES.len() {
            let values: Vec<_> = rows.iter().map(|row| row.figures.array()[place]).collect();
            let mut column = next(&mut group)?;
            column.typed::<Int64Type>().write_batch(&values, None, None)?;
            column.close()?;
        }
        let paid = rows.iter().filter(|row| !row.key.currency.is_empty());
        let values = paid.map(|row| scaled(row.amount)).collect::<Result<Vec<_>, _>>()?;
        let levels: Vec<i16> = rows.iter().map(|row| i16::from(!row.key.currency.is_empty())).collect();
        let mut column = next(&mut group)?;
        column.typed::<Int64Type>().write_batch(&values, Some(&levels), None)?;
        column.close()?;
        group.close()?;
        Ok(())
    }
}

fn next<'a>(
    group: &'a mut SerializedRowGroupWriter<'_, Pipe>,
) -> Result<::parquet::file::writer::SerializedColumnWriter<'a>, ParquetError> {
    group.next_column()?.ok_or_else(|| ParquetError::General("the schema has fewer columns".to_owned()))
}

fn scaled(mut amount: Decimal) -> Result<i64, ParquetError> {
    amount.rescale(AMOUNT_SCALE);
    i64::try_from(amount.mantissa()).map_err(|_| ParquetError::General("an amount is too large".to_owned()))
}

#[cfg(test)]
mod tests {
    use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
    use ::parquet::record::RowAccessor as _;

    use super::super::super::{Figures, State};
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let head = Head {
            period: "2026-10".into(),
            rights_holder_id: None,
            revision: 1,
            state: State::Closed,
            closed_at: None,
            sha256: String::new(),
            previous_sha256: None,
            as_of: Vec::new(),
            service_watched_ms: 0,
            contracts: Vec::new(),
            problems: Vec::new(),
        };
        let row = |n: i64| Row {
            key: Key {
                title_id: format!("film-{n}").into(),
                currency: if n % 2 == 0 { "EUR".into() } else { CompactString::default() },
                ..Key::default()
            },
            figures: Figures { plays: n, runtime_ms: -n, ..Figures::default() },
            amount: Decimal::new(n, 2),
        };
        let rows: Vec<_> = (0..60_000).map(row).collect();
        let mut file = File::begin(&head).unwrap();
        let mut bytes = Vec::new();
        for page in rows.chunks(1_000) {
            bytes.extend(file.rows(page).unwrap());
        }
        bytes.extend(file.end().unwrap());
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap();
        assert_eq!((reader.num_row_groups(), reader.metadata().file_metadata().num_rows()), (2, 60_000));
        let read: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(read[4].get_string(2).unwrap(), "film-4");
        assert_eq!((read[4].get_long(6).unwrap(), read[4].get_long(17).unwrap()), (4, -4));
        assert!(read[4].get_string(0).is_err(), "no rights holder is null");
        assert_eq!(read[4].get_decimal(18).unwrap().scale(), 6);
        assert!(read[5].get_decimal(18).is_err(), "no money is null");
    }
}
