//! What the director itself can reach, as health checks see it.

use crate::dataplane::snapshot::Published;
use crate::health::{Network, Target};
use crate::net::InterfaceId;
use std::sync::Arc;

/// The links and routes that workers decide by.
pub(super) struct OwnNetwork(pub(super) Arc<Published>);

impl Network for OwnNetwork {
    fn way(&self, target: &Target) -> Option<InterfaceId> {
        // To who is asked in a server's place, there may be ways that lvx does not work on.
        if target.check.addr.is_some() {
            return None;
        }
        let (interface, _) = self.0.current().hops.neighbour_towards(target.server.addr)?;
        Some(interface)
    }

    fn fault(&self, target: &Target, last: Option<InterfaceId>) -> Option<String> {
        if target.check.addr.is_some() {
            return None;
        }
        let hops = &self.0.current().hops;
        let server = target.server.addr;
        let now = hops.neighbour_towards(server).map(|(interface, _)| interface);
        // When a link goes down its routes do, too, and others that lead nowhere may take their place.
        let down = [last, now]
            .into_iter()
            .flatten()
            .find_map(|interface| hops.links().get(interface.index()).filter(|link| !link.up));
        match (down, now) {
            (Some(link), _) => Some(format!("{} is down", link.name)),
            (None, None) => Some(format!("there is no route to {server}")),
            (None, Some(_)) => None,
        }
    }
}
