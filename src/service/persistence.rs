//! Persistence: a client's connections go to the server that its first one went to (`ipvsadm -p`, `-M`).

use super::VirtualService;
use crate::net::{Endpoint, FlowKey, Mark, Proto, mask};
use std::net::IpAddr;
use std::time::Duration;

/// How long, and which clients count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Persistence {
    /// How long a template outlives its last use.
    pub lasts: Duration,
    /// Clients whose addresses share so many bits are one; 32 or 128 for each its own.
    pub prefix_len: u8,
}

impl VirtualService {
    /// The key of the template that leads a packet of this key; `None` if the service is not persistent.
    ///
    /// As IPVS keys them (`ip_vs_sched_persist`):
    /// ```text
    /// client's network : 0  >  VIP    : vport
    ///                          VIP    : 0      of all ports, and FTP's control and data connections
    ///                          number : 0      of a group
    /// ```
    pub fn template_key(&self, key: &FlowKey) -> Option<FlowKey> {
        let persistence = self.policy.persistence?;
        let client = Endpoint::new(mask(key.src().addr, persistence.prefix_len), 0);
        if let Some(group) = &self.group {
            let number = if key.is_v4() {
                IpAddr::V4(group.fwmark.into())
            } else {
                IpAddr::V6(u128::from(group.fwmark).into())
            };
            // IPVS has IPPROTO_IP here: the protocols of a group share their templates.
            let key = FlowKey::new(Proto::Tcp, client, Endpoint::new(number, 0));
            return Some(key.marked(Mark::GroupTemplate));
        }
        let Endpoint { addr, port } = key.dst();
        let port = if port == self.endpoint.port && !self.takes_ftp_data() { port } else { 0 };
        Some(FlowKey::new(key.proto(), client, Endpoint::new(addr, port)).marked(Mark::Template))
    }
}
