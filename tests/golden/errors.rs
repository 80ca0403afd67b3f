//! ICMP errors that belong to a connection, and what else is answered or changed on the way.

use super::case::Case;
use super::network::{
    DIP, ETH0_MAC, ETH1, ETH1_MAC, HTTP, INNER_ROUTER_MAC, ROUTER_MAC, VIP, client, dr, nat, tun,
    vip_complains,
};
use super::packet::{Ip, Packet, icmp_error};
use etherparse::icmpv4::{DestUnreachableHeader, TimeExceededCode};
use etherparse::{Icmpv4Type, PacketBuilder};

pub const EXPIRED: Icmpv4Type = Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit);
pub const UNREACHABLE: Icmpv4Type = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port);

pub const fn needed(next_hop_mtu: u16) -> Icmpv4Type {
    Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded { next_hop_mtu })
}

/// A router on the clients' side, and one on the servers'.
const FAR: Ip = [203, 0, 113, 254];
const NEAR: Ip = [10, 0, 0, 254];

pub fn cases() -> Vec<Case> {
    vec![
        icmp_nat(),
        icmp_dr(),
        icmp_tun(),
        icmp_about_a_tunnel(),
        icmp_unrelated(),
        no_server_policies(),
        mss_clamp(),
    ]
}

fn syn() -> Packet {
    Packet::tcp("S", client(1), HTTP)
}

/// A server's answer as the client got it.
fn answer() -> Packet {
    Packet { ttl: 60, ..Packet::tcp("SA", HTTP, client(1)) }
}

fn icmp_nat() -> Case {
    let server = nat(11, 8080);
    let mut case = Case::new(
        "icmp_nat",
        "ICMP errors about masqueraded packets, either side's: each end finds the packet quoted that it sent, its \
         checksums mended, and the client knows only the VIP.",
    )
    .web("rr", &[server]);
    case.opens(0, &syn(), 0);
    let at_server = Packet { dst: (server.rip, server.rport), ..syn().hop(ETH1_MAC, server.mac()) };
    let at_client = Packet { dst: HTTP, ..at_server.clone() };
    let told = [(NEAR, needed(1400)), (NEAR, EXPIRED), (server.rip, UNREACHABLE)];
    for (at, (from, kind)) in told.into_iter().enumerate() {
        let client = client(1).0;
        let comes = icmp_error((server.mac(), ETH1_MAC), (from, client, 64), kind.clone(), &at_server.ip());
        let goes = icmp_error((ETH0_MAC, ROUTER_MAC), (VIP, client, 63), kind, &at_client.ip());
        case.concerns_client(1 + at as u64, comes, Some((HTTP, 0)), goes);
    }
    let own = Packet { src: (server.rip, server.rport), ..answer() };
    for (at, (from, kind)) in [(FAR, needed(1400)), (client(1).0, UNREACHABLE)].into_iter().enumerate() {
        let comes = icmp_error((ROUTER_MAC, ETH0_MAC), (from, VIP, 64), kind.clone(), &answer().ip());
        let goes = icmp_error((ETH1_MAC, server.mac()), (from, server.rip, 63), kind, &own.ip());
        case.concerns_server(10 + at as u64, comes, HTTP, 0, goes);
    }
    // Routers may quote no more than the ports.
    let comes = icmp_error((ROUTER_MAC, ETH0_MAC), (FAR, VIP, 64), EXPIRED, &answer().ip()[..28]);
    let goes = icmp_error((ETH1_MAC, server.mac()), (FAR, server.rip, 63), EXPIRED, &own.ip()[..28]);
    case.concerns_server(20, comes, HTTP, 0, goes);
    case
}

fn icmp_dr() -> Case {
    let server = dr(12, 80);
    let mut case = Case::new(
        "icmp_dr",
        "An ICMP error to the VIP about a direct-routed server's packet goes to that server as it is.",
    )
    .web("rr", &[server]);
    case.opens(0, &syn(), 0);
    let comes = icmp_error((ROUTER_MAC, ETH0_MAC), (FAR, VIP, 64), needed(1400), &answer().ip());
    let goes = icmp_error((ETH1_MAC, server.mac()), (FAR, VIP, 63), needed(1400), &answer().ip());
    case.concerns_server(1, comes, HTTP, 0, goes);
    case
}

fn icmp_tun() -> Case {
    let server = tun(21, 80);
    let mut case = Case::new(
        "icmp_tun",
        "An ICMP error to the VIP about a tunnelled server's packet goes to that server in the tunnel.",
    )
    .web("rr", &[server]);
    case.opens(0, &syn(), 0);
    let comes = icmp_error((ROUTER_MAC, ETH0_MAC), (FAR, VIP, 64), needed(1400), &answer().ip());
    let inner = icmp_error((ETH1_MAC, server.mac()), (FAR, VIP, 63), needed(1400), &answer().ip());
    case.concerns_server(1, comes, HTTP, 0, wrapped(&inner, server.rip));
    case
}

/// A frame's packet in the tunnel to a server: DS field and TTL are the inner's, there is no DF, and the identification
/// is mixed with the client's address and port.
fn wrapped(frame: &[u8], rip: Ip) -> Vec<u8> {
    let inner = &frame[14..];
    let (cip, cport) = client(1);
    let salt = u16::from_be_bytes([cip[0], cip[1]]) ^ u16::from_be_bytes([cip[2], cip[3]]) ^ cport;
    let mut outer =
        etherparse::Ipv4Header::new(inner.len() as u16, inner[8], etherparse::IpNumber::IPV4, DIP, rip)
            .unwrap();
    outer.dscp = etherparse::IpDscp::try_new(inner[1] >> 2).unwrap();
    outer.identification = u16::from_be_bytes([inner[4], inner[5]]) ^ salt;
    outer.dont_fragment = false;
    outer.header_checksum = outer.calc_header_checksum();
    [&frame[..14], &outer.to_bytes()[..], inner].concat()
}

fn icmp_about_a_tunnel() -> Case {
    let server = tun(21, 80);
    let mut case = Case::new(
        "icmp_about_a_tunnel",
        "A router between director and server speaks of the outer packet: the client hears from the VIP of its own, \
         with the MTU less the outer header; of a packet that may be fragmented it hears nothing.",
    )
    .web("rr", &[server]);
    case.opens(0, &syn(), 0);
    let inner = syn().hop(ETH1_MAC, INNER_ROUTER_MAC);
    let outer = inner.tunnelled(DIP, server.rip);
    for (at, (said, heard)) in [(needed(1400), needed(1380)), (EXPIRED, EXPIRED)].into_iter().enumerate() {
        let comes = icmp_error((INNER_ROUTER_MAC, ETH1_MAC), (NEAR, DIP, 64), said, &outer[14..]);
        case.concerns_client(1 + at as u64, comes, None, vip_complains(heard, &inner));
    }
    let fragmentable = Packet { dont_fragment: false, ..inner }.tunnelled(DIP, server.rip);
    let comes = icmp_error((INNER_ROUTER_MAC, ETH1_MAC), (NEAR, DIP, 64), needed(1400), &fragmentable[14..]);
    case.left_from(10, ETH1, comes, "unrelated");
    case
}

fn icmp_unrelated() -> Case {
    let mut case = Case::new(
        "icmp_unrelated",
        "ICMP errors about no connection's packet, or that quote too little, are left to the host (unrelated); one with a \
         wrong checksum is dropped (bad_checksum).",
    )
    .web("rr", &[nat(11, 8080)]);
    case.opens(0, &syn(), 0);
    let error = |quote: &[u8]| icmp_error((ROUTER_MAC, ETH0_MAC), (FAR, VIP, 64), EXPIRED, quote);
    case.left(1, error(&Packet::tcp("SA", HTTP, client(2)).ip()), "unrelated");
    case.left(2, error(&answer().ip()[..27]), "unrelated");
    let mut ping = Vec::new();
    PacketBuilder::ipv4(VIP, FAR, 9).icmpv4_echo_request(1, 1).write(&mut ping, b"ping").unwrap();
    case.left(3, error(&ping), "unrelated");
    let mut wrong = error(&answer().ip());
    wrong[36] ^= 1;
    case.drops(4, wrong, "bad_checksum");
    case
}

fn no_server_policies() -> Case {
    let mut case = Case::new(
        "no_server_policies",
        "Without a server, no_server = \"reset\" resets the client's connection, and no_server = \"drop\" is silent.",
    )
    .web("rr", &[])
    .more("no_server = \"reset\"\n")
    .dns("rr", &[])
    .more("no_server = \"drop\"\n");
    let mut reset = Vec::new();
    let (cip, cport) = client(1);
    let segment = PacketBuilder::ethernet2(ETH0_MAC, ROUTER_MAC).ipv4(VIP, cip, 64).tcp(80, cport, 0, 0);
    segment.rst().ack(1001).write(&mut reset, &[]).unwrap();
    case.answers_instead(0, syn().frame(), "no_real_server", reset);
    case.drops(1, Packet::udp(client(1), super::network::DNS, b"question").frame(), "no_real_server");
    case
}

fn mss_clamp() -> Case {
    let servers = [tun(21, 80), nat(11, 8080), dr(12, 80)];
    let mut case = Case::new(
        "mss_clamp",
        "A SYN that announces an MSS of 1460 leaves for a tunnel with 1440, which fits 1500 bytes with the outer header, \
         and so does its repetition; a smaller one, NAT and DR are left alone.",
    )
    .web("rr", &servers);
    let syn = |n, mss| Packet { mss: Some(mss), ..Packet::tcp("S", client(n), HTTP) };
    for n in 1..=3 {
        let server = usize::from(n) - 1;
        let clamped = syn(n, if n == 1 { 1440 } else { 1460 });
        case.opened(HTTP, server);
        for again in 0..2 {
            case.frame_reaches(10 * u64::from(n) + again, syn(n, 1460).frame(), &clamped, server);
        }
    }
    case.opens(50, &syn(4, 1400), 0);
    case
}
