//! journald(8) at the other end of standard error.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Whether standard error leads to the journal: systemd says which device and inode that would be (systemd.exec(5)).
pub(super) fn is_standard_error() -> bool {
    let Ok(said) = std::env::var("JOURNAL_STREAM") else { return false };
    let ours = io::stderr().as_fd().try_clone_to_owned().map(File::from).and_then(|stderr| stderr.metadata());
    ours.is_ok_and(|ours| said == format!("{}:{}", ours.dev(), ours.ino()))
}

/// An event's lines with their priority before each, which the journal takes off (sd-daemon(3)).
pub(super) struct Prioritised<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for Prioritised<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        text.lines().try_for_each(|line| writeln!(to, "<{priority}>{line}"))
    }
}
