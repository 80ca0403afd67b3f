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
    let right = Line::from(format!(" {place}{pace}")).alignment(Alignment::Right);
    let width = u16::try_from(right.width()).unwrap_or(u16::MAX).min(area.width);
    let at = Rect { x: area.right() - width, width, ..area };
    frame.render_widget(Clear, at);
    frame.render_widget(right, at);
}

fn draw_page(model: &mut Model, frame: &mut Frame<'_>, area: Rect) {
    let rows = usize::from(area.height.saturating_sub(1));
    let Some(moment) = &model.moment else { return };
    let is_old = model.trouble.is_some();
    let table = match model.page {
        Page::Services => {
            model.list.show(rows);
            return draw_list(model, is_old, frame, area);
        }
        Page::Drops => tables::reasons(&moment.reasons),
        Page::Workers => tables::workers(&moment.workers),
    };
    model.scrolled = model.scrolled.min(table.rows.len().saturating_sub(rows));
    let widths = table.widths(area.width.into());
    let lines = table.rows.iter().skip(model.scrolled).map(|row| laid_out(&table, row, &widths, is_old));
    draw_under(laid_out(&table, &table.headings(), &widths, is_old), lines.collect(), frame, area);
}

fn draw_list(model: &Model, is_old: bool, frame: &mut Frame<'_>, area: Rect) {
    let (lines, is_chosen): (Vec<_>, Vec<bool>) = model.list.lines().into_iter().unzip();
    let table = tables::services(lines.into_iter(), model.list.sort());
    if table.rows.is_empty() && area.height > 1 {
        let none =
            if model.filter.is_empty() { "no virtual services" } else { "nothing has this in its name" };
        return frame.render_widget(none, area);
    }
    let room = usize::from(area.width);
    let mut widths = table.widths(room);
    let used = table.whole(&widths);
    // Numbers stand at the right edge, so that they do not move with the names.
    if let Some(names) = widths.first_mut() {
        *names += room.saturating_sub(used);
    }
    let lines = table.rows.iter().zip(is_chosen).map(|(row, is_chosen)| {
        let line = laid_out(&table, row, &widths, is_old);
        if is_chosen { line.style(Modifier::REVERSED) } else { line }
    });
    draw_under(laid_out(&table, &table.headings(), &widths, is_old), lines.collect(), frame, area);
}

/// A row in columns of these widths; what is old is drawn so.
fn laid_out<'a>(table: &Table, row: &[Cell], widths: &[usize], is_old: bool) -> Line<'a> {
    let mut spans = Vec::new();
    for (text, tone) in table.laid_out(row, widths) {
        if !spans.is_empty() {
            spans.push(Span::raw(" ".repeat(table.gap)));
        }
        spans.push(Span::styled(text, style(if is_old { Tone::Quiet } else { tone })));
    }
    Line::from(spans)
}

fn draw_under(heading: Line<'_>, lines: Vec<Line<'_>>, frame: &mut Frame<'_>, area: Rect) {
    let lines: Vec<Line<'_>> = std::iter::once(heading).chain(lines).collect();
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
