//! What no honest sender sends: broken headers, impossible sources, loops. And what only looks so, and goes on as with
//! IPVS.

use super::case::Case;
use super::errors::EXPIRED;
use super::errors6::EXPIRED6;
use super::network::{
    DIP, DNS, ETH0_MAC, ETH1, ETH1_MAC, HTTP, INNER_ROUTER_MAC, ROUTER_MAC, VIP, client, dr, nat, tun,
};
use super::packet::{Ip, Packet, icmp_error, with_header};
use super::six;
use etherparse::{IpNumber, Ipv4Options, Ipv6Extensions, Ipv6RawExtHeader};
use std::net::Ipv6Addr;

pub fn cases() -> Vec<Case> {
    vec![
        cut_anywhere(),
        cut_anywhere6(),
        bad_version6(),
        bad_lengths6(),
        bad_options(),
        bad_options6(),
        source_routed(),
        land(),
        land6(),
        own_source(),
        own_source6(),
        martian_source(),
        martian_source6(),
        looped(),
        looped6(),
        to_many(),
        odd_flags(),
        wrong_transport_checksums(),
    ]
}

fn web(name: &'static str, sentence: &'static str) -> Case {
    Case::new(name, sentence).web("rr", &[nat(11, 8080)]).dns("rr", &[dr(12, 53)])
}

fn web6(name: &'static str, sentence: &'static str) -> Case {
    web(name, sentence).six()
}

fn syn() -> Packet {
    Packet::tcp("S", client(1), HTTP)
}

fn query() -> Packet {
    Packet::udp(client(1), DNS, b"question")
}

/// Drops every beginning of a frame that is not the whole of it.
fn cut(case: &mut Case, from: u64, whole: &[u8], headers: usize) {
    for len in 0..whole.len() {
        let reason = if len < headers { "truncated" } else { "bad_length" };
        case.drops(from + len as u64, whole[..len].to_vec(), reason);
    }
}

fn cut_anywhere() -> Case {
    let mut case = web(
        "cut_anywhere",
        "A TCP segment, a UDP datagram, one behind options and an ICMP error, cut behind every byte: dropped as truncated \
         within the Ethernet and IP headers and as bad_length behind them, and never mistaken.",
    );
    cut(&mut case, 0, &syn().with("payload").frame(), 34);
    cut(&mut case, 1000, &query().frame(), 34);
    cut(&mut case, 2000, &Packet { options: &[0x94, 4, 0, 0], ..query() }.frame(), 38);
    let error = icmp_error((ROUTER_MAC, ETH0_MAC), ([203, 0, 113, 254], VIP, 64), EXPIRED, &syn().ip());
    cut(&mut case, 3000, &error, 34);
    case
}

fn cut_anywhere6() -> Case {
    let mut case = web6(
        "v6_cut_anywhere",
        "The same in IPv6, where the headers of IP end behind 54 bytes of a frame, whatever extensions follow.",
    );
    let raw = Ipv6RawExtHeader::new_raw(IpNumber::UDP, &[1, 4, 0, 0, 0, 0]).unwrap();
    let extensions = Ipv6Extensions {
        hop_by_hop_options: Some(raw.clone()),
        destination_options: Some(raw),
        ..Ipv6Extensions::default()
    };
    cut(&mut case, 0, &syn().six().with("payload").frame(), 54);
    cut(&mut case, 1000, &query().six().frame(), 54);
    cut(&mut case, 2000, &Packet { extensions, ..query().six() }.frame(), 54);
    let quote = syn().six().ip();
    let error = six::icmp_error((ROUTER_MAC, ETH0_MAC), ([203, 0, 113, 254], VIP, 64), EXPIRED6, &quote);
    cut(&mut case, 3000, &error, 54);
    case
}

fn bad_version6() -> Case {
    let mut case = web6(
        "v6_bad_version",
        "An Ethernet type of IPv6 before a packet of another version: dropped (bad_version).",
    );
    for (at, version) in (0..).zip([0u8, 4, 5, 7, 15]) {
        let mut frame = syn().six().frame();
        frame[14] = version << 4;
        case.drops(at, frame, "bad_version");
    }
    case
}

fn bad_lengths6() -> Case {
    let mut case = web6(
        "v6_bad_lengths",
        "A payload length beyond the frame or any packet, one that cuts the transport header, an extension header beyond \
         the packet, and a bad UDP length or TCP data offset: dropped by name.",
    );
    let set = |packet: Packet, at: usize, value: u16| {
        let mut frame = packet.frame();
        frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
        frame
    };
    for (at, length) in (0..).zip([21, 0xffff]) {
        case.drops(at, set(syn().six(), 18, length), "bad_length");
    }
    for (at, length) in (10..).zip([0, 1, 19]) {
        case.drops(at, set(syn().six(), 18, length), "truncated");
    }
    for (at, length) in (20..).zip([0, 7, 17, 0xffff]) {
        case.drops(at, set(query().six(), 58, length), "bad_length");
    }
    for (at, offset) in (30..).zip([0x0002, 0x4002, 0x6002, 0xf002]) {
        case.drops(at, set(syn().six(), 66, offset), "bad_header_length");
    }
    let raw = Ipv6RawExtHeader::new_raw(IpNumber::UDP, &[1, 4, 0, 0, 0, 0]).unwrap();
    let extensions = Ipv6Extensions { destination_options: Some(raw), ..Ipv6Extensions::default() };
    let mut beyond = Packet { extensions, ..query().six() }.frame();
    beyond[55] = 3;
    case.drops(40, beyond, "bad_length");
    case
}

/// The packet with these options, which need not be sound.
fn with_options(packet: &Packet, options: &[u8]) -> Vec<u8> {
    let frame = packet.frame();
    let with_room = with_header(&frame, |ip| {
        ip.options = Ipv4Options::try_from(options).unwrap();
        ip.total_len += options.len() as u16;
    });
    assert_eq!(with_room.len(), frame.len() + options.len());
    with_room
}

fn bad_options() -> Case {
    let mut case = web(
        "bad_options",
        "An IP option of length 0 or 1, or beyond the header: dropped (bad_options), as Linux does before IPVS; what \
         stands behind the end of options is not looked at.",
    );
    let bad: [&[u8]; 5] =
        [&[7, 0, 0, 0], &[7, 1, 0, 0], &[7, 5, 4, 0], &[1, 1, 1, 7], &[0x94, 4, 0, 0, 0x44, 12, 5, 0]];
    for (at, options) in (0..).zip(bad) {
        case.drops(at, with_options(&syn(), options), "bad_options");
        case.drops(at, with_options(&query(), options), "bad_options");
    }
    case.opens(30, &Packet { options: &[0, 7, 0, 0], ..syn() }, 0);
    case
}

fn bad_options6() -> Case {
    let mut case = web6(
        "v6_bad_options",
        "A hop-by-hop option beyond its header: dropped (bad_options), as Linux does before IPVS. Destination options are \
         for the server to look at.",
    );
    let raw = |bytes: &[u8]| Some(Ipv6RawExtHeader::new_raw(IpNumber::UDP, bytes).unwrap());
    let bad: [&[u8]; 3] = [&[1, 5, 0, 0, 0, 0], &[5, 255, 0, 0, 0, 0], &[0, 0, 0, 0, 0, 1]];
    for (at, options) in (0..).zip(bad) {
        let hop_by_hop = Ipv6Extensions { hop_by_hop_options: raw(options), ..Ipv6Extensions::default() };
        case.drops(at, Packet { extensions: hop_by_hop, ..syn().six() }.frame(), "bad_options");
    }
    let destination = Ipv6Extensions { destination_options: raw(bad[0]), ..Ipv6Extensions::default() };
    case.opens(10, &Packet { extensions: destination, ..syn().six() }, 0);
    case
}

fn source_routed() -> Case {
    let mut case = web(
        "source_routed",
        "A loose or strict source route: dropped (source_routed), as Linux does before IPVS unless told otherwise.",
    );
    let routes: [&[u8]; 3] =
        [&[131, 7, 4, 10, 0, 0, 1, 0], &[137, 7, 4, 10, 0, 0, 1, 0], &[1, 131, 7, 8, 10, 0, 0, 1]];
    for (at, options) in (0..).zip(routes) {
        case.drops(at, with_options(&syn(), options), "source_routed");
    }
    case
}

fn from(src: (Ip, u16), to: &Packet) -> Packet {
    Packet { src, ..to.clone() }
}

fn land() -> Case {
    let mut case = web(
        "land",
        "A packet from the very address and port that it is sent to: dropped (land), over TCP and UDP, whatever its flags.",
    );
    case.drops(0, from(HTTP, &syn()).frame(), "land");
    case.drops(1, from(DNS, &query()).frame(), "land");
    case.drops(2, Packet::tcp("A", HTTP, HTTP).frame(), "land");
    case
}

fn land6() -> Case {
    let mut case = web6("v6_land", "The same in IPv6.");
    case.drops(0, from(HTTP, &syn()).six().frame(), "land");
    case.drops(1, from(DNS, &query()).six().frame(), "land");
    case
}

/// The VIP, the director's addresses on both sides, and one that nobody has.
const OWN: [(Ip, u16); 3] = [(VIP, 4000), ([192, 0, 2, 1], 4000), (DIP, 4000)];
const BESIDE: (Ip, u16) = ([192, 0, 2, 2], 4000);

fn own_source() -> Case {
    let mut case = web(
        "own_source",
        "A packet from the VIP or another address of the director's: dropped (own_source), as Linux does; its own clients \
         do not come in by wire. An ICMP error from there is dropped as well. The address beside is a client's.",
    );
    for (at, own) in (0..).zip(OWN) {
        case.drops(at, from(own, &syn()).frame(), "own_source");
        case.drops(at, from(own, &query()).frame(), "own_source");
    }
    case.opens(20, &from(BESIDE, &syn()), 0);
    let about = Packet::tcp("SA", HTTP, BESIDE).ip();
    case.drops(21, icmp_error((ROUTER_MAC, ETH0_MAC), (DIP, VIP, 64), EXPIRED, &about), "own_source");
    case
}

fn own_source6() -> Case {
    let mut case = web6("v6_own_source", "The same in IPv6, where Linux lets such packets pass to IPVS.");
    for (at, own) in (0..).zip(OWN) {
        case.drops(at, from(own, &syn()).six().frame(), "own_source");
        case.drops(at, from(own, &query()).six().frame(), "own_source");
    }
    case.opens(20, &from(BESIDE, &syn()).six(), 0);
    case
}

fn martian_source() -> Case {
    let mut case = web(
        "martian_source",
        "A source of 0.0.0.0/8, 127.0.0.0/8, 224.0.0.0/4, or everybody: dropped (martian_source), and so is an ICMP error \
         from there. 240.0.0.0/4 goes on, as with Linux.",
    );
    let martians = [
        [0, 0, 0, 0],
        [0, 1, 2, 3],
        [127, 0, 0, 1],
        [127, 9, 9, 9],
        [224, 0, 0, 1],
        [239, 1, 1, 1],
        [255; 4],
    ];
    for (at, martian) in (0..).zip(martians) {
        case.drops(at, from((martian, 4000), &syn()).frame(), "martian_source");
        case.drops(at, from((martian, 4000), &query()).frame(), "martian_source");
    }
    case.opens(20, &from(([240, 0, 0, 1], 4000), &syn()), 0);
    case.opens(21, &from(([128, 0, 0, 1], 4000), &query()), 0);
    let about = Packet::tcp("SA", HTTP, ([240, 0, 0, 1], 4000)).ip();
    let error = icmp_error((ROUTER_MAC, ETH0_MAC), ([127, 0, 0, 1], VIP, 64), EXPIRED, &about);
    case.drops(22, error, "martian_source");
    case
}

fn martian_source6() -> Case {
    let mut case = web6(
        "v6_martian_source",
        "A source of ::, ::1, ff00::/8 or a mapped IPv4 address: dropped (martian_source).",
    );
    let martians = ["::", "::1", "ff02::1", "ffff::1", "::ffff:203.0.113.1"];
    for (first, packet) in [(0, syn()), (10, query())] {
        for (at, martian) in (first..).zip(martians) {
            let mut frame = packet.clone().six().frame();
            frame[22..38].copy_from_slice(&martian.parse::<Ipv6Addr>().unwrap().octets());
            case.drops(at, frame, "martian_source");
        }
    }
    case
}

/// What the director sends into a tunnel comes back to it.
fn back(frame: &[u8]) -> Vec<u8> {
    [&ETH1_MAC[..], &INNER_ROUTER_MAC, &frame[12..]].concat()
}

fn looped() -> Case {
    let servers = [tun(21, 80), tun(22, 80).crossed()];
    let mut case = Case::new(
        "looped",
        "A tunnel's packet from the director's own address came back: dropped (looped), over IPv4 and IPv6. One from \
         another director, whatever is in it, is the host's (other_protocol).",
    )
    .dual()
    .web("rr", &servers);
    case.opens(0, &syn(), 0);
    case.opens(1, &Packet::tcp("S", client(2), HTTP), 1);
    for (at, server) in (10..).zip(servers) {
        case.drops_from(at, ETH1, back(&server.receives(&syn())), "looped");
    }
    let on = syn().hop(ETH1_MAC, INNER_ROUTER_MAC);
    case.left_from(20, ETH1, back(&on.tunnelled([10, 0, 0, 2], DIP)), "other_protocol");
    case.left_from(21, ETH1, back(&six::in_six(&on, [10, 0, 0, 2], DIP)), "other_protocol");
    case
}

fn looped6() -> Case {
    let servers = [tun(21, 80), tun(22, 80).crossed()];
    let mut case = Case::new("v6_looped", "The same of IPv6 inside tunnels over either family.")
        .six()
        .web("rr", &servers);
    case.opens(0, &syn().six(), 0);
    case.opens(1, &Packet::tcp("S", client(2), HTTP).six(), 1);
    for (at, server) in (10..).zip(servers) {
        case.drops_from(at, ETH1, back(&server.receives(&syn().six())), "looped");
    }
    let on = syn().six().hop(ETH1_MAC, INNER_ROUTER_MAC);
    case.left_from(20, ETH1, back(&six::in_six(&on, [10, 0, 0, 2], DIP)), "other_protocol");
    case.left_from(21, ETH1, back(&six::in_four(&on, [10, 0, 0, 2], DIP)), "other_protocol");
    case
}

fn to_many() -> Case {
    let mut case = web(
        "to_many",
        "A packet to a group, to everybody or to no address: no service is there, and it is left to the host (not_ours).",
    );
    for (at, address) in (0..).zip([[224, 0, 0, 1], [239, 255, 255, 250], [255; 4], [0; 4], [127, 0, 0, 1]]) {
        case.left(at, Packet::tcp("S", client(1), (address, 80)).frame(), "not_ours");
        case.left(at, Packet::udp(client(1), (address, 53), b"question").frame(), "not_ours");
    }
    case
}

fn odd_flags() -> Case {
    let mut case = Case::new(
        "odd_flags",
        "TCP flags that make no sense are not the director's to judge, nor IPVS's: SYN with FIN opens a connection, no \
         flags or all of them pass on one that is there, and the latter end it.",
    )
    .web("rr", &[nat(11, 8080), dr(12, 80)]);
    let packet = |flags, n| Packet::tcp(flags, client(n), HTTP);
    for (n, flags) in [(1, "SF"), (2, "SFPA"), (3, "SA"), (4, "SFP")] {
        case.opens(n.into(), &packet(flags, n), usize::from(n - 1) % 2);
    }
    for (n, flags) in [(1, ""), (2, "FSRPA"), (3, "P"), (4, "FP")] {
        case.reaches(10 + u64::from(n), &packet(flags, n), usize::from(n - 1) % 2);
    }
    case.ends_with(HTTP, 0, 0, 2);
    case
}

/// A bit of the payload flips on the way in; the checksum goes on as if it had not.
fn wrong_transport_checksums() -> Case {
    let mut case = Case::new(
        "wrong_transport_checksums",
        "A wrong TCP or UDP checksum stays as wrong as it was, and is found by the receiver, whatever the method: IPVS \
         checks none either.",
    )
    .with_wrong_checksums()
    .web("rr", &[nat(11, 8080), dr(12, 80), tun(21, 80)])
    .dns("rr", &[nat(11, 5353)]);
    for n in 1..=3 {
        case.flipped_opens(n.into(), &Packet::tcp("S", client(n), HTTP).with("data"), usize::from(n) - 1);
    }
    case.flipped_opens(10, &query(), 0);
    case
}
