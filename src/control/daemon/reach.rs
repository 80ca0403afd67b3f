//! What the director itself can reach, as health checks see it.

use super::ProbeRoad;
use crate::dataplane::probe::Goal;
use crate::dataplane::snapshot::Published;
use crate::health::{Failure, Network, PathSocket, Target};
use crate::net::{InterfaceId, Proto};
use rustix::net::{AddressFamily, SocketType};
use std::sync::Arc;

/// What workers decide by, and the road that leads to them.
pub(super) struct OwnNetwork {
    /// Links and routes.
    pub(super) published: Arc<Published>,
    pub(super) road: ProbeRoad,
}

impl Network for OwnNetwork {
    fn way(&self, target: &Target) -> Option<InterfaceId> {
        // To who is asked in a server's place, there may be ways that lvx does not work on.
        if target.check.addr.is_some() {
            return None;
        }
        let (interface, _) = self.published.current().hops.neighbour_towards(target.server.addr)?;
        Some(interface)
    }

    fn fault(&self, target: &Target, last: Option<InterfaceId>) -> Option<String> {
        if target.check.addr.is_some() {
            return None;
        }
        let hops = &self.published.current().hops;
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

    fn lead(&self, target: &Target, proto: Proto) -> Result<PathSocket, Failure> {
        let service = target.service.ok_or_else(|| Failure::own("the check is not along the data path"))?;
        let goal = Goal { service, server: target.server, proto, port: target.check.port };
        let port = self.road.probes.reserve(&goal).map_err(|error| Failure::own(error.to_string()))?;
        let family = if port.vip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let kind = if proto == Proto::Udp { SocketType::DGRAM } else { SocketType::STREAM };
        let socket = self.road.door.socket(family, kind);
        let socket = socket.map_err(|error| Failure::own(format!("enter the data path: {error}")))?;
        Ok(PathSocket { socket, port })
    }
}
