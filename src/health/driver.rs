//! The one thread that asks. Each target has a task that sleeps, asks, and says what changed.

use super::probe::{Prober, Shared};
use super::{Change, Failure, Health, Healthy, Network, RiseFall, Target, Verdict, lock};
use crate::net::InterfaceId;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use std::{fmt, io};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How many events may wait to be heard. Who has one more waits with it, and asks no more until then.
const MAX_EVENTS: usize = 1 << 16;

/// How many threads at most wait for file systems, where scripts and files are.
const MAX_BLOCKING: usize = 16;

/// How often a target tries to get rid of an event that nobody makes room for.
const PATIENCE: Duration = Duration::from_millis(20);

/// Asks every target that is wanted at its pace, until it is dropped.
pub struct Driver {
    runtime: Handle,
    /// Times of the machines count from here.
    origin: Instant,
    shared: Arc<Shared>,
    network: Arc<dyn Network>,
    watches: Mutex<HashMap<Arc<Target>, Watch>>,
    tell: Sender<Event>,
    events: Receiver<Event>,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

/// A target whose task is running.
#[derive(Debug)]
struct Watch {
    status: Arc<Mutex<Status>>,
    suspicions: mpsc::Sender<String>,
    task: AbortHandle,
}

/// Something has changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Whose it is. A target that is no longer wanted may be heard of once more.
    pub target: Arc<Target>,
    /// When.
    pub at: SystemTime,
    /// What.
    pub what: What,
}

/// What may change.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// What is believed of the server; with the failure that was the last straw, if it was one.
    Health(Change, Option<Failure>),
    /// The weight that the server asks for; `None` if it asks for none any more.
    Weight(Option<u16>),
    /// Why the director cannot ask, so that what is believed stays; `None` if it can again.
    Unasked(Option<Failure>),
}

/// What is known of a target.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// What is believed.
    pub health: Health,
    /// Since when.
    pub since: SystemTime,
    /// How many verdicts in a row have contradicted that.
    pub contrary: u16,
    /// Whether the last probe could be made.
    pub can_ask: bool,
    /// The last failure, and when it was.
    pub failure: Option<(Failure, SystemTime)>,
    /// What the last probe that went well has found out.
    pub found: Healthy,
    /// How long the last probe took.
    pub took: Duration,
    /// How many probes have ended.
    pub probes: u64,
    /// How many of them failed.
    pub failures: u64,
}

impl Driver {
    /// Starts the thread, which runs `prepare` first. It asks nobody yet. A failure that `network` can
    /// explain is no verdict.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(
        prepare: impl FnOnce() + Send + 'static,
        network: impl Network + 'static,
    ) -> io::Result<Driver> {
        let runtime =
            Builder::new_current_thread().enable_all().max_blocking_threads(MAX_BLOCKING).build()?;
        let handle = runtime.handle().clone();
        let stop: Arc<Notify> = Arc::default();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("lvx-health".to_owned()).spawn(move || {
            prepare();
            runtime.block_on(stopped.notified());
        })?;
        let (tell, events) = bounded(MAX_EVENTS);
        Ok(Driver {
            runtime: handle,
            origin: Instant::now(),
            shared: Arc::default(),
            network: Arc::new(network),
            watches: Mutex::default(),
            tell,
            events,
            stop,
            thread: Some(thread),
        })
    }

    /// Makes these the targets that are asked, each once. Those that were so before keep their history and their rhythm.
    pub fn set(&self, wanted: impl IntoIterator<Item = Target>) {
        let wanted: HashSet<Target> = wanted.into_iter().collect();
        let mut watches = self.watches();
        watches.retain(|target, watch| {
            let stays = wanted.contains(&**target);
            if !stays {
                watch.task.abort();
            }
            stays
        });
        for target in wanted {
            if !watches.contains_key(&target) {
                let target = Arc::new(target);
                watches.insert(target.clone(), self.watch(target));
            }
        }
    }

    /// What has changed, in order for each target.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// Makes `target` suspect for this `cause` if it is up, and asks it at once, and again without delay until it is decided.
    /// Nothing happens if it is not wanted.
    pub fn suspect(&self, target: &Target, cause: String) {
        if let Some(watch) = self.watches().get(target) {
            // One that waits to be heard is as good.
            let _ = watch.suspicions.try_send(cause);
        }
    }

    /// What is known of `target`; `None` if it is not wanted.
    pub fn status(&self, target: &Target) -> Option<Status> {
        self.watches().get(target).map(|watch| lock(&watch.status).clone())
    }

    /// Where what stands beside checks may run, too.
    pub(super) fn handle(&self) -> &Handle {
        &self.runtime
    }

    fn watches(&self) -> MutexGuard<'_, HashMap<Arc<Target>, Watch>> {
        lock(&self.watches)
    }

    fn watch(&self, target: Arc<Target>) -> Watch {
        let status = Arc::new(Mutex::new(Status::new()));
        let (suspicions, raised) = mpsc::channel(1);
        let watcher = Watcher {
            target,
            origin: self.origin,
            shared: self.shared.clone(),
            network: self.network.clone(),
            way: None,
            status: status.clone(),
            tell: self.tell.clone(),
        };
        let task = self.runtime.spawn(watcher.run(raised)).abort_handle();
        Watch { status, suspicions, task }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("watches", &self.watches).finish_non_exhaustive()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

impl Status {
    fn new() -> Status {
        Status {
            health: Health::Unchecked,
            since: SystemTime::now(),
            contrary: 0,
            can_ask: true,
            failure: None,
            found: Healthy::default(),
            took: Duration::ZERO,
            probes: 0,
            failures: 0,
        }
    }
}

/// A target's task.
struct Watcher {
    target: Arc<Target>,
    origin: Instant,
    shared: Arc<Shared>,
    network: Arc<dyn Network>,
    /// By which interface the target was reached when it answered last.
    way: Option<InterfaceId>,
    status: Arc<Mutex<Status>>,
    tell: Sender<Event>,
}

impl Watcher {
    async fn run(mut self, mut raised: mpsc::Receiver<String>) {
        let prober = Prober::of(&self.target.check, &self.shared);
        let mut belief = RiseFall::new(self.target.check.pace, self.origin.elapsed(), fastrand::u16(..));
        loop {
            let due = tokio::time::sleep_until(self.origin + belief.next());
            tokio::select! {
                () = due => {}
                Some(cause) = raised.recv() => {
                    if let Some(change) = belief.suspect(self.origin.elapsed()) {
                        let what = self.note_suspicion(change, Failure::of_server(cause));
                        self.tell(what).await;
                    }
                    continue;
                }
            }
            let began = self.origin.elapsed();
            let outcome = match &prober {
                Ok(prober) => prober.probe(&self.target, &*self.network).await,
                Err(failure) => Err(failure.clone()),
            };
            let outcome = match outcome {
                Ok(found) => {
                    self.way = self.network.way(&self.target);
                    Ok(found)
                }
                Err(failure) => Err(self.whose(failure)),
            };
            let now = self.origin.elapsed();
            let change = belief.heard(began, now, verdict(&outcome), fastrand::u16(..));
            for what in self.note(outcome, change, now - began, belief.contrary()) {
                self.tell(what).await;
            }
        }
    }

    /// The failure, or the director's own behind it.
    fn whose(&self, failure: Failure) -> Failure {
        let own = if failure.is_own { None } else { self.network.fault(&self.target, self.way) };
        own.map_or(failure, Failure::own)
    }

    /// Writes down what a probe came to, and returns what is news.
    fn note(
        &self,
        outcome: Result<Healthy, Failure>,
        change: Option<Change>,
        took: Duration,
        contrary: u16,
    ) -> impl Iterator<Item = What> + use<> {
        let mut status = lock(&self.status);
        (status.took, status.contrary) = (took, contrary);
        status.probes += 1;
        let (mut weight, could_ask) = (None, status.can_ask);
        status.can_ask = !matches!(&outcome, Err(failure) if failure.is_own);
        let can_ask = status.can_ask;
        if let Some(change) = change {
            (status.health, status.since) = (change.to, SystemTime::now());
        }
        let failure = match outcome {
            Ok(found) => {
                weight = (status.found.weight != found.weight).then_some(What::Weight(found.weight));
                status.found = found;
                None
            }
            Err(failure) => {
                status.failures += 1;
                status.failure = Some((failure.clone(), SystemTime::now()));
                Some(failure)
            }
        };
        let unasked = (can_ask != could_ask).then(|| What::Unasked(failure.clone().filter(|_| !can_ask)));
        // Who comes up has its weight first.
        unasked.into_iter().chain(weight).chain(change.map(|change| What::Health(change, failure)))
    }

    /// Writes down what others have seen, and returns that as news.
    fn note_suspicion(&self, change: Change, failure: Failure) -> What {
        let mut status = lock(&self.status);
        (status.health, status.since) = (change.to, SystemTime::now());
        status.failure = Some((failure.clone(), SystemTime::now()));
        What::Health(change, Some(failure))
    }

    /// Says what changed, and waits for as long as nobody makes room for it.
    async fn tell(&self, what: What) {
        let mut event = Event { target: self.target.clone(), at: SystemTime::now(), what };
        while let Err(TrySendError::Full(unheard)) = self.tell.try_send(event) {
            event = unheard;
            tokio::time::sleep(PATIENCE).await;
        }
    }
}

fn verdict(outcome: &Result<Healthy, Failure>) -> Verdict {
    match outcome {
        Ok(_) => Verdict::Passed,
        Err(failure) if failure.is_own => Verdict::Unknown,
        Err(_) => Verdict::Failed,
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
