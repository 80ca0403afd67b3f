//! `lvx ipvsadm`: ipvsadm(8) as operators and their scripts know it, spoken to this director. Grammar, messages, exit
//! codes and listings are those of ipvsadm 1.31, against which they are tested.

mod director;
mod grammar;
mod listing;
mod names;
mod numbers;
mod options;
mod request;
mod restore;
mod table;
#[cfg(test)]
mod tests;
mod words;

use crate::cli::control::Socket;
use crate::config::SOCKET;
use crate::control::view::Columns;
use director::{Complaint, Director};
use listing::Page;
use names::System;
use request::{Format, List, Request};
use std::fmt;
use std::io::{self, BufWriter, Read, StdoutLock, Write};
use std::path::Path;
use std::process::ExitCode;

/// What ipvsadm exits with when the kernel refuses.
const REFUSED: u8 = 255;

const HELP: &str = "\
lvx ipvsadm: the command line of ipvsadm(8) for a running lvx

  -A|-E SERVICE [-s SCHEDULER] [-p [SECONDS]] [-M MASK] [-b FLAGS] [-o]     add, edit a service
  -D SERVICE                                                               delete it
  -a|-e SERVICE -r SERVER [-g|-i|-m] [-w WEIGHT] [-x UPPER] [-y LOWER]      add, edit a server
  -d SERVICE -r SERVER                                                     delete it
  -L|-l [SERVICE] [-n] [--stats|--rate|--thresholds|--persistent-conn|--tun-info] [--exact] [--nosort]
  -L -c [-n]        connections          -L --timeout      -L --daemon
  -S [-n]           print the services as rules            -R   read rules from standard input
  -C                delete all services                    -Z [SERVICE]   count from 0 again
  --set TCP TCPFIN UDP    timeouts in seconds, 0 leaves one as it is

SERVICE is -t, -u or --sctp-service with VIP:PORT, or -f MARK [-6].";

/// Whether the program was called by ipvsadm's name, such as through a link.
pub fn is_called(program: &str) -> bool {
    Path::new(program).file_name().is_some_and(|name| name == "ipvsadm")
}

/// Does what the words behind the program's name say, which is called so in messages.
pub fn run(program: &str, words: &[String]) -> ExitCode {
    let at = match Socket::of_environment() {
        Ok(at) => at,
        Err(error) => {
            eprintln!("{}", error.to_string().trim_end());
            return ExitCode::from(REFUSED);
        }
    };
    let (names, director) = (System::new(), Director::new(at.client()));
    let request = match words {
        [] => Request::List(List::All, Format::default()),
        words => match grammar::parse(words, &names) {
            Ok(request) => request,
            Err(refusal) => {
                eprintln!("{}", refusal.message(program));
                return ExitCode::from(refusal.exit_code());
            }
        },
    };
    let done = match request {
        Request::Help => {
            say!(
                "{HELP}\nThe director is the one that listens at {SOCKET}, or where LVX_SOCKET says: a path, or \
                 https://HOST:PORT,\nto which the token in LVX_TOKEN_FILE or LVX_TOKEN is shown."
            );
            Ok(())
        }
        Request::Version => {
            say!("lvx {} (command line of ipvsadm 1.31)", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Request::List(list, format) => show(&director, list, format, &names),
        Request::Save(format) => director
            .table(None, Columns::default())
            .map(|table| Page::new(&mut Output::new(), format, &names).rules(&table)),
        Request::Restore => return restore(program, &director, &names),
        change => director.change(&change),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Complaint(text)) => {
            eprintln!("{text}");
            ExitCode::from(REFUSED)
        }
    }
}

fn show(director: &Director, list: List, format: Format, names: &System) -> Result<(), Complaint> {
    let columns = Columns { traffic: format.stats, rate: format.rate, latency: false };
    let mut output = Output::new();
    let page = Page::new(&mut output, format, names);
    match list {
        List::All => page.all(&director.table(None, columns)?),
        List::Service(key) => match &director.table(Some(key), columns)?.services[..] {
            [service, ..] => page.one(service),
            [] => return Err(Complaint("No such service".to_owned())),
        },
        List::Connections => {
            let mut connections = Vec::new();
            director.connections(|connection| connections.push(connection))?;
            page.connections(connections);
        }
        List::Timeouts => {
            let [tcp, tcp_fin, udp] = director.timeouts()?;
            output.put(&listing::timeouts(tcp, tcp_fin, udp));
        }
        // There is none yet.
        List::Daemons => output.put(&listing::daemons(&Vec::new())),
    }
    Ok(())
}

/// Standard output, for many lines.
struct Output(BufWriter<StdoutLock<'static>>);

impl Output {
    fn new() -> Output {
        Output(BufWriter::with_capacity(64 << 10, io::stdout().lock()))
    }

    fn put(&mut self, text: &str) {
        // That nobody reads on is no reason to complain.
        let _ = self.0.write_all(text.as_bytes());
    }
}

impl fmt::Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text);
        Ok(())
    }
}

fn restore(program: &str, director: &Director, names: &System) -> ExitCode {
    let mut text = String::new();
    if let Err(error) = std::io::stdin().read_to_string(&mut text) {
        eprintln!("standard input: {error}");
        return ExitCode::from(REFUSED);
    }
    let rules = restore::read(&text, names);
    let complaints = director.change_all(&rules.requests);
    for Complaint(text) in &complaints {
        eprintln!("{text}");
    }
    for (line, refusal) in &rules.refusals {
        eprintln!("{}", refusal.message(program));
        eprintln!("{program}: that was line {line} of the rules");
    }
    match rules.refusals.last() {
        Some((_, refusal)) if !rules.ended_well => ExitCode::from(refusal.exit_code()),
        _ if complaints.is_empty() => ExitCode::SUCCESS,
        _ => ExitCode::from(REFUSED),
    }
}
