//! The kernel's main routing table, as far as the director can follow it.
//!
//! One route message does not always tell the whole story: a route may be one of several to the same prefix, a
//! hop may be taken out of a multipath route, and IPv4 routes vanish without a message when their interface goes
//! down or their source address is removed. What a message leaves open puts the table *in doubt*, and whoever
//! feeds it reads it from the kernel again.

use crate::dataplane::nexthop::Route;
use crate::net::{InterfaceId, Prefix, mask};
use netlink_packet_core::{NLM_F_APPEND, NLM_F_REPLACE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteType, RouteVia,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A route of the main table.
#[derive(Debug, Clone, PartialEq)]
struct MainRoute {
    source: Option<IpAddr>,
    /// Where it leads; empty for blackhole, unreachable, prohibit and throw, and for encapsulating routes,
    /// which the director cannot follow.
    hops: Vec<Hop>,
}

/// One way to go.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Hop {
    via: Option<IpAddr>,
    /// The kernel's index of the interface.
    link: u32,
}

/// The main table: by prefix and metric, then in the kernel's order, of which the first is used.
#[derive(Debug, Default)]
pub(super) struct Routes {
    routes: BTreeMap<(Prefix, u32), Vec<MainRoute>>,
    /// Whether the kernel may know better.
    pub in_doubt: bool,
}

impl Routes {
    /// A route was added. Says whether anything changed.
    pub fn add(&mut self, message: &RouteMessage, flags: u16) -> bool {
        let Some((key, route)) = read(message) else { return false };
        let same = self.routes.entry(key).or_default();
        if same.contains(&route) {
            return false;
        }
        match same.len() {
            0 => same.push(route),
            1 if flags & NLM_F_REPLACE != 0 && flags & NLM_F_APPEND == 0 => same[0] = route,
            _ => {
                same.push(route);
                self.in_doubt = true;
            }
        }
        true
    }

    /// A route was removed. Says whether anything changed.
    pub fn remove(&mut self, message: &RouteMessage) -> bool {
        let Some((key, route)) = read(message) else { return false };
        let Some(same) = self.routes.get_mut(&key) else { return false };
        match same.iter().position(|r| *r == route) {
            Some(place) => {
                same.remove(place);
                if same.is_empty() {
                    self.routes.remove(&key);
                }
                true
            }
            None => {
                self.in_doubt = true;
                false
            }
        }
    }

    /// The table for the packet path. Of a multipath route it holds the first hop whose link is up, or the
    /// first if none is.
    pub fn compile(
        &self,
        is_up: impl Fn(u32) -> bool,
        interface: impl Fn(u32) -> Option<InterfaceId>,
    ) -> Vec<Route> {
        let first = |(&(to, metric), same): (&(Prefix, u32), &Vec<MainRoute>)| {
            let route = same.first()?;
            let hop = route.hops.iter().find(|hop| is_up(hop.link)).or(route.hops.first());
            Some(Route {
                to,
                via: hop.and_then(|hop| hop.via),
                interface: hop.and_then(|hop| interface(hop.link)),
                source: route.source,
                metric,
            })
        };
        self.routes.iter().filter_map(first).collect()
    }
}

/// A message's route, if it is one that the packet path may use: of the main table, for any sender and any type
/// of service, and not a copy that the kernel cached.
fn read(message: &RouteMessage) -> Option<((Prefix, u32), MainRoute)> {
    let header = &message.header;
    let unspecified: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let leads_nowhere = match header.kind {
        RouteType::Unicast => false,
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit | RouteType::Throw => true,
        _ => return None,
    };
    if header.tos != 0 || header.source_prefix_length != 0 || header.flags.contains(RouteFlags::Cloned) {
        return None;
    }

    let mut table = u32::from(header.table);
    let mut to = unspecified;
    let (mut metric, mut source, mut encapsulated) = (0, None, false);
    let mut several = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(id) => table = *id,
            RouteAttribute::Destination(address) => to = ip(address)?,
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Encap(_) => encapsulated = true,
            RouteAttribute::MultiPath(hops) => {
                several = hops.iter().map(|h| hop(&h.attributes, Some(h.interface_index))).collect();
            }
            _ => {}
        }
    }
    if table != u32::from(RouteHeader::RT_TABLE_MAIN) {
        return None;
    }
    let hops = match (leads_nowhere || encapsulated, several.is_empty()) {
        (true, _) => Vec::new(),
        (false, true) => hop(&message.attributes, None).into_iter().collect(),
        (false, false) => several.into_iter().flatten().collect(),
    };
    let len = header.destination_prefix_length;
    let to = Prefix::new(mask(to, len.min(128)), len)?;
    Some(((to, metric), MainRoute { source, hops }))
}

/// The hop of a route's or of a next hop's attributes; `None` if it encapsulates or names no interface.
fn hop(attributes: &[RouteAttribute], link: Option<u32>) -> Option<Hop> {
    let (mut link, mut via) = (link, None);
    for attribute in attributes {
        match attribute {
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Gateway(address) => via = ip(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => via = Some((*address).into()),
            RouteAttribute::Via(RouteVia::Inet6(address)) => via = Some((*address).into()),
            RouteAttribute::Encap(_) => return None,
            _ => {}
        }
    }
    Some(Hop { via, link: link? })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::route::RouteNextHop;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn message(to: &str, attributes: Vec<RouteAttribute>) -> RouteMessage {
        let to = prefix(to);
        let mut message = RouteMessage::default();
        message.header.address_family =
            if to.addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.kind = RouteType::Unicast;
        message.header.destination_prefix_length = to.len;
        message.attributes = attributes;
        if to.len > 0 {
            message.attributes.push(RouteAttribute::Destination(to.addr.into()));
        }
        message
    }

    fn via(gateway: &str, link: u32) -> Vec<RouteAttribute> {
        let gateway: IpAddr = gateway.parse().unwrap();
        vec![RouteAttribute::Gateway(gateway.into()), RouteAttribute::Oif(link)]
    }

    /// Interfaces 10, 11 … are the director's 0, 1 …; all links are up.
    fn compiled(routes: &Routes) -> Vec<(String, Option<String>, Option<u16>)> {
        let ours = |link: u32| link.checked_sub(10).map(|id| InterfaceId(id as u16));
        let told = |r: Route| (r.to.to_string(), r.via.map(|v| v.to_string()), r.interface.map(|i| i.0));
        routes.compile(|_| true, ours).into_iter().map(told).collect()
    }

    #[test]
    fn a_route_added_and_removed_leaves_nothing() {
        let mut routes = Routes::default();
        let default = message("0.0.0.0/0", via("10.0.0.1", 10));
        assert!(routes.add(&default, 0));
        assert_eq!(compiled(&routes), [("0.0.0.0/0".into(), Some("10.0.0.1".into()), Some(0))]);
        assert!(!routes.add(&default, 0), "the same route again is no news");
        assert!(routes.remove(&default) && compiled(&routes).is_empty() && !routes.in_doubt);
    }

    #[test]
    fn a_route_that_replaces_another_takes_its_place() {
        let mut routes = Routes::default();
        routes.add(&message("192.0.2.0/24", via("10.0.0.1", 10)), 0);
        assert!(routes.add(&message("192.0.2.0/24", via("10.0.0.2", 11)), NLM_F_REPLACE));
        assert_eq!(compiled(&routes), [("192.0.2.0/24".into(), Some("10.0.0.2".into()), Some(1))]);
        assert!(!routes.in_doubt);
    }

    #[test]
    fn a_second_route_to_a_prefix_and_an_unknown_removal_put_the_table_in_doubt() {
        let mut routes = Routes::default();
        routes.add(&message("192.0.2.0/24", via("10.0.0.1", 10)), 0);
        routes.add(&message("192.0.2.0/24", via("10.0.0.2", 10)), NLM_F_APPEND);
        assert!(std::mem::take(&mut routes.in_doubt));
        routes.remove(&message("192.0.2.0/24", via("10.0.0.3", 10)));
        assert!(routes.in_doubt);
    }

    #[test]
    fn routes_that_lead_nowhere_are_kept_without_an_interface() {
        for kind in [RouteType::BlackHole, RouteType::Unreachable, RouteType::Prohibit] {
            let mut routes = Routes::default();
            // The kernel reports unreachable IPv6 routes with the loopback interface.
            let mut unreachable = message("2001:db8::/32", vec![RouteAttribute::Oif(10)]);
            unreachable.header.kind = kind;
            routes.add(&unreachable, 0);
            assert_eq!(compiled(&routes), [("2001:db8::/32".into(), None, None)]);
        }
    }

    #[test]
    fn a_route_through_an_interface_of_others_is_kept_without_one() {
        let mut routes = Routes::default();
        routes.add(&message("10.9.0.0/16", via("10.0.0.1", 3)), 0);
        assert_eq!(compiled(&routes), [("10.9.0.0/16".into(), Some("10.0.0.1".into()), None)]);
    }

    #[test]
    fn local_broadcast_and_multicast_routes_and_other_tables_are_not_ours() {
        let mut routes = Routes::default();
        for kind in [RouteType::Local, RouteType::Broadcast, RouteType::Multicast, RouteType::Anycast] {
            let mut other = message("10.0.0.1/32", vec![RouteAttribute::Oif(10)]);
            other.header.kind = kind;
            assert!(!routes.add(&other, 0));
        }
        let mut elsewhere = message("10.0.0.0/8", via("10.0.0.1", 10));
        elsewhere.attributes.push(RouteAttribute::Table(1000));
        assert!(!routes.add(&elsewhere, 0));
        let mut by_service = message("10.0.0.0/8", via("10.0.0.1", 10));
        by_service.header.tos = 0x10;
        assert!(!routes.add(&by_service, 0));
    }

    #[test]
    fn a_multipath_route_goes_by_its_first_hop_that_is_up() {
        let next = |gateway: &str, link| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = link;
            hop.attributes = vec![RouteAttribute::Gateway(gateway.parse::<IpAddr>().unwrap().into())];
            hop
        };
        let both = vec![next("10.0.0.1", 10), next("10.1.0.1", 11)];
        let mut routes = Routes::default();
        routes.add(&message("0.0.0.0/0", vec![RouteAttribute::MultiPath(both)]), 0);

        let taken = |up: &[u32]| {
            let ours = |link: u32| Some(InterfaceId(link as u16 - 10));
            routes.compile(|link| up.contains(&link), ours)[0].interface
        };
        assert_eq!(taken(&[10, 11]), Some(InterfaceId(0)));
        assert_eq!(taken(&[11]), Some(InterfaceId(1)));
        assert_eq!(taken(&[]), Some(InterfaceId(0)), "all down: the route is still there");
    }

    #[test]
    fn an_ipv4_route_may_go_via_an_ipv6_gateway() {
        let mut routes = Routes::default();
        let gateway = RouteVia::Inet6("fe80::1".parse().unwrap());
        let attributes = vec![RouteAttribute::Via(gateway), RouteAttribute::Oif(10)];
        routes.add(&message("192.0.2.0/24", attributes), 0);
        assert_eq!(compiled(&routes), [("192.0.2.0/24".into(), Some("fe80::1".into()), Some(0))]);
    }
}
