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

    #[cfg(all(feature = "xdp", target_os = "linux"))]
    #[command(flatten)]
    log: super::log::LogArgs,
}

/// Runs the director; the exit code says whether it ended as it was told to.
#[cfg(all(feature = "xdp", target_os = "linux"))]
pub fn run(args: RunArgs) -> ExitCode {
    use crate::control::daemon::{self, Options};

    let log = args.log.begin();
    match daemon::run(&Options { config: args.config, report: args.report }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.fail(&error);
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
