//! What speaks with a running director: status, reload, plan, apply, confirm, rollback, versions, config, connections,
//! drain, maintenance, undrain.

use super::connections::{self, Which};
use super::drain::{How, Whom, Work};
use super::status::Found;
use super::table::room;
use crate::config::{self, Written};
use crate::control::client::{Address, Client, ClientError, Keys, Token};
use crate::control::view::ServerKeys;
use clap::{Args, FromArgMatches, Subcommand};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The token itself, for whom a file is too much.
const TOKEN_VARIABLE: &str = "LVX_TOKEN";

/// Where the director listens.
#[derive(Debug, Args)]
pub struct Socket {
    /// The director's control socket: a path, or https://HOST:PORT where it listens over TCP
    #[arg(long, value_name = "PATH|URL", env = "LVX_SOCKET", default_value = config::SOCKET)]
    socket: Address,
    /// The file whose first line is the token that the director at a URL wants; else, LVX_TOKEN has it
    #[arg(long, value_name = "FILE", env = "LVX_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// The certificates that vouch for the director's at a URL, PEM; without, those that this machine trusts
    #[arg(long, value_name = "FILE", env = "LVX_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Socket {
    /// To the director that listens there.
    pub(super) fn client(&self) -> Client {
        let word = || std::env::var(TOKEN_VARIABLE).ok().map(Token::Word);
        let token = self.token_file.clone().map(Token::File).or_else(word);
        Client::at(self.socket.clone(), Keys { token, ca_file: self.ca_file.clone() })
    }

    /// As the environment has it.
    ///
    /// # Errors
    /// A variable is wrong.
    pub(super) fn of_environment() -> Result<Socket, clap::Error> {
        let no_words = Socket::augment_args(clap::Command::new("lvx").no_binary_name(true));
        Socket::from_arg_matches(&no_words.try_get_matches_from([""; 0])?)
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum ControlCommand {
    /// Tell how the running director is
    Status {
        #[command(flatten)]
        at: Socket,
    },
    /// Have the running director read its configuration file again; a bad one changes nothing
    Reload {
        #[command(flatten)]
        at: Socket,
    },
    /// Tell what a configuration would change, and how many live connections that touches
    Plan {
        #[command(flatten)]
        at: Socket,
        /// The configuration
        file: PathBuf,
    },
    /// Put a configuration in the place of the running one
    Apply {
        #[command(flatten)]
        at: Socket,
        /// The configuration
        file: PathBuf,
        /// Go back to the present one after so long (60s, 5m), unless `lvx confirm` says that all is well
        #[arg(long, value_name = "TIME", value_parser = time)]
        confirm: Option<Duration>,
    },
    /// Let the change stay that waits for its confirmation
    Confirm {
        #[command(flatten)]
        at: Socket,
    },
    /// Go back to a configuration that was replaced
    Rollback {
        #[command(flatten)]
        at: Socket,
        /// How many steps: 1 is the one that the present one replaced
        #[arg(default_value_t = 1, value_parser = steps)]
        steps: usize,
    },
    /// List the configurations that `lvx rollback` can go back to
    Versions {
        #[command(flatten)]
        at: Socket,
    },
    /// Print the running configuration, all edits included, as a file
    Config {
        #[command(flatten)]
        at: Socket,
    },
    /// List connections, or end them
    Connections {
        #[command(flatten)]
        at: Socket,
        #[command(flatten)]
        which: Which,
    },
    /// Give a server no new connections, and watch those it has until none is left; ctrl-C ends the watching alone
    Drain {
        #[command(flatten)]
        at: Socket,
        #[command(flatten)]
        whom: Whom,
        #[command(flatten)]
        how: How,
    },
    /// Take a server out of service while somebody works on it: no new connections, and no checks
    Maintenance {
        #[command(flatten)]
        at: Socket,
        #[command(flatten)]
        whom: Whom,
        #[command(flatten)]
        work: Work,
    },
    /// Give a server that was drained new connections again
    Undrain {
        #[command(flatten)]
        at: Socket,
        #[command(flatten)]
        whom: Whom,
    },
}

pub(super) fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => 0,
    };
    let seconds = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    let seconds = seconds.filter(|seconds| (1..=86_400).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| "allowed: such as 60s or 5m, up to 24h".to_owned())
}

fn steps(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|steps| *steps > 0).ok_or_else(|| "allowed: 1 or more".to_owned())
}

/// Why a command failed.
enum Failure {
    Client(ClientError),
    Config(config::ConfigErrors),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::Client(error)
    }
}

impl From<config::ConfigErrors> for Failure {
    fn from(errors: config::ConfigErrors) -> Failure {
        Failure::Config(errors)
    }
}

/// Runs a command; its errors go to standard error, and the exit code is 1.
pub fn run(command: ControlCommand) -> ExitCode {
    let outcome = match command {
        ControlCommand::Drain { at, whom, how } if !how.no_wait => {
            match whom.watch(&at.client(), &how, at.json) {
                Ok(code) => return code,
                Err(error) => Err(error.into()),
            }
        }
        other => answer(other),
    };
    match outcome {
        Ok(text) => {
            say!("{text}");
            ExitCode::SUCCESS
        }
        Err(Failure::Client(error)) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
        Err(Failure::Config(errors)) => {
            eprintln!("{errors}");
            ExitCode::FAILURE
        }
    }
}

fn answer(command: ControlCommand) -> Result<String, Failure> {
    Ok(match command {
        ControlCommand::Status { at } => {
            let client = at.client();
            match at.json {
                true => json(&Found::<Written>::ask(&client)?),
                false => Found::<ServerKeys>::ask(&client)?.told(room()),
            }
        }
        ControlCommand::Reload { at } => changed(&at, at.client().reload()?),
        ControlCommand::Plan { at, file } => {
            let text = config::read_text(&file)?;
            changed(&at, at.client().plan(&file.display().to_string(), text)?)
        }
        ControlCommand::Apply { at, file, confirm } => {
            let text = config::read_text(&file)?;
            let done = at.client().apply(&file.display().to_string(), text, confirm)?;
            let waits = confirm.filter(|_| !done.plan.is_empty() && !at.json);
            let words = changed(&at, done);
            match waits {
                Some(time) => format!("{words}\nundone in {} seconds without `lvx confirm`", time.as_secs()),
                None => words,
            }
        }
        ControlCommand::Confirm { at } => {
            at.client().confirm()?;
            if at.json { "{}".to_owned() } else { "the change stays".to_owned() }
        }
        ControlCommand::Rollback { at, steps } => changed(&at, at.client().roll_back(steps)?),
        ControlCommand::Versions { at } => {
            let versions = at.client().versions()?;
            if at.json {
                return Ok(json(&versions));
            }
            let line = |version: &crate::control::history::Version| {
                format!("{:>2}  replaced {}  {}", version.back, ago(version.replaced_at), version.file)
            };
            let lines: Vec<String> = versions.iter().map(line).collect();
            if lines.is_empty() { "no configuration was replaced yet".to_owned() } else { lines.join("\n") }
        }
        ControlCommand::Config { at } => {
            let text = at.client().configuration()?;
            if at.json {
                let table: toml::Table = text.parse().unwrap_or_default();
                return Ok(json(&table));
            }
            text.trim_end().to_owned()
        }
        ControlCommand::Connections { at, which } if which.kill => {
            let ended = which.end(&at.client())?;
            if at.json { json(&ended) } else { connections::told(ended) }
        }
        ControlCommand::Connections { at, which } => {
            let (rows, is_cut) = which.list(&at.client())?;
            if at.json { json(&rows) } else { connections::listed(&rows, is_cut, room()) }
        }
        ControlCommand::Drain { at, whom, how } => changed(&at, whom.drain(&at.client(), &how)?),
        ControlCommand::Maintenance { at, whom, work } => changed(&at, whom.maintain(&at.client(), &work)?),
        ControlCommand::Undrain { at, whom } => changed(&at, whom.undrain(&at.client())?),
    })
}

fn json(answer: &impl Serialize) -> String {
    serde_json::to_string_pretty(answer).unwrap_or_default()
}

fn changed(at: &Socket, changed: crate::control::api::Changed) -> String {
    if at.json { json(&changed.plan) } else { changed.words }
}

fn ago(seconds: u64) -> String {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (number, unit) = match now.saturating_sub(seconds) {
        past @ 0..120 => (past, "s"),
        past @ 120..7200 => (past / 60, "min"),
        past @ 7200..172_800 => (past / 3600, "h"),
        past => (past / 86_400, "days"),
    };
    format!("{number} {unit} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_confirm_has_a_unit_and_an_end() {
        assert_eq!(["60s", "5m", "24h", "7"].map(|text| time(text).unwrap().as_secs()), [60, 300, 86_400, 7]);
        assert!(["0", "25h", "1d", "s", "", "-1"].iter().all(|text| time(text).is_err()));
    }
}
