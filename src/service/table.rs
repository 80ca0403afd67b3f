//! Finds the virtual service that a packet addresses.

use super::VirtualService;
use crate::net::{Endpoint, Proto};
use hashbrown::HashMap;

/// All virtual services, by protocol, address and port. Immutable: a change builds a new table.
#[derive(Debug, Default)]
pub struct ServiceTable {
    services: Vec<VirtualService>,
    by_address: HashMap<(Proto, Endpoint), u32>,
}

impl ServiceTable {
    /// A table of these services; of two with the same protocol, address and port the first is found
    /// (the configuration refuses such a pair).
    pub fn new(services: Vec<VirtualService>) -> ServiceTable {
        let mut by_address = HashMap::with_capacity(services.len());
        for (index, service) in services.iter().enumerate() {
            by_address.entry((service.proto, service.endpoint)).or_insert(index as u32);
        }
        ServiceTable { services, by_address }
    }

    /// The place of the service that answers at `vip` over `proto`.
    #[inline]
    pub fn find(&self, proto: Proto, vip: Endpoint) -> Option<usize> {
        self.by_address.get(&(proto, vip)).map(|&index| index as usize)
    }

    /// The services in the operator's order; [`ServiceTable::find`] gives places in this list.
    pub fn services(&self) -> &[VirtualService] {
        &self.services
    }
}
