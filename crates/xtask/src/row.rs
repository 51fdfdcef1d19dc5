//! A row of a table, as suites print it: `row: TABLE | column=cell | …`.
//!
//! Columns are told by their names, so that a suite can add one. A row must
//! never be changed on its way into the document.

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The table that it belongs to.
    pub table: String,
    /// Its columns with their names, in order.
    pub cells: Vec<(String, String)>,
}

impl Row {
    /// A row of these cells.
    pub fn new(table: &str, cells: &[(&str, &str)]) -> Self {
        let cells = cells.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { table: table.to_owned(), cells: cells.collect() }
    }

    /// Reads a line of output; `None` if it is no row.
    pub fn parse(line: &str) -> Option<Self> {
        let mut parts = line.strip_prefix("row: ")?.split(" | ");
        let table = parts.next()?.to_owned();
        let cell = |part: &str| part.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        Some(Self { table, cells: parts.map(cell).collect::<Option<_>>()? })
    }

    /// The cell of a column.
    pub fn get(&self, column: &str) -> Option<&str> {
        self.cells.iter().find(|(name, _)| name == column).map(|(_, value)| value.as_str())
    }

    /// The number in a column; 0 if there is none.
    pub fn number(&self, column: &str) -> u64 {
        self.get(column).and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_as_it_was_printed() {
        let row = Row::parse("row: power cuts | file system=ext4 | cuts=12 | odd=a=b").unwrap();
        assert_eq!(row, Row::new("power cuts", &[("file system", "ext4"), ("cuts", "12"), ("odd", "a=b")]));
        assert_eq!((row.get("odd"), row.number("cuts"), row.number("odd")), (Some("a=b"), 12, 0));
        assert!(Row::parse("row: x | no cell").is_none() && Row::parse("figures: x | a=b").is_none());
    }
}
