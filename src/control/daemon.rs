//! `lvx run`: brings the director up, keeps what the workers read true, and takes everything down again.
//!
//! One thread listens to everything that is not a packet: signals, the kernel's changes, neighbours that packets
//! are missing, the clock. Workers hear of it by snapshots alone.

use super::gather;
use super::kernel::{Following, Kernel, KernelError};
use super::publish::{Publisher, TooManyServers};
use super::report;
use crate::config::{self, Config, ConfigErrors, Poll, XdpMode};
use crate::conntrack::{Seed, Table, Tracker};
use crate::dataplane::counters::Counters;
use crate::dataplane::port::device::may_carry_partial_checksums;
use crate::dataplane::port::steer::{AttachError, AttachMode, QUEUES, Steering, SteeringTable};
use crate::dataplane::port::xdp::{PortCounters, PortError, XdpOptions, XdpPort};
use crate::dataplane::snapshot::Published;
use crate::dataplane::worker::{Idle, Shift, Wanted, Worker, cores};
use crate::net::{InterfaceId, Prefix};
use crate::service::RealServer;
use crossbeam::channel::{Receiver, bounded, select, tick};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{fmt, io};

/// How long the start waits for servers whose MACs are not known yet.
const ACQUAINTANCE: Duration = Duration::from_millis(500);

/// What `lvx run` is told on the command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// The configuration file, read again on SIGHUP.
    pub config: PathBuf,
    /// Where to write a report in JSON, each second and at the end.
    pub report: Option<PathBuf>,
}

/// Runs a director until SIGINT or SIGTERM.
///
/// # Errors
/// It cannot start, or a worker can do no more work. What had been set up is taken down.
pub fn run(options: &Options) -> Result<(), RunError> {
    let signals = signals().map_err(RunError::io("listen to signals"))?;
    let config = config::read(&options.config)?;
    let mut director = Director::start(config, options)?;
    let outcome = director.listen(&signals);
    director.write_report();
    outcome
}

/// A director at work.
struct Director {
    config: Config,
    options: Options,
    publisher: Publisher,
    table: Arc<Table>,
    counters: Vec<Arc<Counters>>,
    ports: Vec<Arc<PortCounters>>,
    kernel: Kernel,
    following: Following,
    steerings: Vec<Steering>,
    wanted: Receiver<Wanted>,
    workers: Workers,
}

impl Director {
    fn start(config: Config, options: &Options) -> Result<Director, RunError> {
        let names: Vec<String> = config.interfaces.iter().map(|interface| interface.name.clone()).collect();
        let kernel = Kernel::open(&names)?;
        let following = kernel.follow()?;
        if !config.routes.is_empty() || !config.neighbours.is_empty() {
            tracing::info!("static routes and neighbours are for lvx replay; the kernel's are used");
        }
        let workers = worker_count(&config, &kernel)?;
        let on_cores = cores_for(&config, workers);

        let table = Table::new(config.director.max_connections, random_seed());
        let table = Arc::new(table.map_err(RunError::io("reserve memory for the connection table"))?);
        let published = Arc::new(Published::default());
        let counters: Vec<Arc<Counters>> = (0..workers).map(|_| Arc::default()).collect();
        let partial = names.iter().map(|name| may_carry_partial_checksums(name)).collect();
        let mut publisher = Publisher::new(table.clone(), published.clone(), counters.clone(), partial);
        publisher.set_rib(&kernel.rib());
        publisher.set_services(&config)?;
        kernel.keep(&publisher.current().neighbours_needed());

        let steerings = attach(&config, &kernel, workers)?;
        let (tell, wanted) = bounded(1024);
        let shift = Shift {
            core: 0,
            idle: if config.director.poll == Poll::Busy { Idle::Spin } else { Idle::Sleep },
            start: Instant::now(),
            wanted: tell,
            stop: Arc::default(),
        };
        let mut ports = Vec::new();
        let mut ready = Vec::new();
        for (queue, &core) in (0..workers).zip(&on_cores) {
            let port = open_port(&config, queue, &steerings)?;
            ports.push(port.counters());
            let tracker = Tracker::new(table.clone(), queue, workers);
            let counters = counters[queue as usize].clone();
            let shift = Shift { core, ..shift.clone() };
            ready.push(Worker::new(Box::new(port), tracker, counters, published.clone(), shift));
        }
        let workers = Workers::spawn(ready, shift.stop).map_err(RunError::io("start a worker's thread"))?;
        let options = options.clone();
        let mut director = Director {
            config,
            options,
            publisher,
            table,
            counters,
            ports,
            kernel,
            following,
            steerings,
            wanted,
            workers,
        };
        director.meet_neighbours();
        director.warn_of_absent_vips();
        director.steer().map_err(RunError::io("fill the steering program's tables"))?;
        // A path that cannot be written is told to whoever typed it, not to the log each second.
        director.try_write_report()?;
        tracing::info!(
            interfaces = names.join(","),
            workers = on_cores.len(),
            cores = ?on_cores,
            services = director.config.services.len(),
            connections = director.table.capacity(),
            "ready"
        );
        Ok(director)
    }

    /// Says which virtual services nobody may be able to reach.
    fn warn_of_absent_vips(&self) {
        let snapshot = self.publisher.current();
        let ours =
            |vip| snapshot.hops.links().iter().any(|link| link.addresses.iter().any(|own| own.addr == vip));
        for service in
            snapshot.services.table().services().iter().filter(|service| !ours(service.endpoint.addr))
        {
            let vip = service.endpoint.addr;
            // An IPv6 VIP would otherwise be the source of what the director's host itself sends.
            let (asked, how) =
                if vip.is_ipv4() { ("ARP", "") } else { ("neighbour solicitations", " preferred_lft 0") };
            tracing::warn!(
                "virtual service \"{}\": no interface of the configuration has the address {vip}, so that nobody answers \
                 {asked} for it there: `ip address add {} dev {}{how}`",
                service.name,
                Prefix::host(vip),
                self.config.interfaces[0].name
            );
        }
    }

    /// Waits a little for the servers' MACs, so that the first packets do not find them missing. Who has not
    /// answered by then is asked again and again, and missed only by packets to it.
    fn meet_neighbours(&mut self) {
        let until = Instant::now() + ACQUAINTANCE;
        while self.publisher.current().lacks_neighbours() {
            if self.following.changes().recv_deadline(until).is_err() {
                return;
            }
            self.publisher.set_rib(&self.kernel.rib());
        }
    }

    /// Acts on whatever comes, until a signal says to end.
    fn listen(&mut self, signals: &Receiver<i32>) -> Result<(), RunError> {
        let seconds = tick(Duration::from_secs(1));
        let (changes, wanted) = (self.following.changes().clone(), self.wanted.clone());
        let failures = self.workers.failures.clone();
        loop {
            select! {
                recv(signals) -> signal => match signal {
                    Ok(SIGHUP) => self.reload(),
                    _ => {
                        tracing::info!("ending");
                        return Ok(());
                    }
                },
                recv(changes) -> change => match change {
                    Ok(()) => self.network_changed(),
                    Err(_) => return Err(RunError::Io("follow the kernel", io::ErrorKind::BrokenPipe.into())),
                },
                recv(wanted) -> neighbour => if let Ok((interface, address)) = neighbour {
                    self.kernel.ask(interface, address);
                },
                recv(failures) -> failure => {
                    let failure = failure.unwrap_or_else(|_| io::Error::other("no worker is left"));
                    return Err(RunError::Io("move packets", failure));
                }
                recv(seconds) -> _ => {
                    if self.publisher.retire(Instant::now()) {
                        self.follow_up();
                    }
                    self.write_report();
                }
            }
        }
    }

    fn network_changed(&mut self) {
        self.publisher.set_rib(&self.kernel.rib());
        self.follow_up();
    }

    /// What was published decides which neighbours are kept known and which packets are steered here.
    fn follow_up(&mut self) {
        self.kernel.keep(&self.publisher.current().neighbours_needed());
        if let Err(error) = self.steer() {
            tracing::error!(%error, "cannot fill the steering program's tables");
        }
    }

    /// Takes up the configuration file as it is now; a bad one changes nothing.
    fn reload(&mut self) {
        match self.try_reload() {
            Ok(()) => {
                self.follow_up();
                tracing::info!(services = self.config.services.len(), "reloaded");
            }
            Err(error) => tracing::error!("not reloaded, everything stays as it was: {error}"),
        }
    }

    fn try_reload(&mut self) -> Result<(), RunError> {
        let config = config::read(&self.options.config)?;
        let restart = |key| Err(RunError::NeedsRestart(key));
        let (new, old) = (&config.director, &self.config.director);
        if config.interfaces.iter().map(|i| &i.name).ne(self.config.interfaces.iter().map(|i| &i.name)) {
            return restart("the interfaces");
        }
        if new.max_connections != old.max_connections {
            return restart("max_connections");
        }
        let fixed =
            |d: &config::Director| (d.workers, d.cores.clone(), d.poll, d.xdp_mode, d.busy_poll, d.frames);
        if fixed(new) != fixed(old) {
            return restart("workers, cores, poll, xdp_mode, busy_poll or frames");
        }
        self.publisher.set_services(&config)?;
        self.config = config;
        Ok(())
    }

    /// Tells the steering programs what the director wants to see.
    fn steer(&mut self) -> io::Result<()> {
        let table = steering_table(&self.publisher);
        self.steerings.iter_mut().try_for_each(|steering| steering.set(&table))
    }

    fn write_report(&self) {
        if let Err(error) = self.try_write_report() {
            tracing::error!("{error}");
        }
    }

    fn try_write_report(&self) -> Result<(), RunError> {
        let Some(path) = &self.options.report else { return Ok(()) };
        let report = gather::report(&self.publisher, &self.counters, &self.table, self.port_totals());
        report.write(path).map_err(|error| RunError::Report(path.clone(), error))
    }

    fn port_totals(&self) -> report::Port {
        let sum =
            |count: fn(&PortCounters) -> &AtomicU64| self.ports.iter().map(|p| count(p).load(Relaxed)).sum();
        report::Port {
            received: sum(|port| &port.received),
            sent: sum(|port| &port.sent),
            tx_ring_full: sum(|port| &port.tx_ring_full),
            host_unreachable: sum(|port| &port.host_unreachable),
            rx_dropped: sum(|port| &port.rx_dropped),
            rx_ring_full: sum(|port| &port.rx_ring_full),
            fill_ring_empty: sum(|port| &port.fill_ring_empty),
        }
    }
}

/// The workers' threads; dropping this ends them.
struct Workers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// Why a worker ended by itself; disconnected when none is left.
    failures: Receiver<io::Error>,
}

impl Workers {
    /// Starts the workers, which end when `stop` is set.
    fn spawn(ready: Vec<Worker>, stop: Arc<AtomicBool>) -> io::Result<Workers> {
        let (tell, failures) = bounded(ready.len().max(1));
        let mut workers = Workers { stop, threads: Vec::new(), failures };
        for (number, worker) in ready.into_iter().enumerate() {
            let tell = tell.clone();
            let body = move || {
                // A panic of one worker must be heard of while the others still hold their ends of the channel.
                let ended = catch_unwind(AssertUnwindSafe(|| worker.run()));
                let failure = match ended {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => error,
                    Err(_) => io::Error::other("a worker panicked"),
                };
                let _ = tell.send(failure);
            };
            workers
                .threads
                .push(std::thread::Builder::new().name(format!("lvx-worker-{number}")).spawn(body)?);
        }
        Ok(workers)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            // A panic there has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

/// What the steering programs redirect: services, replies of masqueraded servers, and not the director's own.
fn steering_table(publisher: &Publisher) -> SteeringTable {
    let snapshot = publisher.current();
    let services = snapshot.services.table().services();
    let vips: Vec<_> = services.iter().map(|service| service.endpoint.addr).collect();
    let departed = services.iter().flat_map(|service| {
        publisher.departed_from(service.proto, service.endpoint).map(|real| (service.proto, real))
    });
    let current = services.iter().flat_map(|service| service.reals.iter().map(|real| (service.proto, real)));
    let replies_pass = |(_, real): &(_, &RealServer)| real.method.sees_replies();
    let own = snapshot.hops.links().iter().flat_map(|link| link.addresses.iter().map(|prefix| prefix.addr));
    SteeringTable {
        services: services.iter().map(|service| (service.proto, service.endpoint)).collect(),
        returns: current
            .chain(departed)
            .filter(replies_pass)
            .map(|(proto, real)| (proto, real.endpoint))
            .collect(),
        own: own.filter(|addr| !vips.contains(addr)).collect(),
        errors: true,
        fragments: true,
        // The packet path has no road for these yet.
        vlans: false,
    }
}

/// One worker per queue that every interface has, and no more than there are cores, or than can be steered to.
fn worker_count(config: &Config, kernel: &Kernel) -> Result<u32, RunError> {
    let queues_of =
        |(place, _): (usize, _)| kernel.interface(InterfaceId(place as u16)).map(|i| (i.rx_queues, i.name));
    let queues: Vec<(u32, String)> = config.interfaces.iter().enumerate().filter_map(queues_of).collect();
    let fewest = queues.iter().map(|(n, _)| *n).min().unwrap_or(1);
    let cores = cores().len().max(1) as u32;
    let workers = config.director.workers.map_or(fewest.min(cores).min(QUEUES), u32::from);
    if let Some((has, interface)) = queues.iter().find(|(n, _)| *n < workers) {
        return Err(RunError::TooFewQueues { interface: interface.clone(), has: *has, workers });
    }
    for (has, interface) in queues.iter().filter(|(n, _)| *n > workers) {
        tracing::warn!(
            "{interface} receives on {has} queues, {workers} of them have a worker: what arrives on the others \
             stays with the kernel; `ethtool -L {interface} combined {workers}` makes them one each"
        );
    }
    Ok(workers)
}

fn cores_for(config: &Config, workers: u32) -> Vec<usize> {
    let wanted = if config.director.cores.is_empty() { cores() } else { config.director.cores.clone() };
    let wanted = if wanted.is_empty() { vec![0] } else { wanted };
    wanted.iter().copied().cycle().take(workers as usize).collect()
}

fn attach(config: &Config, kernel: &Kernel, workers: u32) -> Result<Vec<Steering>, RunError> {
    let mode = match config.director.xdp_mode {
        XdpMode::Auto => AttachMode::Auto,
        XdpMode::Native => AttachMode::Native,
        XdpMode::Generic => AttachMode::Generic,
    };
    let steering = |(place, interface): (usize, &config::Interface)| {
        let index = kernel.interface(InterfaceId(place as u16)).map_or(0, |i| i.index);
        Ok(Steering::attach(&interface.name, index, workers, mode)?)
    };
    config.interfaces.iter().enumerate().map(steering).collect()
}

fn open_port(config: &Config, queue: u32, steerings: &[Steering]) -> Result<XdpPort, RunError> {
    let options = XdpOptions {
        frames: config.director.frames,
        busy_poll: config.director.busy_poll,
        ..XdpOptions::default()
    };
    let interfaces: Vec<_> = steerings
        .iter()
        .enumerate()
        .map(|(place, steering)| (InterfaceId(place as u16), steering.interface(), steering))
        .collect();
    Ok(XdpPort::open(&options, queue, &interfaces)?)
}

/// Signals as messages.
fn signals() -> io::Result<Receiver<i32>> {
    let (tell, signals) = bounded(16);
    let mut source = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::Builder::new().name("lvx-signals".to_owned()).spawn(move || {
        for signal in source.forever() {
            if tell.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(signals)
}

/// A seed nobody outside can know; the standard library's hasher keys are the system's randomness.
fn random_seed() -> Seed {
    let word = || std::hash::RandomState::new().build_hasher().finish();
    Seed::new(word(), word())
}

/// Why a director did not start, or ended.
#[derive(Debug)]
pub enum RunError {
    /// The configuration is wrong.
    Config(ConfigErrors),
    /// The kernel's view of the network could not be had.
    Kernel(KernelError),
    /// The steering program could not be attached.
    Attach(AttachError),
    /// An AF_XDP port could not be opened.
    Port(PortError),
    /// More servers than a director holds.
    TooManyServers(TooManyServers),
    /// An interface has fewer queues than there shall be workers.
    TooFewQueues {
        /// The interface.
        interface: String,
        /// Its receive queues.
        has: u32,
        /// Workers wanted.
        workers: u32,
    },
    /// A reload would change what only a restart can.
    NeedsRestart(&'static str),
    /// The report cannot be written there.
    Report(PathBuf, io::Error),
    /// Anything else: what was tried, and what the system said.
    Io(&'static str, io::Error),
}

impl RunError {
    fn io(tried: &'static str) -> impl Fn(io::Error) -> RunError {
        move |error| RunError::Io(tried, error)
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Config(errors) => errors.fmt(f),
            RunError::Kernel(error) => error.fmt(f),
            RunError::Attach(error) => error.fmt(f),
            RunError::Port(error) => error.fmt(f),
            RunError::TooManyServers(error) => error.fmt(f),
            RunError::TooFewQueues { interface, has, workers } => write!(
                f,
                "interface \"{interface}\" receives on {has} queues, {workers} workers need one each; set `workers = \
                 {has}`, or give it queues with `ethtool -L {interface} combined {workers}`"
            ),
            RunError::NeedsRestart(key) => write!(f, "{key} can be changed by a restart only"),
            RunError::Report(path, error) => write!(f, "cannot write the report {}: {error}", path.display()),
            RunError::Io(tried, error) => write!(f, "cannot {tried}: {error}"),
        }
    }
}

impl std::error::Error for RunError {}

macro_rules! from {
    ($($error:ty => $variant:ident,)*) => {
        $(impl From<$error> for RunError {
            fn from(error: $error) -> RunError {
                RunError::$variant(error)
            }
        })*
    };
}

from! {
    ConfigErrors => Config,
    KernelError => Kernel,
    AttachError => Attach,
    PortError => Port,
    TooManyServers => TooManyServers,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::port::{Frame, OwnFrame, Port};

    /// Nothing ever arrives; a broken one panics over it.
    struct Silent {
        broken: bool,
    }

    impl Port for Silent {
        fn turn(&mut self, _road: &mut dyn FnMut(&mut [Frame<'_>]) -> Vec<OwnFrame>) -> io::Result<usize> {
            assert!(!self.broken, "as a bug would");
            Ok(0)
        }

        fn wait(&mut self, timeout: Duration) -> io::Result<()> {
            std::thread::sleep(timeout);
            Ok(())
        }
    }

    #[test]
    fn a_worker_that_panics_is_heard_of_while_others_work_on() {
        let table = Arc::new(Table::new(8, Seed::new(1, 2)).unwrap());
        let (wanted, _) = bounded(1);
        let shift = Shift { core: 0, idle: Idle::Sleep, start: Instant::now(), wanted, stop: Arc::default() };
        let worker = |number, broken| {
            let tracker = Tracker::new(table.clone(), number, 2);
            Worker::new(Box::new(Silent { broken }), tracker, Arc::default(), Arc::default(), shift.clone())
        };
        let workers = Workers::spawn(vec![worker(0, false), worker(1, true)], shift.stop.clone()).unwrap();
        let failure = workers.failures.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(failure.to_string(), "a worker panicked");
    }
}
