//! `lvx top`: what a running director does, as it does it.
//!
//! The model ([`model`]) is pure: answers and keys in, what is shown out. A thread asks the director ([`ask`]), others
//! hear keys and signals; the loop here brings them together.

mod ask;
mod batch;
mod columns;
mod figures;
mod keys;
mod list;
mod model;
mod moment;
mod screen;
mod tables;
#[cfg(test)]
mod tests;
mod view;

pub use screen::Screen;

use super::control::Socket;
use ask::{Ask, Told};
use batch::Batch;
use clap::Args;
use columns::{Column, Sort};
use model::{Model, Order};
use ratatui::crossterm::event::{self, KeyEvent, KeyEventKind};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A director that has not answered for so long is said to be silent.
const SILENCE: Duration = Duration::from_secs(2);

/// From one look to the next at least, whatever has come into sight meanwhile.
const REST: Duration = Duration::from_millis(50);

/// Watch what the running director does; ? shows the keys
#[derive(Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    at: Socket,
    /// Seconds from one look to the next, from 0.1 to 3600
    #[arg(long, short = 'd', value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,
    /// What services and servers are sorted by, the largest first
    #[arg(long, value_name = "COLUMN", default_value = "connections")]
    sort: Column,
    /// The smallest first
    #[arg(long)]
    reverse: bool,
    /// Only what has this in its name or address
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// So many moments, printed one after the other
    #[arg(long, short = 'n', value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// One moment, printed; as where standard output is no terminal
    #[arg(long, conflicts_with = "count")]
    once: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "allowed: 0.1 to 3600".to_owned())
}

/// Runs it.
pub fn run(args: TopArgs) -> ExitCode {
    let TopArgs { at, interval, sort, reverse, filter, count, once } = args;
    let sort = Sort { by: sort, is_reversed: reverse };
    let is_screen = io::stdout().is_terminal() && !at.json && !once && count.is_none();
    if !is_screen {
        let count = count.or((once || !at.json).then_some(1));
        return batch::run(&at.client(), &Batch { filter, sort, interval, count, json: at.json });
    }
    match watch(&at, Model::new(interval, sort, filter)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cannot use this terminal: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What happens.
enum Event {
    Key(KeyEvent),
    Resized,
    Signal(i32),
    Told(Told),
    /// No more keys can come.
    Lost,
}

/// Shows what happens until somebody quits.
fn watch(at: &Socket, model: Model) -> io::Result<ExitCode> {
    let signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGCONT])?;
    let (happens, events) = channel();
    let (asks, asked) = channel();
    let (client, begun, told) = (at.client(), Instant::now(), happens.clone());
    thread::spawn(move || {
        ask::serve(&client, begun, &asked, |answer| told.send(Event::Told(answer)).is_ok());
    });
    let (keys, signalled) = (happens.clone(), happens);
    let screen = Screen::open()?;
    thread::spawn(move || hear_keys(&keys));
    thread::spawn(move || hear_signals(signals, &signalled));
    Watch { screen, model, asks, due: begun, asked: begun, is_waiting: false }.until_end(&events)
}

fn hear_keys(tell: &Sender<Event>) {
    loop {
        let event = match event::read() {
            Ok(event::Event::Key(key)) if key.kind != KeyEventKind::Release => Event::Key(key),
            Ok(event::Event::Resize(..)) => Event::Resized,
            Ok(_) => continue,
            Err(_) => Event::Lost,
        };
        let is_last = matches!(event, Event::Lost);
        if tell.send(event).is_err() || is_last {
            return;
        }
    }
}

fn hear_signals(mut signals: Signals, tell: &Sender<Event>) {
    for signal in signals.forever() {
        if tell.send(Event::Signal(signal)).is_err() {
            return;
        }
    }
}

/// The loop and what it works with.
struct Watch {
    screen: Screen,
    model: Model,
    asks: Sender<Ask>,
    /// When the next look is due.
    due: Instant,
    /// When the last look was asked for, and whether it is not answered yet.
    asked: Instant,
    is_waiting: bool,
}

/// What ends it.
enum End {
    Quit,
    Signal(i32),
}

impl Watch {
    fn until_end(mut self, events: &Receiver<Event>) -> io::Result<ExitCode> {
        loop {
            self.ask();
            self.screen.draw(&mut self.model)?;
            let mut event = match events.recv_timeout(self.patience()) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Event::Lost),
            };
            // All that has happened, before it is drawn.
            while let Some(happened) = event {
                match self.take(happened)? {
                    None => {}
                    Some(End::Quit) => return Ok(ExitCode::SUCCESS),
                    Some(End::Signal(signal)) => {
                        drop(self);
                        emulate_default_handler(signal)?;
                        return Ok(ExitCode::FAILURE);
                    }
                }
                event = events.try_recv().ok();
            }
        }
    }

    /// Asks for a look that is due, or wanted in between.
    fn ask(&mut self) {
        let now = Instant::now();
        if self.is_waiting {
            let silence = now.duration_since(self.asked);
            if silence >= SILENCE {
                self.model.fail(format!("the director has not answered for {} s", silence.as_secs()));
            }
            return;
        }
        let is_in_its_time = self.is_in_time() && now >= self.due;
        let is_wanted = self.is_wanted() && now >= self.asked + REST;
        if is_in_its_time || is_wanted {
            // A thread that is gone has ended all of this.
            let _ = self.asks.send(Ask::Look(self.model.wanted(), is_in_its_time));
            self.is_waiting = true;
            self.asked = now;
            self.due = now + self.model.interval;
        }
    }

    /// Whether looks are taken in their time.
    fn is_in_time(&self) -> bool {
        !self.model.is_paused || self.model.moment.is_none()
    }

    /// Whether one is wanted before.
    fn is_wanted(&self) -> bool {
        self.model.lacks_some() && self.model.trouble.is_none()
    }

    /// How long to wait for something to happen.
    fn patience(&self) -> Duration {
        const LONG: Duration = Duration::from_secs(3600);
        let until = |then: Instant| then.saturating_duration_since(Instant::now());
        if self.is_waiting {
            // The time that it has been silent is told.
            return Duration::from_secs(1);
        }
        let due = if self.is_in_time() { until(self.due) } else { LONG };
        if self.is_wanted() { due.min(until(self.asked + REST)) } else { due }
    }

    fn take(&mut self, event: Event) -> io::Result<Option<End>> {
        match event {
            Event::Key(key) => match self.model.press(key) {
                None => {}
                Some(Order::Quit) => return Ok(Some(End::Quit)),
                Some(Order::Suspend) => self.screen.suspend()?,
                Some(Order::Edit(edit)) => {
                    // It is told when it is done; a thread that is gone has said why.
                    let _ = self.asks.send(Ask::Edit(edit));
                }
            },
            Event::Resized => {}
            Event::Signal(SIGTSTP) => self.screen.suspend()?,
            Event::Signal(SIGCONT) => self.screen.again()?,
            Event::Signal(signal) => return Ok(Some(End::Signal(signal))),
            Event::Lost => return Ok(Some(End::Signal(SIGHUP))),
            Event::Told(Told::Answer(answer, wanted, is_in_its_time)) => {
                self.is_waiting = false;
                self.model.take(*answer, wanted, is_in_its_time);
            }
            Event::Told(Told::Trouble(why)) => {
                self.is_waiting = false;
                self.model.fail(why);
            }
            Event::Told(Told::Done(words)) => {
                self.model.notice = words.lines().next().map(str::to_owned);
                self.due = Instant::now();
            }
        }
        Ok(None)
    }
}
