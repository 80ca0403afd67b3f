//! What every forwarding method does to a packet where IPv6 has a part, and what becomes of one that goes no way.

use super::case::Case;
use super::errors::{EXPIRED, needed};
use super::errors6::{EXPIRED6, too_big};
use super::network::{
    DIP, DNS, ETH0_MAC, ETH1, ETH1_MAC, HTTP, ROUTER_MAC, Server, VIP, client, dr, nat, tun, vip_complains,
    vip_complains6,
};
use super::packet::{Packet, Segment};
use super::six;
use etherparse::{
    Icmpv6Type, IpNumber, Ipv6Extensions, Ipv6FragmentHeader, Ipv6RawExtHeader, Ipv6RoutingExtensions,
    PacketBuilder,
};

pub fn cases() -> Vec<Case> {
    vec![
        nat_tcp(),
        nat_udp(),
        udp_without_checksum(),
        udp_checksum_of_zero(),
        padding(),
        partial_checksums(),
        dr_and_traffic_class(),
        tunnels(),
        four_in_six(),
        mixed(),
        largest(),
        extension_headers(),
        headers_not_followed(),
        hop_limit(),
        beyond_the_mtu(),
        four_beyond_the_mtu_in_six(),
        no_way(),
        not_ours(),
    ]
}

/// A service of IPv6.
fn web(name: &'static str, sentence: &'static str, servers: &[Server]) -> Case {
    Case::new(name, sentence).six().web("rr", servers)
}

fn request(flags: &'static str, n: u8) -> Packet {
    Packet::tcp(flags, client(n), HTTP).six()
}

fn reply(flags: &'static str, n: u8) -> Packet {
    Packet::tcp(flags, HTTP, client(n)).six()
}

fn query(n: u8, payload: &[u8]) -> Packet {
    Packet::udp(client(n), DNS, payload).six()
}

fn nat_tcp() -> Case {
    let mut case = web(
        "v6_nat_tcp",
        "NAT in IPv6 rewrites both ways from handshake to FIN; flow labels and traffic classes stay.",
        &[nat(11, 8080)],
    );
    case.opens(0, &request("S", 1), 0);
    case.answers(1, &reply("SA", 1), 0);
    case.reaches(2, &request("A", 1), 0);
    case.reaches(3, &Packet { tos: 0xb9, ..request("PA", 1).with("GET / HTTP/1.1\r\n\r\n") }, 0);
    case.answers(5, &reply("PA", 1).with(vec![b'x'; 1440]), 0);
    case.answers(6, &Packet { tos: 0x22, ..reply("PA", 1).with("odd") }, 0);
    case.reaches(7, &request("FA", 1), 0);
    case.answers(8, &reply("FA", 1), 0);
    case.reaches(9, &request("A", 1), 0);
    case.ends_with(HTTP, 0, 0, 1);
    case
}

fn nat_udp() -> Case {
    let mut case =
        Case::new("v6_nat_udp", "NAT in IPv6 carries UDP both ways, with the checksums following.")
            .six()
            .dns("rr", &[nat(11, 5353), nat(12, 53)]);
    for (n, payload) in [(1, &b"question"[..]), (2, b"odd"), (3, b"")] {
        let server = usize::from(n - 1) % 2;
        case.opens(u64::from(n) * 10, &query(n, payload), server);
        let answer = Packet::udp(DNS, client(n), b"answer").six();
        case.answers(u64::from(n) * 10 + 5, &answer, server);
    }
    case
}

fn udp_without_checksum() -> Case {
    let mut case = Case::new(
        "v6_udp_without_checksum",
        "A UDP datagram without a checksum leaves without one, whatever the method: whether its receiver takes it is not \
         for a director to say (RFC 6936, 5), which only could hide that it was damaged.",
    )
    .six()
    .dns("rr", &[nat(11, 5353), dr(12, 53), tun(21, 53), tun(22, 53).crossed()]);
    let bare = |packet| Packet { segment: Segment::BareUdp, ..packet };
    for n in 1..=4 {
        case.opens(n.into(), &bare(query(n, b"question")), usize::from(n) - 1);
    }
    case.answers(10, &bare(Packet::udp(DNS, client(1), b"answer").six()), 0);
    case
}

/// The payload is chosen so that the sum over the rewritten datagram is 0xffff, whose complement is 0.
fn udp_checksum_of_zero() -> Case {
    let mut case = Case::new(
        "v6_udp_checksum_of_zero",
        "A UDP checksum that comes out as 0 after NAT is sent as 0xffff: 0 is not allowed (RFC 8200, 8.1).",
    )
    .six()
    .dns("rr", &[nat(11, 5353)]);
    let bare = query(1, &[0, 0]);
    let rewritten = nat(11, 5353).receives(&bare);
    let chosen = bare.with(&rewritten[60..62]);
    assert_eq!(nat(11, 5353).receives(&chosen)[60..62], [0xff, 0xff]);
    case.opens(0, &chosen, 0);
    case
}

fn padding() -> Case {
    let mut case = Case::new("v6_padding", "What follows an IPv6 packet in its frame is cut off.")
        .six()
        .dns("rr", &[nat(11, 53), dr(12, 53), tun(21, 53), tun(22, 53).crossed()]);
    for n in 1..=4 {
        let packet = query(n, b"hi");
        let mut padded = packet.frame();
        padded.resize(70, 0xee);
        case.opened(DNS, usize::from(n) - 1);
        case.frame_reaches(n.into(), padded, &packet, usize::from(n) - 1);
    }
    case
}

fn partial_checksums() -> Case {
    let mut case = web(
        "v6_partial_checksums",
        "A checksum that the sender left to its network card leaves complete, in IPv6 as well.",
        &[nat(11, 8080), dr(12, 80), tun(21, 80), tun(22, 80).crossed()],
    );
    let offloading = Packet::frame_of_an_offloading_sender;
    for n in 1..=4 {
        let packet = request("S", n).with("odd");
        case.opened(HTTP, usize::from(n) - 1);
        case.frame_reaches(n.into(), offloading(&packet), &packet, usize::from(n) - 1);
    }
    case.frame_answers(20, offloading, &reply("SA", 1), 0);
    case.answers(21, &reply("PA", 1).with("whole"), 0);
    case
}

fn dr_and_traffic_class() -> Case {
    let mut case = web(
        "v6_dr",
        "Direct routing in IPv6 changes MACs and the hop limit and nothing else.",
        &[dr(11, 80), dr(12, 80)],
    );
    for n in 1..=2 {
        for (at, flags) in [(0, "S"), (1, "A"), (2, "PA")] {
            let packet = Packet { tos: 0xb9, ..request(flags, n).with("data") };
            let at = 10 * u64::from(n) + at;
            if flags == "S" {
                case.opens(at, &packet, n as usize - 1)
            } else {
                case.reaches(at, &packet, n as usize - 1)
            }
        }
    }
    case.ends_with(HTTP, 0, 1, 0);
    case
}

fn tunnels() -> Case {
    let mut case = web(
        "v6_tun",
        "IPv6 in IPv6 and IPv6 in IPv4: hop limit and traffic class are the inner's, the outer flow label is the \
         connection's own, and the outer IPv4 header has DF.",
        &[tun(21, 80), tun(22, 80).crossed()],
    );
    for (n, tos, ttl) in [(1, 0, 64), (2, 0xba, 200), (3, 0xff, 2), (4, 1, 255)] {
        let server = usize::from(n - 1) % 2;
        let packet = |flags| Packet { tos, ttl, ..request(flags, n) };
        let at = 10 * u64::from(n);
        case.opens(at, &packet("S"), server);
        case.reaches(at + 1, &packet("A"), server);
        case.reaches(at + 2, &packet("PA").with("GET / HTTP/1.1\r\n\r\n"), server);
        case.reaches(at + 3, &packet("FA"), server);
    }
    case.ends_with(HTTP, 0, 0, 2);
    case.ends_with(HTTP, 1, 0, 2);
    case
}

fn four_in_six() -> Case {
    let mut case = Case::new(
        "v4_tun_in_v6",
        "IPv4 in IPv6, beside IPv4 in IPv4: TTL and DS field are the inner's, options stay inside.",
    )
    .dual()
    .web("rr", &[tun(21, 80).crossed(), tun(22, 80)]);
    for (n, tos, ttl) in [(1, 0, 64), (2, 0xba, 200), (3, 0xff, 2), (4, 1, 255)] {
        let server = usize::from(n - 1) % 2;
        let packet = |flags| Packet { tos, ttl, ..Packet::tcp(flags, client(n), HTTP) };
        let at = 10 * u64::from(n);
        case.opens(at, &packet("S"), server);
        case.reaches(at + 1, &Packet { dont_fragment: false, ..packet("A") }, server);
        case.reaches(at + 2, &Packet { options: &[0x94, 4, 0, 0], ..packet("PA").with("data") }, server);
    }
    case
}

fn mixed() -> Case {
    let mut case = web(
        "v6_mixed",
        "One service of IPv6 has a server of each method and tunnels of both families; each connection keeps to its own.",
        &[nat(11, 8080), dr(12, 80), tun(21, 80), tun(22, 80).crossed()],
    );
    for n in 1..=8 {
        case.opens(n.into(), &request("S", n), usize::from(n - 1) % 4);
    }
    for n in 1..=8 {
        case.reaches(10 + u64::from(n), &request("A", n), usize::from(n - 1) % 4);
    }
    for server in 0..4 {
        case.ends_with(HTTP, server, 2, 0);
    }
    case
}

/// What the outer headers of `METHODS` take.
const METHODS: [(Server, usize); 4] =
    [(nat(11, 8080), 0), (dr(12, 80), 0), (tun(21, 80), 40), (tun(22, 80).crossed(), 20)];

/// Bytes of TCP payload in the largest packet of IPv6 that fits 1500.
const FULL: usize = 1500 - 60;

fn methods(name: &'static str, sentence: &'static str) -> Case {
    web(name, sentence, &METHODS.map(|(server, _)| server))
}

fn largest() -> Case {
    let mut case = methods(
        "v6_largest",
        "A packet of 1500 bytes goes through NAT and DR, one of 1460 through IPv6 in IPv6, one of 1480 through IPv6 in \
         IPv4.",
    );
    for (n, (_, outer)) in (1..).zip(METHODS) {
        let server = usize::from(n) - 1;
        case.opens(10 * u64::from(n), &request("S", n), server);
        let data = request("A", n).with(vec![0x5a; FULL - outer]);
        case.reaches(10 * u64::from(n) + 5, &data, server);
    }
    case
}

fn raw(bytes: &[u8]) -> Option<Ipv6RawExtHeader> {
    Some(Ipv6RawExtHeader::new_raw(IpNumber::TCP, bytes).unwrap())
}

fn atomic_fragment() -> Option<Ipv6FragmentHeader> {
    Some(Ipv6FragmentHeader::new(IpNumber::TCP, etherparse::IpFragOffset::ZERO, false, 7))
}

fn extension_headers() -> Case {
    let mut case = methods(
        "v6_extension_headers",
        "Hop-by-hop and destination options, a routing header that is at its end and a fragment header around a whole \
         packet are stepped over and carried as they are, by every method.",
    );
    // PadN; a routing header of type 0 without segments left.
    let options = || raw(&[1, 4, 0, 0, 0, 0]);
    let all = Ipv6Extensions {
        hop_by_hop_options: options(),
        destination_options: options(),
        routing: Some(Ipv6RoutingExtensions {
            routing: raw(&[0; 22]).unwrap(),
            final_destination_options: raw(&[1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        }),
        fragment: atomic_fragment(),
        auth: None,
    };
    let some = Ipv6Extensions { destination_options: options(), ..Ipv6Extensions::default() };
    for n in 1..=4 {
        let server = usize::from(n) - 1;
        let at = 10 * u64::from(n);
        case.opens(at, &Packet { extensions: some.clone(), ..request("S", n) }, server);
        case.reaches(at + 1, &Packet { extensions: all.clone(), ..request("A", n).with("data") }, server);
        case.reaches(at + 2, &request("A", n), server);
    }
    case.answers(60, &Packet { extensions: all, ..reply("PA", 1).with("data") }, 0);
    case
}

fn headers_not_followed() -> Case {
    let mut case = web(
        "v6_headers_not_followed",
        "A route not yet travelled, authentication, ESP, no next header, and more extension headers than five: left to \
         the host (other_protocol), as are pings and neighbour discovery.",
        &[nat(11, 8080)],
    );
    let mut routed = Packet {
        extensions: Ipv6Extensions {
            routing: Some(Ipv6RoutingExtensions {
                routing: raw(&[0; 22]).unwrap(),
                final_destination_options: None,
            }),
            ..Ipv6Extensions::default()
        },
        ..request("S", 1)
    }
    .frame();
    routed[57] = 1;
    case.left(0, routed, "other_protocol");
    for (at, next) in [(1, 51), (2, 50), (3, 59), (4, 132), (5, 41), (6, 4)] {
        let mut frame = request("S", 1).frame();
        frame[20] = next;
        case.left(at, frame, "other_protocol");
    }
    let mut many = request("S", 1).frame();
    for _ in 0..6 {
        let next = std::mem::replace(&mut many[20], 60);
        many.splice(54..54, [next, 0, 1, 4, 0, 0, 0, 0]);
    }
    let payload_len = (many.len() - 54) as u16;
    many[18..20].copy_from_slice(&payload_len.to_be_bytes());
    case.left(7, many, "other_protocol");

    let (src, dst) = (six::six(client(1).0).octets(), six::six(VIP).octets());
    let mut ping = Vec::new();
    let ip = PacketBuilder::ethernet2(ROUTER_MAC, ETH0_MAC).ipv6(src, dst, 64);
    ip.icmpv6_echo_request(1, 1).write(&mut ping, b"ping").unwrap();
    case.left(8, ping, "other_protocol");
    let mut solicitation = Vec::new();
    let ip = PacketBuilder::ethernet2(ROUTER_MAC, ETH0_MAC).ipv6(src, dst, 255);
    let kind = Icmpv6Type::NeighborSolicitation;
    ip.icmpv6(kind).write(&mut solicitation, &dst).unwrap();
    case.left(9, solicitation, "other_protocol");
    case
}

/// The frame by which the director tells a masqueraded server what is wrong with a packet of its.
fn dip_complains(kind: Icmpv6Type, to: &Server, about: &Packet) -> Vec<u8> {
    let packet = about.ip();
    let quote = &packet[..packet.len().min(1232)];
    six::icmp_error((ETH1_MAC, to.mac()), (DIP, to.rip, 64), kind, quote)
}

fn hop_limit() -> Case {
    let mut case = methods(
        "v6_hop_limit",
        "A packet with a hop limit of 2 goes on with 1; with 1 or 0 it is dropped (ttl_expired), whatever the method, and \
         its sender is told: a client by the VIP, a masqueraded server by the director's address on its side.",
    );
    for n in 1..=4 {
        let at = 10 * u64::from(n);
        case.opens(at, &Packet { ttl: 2, ..request("S", n) }, usize::from(n) - 1);
        for ttl in [0, 1] {
            let last = Packet { ttl, ..request("A", n) };
            let told = vip_complains6(EXPIRED6, &last);
            case.answers_instead(at + 1 + u64::from(ttl), last.frame(), "ttl_expired", told);
        }
    }
    let spent = Packet { ttl: 1, ..nat(11, 8080).answers(reply("SA", 1)) };
    let told = dip_complains(EXPIRED6, &nat(11, 8080), &spent);
    case.answers_instead_to(60, ETH1, spent.frame(), "ttl_expired", told);
    case
}

fn beyond_the_mtu() -> Case {
    let mut case = methods(
        "v6_too_big",
        "A packet of IPv6 beyond the MTU, less an outer header, is dropped (too_big) and its sender hears what fits; the \
         quotation ends where the answer has 1280 bytes.",
    );
    for (n, (_, outer)) in (1..).zip(METHODS) {
        let at = 10 * u64::from(n);
        case.opens(at, &request("S", n), usize::from(n) - 1);
        let data = request("A", n).with(vec![0x5a; FULL - outer + 1]);
        let told = vip_complains6(too_big(1500 - outer as u32), &data);
        case.answers_instead(at + 5, data.frame(), "too_big", told);
    }
    let answer = nat(11, 8080).answers(reply("A", 1).with(vec![0; FULL + 1]));
    let told = dip_complains(too_big(1500), &nat(11, 8080), &answer);
    case.answers_instead_to(60, ETH1, answer.frame(), "too_big", told);
    case
}

fn four_beyond_the_mtu_in_six() -> Case {
    let mut case = Case::new(
        "v4_too_big_for_v6",
        "IPv4 in IPv6: 1460 bytes fit, and so the client hears if its packet has DF; a hop too much it hears as well.",
    )
    .dual()
    .web("rr", &[tun(21, 80).crossed()]);
    let packet = |flags| Packet::tcp(flags, client(1), HTTP);
    case.opens(0, &packet("S"), 0);
    case.reaches(1, &packet("A").with(vec![0; 1420]), 0);
    let data = packet("A").with(vec![0; 1421]);
    case.answers_instead(2, data.frame(), "too_big", vip_complains(needed(1460), &data));
    let last = Packet { ttl: 1, ..packet("A") };
    case.answers_instead(3, last.frame(), "ttl_expired", vip_complains(EXPIRED, &last));
    case
}

fn no_way() -> Case {
    let unknown = [nat(99, 8080), dr(98, 80), Server { rip: [192, 0, 2, 99], ..tun(0, 80) }];
    let far = Server { rip: [203, 0, 113, 9], ..nat(0, 8080) };
    let servers = [unknown[0], unknown[1], unknown[2], far, nat(11, 8080)];
    let mut case = Case::new(
        "v6_no_way",
        "In IPv6: a next hop whose MAC is not known (no_neighbour), and no route to the server or back to the client \
         (no_route).",
    )
    .six()
    .network(six::NETWORK)
    .web("rr", &servers);
    for n in 1..=3 {
        case.opened(HTTP, usize::from(n) - 1);
        case.drops(n.into(), request("S", n).frame(), "no_neighbour");
    }
    case.opened(HTTP, 3);
    case.drops(4, request("S", 4).frame(), "no_route");
    case.opens(5, &request("S", 5), 4);
    let answer = servers[4].answers(reply("SA", 5));
    case.drops_from(6, ETH1, answer.frame(), "no_route");
    case
}

fn not_ours() -> Case {
    let mut case = web(
        "v6_not_ours",
        "In IPv6: another port, address or protocol, or a server's packet of no connection, is left to the host \
         (not_ours), and so is a segment to the service that opens nothing (no_connection).",
        &[nat(11, 8080)],
    );
    let strangers = [
        Packet::tcp("S", client(1), (VIP, 22)),
        Packet::tcp("S", client(1), ([192, 0, 2, 1], 80)),
        Packet::udp(client(1), HTTP, b"quic"),
        nat(11, 8080).answers(Packet::tcp("SA", HTTP, client(1))),
    ];
    for (at, packet) in (0..).zip(strangers) {
        case.left(at, packet.six().frame(), "not_ours");
    }
    // The same service in the other family is another one.
    case.left(5, Packet::tcp("S", client(1), HTTP).frame(), "not_ours");
    for (at, flags) in (10..).zip(["A", "PA", "FA", "RA", "R", "F", "", "SR"]) {
        case.left(at, request(flags, 1).frame(), "no_connection");
    }
    case
}
