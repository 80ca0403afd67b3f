//! Draws the model.

use super::keys::KEYS;
use super::model::{Mode, Model, Page};
use super::tables;
use crate::cli::table::{Cell, Table, Tone};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph, Wrap};
use std::time::Duration;

/// What is worth saying all the time.
const HINTS: &str = "? help  / filter  < > sort  → servers  d drain  Tab pages  q quit";

/// Draws it; the list gets to know how much of it is in sight.
pub fn draw(model: &mut Model, frame: &mut Frame<'_>) {
    // The list is what it is about: a low screen has less around it.
    let height = frame.area().height;
    let [head, tabs, body, foot] = Layout::vertical([
        Constraint::Length(height.saturating_sub(6).min(4)),
        Constraint::Length(u16::from(height >= 5)),
        Constraint::Min(1),
        Constraint::Length(u16::from(height >= 3)),
    ])
    .areas(frame.area());
    draw_head(model, frame, head);
    draw_tabs(model, frame, tabs);
    match (&model.mode, &model.moment) {
        (Mode::Help, _) => draw_help(frame, body),
        (_, None) => draw_waiting(model, frame, body),
        _ => draw_page(model, frame, body),
    }
    draw_foot(model, frame, foot);
}

fn style(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Title => Style::new().add_modifier(Modifier::BOLD),
        Tone::Quiet => Style::new().add_modifier(Modifier::DIM),
        Tone::Warning => Style::new().fg(Color::Yellow),
    }
}

fn spans(cells: Vec<Cell>) -> Line<'static> {
    cells.into_iter().map(|cell| Span::styled(cell.text, style(cell.tone))).collect()
}

fn draw_head(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let Some(moment) = &model.moment else { return };
    let lines: Vec<Line<'_>> = tables::head(moment).into_iter().map(spans).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_tabs(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let tab = |(number, (page, name)): (usize, &(Page, &str))| {
        let is_shown = *page == model.page;
        let style = if is_shown { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        Span::styled(format!(" {} {name} ", number + 1), style)
    };
    let mut tabs: Vec<Span<'_>> = Page::ALL.iter().enumerate().map(tab).collect();
    if !model.filter.is_empty() {
        tabs.push(Span::styled(
            format!("  /{}", Cell::new(model.filter.as_str()).text),
            style(Tone::Warning),
        ));
    }
    frame.render_widget(Line::from(tabs), area);

    let pace = match (model.is_paused, model.interval) {
        (true, _) => "paused".to_owned(),
        (false, interval) if interval < Duration::from_secs(1) => {
            format!("every {} ms", interval.as_millis())
        }
        (false, interval) => format!("every {} s", interval.as_secs_f64()),
    };
    let sight = model.list.in_sight();
    let place = match model.page {
        Page::Services if sight.len() < model.list.len() => {
            format!("{}-{} of {}, ", sight.start + 1, sight.end, model.list.len())
        }
        _ => String::new(),
    };
    let right = Line::from(format!("{place}{pace}")).alignment(Alignment::Right);
    let width = u16::try_from(right.width()).unwrap_or(u16::MAX).min(area.width);
    let at = Rect { x: area.right() - width, width, ..area };
    frame.render_widget(Clear, at);
    frame.render_widget(right, at);
}

fn draw_page(model: &mut Model, frame: &mut Frame<'_>, area: Rect) {
    let rows = usize::from(area.height.saturating_sub(1));
    let Some(moment) = &model.moment else { return };
    let (table, first) = match model.page {
        Page::Services => {
            model.list.show(rows);
            let lines = model.list.lines();
            let chosen = lines.iter().position(|(_, is_chosen)| *is_chosen);
            let table = tables::services(lines.into_iter().map(|(line, _)| line), model.list.sort());
            if table.rows.is_empty() {
                let none = if model.filter.is_empty() {
                    "no virtual services"
                } else {
                    "nothing has this in its name"
                };
                return frame.render_widget(none, area);
            }
            return draw_table(&table, 0, chosen, model.trouble.is_some(), frame, area);
        }
        Page::Drops => (tables::reasons(&moment.reasons), &mut model.scrolled),
        Page::Workers => (tables::workers(&moment.workers), &mut model.scrolled),
    };
    *first = (*first).min(table.rows.len().saturating_sub(rows));
    draw_table(&table, *first, None, model.trouble.is_some(), frame, area);
}

/// Draws a table's rows from the first on; what is old is drawn so.
fn draw_table(
    table: &Table,
    first: usize,
    chosen: Option<usize>,
    is_old: bool,
    frame: &mut Frame<'_>,
    area: Rect,
) {
    let room = usize::from(area.width);
    let mut widths = table.widths(room);
    let used = table.whole(&widths);
    // Numbers stand at the right edge, so that they do not move with the names.
    if let Some(names) = widths.first_mut() {
        *names += room.saturating_sub(used);
    }
    let headings = table.headings();
    let line = |row: &[Cell]| {
        let mut spans = Vec::new();
        for (text, tone) in table.laid_out(row, &widths) {
            if !spans.is_empty() {
                spans.push(Span::raw(" ".repeat(table.gap)));
            }
            spans.push(Span::styled(text, style(if is_old { Tone::Quiet } else { tone })));
        }
        Line::from(spans)
    };
    let rows = table.rows.iter().enumerate().skip(first).map(|(at, row)| match chosen == Some(at) {
        true => line(row).style(Modifier::REVERSED),
        false => line(row),
    });
    let lines: Vec<Line<'_>> = std::iter::once(line(&headings)).chain(rows).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_waiting(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let text = match &model.trouble {
        Some(trouble) => format!("{trouble}\n\nlvx top asks again."),
        None => "waiting for the director".to_owned(),
    };
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let line = |keys: &super::keys::Keys| {
        Line::from(vec![
            Span::styled(format!("{:<14}", keys.named), style(Tone::Title)),
            Span::raw(keys.help),
        ])
    };
    frame.render_widget(Paragraph::new(KEYS.iter().map(line).collect::<Vec<_>>()), area);
}

fn draw_foot(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let warning = style(Tone::Warning);
    let (text, style) = match (&model.mode, &model.trouble, &model.notice) {
        (Mode::Asked(_, question), ..) => (question.clone(), warning.add_modifier(Modifier::BOLD)),
        (Mode::Filter, ..) => (format!("/{}_", Cell::new(model.filter.as_str()).text), Style::new()),
        (Mode::Help, ..) => ("any key goes back".to_owned(), style(Tone::Quiet)),
        (_, _, Some(notice)) => (notice.clone(), Style::new()),
        (_, Some(trouble), _) if model.moment.is_some() => (trouble.clone(), warning),
        _ => (HINTS.to_owned(), style(Tone::Quiet)),
    };
    frame.render_widget(Line::styled(text, style), area);
}
