//! Figures as a table: the same for a spreadsheet and for a terminal.

use crate::csv;

/// Rows of text under names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The columns' names.
    pub columns: &'static [&'static str],
    /// How many columns, from the first on, are text; the others are numbers.
    pub texts: usize,
    /// The cells; what isn't known is empty.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// As comma-separated values, with a line of names first.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut text = String::new();
        csv::line(&mut text, self.columns.iter().copied());
        for row in &self.rows {
            csv::begin(&mut text, row.iter().take(self.texts).map(String::as_str));
            for (index, number) in row.iter().enumerate().skip(self.texts) {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(number);
            }
            text.push_str("\r\n");
        }
        text
    }
}

/// A number that may not be known.
pub(super) fn maybe(number: Option<i64>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}
