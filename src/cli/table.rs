//! Tables for people: as many columns as there is room for, and coloured, which `say!` undoes where nobody sees it.

use clap::builder::styling::{AnsiColor, Style};
use ratatui::crossterm::terminal;
use std::borrow::Cow;
use std::fmt::Write;
use std::io::IsTerminal;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A column is not made narrower than this.
const MIN_WIDTH: usize = 8;

/// What a cell is to look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    #[default]
    Plain,
    /// What others stand under.
    Title,
    /// Of no interest now.
    Quiet,
    /// Not as it should be for ever.
    Warning,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Tone::Plain => Style::new(),
            Tone::Title => Style::new().bold(),
            Tone::Quiet => Style::new().dimmed(),
            Tone::Warning => AnsiColor::Yellow.on_default(),
        }
    }
}

/// A text and its tone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cell {
    pub text: String,
    pub tone: Tone,
}

impl Cell {
    /// A text that says nothing to the terminal itself: names may hold any character.
    pub fn new(text: impl Into<String>) -> Cell {
        let mut text = text.into();
        if text.contains(char::is_control) {
            text = text.replace(char::is_control, "\u{fffd}");
        }
        Cell { text, tone: Tone::Plain }
    }

    pub fn with(self, tone: Tone) -> Cell {
        Cell { tone, ..self }
    }
}

/// A column's heading.
#[derive(Debug, Clone)]
pub struct Column {
    pub title: String,
    /// Numbers stand at the right.
    pub is_number: bool,
    /// Where room is short, columns of low rank have it first, and those of rank 0 in any case.
    pub rank: u8,
    /// It is as wide as this, even if nothing in it is.
    pub width: usize,
}

impl Column {
    pub fn text(title: &str, rank: u8) -> Column {
        Column { title: title.to_owned(), is_number: false, rank, width: 0 }
    }

    pub fn number(title: &str, rank: u8) -> Column {
        Column { is_number: true, ..Column::text(title, rank) }
    }
}

/// Rows under their headings.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
    /// Blanks between two columns.
    pub gap: usize,
}

impl Table {
    /// These rows, two blanks between their columns.
    pub fn new(columns: Vec<Column>, rows: Vec<Vec<Cell>>) -> Table {
        Table { columns, rows, gap: 2 }
    }

    /// How wide each column is where there is so much room: 0 if it is left out.
    pub fn widths(&self, room: usize) -> Vec<usize> {
        let widest = |(at, column): (usize, &Column)| {
            let cells = self.rows.iter().map(|row| row[at].text.width()).max().unwrap_or_default();
            cells.max(column.title.width()).max(column.width)
        };
        let wanted: Vec<usize> = self.columns.iter().enumerate().map(widest).collect();
        let mut widths = vec![0; wanted.len()];
        let mut by_rank: Vec<usize> = (0..wanted.len()).collect();
        by_rank.sort_by_key(|&at| self.columns[at].rank);
        for at in by_rank {
            widths[at] = wanted[at];
            if self.columns[at].rank > 0 && self.whole(&widths) > room {
                widths[at] = 0;
            }
        }
        while self.whole(&widths) > room {
            let wide = (0..widths.len()).filter(|&at| widths[at] > MIN_WIDTH);
            let Some(widest) = wide.max_by_key(|&at| widths[at]) else { break };
            widths[widest] -= 1;
        }
        widths
    }

    /// How wide columns of these widths are together.
    pub fn whole(&self, widths: &[usize]) -> usize {
        let shown = widths.iter().filter(|width| **width > 0);
        shown.map(|width| width + self.gap).sum::<usize>().saturating_sub(self.gap)
    }

    /// The headings, as a row.
    pub fn headings(&self) -> Vec<Cell> {
        self.columns.iter().map(|column| Cell::new(column.title.as_str()).with(Tone::Title)).collect()
    }

    /// What of a row is shown in columns of these widths: each text with its blanks.
    pub fn laid_out<'a>(
        &'a self,
        row: &'a [Cell],
        widths: &'a [usize],
    ) -> impl Iterator<Item = (String, Tone)> {
        self.placed(row, widths)
            .map(|(before, text, after, tone)| (format!("{:before$}{text}{:after$}", "", ""), tone))
    }

    /// The same, each text with how many blanks are before and after it.
    fn placed<'a>(
        &'a self,
        row: &'a [Cell],
        widths: &'a [usize],
    ) -> impl Iterator<Item = (usize, Cow<'a, str>, usize, Tone)> {
        let shown = self.columns.iter().zip(row).zip(widths).filter(|(_, width)| **width > 0);
        shown.map(|((column, cell), &width)| {
            let text = clipped(&cell.text, width);
            let blanks = width - text.width();
            let (before, after) = if column.is_number { (blanks, 0) } else { (0, blanks) };
            (before, text, after, cell.tone)
        })
    }

    /// All of it as text, no wider than `room`.
    pub fn text(&self, room: usize) -> String {
        let widths = self.widths(room);
        let mut text = String::new();
        self.put_line(&self.headings(), &widths, &mut text);
        for row in &self.rows {
            text.push('\n');
            self.put_line(row, &widths, &mut text);
        }
        text
    }

    /// A row, without the blanks at its end.
    fn put_line(&self, row: &[Cell], widths: &[usize], line: &mut String) {
        let mut blanks = 0;
        for (before, text, after, tone) in self.placed(row, widths) {
            let shown = text.trim_end();
            if !shown.is_empty() {
                line.extend(std::iter::repeat_n(' ', blanks + before));
                put_painted(shown, tone, line);
                blanks = 0;
            } else {
                blanks += before;
            }
            blanks += text[shown.len()..].width() + after + self.gap;
        }
    }
}

/// The text in its tone; blanks around it are nobody's.
pub fn painted(text: &str, tone: Tone) -> String {
    let mut painted = String::new();
    put_painted(text, tone, &mut painted);
    painted
}

fn put_painted(text: &str, tone: Tone, into: &mut String) {
    if tone == Tone::Plain {
        return into.push_str(text);
    }
    let (style, inner) = (tone.style(), text.trim());
    let from = text.len() - text.trim_start().len();
    let (before, after) = (&text[..from], &text[from + inner.len()..]);
    let _ = write!(into, "{before}{style}{inner}{style:#}{after}");
}

/// How wide standard output is: without end where it is no terminal.
pub fn room() -> usize {
    let is_terminal = std::io::stdout().is_terminal();
    let size = is_terminal.then(terminal::size).and_then(Result::ok);
    size.map_or(usize::MAX, |(columns, _)| usize::from(columns))
}

/// As much of a text as has room; what is cut off leaves a mark.
fn clipped(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return text.into();
    }
    let mut left = width.saturating_sub(1);
    let fits = |c: &char| {
        let wide = c.width().unwrap_or_default();
        let fits = wide <= left;
        left = left.saturating_sub(wide);
        fits
    };
    text.chars().take_while(fits).chain((width > 0).then_some('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: Vec<[Cell; 3]>) -> Table {
        let columns = [Column::text("name", 0), Column::number("count", 2), Column::number("rate", 1)];
        Table::new(columns.into(), rows.into_iter().map(Vec::from).collect())
    }

    fn row(name: &str, count: &str, rate: &str) -> [Cell; 3] {
        [name, count, rate].map(Cell::new)
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_numbers_stand_at_the_right() {
        let rows = vec![row("a", "1", "12"), row("a longer name", "1000000", "3")];
        assert_eq!(
            plain(&table(rows).text(usize::MAX)),
            "name             count  rate\n\
             a                    1    12\n\
             a longer name  1000000     3"
        );
    }

    #[test]
    fn where_room_is_short_columns_have_it_by_rank_and_then_the_widest_is_cut() {
        let shown = table(vec![row("a longer name", "1000000", "3")]);
        assert_eq!(plain(&shown.text(27)), "name           rate\na longer name     3");
        assert_eq!(plain(&shown.text(18)), "name\na longer name");
        assert_eq!(plain(&shown.text(10)), "name\na longer …");
        assert_eq!(plain(&shown.text(1)), "name\na longe…", "and no further");
    }

    #[test]
    fn tones_take_no_room() {
        let rows =
            vec![[Cell::new("gone").with(Tone::Quiet), Cell::new("1").with(Tone::Warning), Cell::new("2")]];
        let text = table(rows).text(usize::MAX);
        assert!(text.contains("\x1b[2mgone\x1b[0m  "), "{text:?}");
        assert_eq!(plain(&text), "name  count  rate\ngone      1     2");
    }

    #[test]
    fn a_name_can_neither_speak_to_the_terminal_nor_break_a_line() {
        assert_eq!(Cell::new("a\x1b[2Jb\n").text, "a\u{fffd}[2Jb\u{fffd}");
    }

    #[test]
    fn wide_characters_are_counted_as_wide() {
        assert_eq!(clipped("日本語", 6), "日本語");
        assert_eq!(clipped("日本語", 5), "日本…");
        assert_eq!(clipped("日本語", 4), "日…");
        assert_eq!(clipped("abc", 0), "");
    }
}
