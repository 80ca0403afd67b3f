//! What the log has of the network around the director: links and neighbours, lost and found.

use crate::config;
use crate::control::kernel::{Interface, Kernel};
use crate::dataplane::snapshot::Snapshot;
use crate::net::InterfaceId;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The network as it was said to be last.
#[derive(Debug, Default)]
pub(super) struct Network {
    links: Vec<Link>,
    /// Neighbours whose MACs packets would need, and nobody knows.
    missing: BTreeSet<(InterfaceId, IpAddr)>,
    /// A server that no route leads to.
    unrouted: Option<IpAddr>,
    /// Whether neighbours may have changed.
    is_stale: bool,
}

/// A link, as far as the log cares.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Link {
    Gone,
    Down,
    WithoutCarrier,
    Up { mtu_bytes: u32 },
}

impl From<Option<Interface>> for Link {
    fn from(interface: Option<Interface>) -> Link {
        match interface {
            None => Link::Gone,
            Some(Interface { admin_up: false, .. }) => Link::Down,
            Some(Interface { carrier: false, .. }) => Link::WithoutCarrier,
            Some(Interface { mtu_bytes, .. }) => Link::Up { mtu_bytes },
        }
    }
}

impl Network {
    /// Says what has become of the links. Those that are up at the start are not spoken of.
    pub(super) fn look_at_links(&mut self, interfaces: &[config::Interface], kernel: &Kernel) {
        self.is_stale = true;
        for (place, config::Interface { name: interface, .. }) in interfaces.iter().enumerate() {
            let link = Link::from(kernel.interface(InterfaceId(place as u16)));
            let before = self.links.get(place).cloned();
            match (&before, &link) {
                (Some(before), _) if *before == link => continue,
                (_, Link::Gone) => tracing::error!(interface, "link gone"),
                (_, Link::Down) => tracing::error!(interface, "link down"),
                (_, Link::WithoutCarrier) => tracing::error!(interface, "link without carrier"),
                (None, Link::Up { .. }) => {}
                (Some(Link::Up { mtu_bytes: before }), Link::Up { mtu_bytes }) => {
                    tracing::info!(interface, before, mtu_bytes, "link with another MTU");
                }
                (Some(_), Link::Up { mtu_bytes }) => tracing::info!(interface, mtu_bytes, "link up"),
            }
            match self.links.get_mut(place) {
                Some(known) => *known = link,
                None => self.links.push(link),
            }
        }
    }

    /// Something may have changed of who is needed or known.
    pub(super) fn neighbours_changed(&mut self) {
        self.is_stale = true;
    }

    /// Says which neighbours were lost and found, and whether routes are. Call it each second or so: whoever answers
    /// within that is not lost.
    pub(super) fn look_at_neighbours(&mut self, snapshot: &Snapshot, interfaces: &[config::Interface]) {
        if !std::mem::take(&mut self.is_stale) {
            return;
        }
        // What a link that is down has lost need not be said.
        let is_up = |id: InterfaceId| matches!(self.links.get(id.index()), None | Some(Link::Up { .. }));
        let missing = snapshot.neighbours_missing().into_iter().filter(|&(interface, _)| is_up(interface));
        let missing: BTreeSet<_> = missing.collect();
        let name = |id: InterfaceId| interfaces.get(id.index()).map_or("", |interface| &interface.name);
        for &(interface, neighbour) in missing.difference(&self.missing) {
            tracing::warn!(%neighbour, interface = name(interface), "neighbour lost: its MAC is not known");
        }
        // Or nobody needs it any more.
        let is_known = |&&(interface, neighbour): &&(_, _)| snapshot.hops.knows(interface, neighbour);
        for &(interface, neighbour) in self.missing.difference(&missing).filter(is_known) {
            tracing::info!(%neighbour, interface = name(interface), "neighbour found");
        }
        self.missing = missing;

        let first = snapshot.servers_without_route().next();
        match (self.unrouted, first) {
            (None, Some(first)) => {
                let servers = snapshot.servers_without_route().count();
                tracing::warn!(servers, %first, "there are servers that no route leads to");
            }
            (Some(_), None) => tracing::info!("routes lead to all servers again"),
            _ => {}
        }
        self.unrouted = first;
    }
}
