//! Programs of the operator's, and places in the web, that are told what has changed.
//!
//! Each is told one change after the other, in their order, within its time. Changes wait in a line for it, so that
//! nobody else ever does; when that is full, those that come are lost, and the log says so.

use super::failure::said;
use super::hook::Poster;
use super::script::{self, Facts};
use super::{Driver, Failure};
use crate::service::check::{Hook, Script};
use serde_json::{Map, Value};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

/// How many changes may wait for a program or a place.
const MAX_WAITING: usize = 1024;

/// Who is told of changes. When this is dropped, it is told of those that wait, and of no more.
#[derive(Debug)]
pub struct Notifier {
    name: String,
    line: Sender<(u64, Facts)>,
}

impl Notifier {
    /// Has `script` run beside a driver's checks, for `timeout` at most each time.
    pub fn program(driver: &Driver, script: Script, timeout: Duration) -> Notifier {
        let name = script.command.first().cloned().unwrap_or_default();
        let (notifier, line) = Notifier::of(name.clone());
        driver.handle().spawn(run(name, script, timeout, line));
        notifier
    }

    /// Has it posted to `hook` beside a driver's checks, as an object in JSON, for `timeout` at most each time.
    pub fn hook(driver: &Driver, hook: Hook, timeout: Duration) -> Notifier {
        let name = hook.place();
        let (notifier, line) = Notifier::of(name.clone());
        driver.handle().spawn(post(name, hook, timeout, line));
        notifier
    }

    fn of(name: String) -> (Notifier, Receiver<(u64, Facts)>) {
        let (line, waiting) = channel(MAX_WAITING);
        (Notifier { name, line }, waiting)
    }

    /// Tells it these facts, and `time`, in seconds since 1970: a program in its command line in the place of `{name}`, and
    /// in its environment as `LVX_NAME`; a place under their names.
    pub fn tell(&self, facts: Facts) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.line.try_send((time, facts)).is_err() {
            tracing::warn!("{} is not told of a change: {MAX_WAITING} wait already", self.name);
        }
    }
}

async fn run(program: String, script: Script, timeout: Duration, mut line: Receiver<(u64, Facts)>) {
    while let Some((time, mut facts)) = line.recv().await {
        facts.insert(0, ("time", time.to_string()));
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

async fn post(place: String, hook: Hook, timeout: Duration, mut line: Receiver<(u64, Facts)>) {
    let mut poster = Poster::of(&hook);
    while let Some((time, facts)) = line.recv().await {
        // The certificates to trust may be there by now.
        if poster.is_err() {
            poster = Poster::of(&hook);
        }
        let told = match &poster {
            Ok(poster) => poster.tell(body(time, facts).into(), timeout).await,
            Err(failure) => Err(Failure::clone(failure)),
        };
        if let Err(failure) = told {
            tracing::warn!("{place} is not told of a change: {failure}");
        }
    }
}

fn body(time: u64, facts: Facts) -> String {
    let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value)));
    let all: Map<String, Value> = [("time".to_owned(), time.into())].into_iter().chain(facts).collect();
    Value::Object(all).to_string()
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
        let notifier = Notifier::program(&driver, shell(&lines), Duration::from_millis(300));
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
