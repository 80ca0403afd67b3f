//! `lvx top` where nobody looks at a screen: moments in JSON, an object a line, or in plain text.

use super::ask::look;
use super::columns::Sort;
use super::list::List;
use super::model::Wanted;
use super::moment::Moment;
use super::tables;
use crate::cli::table::{Table, painted, room};
use crate::control::client::Client;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How it is told.
#[derive(Debug, Clone)]
pub struct Batch {
    pub filter: String,
    pub sort: Sort,
    pub interval: Duration,
    /// How many moments; without end otherwise.
    pub count: Option<u64>,
    pub json: bool,
}

/// Tells one moment after the other. Where their number is given, each of them must be had; otherwise a director that is
/// not heard is asked again.
pub fn run(client: &Client, batch: &Batch) -> ExitCode {
    let begun = Instant::now();
    let wanted = Wanted { filter: batch.filter.clone(), open: vec!["all".to_owned()] };
    let mut before = None;
    let mut told = 0;
    loop {
        match look(client, begun, &wanted) {
            Ok(now) => {
                if before.is_some() {
                    let moment = Moment::between(before.as_ref(), &now);
                    let text = if batch.json { json(moment, batch) } else { plain(moment, batch) };
                    if tell(&text).is_err() {
                        // Nobody reads on.
                        return ExitCode::SUCCESS;
                    }
                    told += 1;
                }
                before = Some(now);
            }
            Err(error) => {
                eprintln!("{error}");
                if batch.count.is_some() {
                    return ExitCode::FAILURE;
                }
                before = None;
            }
        }
        if batch.count == Some(told) {
            return ExitCode::SUCCESS;
        }
        sleep(batch.interval);
    }
}

fn tell(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout();
    writeln!(out, "{text}")?;
    out.flush()
}

fn sorted(moment: &mut Moment, batch: &Batch) -> List {
    let mut list = List::new(batch.sort);
    list.turn_all();
    list.take(std::mem::take(&mut moment.services), &batch.filter);
    list.show(usize::MAX);
    list
}

fn json(mut moment: Moment, batch: &Batch) -> String {
    moment.services = sorted(&mut moment, batch).into_services();
    serde_json::to_string(&moment).unwrap_or_default()
}

fn plain(mut moment: Moment, batch: &Batch) -> String {
    let list = sorted(&mut moment, batch);
    let room = room();
    let head = tables::head(&moment).map(|cells| {
        let texts: Vec<String> = cells.iter().map(|cell| painted(&cell.text, cell.tone)).collect();
        texts.concat().trim_end().to_owned()
    });
    let lines = list.lines().into_iter().map(|(line, _)| line);
    let services = tables::services(lines, batch.sort);
    let pages: [Table; 3] = [services, tables::reasons(&moment.reasons), tables::workers(&moment.workers)];
    let pages = pages.iter().filter(|table| !table.rows.is_empty()).map(|table| table.text(room));
    std::iter::once(head.join("\n")).chain(pages).collect::<Vec<_>>().join("\n\n") + "\n"
}
