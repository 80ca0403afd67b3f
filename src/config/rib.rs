//! The network around the director as the configuration tells it, for a replay that has no kernel to ask.

use super::{Config, ConfigError, ConfigErrors, Interface};
use crate::dataplane::nexthop::{Link, Neighbour, Rib, Route};
use crate::net::{InterfaceId, Mac, Prefix};
use std::collections::HashSet;

/// Ethernet's (RFC 894).
const DEFAULT_MTU_BYTES: u16 = 1500;

impl Config {
    /// The interfaces, which are all up, their connected routes, and the static routes and neighbours.
    ///
    /// # Errors
    /// An interface whose MAC is not written. No file is named: the configuration does not know its own.
    pub fn rib(&self) -> Result<Rib, ConfigErrors> {
        let (links, missing): (Vec<_>, Vec<_>) =
            self.interfaces.iter().map(|interface| self.link(interface)).partition(Result::is_ok);
        if let Some(errors) = ConfigErrors::new(missing.into_iter().filter_map(Result::err).collect()) {
            return Err(errors);
        }

        let connected = self
            .interfaces
            .iter()
            .enumerate()
            .flat_map(|(index, interface)| interface.connected_routes(InterfaceId(index as u16)));
        let written = self.routes.iter().map(|route| Route {
            to: route.to,
            via: route.via,
            interface: Some(route.interface),
            source: route.source,
            metric: 0,
        });
        let neighbours = self.neighbours.iter().map(|neighbour| Neighbour {
            interface: neighbour.interface,
            address: neighbour.address,
            mac: neighbour.mac,
        });
        Ok(Rib {
            links: links.into_iter().flatten().collect(),
            routes: connected.chain(written).collect(),
            neighbours: neighbours.collect(),
        })
    }
}

impl Config {
    fn link(&self, interface: &Interface) -> Result<Link, ConfigError> {
        let mac: Mac = self.mac(interface).ok_or_else(|| ConfigError {
            file: None,
            position: None,
            message: format!(
                "interface {:?}: lvx replay needs `mac` (allowed: such as mac = \"02:00:00:00:00:01\")",
                interface.name
            ),
        })?;
        Ok(Link {
            name: interface.name.clone(),
            mac,
            mtu_bytes: interface.mtu_bytes.unwrap_or(DEFAULT_MTU_BYTES),
            addresses: interface.addresses.clone(),
            up: true,
            vlan: interface.vlan,
        })
    }

    /// A VLAN's is its parent's if it has none of its own. Parents come before their VLANs.
    fn mac(&self, interface: &Interface) -> Option<Mac> {
        let parent = || self.interfaces.get(interface.vlan?.parent.index());
        interface.mac.or_else(|| self.mac(parent()?))
    }
}

impl Interface {
    /// A route to each prefix that an address brings with it. Of two addresses in one prefix the first is the
    /// source, as the kernel has it; an address of its full length (a VIP) brings no route.
    fn connected_routes(&self, id: InterfaceId) -> impl Iterator<Item = Route> + '_ {
        let mut seen = HashSet::new();
        self.addresses.iter().filter(|address| **address != Prefix::host(address.addr)).filter_map(
            move |address| {
                let to = Prefix { addr: address.network(), len: address.len };
                seen.insert(to).then_some(Route {
                    to,
                    via: None,
                    interface: Some(id),
                    source: Some(address.addr),
                    metric: 0,
                })
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;
    use crate::dataplane::nexthop::NextHops;
    use crate::net::InterfaceId;

    const TWO_ARMS: &str = r#"
        [[interface]]
        name = "eth0"
        mac = "02:00:00:00:00:01"
        addresses = ["192.0.2.1/24", "192.0.2.2/24", "192.0.2.100/32"]
        [[interface]]
        name = "eth1"
        mac = "02:00:00:00:00:02"
        addresses = ["10.0.0.1/24"]
        mtu = 9000
        [[route]]
        to = "0.0.0.0/0"
        via = "192.0.2.254"
        [[neighbour]]
        address = "10.0.0.11"
        mac = "02:00:00:00:00:11"
    "#;

    #[test]
    fn a_replay_knows_the_written_network_and_the_routes_that_its_addresses_bring() {
        let rib = parse("f", TWO_ARMS).unwrap().rib().unwrap();
        let links: Vec<_> = rib.links.iter().map(|l| (l.name.as_str(), l.mtu_bytes, l.up)).collect();
        assert_eq!(links, [("eth0", 1500, true), ("eth1", 9000, true)]);
        assert_eq!(rib.links[0].addresses.len(), 3, "the VIP is an address all the same");

        let routes: Vec<String> = rib
            .routes
            .iter()
            .map(|r| format!("{} via {:?} on {:?} from {:?}", r.to, r.via, r.interface.unwrap().0, r.source))
            .collect();
        assert_eq!(
            routes,
            [
                "192.0.2.0/24 via None on 0 from Some(192.0.2.1)",
                "10.0.0.0/24 via None on 1 from Some(10.0.0.1)",
                "0.0.0.0/0 via Some(192.0.2.254) on 0 from None",
            ]
        );
        let [neighbour] = &rib.neighbours[..] else { panic!("one neighbour, not {:?}", rib.neighbours) };
        assert_eq!(neighbour.interface, InterfaceId(1), "the interface whose prefix holds it");
    }

    #[test]
    fn a_replay_knows_an_ipv6_network_likewise() {
        let text = r#"
            [[interface]]
            name = "eth0"
            mac = "02:00:00:00:00:01"
            addresses = ["192.0.2.1/24", "2001:db8::1/64", "2001:db8::100/128", "fe80::1/64"]
            [[interface]]
            name = "eth1"
            mac = "02:00:00:00:00:02"
            addresses = ["fe80::2/64"]
            [[route]]
            to = "::/0"
            via = "fe80::9"
            interface = "eth1"
            source = "2001:db8::1"
            [[neighbour]]
            address = "2001:db8::11"
            mac = "02:00:00:00:00:11"
            [[neighbour]]
            address = "fe80::9"
            interface = "eth1"
            mac = "02:00:00:00:00:99"
        "#;
        let rib = parse("f", text).unwrap().rib().unwrap();
        let routes: Vec<String> = rib
            .routes
            .iter()
            .map(|r| format!("{} via {:?} on {}", r.to, r.via, r.interface.unwrap().0))
            .collect();
        assert_eq!(
            routes,
            [
                "192.0.2.0/24 via None on 0",
                "2001:db8::/64 via None on 0",
                "fe80::/64 via None on 0",
                "fe80::/64 via None on 1",
                "::/0 via Some(fe80::9) on 1",
            ]
        );
        let neighbours: Vec<_> =
            rib.neighbours.iter().map(|n| (n.address.to_string(), n.interface.0)).collect();
        assert_eq!(neighbours, [("2001:db8::11".to_owned(), 0), ("fe80::9".to_owned(), 1)]);

        let hops = NextHops::new(&rib, None);
        let way = hops.find("2001:db8:ffff::1".parse().unwrap()).unwrap();
        assert_eq!((way.hop.interface, way.hop.macs[5]), (InterfaceId(1), 0x99));
        let there = hops.find("2001:db8::11".parse().unwrap()).unwrap();
        assert_eq!((there.hop.interface, there.hop.macs[5]), (InterfaceId(0), 0x11));
    }

    #[test]
    fn every_interface_without_a_mac_is_an_error_that_names_it() {
        let text = "[[interface]]\nname = \"eth0\"\n[[interface]]\nname = \"eth1\"\n";
        let errors = parse("f", text).unwrap().rib().unwrap_err().in_file("r.toml").to_string();
        let lines: Vec<&str> = errors.lines().collect();
        assert_eq!(lines.len(), 2, "{errors}");
        assert!(lines[0].starts_with("r.toml: interface \"eth0\": lvx replay needs `mac`"), "{errors}");
        assert!(lines[1].starts_with("r.toml: interface \"eth1\": lvx replay needs `mac`"), "{errors}");
    }
}
