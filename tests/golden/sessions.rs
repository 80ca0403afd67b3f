//! Clients that keep to their servers.

use super::case::Case;
use super::network::{ETH1, HTTP, VIP, dr, nat, tun};
use super::packet::Packet;

pub fn cases() -> Vec<Case> {
    vec![persistence(), persistence_by_network(), all_ports(), group(), ftp_by_persistence()]
}

fn persistence() -> Case {
    let mut case = Case::new(
        "persistence",
        "A client's connections go to the server of its first one, until its template has not been used for the \
         service's time and the connections that it led are over.",
    )
    .director("max_connections = 1000\n\n[director.timeouts]\ntcp = \"1s\"\ntcp_fin = \"1s\"\n")
    .web("rr", &[nat(11, 8080), nat(12, 8080)])
    .more("persistent = \"100s\"\n");
    let from = |host, port| ([203, 0, 113, host], port);
    let syn = |host, port| Packet::tcp("S", from(host, port), HTTP);
    for (at, host, port, server) in [(0, 1, 1000, 0), (10, 1, 1001, 0), (20, 2, 1000, 1), (30, 1, 1002, 0)] {
        case.opens(at, &syn(host, port), server);
        case.answers(at + 1, &Packet::tcp("SA", HTTP, from(host, port)), server);
        case.reaches(at + 2, &Packet::tcp("A", from(host, port), HTTP), server);
    }
    // From port 0, as a template has it: a connection like any other.
    case.left(40, Packet::tcp("A", from(1, 0), HTTP).frame(), "no_connection");
    case.opens(50, &syn(1, 0), 0);
    case.opens(90_000, &syn(1, 1003), 0);
    // 100 seconds after its last use, the connection of then being over: the next in the round.
    case.opens(250_100, &syn(1, 1004), 0);
    case.opens(250_200, &syn(2, 1001), 1);
    case
}

fn persistence_by_network() -> Case {
    let mut case = Case::new(
        "persistence_by_network",
        "With netmask = \"255.255.255.0\", all clients of a /24 go to one server.",
    )
    .web("rr", &[dr(11, 80), dr(12, 80), dr(13, 80)])
    .more("persistent = true\nnetmask = \"255.255.255.0\"\n");
    for (at, net, host, server) in
        [(0, 1, 1, 0), (1, 2, 1, 1), (2, 1, 200, 0), (3, 3, 9, 2), (4, 2, 255, 1), (5, 4, 1, 0), (6, 1, 3, 0)]
    {
        case.opens(at, &Packet::tcp("S", ([198, 18, net, host], 4000), HTTP), server);
    }
    case
}

fn all_ports() -> Case {
    let mut case = Case::new(
        "all_ports",
        "A persistent service of all ports: every port of the VIP that no other service has leads to the same port of \
         the client's server, whatever the method; a reply comes from the port that its client has addressed.",
    )
    .service("all", "tcp", (VIP, 0), "rr", &[nat(11, 0), dr(12, 0), tun(21, 0)])
    .more("persistent = true\n")
    .web("rr", &[nat(13, 8080)]);
    let from = |host, port| ([203, 0, 113, host], port);
    for (at, host, vport, server) in
        [(0, 1, 443, 0), (10, 1, 22, 0), (20, 2, 443, 1), (30, 3, 9999, 2), (40, 2, 1, 1), (50, 1, 65535, 0)]
    {
        let (client, vip) = (from(host, 1000 + vport / 2), (VIP, vport));
        case.opens(at, &Packet::tcp("S", client, vip), server);
        if server == 0 {
            case.answers(at + 1, &Packet::tcp("SA", vip, client), server);
            case.reaches(at + 2, &Packet::tcp("PA", client, vip).with("hello"), server);
        }
    }
    case.opens(60, &Packet::tcp("S", from(1, 7), HTTP), 0);
    // The server's other ports, and UDP, are not the connection's.
    let stranger = nat(11, 444).answers(Packet::tcp("A", (VIP, 443), from(1, 1221)));
    case.left_from(61, ETH1, stranger.frame(), "not_ours");
    case.left(62, Packet::udp(from(1, 7), (VIP, 443), b"x").frame(), "not_ours");
    case
}

fn group() -> Case {
    let other = [192, 0, 2, 101];
    let mut case = Case::new(
        "group",
        "A group of ports and addresses (as IPVS's fwmark services) shares one round and its templates; a server without \
         a port keeps the port addressed, one with a port gets all of them there; replies come from what was addressed.",
    )
    .group(&[HTTP, (VIP, 443), (other, 8080)], "rr", &[nat(11, 0), nat(12, 8000)])
    .more("persistent = true\n");
    let from = |host, port| ([203, 0, 113, host], port);
    for (at, host, vip, server) in [
        (0, 1, HTTP, 0),
        (10, 2, (VIP, 443), 1),
        (20, 1, (VIP, 443), 0),
        (30, 2, (other, 8080), 1),
        (40, 3, (other, 8080), 0),
        (50, 1, (other, 8080), 0),
    ] {
        let client = from(host, 1000 + at as u16);
        case.opens(at, &Packet::tcp("S", client, vip), server);
        case.answers(at + 1, &Packet::tcp("SA", vip, client), server);
        case.reaches(at + 2, &Packet::tcp("A", client, vip), server);
    }
    case.left(60, Packet::tcp("S", from(1, 9), (VIP, 81)).frame(), "not_ours");
    case
}

fn ftp_by_persistence() -> Case {
    let ftp = (VIP, 21);
    let mut case = Case::new(
        "ftp_by_persistence",
        "Direct-routed FTP: a persistent service at port 21 leads a client's passive data, to ports from 1024 on, and its \
         answers to active data, from port 20, to the server of its control connection; lower ports are the host's.",
    )
    .service("ftp", "tcp", ftp, "rr", &[dr(11, 21), dr(12, 21)])
    .more("persistent = true\n");
    let from = |host, port| ([203, 0, 113, host], port);
    let reaches = |case: &mut Case, at, flags, client, vport, server| {
        let packet = Packet::tcp(flags, client, (VIP, vport));
        let time = case.comes(at, super::network::ETH0, packet.frame());
        let expected = dr(11 + server as u8, 21).receives(&packet);
        case.goes(time, ETH1, expected);
        case.counts(ftp, server, packet.ip_len());
    };
    for (at, flags, host, vport, server) in [
        (0, "S", 1, 21, 0),
        (1, "S", 2, 21, 1),
        (2, "S", 1, 40000, 0),
        (3, "S", 2, 1024, 1),
        (4, "SA", 1, 20, 0),
        (5, "S", 3, 21, 0),
    ] {
        reaches(&mut case, at, flags, from(host, 2000 + at as u16), vport, server);
        case.opened(ftp, server);
    }
    case.left(6, Packet::tcp("S", from(1, 9), (VIP, 1023)).frame(), "not_ours");
    case
}
