//! What every forwarding method does to a packet.

use super::case::Case;
use super::network::{self, DNS, HTTP, client, nat};
use super::packet::{Packet, Segment};

pub fn cases() -> Vec<Case> {
    vec![
        nat_tcp(),
        nat_udp(),
        nat_udp_without_checksum(),
        nat_udp_checksum_of_zero(),
        nat_two_clients_of_one_port(),
        padding(),
        dr(),
        tun(),
        mixed(),
        ip_options(),
        ecn(),
        largest(),
        partial_checksums(),
    ]
}

/// A whole connection: handshake, data both ways, and both ends closing.
fn nat_tcp() -> Case {
    let mut case = Case::new(
        "nat_tcp",
        "NAT rewrites VIP:80 to 10.0.0.11:8080 on the way in and back on the way out, from handshake to FIN.",
    )
    .web("rr", &[nat(11, 8080)]);
    let request = |flags| Packet::tcp(flags, client(1), HTTP);
    let reply = |flags| Packet::tcp(flags, HTTP, client(1));
    case.opens(0, &request("S"), 0);
    case.answers(1, &reply("SA"), 0);
    case.reaches(2, &request("A"), 0);
    case.reaches(3, &request("PA").with("GET / HTTP/1.1\r\n\r\n"), 0);
    case.answers(4, &reply("A"), 0);
    case.answers(5, &reply("PA").with(vec![b'x'; 1460]), 0);
    case.answers(6, &reply("PA").with("odd"), 0);
    case.reaches(7, &request("FA"), 0);
    case.answers(8, &reply("FA"), 0);
    case.reaches(9, &request("A"), 0);
    case.ends_with(HTTP, 0, 0, 1);
    case
}

fn nat_udp() -> Case {
    let mut case = Case::new("nat_udp", "NAT carries UDP both ways, with the checksums following.")
        .dns("rr", &[nat(11, 5353), nat(12, 53)]);
    for (n, payload) in [(1, &b"question"[..]), (2, b"odd"), (3, b"")] {
        let server = usize::from(n - 1) % 2;
        case.opens(u64::from(n) * 10, &Packet::udp(client(n), DNS, payload), server);
        case.answers(u64::from(n) * 10 + 5, &Packet::udp(DNS, client(n), b"answer"), server);
    }
    case.ends_with(DNS, 0, 0, 2);
    case.ends_with(DNS, 1, 0, 1);
    case
}

fn nat_udp_without_checksum() -> Case {
    let mut case = Case::new(
        "nat_udp_without_checksum",
        "A UDP datagram without a checksum (0) leaves with one, in both directions, as from IPVS; by DR and TUN without.",
    )
    .dns("rr", &[nat(11, 5353), network::dr(12, 53), network::tun(21, 53)]);
    for n in 1..=3 {
        case.opens(u64::from(n), &Packet::udp(client(n), DNS, b"question"), usize::from(n) - 1);
    }
    let question = Packet::udp(client(1), DNS, b"another");
    case.frame_reaches(10, bare(&question), &question, 0);
    case.frame_answers(11, bare, &Packet::udp(DNS, client(1), b"answer"), 0);
    for n in 2..=3 {
        let question = Packet { segment: Segment::BareUdp, ..Packet::udp(client(n), DNS, b"another") };
        case.reaches(10 + u64::from(n), &question, usize::from(n) - 1);
    }
    case
}

/// Without a checksum.
pub fn bare(packet: &Packet) -> Vec<u8> {
    Packet { segment: Segment::BareUdp, ..packet.clone() }.frame()
}

/// The payload is chosen so that the sum over the rewritten datagram is 0xffff, whose complement is 0.
fn nat_udp_checksum_of_zero() -> Case {
    let mut case = Case::new(
        "nat_udp_checksum_of_zero",
        "A UDP checksum that comes out as 0 after NAT is sent as 0xffff, since 0 means that there is none.",
    )
    .dns("rr", &[nat(11, 5353)]);
    let query = Packet::udp(client(1), DNS, &[0, 0]);
    let rewritten = nat(11, 5353).receives(&query);
    let query = query.with(&rewritten[40..42]);
    assert_eq!(nat(11, 5353).receives(&query)[40..42], [0xff, 0xff]);
    case.opens(0, &query, 0);
    case
}

fn nat_two_clients_of_one_port() -> Case {
    let mut case = Case::new(
        "nat_two_clients_of_one_port",
        "Two clients with the same source port have a connection each, and each gets its own replies.",
    )
    .web("rr", &[nat(11, 8080), nat(12, 8080)]);
    let clients = [([203, 0, 113, 1], 50000), ([203, 0, 113, 2], 50000)];
    for (server, client) in clients.into_iter().enumerate() {
        case.opens(server as u64, &Packet::tcp("S", client, HTTP), server);
    }
    for (server, client) in clients.into_iter().enumerate() {
        case.answers(10 + server as u64, &Packet::tcp("SA", HTTP, client), server);
    }
    case
}

fn padding() -> Case {
    let mut case = Case::new(
        "padding",
        "What pads a short Ethernet frame is cut off, whatever the method: it is not part of the packet.",
    )
    .dns("rr", &[nat(11, 53), network::dr(12, 53), network::tun(21, 53)]);
    for n in 1..=3 {
        let packet = Packet::udp(client(n), DNS, b"hi");
        let mut padded = packet.frame();
        padded.resize(60, 0xee);
        case.opened(DNS, usize::from(n) - 1);
        case.frame_reaches(u64::from(n), padded, &packet, usize::from(n) - 1);
    }
    case
}

fn dr() -> Case {
    let mut case = Case::new(
        "dr",
        "Direct routing changes MACs and TTL and nothing else; the server's replies do not pass here.",
    )
    .web("rr", &[network::dr(11, 80), network::dr(12, 80)]);
    for n in 1..=2 {
        let server = usize::from(n) - 1;
        let request = |flags| Packet { tos: 0x2e << 2 | 1, ..Packet::tcp(flags, client(n), HTTP) };
        let at = u64::from(n) * 10;
        case.opens(at, &request("S"), server);
        case.reaches(at + 1, &request("A"), server);
        case.reaches(at + 2, &request("PA").with("GET / HTTP/1.1\r\n\r\n"), server);
    }
    case.ends_with(HTTP, 0, 1, 0);
    case.ends_with(HTTP, 1, 1, 0);
    case
}

fn tun() -> Case {
    let mut case = Case::new(
        "tun",
        "IP-in-IP wraps the packet: outer source is the director's address, TTL, DF and DS field are the inner's.",
    )
    .web("rr", &[network::tun(21, 80), network::tun(22, 80)]);
    let variants = [(1, 0, true, 64, 1), (2, 0x2e << 2 | 2, false, 200, 0xffff)];
    for (n, tos, dont_fragment, ttl, id) in variants {
        let server = usize::from(n) - 1;
        let request = |flags| Packet { tos, dont_fragment, ttl, id, ..Packet::tcp(flags, client(n), HTTP) };
        let at = u64::from(n) * 10;
        case.opens(at, &request("S"), server);
        case.reaches(at + 1, &request("A"), server);
        case.reaches(at + 2, &request("PA").with("GET / HTTP/1.1\r\n\r\n"), server);
        case.reaches(at + 3, &request("FA"), server);
    }
    case.ends_with(HTTP, 0, 0, 1);
    case.ends_with(HTTP, 1, 0, 1);
    case
}

fn mixed() -> Case {
    let mut case =
        Case::new("mixed", "One service has a server of each method; each connection keeps to its own.")
            .web("rr", &[nat(11, 8080), network::dr(12, 80), network::tun(21, 80)]);
    for n in 1..=6 {
        case.opens(u64::from(n), &Packet::tcp("S", client(n), HTTP), usize::from(n - 1) % 3);
    }
    for n in 1..=6 {
        case.reaches(10 + u64::from(n), &Packet::tcp("A", client(n), HTTP), usize::from(n - 1) % 3);
    }
    for server in 0..3 {
        case.ends_with(HTTP, server, 2, 0);
    }
    case
}

fn ecn() -> Case {
    let mut case = Case::new(
        "ecn",
        "The four ECN codepoints and the DS field are the packet's by every method, and a tunnel's outer header has them, \
         too (RFC 6040, normal mode).",
    )
    .web("rr", &[nat(11, 8080), network::dr(12, 80), network::tun(21, 80)]);
    for n in 1..=3 {
        let server = usize::from(n) - 1;
        case.opens(100 * u64::from(n), &Packet::tcp("S", client(n), HTTP), server);
        for ecn in 0..4 {
            let data = Packet { tos: 0x0a << 2 | ecn, ..Packet::tcp("PA", client(n), HTTP).with("data") };
            case.reaches(100 * u64::from(n) + 1 + u64::from(ecn), &data, server);
        }
    }
    case
}

fn ip_options() -> Case {
    let mut case = Case::new(
        "ip_options",
        "IP options are carried as they are by every method, and are not copied to the outer header.",
    )
    .web("rr", &[nat(11, 8080), network::dr(12, 80), network::tun(21, 80)]);
    for n in 1..=3 {
        // Router alert (RFC 2113), and no operation four times.
        let options = &[0x94, 4, 0, 0, 1, 1, 1, 1];
        let request = Packet { options, ..Packet::tcp("S", client(n), HTTP).with("data") };
        case.opens(u64::from(n), &request, usize::from(n) - 1);
    }
    let options = &[0x94, 4, 0, 0];
    case.answers(10, &Packet { options, ..Packet::tcp("SA", HTTP, client(1)) }, 0);
    case
}

/// Bytes of TCP payload in the largest packet that fits 1500.
const FULL: usize = 1500 - 40;

fn largest() -> Case {
    let mut case = Case::new(
        "largest",
        "A packet of 1500 bytes goes through NAT and DR, and one of 1480 through a tunnel, over links of MTU 1500.",
    )
    .web("rr", &[nat(11, 8080), network::dr(12, 80), network::tun(21, 80)]);
    for (n, payload) in [(1, FULL), (2, FULL), (3, FULL - 20)] {
        let server = usize::from(n) - 1;
        case.opens(10 * u64::from(n), &Packet::tcp("S", client(n), HTTP), server);
        case.reaches(
            10 * u64::from(n) + 5,
            &Packet::tcp("A", client(n), HTTP).with(vec![0x5a; payload]),
            server,
        );
    }
    case
}

fn partial_checksums() -> Case {
    let mut case = Case::new(
        "partial_checksums",
        "A checksum that the sender left to its network card (as on veth) leaves complete, whatever the method.",
    )
    .web("rr", &[nat(11, 8080), network::dr(12, 80), network::tun(21, 80)])
    .dns("rr", &[nat(11, 53)]);
    for n in 1..=3 {
        let request = Packet::tcp("S", client(n), HTTP).with("odd");
        case.opened(HTTP, usize::from(n) - 1);
        case.frame_reaches(
            u64::from(n),
            request.frame_of_an_offloading_sender(),
            &request,
            usize::from(n) - 1,
        );
    }
    let query = Packet::udp(client(4), DNS, b"question");
    case.opened(DNS, 0);
    case.frame_reaches(10, query.frame_of_an_offloading_sender(), &query, 0);
    let offloading = Packet::frame_of_an_offloading_sender;
    case.frame_answers(20, offloading, &Packet::tcp("SA", HTTP, client(1)), 0);
    case.frame_answers(21, offloading, &Packet::udp(DNS, client(4), b"answer"), 0);
    // Beside these there are whole ones.
    case.answers(22, &Packet::tcp("PA", HTTP, client(1)).with("whole"), 0);
    case
}
