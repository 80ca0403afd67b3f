//! What is known of a moment, as lines and tables: on the screen, and where there is none.

use super::columns::{Column, Sort};
use super::figures::{bar, count, percent, short};
use super::list::Line;
use super::moment::{Fate, Moment, Reason, Work};
use crate::cli::status::uptime;
use crate::cli::table::{self, Cell, Table, Tone};

/// Characters of a bar.
const BAR: usize = 20;

/// A line of texts in their tones.
pub type Told = Vec<Cell>;

/// The director as a whole: who it is, packets, the connection table, workers.
pub fn head(moment: &Moment) -> [Told; 4] {
    [director(moment), packets(moment), connections(moment), loads(moment)]
}

fn director(Moment { director, .. }: &Moment) -> Told {
    let mut told = vec![
        Cell::new(format!("lvx {}", director.version)).with(Tone::Title),
        Cell::new(format!(
            ", process {}, up {}, {}",
            director.pid,
            uptime(director.uptime_seconds),
            director.file
        )),
    ];
    if let Some(left) = director.confirm_within_seconds {
        let waits = format!("; the last change is undone in {left} s without `lvx confirm`");
        told.push(Cell::new(waits).with(Tone::Warning));
    }
    told
}

fn packets(Moment { packets, director, .. }: &Moment) -> Told {
    let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), short);
    let is_dropping = packets.dropped.is_some_and(|dropped| dropped > 0.0);
    let tone = if is_dropping { Tone::Warning } else { Tone::Plain };
    let others = format!("{} forwarded, {} to the host, ", rate(packets.forwarded), rate(packets.to_host));
    vec![
        Cell::new("packets/s  ").with(Tone::Quiet),
        Cell::new(others),
        Cell::new(format!("{} dropped", rate(packets.dropped))).with(tone),
        Cell::new(format!("; {} dropped in all", count(director.dropped))),
    ]
}

fn connections(Moment { table, .. }: &Moment) -> Told {
    let used = table.current + table.templates;
    let share = if table.limit > 0 { used as f64 / table.limit as f64 } else { 0.0 };
    let mut text =
        format!("{} {} of {} connections", bar(share, BAR), count(table.current), count(table.limit));
    if table.templates > 0 {
        text += &format!(", {} templates", count(table.templates));
    }
    let tone = if share >= 0.9 { Tone::Warning } else { Tone::Plain };
    vec![Cell::new("table      ").with(Tone::Quiet), Cell::new(text).with(tone)]
}

/// Each worker's load; of many, what they have in common.
fn loads(Moment { workers, .. }: &Moment) -> Told {
    const FEW: usize = 4;
    let tone = |load: f64| if load >= 0.9 { Tone::Warning } else { Tone::Plain };
    let mut told = vec![Cell::new("workers    ").with(Tone::Quiet)];
    if workers.len() <= FEW {
        // Together they are about as wide as the bar above.
        let width = (BAR / workers.len().max(1)).max(8);
        let load =
            |load: f64| Cell::new(format!("{} {:<6}", bar(load, width), percent(load))).with(tone(load));
        told.extend(workers.iter().map(|work| load(work.load)));
    } else {
        let mean = workers.iter().map(|work| work.load).sum::<f64>() / workers.len() as f64;
        let most = workers.iter().map(|work| work.load).fold(0.0, f64::max);
        let of = format!("{} {} on average of {}, ", bar(mean, BAR), percent(mean), workers.len());
        told.push(Cell::new(of));
        told.push(Cell::new(format!("{} the most", percent(most))).with(tone(most)));
    }
    told
}

/// Services and servers.
pub fn services<'a>(lines: impl Iterator<Item = Line<'a>>, sort: Sort) -> Table {
    let columns = Column::ALL.iter().map(|column| column.titled(sort)).collect();
    let row = |line: Line<'_>| Column::ALL.iter().map(|column| column.cell(&line)).collect();
    Table { gap: 1, ..Table::new(columns, lines.map(row).collect()) }
}

/// What was not forwarded, and why.
pub fn reasons(reasons: &[Reason]) -> Table {
    let columns = vec![
        table::Column::text("packets", 0),
        table::Column::text("for the reason", 0),
        table::Column::number("by the second", 0),
        table::Column::number("in all", 0),
    ];
    let row = |reason: &Reason| {
        let fate = match reason.fate {
            Fate::Dropped => "dropped",
            Fate::Missed => "missed by a port",
            Fate::ToHost => "to the host",
        };
        let is_now = reason.per_second.is_some_and(|rate| rate > 0.0);
        let tone = match (is_now, reason.fate) {
            (false, _) => Tone::Quiet,
            (true, Fate::ToHost) => Tone::Plain,
            (true, _) => Tone::Warning,
        };
        let rate = reason.per_second.map(short).unwrap_or_default();
        let cells = [fate.to_owned(), reason.reason.clone(), rate, reason.packets.to_string()];
        cells.map(|text| Cell::new(text).with(tone)).into()
    };
    Table::new(columns, reasons.iter().map(row).collect())
}

/// Workers.
pub fn workers(workers: &[Work]) -> Table {
    let columns = vec![
        table::Column::number("worker", 0),
        table::Column::text("", 3),
        table::Column::number("load", 0),
        table::Column::number("polling", 2),
        table::Column::number("sleeping", 2),
        table::Column::number("packets/s", 1),
        table::Column::number("a batch", 1),
    ];
    let row = |(number, work): (usize, &Work)| {
        let cells = [
            number.to_string(),
            bar(work.load, BAR),
            percent(work.load),
            percent(work.polling),
            percent(work.sleeping),
            work.packets_per_second.map(short).unwrap_or_default(),
            work.packets_per_batch.map(|packets| format!("{packets:.1}")).unwrap_or_default(),
        ];
        cells.map(Cell::new).into()
    };
    Table::new(columns, workers.iter().enumerate().map(row).collect())
}
