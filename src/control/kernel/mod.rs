//! What the kernel knows of the network around the director: links, addresses, routes and neighbours, read over
//! netlink and followed live.
//!
//! ```text
//! kernel --events--> [follower thread] --apply--> View --compile--> Rib
//!    ^                  |  in doubt, or events lost: read everything anew
//!    +----- asks -------+--> "changed" on a channel
//! ```
//!
//! The kernel keeps ARP, NDP and routing; this room only listens, and asks the kernel to resolve a neighbour
//! that the packet path misses. What it does not follow: policy routing (only the main table is read), routes
//! for one type of service or one source, and routes that encapsulate (they lead nowhere). Of a multipath route
//! the first hop whose link is up is taken; the director does not spread packets over the hops.
//!
//! A [`Kernel`] belongs to the network namespace of the thread that opened it.

mod asks;
mod ethtool;
mod netlink;
mod routes;
mod view;

use crate::dataplane::nexthop::Rib;
use crate::net::{InterfaceId, Mac};
use asks::{Asks, Standing, Target};
use crossbeam::channel::{Receiver, Sender, bounded};
use netlink::{Message, Netlink};
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{fmt, io};
use view::View;

/// The RTNLGRP_* of linux/rtnetlink.h: everything that a [`Rib`] is made of.
const GROUPS: [u32; 6] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV6_ROUTE,
];

/// How long the follower sleeps while nothing happens. Bounds how late it refreshes, looks again and ends.
const PULSE: Duration = Duration::from_millis(100);

/// When to read everything anew after a doubt. Twice, because the kernel tells of a link that goes down before
/// it removes the routes through it, and the removal itself goes untold.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// A near match is a name at most so many edits away.
const NEAR: usize = 2;

/// What the kernel knows of the network. See the module for what is followed and what is not.
pub struct Kernel {
    inner: Arc<Inner>,
    /// Until somebody follows.
    events: Mutex<Option<Netlink>>,
}

struct Inner {
    names: Vec<String>,
    view: Mutex<View>,
    asks: Mutex<Asks>,
    requests: Mutex<Netlink>,
}

/// An interface as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The kernel's index of it.
    pub index: u32,
    /// Its MAC; all zeros if it is not an Ethernet interface.
    pub mac: Mac,
    /// IP bytes that fit a frame.
    pub mtu_bytes: u32,
    /// Administratively up.
    pub admin_up: bool,
    /// With carrier.
    pub carrier: bool,
    /// Queues it receives on now: an AF_XDP socket can be bound to each.
    pub rx_queues: u32,
}

/// Why the kernel could not be read or followed.
#[derive(Debug)]
pub enum KernelError {
    /// There is no interface of this name in this network namespace.
    NoInterface {
        /// The name looked for.
        name: String,
        /// The name that was perhaps meant.
        near: Option<String>,
        /// All names there are.
        present: Vec<String>,
    },
    /// Netlink failed.
    Netlink {
        /// What was tried.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// [`Kernel::follow`] was called before.
    Followed,
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KernelError::NoInterface { name, near, present } => {
                write!(f, "interface \"{name}\" does not exist")?;
                if let Some(near) = near {
                    write!(f, "; did you mean \"{near}\"?")?;
                }
                write!(f, " (present: {})", present.join(", "))
            }
            KernelError::Netlink { doing, source } => write!(f, "netlink: cannot {doing}: {source}"),
            KernelError::Followed => f.write_str("the kernel is followed already"),
        }
    }
}

impl std::error::Error for KernelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            KernelError::Netlink { source, .. } => Some(source),
            _ => None,
        }
    }
}

fn failed(doing: &'static str) -> impl Fn(io::Error) -> KernelError {
    move |source| KernelError::Netlink { doing, source }
}

impl Kernel {
    /// Reads what the kernel knows now. [`InterfaceId`] is a place in `interfaces`. From here on events are
    /// kept, so that a later [`Kernel::follow`] misses nothing.
    ///
    /// # Errors
    /// An interface does not exist, or netlink fails.
    pub fn open(interfaces: &[String]) -> Result<Kernel, KernelError> {
        let events = Netlink::subscribed(&GROUPS, PULSE).map_err(failed("subscribe to changes"))?;
        let mut requests = Netlink::open().map_err(failed("open a socket"))?;
        let view = look(&mut requests, interfaces).map_err(failed("read the network's state"))?;
        for (place, name) in interfaces.iter().enumerate() {
            if view.interface(InterfaceId(place as u16)).is_none() {
                return Err(no_interface(name, view.present()));
            }
        }
        let inner = Inner {
            names: interfaces.to_vec(),
            view: Mutex::new(view),
            asks: Mutex::new(Asks::new(Instant::now())),
            requests: Mutex::new(requests),
        };
        Ok(Kernel { inner: Arc::new(inner), events: Mutex::new(Some(events)) })
    }

    /// What the packet path needs to know. An interface that vanished stays in its place, down.
    pub fn rib(&self) -> Rib {
        locked(&self.inner.view).rib()
    }

    /// An interface as it is now; `None` if it has vanished or there is no such id.
    pub fn interface(&self, id: InterfaceId) -> Option<Interface> {
        let (index, link) = {
            let view = locked(&self.inner.view);
            let (index, link) = view.interface(id)?;
            (index, link.clone())
        };
        let queues = ethtool::rx_queues(locked(&self.inner.requests).as_fd(), &link.name);
        Some(Interface {
            index,
            mac: link.mac,
            mtu_bytes: link.mtu_bytes,
            admin_up: link.admin_up,
            carrier: link.carrier,
            // Without an answer, what the driver made room for: for drivers that do not tell, that is one.
            rx_queues: queues.unwrap_or(link.rx_queues).max(1),
            name: link.name,
        })
    }

    /// Follows the kernel in a thread of its own, until the [`Following`] is dropped.
    ///
    /// # Errors
    /// It is followed already, or the system gives no thread.
    pub fn follow(&self) -> Result<Following, KernelError> {
        let events = locked(&self.events).take().ok_or(KernelError::Followed)?;
        let (tell, changes) = bounded(1);
        let stop = Arc::new(AtomicBool::new(false));
        let follower = Follower { inner: self.inner.clone(), events, tell, looks: Vec::new() };
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("lvx-kernel".to_owned())
            .spawn(move || follower.run(&stopped))
            .map_err(failed("start the follower's thread"))?;
        Ok(Following { changes, stop, thread: Some(thread) })
    }

    /// Asks the kernel to resolve a neighbour; does nothing if it is known for sure, its link is down, or it was
    /// asked for within the last 200 ms. What comes of it is told as any other change. Waits for the kernel to
    /// take the request (not for the neighbour), so it is not for a packet's path.
    pub fn ask(&self, interface: InterfaceId, address: IpAddr) {
        let standing = locked(&self.inner.view).standing(interface, address);
        let worth_it = matches!(standing, Some(Standing::Unsure | Standing::Unknown));
        if worth_it && locked(&self.inner.asks).ask((interface, address), Instant::now()) {
            self.inner.solicit((interface, address));
        }
    }

    /// Keeps these neighbours known, and no others, while the kernel is followed: they are asked for every 10 s
    /// unless they are known for sure, and at once when the kernel loses them.
    pub fn keep(&self, neighbours: &[(InterfaceId, IpAddr)]) {
        locked(&self.inner.asks).keep(neighbours.iter().copied());
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").field("interfaces", &self.inner.names).finish_non_exhaustive()
    }
}

/// The thread that follows the kernel; dropping this ends it.
#[derive(Debug)]
pub struct Following {
    changes: Receiver<()>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Following {
    /// Gets a message when [`Kernel::rib`] has changed: one for any number of changes since the last was
    /// taken. Disconnected if the kernel can no longer be followed; the log says why.
    pub fn changes(&self) -> &Receiver<()> {
        &self.changes
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

struct Follower {
    inner: Arc<Inner>,
    events: Netlink,
    tell: Sender<()>,
    /// When to read everything anew.
    looks: Vec<Instant>,
}

impl Follower {
    fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let mut changed = match self.events.events() {
                Ok(messages) => self.take_in(&messages),
                Err(error) if netlink::overrun(&error) => {
                    tracing::info!("the kernel's events came too fast; reading everything anew");
                    self.doubt();
                    false
                }
                Err(error) => {
                    tracing::error!(%error, "the kernel can no longer be followed");
                    return;
                }
            };
            let now = Instant::now();
            if self.looks.iter().any(|at| *at <= now) {
                self.looks.retain(|at| *at > now);
                changed |= self.look_again();
            }
            self.refresh(now);
            if changed {
                // A full channel holds the same message already.
                let _ = self.tell.try_send(());
            }
        }
    }

    fn take_in(&mut self, messages: &[Message]) -> bool {
        let (changed, in_doubt) = {
            let mut view = locked(&self.inner.view);
            let changed = messages.iter().fold(false, |changed, message| view.apply(message) | changed);
            (changed, view.take_doubt())
        };
        if in_doubt {
            self.doubt();
        }
        changed
    }

    /// Plans to read everything anew. Doubts that come in the meantime only move the last look.
    fn doubt(&mut self) {
        let [soon, late] = LOOK_AGAIN.map(|delay| Instant::now() + delay);
        let first = self.looks.first().copied().unwrap_or(soon).min(soon);
        self.looks = vec![first, late];
    }

    fn look_again(&mut self) -> bool {
        let view = match look(&mut locked(&self.inner.requests), &self.inner.names) {
            Ok(view) => view,
            Err(error) => {
                tracing::warn!(%error, "cannot read the network's state; trying again");
                self.looks = LOOK_AGAIN.map(|delay| Instant::now() + delay).to_vec();
                return false;
            }
        };
        let mut known = locked(&self.inner.view);
        let changed = known.rib() != view.rib();
        *known = view;
        changed
    }

    fn refresh(&self, now: Instant) {
        let due = {
            let view = locked(&self.inner.view);
            locked(&self.inner.asks).due(now, |(interface, address)| view.standing(interface, address))
        };
        due.into_iter().for_each(|target| self.inner.solicit(target));
    }
}

impl Inner {
    /// Tells the kernel that a packet waits for this neighbour (NTF_USE): it then sends ARP requests or
    /// neighbour solicitations, and counts the entry as used.
    fn solicit(&self, (interface, address): Target) {
        let Some(index) = locked(&self.view).interface(interface).map(|(index, _)| index) else { return };
        let mut message = NeighbourMessage::default();
        message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.ifindex = index;
        message.header.flags = NeighbourFlags::Use;
        message.attributes = vec![NeighbourAttribute::Destination(match address {
            IpAddr::V4(address) => NeighbourAddress::Inet(address),
            IpAddr::V6(address) => NeighbourAddress::Inet6(address),
        })];
        let answer = locked(&self.requests).request(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE);
        if let Err(error) = answer {
            tracing::debug!(%address, %error, "the kernel does not resolve a neighbour");
        }
    }
}

/// Reads everything.
fn look(requests: &mut Netlink, names: &[String]) -> io::Result<View> {
    let mut view = View::new(names);
    for everything in [
        RouteNetlinkMessage::GetLink(LinkMessage::default()),
        RouteNetlinkMessage::GetAddress(AddressMessage::default()),
        RouteNetlinkMessage::GetRoute(RouteMessage::default()),
        RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()),
    ] {
        for body in requests.dump(&everything)? {
            view.apply(&Message { flags: 0, body });
        }
    }
    // Several routes to one prefix are in doubt when they arrive one by one, but a dump has them in order.
    view.take_doubt();
    Ok(view)
}

fn no_interface(name: &str, present: Vec<String>) -> KernelError {
    let distance = |other: &String| strsim::damerau_levenshtein(name, other);
    let near = present.iter().filter(|p| distance(p) <= NEAR && p.len() > NEAR).min_by_key(|p| distance(p));
    KernelError::NoInterface { name: name.to_owned(), near: near.cloned(), present }
}

/// The room's locks guard plain data that every holder leaves whole, so a panic elsewhere does not spoil it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str) -> String {
        let present = ["docker0", "eth0", "eth1", "lo"].map(str::to_owned).to_vec();
        no_interface(name, present).to_string()
    }

    #[test]
    fn a_missing_interface_is_named_with_what_was_perhaps_meant_and_what_there_is() {
        let present = "(present: docker0, eth0, eth1, lo)";
        let near = r#"interface "ehto" does not exist; did you mean "eth0"? "#;
        assert_eq!(message("ehto"), format!("{near}{present}"));
        assert_eq!(message("wlan7"), format!(r#"interface "wlan7" does not exist {present}"#));
    }
}
