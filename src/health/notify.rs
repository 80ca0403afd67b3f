//! Programs of the operator's that are told what has changed.
//!
//! Each is run for one change after the other, in their order, within its time. Changes wait in a line for it, so that
//! nobody else ever does; when that is full, those that come are lost, and the log says so.

use super::Driver;
use super::failure::said;
use super::script::{self, Facts};
use crate::service::check::Script;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

/// How many changes may wait for a program.
const MAX_WAITING: usize = 1024;

/// A program that is told of changes. When this is dropped, it is told of those that wait, and of no more.
#[derive(Debug)]
pub struct Notifier {
    program: String,
    line: Sender<Facts>,
}

impl Notifier {
    /// Has `script` run beside a driver's checks, for `timeout` at most each time.
    pub fn new(driver: &Driver, script: Script, timeout: Duration) -> Notifier {
        let (line, facts) = channel(MAX_WAITING);
        let program = script.command.first().cloned().unwrap_or_default();
        driver.handle().spawn(run(program.clone(), script, timeout, facts));
        Notifier { program, line }
    }

    /// Tells it these facts: in its command line in the place of `{name}`, and in its environment as `LVX_NAME`.
    pub fn tell(&self, facts: Facts) {
        if self.line.try_send(facts).is_err() {
            tracing::warn!("{} is not told of a change: {MAX_WAITING} wait already", self.program);
        }
    }
}

async fn run(program: String, script: Script, timeout: Duration, mut line: Receiver<Facts>) {
    while let Some(facts) = line.recv().await {
        let (tell, ended) = oneshot::channel();
        tokio::spawn(script::run(script.clone(), facts, None, tell));
        // When nobody waits any more, what runs is killed.
        match tokio::time::timeout(timeout, ended).await {
            Ok(Ok(Ok((status, _)))) if status.success() => {}
            Ok(Ok(Ok((status, output)))) => tracing::warn!("{program}: {status}: {}", said(&output)),
            Ok(Ok(Err(failure))) => tracing::warn!("{program}: {failure}"),
            Ok(Err(_)) => tracing::warn!("{program}: nobody has waited for it"),
            Err(_) => tracing::warn!("{program} is killed: it took more than {timeout:?}"),
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Instant;

    /// Long enough for any machine.
    const LONG: Duration = Duration::from_secs(20);

    fn shell(lines: &str) -> Script {
        Script {
            command: ["/bin/sh", "-c", lines, "{state}"].map(str::to_owned).to_vec(),
            ..Script::default()
        }
    }

    fn facts(server: &str) -> Facts {
        vec![("server", server.to_owned()), ("state", "down".to_owned())]
    }

    #[test]
    fn a_program_is_told_of_each_change_in_order_and_one_that_hangs_is_killed() {
        let driver = Driver::start(|| (), ()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("told");
        // It hangs with the first.
        let lines = format!("[ $LVX_SERVER = a ] && sleep 100; echo $LVX_SERVER $0 >> {}", file.display());
        let notifier = Notifier::new(&driver, shell(&lines), Duration::from_millis(300));
        let began = Instant::now();
        ["a", "b", "c"].map(facts).into_iter().for_each(|facts| notifier.tell(facts));
        assert!(began.elapsed() < Duration::from_millis(300), "nobody waits for it");
        drop(notifier);
        while fs::read_to_string(&file).unwrap_or_default() != "b down\nc down\n" {
            assert!(began.elapsed() < LONG, "{:?}", fs::read_to_string(&file));
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
