//! `lvx run`: brings the director up, keeps what the workers read true, and takes everything down again.
//!
//! One thread listens to everything that is not a packet: signals, the kernel's changes, neighbours that packets
//! are missing, the control socket's jobs, the clock. Workers hear of it by snapshots alone.

mod error;
mod network;
mod probing;
mod reach;
mod setup;
mod watch;
mod workers;

pub use error::RunError;
pub use probing::ProbeRoad;

use super::api::{Api, Link, keep_off};
use super::cause::Cause;
use super::desired::Desired;
use super::desk::{Desk, Job, Shared};
use super::health::{Checks, Witnesses};
use super::history::History;
use super::kernel::{Following, Kernel};
use super::publish::Publisher;
use crate::config::{self, Config, Poll};
use crate::conntrack::{Table, Tracker};
use crate::dataplane::counters::Counters;
use crate::dataplane::port::device::{may_carry_partial_checksums, strips_vlan_tags};
use crate::dataplane::port::steer::{Steering, SteeringTable};
use crate::dataplane::snapshot::Published;
use crate::dataplane::worker::{Idle, Shift, Wanted, Worker};
use crate::net::{InterfaceId, Prefix};
use crate::service::VirtualService;
use crossbeam::channel::{Receiver, after, at, bounded, never, select, tick};
use network::Network;
use probing::Probing;
use reach::OwnNetwork;
use setup::{attach, cores_for, open_port, random_seed, signals, steering_table, worker_count};
use signal_hook::consts::SIGHUP;
use signal_hook::low_level::signal_name;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use watch::Watch;
use workers::Workers;

/// How many jobs of the control socket wait at most.
const JOBS: usize = 64;

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

/// A director at work. Dropping it takes everything down again.
pub struct Director {
    /// First to be dropped: nobody is to ask a director that ends.
    _api: Option<Api>,
    options: Options,
    interfaces: Vec<config::Interface>,
    desk: Desk,
    checks: Checks,
    witnesses: Witnesses,
    jobs: Receiver<Job>,
    watch: Option<Watch>,
    table: Arc<Table>,
    kernel: Kernel,
    following: Following,
    steerings: Vec<Steering>,
    probing: Probing,
    wanted: Receiver<Wanted>,
    workers: Workers,
    network: Network,
}

impl Director {
    /// Brings a director up in the network namespace of the calling thread.
    ///
    /// # Errors
    /// It cannot start; then nothing is left.
    pub fn start(config: Config, options: &Options) -> Result<Director, RunError> {
        let desired = Desired::from(config.clone());
        let config = without_vlans(config);
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
        let start = Instant::now();

        let probing = Probing::new(published.clone());
        let steerings = attach(&config, &kernel, workers)?;
        let (tell, wanted) = bounded(1024);
        let shift = Shift {
            core: 0,
            idle: if config.director.poll == Poll::Busy { Idle::Spin } else { Idle::Sleep },
            start,
            wanted: tell,
            stop: Arc::default(),
        };
        let mut ports = Vec::new();
        let mut ready = Vec::new();
        for (queue, &core) in (0..workers).zip(&on_cores) {
            let mut port = open_port(&config, queue, &steerings)?;
            port.serve_probes(probing.road.door.clone(), queue == 0);
            ports.push(port.counters());
            let tracker = Tracker::new(table.clone(), queue, workers);
            let counters = counters[queue as usize].clone();
            let shift = Shift { core, ..shift.clone() };
            let worker = Worker::new(Box::new(port), tracker, counters, published.clone(), shift);
            ready.push(worker.leading(probing.road.probes.clone()));
        }
        let witnesses = Witnesses::new(counters.clone(), start);
        let shared = Shared { table: table.clone(), published, counters, ports, start };
        let (tell_job, jobs) = bounded(JOBS);
        let file = options.config.clone();
        let history = history(&config.control)?;
        let (control, interfaces) = (config.control.clone(), config.interfaces.clone());
        let desk = Desk::new(desired, publisher, shared.clone(), history, file)?;
        kernel.keep(&desk.publisher.current().neighbours_needed());
        let watch = control.watch.then(|| Watch::begin(&options.config)).transpose()?;
        let own_cores = on_cores.clone();
        let network = OwnNetwork { published: shared.published.clone(), road: probing.road.clone() };
        let checks = Checks::start(start, move || keep_off(&own_cores), network);
        let checks = checks.map_err(RunError::io("start the thread of health checks"))?;
        let workers = Workers::spawn(ready, shift.stop).map_err(RunError::io("start a worker's thread"))?;
        let mut director = Director {
            _api: api(&control, Link::new(tell_job, shared), &on_cores)?,
            options: options.clone(),
            interfaces,
            desk,
            checks,
            witnesses,
            jobs,
            watch,
            table,
            kernel,
            following,
            steerings,
            probing,
            wanted,
            workers,
            network: Network::default(),
        };
        director.meet_neighbours();
        director.network.look_at_links(&director.interfaces, &director.kernel);
        director.network.look_at_neighbours(&director.desk.publisher.current(), &director.interfaces);
        director.warn_of_absent_vips();
        director.warn_of_hidden_tags();
        director.make_road();
        director.steer().map_err(RunError::io("fill the steering program's tables"))?;
        director.check();
        // A path that cannot be written is told to whoever typed it, not to the log each second.
        director.try_write_report()?;
        tracing::info!(
            interfaces = names.join(","),
            workers = on_cores.len(),
            cores = ?on_cores,
            services = director.desk.desired().services().len(),
            connections = director.table.capacity(),
            "ready"
        );
        Ok(director)
    }

    /// Says which virtual services nobody may be able to reach.
    fn warn_of_absent_vips(&self) {
        let snapshot = self.desk.publisher.current();
        let ours =
            |vip| snapshot.hops.links().iter().any(|link| link.addresses.iter().any(|own| own.addr == vip));
        let of_service = |service: &VirtualService| {
            let mut vips: Vec<IpAddr> = service.matches().iter().map(|to| to.addr).collect();
            vips.sort_unstable();
            vips.dedup();
            vips.into_iter().map(|vip| (service.name.clone(), vip)).collect::<Vec<_>>()
        };
        let services = snapshot.services.table().services();
        for (name, vip) in
            services.iter().flat_map(|service| of_service(service)).filter(|&(_, vip)| !ours(vip))
        {
            // An IPv6 VIP would otherwise be the source of what the director's host itself sends.
            let (asked, how) =
                if vip.is_ipv4() { ("ARP", "") } else { ("neighbour solicitations", " preferred_lft 0") };
            tracing::warn!(
                "virtual service \"{}\": no interface of the configuration has the address {vip}, so that nobody answers \
                 {asked} for it there: `ip address add {} dev {}{how}`",
                name,
                Prefix::host(vip),
                self.interfaces[0].name
            );
        }
    }

    /// Says which interfaces hide the tags of their VLANs.
    fn warn_of_hidden_tags(&self) {
        let snapshot = self.desk.publisher.current();
        let vlans = snapshot.hops.vlans();
        for (place, interface) in self.interfaces.iter().enumerate() {
            let has_vlans = vlans.are_on(InterfaceId(place as u16));
            if has_vlans && strips_vlan_tags(&interface.name).unwrap_or(false) {
                tracing::warn!(
                    "{0} takes VLAN tags off before the director sees them: `ethtool -K {0} rxvlan off`",
                    interface.name
                );
            }
        }
    }

    /// Waits a little for the servers' MACs, so that the first packets do not find them missing. Who has not
    /// answered by then is asked again and again, and missed only by packets to it.
    fn meet_neighbours(&mut self) {
        let until = Instant::now() + ACQUAINTANCE;
        while !self.desk.publisher.current().neighbours_missing().is_empty() {
            if self.following.changes().recv_deadline(until).is_err() {
                return;
            }
            self.desk.network_changed(&self.kernel.rib());
        }
    }

    /// What those who probe servers along the data path need.
    pub fn probe_road(&self) -> &ProbeRoad {
        &self.probing.road
    }

    /// Acts on whatever comes, until a signal says to end: any but SIGHUP does.
    ///
    /// # Errors
    /// A worker can do no more work, or the kernel can no longer be followed.
    pub fn listen(&mut self, signals: &Receiver<i32>) -> Result<(), RunError> {
        let seconds = tick(Duration::from_secs(1));
        let (changes, wanted, jobs) =
            (self.following.changes().clone(), self.wanted.clone(), self.jobs.clone());
        let (failures, heard) = (self.workers.failures.clone(), self.checks.events().clone());
        let edited = self.watch.as_ref().map_or_else(never, |watch| watch.edited().clone());
        loop {
            // Many connections are ended or counted little by little, so that nobody waits.
            let soon = if self.desk.is_on_round() { after(Duration::from_millis(1)) } else { never() };
            let look = self.witnesses.next().map_or_else(never, at);
            select! {
                recv(signals) -> signal => match signal {
                    Ok(SIGHUP) => drop(self.desk.reload(Cause::Signal)),
                    other => {
                        tracing::info!(by = other.ok().and_then(signal_name), "ending");
                        return Ok(());
                    }
                },
                recv(edited) -> _ => drop(self.desk.reload(Cause::File)),
                recv(jobs) -> job => if let Ok(job) = job {
                    job(&mut self.desk);
                },
                recv(heard) -> event => if let Ok(event) = event {
                    let findings = self.checks.heard(event, self.desk.desired());
                    self.checks.tell(&self.desk.found(&findings));
                },
                recv(soon) -> _ => self.desk.go_on(),
                recv(look) -> _ => self.look_at_traffic(),
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
                    if self.desk.tick(Instant::now()) {
                        self.follow_up();
                    }
                    self.network.look_at_neighbours(&self.desk.publisher.current(), &self.interfaces);
                    self.write_report();
                }
            }
            let (is_moved, is_edited) = (self.desk.take_moved(), self.desk.take_edited());
            if is_edited {
                self.make_road();
            }
            if is_moved || is_edited {
                self.witnesses.moved();
                self.follow_up();
            }
            if is_edited {
                self.check();
            }
        }
    }

    /// Has the checks made and the programs told that the configuration names now.
    fn check(&mut self) {
        let findings = self.checks.follow(self.desk.desired());
        self.checks.tell(&self.desk.found(&findings));
    }

    /// Has servers asked against which live traffic speaks.
    fn look_at_traffic(&mut self) {
        let compiled = self.desk.publisher.services().clone();
        for (key, server, cause) in self.witnesses.look(self.desk.desired(), compiled.table().services()) {
            self.checks.suspect(self.desk.desired(), (key, server), &cause);
        }
    }

    fn network_changed(&mut self) {
        self.desk.network_changed(&self.kernel.rib());
        self.network.look_at_links(&self.interfaces, &self.kernel);
        self.follow_up();
    }

    /// What was published decides which neighbours are kept known and which packets are steered here.
    fn follow_up(&mut self) {
        self.kernel.keep(&self.desk.publisher.current().neighbours_needed());
        self.network.neighbours_changed();
        if let Err(error) = self.steer() {
            tracing::error!(%error, "cannot fill the steering program's tables");
        }
    }

    /// Tells the steering programs what the director wants to see.
    fn steer(&mut self) -> io::Result<()> {
        let probes = self.probing.sources(&self.desk.publisher.current());
        let table = SteeringTable { probes: probes.clone(), ..steering_table(&self.desk.publisher) };
        self.steerings.iter_mut().try_for_each(|steering| steering.set(&table))?;
        self.probing.set_sources(probes)
    }

    /// Makes the road along the data path if checks want it. Until it is there, they say that they cannot be made.
    fn make_road(&mut self) {
        if let Err(error) = self.probing.want(self.desk.desired().wants_probes()) {
            tracing::error!("checks cannot go along the data path: {error}");
        }
    }

    fn write_report(&self) {
        if let Err(error) = self.try_write_report() {
            tracing::error!("{error}");
        }
    }

    fn try_write_report(&self) -> Result<(), RunError> {
        let Some(path) = &self.options.report else { return Ok(()) };
        self.desk
            .view()
            .report(&self.table)
            .write(path)
            .map_err(|error| RunError::Report(path.clone(), error))
    }
}

/// The control socket. One that nobody asked for need not be had.
fn api(control: &config::Control, link: Link, workers: &[usize]) -> Result<Option<Api>, RunError> {
    match Api::open(control, link, workers) {
        Ok(api) => {
            let over_tcp = api.remote().map(|at| at.to_string());
            tracing::info!(path = %api.path().display(), over_tcp, "control socket open");
            Ok(Some(api))
        }
        Err(error) if control.is_written => Err(RunError::Api(error)),
        Err(error) => {
            tracing::warn!("there is no control socket: {error}");
            Ok(None)
        }
    }
}

/// The configurations kept; in memory, where nobody asked for a place that cannot be had.
fn history(control: &config::Control) -> Result<History, RunError> {
    let dir = control.state_dir.join("versions");
    match History::open(&dir) {
        Ok(history) => Ok(history),
        Err(error) if control.is_written => Err(RunError::State(dir, error)),
        Err(error) => {
            tracing::warn!("configurations are kept in memory only: {}: {error}", dir.display());
            Ok(History::in_memory())
        }
    }
}

/// VLANs are the kernel's, on whatever interfaces lvx works on: those written are for a replay, as routes are.
fn without_vlans(mut config: Config) -> Config {
    config.interfaces.retain(|interface| interface.vlan.is_none());
    config
}
