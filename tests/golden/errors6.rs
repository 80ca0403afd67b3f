//! ICMPv6 errors that belong to a connection, errors about tunnels in either family, and what else is answered in IPv6.

use super::case::Case;
use super::errors::{EXPIRED, needed};
use super::network::{
    DIP, DNS, ETH0_MAC, ETH1, ETH1_MAC, HTTP, INNER_ROUTER_MAC, ROUTER_MAC, Server, VIP, client, dr, nat,
    tun, vip_complains, vip_complains6,
};
use super::packet::{Ip, Packet, ethernet, icmp_error};
use super::six;
use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::icmpv6::{DestUnreachableCode, TimeExceededCode};
use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder};

pub const EXPIRED6: Icmpv6Type = Icmpv6Type::TimeExceeded(TimeExceededCode::HopLimitExceeded);
pub const UNREACHABLE6: Icmpv6Type = Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Port);
const NO_HOST6: Icmpv6Type = Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Address);
const NO_HOST: Icmpv4Type = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Host);

pub const fn too_big(mtu: u32) -> Icmpv6Type {
    Icmpv6Type::PacketTooBig { mtu }
}

/// A router on the clients' side, and one on the servers'.
const FAR: Ip = [203, 0, 113, 254];
const NEAR: Ip = [10, 0, 0, 254];

pub fn cases() -> Vec<Case> {
    vec![
        icmp_nat(),
        icmp_dr(),
        icmp_tun(),
        about_a_tunnel(),
        about_a_tunnel_in_four(),
        about_a_tunnel_in_six(),
        unrelated(),
        no_real_server(),
        no_server_policies(),
        mss_clamp(),
    ]
}

fn syn() -> Packet {
    Packet::tcp("S", client(1), HTTP).six()
}

/// A server's answer as the client got it.
fn answer() -> Packet {
    Packet { ttl: 60, ..Packet::tcp("SA", HTTP, client(1)).six() }
}

fn web(name: &'static str, sentence: &'static str, server: Server) -> Case {
    let mut case = Case::new(name, sentence).six().web("rr", &[server]);
    case.opens(0, &syn(), 0);
    case
}

fn icmp_nat() -> Case {
    let server = nat(11, 8080);
    let mut case = web(
        "v6_icmp_nat",
        "ICMPv6 errors about masqueraded packets, either side's: each end finds the packet quoted that it sent, its \
         checksums mended, and the client knows only the VIP.",
        server,
    );
    let at_server = Packet { dst: (server.rip, server.rport), ..syn().hop(ETH1_MAC, server.mac()) };
    let at_client = Packet { dst: HTTP, ..at_server.clone() };
    let told = [(NEAR, too_big(1400)), (NEAR, EXPIRED6), (server.rip, UNREACHABLE6), (NEAR, NO_HOST6)];
    for (at, (from, kind)) in (1..).zip(told) {
        let client = client(1).0;
        let comes = six::icmp_error((server.mac(), ETH1_MAC), (from, client, 64), kind, &at_server.ip());
        let goes = six::icmp_error((ETH0_MAC, ROUTER_MAC), (VIP, client, 63), kind, &at_client.ip());
        case.concerns_client(at, comes, Some((HTTP, 0)), goes);
    }
    let own = Packet { src: (server.rip, server.rport), ..answer() };
    for (at, (from, kind)) in (10..).zip([(FAR, too_big(1400)), (client(1).0, UNREACHABLE6)]) {
        let comes = six::icmp_error((ROUTER_MAC, ETH0_MAC), (from, VIP, 64), kind, &answer().ip());
        let goes = six::icmp_error((ETH1_MAC, server.mac()), (from, server.rip, 63), kind, &own.ip());
        case.concerns_server(at, comes, HTTP, 0, goes);
    }
    // No more than the ports, and so much that the checksum is there.
    for (at, len) in [(20, 48), (21, 58)] {
        let comes = six::icmp_error((ROUTER_MAC, ETH0_MAC), (FAR, VIP, 64), EXPIRED6, &answer().ip()[..len]);
        let goes =
            six::icmp_error((ETH1_MAC, server.mac()), (FAR, server.rip, 63), EXPIRED6, &own.ip()[..len]);
        case.concerns_server(at, comes, HTTP, 0, goes);
    }
    case
}

fn icmp_dr() -> Case {
    let server = dr(12, 80);
    let mut case = web(
        "v6_icmp_dr",
        "An ICMPv6 error to the VIP about a direct-routed server's packet goes to that server as it is; one about a \
         client's packet goes from the router to the client without passing here.",
        server,
    );
    let comes = six::icmp_error((ROUTER_MAC, ETH0_MAC), (FAR, VIP, 64), too_big(1400), &answer().ip());
    let goes = six::icmp_error((ETH1_MAC, server.mac()), (FAR, VIP, 63), too_big(1400), &answer().ip());
    case.concerns_server(1, comes, HTTP, 0, goes);
    case
}

/// A frame's packet in the tunnel to a server.
fn wrapped(frame: &[u8], server: Server) -> Vec<u8> {
    let (inner, (cip, cport)) = (&frame[14..], client(1));
    let address = six::six(cip).to_bits();
    let folded = (address >> 64) as u64 ^ address as u64 ^ u64::from(cport) << 48;
    let outer = etherparse::Ipv6Header {
        flow_label: ((folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44) as u32).try_into().unwrap(),
        payload_length: inner.len() as u16,
        next_header: etherparse::IpNumber::IPV6,
        hop_limit: inner[7],
        source: six::six(DIP).octets(),
        destination: six::six(server.rip).octets(),
        ..etherparse::Ipv6Header::default()
    };
    ethernet(INNER_ROUTER_MAC, ETH1_MAC, 0x86dd, &[&outer.to_bytes()[..], inner].concat())
}

fn icmp_tun() -> Case {
    let server = tun(21, 80);
    let mut case = web(
        "v6_icmp_tun",
        "An ICMPv6 error to the VIP about a tunnelled server's packet goes to that server in the tunnel.",
        server,
    );
    for (at, kind) in [(1, too_big(1400)), (2, EXPIRED6)] {
        let comes = six::icmp_error((ROUTER_MAC, ETH0_MAC), (FAR, VIP, 64), kind, &answer().ip());
        let inner = six::icmp_error((ETH1_MAC, server.mac()), (FAR, VIP, 63), kind, &answer().ip());
        case.concerns_server(at, comes, HTTP, 0, wrapped(&inner, server));
    }
    case
}

fn about_a_tunnel() -> Case {
    let server = tun(21, 80);
    let mut case = web(
        "v6_icmp_about_a_tunnel",
        "A router between director and server speaks of the outer packet of IPv6 in IPv6: the client hears from the VIP of \
         its own, with the MTU less the outer header, but never less than 1280.",
        server,
    );
    let inner = syn().hop(ETH1_MAC, INNER_ROUTER_MAC);
    let outer = six::in_six(&inner, DIP, server.rip);
    let told = [
        (too_big(1400), too_big(1360)),
        (too_big(1300), too_big(1280)),
        (EXPIRED6, EXPIRED6),
        (NO_HOST6, NO_HOST6),
    ];
    for (at, (said, heard)) in (1..).zip(told) {
        let comes = six::icmp_error((INNER_ROUTER_MAC, ETH1_MAC), (NEAR, DIP, 64), said, &outer[14..]);
        case.concerns_client(at, comes, None, vip_complains6(heard, &inner));
    }
    // Of a tunnel to another server.
    let other = six::in_six(&inner, DIP, [198, 51, 100, 22]);
    let comes = six::icmp_error((INNER_ROUTER_MAC, ETH1_MAC), (NEAR, DIP, 64), EXPIRED6, &other[14..]);
    case.left_from(10, ETH1, comes, "unrelated");
    case
}

fn about_a_tunnel_in_four() -> Case {
    let server = tun(21, 80).crossed();
    let mut case = web(
        "v6_icmp_about_a_tunnel_in_v4",
        "The same of IPv6 in IPv4: what the router says in ICMP the client hears in ICMPv6.",
        server,
    );
    let inner = syn().hop(ETH1_MAC, INNER_ROUTER_MAC);
    let outer = six::in_four(&inner, DIP, server.rip);
    let told = [(needed(1400), too_big(1380)), (EXPIRED, EXPIRED6), (NO_HOST, NO_HOST6)];
    for (at, (said, heard)) in (1..).zip(told) {
        let comes = icmp_error((INNER_ROUTER_MAC, ETH1_MAC), (NEAR, DIP, 64), said, &outer[14..]);
        case.concerns_client(at, comes, None, vip_complains6(heard, &inner));
    }
    case
}

fn about_a_tunnel_in_six() -> Case {
    let server = tun(21, 80).crossed();
    let mut case = Case::new(
        "v4_icmp_about_a_tunnel_in_v6",
        "The same of IPv4 in IPv6: what the router says in ICMPv6 the client hears in ICMP; of a packet that may be \
         fragmented it hears nothing.",
    )
    .dual()
    .web("rr", &[server]);
    let syn = Packet::tcp("S", client(1), HTTP);
    case.opens(0, &syn, 0);
    let inner = syn.hop(ETH1_MAC, INNER_ROUTER_MAC);
    let outer = six::in_six(&inner, DIP, server.rip);
    for (at, (said, heard)) in
        (1..).zip([(too_big(1400), needed(1360)), (EXPIRED6, EXPIRED), (NO_HOST6, NO_HOST)])
    {
        let comes = six::icmp_error((INNER_ROUTER_MAC, ETH1_MAC), (NEAR, DIP, 64), said, &outer[14..]);
        case.concerns_client(at, comes, None, vip_complains(heard, &inner));
    }
    let fragmentable = six::in_six(&Packet { dont_fragment: false, ..inner }, DIP, server.rip);
    let comes =
        six::icmp_error((INNER_ROUTER_MAC, ETH1_MAC), (NEAR, DIP, 64), too_big(1400), &fragmentable[14..]);
    case.left_from(10, ETH1, comes, "unrelated");
    case
}

fn unrelated() -> Case {
    let mut case = web(
        "v6_icmp_unrelated",
        "ICMPv6 errors about no connection's packet, or that quote too little, are left to the host (unrelated); one with \
         a wrong checksum is dropped (bad_checksum).",
        nat(11, 8080),
    );
    let error = |quote: &[u8]| six::icmp_error((ROUTER_MAC, ETH0_MAC), (FAR, VIP, 64), EXPIRED6, quote);
    case.left(1, error(&Packet::tcp("SA", HTTP, client(2)).six().ip()), "unrelated");
    case.left(2, error(&answer().ip()[..47]), "unrelated");
    let mut ping = Vec::new();
    let (vip, far) = (six::six(VIP).octets(), six::six(FAR).octets());
    PacketBuilder::ipv6(vip, far, 9).icmpv6_echo_request(1, 1).write(&mut ping, b"ping").unwrap();
    case.left(3, error(&ping), "unrelated");
    // Errors of one family do not quote the other.
    case.left(4, error(&Packet::tcp("SA", HTTP, client(1)).ip()), "unrelated");
    let mut wrong = error(&answer().ip());
    wrong[56] ^= 1;
    case.drops(5, wrong, "bad_checksum");
    case
}

fn no_real_server() -> Case {
    let mut case = Case::new(
        "v6_no_real_server",
        "In IPv6, too, the client hears from the VIP that the port is unreachable when no server takes a new connection.",
    )
    .six()
    .web("wlc", &[nat(11, 8080).weighing(0)])
    .dns("rr", &[]);
    case.turns_away(0, &syn());
    case.turns_away(1, &Packet::udp(client(1), DNS, b"question").six());
    case
}

fn no_server_policies() -> Case {
    let mut case = Case::new(
        "v6_no_server_policies",
        "Without a server, no_server = \"reset\" resets the client's connection, and no_server = \"drop\" is silent.",
    )
    .six()
    .web("rr", &[])
    .more("no_server = \"reset\"\n")
    .dns("rr", &[])
    .more("no_server = \"drop\"\n");
    let mut reset = Vec::new();
    let (vip, (cip, cport)) = (six::six(VIP).octets(), client(1));
    let ip = PacketBuilder::ethernet2(ETH0_MAC, ROUTER_MAC).ipv6(vip, six::six(cip).octets(), 64);
    ip.tcp(80, cport, 0, 0).rst().ack(1001).write(&mut reset, &[]).unwrap();
    case.answers_instead(0, syn().frame(), "no_real_server", reset);
    case.drops(1, Packet::udp(client(1), DNS, b"question").six().frame(), "no_real_server");
    case
}

fn mss_clamp() -> Case {
    let mut case = Case::new(
        "v6_mss_clamp",
        "A SYN of IPv6 that announces an MSS of 1440 leaves with 1400 for IPv6 in IPv6 and with 1420 for IPv6 in IPv4; for \
         NAT and DR it is left alone.",
    )
    .six()
    .web("rr", &[tun(21, 80), tun(22, 80).crossed(), nat(11, 8080), dr(12, 80)]);
    for (n, mss) in [(1, 1400), (2, 1420), (3, 1440), (4, 1440)] {
        let syn = |mss| Packet { mss: Some(mss), ..Packet::tcp("S", client(n), HTTP).six() };
        case.opened(HTTP, usize::from(n) - 1);
        case.frame_reaches(n.into(), syn(1440).frame(), &syn(mss), usize::from(n) - 1);
    }
    case
}
