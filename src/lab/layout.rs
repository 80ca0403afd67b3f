//! The labs: one drawing and one function per forwarding method.
//!
//! ```text
//! 10.10.0.0/24  client and router
//! 10.20.0.0/24  router and director; the VIP 10.20.0.100 lies in it
//! 10.30.0.0/24  NAT: director and servers
//! 10.40.0.0/24  TUN: router and servers
//! ```

use super::plan::{ECHO_PORT, HTTP_PORT, Node, Plan, Server};
use crate::service::Method;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
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
    pub fn plan(self, servers: u8) -> Plan {
        let mut plan = Plan::new(CLIENT, VIP, DIP);
        plan.cable((Node::Client, "eth0"), (Node::Router, "eth0"), MTU);
        plan.address(Node::Client, "eth0", format_args!("{CLIENT}/24"));
        plan.address(Node::Router, "eth0", format_args!("{ROUTER_TO_CLIENT}/24"));
        plan.route(Node::Client, format_args!("default via {ROUTER_TO_CLIENT}"));
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

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);
const ROUTER_TO_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 1);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 1);
const DIP: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 2);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 100);
const INNER_DIP: Ipv4Addr = Ipv4Addr::new(10, 30, 0, 1);
const ROUTER_TO_FAR: Ipv4Addr = Ipv4Addr::new(10, 40, 0, 1);

/// As many servers as have an address below the VIP.
pub const MAX_SERVERS: u8 = 64;

const MTU: u16 = 1500;
/// Room for an outer IPv4 header around a full packet, and some.
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
    plan.address(Node::Director, "eth1", format_args!("{INNER_DIP}/24"));
    plan.interfaces.push("eth1");
    plan.inner_dip = Some(INNER_DIP);
    for number in 1..=servers {
        let server = add_server(plan, number, Method::Nat, [10, 30, 0]);
        plan.port((server, "eth0"), "br0", MTU);
        plan.route(server, format_args!("default via {INNER_DIP}"));
    }
}

/// ```text
/// client ---- router ---- br0 ---- eth0 director, VIP
///                           \----- server1, VIP on lo
///                            \---- server2, VIP on lo …
/// ```
/// Servers take packets for the VIP but never answer ARP for it, and reply past the director.
fn dr(plan: &mut Plan, servers: u8) {
    plan.port((Node::Router, "eth1"), "br0", MTU);
    plan.port((Node::Director, "eth0"), "br0", MTU);
    outer_addresses(plan);
    for number in 1..=servers {
        let server = add_server(plan, number, Method::Dr, [10, 20, 0]);
        plan.port((server, "eth0"), "br0", MTU);
        plan.route(server, format_args!("default via {ROUTER}"));
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
/// fits with 20 more; what servers send is held to 1500 by their route.
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
        let server = add_server(plan, number, method, [10, 20, 0]);
        plan.port((server, "eth0"), "br0", TUNNEL_MTU);
        let gateway = if method == Method::Nat { DIP } else { ROUTER };
        plan.route(server, format_args!("default via {gateway} mtu {MTU} advmss 1460"));
        if method == Method::Dr {
            hold_vip(plan, server);
        }
    }
}

/// The router's and the director's addresses between them; the VIP is an ordinary address, so that the
/// director's kernel answers ARP and ping for it.
fn outer_addresses(plan: &mut Plan) {
    plan.address(Node::Router, "eth1", format_args!("{ROUTER}/24"));
    plan.address(Node::Director, "eth0", format_args!("{DIP}/24"));
    plan.address(Node::Director, "eth0", format_args!("{VIP}/32"));
    plan.route(Node::Director, format_args!("default via {ROUTER}"));
}

/// The segment of the TUN servers, behind the router.
fn far_segment(plan: &mut Plan) {
    plan.port((Node::Router, "eth2"), "br1", TUNNEL_MTU);
    plan.address(Node::Router, "eth2", format_args!("{ROUTER_TO_FAR}/24"));
}

/// A TUN server on the far segment.
fn far_server(plan: &mut Plan, number: u8) {
    let server = add_server(plan, number, Method::Tun, [10, 40, 0]);
    plan.port((server, "eth0"), "br1", TUNNEL_MTU);
    plan.route(server, format_args!("default via {ROUTER_TO_FAR} mtu {MTU} advmss 1460"));
    hold_vip(plan, server);
}

/// A server with its address, `net`.10 + its number, and the ports that it listens on.
fn add_server(plan: &mut Plan, number: u8, method: Method, net: [u8; 3]) -> Node {
    let [a, b, c] = net;
    let rip = Ipv4Addr::new(a, b, c, 10 + number);
    let (addr, http, echo) = match method {
        Method::Nat => (rip, 8000 + HTTP_PORT, 8000 + ECHO_PORT),
        Method::Dr | Method::Tun => (VIP, HTTP_PORT, ECHO_PORT),
    };
    let (http, echo) = (SocketAddrV4::new(addr, http), SocketAddrV4::new(addr, echo));
    plan.servers.push(Server { number, rip, method, http, echo });
    let node = Node::Server(number);
    plan.nodes.push(node);
    plan.address(node, "eth0", format_args!("{rip}/24"));
    node
}

/// The VIP on `lo`, without a word about it on the segment.
fn hold_vip(plan: &mut Plan, server: Node) {
    plan.address(server, "lo", format_args!("{VIP}/32"));
    plan.sysctl(server, "net.ipv4.conf.all.arp_ignore", "1");
    plan.sysctl(server, "net.ipv4.conf.all.arp_announce", "2");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_layout_gives_each_server_its_own_address_and_the_director_the_vip() {
        for layout in Layout::ALL {
            let plan = layout.plan(MAX_SERVERS);
            let rips: HashSet<Ipv4Addr> = plan.servers.iter().map(|server| server.rip).collect();
            assert_eq!(rips.len(), MAX_SERVERS as usize);
            assert!(rips.is_disjoint(&[CLIENT, ROUTER, DIP, VIP, INNER_DIP, ROUTER_TO_FAR].into()));
            assert!(plan.node_batch(Node::Director).contains("address add 10.20.0.100/32 dev eth0"));
        }
    }

    #[test]
    fn a_server_holds_the_vip_unless_its_packets_are_rewritten() {
        let plan = Layout::Mixed.plan(6);
        for server in &plan.servers {
            let batch = plan.node_batch(server.node());
            assert_eq!(batch.contains("10.20.0.100/32 dev lo"), server.method != Method::Nat);
            let is_silent = plan.node_sysctls(server.node()).contains(&("net.ipv4.conf.all.arp_ignore", "1"));
            assert_eq!(is_silent, server.method != Method::Nat);
        }
    }

    #[test]
    fn a_mixed_lab_has_servers_of_every_method_in_turn() {
        let methods: Vec<Method> = Layout::Mixed.plan(4).servers.iter().map(|server| server.method).collect();
        assert_eq!(methods, [Method::Nat, Method::Dr, Method::Tun, Method::Nat]);
    }

    #[test]
    fn only_nat_maps_ports() {
        for layout in [Layout::Nat, Layout::Dr, Layout::Tun] {
            let server = &layout.plan(1).servers[0];
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
