//! The [`Rib`]: what somebody knows of the network around the director. Plain data: the kernel's word, followed
//! over netlink, or the configuration's in a replay.

use crate::net::{InterfaceId, Mac, Prefix};
use crate::wire::vlan::Tag;
use std::net::IpAddr;

/// What is known of the network around the director. Order does not matter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rib {
    /// The interfaces that lvx works on, and VLANs on them, by [`InterfaceId`].
    pub links: Vec<Link>,
    /// All routes of the main table, those through other interfaces included, so that the longest prefix wins
    /// as it does in the kernel. Connected routes are among them.
    pub routes: Vec<Route>,
    /// Neighbours whose MAC is known, on the interfaces that lvx works on.
    pub neighbours: Vec<Neighbour>,
}

/// An interface that lvx works on.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// The kernel's name of it.
    pub name: String,
    /// Its MAC.
    pub mac: Mac,
    /// IP bytes that fit a frame.
    pub mtu_bytes: u16,
    /// Its addresses with their prefixes, VIPs included.
    pub addresses: Vec<Prefix>,
    /// Whether it can carry packets now (administratively up, with carrier).
    pub up: bool,
    /// What it is, if it is a VLAN.
    pub vlan: Option<Vlan>,
}

/// A VLAN on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vlan {
    /// The interface below, which may be a VLAN itself (QinQ).
    pub parent: InterfaceId,
    /// What frames there are tagged with.
    pub tag: Tag,
}

/// A route to a prefix.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// The destinations.
    pub to: Prefix,
    /// The gateway; `None` means that the destinations are on the interface's own link.
    pub via: Option<IpAddr>,
    /// Where it leads out; `None` for an interface that lvx does not work on, and for blackhole, unreachable
    /// and prohibit routes.
    pub interface: Option<InterfaceId>,
    /// The preferred source address, for packets of the director's own.
    pub source: Option<IpAddr>,
    /// Of two routes to one prefix, the lower metric wins.
    pub metric: u32,
}

/// A neighbour whose MAC is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbour {
    /// On which link.
    pub interface: InterfaceId,
    /// Its IP address.
    pub address: IpAddr,
    /// Its MAC.
    pub mac: Mac,
}
