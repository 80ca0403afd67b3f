//! The director's log, on standard error: for people on a terminal or in a file, as JSON lines for machines, and as
//! journald takes it where that reads. The same event over and over is held back ([`limit`]).

mod journal;
mod limit;

use clap::{Args, ValueEnum};
use journal::Prioritised;
use limit::{Limit, Limited};
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::fmt::format::{self, JsonFields};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt};

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines for people
    Text,
    /// A JSON object for each line
    Json,
}

/// What the log is to be like.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// How the log is written
    #[arg(long, value_name = "FORMAT", env = "LVX_LOG_FORMAT", value_enum, default_value_t = Format::Text)]
    log_format: Format,
    /// What is logged: error, warn, info, debug or trace; or more exactly, such as info,lvx::control=debug
    #[arg(long, value_name = "LEVEL", env = "LVX_LOG", default_value = "info", value_parser = level)]
    log_level: String,
}

fn level(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| {
        format!("{error} (allowed: error, warn, info, debug, trace; or such as info,lvx::control=debug)")
    })
}

/// The log; dropped, it says what it has held back.
#[derive(Debug)]
pub struct Log {
    /// Whether what reads it understands nothing but lines of the log.
    is_for_machines: bool,
    _limited: Limited,
}

impl LogArgs {
    /// Begins to log. Nothing must have been logged before.
    pub fn begin(&self) -> Log {
        let to_journal = journal::is_standard_error();
        let limit = Limit::default();
        let filter = EnvFilter::new(&self.log_level).and(limit.clone());
        let layer = layer(self.log_format, to_journal, io::stderr().is_terminal(), io::stderr);
        Registry::default().with(layer.with_filter(filter)).init();
        let is_for_machines = to_journal || self.log_format == Format::Json;
        if is_for_machines {
            std::panic::set_hook(Box::new(log_panic));
        }
        Log { is_for_machines, _limited: limit.report() }
    }
}

impl Log {
    /// The last word of a director that cannot go on.
    pub fn fail(&self, error: &impl std::fmt::Display) {
        if self.is_for_machines {
            tracing::error!("{error}");
        } else {
            eprintln!("lvx: {error}");
        }
    }
}

/// Writes events in this format.
fn layer<W, M>(
    format: Format,
    to_journal: bool,
    is_terminal: bool,
    to: M,
) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: Write + 'static,
    M: Fn() -> W + Send + Sync + 'static,
{
    let plain = || format::format().with_target(false);
    let json = || format::format().json().flatten_event(true).with_current_span(false).with_span_list(false);
    let layer = fmt::layer().with_ansi(is_terminal && !to_journal).with_writer(to);
    match (format, to_journal) {
        (Format::Text, false) => Box::new(layer.event_format(plain())),
        // The journal notes time and level itself.
        (Format::Text, true) => {
            Box::new(layer.event_format(Prioritised(plain().without_time().with_level(false))))
        }
        (Format::Json, false) => Box::new(layer.fmt_fields(JsonFields::new()).event_format(json())),
        (Format::Json, true) => {
            Box::new(layer.fmt_fields(JsonFields::new()).event_format(Prioritised(json())))
        }
    }
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let thread = std::thread::current().name().map(ToOwned::to_owned);
    let payload = panic.payload();
    let said = payload.downcast_ref::<&str>().copied().or_else(|| Some(payload.downcast_ref::<String>()?));
    let said = said.unwrap_or_default();
    tracing::error!(place, thread, "panicked: {said}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `log` writes.
    fn written(format: Format, to_journal: bool, is_terminal: bool, log: impl FnOnce()) -> String {
        let paper = Paper::default();
        let page = paper.clone();
        let layer = layer(format, to_journal, is_terminal, move || page.clone());
        tracing::subscriber::with_default(Registry::default().with(layer), log);
        let bytes = paper.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn events() {
        tracing::info!(server = %"10.0.0.1:80", "server added");
        tracing::warn!("two\nlines");
        tracing::error!("broken");
        tracing::debug!("detail");
    }

    #[test]
    fn people_get_time_level_message_and_colours_on_a_terminal_alone() {
        let text = written(Format::Text, false, false, events);
        let first = text.lines().next().unwrap();
        assert!(
            first.contains("Z  INFO server added server=10.0.0.1:80") && first.starts_with("20"),
            "{text}"
        );
        assert!(!text.contains('\x1b'), "{text}");
        assert!(written(Format::Text, false, true, events).contains("\x1b["));
    }

    #[test]
    fn the_journal_gets_a_priority_before_each_line_and_neither_time_nor_colour() {
        assert_eq!(
            written(Format::Text, true, true, events),
            "<6>server added server=10.0.0.1:80\n<4>two\n<4>lines\n<3>broken\n<7>detail\n"
        );
        let json = written(Format::Json, true, false, events);
        assert!(json.lines().all(|line| line.starts_with('<') && line.ends_with('}')), "{json}");
    }

    #[test]
    fn machines_get_an_object_a_line_whatever_is_in_the_message() {
        let text = written(Format::Json, false, true, events);
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!((&lines[0]["level"], &lines[0]["message"]), (&"INFO".into(), &"server added".into()));
        assert_eq!(lines[0]["server"], "10.0.0.1:80");
        assert_eq!(lines[1]["message"], "two\nlines");
        assert!(lines.iter().all(|line| line["timestamp"].is_string()));
    }

    #[test]
    fn a_level_that_is_none_is_refused_with_what_is_allowed() {
        assert!(["info", "debug", "off", "info,lvx::control=debug"].iter().all(|text| level(text).is_ok()));
        assert!(level("info,lvx=loud").unwrap_err().contains("allowed: error, warn, info"));
    }
}
