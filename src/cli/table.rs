//! Tables for people: as many columns as there is room for, and coloured, which `say!` undoes where nobody sees it.

use clap::builder::styling::{AnsiColor, Style};
use ratatui::crossterm::terminal;
use std::io::IsTerminal;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Blanks between two columns.
pub(super) const GAP: usize = 2;

/// A column is not made narrower than this.
const MIN_WIDTH: usize = 8;

/// What a cell is to look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tone {
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
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tone: Tone,
}

impl Cell {
    /// A text that says nothing to the terminal itself: names may hold any character.
    pub(super) fn new(text: impl Into<String>) -> Cell {
        let mut text = text.into();
        if text.contains(char::is_control) {
            text = text.replace(char::is_control, "\u{fffd}");
        }
        Cell { text, tone: Tone::Plain }
    }

    pub(super) fn with(self, tone: Tone) -> Cell {
        Cell { tone, ..self }
    }
}

/// A column's heading.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Numbers stand at the right.
    pub(super) is_number: bool,
    /// Where there is no room, columns of the highest rank go first, and those of rank 0 never.
    pub(super) rank: u8,
}

impl Column {
    pub(super) const fn text(title: &'static str, rank: u8) -> Column {
        Column { title, is_number: false, rank }
    }

    pub(super) const fn number(title: &'static str, rank: u8) -> Column {
        Column { title, is_number: true, rank }
    }
}

/// How wide standard output is: without end where it is no terminal.
pub(super) fn room() -> usize {
    let is_terminal = std::io::stdout().is_terminal();
    let size = is_terminal.then(terminal::size).and_then(Result::ok);
    size.map_or(usize::MAX, |(columns, _)| usize::from(columns))
}

/// These rows under their headings, no wider than `room`.
pub(super) fn table<const N: usize>(columns: [Column; N], rows: Vec<[Cell; N]>, room: usize) -> String {
    let headings = columns.map(|column| Cell::new(column.title).with(Tone::Title));
    let rows: Vec<[Cell; N]> = std::iter::once(headings).chain(rows).collect();
    let widest = |at: usize| rows.iter().map(|row| row[at].text.width()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(widest);
    let widths = fit(widths, columns.map(|column| column.rank), room);
    let line = |row: &[Cell; N]| {
        let shown = columns.iter().zip(row).zip(widths).filter(|(_, width)| *width > 0);
        let cells: Vec<String> = shown.map(|((column, cell), width)| laid_out(cell, column, width)).collect();
        cells.join(&" ".repeat(GAP)).trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// How wide the columns may be that want so much: 0 for those that are left out.
pub(super) fn fit<const N: usize>(mut widths: [usize; N], ranks: [u8; N], room: usize) -> [usize; N] {
    let whole = |widths: &[usize; N]| {
        let shown = widths.iter().filter(|width| **width > 0);
        shown.map(|width| width + GAP).sum::<usize>().saturating_sub(GAP)
    };
    while whole(&widths) > room {
        let shown = (0..N).filter(|&at| widths[at] > 0);
        if let Some(last) = shown.clone().filter(|&at| ranks[at] > 0).max_by_key(|&at| ranks[at]) {
            widths[last] = 0;
        } else if let Some(widest) = shown.filter(|&at| widths[at] > MIN_WIDTH).max_by_key(|&at| widths[at]) {
            widths[widest] -= 1;
        } else {
            break;
        }
    }
    widths
}

fn laid_out(cell: &Cell, column: &Column, width: usize) -> String {
    let text = clipped(&cell.text, width);
    let blanks = " ".repeat(width - text.width());
    let style = cell.tone.style();
    let text = if cell.tone == Tone::Plain { text } else { format!("{style}{text}{style:#}") };
    if column.is_number { blanks + &text } else { text + &blanks }
}

/// As much of a text as has room; what is cut off leaves a mark.
pub(super) fn clipped(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
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

    const COLUMNS: [Column; 3] =
        [Column::text("name", 0), Column::number("count", 2), Column::number("rate", 1)];

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
            plain(&table(COLUMNS, rows, usize::MAX)),
            "name             count  rate\n\
             a                    1    12\n\
             a longer name  1000000     3"
        );
    }

    #[test]
    fn where_room_is_short_columns_go_by_rank_and_then_the_widest_is_cut() {
        let rows = || vec![row("a longer name", "1000000", "3")];
        assert_eq!(plain(&table(COLUMNS, rows(), 27)), "name           rate\na longer name     3");
        assert_eq!(plain(&table(COLUMNS, rows(), 18)), "name\na longer name");
        assert_eq!(plain(&table(COLUMNS, rows(), 10)), "name\na longer …");
        assert_eq!(plain(&table(COLUMNS, rows(), 1)), "name\na longe…", "and no further");
    }

    #[test]
    fn tones_take_no_room() {
        let rows =
            vec![[Cell::new("gone").with(Tone::Quiet), Cell::new("1").with(Tone::Warning), Cell::new("2")]];
        let text = table(COLUMNS, rows, usize::MAX);
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
