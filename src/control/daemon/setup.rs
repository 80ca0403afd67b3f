//! What a director needs before its first packet: workers and their cores, steering programs, ports, signals.

use super::RunError;
use crate::config::{self, Config, XdpMode};
use crate::conntrack::Seed;
use crate::control::kernel::Kernel;
use crate::control::publish::Publisher;
use crate::control::steering;
use crate::dataplane::port::steer::{AttachMode, QUEUES, Steering, SteeringTable};
use crate::dataplane::port::xdp::{XdpOptions, XdpPort};
use crate::dataplane::worker::cores;
use crate::net::InterfaceId;
use crossbeam::channel::{Receiver, bounded};
use hashbrown::HashSet;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::IpAddr;

/// One worker per queue that every interface has, and no more than there are cores, or than can be steered to.
pub(super) fn worker_count(config: &Config, kernel: &Kernel) -> Result<u32, RunError> {
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

pub(super) fn cores_for(config: &Config, workers: u32) -> Vec<usize> {
    let wanted = if config.director.cores.is_empty() { cores() } else { config.director.cores.clone() };
    let wanted = if wanted.is_empty() { vec![0] } else { wanted };
    wanted.iter().copied().cycle().take(workers as usize).collect()
}

pub(super) fn attach(config: &Config, kernel: &Kernel, workers: u32) -> Result<Vec<Steering>, RunError> {
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

pub(super) fn open_port(config: &Config, queue: u32, steerings: &[Steering]) -> Result<XdpPort, RunError> {
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

/// What the steering programs redirect: services, those included that were removed but have connections yet, replies
/// of masqueraded servers, and not the director's own.
pub(super) fn steering_table(publisher: &Publisher) -> SteeringTable {
    let snapshot = publisher.current();
    let services = snapshot.services.table().services();
    let departed = publisher.departed();
    let vips: HashSet<IpAddr> =
        services.iter().flat_map(|service| service.matches()).map(|to| to.addr).collect();
    let own = snapshot.hops.links().iter().flat_map(|link| link.addresses.iter().map(|prefix| prefix.addr));
    // Of a removed service of several ports this is the first.
    let left = departed.keys().filter(|key| key.endpoint().port > 0);
    let gone = departed.iter().flat_map(|(key, reals)| reals.iter().map(|real| (key.proto(), real)));
    let gone =
        gone.filter(|(_, real)| real.method.sees_replies()).map(|(proto, real)| (proto, real.endpoint));
    let is_vip =
        |addr: &IpAddr| vips.contains(addr) || departed.keys().any(|key| key.endpoint().addr == *addr);
    SteeringTable {
        services: steering::endpoints(services)
            .into_iter()
            .chain(left.map(|key| (key.proto(), key.endpoint())))
            .collect(),
        ranges: steering::ranges(services),
        returns: services
            .iter()
            .flat_map(|service| steering::returns(service, publisher))
            .chain(gone)
            .collect(),
        own: own.filter(|addr| !is_vip(addr)).collect(),
        probes: BTreeSet::new(),
        errors: true,
        fragments: true,
        vlans: !snapshot.hops.vlans().is_empty(),
    }
}

/// Signals as messages.
pub(super) fn signals() -> io::Result<Receiver<i32>> {
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
pub(super) fn random_seed() -> Seed {
    let word = || std::hash::RandomState::new().build_hasher().finish();
    Seed::new(word(), word())
}
