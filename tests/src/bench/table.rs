//! Tables in Markdown that can be read as they are.

/// Rows under a head: columns of text, and to their right columns of figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// How many columns hold text.
    texts: usize,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

/// The longest text that a cell holds; a longer one becomes a note below the table.
const LONGEST: usize = 26;

impl Table {
    /// A table without rows, the first `texts` columns of which hold text.
    pub fn new<T: Into<String>>(texts: usize, head: impl IntoIterator<Item = T>) -> Self {
        Self {
            texts,
            head: head.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a row of as many cells as the head has.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// True if it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text of a cell that has no figure: the reason itself if it is short, else the number of a note.
    pub fn gap(&mut self, reason: &str) -> String {
        if reason.chars().count() <= LONGEST {
            return reason.to_owned();
        }
        let known = self.notes.iter().position(|note| note == reason);
        let index = known.unwrap_or_else(|| {
            self.notes.push(reason.to_owned());
            self.notes.len() - 1
        });
        format!("– [{}]", index + 1)
    }

    /// As Markdown, the columns aligned, the notes below it.
    pub fn markdown(&self) -> String {
        let widths: Vec<usize> = (0..self.head.len()).map(|column| self.width(column)).collect();
        let rule: Vec<String> = widths
            .iter()
            .enumerate()
            .map(|(column, width)| {
                if column < self.texts {
                    "-".repeat(*width)
                } else {
                    format!("{}:", "-".repeat(width - 1))
                }
            })
            .collect();
        let rows = [&self.head, &rule].into_iter().chain(&self.rows);
        let mut lines: Vec<String> = rows.map(|row| self.line(row, &widths)).collect();
        if !self.notes.is_empty() {
            lines.push(String::new());
        }
        let notes = self.notes.iter().zip(1..);
        lines.extend(notes.map(|(note, number)| format!("[{number}] {}\\", note.replace('\n', " "))));
        lines.push(String::new());
        lines.join("\n")
    }

    /// The characters of the longest cell of a column.
    fn width(&self, column: usize) -> usize {
        let cells = [&self.head]
            .into_iter()
            .chain(&self.rows)
            .filter_map(|row| row.get(column));
        cells
            .map(|cell| escaped(cell).chars().count())
            .max()
            .unwrap_or(0)
            .max(3)
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, &width))| {
            let cell = escaped(cell);
            if column < self.texts {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
    }
}

/// Text that does not end its cell.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_figures_stand_right() {
        let mut table = Table::new(1, ["case", "µs"]);
        table.row(vec!["a|b".to_owned(), "12,345".to_owned()]);
        table.row(vec!["other".to_owned(), "1".to_owned()]);
        let expected = "| case  |     µs |\n| ----- | -----: |\n| a\\|b  | 12,345 |\n| other |      1 |\n";
        assert_eq!(table.markdown(), expected);
    }

    #[test]
    fn long_reasons_become_notes_and_equal_ones_one() {
        let mut table = Table::new(1, ["case", "bridge"]);
        let reason = "a bridge alone translates nothing";
        let cells = ["too slow", reason, "another reason that is too long", reason].map(|text| table.gap(text));
        assert_eq!(cells, ["too slow", "– [1]", "– [2]", "– [1]"]);
        table.row(vec!["x".to_owned(), cells[1].clone()]);
        assert!(
            table
                .markdown()
                .contains("\n[1] a bridge alone translates nothing\\\n[2] another")
        );
    }
}
