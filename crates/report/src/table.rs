//! Tables as aligned text, for terminals and for pipes, and as Markdown.

use crate::{Paint, Style};
use std::fmt::Write;

/// Side to which a column leans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Align {
    /// Text.
    #[default]
    Left,
    /// Numbers.
    Right,
}

/// A field with its meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Text.
    pub text: String,
    /// Meaning.
    pub paint: Paint,
}

impl Cell {
    /// A field that means something.
    pub fn painted(text: impl Into<String>, paint: Paint) -> Self {
        Self { text: text.into(), paint }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), paint: Paint::Plain }
    }
}

/// Titled columns and rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows. A title that begins with `>` makes a column of numbers.
    pub fn new(titles: &[&str]) -> Self {
        let column = |title: &&str| match title.strip_prefix('>') {
            Some(title) => (title.to_owned(), Align::Right),
            None => ((*title).to_owned(), Align::Left),
        };
        Self { columns: titles.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row; missing fields are empty, fields beyond the columns are dropped.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<Cell>>) {
        let mut row: Vec<Cell> = cells.into_iter().map(Into::into).collect();
        row.resize(self.columns.len(), Cell::default());
        self.rows.push(row);
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Aligned text, one line per row, columns two spaces apart; a rule under the titles where box characters are
    /// wanted. Every line ends with a newline and none with spaces.
    pub fn text(&self, style: &Style) -> String {
        let widths = self.widths();
        let mut out = String::new();
        let titles: Vec<Cell> =
            self.columns.iter().map(|(title, _)| Cell::painted(title.clone(), Paint::Strong)).collect();
        if self.columns.iter().any(|(title, _)| !title.is_empty()) {
            self.line(&mut out, &titles, &widths, style);
            if style.unicode {
                let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
                out.push_str(&style.paint(Paint::Faint, &rule.join("  ")));
                out.push('\n');
            }
        }
        for row in &self.rows {
            self.line(&mut out, row, &widths, style);
        }
        out
    }

    fn widths(&self) -> Vec<usize> {
        let widest = |index: usize| {
            let cells = self.rows.iter().map(|row| row[index].text.chars().count());
            cells.chain([self.columns[index].0.chars().count()]).max().unwrap_or(0)
        };
        (0..self.columns.len()).map(widest).collect()
    }

    fn line(&self, out: &mut String, cells: &[Cell], widths: &[usize], style: &Style) {
        let mut line = String::new();
        // Spaces are held back until something follows them, so that no line ends with spaces.
        let mut gap = 0;
        for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let space = width - cell.text.chars().count();
            let (before, after) = match self.columns[index].1 {
                Align::Left => (0, space),
                Align::Right => (space, 0),
            };
            gap += before;
            if !cell.text.is_empty() {
                line.push_str(&" ".repeat(gap));
                line.push_str(&style.paint(cell.paint, &cell.text));
                gap = 0;
            }
            gap += after + 2;
        }
        out.push_str(&line);
        out.push('\n');
    }

    /// A Markdown table.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        let fields = |cells: &mut dyn Iterator<Item = String>| {
            let fields: Vec<String> = cells.map(|text| text.replace('|', "\\|")).collect();
            format!("| {} |\n", fields.join(" | "))
        };
        out.push_str(&fields(&mut self.columns.iter().map(|(title, _)| title.clone())));
        for (_, align) in &self.columns {
            let _ = write!(out, "|{}", if *align == Align::Right { "---:" } else { "---" });
        }
        out.push_str("|\n");
        for row in &self.rows {
            out.push_str(&fields(&mut row.iter().map(|cell| cell.text.clone())));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["operator", ">count", "note"]);
        table.row(["Linear", "12", ""]);
        table.row([Cell::from("Add"), "7".into(), Cell::painted("slow", Paint::Bad)]);
        table
    }

    #[test]
    fn columns_line_up_and_no_line_ends_in_spaces() {
        let text = table().text(&Style::default());
        assert_eq!(text, "operator  count  note\nLinear       12\nAdd           7  slow\n");
    }

    #[test]
    fn colours_do_not_disturb_the_columns() {
        let coloured = table().text(&Style { colour: true, unicode: true });
        assert!(coloured.contains("\u{1b}[31mslow\u{1b}[0m") && coloured.contains("────────  ─────"));
    }

    #[test]
    fn markdown_aligns_numbers_to_the_right() {
        let markdown = table().markdown();
        assert!(markdown.starts_with("| operator | count | note |\n|---|---:|---|\n| Linear | 12 |  |\n"));
    }
}
