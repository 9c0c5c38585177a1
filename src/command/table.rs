//! Text in columns, for people. Widths are counted in characters after escaping, so that no cell
//! can push another out of its column or onto a line of its own.

use crate::screen::escaped;

/// Rows of as many cells each, in columns that are as wide as their widest cell.
#[derive(Debug)]
pub(super) struct Table<const COLUMNS: usize> {
    rows: Vec<[String; COLUMNS]>,
    widths: [usize; COLUMNS],
}

impl<const COLUMNS: usize> Default for Table<COLUMNS> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            widths: [0; COLUMNS],
        }
    }
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(super) fn row(&mut self, cells: [&str; COLUMNS]) {
        let row = cells.map(escaped);
        for (width, cell) in self.widths.iter_mut().zip(&row) {
            *width = cell.chars().count().max(*width);
        }
        self.rows.push(row);
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The rows, each a line that begins with `indent`.
    pub(super) fn text(&self, indent: &str) -> String {
        let line = |row: &[String; COLUMNS]| {
            let cells = row.iter().zip(self.widths);
            let cells = cells.map(|(cell, width)| format!("{cell:width$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            format!("{indent}{}\n", line.trim_end())
        };
        self.rows.iter().map(line).collect()
    }

    /// The same, and begins anew with columns that are no narrower.
    pub(super) fn take_text(&mut self, indent: &str) -> String {
        let text = self.text(indent);
        self.rows.clear();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn cells_stay_in_their_columns() {
        let mut table = Table::default();
        table.row(["a", "b", ""]);
        table.row(["ä long one", "x\ny\u{1b}[2J", "end"]);
        assert_eq!(
            table.text("  "),
            "  a           b\n  ä long one  x\\u{a}y\\u{1b}[2J  end\n"
        );
        drop(table.take_text(""));
        table.row(["c", "d", "e"]);
        assert_eq!(
            (table.len(), table.text("").as_str()),
            (1, "c           d                 e\n")
        );
    }
}
