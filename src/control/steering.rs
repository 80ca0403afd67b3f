//! What the steering programs are told of services and servers.

use super::desired::Key;
use super::publish::Publisher;
use crate::net::{Endpoint, Proto};
use crate::service::{FTP_DATA, Match, RealServer, VirtualService};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// So many ports of a match are named one by one.
const SHORT: usize = 256;

/// The services' endpoints, one by one.
pub(super) fn endpoints(services: &[Arc<VirtualService>]) -> BTreeSet<(Proto, Endpoint)> {
    let short = all(services).into_iter().filter(|to| to.count() <= SHORT);
    short.flat_map(|to| to.each_port().map(move |port| (to.proto, Endpoint::new(to.addr, port)))).collect()
}

/// Those of so many ports that they are named by the first and the last. An address has one such range: what lies
/// between two of them comes to the director, too, which leaves it to the host.
pub(super) fn ranges(services: &[Arc<VirtualService>]) -> BTreeMap<(Proto, IpAddr), (u16, u16)> {
    let mut ranges = BTreeMap::new();
    for Match { proto, addr, ports } in all(services).into_iter().filter(|to| to.count() > SHORT) {
        let range = ranges.entry((proto, addr)).or_insert(ports);
        *range = (range.0.min(ports.0), range.1.max(ports.1));
    }
    ranges
}

/// Where the service's masqueraded servers answer from, those that left it included; port 0 if from many ports.
pub(super) fn returns(service: &VirtualService, publisher: &Publisher) -> Vec<(Proto, Endpoint)> {
    let map = service.port_map();
    let departed = publisher.departed_from(Key::from(service));
    let servers = service.reals.iter().chain(departed).filter(|real| real.method.sees_replies());
    let protos: BTreeSet<Proto> = service.matches().iter().map(|to| to.proto).collect();
    let from = |real: &RealServer| {
        let port = if map.is_one_port(real.endpoint.port) { real.endpoint.port } else { 0 };
        Endpoint::new(real.endpoint.addr, port)
    };
    servers.flat_map(|real| protos.iter().map(move |&proto| (proto, from(real)))).collect()
}

/// What clients address, and where FTP's data may go.
fn all(services: &[Arc<VirtualService>]) -> Vec<Match> {
    let mut all: Vec<Match> = services.iter().flat_map(|service| service.matches()).collect();
    for service in services.iter().filter(|service| service.takes_ftp_data()) {
        // In DR and TUN they are known by the client's template alone.
        let can_tell = service.policy.persistence.is_some()
            || service.reals.iter().any(|real| real.method.sees_replies());
        let Endpoint { addr, .. } = service.endpoint;
        let data = FTP_DATA.into_iter().filter(|_| can_tell);
        all.extend(data.map(|ports| Match { proto: service.proto, addr, ports }));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::conntrack::{Seed, Table};

    fn publisher(services: &str) -> Publisher {
        let table = Arc::new(Table::new(8, Seed::new(1, 2)).unwrap());
        let mut publisher = Publisher::new(table, Arc::default(), vec![Arc::default()], Vec::new());
        let text = format!("[[interface]]\nname = \"eth0\"\n{services}");
        publisher.set_services(&config::parse("f", &text).unwrap_or_else(|e| panic!("{e}"))).unwrap();
        publisher
    }

    const SERVER: &str = "[[virtual_service.real_server]]\naddress = \"10.0.0.11\"\n";

    /// What is steered: endpoints, ranges, and where replies come from.
    fn steered(services: &str) -> [Vec<String>; 3] {
        let publisher = publisher(services);
        let services = publisher.services().table().services();
        let text = |(proto, at): &(Proto, Endpoint)| format!("{proto} {at}");
        let range = |((proto, addr), (first, last)): ((Proto, IpAddr), (u16, u16))| {
            format!("{proto} {addr}:{first}-{last}")
        };
        let returns = services.iter().flat_map(|service| returns(service, &publisher));
        [
            endpoints(services).iter().map(text).collect(),
            ranges(services).into_iter().map(range).collect(),
            returns.map(|from| text(&from)).collect(),
        ]
    }

    #[test]
    fn a_service_of_all_ports_and_a_group_are_steered_with_all_that_is_theirs() {
        let all = format!(
            "[[virtual_service]]\naddress = \"192.0.2.1\"\npersistent = true\nforward = \"nat\"\n{SERVER}"
        );
        assert_eq!(
            steered(&all),
            [vec![], vec!["TCP 192.0.2.1:0-65535".to_owned()], vec!["TCP 10.0.0.11:0".to_owned()]]
        );
        let group = format!(
            "[[virtual_service]]\nfwmark = 5\nforward = \"nat\"\n\
             match = [{{ address = \"192.0.2.1:80-81\" }}, {{ address = \"192.0.2.2:1000-3000\", protocol = \"udp\" }},\
             {{ address = \"192.0.2.2:5000-6000\", protocol = \"udp\" }}]\n{SERVER}"
        );
        let [endpoints, ranges, returns] = steered(&group);
        assert_eq!(endpoints, ["TCP 192.0.2.1:80", "TCP 192.0.2.1:81"]);
        assert_eq!(ranges, ["UDP 192.0.2.2:1000-6000"]);
        assert_eq!(returns, ["TCP 10.0.0.11:0", "UDP 10.0.0.11:0"]);
    }

    #[test]
    fn ftps_data_is_steered_where_it_can_be_told_whose_it_is() {
        let ftp = |more: &str| {
            steered(&format!("[[virtual_service]]\naddress = \"192.0.2.1:21\"\n{more}\n{SERVER}"))
        };
        let data = ["TCP 192.0.2.1:1024-65535"];
        let [endpoints, ranges, returns] = ftp("forward = \"nat\"");
        assert_eq!(endpoints, ["TCP 192.0.2.1:20", "TCP 192.0.2.1:21"]);
        assert_eq!(
            (&ranges[..], &returns[..]),
            (&data.map(String::from)[..], &["TCP 10.0.0.11:0".to_owned()][..])
        );
        assert_eq!(ftp("persistent = true")[1], data);
        for without in ["", "forward = \"nat\"\nhelper = \"none\""] {
            let [endpoints, ranges, _] = ftp(without);
            assert_eq!((endpoints, ranges), (vec!["TCP 192.0.2.1:21".to_owned()], vec![]));
        }
    }
}
