//! Where the next hop is: routes and neighbours, compiled for the packet path.
//!
//! The [`Rib`] is what the kernel (or a replay's configuration) says; [`NextHops`] is that, compiled: the longest
//! prefix first, every next hop with its MACs in wire order. A hop keeps its number while the routes stay as they
//! are, so that a connection may remember it.

mod prefixes;
mod rib;
mod vlans;

pub use rib::{Link, Neighbour, Rib, Route, Vlan};
pub use vlans::{Tags, Vlans};

use crate::net::{InterfaceId, Mac, Prefix, is_link_local};
use hashbrown::HashMap;
use prefixes::Prefixes;
use std::net::IpAddr;

/// A neighbour on a link, to whom frames are handed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The link it is on.
    pub interface: InterfaceId,
    /// Destination and source MAC, as a frame begins.
    pub macs: [u8; 12],
    /// IP bytes that fit a frame on that link.
    pub mtu_bytes: u16,
}

/// A hop's number together with the age of the routes it was found by; 0 is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HopNumber(pub u64);

/// Why there is no next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// No route, or a route out of an interface that lvx does not work on.
    Route,
    /// The neighbour's MAC is not known.
    Neighbour(InterfaceId, IpAddr),
}

/// The way to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The next hop.
    pub hop: Hop,
    /// Its number, if the destination may be remembered by one.
    pub number: HopNumber,
}

/// A route's end: where to, before the neighbour is looked up.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Target {
    interface: Option<InterfaceId>,
    via: Option<IpAddr>,
    source: Option<IpAddr>,
    metric: u32,
    /// The gateway's number, if its MAC is known.
    gateway: Option<u32>,
}

/// Routes and next hops as the packet path uses them. Immutable.
#[derive(Debug, Default)]
pub struct NextHops {
    links: Vec<Link>,
    hops: Vec<Hop>,
    numbers: HashMap<(InterfaceId, IpAddr), u32>,
    v4: Prefixes<u32, Target>,
    v6: Prefixes<u128, Target>,
    /// Never 0, another whenever a remembered number may lead elsewhere.
    age: u32,
    vlans: Vlans,
    /// What `routes` and `links` were made of, to see whether they changed.
    made_of: (Vec<Link>, Vec<Route>),
}

impl NextHops {
    /// Compiles a rib. `before` is what was compiled last: its hop numbers stay good if only neighbours changed.
    pub fn new(rib: &Rib, before: Option<&NextHops>) -> NextHops {
        let made_of = (rib.links.clone(), rib.routes.clone());
        let same = before.filter(|b| b.made_of == made_of && b.hops.len() < MANY);
        let mut next = NextHops {
            links: rib.links.clone(),
            hops: Vec::new(),
            numbers: HashMap::new(),
            v4: Prefixes::default(),
            v6: Prefixes::default(),
            age: before.map_or(1, |b| if same.is_some() { b.age } else { b.age.wrapping_add(1).max(1) }),
            vlans: Vlans::new(&rib.links),
            made_of,
        };
        for neighbour in &rib.neighbours {
            let known = same.and_then(|b| b.numbers.get(&(neighbour.interface, neighbour.address)));
            if let Some(&number) = known {
                next.set_hop(number, neighbour);
            }
        }
        // A number once given is not given to another neighbour while the age stands.
        next.hops.resize(next.hops.len().max(same.map_or(0, |b| b.hops.len())), NOBODY);
        for neighbour in &rib.neighbours {
            if !next.numbers.contains_key(&(neighbour.interface, neighbour.address)) {
                next.set_hop(next.hops.len() as u32, neighbour);
            }
        }
        next.set_routes(&rib.routes);
        next
    }

    fn set_routes(&mut self, routes: &[Route]) {
        let target = |route: &Route| {
            let gateway = route.interface.zip(route.via).and_then(|g| self.numbers.get(&g).copied());
            let Route { interface, via, source, metric, .. } = *route;
            Target { interface, via, source, metric, gateway }
        };
        let lower_metric = |a: &Target, b: &Target| a.metric < b.metric;
        let v4 = routes.iter().filter_map(|route| {
            let IpAddr::V4(network) = route.to.network() else { return None };
            let mask = u32::MAX.checked_shl(32 - u32::from(route.to.len)).unwrap_or(0);
            Some((mask, network.to_bits(), target(route)))
        });
        let v6 = routes.iter().filter_map(|route| {
            let IpAddr::V6(network) = route.to.network() else { return None };
            let mask = u128::MAX.checked_shl(128 - u32::from(route.to.len)).unwrap_or(0);
            Some((mask, network.to_bits(), target(route)))
        });
        (self.v4, self.v6) = (Prefixes::new(v4, lower_metric), Prefixes::new(v6, lower_metric));
    }

    fn set_hop(&mut self, number: u32, neighbour: &Neighbour) {
        let Some(link) = self.links.get(neighbour.interface.index()) else { return };
        let hop = Hop {
            interface: neighbour.interface,
            macs: frame_start(neighbour.mac, link.mac),
            mtu_bytes: if link.up { link.mtu_bytes } else { 0 },
        };
        if self.hops.len() <= number as usize {
            self.hops.resize(number as usize + 1, NOBODY);
        }
        self.hops[number as usize] = hop;
        self.numbers.insert((neighbour.interface, neighbour.address), number);
    }

    /// The interfaces that lvx works on, and VLANs on them.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The VLANs among them.
    #[inline]
    pub fn vlans(&self) -> &Vlans {
        &self.vlans
    }

    /// The hop of a number given earlier; `None` if the routes have changed since or the neighbour is gone.
    #[inline]
    pub fn numbered(&self, number: HopNumber) -> Option<&Hop> {
        let hop = self.hops.get(number.0 as u32 as usize)?;
        ((number.0 >> 32) as u32 == self.age && hop.mtu_bytes > 0).then_some(hop)
    }

    /// The way to an address.
    ///
    /// # Errors
    /// [`Missing`] says what is not known.
    pub fn find(&self, to: IpAddr) -> Result<Way, Missing> {
        self.way(self.route(to), to)
    }

    /// The way to an IPv4 address.
    ///
    /// # Errors
    /// As [`NextHops::find`].
    #[inline]
    pub fn find_v4(&self, to: u32) -> Result<Way, Missing> {
        self.way(self.v4.find(to), IpAddr::V4(to.into()))
    }

    /// The way to an IPv6 address.
    ///
    /// # Errors
    /// As [`NextHops::find`].
    #[inline]
    pub fn find_v6(&self, to: u128) -> Result<Way, Missing> {
        self.way(self.v6.find(to), IpAddr::V6(to.into()))
    }

    /// The number of the next hop towards an IPv4 address, to be remembered.
    ///
    /// # Errors
    /// As [`NextHops::find`].
    #[inline]
    pub fn number_v4(&self, to: u32) -> Result<HopNumber, Missing> {
        self.usable(self.v4.find(to), || IpAddr::V4(to.into())).map(|(number, _)| number)
    }

    /// The same towards an IPv6 address.
    ///
    /// # Errors
    /// As [`NextHops::find`].
    #[inline]
    pub fn number_v6(&self, to: u128) -> Result<HopNumber, Missing> {
        self.usable(self.v6.find(to), || IpAddr::V6(to.into())).map(|(number, _)| number)
    }

    #[inline]
    fn way(&self, target: Option<&Target>, to: IpAddr) -> Result<Way, Missing> {
        let (number, hop) = self.usable(target, || to)?;
        Ok(Way { hop: *hop, number })
    }

    #[inline]
    fn usable(
        &self,
        target: Option<&Target>,
        to: impl FnOnce() -> IpAddr,
    ) -> Result<(HopNumber, &Hop), Missing> {
        let target = target.ok_or(Missing::Route)?;
        let interface = target.interface.ok_or(Missing::Route)?;
        let number =
            target.gateway.map_or_else(|| self.neighbour(interface, target.via.unwrap_or_else(to)), Ok)?;
        let hop = self.hops.get(number as usize).ok_or(Missing::Route)?;
        if hop.mtu_bytes == 0 {
            return Err(Missing::Route); // the link is down
        }
        Ok((HopNumber((self.age as u64) << 32 | number as u64), hop))
    }

    fn neighbour(&self, interface: InterfaceId, address: IpAddr) -> Result<u32, Missing> {
        self.numbers.get(&(interface, address)).copied().ok_or(Missing::Neighbour(interface, address))
    }

    /// The director's own address for packets to an address: the route's preferred source, or else the first
    /// address of the interface that shares the next hop's subnet, or else its first address.
    ///
    /// IPv6 gateways are often known by a link-local address, and the interface has one beside it; packets that go
    /// further do not start from there (RFC 6724, rule 2).
    pub fn source_for(&self, to: IpAddr) -> Option<IpAddr> {
        let target = self.route(to)?;
        let link = self.links.get(target.interface?.index())?;
        let next = target.via.unwrap_or(to);
        let fits =
            |p: &&Prefix| p.addr.is_ipv4() == to.is_ipv4() && (is_link_local(to) || !is_link_local(p.addr));
        let of_subnets = || link.addresses.iter().filter(fits).filter(|p| p.len < Prefix::host(p.addr).len);
        let near = of_subnets().find(|p| p.contains(next));
        let any = || match to {
            IpAddr::V4(_) => link.addresses.iter().find(fits),
            // An address of its full length is a VIP, if there is another.
            IpAddr::V6(_) => of_subnets().next().or_else(|| link.addresses.iter().find(fits)),
        };
        target.source.or_else(|| near.or_else(any).map(|p| p.addr))
    }

    /// Who has to be known for packets to reach an address: the gateway, or the address itself.
    pub fn neighbour_towards(&self, to: IpAddr) -> Option<(InterfaceId, IpAddr)> {
        let target = self.route(to)?;
        Some((target.interface?, target.via.unwrap_or(to)))
    }

    /// Whether a neighbour's MAC is known.
    pub fn knows(&self, interface: InterfaceId, neighbour: IpAddr) -> bool {
        self.numbers.contains_key(&(interface, neighbour))
    }

    fn route(&self, to: IpAddr) -> Option<&Target> {
        match to {
            IpAddr::V4(to) => self.v4.find(to.to_bits()),
            IpAddr::V6(to) => self.v6.find(to.to_bits()),
        }
    }
}

/// More neighbours than this, most of them gone, and numbers are given anew.
const MANY: usize = 1 << 19;

/// A neighbour number that nobody has (any more).
const NOBODY: Hop = Hop { interface: InterfaceId(0), macs: [0; 12], mtu_bytes: 0 };

fn frame_start(dst: Mac, src: Mac) -> [u8; 12] {
    let mut macs = [0; 12];
    macs[..6].copy_from_slice(&dst.0);
    macs[6..].copy_from_slice(&src.0);
    macs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn route(to: &str, via: Option<&str>, interface: Option<u16>, metric: u32) -> Route {
        let interface = interface.map(InterfaceId);
        Route { to: to.parse().unwrap(), via: via.map(ip), interface, source: None, metric }
    }

    fn neighbour(interface: u16, address: &str, last: u8) -> Neighbour {
        Neighbour { interface: InterfaceId(interface), address: ip(address), mac: Mac([2, 0, 0, 0, 0, last]) }
    }

    fn link(name: &str, address: &str, last: u8) -> Link {
        let addresses = vec!["10.0.0.100/32".parse().unwrap(), address.parse().unwrap()];
        Link {
            name: name.into(),
            mac: Mac([2, 0, 0, 0, 1, last]),
            mtu_bytes: 1500,
            addresses,
            up: true,
            vlan: None,
        }
    }

    fn rib() -> Rib {
        Rib {
            links: vec![link("out", "10.0.0.1/24", 0), link("in", "10.1.0.1/24", 1)],
            routes: vec![
                route("0.0.0.0/0", Some("10.0.0.254"), Some(0), 0),
                route("10.0.0.0/24", None, Some(0), 0),
                route("10.1.0.0/24", None, Some(1), 0),
                route("192.0.2.0/24", Some("10.1.0.9"), Some(1), 100),
                route("192.0.2.0/24", Some("10.0.0.254"), Some(0), 50),
                route("198.51.100.0/24", None, None, 0),
            ],
            neighbours: vec![neighbour(0, "10.0.0.254", 9), neighbour(1, "10.1.0.11", 11)],
        }
    }

    #[test]
    fn the_longest_prefix_wins_then_the_lower_metric() {
        let hops = NextHops::new(&rib(), None);
        assert_eq!(hops.neighbour_towards(ip("10.1.0.11")), Some((InterfaceId(1), ip("10.1.0.11"))));
        assert_eq!(hops.neighbour_towards(ip("192.0.2.5")), Some((InterfaceId(0), ip("10.0.0.254"))));
        assert_eq!(hops.neighbour_towards(ip("8.8.8.8")), Some((InterfaceId(0), ip("10.0.0.254"))));
        assert_eq!(hops.neighbour_towards(ip("2001:db8::1")), None);
        assert!(hops.knows(InterfaceId(1), ip("10.1.0.11")) && !hops.knows(InterfaceId(0), ip("10.1.0.11")));
    }

    #[test]
    fn many_routes_lead_where_few_do() {
        let few = NextHops::new(&rib(), None);
        let mut many = rib();
        many.routes.extend((0..50).map(|i| route(&format!("172.16.{i}.0/24"), None, Some(0), 0)));
        let many = NextHops::new(&many, None);
        for to in ["10.1.0.11", "10.1.0.12", "10.0.0.254", "192.0.2.5", "8.8.8.8", "198.51.100.1"] {
            assert_eq!(few.find(ip(to)), many.find(ip(to)), "{to}");
            assert_eq!(few.neighbour_towards(ip(to)), many.neighbour_towards(ip(to)), "{to}");
            let IpAddr::V4(v4) = ip(to) else { panic!("{to}") };
            assert_eq!(few.number_v4(v4.to_bits()), few.find(ip(to)).map(|way| way.number), "{to}");
        }
    }

    #[test]
    fn a_way_has_the_macs_as_a_frame_begins_and_says_what_is_missing() {
        let hops = NextHops::new(&rib(), None);
        let way = hops.find(ip("10.1.0.11")).unwrap();
        assert_eq!(way.hop.macs, [2, 0, 0, 0, 0, 11, 2, 0, 0, 0, 1, 1]);
        assert_eq!(hops.numbered(way.number), Some(&way.hop));
        assert_eq!(hops.find(ip("10.1.0.12")), Err(Missing::Neighbour(InterfaceId(1), ip("10.1.0.12"))));
        assert_eq!(
            hops.find(ip("198.51.100.1")),
            Err(Missing::Route),
            "out of an interface that is not ours"
        );
    }

    #[test]
    fn a_number_follows_its_neighbour_and_ends_with_the_routes() {
        let before = NextHops::new(&rib(), None);
        let number = before.find(ip("10.1.0.11")).unwrap().number;
        let mut moved = rib();
        moved.neighbours = vec![neighbour(1, "10.1.0.10", 10), neighbour(1, "10.1.0.11", 77)];
        let after = NextHops::new(&moved, Some(&before));
        assert_eq!(after.numbered(number).unwrap().macs[5], 77, "the same number, the new MAC");
        assert_ne!(after.find(ip("10.1.0.10")).unwrap().number, number);

        let mut gone = rib();
        gone.neighbours.clear();
        let gone = NextHops::new(&gone, Some(&after));
        assert_eq!(gone.numbered(number), None);
        let back = NextHops::new(&rib(), Some(&gone));
        assert_ne!(back.find(ip("10.1.0.11")).unwrap().number, number, "a number is not given twice");

        let mut routed = rib();
        routed.routes.pop();
        assert_eq!(NextHops::new(&routed, Some(&before)).numbered(number), None);
    }

    #[test]
    fn the_source_is_the_routes_or_the_address_next_to_the_gateway() {
        let mut rib = rib();
        assert_eq!(NextHops::new(&rib, None).source_for(ip("8.8.8.8")), Some(ip("10.0.0.1")), "not the VIP");
        rib.routes[0].source = Some(ip("10.9.9.9"));
        assert_eq!(NextHops::new(&rib, None).source_for(ip("8.8.8.8")), Some(ip("10.9.9.9")));
    }

    /// One link with the VIP, an address of its own and a link-local one; the gateway is known by its link-local
    /// address, as routers announce themselves.
    fn rib_v6() -> Rib {
        let mut out = link("out", "2001:db8::1/64", 0);
        out.addresses =
            ["2001:db8::100/128", "fe80::1/64", "2001:db8::1/64"].map(|a| a.parse().unwrap()).to_vec();
        Rib {
            links: vec![out],
            routes: vec![
                route("::/0", Some("fe80::9"), Some(0), 1024),
                route("2001:db8::/64", None, Some(0), 256),
                route("2001:db8:5::/48", Some("2001:db8::5"), Some(0), 1024),
                route("2001:db8:5:1::/64", None, None, 0),
                route("fe80::/64", None, Some(0), 256),
            ],
            neighbours: vec![neighbour(0, "fe80::9", 9), neighbour(0, "2001:db8::11", 11)],
        }
    }

    #[test]
    fn ways_in_ipv6_are_found_by_the_longest_prefix_and_also_through_a_link_local_gateway() {
        let hops = NextHops::new(&rib_v6(), None);
        let find = |to: &str| match ip(to) {
            IpAddr::V6(to) => hops.find_v6(to.to_bits()).map(|way| way.hop.macs[5]),
            IpAddr::V4(_) => unreachable!("an IPv6 address"),
        };
        assert_eq!(find("2001:db8::11"), Ok(11));
        assert_eq!(find("2001:db8::12"), Err(Missing::Neighbour(InterfaceId(0), ip("2001:db8::12"))));
        assert_eq!(find("2600::1"), Ok(9), "by the default route");
        assert_eq!(find("2001:db8:5:2::1"), Err(Missing::Neighbour(InterfaceId(0), ip("2001:db8::5"))));
        assert_eq!(find("2001:db8:5:1::1"), Err(Missing::Route), "out of an interface that is not ours");
        assert_eq!(hops.find(ip("2600::1")), hops.find_v6(0x2600 << 112));
        assert_eq!(hops.find(ip("10.0.0.1")), Err(Missing::Route), "the families do not mix");
    }

    #[test]
    fn a_tunnel_through_ipv6_starts_at_no_link_local_address_and_no_vip() {
        let mut rib = rib_v6();
        let source = |rib: &Rib, to| NextHops::new(rib, None).source_for(ip(to));
        assert_eq!(source(&rib, "2001:db8::11"), Some(ip("2001:db8::1")));
        assert_eq!(source(&rib, "2600::1"), Some(ip("2001:db8::1")), "although the gateway is fe80::9");
        assert_eq!(source(&rib, "fe80::7"), Some(ip("fe80::1")));
        rib.links[0].addresses.pop();
        assert_eq!(source(&rib, "2600::1"), Some(ip("2001:db8::100")), "there is no other");
        rib.links[0].addresses.remove(0);
        assert_eq!(source(&rib, "2600::1"), None);
    }

    #[test]
    fn a_link_that_is_down_leads_nowhere() {
        let mut rib = rib();
        rib.links[1].up = false;
        assert_eq!(NextHops::new(&rib, None).find(ip("10.1.0.11")), Err(Missing::Route));
    }
}
