//! Processes of a lab: known by pid *and* start time, so that no foreign process that got an old pid is ever
//! signalled; killed and reaped when dropped.

use super::Error;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// A process, distinguishable from a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The kernel's number for it.
    pub pid: i32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub started: u64,
}

impl ProcessId {
    /// The process that has this pid now, if it has not ended.
    pub fn of(pid: i32) -> Option<ProcessId> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command name, in parentheses, may itself hold blanks and parentheses: count from its end.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        let is_zombie = matches!(fields.next()?, "Z" | "X");
        let started = fields.nth(18)?.parse().ok()?;
        (!is_zombie).then_some(ProcessId { pid, started })
    }

    /// The calling process.
    pub fn own() -> Option<ProcessId> {
        ProcessId::of(std::process::id() as i32)
    }

    /// Whether it has not ended.
    pub fn is_alive(self) -> bool {
        ProcessId::of(self.pid) == Some(self)
    }

    /// Sends `signal`; `false` if the process has ended.
    pub fn signal(self, signal: Signal) -> bool {
        let Some(pid) = Pid::from_raw(self.pid) else { return false };
        // The descriptor holds the process that the pid means now; only then is it compared with ours, so that
        // the pid cannot change hands between the question and the signal.
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
        self.is_alive() && pidfd_send_signal(handle, signal).is_ok()
    }

    /// Kills it and waits until it is gone.
    pub fn kill(self) {
        let deadline = Instant::now() + Duration::from_secs(2);
        while self.signal(Signal::KILL) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A child of this process, killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    id: Option<ProcessId>,
    command: String,
    log: PathBuf,
    is_left_running: bool,
}

impl Process {
    /// Takes care of `child`, which runs `command` and writes to `log`.
    pub(super) fn new(child: Child, command: String, log: &Path) -> Process {
        let id = ProcessId::of(child.id() as i32);
        Process { child, id, command, log: log.to_owned(), is_left_running: false }
    }

    /// Its pid and start time; `None` if it ended before it could be asked.
    pub fn id(&self) -> Option<ProcessId> {
        self.id
    }

    /// How it ended, if it did.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends `signal`; `false` if it has ended.
    pub fn signal(&self, signal: Signal) -> bool {
        self.id.is_some_and(|id| id.signal(signal))
    }

    /// SIGTERM, and SIGKILL for one that does not end within `patience`. How it ended.
    ///
    /// # Errors
    /// If it had to be killed.
    pub fn terminate(&mut self, patience: Duration) -> Result<ExitStatus, Error> {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.exit_status() {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill();
        Err(Error::NotReady {
            what: format!("{} did not end after SIGTERM and was killed", self.command),
            log: self.log_tail(),
        })
    }

    /// SIGKILL, and reaps it.
    pub fn kill(&mut self) {
        // Both fail only for a child that has ended and been reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The last lines of what it wrote to its log.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    /// Where its standard output and standard error go.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The command line.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// Lets it run on after this value and this process are gone.
    pub fn leave_running(&mut self) {
        self.is_left_running = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_left_running {
            self.kill();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn sleeper() -> Process {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        Process::new(child, "sleep 60".into(), Path::new("/dev/null"))
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let process = sleeper();
        let id = process.id().unwrap();
        assert!(id.is_alive());
        drop(process);
        assert!(!id.is_alive());
    }

    #[test]
    fn a_later_process_with_the_same_pid_is_not_signalled() {
        let mut process = sleeper();
        let id = process.id().unwrap();
        let earlier = ProcessId { started: id.started - 1, ..id };
        assert!(!earlier.is_alive() && !earlier.signal(Signal::KILL));
        assert!(process.exit_status().is_none());
    }

    #[test]
    fn a_process_that_obeys_sigterm_is_not_killed() {
        use std::os::unix::process::ExitStatusExt;
        let status = sleeper().terminate(Duration::from_secs(5)).unwrap();
        assert_eq!(status.signal(), Some(15));
    }

    #[test]
    fn an_ended_child_that_nobody_has_reaped_is_not_alive() {
        let mut process = sleeper();
        let id = process.id().unwrap();
        id.kill();
        assert!(!id.is_alive());
        assert!(process.exit_status().is_some());
    }
}
