//! Text in columns, for people. Widths are counted in characters after escaping, so that no cell
//! can push another out of its column or onto a line of its own.

use crate::screen::escaped;

/// Rows of as many cells each, in columns that are as wide as their widest cell.
#[derive(Debug, Default)]
pub(super) struct Table<const COLUMNS: usize> {
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(super) fn row(&mut self, cells: [&str; COLUMNS]) {
        self.rows.push(cells.map(escaped));
    }

    /// The rows, each a line that begins with `indent`.
    pub(super) fn text(&self, indent: &str) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: [usize; COLUMNS] = std::array::from_fn(width);
        let line = |row: &[String; COLUMNS]| {
            let cells = row.iter().zip(widths);
            let cells = cells.map(|(cell, width)| format!("{cell:width$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            format!("{indent}{}\n", line.trim_end())
        };
        self.rows.iter().map(line).collect()
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
    }
}
