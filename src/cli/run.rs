//! `lvx run`.

use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `lvx run` takes.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The configuration file
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,

    /// Write a report of everything counted, as JSON, to this file each second and at the end
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Runs the director; the exit code says whether it ended as it was told to.
#[cfg(all(feature = "xdp", target_os = "linux"))]
pub fn run(args: RunArgs) -> ExitCode {
    use crate::control::daemon::{self, Options};

    let filter = tracing_subscriber::EnvFilter::try_from_env("LVX_LOG").unwrap_or_else(|_| "info".into());
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_ansi(colours);
    log.with_writer(std::io::stderr).init();
    match daemon::run(&Options { config: args.config, report: args.report }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lvx: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Says what this build lacks.
#[cfg(not(all(feature = "xdp", target_os = "linux")))]
pub fn run(args: RunArgs) -> ExitCode {
    let RunArgs { config, report: _ } = args;
    eprintln!("lvx: cannot run {}: this build has no AF_XDP (feature `xdp`, Linux only)", config.display());
    ExitCode::FAILURE
}
