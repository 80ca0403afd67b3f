//! Floor 4: whether servers are well. Checkers, one for each protocol, and how soon they are believed.
//!
//! [`Driver`] asks every [`Target`] at its pace, on one thread of its own, and tells what changed; what comes of that is
//! decided elsewhere. A probe answers [`Healthy`] or [`Failure`]; [`RiseFall`] makes a [`Health`] of many. Servers that
//! are silent delay nobody else's probe: each target has a task of its own, and one probe under way at most.

#[cfg(test)]
#[cfg(target_os = "linux")]
mod bed;
mod connect;
mod datagram;
mod dialogue;
mod dns;
mod driver;
mod exchange;
mod failure;
mod file;
mod ftp;
mod grpc;
mod hook;
mod http;
mod network;
mod notify;
mod pattern;
mod ping;
mod probe;
mod reply;
mod rise_fall;
mod script;
mod smtp;
mod tcp;
mod tls;
mod udp;

pub use driver::{Driver, Event, Status, What};
pub use failure::Failure;
pub use network::{Network, PathSocket};
pub use notify::Notifier;
pub use rise_fall::{Change, Health, RiseFall, Verdict};
pub use script::Facts;

use crate::net::{Endpoint, Proto};
use crate::service::check::Check;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// A server with what it is asked. Equal targets are one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The server: RIP:rport.
    pub server: Endpoint,
    /// The check.
    pub check: Arc<Check>,
    /// The service whose VIP it is asked at, if the check goes that way: its protocol and address.
    pub service: Option<(Proto, Endpoint)>,
}

impl Target {
    /// Who is asked: the server, or the VIP, unless the check says otherwise.
    pub fn peer(&self) -> SocketAddr {
        let asked = self.service.map_or(self.server, |(_, vip)| vip);
        let addr = self.check.addr.unwrap_or(asked.addr);
        // A service of all ports leads to the server's.
        let port = if asked.port == 0 { self.server.port } else { asked.port };
        SocketAddr::new(addr, self.check.port.unwrap_or(port))
    }
}

/// What a probe that went well has found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Healthy {
    /// The weight that the server asks for.
    pub weight: Option<u16>,
    /// When the certificate expires that it has shown.
    pub certificate_expires: Option<SystemTime>,
}

/// What the mutex guards. Nothing here is half done when a thread panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
