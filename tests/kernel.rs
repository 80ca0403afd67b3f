//! The kernel's links, addresses, routes and neighbours, read and followed in network namespaces of the test's
//! own. Each test gets a pair of them, joined by a veth pair:
//!
//! ```text
//! lvxk-PID-N-a                          lvxk-PID-N-b
//!   k0 02:00:00:00:07:01  10.77.0.1/24 ---- k1 02:00:00:00:07:02  10.77.0.2/24
//!   default via 10.77.0.2
//! ```
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test, with functions beside it")]

use lvx::control::kernel::{Following, Kernel, KernelError};
use lvx::dataplane::nexthop::{Missing, NextHops, Rib, Route};
use lvx::net::{InterfaceId, Mac};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const K0: InterfaceId = InterfaceId(0);
const PEER: &str = "10.77.0.2";
const PEER_MAC: &str = "02:00:00:00:07:02";

/// Two joined namespaces; gone when dropped.
struct Pair {
    a: String,
    b: String,
}

impl Pair {
    /// Builds the pair and moves this thread into its first namespace.
    fn enter() -> Pair {
        assert!(
            rustix::process::geteuid().is_root(),
            "needs root for network namespaces: run 'make test' or 'sudo -E cargo test'"
        );
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("lvxk-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let pair = Pair { a: format!("{name}-a"), b: format!("{name}-b") };
        let Pair { a, b } = &pair;
        for name in [a, b] {
            ip(&format!("netns add {name}"));
            ip(&format!("-n {name} link set lo up"));
        }
        ip(&format!(
            "link add k0 netns {a} address 02:00:00:00:07:01 numrxqueues 2 numtxqueues 2 type veth \
             peer name k1 netns {b} address {PEER_MAC} numrxqueues 2 numtxqueues 2"
        ));
        ip(&format!("-n {a} addr add 10.77.0.1/24 dev k0"));
        ip(&format!("-n {b} addr add {PEER}/24 dev k1"));
        ip(&format!("-n {b} link set k1 up"));
        ip(&format!("-n {a} link set k0 up"));
        ip(&format!("-n {a} route add default via {PEER}"));
        let namespace = File::open(format!("/run/netns/{a}")).unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        pair
    }

    fn a(&self, command: &str) {
        ip(&format!("-n {} {command}", self.a));
    }

    fn b(&self, command: &str) {
        ip(&format!("-n {} {command}", self.b));
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for name in [&self.a, &self.b] {
            let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
        }
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("ip(8) is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

fn open() -> Kernel {
    Kernel::open(&["k0".to_owned()]).unwrap()
}

/// Waits until the kernel has told of `what`, a second at most.
fn within_a_second(kernel: &Kernel, following: &Following, what: &str, there: impl Fn(&Rib) -> bool) {
    within(Duration::from_secs(1), kernel, following, what, there);
}

fn within(span: Duration, kernel: &Kernel, following: &Following, what: &str, there: impl Fn(&Rib) -> bool) {
    let deadline = Instant::now() + span;
    while !there(&kernel.rib()) {
        let told = following.changes().recv_deadline(deadline);
        let Rib { links, routes, neighbours } = kernel.rib();
        let there_is = format!("{} routes, {links:#?}, {neighbours:#?}", routes.len());
        assert!(told.is_ok(), "{span:?} went by without {what}; there is {there_is}");
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn route(rib: &Rib, to: &str) -> Option<Route> {
    rib.routes.iter().find(|route| route.to.to_string() == to).cloned()
}

fn mac_of(rib: &Rib, neighbour: &str) -> Option<Mac> {
    rib.neighbours.iter().find(|n| n.address == address(neighbour)).map(|n| n.mac)
}

#[test]
fn the_rib_has_links_addresses_routes_and_neighbours() {
    let pair = Pair::enter();
    pair.a("addr add 10.77.0.100/32 dev k0");
    pair.a("addr add 2001:db8:77::1/64 dev k0 nodad");
    pair.a("neigh add 10.77.0.9 lladdr 02:00:00:00:07:09 dev k0 nud permanent");
    pair.a("route add 192.0.2.0/24 via 10.77.0.9 src 10.77.0.100 metric 7");
    pair.a("route add blackhole 198.51.100.0/24");
    pair.a("route add 203.0.113.0/24 dev lo");
    let kernel = open();

    let rib = kernel.rib();
    let link = &rib.links[0];
    assert_eq!((link.name.as_str(), link.mtu_bytes, link.up), ("k0", 1500, true));
    assert_eq!(link.mac.to_string(), "02:00:00:00:07:01");
    for own in ["10.77.0.1/24", "10.77.0.100/32", "2001:db8:77::1/64"] {
        assert!(link.addresses.contains(&own.parse().unwrap()), "{own} in {:?}", link.addresses);
    }
    assert_eq!(mac_of(&rib, "10.77.0.9"), Some("02:00:00:00:07:09".parse().unwrap()));

    let default = route(&rib, "0.0.0.0/0").unwrap();
    assert_eq!((default.via, default.interface), (Some(address(PEER)), Some(K0)));
    let connected = route(&rib, "10.77.0.0/24").unwrap();
    assert_eq!((connected.via, connected.source), (None, Some(address("10.77.0.1"))));
    let chosen = route(&rib, "192.0.2.0/24").unwrap();
    assert_eq!((chosen.source, chosen.metric), (Some(address("10.77.0.100")), 7));
    assert_eq!(route(&rib, "198.51.100.0/24").unwrap().interface, None, "a black hole leads nowhere");
    assert_eq!(route(&rib, "203.0.113.0/24").unwrap().interface, None, "lo is none of ours");
    assert!(route(&rib, "2001:db8:77::/64").is_some_and(|r| r.interface == Some(K0)));
    assert_eq!(route(&rib, "10.77.0.1/32"), None, "the local table is the kernel's own");
}

#[test]
fn changes_are_seen_within_a_second() {
    let pair = Pair::enter();
    pair.a("addr add 10.77.0.100/32 dev k0");
    pair.a("neigh add 10.77.0.9 lladdr 02:00:00:00:07:09 dev k0 nud permanent");
    let kernel = open();
    let following = kernel.follow().unwrap();
    let seen = |what: &str, there: &dyn Fn(&Rib) -> bool| within_a_second(&kernel, &following, what, there);

    pair.a("route add 192.0.2.0/24 via 10.77.0.9");
    seen("the new route", &|rib| route(rib, "192.0.2.0/24").is_some());
    pair.a("route replace 192.0.2.0/24 via 10.77.0.8");
    seen("the route's new gateway", &|rib| {
        route(rib, "192.0.2.0/24").unwrap().via == Some(address("10.77.0.8"))
    });
    pair.a("route add 198.18.0.0/24 via 10.77.0.8 src 10.77.0.100");
    seen("the route with a source", &|rib| route(rib, "198.18.0.0/24").is_some());
    pair.a("addr del 10.77.0.100/32 dev k0");
    seen("the address's removal", &|rib| !has_address(rib, "10.77.0.100/32"));
    seen("the removal of the route that it was the source of", &|rib| route(rib, "198.18.0.0/24").is_none());
    pair.a("neigh replace 10.77.0.9 lladdr 02:00:00:00:07:0a dev k0 nud permanent");
    seen("the neighbour's new MAC", &|rib| mac_of(rib, "10.77.0.9") == "02:00:00:00:07:0a".parse().ok());
    pair.b("link set k1 down");
    seen("the loss of carrier", &|rib| !rib.links[0].up);
    pair.b("link set k1 up");
    seen("the carrier's return", &|rib| rib.links[0].up);
    pair.a("link set k0 down");
    seen("the link going down with its routes", &|rib| !rib.links[0].up && route(rib, "0.0.0.0/0").is_none());
    pair.a("link del k0");
    seen("the link's removal", &|rib| rib.links[0].mac == Mac::ZERO);
    assert_eq!(kernel.interface(K0), None);
}

fn has_address(rib: &Rib, text: &str) -> bool {
    rib.links[0].addresses.contains(&text.parse().unwrap())
}

#[test]
fn what_changed_between_opening_and_following_is_not_missed() {
    let pair = Pair::enter();
    let kernel = open();
    pair.a("route add 192.0.2.0/24 via 10.77.0.9");
    let following = kernel.follow().unwrap();
    within_a_second(&kernel, &following, "the route", |rib| route(rib, "192.0.2.0/24").is_some());
    assert!(matches!(kernel.follow(), Err(KernelError::Followed)));
}

/// The messages of such changes do not tell all that follows from them.
#[test]
fn what_was_followed_is_in_the_end_what_is_read_anew() {
    let pair = Pair::enter();
    let kernel = open();
    let _following = kernel.follow().unwrap();
    for change in [
        "addr add 10.77.0.3/24 dev k0",
        "addr add 2001:db8:77::1/64 dev k0 nodad",
        "route add 192.0.2.0/24 via 10.77.0.9",
        "route append 192.0.2.0/24 via 10.77.0.8",
        "route prepend 192.0.2.0/24 via 10.77.0.7",
        "route del 192.0.2.0/24 via 10.77.0.9",
        "route add 198.18.0.0/24 nexthop via 10.77.0.7 dev k0 nexthop via 10.77.0.8 dev k0",
        "-6 route add 2001:db8:1::/48 via 2001:db8:77::8 dev k0",
        "-6 route append 2001:db8:1::/48 via 2001:db8:77::9 dev k0",
        "-6 route append 2001:db8:1::/48 via 2001:db8:77::a dev k0",
        "-6 route del 2001:db8:1::/48 via 2001:db8:77::8 dev k0",
        "-6 route replace 2001:db8:2::/48 via 2001:db8:77::8 dev k0",
        "nexthop add id 1 via 10.77.0.8 dev k0",
        "nexthop add id 2 via 10.77.0.7 dev k0",
        "route add 198.18.1.0/24 nhid 1",
        "nexthop replace id 1 via 10.77.0.6 dev k0",
        "nexthop add id 3 group 1/2",
        "route add 198.18.2.0/24 nhid 3",
        "nexthop del id 1",
        "route add 198.18.3.0/24 via 10.77.0.8 src 10.77.0.3",
        "addr del 10.77.0.3/24 dev k0",
        "link set k0 mtu 1400",
        "neigh add 10.77.0.8 lladdr 02:00:00:00:07:08 dev k0 nud stale",
        "neigh add 10.77.0.7 lladdr 02:00:00:00:07:07 dev k0 nud permanent",
        "neigh del 10.77.0.7 dev k0",
        "route replace unreachable 203.0.113.0/24",
        "link set lo down",
        "link set k0 address 02:00:00:00:07:0f",
    ] {
        pair.a(change);
        let deadline = Instant::now() + Duration::from_secs(3);
        loop {
            let (followed, anew) = (in_order(kernel.rib()), in_order(open().rib()));
            if followed == anew {
                break;
            }
            assert!(Instant::now() < deadline, "after {change}: followed {followed:#?}, anew {anew:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn in_order(mut rib: Rib) -> Rib {
    rib.links.iter_mut().for_each(|link| link.addresses.sort());
    rib
}

#[test]
fn a_neighbour_that_is_asked_for_is_resolved() {
    let _pair = Pair::enter();
    let kernel = open();
    let following = kernel.follow().unwrap();
    assert_eq!(mac_of(&kernel.rib(), PEER), None);
    kernel.ask(K0, address(PEER));
    within_a_second(&kernel, &following, "the neighbour", |rib| mac_of(rib, PEER) == PEER_MAC.parse().ok());
}

#[test]
fn an_ipv6_neighbour_that_is_asked_for_is_resolved() {
    let pair = Pair::enter();
    pair.a("addr add 2001:db8:77::1/64 dev k0 nodad");
    pair.b("addr add 2001:db8:77::2/64 dev k1 nodad");
    let kernel = open();
    let following = kernel.follow().unwrap();
    // The kernel solicits from the link-local address, which it first has to find unique.
    let link_local = |rib: &Rib| rib.links[0].addresses.iter().any(|a| a.to_string().starts_with("fe80:"));
    within(Duration::from_secs(5), &kernel, &following, "a link-local address", link_local);
    kernel.ask(K0, address("2001:db8:77::2"));
    within_a_second(&kernel, &following, "the neighbour", |rib| {
        mac_of(rib, "2001:db8:77::2") == PEER_MAC.parse().ok()
    });
}

#[test]
fn the_way_through_an_ipv6_router_is_found_by_its_link_local_address() {
    let pair = Pair::enter();
    // The MAC's own, as the kernel makes it.
    let router = "fe80::ff:fe00:702";
    pair.a("addr add 2001:db8:77::1/64 dev k0 nodad");
    pair.a("addr add 2001:db8:77::100/128 dev k0 nodad preferred_lft 0");
    pair.a(&format!("-6 route add default via {router} dev k0"));
    pair.a("-6 route add 2001:db8:1::/48 via 2001:db8:77::2");
    pair.a("-6 route add blackhole 2001:db8:2::/48");
    pair.a("neigh add 2001:db8:77::11 lladdr 02:00:00:00:07:11 dev k0 nud permanent");
    let kernel = open();
    let following = kernel.follow().unwrap();
    let link_local = |rib: &Rib| rib.links[0].addresses.iter().any(|a| a.to_string().starts_with("fe80:"));
    within(Duration::from_secs(5), &kernel, &following, "a link-local address", link_local);

    let rib = kernel.rib();
    let default = route(&rib, "::/0").unwrap();
    assert_eq!((default.via, default.interface), (Some(address(router)), Some(K0)));
    assert_eq!(route(&rib, "2001:db8:2::/48").unwrap().interface, None, "a black hole leads nowhere");

    let hops = NextHops::new(&rib, None);
    let find =
        |hops: &NextHops, to| hops.find(address(to)).map(|way| Mac(way.hop.macs[..6].try_into().unwrap()));
    assert_eq!(find(&hops, "2001:db8:77::11"), Ok("02:00:00:00:07:11".parse().unwrap()));
    assert_eq!(find(&hops, "2001:db8:2::1"), Err(Missing::Route));
    assert_eq!(find(&hops, "2600::1"), Err(Missing::Neighbour(K0, address(router))));
    assert_eq!(hops.source_for(address("2600::1")), Some(address("2001:db8:77::1")));
    kernel.keep(&[(K0, address(router))]);
    // The router has to find its own address unique first.
    within(Duration::from_secs(5), &kernel, &following, "the router", |rib| mac_of(rib, router).is_some());
    let hops = NextHops::new(&kernel.rib(), Some(&hops));
    assert_eq!(find(&hops, "2600::1"), Ok(PEER_MAC.parse().unwrap()));
}

#[test]
fn changes_of_the_ipv6_network_are_seen_within_a_second() {
    let pair = Pair::enter();
    pair.a("addr add 2001:db8:77::1/64 dev k0 nodad");
    let kernel = open();
    let following = kernel.follow().unwrap();
    let seen = |what: &str, there: &dyn Fn(&Rib) -> bool| within_a_second(&kernel, &following, what, there);

    pair.a("addr add 2001:db8:77::100/128 dev k0 nodad");
    seen("the VIP", &|rib| has_address(rib, "2001:db8:77::100/128"));
    pair.a("-6 route add 2001:db8:1::/48 via 2001:db8:77::9");
    seen("the new route", &|rib| route(rib, "2001:db8:1::/48").is_some());
    pair.a("-6 route replace 2001:db8:1::/48 via 2001:db8:77::8");
    seen("its new gateway", &|rib| {
        route(rib, "2001:db8:1::/48").unwrap().via == Some(address("2001:db8:77::8"))
    });
    pair.a("neigh add 2001:db8:77::8 lladdr 02:00:00:00:07:08 dev k0 nud permanent");
    seen("the neighbour", &|rib| mac_of(rib, "2001:db8:77::8") == "02:00:00:00:07:08".parse().ok());
    pair.a("neigh del 2001:db8:77::8 dev k0");
    seen("its removal", &|rib| mac_of(rib, "2001:db8:77::8").is_none());
    pair.a("-6 route add 2001:db8:3::/48 via 2001:db8:77::8 src 2001:db8:77::100");
    seen("the route with a source", &|rib| route(rib, "2001:db8:3::/48").is_some());
    pair.a("addr del 2001:db8:77::100/128 dev k0");
    seen("the address's removal", &|rib| !has_address(rib, "2001:db8:77::100/128"));
    seen("the route without the source that is gone", &|rib| {
        route(rib, "2001:db8:3::/48").is_none_or(|route| route.source.is_none())
    });
    // The kernel takes IPv6 addresses away with the link, and does not give them back.
    pair.a("link set k0 down");
    seen("the link going down with addresses and routes", &|rib| {
        !has_address(rib, "2001:db8:77::1/64") && route(rib, "2001:db8:1::/48").is_none()
    });
}

#[test]
fn a_kept_ipv6_neighbour_is_resolved_anew_when_the_kernel_loses_it() {
    let pair = Pair::enter();
    pair.a("addr add 2001:db8:77::1/64 dev k0 nodad");
    pair.b("addr add 2001:db8:77::2/64 dev k1 nodad");
    let kernel = open();
    let following = kernel.follow().unwrap();
    let peer = "2001:db8:77::2";
    kernel.keep(&[(K0, address(peer))]);
    within(Duration::from_secs(5), &kernel, &following, "the neighbour", |rib| mac_of(rib, peer).is_some());
    pair.b("link set k1 address 02:00:00:00:07:0b");
    pair.a(&format!("neigh del {peer} dev k0"));
    within(Duration::from_secs(3), &kernel, &following, "the neighbour's new MAC", |rib| {
        mac_of(rib, peer) == "02:00:00:00:07:0b".parse().ok()
    });
}

#[test]
fn asking_leaves_a_permanent_neighbour_permanent() {
    let pair = Pair::enter();
    pair.a("neigh add 10.77.0.9 lladdr 02:00:00:00:07:09 dev k0 nud permanent");
    let kernel = open();
    kernel.ask(K0, address("10.77.0.9"));
    let shown = Command::new("ip").args(["-n", &pair.a, "neigh", "show", "10.77.0.9"]).output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("PERMANENT"));
}

#[test]
fn a_kept_neighbour_is_resolved_anew_when_the_kernel_loses_it() {
    let pair = Pair::enter();
    let kernel = open();
    let following = kernel.follow().unwrap();
    kernel.keep(&[(K0, address(PEER))]);
    within_a_second(&kernel, &following, "the neighbour", |rib| mac_of(rib, PEER).is_some());
    pair.b("link set k1 address 02:00:00:00:07:0b");
    pair.a(&format!("neigh del {PEER} dev k0"));
    within_a_second(&kernel, &following, "the neighbour's new MAC", |rib| {
        mac_of(rib, PEER) == "02:00:00:00:07:0b".parse().ok()
    });
}

#[test]
fn events_that_came_too_fast_are_made_up_for() {
    let pair = Pair::enter();
    let kernel = open();
    // Some 250 bytes of route each, and more in the socket's accounts: far more than its buffer may hold.
    let routes: String = (0..20_000)
        .map(|n| format!("route add 10.{}.{}.{}/32 via {PEER}\n", 100 + n / 65536, n / 256 % 256, n % 256))
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), routes).unwrap();
    pair.a(&format!("-batch {}", file.path().display()));
    let following = kernel.follow().unwrap();
    within(Duration::from_secs(20), &kernel, &following, "20,000 routes", |rib| rib.routes.len() > 20_000);
}

#[test]
fn an_interfaces_facts_are_those_of_its_own_namespace() {
    let pair = Pair::enter();
    // Without a word on queues, a veth has room for one per core and uses one.
    pair.a("link add k2 type veth peer name k3");
    let kernel = Kernel::open(&["k0".to_owned(), "k2".to_owned()]).unwrap();
    let k0 = kernel.interface(K0).unwrap();
    assert_eq!((k0.name.as_str(), k0.rx_queues, k0.mtu_bytes), ("k0", 2, 1500));
    assert!(k0.admin_up && k0.carrier && k0.index > 1);
    let k2 = kernel.interface(InterfaceId(1)).unwrap();
    assert_eq!((k2.name.as_str(), k2.rx_queues, k2.admin_up), ("k2", 1, false));
    assert_eq!(kernel.interface(InterfaceId(2)), None);
}

#[test]
fn a_missing_interface_is_named_with_those_present() {
    let _pair = Pair::enter();
    let error = Kernel::open(&["k0".to_owned(), "kk1".to_owned()]).unwrap_err().to_string();
    assert!(error.starts_with("interface \"kk1\" does not exist"), "{error}");
    assert!(error.contains("k0") && error.contains("lo"), "{error}");
}
