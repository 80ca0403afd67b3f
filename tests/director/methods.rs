//! What each forwarding method owes its clients and servers.

use crate::bed::{Bed, assert_drops_nothing, connections, eventually, in_turn, options};
use lvx::control::report::Report;
use lvx::lab::{LabService, Layout, Node, Options};
use lvx::service::SchedulerName;
use std::collections::BTreeMap;

#[test]
fn nat_carries_tcp_and_udp_both_ways_through_the_director() {
    let bed = long(Layout::Nat);
    // What comes back from a server has passed the director, too: the client sees right checksums.
    let at_client = bed.capture(Node::Client, "eth0", "src host 10.20.0.100 and (tcp or udp)");
    let report = carries_everything(&bed, "10.30.0.11.8080", "10.30.0.11.8007");
    assert_seen_as_sent(&at_client.end(), "10.20.0.100.80 > 10.10.0.2", "10.20.0.100.7 > 10.10.0.2");
    for real in report.services.iter().flat_map(|service| &service.real_servers) {
        assert!(real.traffic.out_packets > 0, "{real:?}");
        assert_eq!(real.forward, "nat");
    }
}

#[test]
fn dr_carries_tcp_and_udp_and_replies_bypass_the_director() {
    let bed = long(Layout::Dr);
    let report = carries_everything(&bed, "10.20.0.100.80", "10.20.0.100.7");
    assert_replies_bypass(&report, "dr");
}

#[test]
fn tun_carries_tcp_and_udp_and_replies_bypass_the_director() {
    let bed = long(Layout::Tun);
    let outer = bed.capture(Node::Router, "eth1", "ip proto 4");
    let report = carries_everything(&bed, "10.20.0.100.80", "10.20.0.100.7");
    assert_replies_bypass(&report, "tun");
    let outer = outer.end();
    assert!(outer.contains("10.20.0.2 > 10.40.0.11: IP"), "the director to the first server: {outer}");
    assert!(!outer.contains("bad cksum"), "{outer}");
}

#[test]
fn servers_of_every_method_stand_behind_one_service() {
    let bed = Bed::new(Layout::Mixed);
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
fn long(layout: Layout) -> Bed {
    Bed::with(layout, Options { large_file_bytes: 30_000_000, ..options() })
}

/// Requests shared out by weight, a download, UDP, and ping; and what the first server sees of it, on its `http`
/// and its `echo` address in tcpdump's way of writing. The director's last report.
fn carries_everything(bed: &Bed, http: &str, echo: &str) -> Report {
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
    let ping = bed.on(Node::Client, "ping -c 3 -i 0.2 -W 5 10.20.0.100");
    assert!(ping.contains(" 0% packet loss"), "{ping}");

    assert_seen_as_sent(&at_server.end(), &format!("> {http}"), &format!("> {echo}"));
    let report = director.stop().unwrap();
    assert_drops_nothing(&report);
    assert_eq!(report.packets, report.forwarded + report.to_host + report.dropped);
    assert_eq!((report.port.received, report.port.sent), (report.packets, report.forwarded));
    assert!(report.services.iter().all(|service| service.traffic.in_packets > 0), "{report:?}");
    report
}

/// What a capture shows has the client's own address, has been decremented once by the router and once by the
/// director, and has right checksums.
fn assert_seen_as_sent(capture: &str, tcp: &str, udp: &str) {
    let assert_all = |address: &str, right: &str| {
        let is_of = |line: &&str| line.contains(address) && line.contains("10.10.0.2.");
        assert!(capture.lines().any(|line| is_of(&line)), "nothing {address} in {capture}");
        let wrong: Vec<&str> =
            capture.lines().filter(is_of).filter(|line| !line.contains(right)).take(3).collect();
        assert!(wrong.is_empty(), "without {right}: {wrong:#?}");
    };
    assert_all(tcp, "(correct)");
    assert_all(udp, "[udp sum ok]");
    // tcpdump says nothing of the IP header's checksum unless it is wrong.
    assert!(!capture.contains("bad cksum"), "{capture}");
    let mut ttls: Vec<&str> =
        capture.lines().filter_map(|line| line.split_once("ttl ")?.1.split(',').next()).collect();
    ttls.dedup();
    assert_eq!(ttls, ["62"]);
}

fn assert_replies_bypass(report: &Report, method: &str) {
    for real in report.services.iter().flat_map(|service| &service.real_servers) {
        assert_eq!((real.forward.as_str(), real.traffic.out_packets), (method, 0), "{real:?}");
    }
}
