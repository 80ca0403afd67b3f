//! What each forwarding method owes its clients and servers.

use crate::bed::{Bed, PATIENCE, assert_drops_nothing, connections, eventually, in_turn, options};
use lvx::control::report::Report;
use lvx::lab::{Family, LabService, Layout, Node, Options};
use lvx::service::SchedulerName;
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};

fn nat_carries_tcp_and_udp_both_ways(family: Family) {
    let bed = long(Layout::Nat, family);
    let (client, vip) = (bed.plan.client, bed.plan.vip);
    // What comes back from a server has passed the director, too: the client sees right checksums.
    let at_client = bed.capture(Node::Client, "eth0", &format!("src host {vip} and (tcp or udp)"));
    let report = carries_everything(&bed);
    let sent = |port| format!("{vip}.{port} > {client}");
    assert_seen_as_sent(&bed, &at_client.end(), &sent(80), &sent(7));
    for real in report.services.iter().flat_map(|service| &service.real_servers) {
        assert!(real.traffic.out_packets > 0, "{real:?}");
        assert_eq!(real.forward, "nat");
    }
}

#[test]
fn nat_carries_tcp_and_udp_both_ways_through_the_director() {
    nat_carries_tcp_and_udp_both_ways(Family::V4);
}

#[test]
fn nat_carries_ipv6_both_ways_through_the_director() {
    nat_carries_tcp_and_udp_both_ways(Family::V6);
}

fn dr_carries_tcp_and_udp(family: Family) {
    let report = carries_everything(&long(Layout::Dr, family));
    assert_replies_bypass(&report, "dr");
}

#[test]
fn dr_carries_tcp_and_udp_and_replies_bypass_the_director() {
    dr_carries_tcp_and_udp(Family::V4);
}

#[test]
fn dr_carries_ipv6_and_replies_bypass_the_director() {
    dr_carries_tcp_and_udp(Family::V6);
}

fn tun_carries_tcp_and_udp(family: Family) {
    let bed = long(Layout::Tun, family);
    let outer = bed.capture(Node::Router, "eth1", "ip proto 4 or ip6 proto 41");
    let report = carries_everything(&bed);
    assert_replies_bypass(&report, "tun");
    let (outer, dip, rip) = (outer.end(), bed.plan.dip, bed.plan.servers[0].rip);
    assert!(outer.contains(&format!("{dip} > {rip}: IP")), "the director to the first server: {outer}");
    assert!(!outer.contains("bad cksum"), "{outer}");
}

#[test]
fn tun_carries_tcp_and_udp_and_replies_bypass_the_director() {
    tun_carries_tcp_and_udp(Family::V4);
}

#[test]
fn tun_carries_ipv6_and_replies_bypass_the_director() {
    tun_carries_tcp_and_udp(Family::V6);
}

/// 4in6 and 6in4: servers hold the VIP of one family and are reached by their address of the other.
#[test]
fn a_tunnel_leads_through_the_other_family() {
    for (family, inner) in [(Family::V4, Family::V6), (Family::V6, Family::V4)] {
        let bed = Bed::with(Layout::Tun, Options { family, ..options() });
        let plan = bed.speak_also(inner).unwrap();
        let service = format!(
            "[[interface]]\nname = \"eth0\"\n[[virtual_service]]\naddress = \"{}\"\nprotocol = \"udp\"\n\
             [[virtual_service.real_server]]\naddress = \"{}\"\nforward = \"tun\"\n",
            plan.echo(),
            SocketAddr::new(bed.plan.servers[0].rip, plan.echo().port()),
        );
        let director = bed.direct_by(&service);
        let server = bed.node(Node::Server(1)).unwrap();
        let echo = server.inside(|| UdpSocket::bind(plan.echo())).unwrap().unwrap();
        echo.set_read_timeout(Some(PATIENCE)).unwrap();
        let client = SocketAddr::new(plan.client, 4000);
        let asks = bed.node(Node::Client).unwrap().inside(|| UdpSocket::bind(client));
        let asks = asks.unwrap().unwrap();
        asks.set_read_timeout(Some(PATIENCE)).unwrap();
        for length in [5, 1400] {
            let (question, mut heard) = (vec![b'x'; length], [0; 2000]);
            asks.send_to(&question, plan.echo()).unwrap();
            let (read, from) = echo.recv_from(&mut heard).unwrap();
            assert_eq!((&heard[..read], from), (&question[..], client));
            echo.send_to(b"answer", from).unwrap();
            let (read, from) = asks.recv_from(&mut heard).unwrap();
            assert_eq!((&heard[..read], from), (&b"answer"[..], plan.echo()));
        }
        assert_drops_nothing(&director.stop().unwrap());
    }
}

#[test]
fn servers_of_every_method_stand_behind_one_service() {
    Family::ALL.into_iter().for_each(servers_of_every_method);
}

fn servers_of_every_method(family: Family) {
    let bed = Bed::with(Layout::Mixed, Options { family, ..options() });
    let echo = LabService::echo(SchedulerName::Rr, &[1, 1, 1]);
    let director = bed.direct(&[in_turn()[0].clone(), echo]);
    bed.load(99);
    // One from each server.
    (0..3).for_each(|_| bed.download_whole());
    let answered = bed.echo(30);
    for server in ["server 1", "server 2", "server 3"] {
        assert_eq!(answered.iter().filter(|answer| *answer == server).count(), 10);
    }
    let report = director.stop().unwrap();
    assert_eq!(connections(&report), [34, 34, 34]);
    assert_drops_nothing(&report);
    let methods: Vec<&str> =
        report.services[0].real_servers.iter().map(|real| real.forward.as_str()).collect();
    assert_eq!(methods, ["nat", "dr", "tun"]);
}

/// A lab whose download is a long one.
fn long(layout: Layout, family: Family) -> Bed {
    Bed::with(layout, Options { family, large_file_bytes: 30_000_000, ..options() })
}

/// Requests shared out by weight, a download, UDP, and ping; and what the first server sees of it. The director's
/// last report.
fn carries_everything(bed: &Bed) -> Report {
    let services =
        [LabService::http(SchedulerName::Wrr, &[4, 3, 2]), LabService::echo(SchedulerName::Wrr, &[1, 2, 3])];
    let director = bed.direct(&services);
    let at_server = bed.capture(Node::Server(1), "eth0", "tcp or udp");

    let tally = bed.load(360);
    let answers: BTreeMap<&str, u32> = tally.answers.iter().map(|(name, &n)| (name.as_str(), n)).collect();
    assert_eq!(answers, [("server 1", 160), ("server 2", 120), ("server 3", 80)].into());
    eventually("exact shares in the report", || connections(&director.report().unwrap()) == [160, 120, 80]);
    bed.download_whole();

    let answered = bed.echo(60);
    for (server, share) in [("server 1", 10), ("server 2", 20), ("server 3", 30)] {
        assert_eq!(answered.iter().filter(|answer| *answer == server).count(), share, "{server}");
    }
    let ping = bed.on(Node::Client, &format!("ping -c 3 -i 0.2 -W 5 {}", bed.plan.vip));
    assert!(ping.contains(" 0% packet loss"), "{ping}");

    let server = &bed.plan.servers[0];
    let [http, echo] = [server.http, server.echo].map(|at| format!("> {}.{}", at.ip(), at.port()));
    assert_seen_as_sent(bed, &at_server.end(), &http, &echo);
    let report = director.stop().unwrap();
    assert_drops_nothing(&report);
    assert_eq!(report.packets, report.forwarded + report.to_host + report.dropped);
    assert_eq!((report.port.received, report.port.sent), (report.packets, report.forwarded));
    assert!(report.services.iter().all(|service| service.traffic.in_packets > 0), "{report:?}");
    report
}

/// What a capture shows has the client's own address, has been decremented once by the router and once by the
/// director, and has right checksums. `tcp` and `udp` are what both kinds of packets are known by, in tcpdump's way
/// of writing.
fn assert_seen_as_sent(bed: &Bed, capture: &str, tcp: &str, udp: &str) {
    let client = format!("{}.", bed.plan.client);
    let assert_all = |address: &str, right: &str| {
        let is_of = |line: &&str| line.contains(address) && line.contains(&client);
        assert!(capture.lines().any(|line| is_of(&line)), "nothing {address} in {capture}");
        let wrong: Vec<&str> =
            capture.lines().filter(is_of).filter(|line| !line.contains(right)).take(3).collect();
        assert!(wrong.is_empty(), "without {right}: {wrong:#?}");
    };
    assert_all(tcp, "(correct)");
    assert_all(udp, "[udp sum ok]");
    // tcpdump says nothing of the IP header's checksum unless it is wrong.
    assert!(!capture.contains("bad cksum"), "{capture}");
    let hops = if bed.plan.client.is_ipv4() { "ttl " } else { "hlim " };
    let mut ttls: Vec<&str> =
        capture.lines().filter_map(|line| line.split_once(hops)?.1.split(',').next()).collect();
    ttls.dedup();
    assert_eq!(ttls, ["62"]);
}

fn assert_replies_bypass(report: &Report, method: &str) {
    for real in report.services.iter().flat_map(|service| &service.real_servers) {
        assert_eq!((real.forward.as_str(), real.traffic.out_packets), (method, 0), "{real:?}");
    }
}
