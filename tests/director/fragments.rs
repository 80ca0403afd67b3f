//! Datagrams larger than any frame, between real clients and real servers.

use crate::bed::{Bed, PATIENCE, options};
use lvx::control::report::Report;
use lvx::lab::{Family, LabService, Layout, Node, Options};
use lvx::service::SchedulerName;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::thread;

/// Datagrams of 8,000 bytes reach every server by turns, and their answers, as large, come back. The director's report.
fn carries_large_datagrams(layout: Layout, family: Family, queues: u16) -> Report {
    let bed = Bed::with(layout, Options { family, queues, ..options() });
    narrow(&bed);
    let director = bed.direct(&[LabService::echo(SchedulerName::Rr, &[1, 1, 1])]);
    let datagram: Vec<u8> = (0..8000u32).map(|i| (i * 31) as u8).collect();
    // Routers do not fragment IPv6: the first datagram teaches the client what fits the tunnel.
    let taught = u64::from(layout == Layout::Tun && family == Family::V6);
    if taught > 0 {
        bed.ask_echo(&datagram, PATIENCE).unwrap_err();
    }
    for n in 0..24 {
        let answer = bed.ask_echo(&datagram, PATIENCE).unwrap_or_else(|error| {
            panic!("{layout:?} {family:?} datagram {n}: {error}; {:?}", director.report())
        });
        let server = format!("server {} ", (n + taught) % 3 + 1);
        assert_eq!(answer, [server.as_bytes(), &datagram].concat(), "{layout:?} {family:?} datagram {n}");
    }
    let report = director.stop().unwrap();
    let dropped = (report.dropped, report.answered_by_reason.get("too_big").copied());
    assert_eq!(dropped, if taught > 0 { (6, Some(1)) } else { (0, None) }, "{report:?}");
    assert_eq!(report.to_host_by_reason.get("fragment"), None, "{report:?}");
    for (n, real) in report.services[0].real_servers.iter().enumerate() {
        assert_eq!(real.traffic.connections, if n == 0 { 8 + taught } else { 8 });
        // Six fragments each.
        assert_eq!(real.traffic.in_packets, 48, "{report:?}");
        assert_eq!(real.traffic.out_packets, if real.forward == "nat" { 48 } else { 0 }, "{report:?}");
    }
    report
}

#[test]
fn fragments_pass_nat_both_ways_in_both_families() {
    Family::ALL.into_iter().for_each(|family| drop(carries_large_datagrams(Layout::Nat, family, 1)));
}

#[test]
fn fragments_pass_dr_in_both_families() {
    Family::ALL.into_iter().for_each(|family| drop(carries_large_datagrams(Layout::Dr, family, 1)));
}

/// Every link carries 1,500 bytes: what carries a fragment of that size is sent in fragments itself, which the server's
/// kernel puts together.
#[test]
fn fragments_pass_a_tunnel_in_both_families() {
    for family in Family::ALL {
        let report = carries_large_datagrams(Layout::Tun, family, 1);
        if family == Family::V4 {
            assert!(report.fragments.made > 0, "{report:?}");
        }
    }
}

/// An upload, since downloads do not pass the tunnel: a client's full segments are what does not fit it.
#[test]
fn a_hundred_megabytes_pass_a_tunnel_where_every_link_has_1500_bytes() {
    // All of it where most packets are cut in two; a tenth shows as much of the others, whose segments fit.
    for (family, clamp, megabytes) in
        [(Family::V4, false, 100), (Family::V4, true, 10), (Family::V6, true, 10), (Family::V6, false, 10)]
    {
        let bed =
            Bed::with(Layout::Tun, Options { family, large_file_bytes: megabytes * 1_000_000, ..options() });
        narrow(&bed);
        let (vip, rip) =
            (SocketAddr::new(bed.plan.vip, 9000), SocketAddr::new(bed.plan.servers[0].rip, 9000));
        let director = bed.direct_by(&format!(
            "[[interface]]\nname = \"eth0\"\n[[virtual_service]]\naddress = \"{vip}\"\nmss_clamp = {clamp}\n\
             [[virtual_service.real_server]]\naddress = \"{rip}\"\nforward = \"tun\"\n"
        ));
        let server = bed.node(Node::Server(1)).unwrap();
        let listener = server.inside(|| TcpListener::bind(vip)).unwrap().unwrap();
        let large = bed.large_file().unwrap();
        let received = bed.dir().join("received");
        thread::scope(|scope| {
            let path = received.clone();
            scope.spawn(move || {
                let (mut connection, _) = listener.accept().unwrap();
                connection.set_read_timeout(Some(PATIENCE)).unwrap();
                io::copy(&mut connection, &mut File::create(path).unwrap()).unwrap();
            });
            let mut connection = bed.connect(vip).unwrap();
            io::copy(&mut File::open(&large.path).unwrap(), &mut connection).unwrap();
        });
        assert_eq!(sha256(&received), large.sha256, "{family:?}, clamped: {clamp}");
        let report = director.stop().unwrap();
        let told = report.answered_by_reason.get("too_big").copied().unwrap_or(0);
        assert_eq!(report.dropped, told, "only what is told: {report:?}");
        assert!(told > 0 || clamp, "{report:?}");
    }
}

fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap().to_owned()
}

/// Makes every link one of 1,500 bytes: the lab's have room for a tunnel's outer header.
fn narrow(bed: &Bed) {
    for end in bed.plan.links.iter().flat_map(|link| &link.ends) {
        bed.on(end.node, &format!("ip link set {} mtu 1500", end.interface));
    }
}

#[test]
fn fragments_pass_two_workers() {
    Family::ALL.into_iter().for_each(|family| drop(carries_large_datagrams(Layout::Nat, family, 2)));
}
