//! ICMP errors on every method's way: the director is a hop, and the path's MTU is found out.

use crate::bed::{Bed, PATIENCE, eventually, in_turn, options};
use lvx::lab::{Family, LabService, Layout, Node, Options};
use lvx::service::SchedulerName;
use std::io::{ErrorKind, Write};
use std::net::UdpSocket;

/// What a client hears of two datagrams to the echo service, one of which may travel one hop, the other two.
fn two_hops(bed: &Bed) -> String {
    let capture = bed.capture(Node::Client, "eth0", "icmp");
    let sent = bed.node(Node::Client).unwrap().inside(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        for hops in 1..=2 {
            socket.set_ttl(hops)?;
            socket.send_to(b"hop", bed.plan.echo())?;
        }
        Ok::<(), std::io::Error>(())
    });
    sent.unwrap().unwrap();
    eventually("two answers", || capture.text().matches("time exceeded in-transit").count() == 2);
    capture.end()
}

#[test]
fn the_director_is_a_hop_on_a_traceroute_by_every_method() {
    for layout in [Layout::Nat, Layout::Dr, Layout::Tun] {
        let bed = Bed::new(layout);
        let director = bed.direct(&[LabService::echo(SchedulerName::Rr, &[1, 1, 1])]);
        let heard = two_hops(&bed);
        for hop in ["10.10.0.1", "10.20.0.100"] {
            assert!(heard.contains(&format!("{hop} > 10.10.0.2: ICMP time exceeded")), "{layout}: {heard}");
        }
        assert!(!heard.contains("wrong icmp cksum"), "{layout}: {heard}");
        let report = director.stop().unwrap();
        assert_eq!(report.answered_by_reason["ttl_expired"], 1, "{layout}: {report:?}");
    }
}

#[test]
fn without_a_server_a_client_is_refused_at_once() {
    let bed = Bed::empty(Layout::Nat, options());
    let none =
        [LabService::http(SchedulerName::Rr, &[0, 0, 0]), LabService::echo(SchedulerName::Rr, &[0, 0, 0])];
    let director = bed.direct(&none);
    let refused = bed.connect(bed.plan.http()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let answer = bed.node(Node::Client).unwrap().inside(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(bed.plan.echo())?;
        socket.send(b"anybody")?;
        socket.recv(&mut [0; 16])
    });
    assert_eq!(answer.unwrap().unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(director.stop().unwrap().answered_by_reason["no_real_server"], 2);
}

/// Sets the MTU of every link between director and servers, on both of its ends.
fn narrow(bed: &Bed, mtu: u16) {
    for link in &bed.plan.links {
        if link.ends.iter().any(|end| end.node == Node::Client) {
            continue;
        }
        for end in &link.ends {
            bed.on(end.node, &format!("ip link set dev {} mtu {mtu}", end.interface));
        }
    }
}

/// An upload of so many bytes on a connection to the VIP, which the server takes as one request.
fn upload(bed: &Bed, bytes: usize) {
    let mut stream = bed.connect(bed.plan.http()).unwrap();
    let head =
        format!("POST / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\nContent-Length: {bytes}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![b'x'; bytes]).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
}

#[test]
fn transfers_through_tunnels_work_where_every_link_holds_1500_bytes() {
    for family in Family::ALL {
        let bed = Bed::with(Layout::Tun, Options { family, large_file_bytes: 5_000_000, ..options() });
        narrow(&bed, 1500);
        let director = bed.direct(&in_turn());
        bed.download_whole();
        // What the client sends is what the tunnel has no room for.
        upload(&bed, 900_000);
        let report = director.stop().unwrap();
        assert!(report.answered_by_reason["too_big"] > 0, "{family:?}: {report:?}");
    }
}

#[test]
fn a_narrow_link_behind_the_director_is_found_out_through_the_tunnel() {
    let bed = Bed::with(Layout::Tun, options());
    narrow(&bed, 1500);
    // The way from the router to the servers, which the director does not see.
    for link in &bed.plan.links {
        for end in link.ends.iter().filter(|end| end.node == Node::Router && end.interface == "eth2") {
            bed.on(end.node, &format!("ip link set dev {} mtu 1400", end.interface));
        }
    }
    let director = bed.direct(&in_turn());
    upload(&bed, 900_000);
    let report = director.stop().unwrap();
    assert!(report.related > 0, "{report:?}");
    let learnt = bed.on(Node::Client, "ip route get 10.20.0.100");
    assert!(learnt.contains("mtu 1380"), "{learnt}");
}
