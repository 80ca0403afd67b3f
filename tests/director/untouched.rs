//! What is not a virtual service stays with the kernel.

use crate::bed::{Bed, PATIENCE, assert_drops_nothing, in_turn, options};
use lvx::lab::{Family, LabService, Layout, Node, Options};
use lvx::service::SchedulerName;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::thread;

/// More than fits any buffer on the way.
const LONG: usize = 2_000_000;

#[test]
fn connections_to_the_directors_own_servers_are_the_kernels() {
    let bed = Bed::new(Layout::Nat);
    let director = bed.direct(&in_turn());
    let own = bed.node(Node::Director).unwrap();
    // Like ssh: on all addresses, the VIP among them.
    let listener = own.inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 2222))).unwrap().unwrap();
    let server = thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut said = Vec::new();
            stream.read_to_end(&mut said).unwrap();
            stream.write_all(&said).unwrap();
        }
    });
    let long: Vec<u8> = (0..LONG).map(|byte| (byte * 31 / 7) as u8).collect();
    for address in [bed.plan.dip, bed.plan.vip] {
        let mut stream = bed.connect(SocketAddr::new(address, 2222)).unwrap();
        stream.write_all(&long).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer == long, "{} bytes came back from {address}", answer.len());
    }
    server.join().unwrap();
    // Nothing of it has even been looked at.
    assert_eq!(director.stop().unwrap().packets, 0);
}

#[test]
fn the_director_reaches_the_servers_ports_itself() {
    // As health checks do. The replies come from where those of masqueraded connections come from.
    for layout in [Layout::Nat, Layout::Mixed] {
        let bed = Bed::new(layout);
        let _director = bed.direct(&in_turn());
        bed.load(10);
        let server = bed.plan.server(1).unwrap();
        for _ in 0..5 {
            assert_eq!(bed.curl(Node::Director, &format!("http://{}/", server.http)).unwrap(), "server 1");
        }
        bed.load(10);
    }
}

#[test]
fn the_kernel_answers_arp_ping_and_what_no_service_listens_on() {
    kernel_answers(Family::V4);
}

#[test]
fn the_kernel_answers_neighbour_solicitations_ping_and_what_no_service_listens_on() {
    kernel_answers(Family::V6);
}

fn kernel_answers(family: Family) {
    let bed = Bed::with(Layout::Dr, Options { family, ..options() });
    let vip = bed.plan.vip;
    let services = [in_turn()[0].clone(), LabService::echo(SchedulerName::Rr, &[1, 1, 1])];
    let director = bed.direct(&services);
    // Nobody but the director answers ARP or solicitations for the VIP, and the servers hold it, too.
    let mac = bed.on(Node::Director, "cat /sys/class/net/eth0/address");
    bed.on(Node::Router, "ip neigh flush all");
    bed.load(3);
    let neighbour = bed.on(Node::Router, &format!("ip neigh show {vip}"));
    assert!(neighbour.contains(mac.trim()), "{neighbour} instead of {mac}");

    // Whole, in fragments, and one that the router answers instead.
    for ping in ["ping -c 2 -i 0.2 -W 5", "ping -c 2 -i 0.2 -W 5 -s 4000"] {
        assert!(bed.on(Node::Client, &format!("{ping} {vip}")).contains(" 0% packet loss"));
    }
    let expired = bed.node(Node::Client).unwrap().command(&["ping", "-c", "1", "-t", "1", &vip.to_string()]);
    let expired = { expired }.output().unwrap();
    let expired = String::from_utf8_lossy(&expired.stdout).into_owned();
    let [router, why] = match family {
        Family::V4 => ["From 10.10.0.1", "Time to live exceeded"],
        Family::V6 => ["From 2001:db8:10::1", "Hop limit"],
    };
    assert!(expired.contains(router) && expired.contains(why), "{expired}");

    // The last hop of a traceroute.
    let unreachable = bed.node(Node::Client).unwrap().inside(|| {
        let socket = UdpSocket::bind(if vip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect((vip, 33434))?;
        socket.send(b"traceroute")?;
        socket.recv(&mut [0; 16])
    });
    assert_eq!(unreachable.unwrap().unwrap_err().kind(), ErrorKind::ConnectionRefused);
    // A port of the VIP that is no service's.
    let refused = bed.connect(SocketAddr::new(vip, 81)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_drops_nothing(&director.stop().unwrap());
}

#[test]
fn a_segment_of_no_connection_is_reset_by_the_kernel() {
    let bed = Bed::new(Layout::Nat);
    let director = bed.direct(&in_turn());
    let mut visit = bed.visit();
    visit.ask().unwrap();
    // A director that knows nothing of the connection.
    director.stop().unwrap();
    let director = bed.direct(&in_turn());
    assert_eq!(visit.ask().unwrap_err().kind(), ErrorKind::ConnectionReset);
    let report = director.stop().unwrap();
    assert!(report.to_host_by_reason["no_connection"] > 0, "{report:?}");
}
