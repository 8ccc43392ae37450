//! Rows as comma-separated values (RFC 4180), for a spreadsheet.

/// Adds a line of these fields.
pub(crate) fn line<'a>(text: &mut String, fields: impl IntoIterator<Item = &'a str>) {
    begin(text, fields);
    text.push_str("\r\n");
}

/// Adds the first fields of a line; its numbers, which are no formula though one may begin with a minus, come after.
pub(crate) fn begin<'a>(text: &mut String, fields: impl IntoIterator<Item = &'a str>) {
    for (index, field) in fields.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        // What begins so, a spreadsheet takes for a formula; a sender chose it.
        let is_formula = field.starts_with(['=', '+', '-', '@', '\t']);
        if is_formula || field.contains([',', '"', '\n', '\r']) {
            text.push('"');
            if is_formula {
                text.push('\'');
            }
            text.push_str(&field.replace('"', "\"\""));
            text.push('"');
        } else {
            text.push_str(field);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_special_is_quoted() {
        let mut text = String::new();
        line(&mut text, ["a", "", "b,c", "say \"no\"", "=1+1", "two\nlines"]);
        assert_eq!(text, "a,,\"b,c\",\"say \"\"no\"\"\",\"'=1+1\",\"two\nlines\"\r\n");
    }
}
