//! The director under trial: `lvx run` as a child in the director's namespace.

use super::plan::Node;
use super::{Error, Process, ProcessId, Signal, Topology};
use crate::control::report::Report;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// The report's name in the lab's directory.
pub(super) const REPORT_FILE: &str = "report.json";

/// A running director. Dropping it kills it.
#[derive(Debug)]
pub struct Director {
    process: Process,
    config: PathBuf,
    report: PathBuf,
}

impl Topology {
    /// Starts `lvx run` with this configuration and waits until its workers run, which is when it first writes
    /// its report.
    ///
    /// # Errors
    /// If it ends or is not ready in time; the error holds the end of its log.
    pub fn start_director(&self, config: &str) -> Result<Director, Error> {
        let dir = self.dir();
        let (file, report) = (dir.join("director.toml"), dir.join(REPORT_FILE));
        write(&file, config)?;
        // That of an earlier director would pass for this one's.
        let _ = fs::remove_file(&report);
        let argv = [self.options().lvx.as_path(), "run".as_ref(), "--config".as_ref(), &file]
            .into_iter()
            .chain(["--report".as_ref(), report.as_path()]);
        let argv: Vec<&Path> = argv.collect();
        let mut process = self.node(Node::Director)?.spawn(&argv, &dir.join("director.log"))?;
        self.record(Node::Director, &process)?;
        self.options().interrupt.wait_until("report of the director", &mut process, || report.exists())?;
        Ok(Director { process, config: file, report })
    }
}

impl Director {
    /// What it reported last, at most a second ago.
    ///
    /// # Errors
    /// If the report cannot be read.
    pub fn report(&self) -> Result<Report, Error> {
        read_report(&self.report)
    }

    /// Gives it a new configuration, by SIGHUP; it is in force when the log says so, within moments.
    ///
    /// # Errors
    /// If the file cannot be written, or the director has ended.
    pub fn reload(&self, config: &str) -> Result<(), Error> {
        write(&self.config, config)?;
        if self.process.signal(Signal::HUP) { Ok(()) } else { Err(self.ended()) }
    }

    /// Ends it by SIGTERM, and gives its last report, which has everything.
    ///
    /// # Errors
    /// If it had ended already, ends in failure, or has to be killed.
    pub fn stop(mut self) -> Result<Report, Error> {
        if !self.is_running() {
            return Err(self.ended());
        }
        let status = self.process.terminate(Duration::from_secs(5))?;
        if status.success() { self.report() } else { Err(self.ended()) }
    }

    /// Ends it by SIGKILL.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Sends it a signal; `false` if it has ended.
    pub fn signal(&self, signal: Signal) -> bool {
        self.process.signal(signal)
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.process.exit_status().is_none()
    }

    /// How it ended, if it did.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.process.exit_status()
    }

    /// Its pid and start time.
    pub fn id(&self) -> Option<ProcessId> {
        self.process.id()
    }

    /// The end of what it logged.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// Lets it run on when this process ends.
    pub fn leave_running(mut self) {
        self.process.leave_running();
    }

    fn ended(&self) -> Error {
        Error::NotReady { what: "the director has ended, or ended in failure".into(), log: self.log_tail() }
    }
}

/// Reads a report, which is always whole: the director puts a new one in the place of the old.
pub(super) fn read_report(path: &Path) -> Result<Report, Error> {
    let tried = || Error::io(format!("read {}", path.display()));
    let text = fs::read_to_string(path).map_err(tried())?;
    serde_json::from_str(&text).map_err(|error| tried()(error.into()))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::io(format!("write {}", path.display())))
}
