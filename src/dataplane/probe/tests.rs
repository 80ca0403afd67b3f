use super::*;
use crate::dataplane::nexthop::{Link, NextHops, Rib, Route};
use crate::dataplane::snapshot::Services;
use crate::net::{InterfaceId, Mac};
use crate::service::{
    Conduct, Group, Match, Policy, SchedulerName, SchedulerOptions, ServiceTable, Thresholds,
};

const RIP: &str = "10.1.0.11:8080";

fn end(text: &str) -> Endpoint {
    text.parse().unwrap()
}

fn real(id: u32, at: &str, method: Method) -> RealServer {
    let (thresholds, live) = (Thresholds::default(), Arc::default());
    RealServer {
        id: RealId(id),
        endpoint: end(at),
        weight: 1,
        is_shut: false,
        method,
        thresholds,
        ramp: None,
        live,
    }
}

fn service(vip: &str, reals: Vec<RealServer>) -> VirtualService {
    VirtualService {
        name: vip.into(),
        proto: Proto::Tcp,
        endpoint: end(vip),
        group: None,
        scheduler: SchedulerName::Rr,
        options: SchedulerOptions::default(),
        policy: Policy::default(),
        reals,
    }
}

/// A director with these services, in both families, whose servers are on its second link.
fn probes(services: Vec<VirtualService>) -> Arc<Probes> {
    let link = |name: &str, addresses: &[&str]| Link {
        name: name.into(),
        mac: Mac([2; 6]),
        mtu_bytes: 1500,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        up: true,
        vlan: None,
    };
    let route = |to: &str| Route {
        to: to.parse().unwrap(),
        via: None,
        interface: Some(InterfaceId(1)),
        source: None,
        metric: 0,
    };
    let links = vec![
        link("out", &["192.0.2.100/32", "192.0.2.1/24", "2001:db8::100/128", "2001:db8::1/64"]),
        link("in", &["10.1.0.1/24", "fe80::1/64", "fd00:1::1/64"]),
    ];
    let routes = ["10.1.0.0/24", "fd00:1::/64", "fd00:2::/64"].map(route).to_vec();
    let hops = NextHops::new(&Rib { links, routes, neighbours: Vec::new() }, None);
    let services = Arc::new(Services::new(ServiceTable::new(services), None));
    let published = Arc::new(Published::default());
    let snapshot = Snapshot::new(services, &[], Arc::new(hops), &Conduct::default(), Vec::new());
    published.publish(Arc::new(snapshot));
    let probes = Arc::new(Probes::new(published));
    probes.set_sources(sources(&probes.published.current()));
    probes
}

fn goal(vip: &str, server: &str) -> Goal {
    Goal { service: (Proto::Tcp, end(vip)), server: end(server), proto: Proto::Tcp, port: None }
}

fn reserve(probes: &Arc<Probes>, goal: &Goal) -> Result<(IpAddr, String), NoProbe> {
    probes.reserve(goal).map(|port| (port.source.ip(), port.vip.to_string()))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_probe_comes_from_the_directors_address_towards_the_server_of_the_vips_family_and_never_from_a_vip() {
    let probes = probes(vec![
        service("192.0.2.100:80", vec![real(0, RIP, Method::Nat), real(1, "[fd00:1::11]:80", Method::Tun)]),
        service(
            "[2001:db8::100]:80",
            vec![real(2, "[fd00:1::11]:80", Method::Dr), real(3, RIP, Method::Tun)],
        ),
    ]);
    let from = |vip: &str, server: &str| reserve(&probes, &goal(vip, server)).unwrap().0;
    assert_eq!(from("192.0.2.100:80", RIP), ip("10.1.0.1"));
    assert_eq!(
        from("192.0.2.100:80", "[fd00:1::11]:80"),
        ip("10.1.0.1"),
        "through a tunnel of the other family"
    );
    assert_eq!(from("[2001:db8::100]:80", "[fd00:1::11]:80"), ip("fd00:1::1"));
    assert_eq!(from("[2001:db8::100]:80", RIP), ip("fd00:1::1"), "not the link-local one");
    let all = sources(&probes.published.current());
    assert_eq!(all, [ip("10.1.0.1"), ip("fd00:1::1")].into());

    let only = super::tests::probes(vec![
        service("10.1.0.1:80", vec![real(0, RIP, Method::Dr)]),
        service("192.0.2.1:80", vec![]),
        service("192.0.2.100:80", vec![]),
    ]);
    assert_eq!(reserve(&only, &goal("10.1.0.1:80", RIP)), Err(NoProbe::NoSource), "every address is a VIP");
}

#[test]
fn a_probe_addresses_the_port_that_it_is_told_or_the_services_first() {
    let mut group = service("192.0.2.100:443", vec![real(1, RIP, Method::Nat)]);
    let of = |proto, at: &str, last| Match { proto, addr: end(at).addr, ports: (end(at).port, last) };
    let matches = vec![
        of(Proto::Tcp, "192.0.2.100:443", 443),
        of(Proto::Tcp, "192.0.2.101:8000", 8010),
        of(Proto::Udp, "192.0.2.101:53", 53),
        of(Proto::Sctp, "192.0.2.101:54", 54),
    ];
    group.group = Some(Group { fwmark: 5, matches });
    let all = service("192.0.2.102:0", vec![real(2, "10.1.0.11:0", Method::Nat), real(3, RIP, Method::Dr)]);
    let probes = probes(vec![service("192.0.2.100:80", vec![real(0, RIP, Method::Nat)]), group, all]);
    let vip = |vip, server, proto, port| {
        reserve(&probes, &Goal { proto, port, ..goal(vip, server) }).map(|(_, vip)| vip)
    };
    let group = |proto, port| vip("192.0.2.100:443", RIP, proto, port);
    assert_eq!(vip("192.0.2.100:80", RIP, Proto::Tcp, None).unwrap(), "192.0.2.100:80");
    assert_eq!(vip("192.0.2.100:80", RIP, Proto::Tcp, Some(80)).unwrap(), "192.0.2.100:80");
    assert_eq!(group(Proto::Tcp, None).unwrap(), "192.0.2.100:443");
    assert_eq!(group(Proto::Tcp, Some(8010)).unwrap(), "192.0.2.101:8010");
    assert_eq!(group(Proto::Udp, None).unwrap(), "192.0.2.101:53");
    assert_eq!(vip("192.0.2.102:0", RIP, Proto::Tcp, None).unwrap(), "192.0.2.102:8080");
    assert_eq!(vip("192.0.2.102:0", "10.1.0.11:0", Proto::Tcp, Some(22)).unwrap(), "192.0.2.102:22");

    let refusals = [
        (vip("192.0.2.100:80", RIP, Proto::Udp, None), "the service does not answer to UDP"),
        (vip("192.0.2.100:80", RIP, Proto::Tcp, Some(81)), "the service does not answer to TCP at port 81"),
        (group(Proto::Sctp, Some(54)), "the service does not answer to SCTP at port 54"),
        (vip("192.0.2.102:0", "10.1.0.11:0", Proto::Tcp, None), "the service does not answer to TCP"),
        (vip("192.0.2.100:80", "10.1.0.12:8080", Proto::Tcp, None), "the service has no such server"),
        (vip("192.0.2.100:81", RIP, Proto::Tcp, None), "the service has no such server"),
    ];
    for (refusal, said) in refusals {
        assert_eq!(refusal.unwrap_err().to_string(), said);
    }
}

#[test]
fn a_port_is_given_to_one_probe_of_an_address_at_a_time_and_rests_before_the_next() {
    let second = "192.0.2.100:81";
    let probes = probes(vec![
        service("192.0.2.100:80", vec![real(0, RIP, Method::Nat)]),
        service(second, vec![real(1, RIP, Method::Nat)]),
        service("192.0.2.100:82", vec![real(2, RIP, Method::Dr)]),
    ]);
    let first = goal("192.0.2.100:80", RIP);
    let begin = Instant::now();
    let mut held: Vec<ProbePort> = PORTS.map(|_| probes.reserve_at(&first, begin).unwrap()).collect();
    let ports: BTreeSet<u16> = held.iter().map(|port| port.source.port()).collect();
    assert_eq!(ports, PORTS.collect());
    assert_eq!(probes.reserve_at(&first, begin).unwrap_err(), NoProbe::NoPort);
    // Its answers would be taken for the first one's: the same server, the same port of it.
    assert_eq!(probes.reserve_at(&goal(second, RIP), begin).unwrap_err(), NoProbe::NoPort);
    // Here they come from the VIP.
    assert!(probes.reserve_at(&goal("192.0.2.100:82", RIP), begin).is_ok());

    let back = held.swap_remove(77);
    let (port, keys) = (back.source.port(), back.keys);
    drop(back);
    let leads = |key| probes.leads.pin().contains_key(key);
    assert_eq!(probes.reserve_at(&first, Instant::now()).unwrap_err(), NoProbe::NoPort);
    assert!(keys.iter().all(leads), "late segments find their way yet");
    let again = probes.reserve_at(&first, Instant::now() + REST).unwrap();
    assert_eq!(again.source.port(), port);
}

#[test]
fn without_a_way_out_of_the_namespace_there_is_no_port() {
    let probes = probes(vec![service("192.0.2.100:80", vec![real(0, RIP, Method::Nat)])]);
    probes.set_sources(BTreeSet::new());
    let refusal = reserve(&probes, &goal("192.0.2.100:80", RIP)).unwrap_err();
    assert_eq!(refusal.to_string(), "there is no way for probes from 10.1.0.1 yet");
}
