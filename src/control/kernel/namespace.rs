//! The network namespace that the director's own probes along the data path start in. It has one interface, a TUN device
//! whose other end the workers have, and everything but the addresses that probes come from is behind it, virtual
//! services too.
//!
//! It has no name; it and the device are gone when their descriptors are, which the process takes with it however it
//! ends.

use super::netlink::Netlink;
use crate::dataplane::port::device;
use crate::dataplane::port::probe::{Ends, MTU_BYTES};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::{fmt, io};

const DEVICE: &str = "lvx-probe";

/// Nobody; IPv6 has no neighbour that stands for all.
const GATEWAY: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The namespace as it is set up from outside.
pub struct ProbeNamespace {
    netlink: Netlink,
    device: u32,
    addresses: BTreeSet<IpAddr>,
}

impl ProbeNamespace {
    /// Makes a namespace without addresses, and gives out what it takes to enter it and to be its other end.
    ///
    /// # Errors
    /// The kernel's, with what it takes: CAP_SYS_ADMIN, and TUN devices.
    pub fn open() -> io::Result<(ProbeNamespace, Ends)> {
        // A thread cannot go back to where the others are, but it can end.
        let thread = std::thread::Builder::new().name("lvx-namespace".to_owned()).spawn(make)?;
        thread.join().map_err(|_| io::Error::other("a thread panicked"))?
    }

    /// Makes these, and no others, the addresses that probes may come from.
    ///
    /// # Errors
    /// The kernel's. What was done by then is done; call it again.
    pub fn set_addresses(&mut self, wanted: &BTreeSet<IpAddr>) -> io::Result<()> {
        if *wanted == self.addresses {
            return Ok(());
        }
        for &gone in self.addresses.clone().difference(wanted) {
            self.netlink.request(RouteNetlinkMessage::DelAddress(self.address(gone)), 0)?;
            self.addresses.remove(&gone);
        }
        for &new in wanted.difference(&self.addresses.clone()) {
            let add = RouteNetlinkMessage::NewAddress(self.address(new));
            self.netlink.request(add, NLM_F_CREATE | NLM_F_REPLACE)?;
            self.addresses.insert(new);
        }
        // With the last address of a family, its way out went.
        for is_v4 in [true, false] {
            if wanted.iter().any(|addr| addr.is_ipv4() == is_v4) {
                self.lead_out(is_v4)?;
            }
        }
        Ok(())
    }

    fn address(&self, addr: IpAddr) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.family = family(addr.is_ipv4());
        message.header.prefix_len = if addr.is_ipv4() { 32 } else { 128 };
        message.header.flags = AddressHeaderFlags::Nodad;
        message.header.index = self.device;
        message.attributes = vec![AddressAttribute::Local(addr), AddressAttribute::Address(addr)];
        message
    }

    /// Everybody is behind the device, by way of one neighbour without a MAC. It is a permanent one: others find no room
    /// when the kernel's table is full, which the whole machine shares.
    fn lead_out(&mut self, is_v4: bool) -> io::Result<()> {
        let mut neighbour = NeighbourMessage::default();
        neighbour.header.family = family(is_v4);
        neighbour.header.ifindex = self.device;
        neighbour.header.state = NeighbourState::Permanent;
        let destination = match is_v4 {
            // Of all neighbours at the other end of a point-to-point link.
            true => NeighbourAddress::Inet(Ipv4Addr::UNSPECIFIED),
            false => NeighbourAddress::Inet6(GATEWAY),
        };
        neighbour.attributes = vec![NeighbourAttribute::Destination(destination)];
        let mut route = RouteMessage::default();
        route.header.address_family = family(is_v4);
        route.header.table = RouteHeader::RT_TABLE_MAIN;
        route.header.protocol = RouteProtocol::Static;
        route.header.scope = RouteScope::Universe;
        route.header.kind = RouteType::Unicast;
        let gateway = (!is_v4).then_some(RouteAttribute::Gateway(RouteAddress::Inet6(GATEWAY)));
        route.attributes = [RouteAttribute::Oif(self.device)].into_iter().chain(gateway).collect();
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        self.netlink.request(RouteNetlinkMessage::NewNeighbour(neighbour), flags)?;
        self.netlink.request(RouteNetlinkMessage::NewRoute(route), flags)
    }
}

impl fmt::Debug for ProbeNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeNamespace").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

fn family(is_v4: bool) -> AddressFamily {
    if is_v4 { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn needs(what: &str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("a network namespace for them needs {what}: {error}"))
}

/// Leaves the calling thread in the new namespace.
fn make() -> io::Result<(ProbeNamespace, Ends)> {
    device::leave_network().map_err(needs("root or CAP_SYS_ADMIN"))?;
    let namespace = File::open("/proc/thread-self/ns/net")?.into();
    let tun = device::tun(DEVICE).map_err(needs("TUN devices (`modprobe tun`, /dev/net/tun)"))?;
    // Ports are given out again when they have rested; no earlier probe is to hold one.
    fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", "0")?;
    let mut netlink = Netlink::open()?;
    let mut link = LinkMessage::default();
    link.header.index = device::index(DEVICE)?;
    (link.header.flags, link.header.change_mask) = (LinkFlags::Up, LinkFlags::Up);
    link.attributes = vec![LinkAttribute::Mtu(MTU_BYTES as u32)];
    let device = link.header.index;
    netlink.request(RouteNetlinkMessage::SetLink(link), 0)?;
    Ok((ProbeNamespace { netlink, device, addresses: BTreeSet::new() }, Ends { tun, namespace }))
}
