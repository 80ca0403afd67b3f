//! `lvx drain` and `lvx undrain`: a server gets nothing new, and the connections that it has are watched until they are
//! gone. `lvx maintenance`: it is not checked, either.

mod progress;

use super::control::time;
use crate::control::api::{Changed, Transaction};
use crate::control::client::{Client, ClientError};
use crate::control::desired::{Edit, Rest, ServiceRef};
use crate::control::drains::DrainRow;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use progress::{End, Progress};
use signal_hook::consts::SIGINT;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How often one looks.
const EVERY: Duration = Duration::from_secs(1);

/// How often that is told where nobody watches a terminal.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// Looks in vain, one after the other, that are put up with.
const IN_VAIN: u32 = 5;

/// The exit code of who ends the watching (128 + SIGINT).
const INTERRUPTED: u8 = 130;

/// Which server.
#[derive(Debug, Args)]
pub struct Whom {
    /// The real server: RIP:rport, or RIP alone for all of its ports
    server: String,
    /// In this service alone, by its key (tcp 192.0.2.1:80) or name; without, wherever it is
    #[arg(long)]
    service: Option<String>,
}

/// What becomes of its connections.
#[derive(Debug, Args)]
struct Leave {
    /// End the connections that are left after so long (90s, 10m, 2h)
    #[arg(long, value_name = "TIME", value_parser = time)]
    deadline: Option<Duration>,
    /// What becomes of them then: both ends are reset (in NAT; otherwise they are dropped), they are dropped, or kept
    #[arg(long, value_name = "WHAT", default_value = "reset", value_parser = rest())]
    at_deadline: Rest,
}

impl Leave {
    fn deadline_seconds(&self) -> Option<u64> {
        self.deadline.map(|deadline| deadline.as_secs())
    }
}

/// How it is drained.
#[derive(Debug, Args)]
pub struct How {
    #[command(flatten)]
    leave: Leave,
    /// Do not wait until none is left
    #[arg(long)]
    pub(super) no_wait: bool,
}

/// What is done to it.
#[derive(Debug, Args)]
pub struct Work {
    #[command(flatten)]
    leave: Leave,
    /// What for, as `lvx status`, the log and the report then say
    #[arg(long, value_name = "WORDS")]
    reason: Option<String>,
    /// It is over: check the server again, and give it new connections once it is well
    #[arg(long, conflicts_with_all = ["deadline", "at_deadline", "reason"])]
    end: bool,
}

fn rest() -> impl TypedValueParser<Value = Rest> {
    PossibleValuesParser::new(["reset", "drop", "keep"]).map(|word| match &word[..] {
        "drop" => Rest::Drop,
        "keep" => Rest::Keep,
        _ => Rest::Reset,
    })
}

fn make(client: &Client, edit: Edit) -> Result<Changed, ClientError> {
    client.edit(&Transaction { edits: vec![edit], ..Transaction::default() })
}

impl Whom {
    /// Begins a drain.
    pub(super) fn drain(&self, client: &Client, how: &How) -> Result<Changed, ClientError> {
        let drain = Edit::Drain {
            service: self.service.clone().map(ServiceRef),
            server: self.server.clone(),
            deadline_seconds: how.leave.deadline_seconds(),
            at_deadline: how.leave.at_deadline,
        };
        make(client, drain)
    }

    /// Ends it.
    pub(super) fn undrain(&self, client: &Client) -> Result<Changed, ClientError> {
        let service = self.service.clone().map(ServiceRef);
        let undrain = Edit::Undrain { service, server: self.server.clone() };
        make(client, undrain)
    }

    /// Begins its maintenance, or ends it.
    pub(super) fn maintain(&self, client: &Client, work: &Work) -> Result<Changed, ClientError> {
        let (service, server) = (self.service.clone().map(ServiceRef), self.server.clone());
        let edit = match work.end {
            true => Edit::EndMaintenance { service, server },
            false => Edit::Maintain {
                service,
                server,
                reason: work.reason.clone().unwrap_or_default(),
                deadline_seconds: work.leave.deadline_seconds(),
                at_deadline: work.leave.at_deadline,
            },
        };
        make(client, edit)
    }

    /// Begins a drain, and watches it until it ends: with exit code 0 if no connection is left.
    pub(super) fn watch(&self, client: &Client, how: &How, json: bool) -> Result<ExitCode, ClientError> {
        let begun = self.drain(client, how)?;
        if !json {
            say!("{}", begun.words);
        }
        let mut teller = Teller::new(json);
        let stop: Arc<AtomicBool> = Arc::default();
        // Without the flag, ctrl-C ends the watching just as well.
        let _ = signal_hook::flag::register(SIGINT, stop.clone());
        let (start, mut progress, mut in_vain) = (Instant::now(), Progress::default(), 0);
        // Workers have heard of it by then.
        let mut next = Duration::from_millis(200);
        loop {
            while start.elapsed() < next {
                if stop.load(Relaxed) {
                    teller.end(&format!("the drain goes on; `lvx undrain {}` ends it", self.server));
                    return Ok(ExitCode::from(INTERRUPTED));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            next += EVERY;
            match self.look(client) {
                Ok(rows) => progress.see(rows, start.elapsed()),
                Err(_) if in_vain < IN_VAIN => {
                    in_vain += 1;
                    continue;
                }
                Err(error) => return Err(error),
            }
            in_vain = 0;
            teller.tell(&progress, start.elapsed());
            if let Some(end) = progress.end() {
                teller.end(&end.to_string());
                return Ok(if let End::Empty { .. } = end { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
        }
    }

    fn look(&self, client: &Client) -> Result<Vec<DrainRow>, ClientError> {
        let service = self.service.as_deref().map(|service| ("service", service));
        let words: Vec<_> = [("server", &self.server[..])].into_iter().chain(service).collect();
        client.drains(&words)
    }
}

/// Tells how far it is: a line of JSON each time, a bar on a terminal, or now and then a line.
enum Teller {
    Json,
    Bar(ProgressBar),
    Lines { next: Duration },
}

impl Teller {
    fn new(json: bool) -> Teller {
        if json {
            return Teller::Json;
        }
        if !std::io::stdout().is_terminal() {
            return Teller::Lines { next: Duration::ZERO };
        }
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stdout());
        let style = ProgressStyle::with_template("{wide_bar} {msg}").map(|style| style.progress_chars("=> "));
        Teller::Bar(match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }

    /// The bar is full when none is left.
    fn tell(&mut self, progress: &Progress, now: Duration) {
        match self {
            Teller::Json => say!("{}", serde_json::to_string(&progress.told()).unwrap_or_default()),
            Teller::Bar(bar) => {
                bar.set_length(progress.most());
                bar.set_position(progress.most() - progress.left());
                bar.set_message(progress.words());
            }
            Teller::Lines { next } if *next <= now => {
                *next = now + TOLD_EVERY;
                say!("{}", progress.words());
            }
            Teller::Lines { .. } => {}
        }
    }

    fn end(&self, words: &str) {
        match self {
            Teller::Json => return,
            Teller::Bar(bar) => bar.finish_and_clear(),
            Teller::Lines { .. } => {}
        }
        say!("{words}");
    }
}
