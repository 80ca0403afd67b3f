//! The steering program of an interface, and the tables that tell it what the director wants to see.
//!
//! It promises that whatever the tables do not name stays with the kernel, that a worker which has not beaten for
//! half a second gets nothing, and that nothing is left on the interface when [`Steering`] is dropped or the process
//! ends in any way. See `bpf/steer.bpf.c` for the decision itself.

use super::bpf::{self, Hook, Link, Map, Object, Words};
use super::device;
use crate::dataplane::probe;
use crate::net::{Endpoint, Mac, Proto};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Receive queues that one steering program can serve.
pub const QUEUES: u32 = 64;

/// How long the steering program trusts a worker's last beat.
pub const STALE_AFTER: Duration = Duration::from_millis(500);

/// Where the operator wants the steering program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver where it can, otherwise in the stack.
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the stack.
    Generic,
}

/// What the director wants to see of an interface's traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SteeringTable {
    /// Virtual services: packets to these.
    pub services: BTreeSet<(Proto, Endpoint)>,
    /// The same by first and last port, for so many ports of an address that they are not named one by one.
    pub ranges: BTreeMap<(Proto, IpAddr), (u16, u16)>,
    /// Real servers' ports behind NAT, or with port 0 all ports of such a server: packets from these, unless they go to
    /// one of `own`.
    pub returns: BTreeSet<(Proto, Endpoint)>,
    /// The director's own addresses, VIPs not among them: replies to its own health checks and its ssh.
    pub own: BTreeSet<IpAddr>,
    /// Those of the director's own addresses that its probes along the data path come from: packets to these at one of
    /// [`probe::PORTS`], and ICMP errors. They are among no services.
    pub probes: BTreeSet<IpAddr>,
    /// Whether fragments of TCP and UDP, too: those to a virtual service's address, whatever the port, and those from a masqueraded
    /// server's, unless they go to one of `own`.
    pub fragments: bool,
    /// Whether ICMP and ICMPv6 errors, too: those to a virtual service's address, those about packets to one of
    /// `returns`, unless they go to one of `own`, and those to one of `own` about IP-in-IP packets.
    pub errors: bool,
    /// Whether all of that behind one or two VLAN tags (802.1Q, 802.1ad), too.
    pub vlans: bool,
}

/// `WANTS_*` of `bpf/steer.bpf.c`.
mod wants {
    pub(super) const FRAGMENTS: u8 = 1;
    pub(super) const ERRORS: u8 = 2;
    pub(super) const TUNNEL_ERRORS: u8 = 4;
    pub(super) const VLANS: u32 = 1;
    pub(super) const RANGES: u32 = 2;
    pub(super) const ALL_RETURNS: u32 = 4;
}

impl SteeringTable {
    /// What is wanted of an address beside whole packets with ports.
    fn hosts(&self) -> BTreeMap<IpAddr, u8> {
        let flag = |wanted: bool, flag: u8| if wanted { flag } else { 0 };
        let of_endpoints = flag(self.fragments, wants::FRAGMENTS) | flag(self.errors, wants::ERRORS);
        let of_own = flag(self.errors, wants::TUNNEL_ERRORS);
        let endpoints = self.services.iter().chain(&self.returns).map(|(_, at)| (at.addr, of_endpoints));
        let endpoints = endpoints.chain(self.ranges.keys().map(|&(_, addr)| (addr, of_endpoints)));
        let own = self.own.iter().map(|&addr| (addr, of_own));
        let probes = self.probes.iter().map(|&addr| (addr, wants::ERRORS));
        let mut hosts = BTreeMap::new();
        for (addr, wanted) in endpoints.chain(own).chain(probes) {
            *hosts.entry(addr).or_insert(0) |= wanted;
        }
        hosts.retain(|_, wanted| *wanted != 0);
        hosts
    }

    /// What is wanted of addresses' ports by first and last.
    fn ranges(&self) -> BTreeMap<(Proto, IpAddr), (u16, u16)> {
        let ports = (*probe::PORTS.start(), *probe::PORTS.end());
        let probes =
            self.probes.iter().flat_map(|&addr| [Proto::Tcp, Proto::Udp].map(|proto| ((proto, addr), ports)));
        probes.chain(self.ranges.iter().map(|(&at, &ports)| (at, ports))).collect()
    }

    /// What is wanted of the interface as a whole.
    fn settings(&self) -> u32 {
        let flag = |wanted: bool, flag: u32| if wanted { flag } else { 0 };
        let all_returns = self.returns.iter().any(|(_, from)| from.port == 0);
        flag(self.vlans, wants::VLANS)
            | flag(!self.ranges.is_empty() || !self.probes.is_empty(), wants::RANGES)
            | flag(all_returns, wants::ALL_RETURNS)
    }
}

/// An attached steering program.
#[derive(Debug)]
pub struct Steering {
    interface: String,
    ifindex: u32,
    hook: Hook,
    maps: Maps,
    beats: Arc<Words>,
    table: SteeringTable,
    mac: Option<Mac>,
    // Before the object: detach first.
    _link: Link,
    _object: Object,
}

#[derive(Debug)]
struct Maps {
    services: Map,
    ranges: Map,
    returns: Map,
    own: Map,
    hosts: Map,
    settings: Map,
    macs: Map,
    xsks: Map,
    tickets: Map,
}

impl Steering {
    /// Attaches the program to an interface whose receive queues 0..`queues` will have workers. Until
    /// [`Steering::set`], and on each queue until its worker's first beat, everything stays with the kernel.
    ///
    /// # Errors
    /// See [`AttachError`].
    pub fn attach(
        interface: &str,
        ifindex: u32,
        queues: u32,
        mode: AttachMode,
    ) -> Result<Steering, AttachError> {
        let fail = |reason| AttachError { interface: interface.to_owned(), reason };
        if queues > QUEUES {
            return Err(fail(AttachReason::TooManyQueues(queues)));
        }
        let (object, maps, beats) = load().map_err(|e| fail(load_failed(e)))?;
        let mac = device::mac(interface).map_err(|e| fail(AttachReason::of(e, ifindex)))?;
        let (hook, link) = attach(&object, interface, ifindex, mode).map_err(fail)?;
        let beats = Arc::new(beats);
        let table = SteeringTable::default();
        let interface = interface.to_owned();
        let mut steering = Steering {
            interface,
            ifindex,
            hook,
            maps,
            beats,
            table,
            mac: None,
            _link: link,
            _object: object,
        };
        steering.set_mac(mac).map_err(|e| AttachError {
            interface: steering.interface.clone(),
            reason: AttachReason::of(e, ifindex),
        })?;
        Ok(steering)
    }

    /// Makes `table` the program's: what is new is added before what is gone is removed, so that a packet which
    /// both tables name is never missed. Follows a change of the interface's MAC, too.
    ///
    /// # Errors
    /// E2BIG when a map is full (262,144 entries). The table may then be partly in place; call again.
    pub fn set(&mut self, table: &SteeringTable) -> io::Result<()> {
        let (old, maps) = (&self.table, &self.maps);
        let endpoint = |&(proto, at): &(Proto, Endpoint)| endpoint_key(proto, at);
        let address = |&addr: &IpAddr| address_key(addr);
        let (old_hosts, hosts) = (old.hosts(), table.hosts());
        let (old_ranges, ranges) = (old.ranges(), table.ranges());
        add(&maps.own, &old.own, &table.own, address)?;
        for (addr, wanted) in hosts.iter().filter(|(addr, wanted)| old_hosts.get(addr) != Some(wanted)) {
            maps.hosts.update(&address_key(*addr), &[*wanted])?;
        }
        add(&maps.services, &old.services, &table.services, endpoint)?;
        add(&maps.returns, &old.returns, &table.returns, endpoint)?;
        for (&(proto, addr), &(first, last)) in &ranges {
            let ports = [first.to_ne_bytes(), last.to_ne_bytes()].concat();
            maps.ranges.update(&endpoint_key(proto, Endpoint::new(addr, 0)), &ports)?;
        }
        // A program that looks for them finds them by now.
        maps.settings.update(&0u32.to_ne_bytes(), &table.settings().to_ne_bytes())?;
        for &(proto, addr) in old_ranges.keys().filter(|at| !ranges.contains_key(at)) {
            maps.ranges.delete(&endpoint_key(proto, Endpoint::new(addr, 0)))?;
        }
        remove(&maps.services, &old.services, &table.services, endpoint)?;
        remove(&maps.returns, &old.returns, &table.returns, endpoint)?;
        for addr in old_hosts.keys().filter(|addr| !hosts.contains_key(addr)) {
            maps.hosts.delete(&address_key(*addr))?;
        }
        remove(&maps.own, &old.own, &table.own, address)?;
        self.table = table.clone();
        self.set_mac(device::mac(&self.interface)?)
    }

    /// Where the program runs.
    pub fn mode(&self) -> Hook {
        self.hook
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The interface's index.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// The beat of the worker that serves `queue`.
    ///
    /// # Panics
    /// If `queue` is not below [`QUEUES`].
    pub fn heartbeat(&self, queue: u32) -> Heartbeat {
        assert!(queue < QUEUES, "a queue that the steering program knows");
        Heartbeat { beats: Arc::clone(&self.beats), queue: queue as usize }
    }

    /// Sends what is steered on `queue` to this AF_XDP socket, until the socket is closed.
    pub(super) fn register(&self, queue: u32, socket: RawFd) -> io::Result<()> {
        self.maps.xsks.update(&queue.to_ne_bytes(), &socket.to_ne_bytes())
    }

    /// Where frames for the kernel get a ticket past the program, if they need one.
    pub(super) fn tickets(&self) -> io::Result<Option<Map>> {
        (self.hook == Hook::Generic).then(|| self.maps.tickets.try_clone()).transpose()
    }

    fn set_mac(&mut self, mac: Mac) -> io::Result<()> {
        if self.mac == Some(mac) {
            return Ok(());
        }
        self.maps.macs.update(&mac_key(mac), &[1])?;
        if let Some(old) = self.mac.replace(mac) {
            self.maps.macs.delete(&mac_key(old))?;
        }
        Ok(())
    }
}

/// Tells the steering program that a worker is alive.
#[derive(Debug)]
pub struct Heartbeat {
    beats: Arc<Words>,
    queue: usize,
}

impl Heartbeat {
    /// The worker took a turn at `monotonic_ns`, on CLOCK_MONOTONIC.
    #[inline]
    pub fn beat(&self, monotonic_ns: u64) {
        self.beats.word(self.queue).store(monotonic_ns, Ordering::Relaxed);
    }
}

impl Drop for Heartbeat {
    /// A worker that has gone says so, and the kernel takes over at once instead of after [`STALE_AFTER`].
    fn drop(&mut self) {
        self.beat(0);
    }
}

fn load() -> io::Result<(Object, Maps, Words)> {
    let object = Object::load("steer", include_bytes!(concat!(env!("OUT_DIR"), "/steer.bpf.o")))?;
    let maps = Maps {
        services: object.map(c"services")?,
        ranges: object.map(c"ranges")?,
        returns: object.map(c"returns")?,
        own: object.map(c"own")?,
        hosts: object.map(c"hosts")?,
        settings: object.map(c"settings")?,
        macs: object.map(c"macs")?,
        xsks: object.map(c"xsks")?,
        tickets: object.map(c"tickets")?,
    };
    let beats = object.map(c"heartbeat")?.words()?;
    Ok((object, maps, beats))
}

fn attach(
    object: &Object,
    interface: &str,
    ifindex: u32,
    mode: AttachMode,
) -> Result<(Hook, Link), AttachReason> {
    let native = || object.program(c"steer")?.attach_xdp(ifindex, Hook::Native);
    let generic = || object.program(c"steer_generic")?.attach_xdp(ifindex, Hook::Generic);
    if mode != AttachMode::Generic {
        match native() {
            Ok(link) => return Ok((Hook::Native, link)),
            Err(e) if mode == AttachMode::Auto && driver_refuses(&e) => {
                tracing::info!(interface, "no native XDP here ({}): using generic XDP", native_refusal(&e));
            }
            Err(e) if driver_refuses(&e) => return Err(AttachReason::NoNative(e)),
            Err(e) => return Err(AttachReason::of(e, ifindex)),
        }
    }
    let link = generic().map_err(|e| AttachReason::of(e, ifindex))?;
    if device::may_carry_partial_checksums(interface) {
        // Native veth makes its peer segment by itself; generic XDP gets what the sender made, up to 64 kB.
        tracing::warn!(
            "{interface}: with generic XDP, segments larger than a frame are dropped: if senders are on this machine, \
             run `ethtool -K PEER tso off gso off` for the other end of {interface}"
        );
    }
    Ok((Hook::Generic, link))
}

/// Whether the driver said no, rather than the kernel's own checks.
fn driver_refuses(error: &io::Error) -> bool {
    let refusals = [libc::EOPNOTSUPP, libc::ERANGE, libc::EINVAL, libc::ENOSPC, libc::ENOMEM];
    error.raw_os_error().is_some_and(|code| refusals.contains(&code))
}

fn native_refusal(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => "the driver has no native XDP",
        // veth: "Peer MTU is too large to set XDP"; others say EINVAL or EOPNOTSUPP for the same.
        Some(libc::ERANGE) => "the MTU is too large for it: on veth, the peer's may be about 3,500 at most",
        // veth: "XDP expects number of rx queues not less than peer tx queues".
        Some(libc::ENOSPC) => "on veth, the peer has more transmit queues than this end has receive queues",
        Some(libc::ENOMEM) => "the driver found no memory or rings for it",
        _ => "the driver refused: is the MTU too large, or LRO or another offload in its way?",
    }
}

/// Why the steering program could not be attached to an interface.
#[derive(Debug)]
pub struct AttachError {
    /// The interface.
    pub interface: String,
    /// What was in the way.
    pub reason: AttachReason,
}

/// What was in the way of attaching.
#[derive(Debug)]
pub enum AttachReason {
    /// EPERM or EACCES.
    Privilege(io::Error),
    /// The kernel charged maps to locked memory, and the limit did not suffice.
    LockedMemory(io::Error),
    /// No such interface.
    NoInterface,
    /// Another XDP program is attached: its id and name, where known.
    Busy(Option<(u32, String)>),
    /// Native mode was demanded, and the driver refuses it.
    NoNative(io::Error),
    /// More queues than [`QUEUES`].
    TooManyQueues(u32),
    /// Anything else: the kernel or libbpf has the word.
    Other(io::Error),
}

impl AttachReason {
    fn of(error: io::Error, ifindex: u32) -> AttachReason {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => AttachReason::Privilege(error),
            Some(libc::ENODEV) => AttachReason::NoInterface,
            Some(libc::EBUSY | libc::EEXIST) => AttachReason::Busy(bpf::attached_xdp(ifindex)),
            _ => AttachReason::Other(error),
        }
    }
}

fn load_failed(error: io::Error) -> AttachReason {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => AttachReason::Privilege(error),
        Some(libc::ENOMEM | libc::ENOBUFS) => AttachReason::LockedMemory(error),
        _ => AttachReason::Other(error),
    }
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: attaching the steering program: ", self.interface)?;
        match &self.reason {
            AttachReason::Privilege(_) => f.write_str("needs root or CAP_NET_ADMIN, CAP_BPF and CAP_NET_RAW"),
            AttachReason::LockedMemory(_) => {
                f.write_str("not enough lockable memory: raise the memlock limit (ulimit -l unlimited)")
            }
            AttachReason::NoInterface => f.write_str("there is no such interface"),
            AttachReason::Busy(Some((id, name))) => {
                write!(f, "another XDP program is attached: id {id}, name \"{name}\"")
            }
            AttachReason::Busy(None) => f.write_str("another XDP program is attached"),
            AttachReason::NoNative(e) => {
                write!(f, "xdp_mode is native, and that is not possible here: {} ({e})", native_refusal(e))
            }
            AttachReason::TooManyQueues(queues) => {
                write!(f, "{queues} queues; at most {QUEUES} are possible")
            }
            AttachReason::Other(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for AttachError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            AttachReason::Privilege(e) | AttachReason::LockedMemory(e) => Some(e),
            AttachReason::NoNative(e) | AttachReason::Other(e) => Some(e),
            AttachReason::NoInterface | AttachReason::Busy(_) | AttachReason::TooManyQueues(_) => None,
        }
    }
}

fn add<T: Ord, const N: usize>(
    map: &Map,
    old: &BTreeSet<T>,
    new: &BTreeSet<T>,
    key: impl Fn(&T) -> [u8; N],
) -> io::Result<()> {
    new.difference(old).try_for_each(|item| map.update(&key(item), &[1]))
}

fn remove<T: Ord, const N: usize>(
    map: &Map,
    old: &BTreeSet<T>,
    new: &BTreeSet<T>,
    key: impl Fn(&T) -> [u8; N],
) -> io::Result<()> {
    old.difference(new).try_for_each(|item| map.delete(&key(item)))
}

/// `struct address`: IPv4 in its mapped form.
fn address_key(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    }
}

/// `struct endpoint`.
fn endpoint_key(proto: Proto, at: Endpoint) -> [u8; 20] {
    let mut key = [0; 20];
    key[..16].copy_from_slice(&address_key(at.addr));
    key[16..18].copy_from_slice(&at.port.to_be_bytes());
    key[18] = proto as u8;
    key
}

/// `struct mac`.
fn mac_key(mac: Mac) -> [u8; 8] {
    let [a, b, c, d, e, g] = mac.0;
    [a, b, c, d, e, g, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_laid_out_as_the_program_reads_them() {
        let key = endpoint_key(Proto::Udp, "192.0.2.1:53".parse().unwrap());
        assert_eq!(key, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1, 0, 53, 17, 0]);
        let key = endpoint_key(Proto::Tcp, "[2001:db8::1]:80".parse().unwrap());
        assert_eq!(key, [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80, 6, 0]);
        assert_eq!(mac_key(Mac([1, 2, 3, 4, 5, 6])), [1, 2, 3, 4, 5, 6, 0, 0]);
    }

    #[test]
    fn an_address_is_marked_with_what_is_wanted_of_it_and_not_at_all_if_that_is_nothing() {
        let at = |text: &str| (Proto::Tcp, text.parse().unwrap());
        let mut table = SteeringTable {
            services: [at("192.0.2.100:80"), at("[2001:db8::100]:80")].into(),
            returns: [at("[2001:db8::11]:80")].into(),
            own: ["192.0.2.1".parse().unwrap()].into(),
            ..SteeringTable::default()
        };
        assert!(table.hosts().is_empty());
        let addresses = ["192.0.2.1", "192.0.2.100", "2001:db8::11", "2001:db8::100"];
        let marks = |table: &SteeringTable| {
            let hosts = table.hosts();
            addresses.map(|addr| hosts.get(&addr.parse().unwrap()).copied().unwrap_or(0))
        };
        table.fragments = true;
        assert_eq!(marks(&table), [0, 1, 1, 1]);
        table.errors = true;
        assert_eq!(marks(&table), [4, 3, 3, 3]);
    }

    #[test]
    fn an_attach_error_says_whose_program_is_in_the_way() {
        let interface = "eth0".to_owned();
        let error = AttachError { interface, reason: AttachReason::Busy(Some((7, "xdp_filter".into()))) };
        let said = "eth0: attaching the steering program: another XDP program is attached: id 7, name \"xdp_filter\"";
        assert_eq!(error.to_string(), said);
    }

    #[test]
    fn lack_of_privilege_says_what_is_needed() {
        let reason = load_failed(io::Error::from_raw_os_error(libc::EPERM));
        let error = AttachError { interface: "eth0".into(), reason };
        assert!(error.to_string().ends_with("needs root or CAP_NET_ADMIN, CAP_BPF and CAP_NET_RAW"));
    }
}
