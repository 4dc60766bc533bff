//! Tables that fit: columns are narrowed, and then left out, until the terminal's width holds them.

use comfy_table::{Attribute, Cell as Painted, CellAlignment, Color, ContentArrangement, Table as Rendered};

/// What a column does when there is too little room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Squeeze {
    /// It keeps its width.
    Never,
    /// Cells lose their end, without a mark: for ids whose beginning is enough.
    Prefix,
    /// Cells lose their end.
    End,
    /// Cells lose their middle.
    Middle,
}

/// A column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// The heading.
    pub title: &'static str,
    /// Numbers stand to the right.
    pub right: bool,
    /// How it is narrowed.
    pub squeeze: Squeeze,
    /// The narrowest, in characters.
    pub least: usize,
    /// When it is left out: the highest goes first, 0 stays.
    pub leave_out: u8,
}

impl Column {
    /// A column of text that keeps its width and is never left out.
    pub const fn new(title: &'static str) -> Self {
        Self { title, right: false, squeeze: Squeeze::Never, least: 0, leave_out: 0 }
    }

    /// Numbers.
    #[must_use]
    pub const fn right(self) -> Self {
        Self { right: true, ..self }
    }

    /// May be narrowed to so many characters.
    #[must_use]
    pub const fn squeezed(self, squeeze: Squeeze, least: usize) -> Self {
        Self { squeeze, least, ..self }
    }

    /// May be left out; the highest first.
    #[must_use]
    pub const fn left_out(self, order: u8) -> Self {
        Self { leave_out: order, ..self }
    }
}

/// How a cell is coloured, where there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// As the terminal has it.
    #[default]
    Plain,
    /// Red.
    Bad,
    /// Yellow.
    Waiting,
    /// Green.
    Good,
    /// Less important.
    Dim,
}

/// A cell.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell with a tone.
    pub fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }
}

/// A table.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

/// A table as text, and what found no room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitted {
    /// Lines, each ended.
    pub text: String,
    /// Headings of the columns that were left out.
    pub left_out: Vec<&'static str>,
}

const GAP: usize = 2;

impl Table {
    /// An empty table.
    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// Adds a row; it has a cell for each column.
    pub fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        self.rows.push(cells.into());
    }

    /// Fits it into so many characters; without a width, into whatever it takes.
    pub fn fit(&self, width: Option<usize>, colour: bool) -> Fitted {
        let mut kept: Vec<(usize, usize)> = (0..self.columns.len()).map(|index| (index, self.natural(index))).collect();
        let mut left_out = Vec::new();
        while let Some(excess) = width.and_then(|width| total(&kept).checked_sub(width)).filter(|excess| *excess > 0) {
            if self.narrow(&mut kept, excess) {
                break;
            }
            let last = kept.iter().map(|(index, _)| self.columns[*index].leave_out).max().unwrap_or_default();
            if last == 0 {
                break;
            }
            left_out.extend(
                kept.iter()
                    .filter(|(index, _)| self.columns[*index].leave_out == last)
                    .map(|(index, _)| self.columns[*index].title),
            );
            kept.retain(|(index, _)| self.columns[*index].leave_out != last);
            for (index, width) in &mut kept {
                *width = self.natural(*index);
            }
        }
        Fitted { text: self.render(&kept, colour), left_out }
    }

    fn natural(&self, index: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(index)).map(|cell| columns_of(&cell.text));
        cells.max().unwrap_or_default().max(columns_of(self.columns[index].title))
    }

    /// Takes room from ids whose beginning is enough, then from middles, then from ends, the widest first; whether it was
    /// enough.
    fn narrow(&self, kept: &mut [(usize, usize)], mut excess: usize) -> bool {
        for squeeze in [Squeeze::Prefix, Squeeze::Middle, Squeeze::End] {
            while excess > 0 {
                let has_spare = |(index, width): &(usize, usize)| {
                    let column = &self.columns[*index];
                    column.squeeze == squeeze && *width > column.least.max(columns_of(column.title))
                };
                let widest = kept.iter_mut().filter(|column| has_spare(column)).max_by_key(|column| column.1);
                let Some(widest) = widest else { break };
                widest.1 -= 1;
                excess -= 1;
            }
        }
        excess == 0
    }

    fn render(&self, kept: &[(usize, usize)], colour: bool) -> String {
        let mut rendered = Rendered::new();
        rendered.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if colour {
            rendered.enforce_styling();
        } else {
            rendered.force_no_tty();
        }
        rendered.set_header(
            kept.iter().map(|(index, _)| Painted::new(self.columns[*index].title).add_attribute(Attribute::Bold)),
        );
        let none = Cell::default();
        for row in &self.rows {
            rendered.add_row(kept.iter().map(|(index, width)| {
                let cell = row.get(*index).unwrap_or(&none);
                paint(Painted::new(cut(&cell.text, *width, self.columns[*index].squeeze)), cell.tone)
            }));
        }
        for (place, (index, _)) in kept.iter().enumerate() {
            if let Some(column) = rendered.column_mut(place) {
                column.set_padding((0, if place + 1 == kept.len() { 0 } else { 2 }));
                column.set_cell_alignment(if self.columns[*index].right {
                    CellAlignment::Right
                } else {
                    CellAlignment::Left
                });
            }
        }
        rendered.trim_fmt() + "\n"
    }
}

fn paint(cell: Painted, tone: Tone) -> Painted {
    match tone {
        Tone::Plain => cell,
        Tone::Bad => cell.fg(Color::Red),
        Tone::Waiting => cell.fg(Color::Yellow),
        Tone::Good => cell.fg(Color::Green),
        Tone::Dim => cell.fg(Color::DarkGrey),
    }
}

fn total(kept: &[(usize, usize)]) -> usize {
    kept.iter().map(|(_, width)| width).sum::<usize>() + GAP * kept.len().saturating_sub(1)
}

/// How many columns of a terminal a character takes, generously: East Asian and pictographic ones take two.
fn columns_of_char(c: char) -> usize {
    if u32::from(c) >= 0x1100 && !matches!(c, '\u{2000}'..='\u{2bff}' | '\u{fffd}') { 2 } else { 1 }
}

fn columns_of(text: &str) -> usize {
    text.chars().map(columns_of_char).sum()
}

fn cut(text: &str, width: usize, squeeze: Squeeze) -> String {
    if columns_of(text) <= width {
        return text.to_owned();
    }
    match squeeze {
        Squeeze::Never => text.to_owned(),
        Squeeze::Prefix => head(text.chars(), width),
        Squeeze::End => head(text.chars(), width.saturating_sub(1)) + "…",
        Squeeze::Middle => {
            let room = width.saturating_sub(1);
            let tail: String = head(text.chars().rev(), room / 3).chars().rev().collect();
            head(text.chars(), room - room / 3) + "…" + &tail
        }
    }
}

fn head(characters: impl Iterator<Item = char>, width: usize) -> String {
    let mut taken = 0;
    characters
        .take_while(|c| {
            taken += columns_of_char(*c);
            taken <= width
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new([
            Column::new("ID").squeezed(Squeeze::Prefix, 4),
            Column::new("ORDER").squeezed(Squeeze::Middle, 9),
            Column::new("CODE").squeezed(Squeeze::End, 6).left_out(1),
            Column::new("N").right(),
        ]);
        table.row([Cell::from("0123456789abcdef"), "order-0123456789".into(), "UNABLE_TO_LOCK_ROW".into(), "7".into()]);
        table
    }

    #[test]
    fn with_room_nothing_is_cut() {
        let fitted = table().fit(None, false);
        assert_eq!(
            fitted.text,
            "ID                ORDER             CODE                N\n0123456789abcdef  order-0123456789  UNABLE_TO_LOCK_ROW  7\n"
        );
        assert!(fitted.left_out.is_empty());
    }

    #[test]
    fn cells_are_narrowed_before_columns_are_left_out() {
        let fitted = table().fit(Some(40), false);
        assert!(fitted.left_out.is_empty());
        assert!(fitted.text.lines().all(|line| line.chars().count() <= 40), "{}", fitted.text);
        let fitted = table().fit(Some(20), false);
        assert_eq!(fitted.left_out, ["CODE"]);
        assert!(fitted.text.lines().all(|line| line.chars().count() <= 20), "{}", fitted.text);
        assert!(fitted.text.contains('…'), "{}", fitted.text);
    }

    #[test]
    fn a_width_of_nothing_is_no_panic() {
        for width in 0..12 {
            let _ = table().fit(Some(width), false);
        }
        let _ = Table::new([]).fit(Some(1), true);
        assert_eq!(cut("日本語", 3, Squeeze::End), "日…");
        assert_eq!(cut("abc", 0, Squeeze::Middle), "…");
    }
}
