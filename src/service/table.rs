//! Finds the virtual service that a packet addresses.

use super::VirtualService;
use crate::net::{Endpoint, FlowKey, Proto};
use hashbrown::HashMap;
use std::net::IpAddr;

/// All virtual services, by protocol, address and port. Immutable: a change builds a new table.
#[derive(Debug, Default)]
pub struct ServiceTable {
    services: Vec<VirtualService>,
    /// IPv4 services by one word, since every new connection looks here.
    v4: HashMap<u64, u32>,
    /// The same in a row if they are no more than [`FEW`].
    few_v4: Vec<(u64, u32)>,
    v6: HashMap<(Proto, Endpoint), u32>,
}

impl ServiceTable {
    /// A table of these services; of two with the same protocol, address and port the first is found
    /// (the configuration refuses such a pair).
    pub fn new(services: Vec<VirtualService>) -> ServiceTable {
        let (mut v4, mut v6) = (HashMap::new(), HashMap::new());
        for (service, place) in services.iter().zip(0..) {
            match word(service.proto, service.endpoint) {
                Some(word) => v4.entry(word).or_insert(place),
                None => v6.entry((service.proto, service.endpoint)).or_insert(place),
            };
        }
        let few_v4 =
            if v4.len() <= FEW { v4.iter().map(|(&word, &place)| (word, place)).collect() } else { vec![] };
        ServiceTable { services, v4, few_v4, v6 }
    }

    /// The place of the service that answers at `vip` over `proto`.
    pub fn find(&self, proto: Proto, vip: Endpoint) -> Option<usize> {
        let place = match word(proto, vip) {
            Some(word) => self.v4.get(&word),
            None => self.v6.get(&(proto, vip)),
        };
        place.map(|&place| place as usize)
    }

    /// The place of the service that a packet of this key addresses.
    #[inline]
    pub fn addressed_by(&self, key: &FlowKey) -> Option<usize> {
        if !key.is_v4() {
            return self.find(key.proto(), key.dst());
        }
        let (addr, port) = key.dst_v4();
        let word = pack(key.proto(), addr, port);
        if !self.few_v4.is_empty() {
            return self.few_v4.iter().find_map(|&(own, place)| (own == word).then_some(place as usize));
        }
        self.v4.get(&word).map(|&place| place as usize)
    }

    /// Whether clients keep to their servers at the service at this place.
    #[inline]
    pub fn is_persistent(&self, place: usize) -> bool {
        self.services.get(place).is_some_and(|service| service.policy.persistence.is_some())
    }

    /// The services in the operator's order; [`ServiceTable::find`] gives places in this list.
    pub fn services(&self) -> &[VirtualService] {
        &self.services
    }
}

/// So many services are compared one by one sooner than looked up.
const FEW: usize = 8;

fn word(proto: Proto, endpoint: Endpoint) -> Option<u64> {
    match endpoint.addr {
        IpAddr::V4(addr) => Some(pack(proto, addr.to_bits(), endpoint.port)),
        IpAddr::V6(_) => None,
    }
}

const fn pack(proto: Proto, addr: u32, port: u16) -> u64 {
    (proto as u64) << 48 | (addr as u64) << 16 | port as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Policy, SchedulerName, SchedulerOptions};

    #[test]
    fn a_packet_finds_its_service_in_both_families_and_protocols() {
        let at = [
            (Proto::Tcp, "192.0.2.1:80"),
            (Proto::Udp, "192.0.2.1:80"),
            (Proto::Tcp, "192.0.2.1:81"),
            (Proto::Tcp, "[2001:db8::1]:80"),
            (Proto::Udp, "[2001:db8::1]:80"),
        ];
        let service = |&(proto, endpoint): &(Proto, &str)| VirtualService {
            name: endpoint.into(),
            proto,
            endpoint: endpoint.parse().unwrap(),
            scheduler: SchedulerName::Rr,
            options: SchedulerOptions::default(),
            policy: Policy::default(),
            reals: Vec::new(),
        };
        let table = ServiceTable::new(at.iter().map(service).collect());
        for (place, (proto, endpoint)) in at.into_iter().enumerate() {
            let vip: Endpoint = endpoint.parse().unwrap();
            let client = Endpoint::new(vip.addr, 4000);
            assert_eq!(table.find(proto, vip), Some(place));
            assert_eq!(table.addressed_by(&FlowKey::new(proto, client, vip)), Some(place));
            assert_eq!(table.addressed_by(&FlowKey::new(proto, vip, client)), None);
        }
    }

    #[test]
    fn many_services_are_found_as_few_are() {
        for count in [1, FEW, FEW + 1, 100] {
            let vip = |i: usize| Endpoint::v4([192, 0, 2, i as u8].into(), 80);
            let service = |i| VirtualService {
                name: "web".into(),
                proto: Proto::Tcp,
                endpoint: vip(i),
                scheduler: SchedulerName::Rr,
                options: SchedulerOptions::default(),
                policy: Policy::default(),
                reals: Vec::new(),
            };
            let table = ServiceTable::new((0..count).map(service).collect());
            for i in 0..101 {
                let key = FlowKey::new(Proto::Tcp, vip(200), vip(i));
                assert_eq!(table.addressed_by(&key), (i < count).then_some(i), "{i} of {count}");
            }
        }
    }
}
