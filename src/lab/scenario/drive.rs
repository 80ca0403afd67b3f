//! One run: the lab's director, its clients, the fault in its time, and what is seen of it all.

use super::clients::Clients;
use super::fault::Patients;
use super::{Act, Look, Record, SERVERS, Sample, Settings, Side, Span, acts};
use crate::control::client::Client;
use crate::control::view::Columns;
use crate::lab::demo::lab_name;
use crate::lab::plan::Node;
use crate::lab::{Director, Error, LabService, Options, Process, Topology};
use crate::service::SchedulerName;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// How long clients ask before anything counts, for caches and neighbours.
const WARM_UP: Duration = Duration::from_millis(500);
/// How often the director is asked how its servers are.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// How much longer than planned something may take that the run is about.
const EXTRA: Duration = Duration::from_secs(10);

/// What there is to see of a run as it goes.
#[derive(Debug)]
pub struct Moment<'a> {
    /// Which run.
    pub side: Side,
    /// Since its start.
    pub at: Duration,
    /// What came of it so far; the fault has ended only where `is_mended` says so.
    pub record: &'a Record,
    /// Whether the fault has begun.
    pub has_begun: bool,
    /// Whether it is over.
    pub is_mended: bool,
}

/// Runs a scenario without and with what it shows, in a lab of its own, and takes that down.
///
/// # Errors
/// If the lab cannot be built, the director does not run to its end, or on an interrupt. Failed requests are no error.
pub fn run(settings: &Settings, mut watch: impl FnMut(&Moment<'_>)) -> Result<[Record; 2], Error> {
    let options = Options {
        family: settings.family,
        servers: SERVERS,
        large_file_bytes: 1000,
        listens_at_rip: true,
        lvx: settings.lvx.clone(),
        interrupt: settings.interrupt.clone(),
        ..Options::default()
    };
    let name = lab_name(&settings.scenario.name().replace('-', "_"));
    let mut topology = Topology::new(&name, settings.layout, options)?;
    topology.start_servers()?;
    let (without, _nginx) = one(&topology, settings, Side::Without, &mut watch)?;
    let (with, _nginx) = one(&topology, settings, Side::With, &mut watch)?;
    Ok([without, with])
}

/// One run, and the servers' processes that it has started.
fn one(
    topology: &Topology,
    settings: &Settings,
    side: Side,
    watch: &mut impl FnMut(&Moment<'_>),
) -> Result<(Record, Vec<Process>), Error> {
    let service = LabService::http(SchedulerName::Rr, &[1; SERVERS as usize]);
    let service = LabService { keys: settings.scenario.keys(side), ..service };
    let director = topology.start_director(&topology.director_config(&[service]))?;
    let eyes = Eyes { client: Client::new(&topology.control_socket()), director: &director };
    if settings.scenario.has_checks(side) {
        eyes.wait_for_verdicts(topology)?;
    }
    let (sender, samples) = mpsc::channel();
    let clients = Clients {
        to: topology.plan.http(),
        count: settings.clients,
        origin: Instant::now() + WARM_UP,
        are_done: Arc::default(),
    };
    let namespace = topology.node(Node::Client)?;
    let mut run = Run {
        settings,
        side,
        origin: clients.origin,
        patients: Patients::new(topology, &settings.scenario.patients()),
        eyes,
        record: Record { servers: SERVERS, patients: settings.scenario.patients(), ..Record::default() },
        samples,
        has_begun: false,
        is_mended: false,
    };
    thread::scope(|scope| {
        let are_done = Raised(Arc::clone(&clients.are_done));
        let asking = scope.spawn(move || clients.ask(namespace, sender));
        run.go(watch)?;
        drop(are_done);
        asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    let Run { mut record, samples, patients, .. } = run;
    let started = patients.into_processes();
    record.samples.extend(samples.try_iter());
    record.samples.retain(|sample| sample.began < record.ended);
    director.stop()?;
    Ok((record, started))
}

/// Raises the flag when dropped, so that nobody waits for clients who do not end.
struct Raised(Arc<AtomicBool>);

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Who looks at the director.
struct Eyes<'r> {
    client: Client,
    director: &'r Director,
}

impl Eyes<'_> {
    /// How the director sees its servers; when, the caller knows.
    fn look(&self) -> Result<Look, Error> {
        let services = self.client.services(None, Columns::default()).map_err(|error| Error::NotReady {
            what: format!("the director does not say how its servers are: {error}"),
            log: self.director.log_tail(),
        })?;
        let states =
            services.iter().flat_map(|service| &service.servers).map(|server| server.state).collect();
        let fails_open = services.iter().any(|service| service.fails_open);
        Ok(Look { states, fails_open, ..Look::default() })
    }

    /// Waits until every server was asked once.
    fn wait_for_verdicts(&self, topology: &Topology) -> Result<(), Error> {
        let deadline = Instant::now() + EXTRA;
        loop {
            topology.options().interrupt.check()?;
            let services = self.client.services(None, Columns::default());
            let mut servers = services.iter().flatten().flat_map(|service| &service.servers);
            if services.is_ok() && servers.all(|server| server.health.is_some()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let what = "no verdict of the director's on its servers".to_owned();
                return Err(Error::NotReady { what, log: self.director.log_tail() });
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// A run as it goes.
struct Run<'r> {
    settings: &'r Settings,
    side: Side,
    origin: Instant,
    patients: Patients<'r>,
    eyes: Eyes<'r>,
    record: Record,
    samples: Receiver<Sample>,
    has_begun: bool,
    is_mended: bool,
}

impl Run<'_> {
    /// Goes through the calm, the fault and what follows.
    fn go(&mut self, watch: &mut impl FnMut(&Moment<'_>)) -> Result<(), Error> {
        let Settings { scenario, calm, fault, after, .. } = *self.settings;
        self.watch_until(watch, |_, now| now >= calm)?;
        let acts = acts(scenario, fault);
        let last = acts.len() - 1;
        // Whatever is done is mended.
        self.record.strikes = acts.len() as u32 / 2;
        let began = self.now();
        for (number, (at, act)) in acts.into_iter().enumerate() {
            self.watch_until(watch, |run, now| now >= began + at && (number < last || run.is_found(now)))?;
            self.act(act, number == last)?;
        }
        let mended = self.record.fault.ended;
        self.watch_until(watch, |run, now| {
            now >= mended + after && (run.is_well() || now >= mended + after + EXTRA)
        })?;
        self.record.ended = self.now();
        Ok(())
    }

    /// Looks until it is time.
    fn watch_until(
        &mut self,
        watch: &mut impl FnMut(&Moment<'_>),
        is_time: impl Fn(&Self, Duration) -> bool,
    ) -> Result<(), Error> {
        let mut told = Instant::now();
        loop {
            self.settings.interrupt.check()?;
            let at = self.now();
            if is_time(self, at) {
                return Ok(());
            }
            let look = self.eyes.look()?;
            self.record.see(Look { at: self.now(), ..look });
            self.record.samples.extend(self.samples.try_iter());
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                let (side, has_begun, is_mended) = (self.side, self.has_begun, self.is_mended);
                watch(&Moment { side, at, record: &self.record, has_begun, is_mended });
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn act(&mut self, act: Act, is_last: bool) -> Result<(), Error> {
        if !self.has_begun {
            self.has_begun = true;
            self.record.fault = Span { began: self.now(), ended: Duration::MAX };
        }
        self.patients.suffer(act)?;
        if is_last {
            self.is_mended = true;
            self.record.fault.ended = self.now();
        }
        Ok(())
    }

    /// Whether the director has found out, if it is to, or will not any more.
    fn is_found(&self, now: Duration) -> bool {
        let Settings { scenario, fault, .. } = *self.settings;
        let began = self.record.fault.began;
        !scenario.is_found(self.side)
            || now >= began + fault + EXTRA
            || self.record.looks.iter().any(|look| {
                look.at >= began && self.record.patients.iter().all(|&server| look.is_down(server))
            })
    }

    fn is_well(&self) -> bool {
        self.record.last_look().is_some_and(Look::is_well)
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}
