//! Clients that keep to their servers.

use super::case::Case;
use super::network::{ETH0, ETH1, HTTP, VIP, client_receives, dr, nat, tun};
use super::packet::{Ip, Packet};

pub fn cases() -> Vec<Case> {
    vec![
        persistence(),
        persistence_by_network(),
        all_ports(),
        group(),
        ftp_by_persistence(),
        ftp_passive(),
        ftp_active(),
    ]
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
        let time = case.comes(at, ETH0, packet.frame());
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

const FTP: (Ip, u16) = (VIP, 21);

/// Opens a control connection through NAT to a server, which greets.
fn ftp_login(case: &mut Case, client: (Ip, u16), server: usize) {
    case.opens(0, &Packet::tcp("S", client, FTP), server);
    case.answers(1, &Packet::tcp("SA", FTP, client), server);
    case.reaches(2, &Packet::tcp("A", client, FTP), server);
    case.answers(3, &Packet::tcp("PA", FTP, client).at(1001, 5000).with("220 ready\r\n"), server);
}

/// What the server says becomes another text, with numbers as the client must see them.
fn says(case: &mut Case, at: u64, server: usize, said: &Packet, heard: &Packet) {
    let (vip, real) = (said.src, case.server(said.src, server));
    let time = case.comes(at, ETH1, real.answers(said.clone()).frame());
    case.goes(time, ETH0, client_receives(&real.answers(heard.clone()), vip));
    case.counts_back(vip, server, heard.ip_len());
}

/// What the client sends is read by the server with its own numbers.
fn hears(case: &mut Case, at: u64, server: usize, sent: &Packet, heard: &Packet) {
    let time = case.comes(at, ETH0, sent.frame());
    let expected = case.server(sent.dst, server).receives(heard);
    case.goes(time, ETH1, expected);
    case.counts(sent.dst, server, heard.ip_len());
}

fn ftp_passive() -> Case {
    let mut case = Case::new(
        "ftp_passive",
        "FTP through NAT: in \"227 ...\" the server's address becomes the VIP, the numbers behind it are shifted for the \
         client and back for the server, SACK blocks too; the client's data connection to that port, and to that of \
         \"229 ...\", from whatever port, reaches the server of its control connection, and no other does.",
    )
    .service("ftp", "tcp", FTP, "rr", &[nat(11, 21), nat(12, 2121)]);
    let client = ([203, 0, 113, 1], 40001);
    let data = |flags, cport, vport| Packet::tcp(flags, (client.0, cport), (VIP, vport));
    ftp_login(&mut case, client, 0);
    case.left(4, data("S", 50000, 40000).frame(), "not_ours");
    let server = |seq: u32| Packet::tcp("PA", FTP, client).at(seq, 5000);
    let (said, heard) = ("227 Passive (10,0,0,11,156,64).\r\n", "227 Passive (192,0,2,100,156,64).\r\n");
    let by = (heard.len() - said.len()) as u32;
    says(&mut case, 5, 0, &server(1012).with(said), &server(1012).with(heard));
    // Sent again: the same again.
    says(&mut case, 6, 0, &server(1012).with(said), &server(1012).with(heard));
    let next = 1012 + said.len() as u32;
    let acks = |ack| Packet::tcp("A", client, FTP).at(5000, ack);
    hears(&mut case, 7, 0, &acks(next + by), &acks(next));
    says(&mut case, 8, 0, &server(next).with("150 here\r\n"), &server(next + by).with("150 here\r\n"));
    let sack = |ack, from, to| acks(ack).sacking(from, to);
    hears(
        &mut case,
        9,
        0,
        &sack(next + by, next + by + 10, next + by + 20),
        &sack(next, next + 10, next + 20),
    );
    // The data connection, from a port that nobody has named.
    case.opens_data(10, &data("S", 50001, 40000), FTP, 0, 40000);
    case.left(11, data("S", 50002, 40000).frame(), "not_ours");
    // A line of the same length with a second address: shifted by both.
    let second = next + 10;
    let (said2, heard2) = ("227 Passive (10,0,0,11,4,0).\r\n", "227 Passive (192,0,2,100,4,0).\r\n");
    says(&mut case, 12, 0, &server(second).with(said2), &server(second + by).with(heard2));
    let third = second + said2.len() as u32;
    says(&mut case, 13, 0, &server(third).with("226 done\r\n"), &server(third + 2 * by).with("226 done\r\n"));
    case.opens_data(14, &data("S", 50003, 1024), FTP, 0, 1024);
    // Extended: nothing in it changes.
    let fourth = third + 10;
    let line = "229 Extended (|||40002|)\r\n";
    says(&mut case, 15, 0, &server(fourth).with(line), &server(fourth + 2 * by).with(line));
    case.opens_data(16, &data("S", 50004, 40002), FTP, 0, 40002);
    // Somebody else's address is not announced.
    let other = "227 Passive (10,0,0,99,156,70).\r\n";
    says(&mut case, 17, 0, &server(fourth + 26).with(other), &server(fourth + 26 + 2 * by).with(other));
    case.left(18, data("S", 50005, 40006).frame(), "not_ours");
    case
}

fn ftp_active() -> Case {
    let mut case = Case::new(
        "ftp_active",
        "FTP through NAT: where the client says that it listens (PORT, EPRT), the server's connection from port 20 comes \
         from port 20 of the VIP; not to another host's address.",
    )
    .service("ftp", "tcp", FTP, "rr", &[nat(11, 21), nat(12, 21)]);
    let client = ([203, 0, 113, 1], 40001);
    ftp_login(&mut case, client, 0);
    let control = |line: &str| Packet::tcp("PA", client, FTP).with(line);
    let from_server = |flags, cport| Packet::tcp(flags, (VIP, 20), (client.0, cport));
    let early = nat(11, 20).answers(from_server("S", 50000)).frame();
    case.left_from(4, ETH1, early, "not_ours");
    case.reaches(5, &control("PORT 203,0,113,1,195,80\r\n"), 0);
    case.data_comes(6, &from_server("S", 50000), FTP, 0);
    let time = case.comes(7, ETH0, Packet::tcp("SA", (client.0, 50000), (VIP, 20)).frame());
    let answer = Packet::tcp("SA", (client.0, 50000), (VIP, 20));
    case.goes(time, ETH1, nat(11, 20).receives(&answer));
    case.counts(FTP, 0, answer.ip_len());
    case.opened(FTP, 0);
    case.reaches(8, &control("EPRT |1|203.0.113.1|50001|\r\n"), 0);
    case.data_comes(9, &from_server("S", 50001), FTP, 0);
    case.opened(FTP, 0);
    case.reaches(10, &control("PORT 203,0,113,9,195,80\r\n"), 0);
    let third = Packet::tcp("S", (VIP, 20), ([203, 0, 113, 9], 50000));
    case.left_from(11, ETH1, nat(11, 20).answers(third).frame(), "not_ours");
    case
}
