//! Floor 6: the commands.

/// Prints a line, in colours only where standard output shows them. That nobody reads on (`lvx lab demo | head`) is no
/// reason to stop half-way.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(anstream::stdout(), $($text)*);
    }};
}

pub mod check;
#[cfg(all(feature = "control", unix))]
mod connections;
#[cfg(all(feature = "control", unix))]
mod control;
#[cfg(target_os = "linux")]
mod demo;
#[cfg(all(feature = "control", unix))]
mod drain;
#[cfg(all(feature = "control", unix))]
pub mod ipvsadm;
#[cfg(target_os = "linux")]
pub mod lab;
#[cfg(all(feature = "xdp", target_os = "linux"))]
pub mod log;
pub mod replay;
pub mod run;
#[cfg(all(feature = "xdp", target_os = "linux"))]
mod scenario;
#[cfg(all(feature = "control", unix))]
mod status;
#[cfg(all(feature = "control", unix))]
mod table;
#[cfg(all(feature = "control", unix))]
pub mod top;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Behind the commands.
#[cfg(all(feature = "control", unix))]
const HINT: &str = "\
What speaks with a running director finds it at --socket or LVX_SOCKET: a path, or https://HOST:PORT, to which the token \
in --token-file (LVX_TOKEN_FILE, LVX_TOKEN) is shown, and whose certificate --ca-file (LVX_CA_FILE) vouches for.
How the director logs: `lvx run --help`.";
#[cfg(not(all(feature = "control", unix)))]
const HINT: &str = "";

/// A Linux Virtual Server director in userspace.
#[derive(Debug, Parser)]
#[command(version, after_help = HINT)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the director until SIGINT or SIGTERM; SIGHUP reads the configuration again
    Run(run::RunArgs),
    /// Check a configuration file and say everything that is wrong with it
    Check {
        /// The configuration file
        file: PathBuf,
    },
    #[cfg(target_os = "linux")]
    Lab(lab::LabArgs),
    Replay(replay::ReplayArgs),
    #[cfg(all(feature = "control", unix))]
    #[command(flatten)]
    Control(control::ControlCommand),
    #[cfg(all(feature = "control", unix))]
    Top(top::TopArgs),
    /// ipvsadm(8)'s command line for the running director; also where lvx is called by the name ipvsadm
    #[cfg(all(feature = "control", unix))]
    #[command(disable_help_flag = true)]
    Ipvsadm {
        /// As for ipvsadm; -h shows them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// Runs the command line.
pub fn main() -> ExitCode {
    #[cfg(all(feature = "control", unix))]
    {
        let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
        if let Some(program) = words.next().filter(|program| ipvsadm::is_called(program)) {
            return ipvsadm::run(&program, &words.collect::<Vec<_>>());
        }
    }
    match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Check { file } => check::run(&file),
        #[cfg(target_os = "linux")]
        Command::Lab(args) => lab::run(args),
        Command::Replay(args) => replay::run(&args),
        #[cfg(all(feature = "control", unix))]
        Command::Control(command) => control::run(command),
        #[cfg(all(feature = "control", unix))]
        Command::Top(args) => top::run(args),
        #[cfg(all(feature = "control", unix))]
        Command::Ipvsadm { words } => ipvsadm::run("lvx ipvsadm", &words),
    }
}
