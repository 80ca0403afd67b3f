//! A network on paper: nodes, links, addresses, routes and sysctls, and the commands that make it real.
//!
//! Nothing here touches the system. `layout` draws one plan per forwarding method, `topology` builds it.

use super::Family;
use crate::net::Prefix;
use crate::service::Method;
use std::fmt;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// A machine of the lab: one network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Node {
    /// Who asks.
    Client,
    /// Between the client and the rest; it forwards, and knows nothing of virtual services.
    Router,
    /// The bridges that are needed where several nodes share a segment.
    Switch,
    /// Where lvx runs.
    Director,
    /// A real server, counted from 1.
    Server(u8),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Client => f.pad("client"),
            Node::Router => f.pad("router"),
            Node::Switch => f.pad("switch"),
            Node::Director => f.pad("director"),
            Node::Server(number) => f.pad(&format!("server{number}")),
        }
    }
}

impl FromStr for Node {
    type Err = String;

    fn from_str(text: &str) -> Result<Node, String> {
        let server = || text.strip_prefix("server")?.parse().ok().filter(|&n| n > 0).map(Node::Server);
        match text {
            "client" => Ok(Node::Client),
            "router" => Ok(Node::Router),
            "switch" => Ok(Node::Switch),
            "director" => Ok(Node::Director),
            _ => server().ok_or_else(|| {
                format!("no node is called {text:?}: there are client, router, switch, director, server1, server2 …")
            }),
        }
    }
}

/// One end of a veth pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Whose it is.
    pub node: Node,
    /// Its name there.
    pub interface: String,
    /// The bridge that it is a port of, in the switch.
    bridge: Option<&'static str>,
}

/// A veth pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Both ends.
    pub ends: [End; 2],
    /// IP bytes that fit a frame.
    mtu_bytes: u16,
}

/// A real server's place in the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Counted from 1.
    pub number: u8,
    /// Its own address.
    pub rip: IpAddr,
    /// How the director reaches it.
    pub method: Method,
    /// Where its HTTP server listens. NAT: RIP:8080. DR and TUN: VIP:80.
    pub http: SocketAddr,
    /// Where its UDP echo listens. NAT: RIP:8007. DR and TUN: VIP:7.
    pub echo: SocketAddr,
}

impl Server {
    /// The node that it is.
    pub fn node(&self) -> Node {
        Node::Server(self.number)
    }
}

/// A whole network.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Of which family all addresses are.
    pub family: Family,
    /// Where the client is.
    pub client: IpAddr,
    /// The virtual services' address, an ordinary /32 (or /128) on the director's first interface.
    pub vip: IpAddr,
    /// The director's own address on its first interface.
    pub dip: IpAddr,
    /// The director's address on the servers' side, where it has one.
    pub inner_dip: Option<IpAddr>,
    /// The director's interfaces, the client's side first.
    pub interfaces: Vec<&'static str>,
    /// The real servers, in the order of their numbers.
    pub servers: Vec<Server>,
    /// All nodes, in the order in which they are made.
    pub nodes: Vec<Node>,
    /// All veth pairs.
    pub links: Vec<Link>,
    bridges: Vec<&'static str>,
    addresses: Vec<(Node, &'static str, Prefix)>,
    routes: Vec<(Node, String)>,
    sysctls: Vec<(Node, &'static str, &'static str)>,
}

/// The port that clients ask for HTTP at the VIP.
pub const HTTP_PORT: u16 = 80;
/// The port that clients ask for the UDP echo at the VIP, as RFC 862 has it.
pub const ECHO_PORT: u16 = 7;

impl Plan {
    /// The nodes that every lab has, not yet connected.
    pub(super) fn new(family: Family, client: IpAddr, vip: IpAddr, dip: IpAddr) -> Plan {
        Plan {
            family,
            client,
            vip,
            dip,
            inner_dip: None,
            interfaces: vec!["eth0"],
            servers: Vec::new(),
            nodes: vec![Node::Client, Node::Router, Node::Switch, Node::Director],
            links: Vec::new(),
            bridges: Vec::new(),
            addresses: Vec::new(),
            routes: Vec::new(),
            sysctls: Vec::new(),
        }
    }

    /// A cable between two nodes.
    pub(super) fn cable(&mut self, a: (Node, &str), b: (Node, &str), mtu_bytes: u16) {
        let end =
            |(node, interface): (Node, &str)| End { node, interface: interface.to_owned(), bridge: None };
        self.links.push(Link { ends: [end(a), end(b)], mtu_bytes });
    }

    /// A cable from a node to a port of one of the switch's bridges, which is made if it is new.
    pub(super) fn port(&mut self, (node, interface): (Node, &str), bridge: &'static str, mtu_bytes: u16) {
        if !self.bridges.contains(&bridge) {
            self.bridges.push(bridge);
        }
        let near = End { node, interface: interface.to_owned(), bridge: None };
        let far = End { node: Node::Switch, interface: format!("{node}-{bridge}"), bridge: Some(bridge) };
        self.links.push(Link { ends: [near, far], mtu_bytes });
    }

    /// An address in its subnet.
    pub(super) fn address(&mut self, node: Node, interface: &'static str, addr: IpAddr) {
        self.addresses.push((node, interface, Prefix { addr, len: self.family.subnet_len() }));
    }

    /// An address for itself, as VIPs are.
    pub(super) fn vip(&mut self, node: Node, interface: &'static str) {
        self.addresses.push((node, interface, Prefix::host(self.vip)));
    }

    /// A route, as after `ip route add`.
    pub(super) fn route(&mut self, node: Node, route: impl fmt::Display) {
        self.routes.push((node, route.to_string()));
    }

    /// A sysctl beyond those that every node gets.
    pub(super) fn sysctl(&mut self, node: Node, name: &'static str, value: &'static str) {
        self.sysctls.push((node, name, value));
    }

    /// The server of a node's number.
    pub fn server(&self, number: u8) -> Option<&Server> {
        self.servers.iter().find(|server| server.number == number)
    }

    /// Where clients ask for HTTP.
    pub fn http(&self) -> SocketAddr {
        SocketAddr::new(self.vip, HTTP_PORT)
    }

    /// Where clients ask for the UDP echo.
    pub fn echo(&self) -> SocketAddr {
        SocketAddr::new(self.vip, ECHO_PORT)
    }

    /// The ends of links whose other end is the director's.
    pub(super) fn ends_facing_the_director(&self) -> impl Iterator<Item = &End> {
        self.links.iter().flat_map(|link| {
            let [a, b] = &link.ends;
            let other = |near: &End, far| (near.node == Node::Director).then_some(far);
            other(a, b).or_else(|| other(b, a))
        })
    }

    /// The batch for `ip` that makes all links, straight in their namespaces; the director's have `queues`
    /// queues at both ends (a frame sent on queue n arrives on queue n, so that both need them).
    pub(super) fn links_batch(&self, queues: u16, namespace: impl Fn(Node) -> String) -> String {
        let mut batch = String::new();
        for link in &self.links {
            let queues = if link.ends.iter().any(|end| end.node == Node::Director) { queues } else { 1 };
            let half = |end: &End| {
                let (name, netns, mtu) = (&end.interface, namespace(end.node), link.mtu_bytes);
                format!("{name} netns {netns} mtu {mtu} numtxqueues {queues} numrxqueues {queues}")
            };
            let [a, b] = &link.ends;
            // Writing to a String does not fail.
            let _ = writeln!(batch, "link add dev {} type veth peer name {}", half(a), half(b));
        }
        batch
    }

    /// The batch for `ip` inside a node's namespace, once its links are there.
    pub(super) fn node_batch(&self, node: Node) -> String {
        let mut lines = vec!["link set lo up".to_owned()];
        if node == Node::Switch {
            for bridge in &self.bridges {
                lines.push(format!(
                    "link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
                ));
                lines.push(format!("link set {bridge} up"));
            }
        }
        for end in self.links.iter().flat_map(|link| &link.ends).filter(|end| end.node == node) {
            let master = end.bridge.map_or(String::new(), |bridge| format!(" master {bridge}"));
            lines.push(format!("link set {}{master} up", end.interface));
        }
        lines.join("\n") + "\n" + &self.addresses_batch(node)
    }

    /// The part of it that gives the node its addresses and routes.
    pub(super) fn addresses_batch(&self, node: Node) -> String {
        let routes = self.routes.iter().filter(|(of, _)| *of == node);
        let routes: String = routes.map(|(_, route)| format!("route add {route}\n")).collect();
        self.address_lines(node, |_| true) + &routes
    }

    /// The part of that which gives the node the VIP, if it has it.
    #[cfg(feature = "xdp")]
    pub(super) fn vip_batch(&self, node: Node) -> String {
        self.address_lines(node, |address| address.addr == self.vip)
    }

    fn address_lines(&self, node: Node, is_wanted: impl Fn(&Prefix) -> bool) -> String {
        let mut lines = String::new();
        let own = self.addresses.iter().filter(|(of, _, address)| *of == node && is_wanted(address));
        for (_, interface, address) in own {
            // IPv6: nobody else has it, and it is needed at once. A VIP is not for what the host itself sends; as the
            // longest prefix it would be taken for all (RFC 6724, rule 8).
            let how = match address.addr {
                IpAddr::V4(_) => "",
                IpAddr::V6(_) if *address == Prefix::host(address.addr) => " nodad preferred_lft 0",
                IpAddr::V6(_) => " nodad",
            };
            // Writing to a String does not fail.
            let _ = writeln!(lines, "address add {address} dev {interface}{how}");
        }
        lines
    }

    /// The sysctls of a node, to be set before its interfaces come, which inherit them.
    pub(super) fn node_sysctls(&self, node: Node) -> Vec<(&'static str, &'static str)> {
        let own = self.sysctls.iter().filter(|(of, ..)| *of == node).map(|&(_, name, value)| (name, value));
        let forwards = if node == Node::Router { "1" } else { "0" };
        // Replies of DR and TUN servers take another way than the requests. The rest are the kernel's defaults, which
        // a new namespace may not have.
        let v4 = [
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.default.rp_filter", "0"),
            ("net.ipv4.conf.all.send_redirects", "0"),
            ("net.ipv4.conf.default.send_redirects", "0"),
            ("net.ipv4.ip_forward", forwards),
        ];
        // Where it is not wanted, its own chatter would stand in the counters.
        let no_v6 = [("net.ipv6.conf.all.disable_ipv6", "1"), ("net.ipv6.conf.default.disable_ipv6", "1")];
        // Link-local addresses at once, and no search for routers.
        let v6 = [
            ("net.ipv6.conf.all.disable_ipv6", "0"),
            ("net.ipv6.conf.default.disable_ipv6", "0"),
            ("net.ipv6.conf.all.forwarding", forwards),
            ("net.ipv6.conf.default.accept_dad", "0"),
            ("net.ipv6.conf.default.dad_transmits", "0"),
            ("net.ipv6.conf.default.accept_ra", "0"),
            ("net.ipv6.conf.default.router_solicitations", "0"),
        ];
        let speaks_v6 = self.family == Family::V6 && node != Node::Switch;
        let of_v6 = if speaks_v6 { &v6[..] } else { &no_v6 };
        v4.into_iter().chain(of_v6.iter().copied()).chain(own).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let [client, vip, dip] = [[10, 1, 0, 2], [10, 2, 0, 100], [10, 2, 0, 2]].map(IpAddr::from);
        let mut plan = Plan::new(Family::V4, client, vip, dip);
        plan.cable((Node::Client, "eth0"), (Node::Router, "eth0"), 1500);
        plan.port((Node::Director, "eth0"), "br0", 1600);
        plan.address(Node::Director, "eth0", dip);
        plan.route(Node::Director, "default via 10.2.0.1");
        plan
    }

    #[test]
    fn only_links_of_the_director_have_its_queues_and_both_ends_have_them() {
        let batch = plan().links_batch(4, |node| format!("lvx-t-{node}"));
        assert_eq!(
            batch,
            "link add dev eth0 netns lvx-t-client mtu 1500 numtxqueues 1 numrxqueues 1 type veth \
             peer name eth0 netns lvx-t-router mtu 1500 numtxqueues 1 numrxqueues 1\n\
             link add dev eth0 netns lvx-t-director mtu 1600 numtxqueues 4 numrxqueues 4 type veth \
             peer name director-br0 netns lvx-t-switch mtu 1600 numtxqueues 4 numrxqueues 4\n"
        );
    }

    #[test]
    fn a_node_is_configured_bottom_up() {
        assert_eq!(
            plan().node_batch(Node::Director),
            "link set lo up\nlink set eth0 up\naddress add 10.2.0.2/24 dev eth0\nroute add default via 10.2.0.1\n"
        );
        assert!(
            plan()
                .node_batch(Node::Switch)
                .ends_with("link set br0 up\nlink set director-br0 master br0 up\n")
        );
    }

    #[test]
    fn only_the_router_forwards() {
        let forwards = |node| plan().node_sysctls(node).contains(&("net.ipv4.ip_forward", "1"));
        assert!(forwards(Node::Router));
        assert!(![Node::Client, Node::Director, Node::Server(1)].into_iter().any(forwards));
    }

    #[test]
    fn a_node_is_read_as_it_is_written() {
        for node in [Node::Client, Node::Router, Node::Switch, Node::Director, Node::Server(12)] {
            assert_eq!(node.to_string().parse(), Ok(node));
        }
        for bad in ["server", "server0", "server256", "Client", ""] {
            assert!(bad.parse::<Node>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_interface_name_fits_the_kernels_fifteen_bytes() {
        let mut plan = plan();
        plan.port((Node::Server(254), "eth0"), "br0", 1500);
        let longest = plan.links.iter().flat_map(|link| &link.ends).map(|end| end.interface.len()).max();
        assert!(longest <= Some(15));
    }
}
