//! What is dropped, and what is left to the host.

use super::case::Case;
use super::errors::{EXPIRED, needed};
use super::network::{
    DIP, DNS, ETH0_MAC, ETH1, ETH1_MAC, HTTP, NETWORK, ROUTER_MAC, Server, VIP, client, dr, nat, tun,
    vip_complains,
};
use super::packet::{Packet, ethernet, icmp_error, with_header};
use etherparse::{ArpHardwareId, ArpOperation, ArpPacket, EtherType, Icmpv4Type, PacketBuilder, VlanId};

pub fn cases() -> Vec<Case> {
    vec![
        ttl(),
        wrong_ip_checksum(),
        truncated(),
        cut_by_the_snapshot_length(),
        bad_lengths(),
        bad_header_lengths(),
        bad_version(),
        no_real_server(),
        table_full(),
        no_route(),
        no_neighbour(),
        too_big(),
        not_ours(),
        not_ip(),
        other_protocol(),
        no_connection(),
    ]
}

/// One case of a single NAT server.
fn web(name: &'static str, sentence: &'static str) -> Case {
    Case::new(name, sentence).web("rr", &[nat(11, 8080)])
}

fn syn(n: u8) -> Packet {
    Packet::tcp("S", client(n), HTTP)
}

fn ttl() -> Case {
    let mut case = Case::new(
        "ttl",
        "A packet with a TTL of 2 goes on with 1; with 1 or 0 it is dropped (ttl_expired), whatever the method, and its \
         sender is told: a client by the VIP, a masqueraded server by the director's address on its side.",
    )
    .web("rr", &[nat(11, 8080), dr(12, 80), tun(21, 80)]);
    for n in 1..=3 {
        let server = usize::from(n) - 1;
        case.opens(10 * u64::from(n), &Packet { ttl: 2, ..syn(n) }, server);
        for ttl in [0, 1] {
            let last = Packet { ttl, ..Packet::tcp("A", client(n), HTTP) };
            let answer = vip_complains(EXPIRED, &last);
            case.answers_instead(10 * u64::from(n) + 1 + u64::from(ttl), last.frame(), "ttl_expired", answer);
        }
    }
    let spent = nat(11, 8080).answers(Packet::tcp("SA", HTTP, client(1)));
    let spent = Packet { ttl: 1, ..spent };
    let answer = dip_complains(EXPIRED, &nat(11, 8080), &spent);
    case.answers_instead_to(50, ETH1, spent.frame(), "ttl_expired", answer);
    case
}

/// The frame by which the director tells a masqueraded server what is wrong with a packet of its.
fn dip_complains(kind: Icmpv4Type, to: &Server, about: &Packet) -> Vec<u8> {
    let packet = about.ip();
    let quote = &packet[..packet.len().min(548)];
    icmp_error((ETH1_MAC, to.mac()), (DIP, to.rip, 64), kind, quote)
}

fn wrong_ip_checksum() -> Case {
    let mut case = web("wrong_ip_checksum", "A wrong IPv4 header checksum: dropped (bad_checksum).");
    let mut frame = syn(1).frame();
    frame[24] ^= 1;
    case.drops(0, frame, "bad_checksum");
    case
}

fn truncated() -> Case {
    let mut case = web(
        "truncated",
        "A frame that ends within its Ethernet, IP, TCP or UDP header: dropped (truncated).",
    );
    let whole = syn(1).frame();
    for (at, len) in [(0, 0), (1, 13), (2, 14), (3, 15), (4, 33)] {
        case.drops(at, whole[..len].to_vec(), "truncated");
    }
    // The IP header tells the truth about what little follows it.
    for (at, (packet, len)) in
        [(syn(1), 0), (syn(1), 19), (Packet::udp(client(1), DNS, b""), 7)].iter().enumerate()
    {
        let frame = with_header(&packet.frame(), |ip| ip.set_payload_len(*len).unwrap());
        case.drops(10 + at as u64, frame[..34 + len].to_vec(), "truncated");
    }
    case
}

fn cut_by_the_snapshot_length() -> Case {
    let mut case = web(
        "cut_by_the_snapshot_length",
        "A packet of which the capture holds less than its IP length says: dropped (bad_length), not mistaken.",
    );
    let whole = syn(1).with("payload").frame();
    for (at, len) in [whole.len() - 1, 54, 34].into_iter().enumerate() {
        case.drops(at as u64, whole[..len].to_vec(), "bad_length");
    }
    case
}

fn bad_lengths() -> Case {
    let mut case = web(
        "bad_lengths",
        "A total length beyond the frame or within the header, or a UDP length likewise: dropped (bad_length).",
    );
    for (at, total) in [(0, 0), (1, 19), (2, 41), (3, 0xffff)] {
        case.drops(at, with_header(&syn(1).frame(), |ip| ip.total_len = total), "bad_length");
    }
    for (at, length) in [(10, 0u16), (11, 7), (12, 13), (13, 0xffff)] {
        let mut frame = Packet::udp(client(1), DNS, b"four").frame();
        frame[38..40].copy_from_slice(&length.to_be_bytes());
        case.drops(at, frame, "bad_length");
    }
    case
}

fn bad_header_lengths() -> Case {
    let mut case = web(
        "bad_header_lengths",
        "An IP header length below 20, or a TCP data offset below 20 or beyond the segment: dropped \
         (bad_header_length).",
    );
    let whole = syn(1).frame();
    for (at, (place, value)) in
        [(14, 0x44), (14, 0x40), (46, 0x40), (46, 0x60), (46, 0xf0)].into_iter().enumerate()
    {
        let mut frame = whole.clone();
        frame[place] = value;
        case.drops(at as u64, frame, "bad_header_length");
    }
    case
}

fn bad_version() -> Case {
    let mut case = web(
        "bad_version",
        "An Ethernet type of IPv4 before a packet of another version: dropped (bad_version).",
    );
    for (at, version) in [0u8, 5, 6, 15].into_iter().enumerate() {
        let mut frame = syn(1).frame();
        frame[14] = version << 4 | 5;
        case.drops(at as u64, frame, "bad_version");
    }
    case
}

fn no_real_server() -> Case {
    let mut case = Case::new(
        "no_real_server",
        "A service whose servers all have weight 0 takes no new connection: dropped (no_real_server), and the client \
         hears from the VIP that the port is unreachable, as from IPVS.",
    )
    .web("wlc", &[nat(11, 8080).weighing(0), dr(12, 80).weighing(0)])
    .dns("rr", &[]);
    for (at, packet) in [(0, syn(1)), (1, Packet::udp(client(1), DNS, b"question"))] {
        case.turns_away(at, &packet);
    }
    case
}

fn table_full() -> Case {
    let mut case = Case::new(
        "table_full",
        "With max_connections = 2 the third connection is refused (table_full), and the two go on; when one has \
         ended, there is room again.",
    )
    .director("max_connections = 2\n")
    .web("rr", &[nat(11, 8080), dr(12, 80)]);
    case.opens(0, &syn(1), 0);
    case.opens(1, &syn(2), 1);
    // The scheduler is not asked: the round goes on where it was.
    case.drops(2, syn(3).frame(), "table_full");
    case.answers(3, &Packet::tcp("SA", HTTP, client(1)), 0);
    case.reaches(4, &Packet::tcp("A", client(2), HTTP), 1);
    case.reaches(5, &Packet::tcp("A", client(1), HTTP), 0);
    case.reaches(6, &Packet::tcp("R", client(1), HTTP), 0);
    // CLOSE lasts 10 seconds.
    case.opens(20_000, &syn(4), 0);
    case.ends_with(HTTP, 0, 1, 0);
    case.ends_with(HTTP, 1, 1, 0);
    case
}

fn no_route() -> Case {
    let far = Server { rip: [172, 16, 0, 9], ..nat(0, 8080) };
    let mut case =
        Case::new("no_route", "No route to the server, or back to the client: dropped (no_route).")
            .network(NETWORK)
            .web("rr", &[far, nat(11, 8080)]);
    case.opened(HTTP, 0);
    case.drops(0, syn(1).frame(), "no_route");
    case.opens(1, &syn(2), 1);
    let answer = nat(11, 8080).answers(Packet::tcp("SA", HTTP, client(2)));
    case.drops_from(2, ETH1, answer.frame(), "no_route");
    case
}

fn no_neighbour() -> Case {
    let unknown = [nat(99, 8080), dr(98, 80), Server { rip: [192, 0, 2, 99], ..tun(0, 80) }];
    let mut case = Case::new(
        "no_neighbour",
        "The MAC of the next hop is not known: dropped (no_neighbour), whatever the method.",
    )
    .web("rr", &unknown);
    for n in 1..=3 {
        case.opened(HTTP, usize::from(n) - 1);
        case.drops(u64::from(n), syn(n).frame(), "no_neighbour");
    }
    case
}

fn too_big() -> Case {
    let mut case = Case::new(
        "too_big",
        "A packet beyond the MTU of the way out is dropped (too_big): 1501 bytes, or 1481 before a tunnel's header; its \
         sender hears what fits, unless it lets routers fragment.",
    )
    .web("rr", &[nat(11, 8080), dr(12, 80), tun(21, 80)]);
    for (n, payload) in [(1, 1461), (2, 1461), (3, 1441)] {
        let server = usize::from(n) - 1;
        case.opens(10 * u64::from(n), &syn(n), server);
        let data = Packet::tcp("A", client(n), HTTP).with(vec![0; payload]);
        let fits = if n == 3 { 1480 } else { 1500 };
        let answer = vip_complains(needed(fits), &data);
        case.answers_instead(10 * u64::from(n) + 5, data.frame(), "too_big", answer);
        let fragmentable = Packet { dont_fragment: false, ..data };
        case.drops(10 * u64::from(n) + 6, fragmentable.frame(), "too_big");
    }
    let answer = nat(11, 8080).answers(Packet::tcp("A", HTTP, client(1)));
    let answer = answer.with(vec![0; 1461]);
    let told = dip_complains(needed(1500), &nat(11, 8080), &answer);
    case.answers_instead_to(50, ETH1, answer.frame(), "too_big", told);
    case
}

fn not_ours() -> Case {
    let mut case = web(
        "not_ours",
        "Another port, another address, another protocol, or a server's packet of no connection: left to the host \
         (not_ours).",
    );
    let (vip, _) = HTTP;
    let strangers = [
        Packet::tcp("S", client(1), (vip, 22)),
        Packet::tcp("S", client(1), ([192, 0, 2, 1], 80)),
        Packet::udp(client(1), HTTP, b"quic"),
        nat(11, 8080).answers(Packet::tcp("SA", HTTP, client(1))),
    ];
    for (at, packet) in strangers.iter().enumerate() {
        case.left(at as u64, packet.frame(), "not_ours");
    }
    let mut of_ipv6 = Vec::new();
    let ip = PacketBuilder::ethernet2(ROUTER_MAC, ETH0_MAC).ipv6([0x20; 16], [0x30; 16], 64);
    ip.tcp(1, 80, 0, 0).syn().write(&mut of_ipv6, &[]).unwrap();
    case.left(strangers.len() as u64, of_ipv6, "not_ours");
    case
}

fn not_ip() -> Case {
    let mut case =
        web("not_ip", "ARP, VLAN-tagged frames, LLDP and old 802.3 frames: left to the host (not_ip).");
    let ethernet2 = || PacketBuilder::ethernet2(ROUTER_MAC, ETH0_MAC);
    let built = |build: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = Vec::new();
        build(&mut frame);
        frame
    };
    let arp = ArpPacket::new(
        ArpHardwareId::ETHERNET,
        EtherType::IPV4,
        ArpOperation::REQUEST,
        &ROUTER_MAC,
        &[192, 0, 2, 254],
        &[0; 6],
        &VIP,
    )
    .unwrap();
    let frames = [
        built(&|out| ethernet2().arp(arp.clone()).write(out).unwrap()),
        built(&|out| {
            let tagged = ethernet2().single_vlan(VlanId::try_new(7).unwrap());
            tagged.ipv4([203, 0, 113, 1], VIP, 64).tcp(40000, 80, 0, 64240).syn().write(out, &[]).unwrap();
        }),
        ethernet([1, 0x80, 0xc2, 0, 0, 0xe], ROUTER_MAC, 0x88cc, &[0; 46]),
        ethernet([1, 0x80, 0xc2, 0, 0, 0], ROUTER_MAC, 38, &[0x42; 38]),
    ];
    for (at, frame) in frames.into_iter().enumerate() {
        case.left(at as u64, frame, "not_ip");
    }
    case
}

fn other_protocol() -> Case {
    let mut case = web(
        "other_protocol",
        "A ping of the VIP, VRRP and a tunnel to the director: left to the host (other_protocol).",
    );
    let mut ping = Vec::new();
    let ip = PacketBuilder::ethernet2(ROUTER_MAC, ETH0_MAC).ipv4([203, 0, 113, 1], VIP, 64);
    ip.icmpv4_echo_request(1, 1).write(&mut ping, b"ping").unwrap();
    case.left(0, ping, "other_protocol");
    for (at, protocol) in [(1, 112), (2, 4), (3, 132)] {
        let frame = with_header(&syn(1).frame(), |ip| ip.protocol = etherparse::IpNumber(protocol));
        case.left(at, frame, "other_protocol");
    }
    case
}

fn no_connection() -> Case {
    let mut case = web(
        "no_connection",
        "A TCP segment to the service that opens nothing and belongs to nothing: left to the host (no_connection), \
         whose kernel answers with a reset.",
    );
    for (at, flags) in ["A", "PA", "FA", "RA", "R", "F", "", "SR"].into_iter().enumerate() {
        case.left(at as u64, Packet::tcp(flags, client(1), HTTP).frame(), "no_connection");
    }
    case
}
