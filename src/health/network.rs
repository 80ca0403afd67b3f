//! The director's own network, as checks see it.

use super::{Failure, Target};
use crate::dataplane::probe::ProbePort;
use crate::net::{InterfaceId, Proto};
use std::os::fd::OwnedFd;

/// The director's own network, whose faults are no server's.
pub trait Network: Send + Sync {
    /// By which interface a target is reached, as far as that is known.
    fn way(&self, target: &Target) -> Option<InterfaceId>;

    /// Why the director itself cannot reach a target, which it reached by this interface when that answered last, if it
    /// did; `None` if nothing is known to be wrong.
    fn fault(&self, target: &Target, last: Option<InterfaceId>) -> Option<String>;

    /// A socket whose packets are forwarded to a target that is asked at its VIP as a client's would be.
    ///
    /// # Errors
    /// The director's own.
    fn lead(&self, target: &Target, proto: Proto) -> Result<PathSocket, Failure>;
}

/// A socket on the data path, not blocking, and neither bound nor connected yet.
#[derive(Debug)]
pub struct PathSocket {
    /// The socket.
    pub socket: OwnedFd,
    /// What it is to be bound and connected to. It leads to the server for as long as it is kept.
    pub port: ProbePort,
}

/// Of such a network nothing is known.
impl Network for () {
    fn way(&self, _: &Target) -> Option<InterfaceId> {
        None
    }

    fn fault(&self, _: &Target, _: Option<InterfaceId>) -> Option<String> {
        None
    }

    fn lead(&self, _: &Target, _: Proto) -> Result<PathSocket, Failure> {
        Err(Failure::own("there is no way along the data path"))
    }
}
