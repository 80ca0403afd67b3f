//! Real traffic from the client: curl, many requests at a time, and one long download.

use super::plan::Node;
use super::topology::need;
use super::{Error, Interrupt, Topology};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Connections that are open at once.
const PARALLEL: u32 = 32;
/// How many of curl's complaints are kept.
const COMPLAINTS: usize = 5;
/// What curl writes after each transfer; no server's answer starts so.
const END_OF_TRANSFER: &str = "=> ";

/// How requests went, so far or in the end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// Requests that were asked for.
    pub wanted: u32,
    /// Requests that have ended, well or badly.
    pub done: u32,
    /// Those without an answer of status 200.
    pub failed: u32,
    /// Answers by their text, which is the server's name.
    pub answers: BTreeMap<String, u32>,
    /// Since the first request was sent.
    pub elapsed: Duration,
    /// What curl said about the failures: the first few.
    pub complaints: Vec<String>,
}

impl Tally {
    /// Requests that ended well, per second.
    pub fn per_second(&self) -> f64 {
        f64::from(self.done - self.failed) / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// The part of all answers that came from `server`, 0 to 1.
    pub fn share(&self, server: &str) -> f64 {
        let all: u32 = self.answers.values().sum();
        f64::from(self.answers.get(server).copied().unwrap_or(0)) / f64::from(all.max(1))
    }

    /// Takes a line of curl's output.
    fn read(&mut self, line: &str) {
        match line.strip_prefix(END_OF_TRANSFER) {
            Some(status) => {
                self.done += 1;
                self.failed += u32::from(status != "200");
            }
            None => *self.answers.entry(line.to_owned()).or_default() += 1,
        }
    }
}

/// How a download went.
#[derive(Debug, Clone, PartialEq)]
pub struct Download {
    /// Bytes that came.
    pub bytes: u64,
    /// How long it took, by curl's clock.
    pub seconds: f64,
    /// SHA-256 of what came, in hexadecimal, from sha256sum.
    pub sha256: String,
}

impl Topology {
    /// Asks for `/` at the VIP `requests` times, each on a connection of its own, and tells `progress` how it
    /// goes, several times a second. Failed requests are no error here, they are counted.
    ///
    /// # Errors
    /// If curl cannot be run, or on an interrupt.
    pub fn load_http(&self, requests: u32, progress: impl FnMut(&Tally)) -> Result<Tally, Error> {
        need("curl", "curl")?;
        let interrupt = &self.options().interrupt;
        let url = format!("http://{}/?request=[1-{requests}]", self.plan.http());
        let parallel = PARALLEL.to_string();
        let format = format!("{END_OF_TRANSFER}%{{http_code}}\n");
        #[rustfmt::skip]
        let argv = ["curl", "--silent", "--show-error", "--no-buffer",
            "--parallel", "--parallel-immediate", "--parallel-max", &parallel,
            "--connect-timeout", "5", "--max-time", "10",
            "--header", "Connection: close", "--write-out", &format, &url];
        let mut command = self.node(Node::Client)?.command(&argv);
        let tried = || Error::io("curl in the client's namespace");
        let mut curl =
            Reaped(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(tried())?);
        let mut tally = Tally { wanted: requests, ..Tally::default() };
        // Somebody has to read all that curl says, or it waits for that.
        let complaints = curl.0.stderr.take().map(|stderr| {
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
                let first = lines.by_ref().take(COMPLAINTS).collect();
                lines.for_each(drop);
                first
            })
        });
        if let Some(stdout) = curl.0.stdout.take() {
            follow(stdout, &mut tally, interrupt, progress)?;
        }
        curl.0.wait().map_err(tried())?;
        tally.complaints = complaints.and_then(|said| said.join().ok()).unwrap_or_default();
        // Requests that curl has not even reported have failed too.
        tally.failed += requests.saturating_sub(tally.done);
        tally.done = tally.done.max(requests);
        Ok(tally)
    }

    /// Fetches `/large` from the VIP.
    ///
    /// # Errors
    /// If curl fails, or takes longer than a minute.
    pub fn download(&self) -> Result<Download, Error> {
        need("curl", "curl")?;
        let url = format!("http://{}/large", self.plan.http());
        #[rustfmt::skip]
        let argv = ["curl", "--silent", "--show-error", "--fail", "--connect-timeout", "5", "--max-time", "60",
            "--write-out", "%{stderr}%{size_download} %{time_total}", &url];
        let tried = || Error::io("curl in the client's namespace");
        let mut command = self.node(Node::Client)?.command(&argv);
        let mut curl =
            Reaped(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(tried())?);
        let Some(body) = curl.0.stdout.take() else {
            return Err(tried()(std::io::ErrorKind::BrokenPipe.into()));
        };
        // The bytes go from curl to sha256sum without passing through here.
        let mut sha256sum = Command::new("sha256sum");
        sha256sum.stdin(body).stdout(Stdio::piped());
        let mut sha256sum = Reaped(sha256sum.spawn().map_err(Error::io("sha256sum"))?);
        while curl.0.try_wait().map_err(tried())?.is_none() {
            self.options().interrupt.check()?;
            std::thread::sleep(Duration::from_millis(10));
        }
        let status = curl.0.wait().map_err(tried())?;
        let (mut said, mut hash) = (String::new(), String::new());
        if let (Some(mut stderr), Some(mut stdout)) = (curl.0.stderr.take(), sha256sum.0.stdout.take()) {
            stderr.read_to_string(&mut said).map_err(tried())?;
            stdout.read_to_string(&mut hash).map_err(tried())?;
        }
        if !status.success() {
            return Err(Error::Command { command: argv.join(" "), said });
        }
        let (bytes, seconds) = said.trim().split_once(' ').unwrap_or_default();
        Ok(Download {
            bytes: bytes.parse().unwrap_or(0),
            seconds: seconds.parse().unwrap_or(f64::NAN),
            sha256: hash.chars().take(64).collect(),
        })
    }
}

/// Reads curl's output to its end. Lines come from a thread, so that an interrupt and the progress do not wait for
/// the next one.
fn follow(
    stdout: ChildStdout,
    tally: &mut Tally,
    interrupt: &Interrupt,
    mut progress: impl FnMut(&Tally),
) -> Result<(), Error> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    let started = Instant::now();
    let mut shown = started;
    loop {
        match lines.recv_timeout(Duration::from_millis(100)) {
            Ok(line) => {
                tally.read(&line);
                tally.elapsed = started.elapsed();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if shown.elapsed() >= Duration::from_millis(100) {
            interrupt.check()?;
            progress(tally);
            shown = Instant::now();
        }
    }
    progress(tally);
    Ok(())
}

/// A child that does not outlive its use, however that ends.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // Both fail only for a child that has ended and been reaped already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_counts_answers_by_server_and_everything_but_200_as_failed() {
        let mut tally = Tally { wanted: 4, elapsed: Duration::from_secs(1), ..Tally::default() };
        for line in ["server 1", "=> 200", "=> 000", "server 2", "=> 200", "=> 503"] {
            tally.read(line);
        }
        assert_eq!((tally.done, tally.failed), (4, 2));
        assert_eq!((tally.share("server 1"), tally.share("server 3")), (0.5, 0.0));
        assert!((tally.per_second() - 2.0).abs() < 1e-9);
    }
}
