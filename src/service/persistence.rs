//! Persistence: a client's connections go to the server that its first one went to (`ipvsadm -p`, `-M`).

use super::VirtualService;
use crate::net::{Endpoint, FlowKey, Mark, mask};
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
    /// client's network : 0  >  VIP : vport
    /// ```
    pub fn template_key(&self, key: &FlowKey) -> Option<FlowKey> {
        let persistence = self.policy.persistence?;
        let client = Endpoint::new(mask(key.src().addr, persistence.prefix_len), 0);
        Some(FlowKey::new(key.proto(), client, key.dst()).marked(Mark::Template))
    }
}
