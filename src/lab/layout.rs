//! The labs: one drawing and one function per forwarding method.
//!
//! ```text
//! 10.10.0.0/24  2001:db8:10::/64  client and router
//! 10.20.0.0/24  2001:db8:20::/64  router and director; the VIP 10.20.0.100 or 2001:db8:20::100 lies in it
//! 10.30.0.0/24  2001:db8:30::/64  NAT: director and servers
//! 10.40.0.0/24  2001:db8:40::/64  TUN: router and servers
//! ```

use super::Family;
use super::family::Place;
use super::plan::{ECHO_PORT, HTTP_PORT, Node, Plan, Server};
use crate::service::Method;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// Which network is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// A two-arm director in front of servers that know no other way out.
    Nat,
    /// A one-arm director in one segment with its servers.
    Dr,
    /// A one-arm director, and servers behind the router.
    Tun,
    /// A one-arm director and servers of all three methods in turn: the first NAT, the second DR, the third
    /// TUN, and again.
    Mixed,
}

impl Layout {
    /// Every layout.
    pub const ALL: [Layout; 4] = [Layout::Nat, Layout::Dr, Layout::Tun, Layout::Mixed];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Layout::Nat => "nat",
            Layout::Dr => "dr",
            Layout::Tun => "tun",
            Layout::Mixed => "mixed",
        }
    }

    /// The plan of the network, with `servers` real servers.
    pub fn plan(self, family: Family, servers: u8) -> Plan {
        let mut plan = Plan::new(family, family.at(CLIENT), family.at(VIP), family.at(DIP));
        plan.cable((Node::Client, "eth0"), (Node::Router, "eth0"), MTU);
        plan.address(Node::Client, "eth0", family.at(CLIENT));
        plan.address(Node::Router, "eth0", family.at(ROUTER_TO_CLIENT));
        plan.route(Node::Client, format_args!("default via {}", family.at(ROUTER_TO_CLIENT)));
        match self {
            Layout::Nat => nat(&mut plan, servers),
            Layout::Dr => dr(&mut plan, servers),
            Layout::Tun => tun(&mut plan, servers),
            Layout::Mixed => mixed(&mut plan, servers),
        }
        plan
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Layout, String> {
        let known = Layout::ALL.into_iter().find(|layout| layout.name() == text);
        known.ok_or_else(|| format!("no lab is called {text:?}: there are nat, dr, tun and mixed"))
    }
}

const CLIENT: Place = (10, 2);
const ROUTER_TO_CLIENT: Place = (10, 1);
const ROUTER: Place = (20, 1);
const DIP: Place = (20, 2);
const VIP: Place = (20, 100);
const INNER_DIP: Place = (30, 1);
const ROUTER_TO_FAR: Place = (40, 1);

/// As many servers as have an address below the VIP.
pub const MAX_SERVERS: u8 = 64;

const MTU: u16 = 1500;
/// Room for an outer IP header around a full packet, and some.
const TUNNEL_MTU: u16 = 1600;

/// ```text
/// client ---- router ---- eth0 director eth1 ---- br0 ---- server1
///                         VIP                        \---- server2 …
/// ```
/// Servers listen on RIP:8080, and their default route is the director: replies must pass it.
fn nat(plan: &mut Plan, servers: u8) {
    plan.cable((Node::Router, "eth1"), (Node::Director, "eth0"), MTU);
    plan.port((Node::Director, "eth1"), "br0", MTU);
    outer_addresses(plan);
    let inner_dip = plan.family.at(INNER_DIP);
    plan.address(Node::Director, "eth1", inner_dip);
    plan.interfaces.push("eth1");
    plan.inner_dip = Some(inner_dip);
    for number in 1..=servers {
        let server = add_server(plan, number, Method::Nat, 30);
        plan.port((server, "eth0"), "br0", MTU);
        plan.route(server, format_args!("default via {inner_dip}"));
    }
}

/// ```text
/// client ---- router ---- br0 ---- eth0 director, VIP
///                           \----- server1, VIP on lo
///                            \---- server2, VIP on lo …
/// ```
/// Servers take packets for the VIP but never answer ARP or neighbour solicitations for it, and reply past the
/// director.
fn dr(plan: &mut Plan, servers: u8) {
    plan.port((Node::Router, "eth1"), "br0", MTU);
    plan.port((Node::Director, "eth0"), "br0", MTU);
    outer_addresses(plan);
    for number in 1..=servers {
        let server = add_server(plan, number, Method::Dr, 20);
        plan.port((server, "eth0"), "br0", MTU);
        plan.route(server, format_args!("default via {}", plan.family.at(ROUTER)));
        hold_vip(plan, server);
    }
}

/// ```text
/// client ---- router ---- eth0 director, VIP
///               |
///              br1 ---- server1, VIP on lo, decapsulates
///                 \---- server2, VIP on lo, decapsulates …
/// ```
/// Every link that an encapsulated packet passes holds 1600 bytes, so that a full packet of the client's still
/// fits with 20 or 40 more; what servers send is held to 1500 by their route.
fn tun(plan: &mut Plan, servers: u8) {
    plan.cable((Node::Router, "eth1"), (Node::Director, "eth0"), TUNNEL_MTU);
    outer_addresses(plan);
    far_segment(plan);
    for number in 1..=servers {
        far_server(plan, number);
    }
}

/// ```text
/// client ---- router ---- br0 ---- eth0 director, VIP
///               |           \----- server1 (NAT), default route: the director
///               |            \---- server2 (DR), VIP on lo, default route: the router
///              br1 ---- server3 (TUN), VIP on lo, decapsulates
/// ```
fn mixed(plan: &mut Plan, servers: u8) {
    plan.port((Node::Router, "eth1"), "br0", TUNNEL_MTU);
    plan.port((Node::Director, "eth0"), "br0", TUNNEL_MTU);
    outer_addresses(plan);
    far_segment(plan);
    for (number, method) in (1..=servers).zip(Method::ALL.into_iter().cycle()) {
        if method == Method::Tun {
            far_server(plan, number);
            continue;
        }
        let server = add_server(plan, number, method, 20);
        plan.port((server, "eth0"), "br0", TUNNEL_MTU);
        narrow_default_route(plan, server, if method == Method::Nat { DIP } else { ROUTER });
        if method == Method::Dr {
            hold_vip(plan, server);
        }
    }
}

/// The router's and the director's addresses between them; the VIP is an ordinary address, so that the
/// director's kernel answers ping for it, and ARP or neighbour solicitations.
fn outer_addresses(plan: &mut Plan) {
    let router = plan.family.at(ROUTER);
    plan.address(Node::Router, "eth1", router);
    plan.address(Node::Director, "eth0", plan.dip);
    plan.vip(Node::Director, "eth0");
    plan.route(Node::Director, format_args!("default via {router}"));
}

/// The segment of the TUN servers, behind the router.
fn far_segment(plan: &mut Plan) {
    plan.port((Node::Router, "eth2"), "br1", TUNNEL_MTU);
    plan.address(Node::Router, "eth2", plan.family.at(ROUTER_TO_FAR));
}

/// A TUN server on the far segment.
fn far_server(plan: &mut Plan, number: u8) {
    let server = add_server(plan, number, Method::Tun, 40);
    plan.port((server, "eth0"), "br1", TUNNEL_MTU);
    narrow_default_route(plan, server, ROUTER_TO_FAR);
    hold_vip(plan, server);
}

/// A default route for packets of the usual size, out of an interface that holds larger ones.
fn narrow_default_route(plan: &mut Plan, server: Node, gateway: Place) {
    let (gateway, mss) = (plan.family.at(gateway), MTU - plan.family.tcp_headers());
    plan.route(server, format_args!("default via {gateway} mtu {MTU} advmss {mss}"));
}

/// A server with its address, 10 + its number in the subnet, and the ports that it listens on.
fn add_server(plan: &mut Plan, number: u8, method: Method, net: u8) -> Node {
    let rip = plan.family.at((net, 10 + number));
    let (addr, http, echo) = match method {
        Method::Nat => (rip, 8000 + HTTP_PORT, 8000 + ECHO_PORT),
        Method::Dr | Method::Tun => (plan.vip, HTTP_PORT, ECHO_PORT),
    };
    let (http, echo) = (SocketAddr::new(addr, http), SocketAddr::new(addr, echo));
    plan.servers.push(Server { number, rip, method, http, echo });
    let node = Node::Server(number);
    plan.nodes.push(node);
    plan.address(node, "eth0", rip);
    node
}

/// The VIP on `lo`, without a word about it on the segment. For IPv6 that is enough: neighbour solicitations are
/// answered for the addresses of the interface alone that they arrive on.
fn hold_vip(plan: &mut Plan, server: Node) {
    plan.vip(server, "lo");
    plan.sysctl(server, "net.ipv4.conf.all.arp_ignore", "1");
    plan.sysctl(server, "net.ipv4.conf.all.arp_announce", "2");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::net::IpAddr;

    #[test]
    fn every_layout_gives_each_server_its_own_address_and_the_director_the_vip() {
        for (layout, family) in
            Layout::ALL.into_iter().flat_map(|layout| Family::ALL.map(|family| (layout, family)))
        {
            let plan = layout.plan(family, MAX_SERVERS);
            let rips: HashSet<IpAddr> = plan.servers.iter().map(|server| server.rip).collect();
            assert_eq!(rips.len(), MAX_SERVERS as usize);
            let others = [CLIENT, ROUTER, DIP, VIP, INNER_DIP, ROUTER_TO_FAR].map(|place| family.at(place));
            assert!(rips.is_disjoint(&others.into()));
            let vip = match family {
                Family::V4 => "address add 10.20.0.100/32 dev eth0\n",
                Family::V6 => "address add 2001:db8:20::100/128 dev eth0 nodad preferred_lft 0\n",
            };
            assert!(plan.node_batch(Node::Director).contains(vip));
        }
    }

    #[test]
    fn a_server_holds_the_vip_unless_its_packets_are_rewritten() {
        let plan = Layout::Mixed.plan(Family::V4, 6);
        for server in &plan.servers {
            let batch = plan.node_batch(server.node());
            assert_eq!(batch.contains("10.20.0.100/32 dev lo"), server.method != Method::Nat);
            let is_silent = plan.node_sysctls(server.node()).contains(&("net.ipv4.conf.all.arp_ignore", "1"));
            assert_eq!(is_silent, server.method != Method::Nat);
        }
    }

    #[test]
    fn a_mixed_lab_has_servers_of_every_method_in_turn() {
        let methods: Vec<Method> =
            Layout::Mixed.plan(Family::V6, 4).servers.iter().map(|server| server.method).collect();
        assert_eq!(methods, [Method::Nat, Method::Dr, Method::Tun, Method::Nat]);
    }

    #[test]
    fn only_nat_maps_ports() {
        for layout in [Layout::Nat, Layout::Dr, Layout::Tun] {
            let server = &layout.plan(Family::V4, 1).servers[0];
            assert_eq!((server.http.port(), server.echo.port()) == (80, 7), layout != Layout::Nat);
        }
    }

    #[test]
    fn a_layout_is_read_as_it_is_written() {
        for layout in Layout::ALL {
            assert_eq!(layout.to_string().parse(), Ok(layout));
        }
        assert!("fullnat".parse::<Layout>().is_err());
    }
}
