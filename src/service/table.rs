//! Finds the virtual service that a packet addresses.

use super::{ALL_PORTS, FTP_DATA, VirtualService};
use crate::net::{Endpoint, FlowKey, Proto};
use hashbrown::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// All virtual services, by protocol, address and port. Immutable: a change builds a new table.
#[derive(Debug, Default)]
pub struct ServiceTable {
    services: Vec<Arc<VirtualService>>,
    /// IPv4 services by one word, since every new connection looks here.
    v4: HashMap<u64, u32>,
    /// The same in a row if they are no more than [`FEW`].
    few_v4: Vec<(u64, u32)>,
    v6: HashMap<(Proto, Endpoint), u32>,
    /// By address, what answers at many ports of it: looked at when nothing answers at just the one.
    wide: HashMap<(Proto, IpAddr), Wide>,
}

/// The services that answer at many ports of an address.
#[derive(Debug, Default)]
struct Wide {
    /// First port, last port, and whose they are; they do not overlap.
    ranges: Vec<(u16, u16, u32)>,
    /// Whose FTP's data connections are.
    ftp: Option<u32>,
    /// Whose all other ports are.
    all: Option<u32>,
}

impl Wide {
    /// As in IPVS: FTP's data connections, then the service of port 0.
    fn find(&self, port: u16) -> Option<u32> {
        let within = |first, last| (first..=last).contains(&port);
        let range = self.ranges.iter().find(|&&(first, last, _)| within(first, last));
        let is_ftp_data = || FTP_DATA.into_iter().any(|(first, last)| within(first, last));
        range.map(|&(.., place)| place).or_else(|| self.ftp.filter(|_| is_ftp_data())).or(self.all)
    }
}

impl ServiceTable {
    /// A table of these services; of two with the same protocol, address and port the first is found
    /// (the configuration refuses such a pair). A service that did not change is best given as the same one.
    pub fn new(services: Vec<impl Into<Arc<VirtualService>>>) -> ServiceTable {
        let services: Vec<Arc<VirtualService>> = services.into_iter().map(Into::into).collect();
        let (mut v4, mut v6) = (HashMap::new(), HashMap::new());
        let mut wide: HashMap<_, Wide> = HashMap::new();
        for (service, place) in services.iter().zip(0..) {
            for at in service.matches() {
                if at.count() > SHORT {
                    let wide = wide.entry((at.proto, at.addr)).or_default();
                    match at.ports {
                        ALL_PORTS => drop(wide.all.get_or_insert(place)),
                        (first, last) => wide.ranges.push((first, last, place)),
                    }
                    continue;
                }
                for port in at.each_port() {
                    let endpoint = Endpoint::new(at.addr, port);
                    match word(at.proto, endpoint) {
                        Some(word) => v4.entry(word).or_insert(place),
                        None => v6.entry((at.proto, endpoint)).or_insert(place),
                    };
                }
            }
            if service.takes_ftp_data() {
                wide.entry((service.proto, service.endpoint.addr)).or_default().ftp.get_or_insert(place);
            }
        }
        let few_v4 =
            if v4.len() <= FEW { v4.iter().map(|(&word, &place)| (word, place)).collect() } else { vec![] };
        ServiceTable { services, v4, few_v4, v6, wide }
    }

    /// The place of the service that answers at `vip` over `proto`. Port 0 finds the service of all ports, too.
    pub fn find(&self, proto: Proto, vip: Endpoint) -> Option<usize> {
        let place = match word(proto, vip) {
            Some(word) => self.v4.get(&word),
            None => self.v6.get(&(proto, vip)),
        };
        place.map(|&place| place as usize).or_else(|| self.find_wide(proto, vip))
    }

    fn find_wide(&self, proto: Proto, vip: Endpoint) -> Option<usize> {
        if self.wide.is_empty() {
            return None;
        }
        self.wide.get(&(proto, vip.addr))?.find(vip.port).map(|place| place as usize)
    }

    /// The place of the service that a packet of this key addresses.
    #[inline]
    pub fn addressed_by(&self, key: &FlowKey) -> Option<usize> {
        if !key.is_v4() {
            return self.find(key.proto(), key.dst());
        }
        let (addr, port) = key.dst_v4();
        let word = pack(key.proto(), addr, port);
        let exact = if self.few_v4.is_empty() {
            self.v4.get(&word).map(|&place| place as usize)
        } else {
            self.few_v4.iter().find_map(|&(own, place)| (own == word).then_some(place as usize))
        };
        exact.or_else(|| self.find_wide(key.proto(), key.dst()))
    }

    /// Whether there is more to a new connection to the service at this place than to ask its scheduler for a server.
    #[inline]
    pub fn is_out_of_the_ordinary(&self, place: usize) -> bool {
        let is = |service: &Arc<VirtualService>| {
            service.policy.persistence.is_some() || service.policy.ftp.is_some()
        };
        self.services.get(place).is_some_and(is)
    }

    /// The services in the operator's order; [`ServiceTable::find`] gives places in this list.
    pub fn services(&self) -> &[Arc<VirtualService>] {
        &self.services
    }
}

/// So many ports of a match are looked up one by one.
pub(super) const SHORT: usize = 256;

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
            group: None,
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
                group: None,
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
