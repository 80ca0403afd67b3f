//! Errors that others have built: what they are about, and what becomes of them in masquerading.

use super::*;
use crate::net::{Endpoint, FlowKey, Proto};
use crate::wire::encap::{self, Envelope};
use crate::wire::rewrite::{End, V4End};
use crate::wire::rewrite6::V6End;
use crate::wire::{ETHERNET, IPV4, IPV6};
use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder, PacketBuilderStep, icmpv4};
use proptest::prelude::*;
use std::net::{IpAddr, SocketAddr};

fn end(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn builder(src: IpAddr, dst: IpAddr) -> PacketBuilderStep<etherparse::IpHeaders> {
    let header = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let header = etherparse::Ipv4Header::new(0, 64, 0.into(), src.octets(), dst.octets()).unwrap();
            etherparse::IpHeaders::Ipv4(header, Default::default())
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let header = etherparse::Ipv6Header {
                source: src.octets(),
                destination: dst.octets(),
                hop_limit: 64,
                ..Default::default()
            };
            etherparse::IpHeaders::Ipv6(header, Default::default())
        }
        _ => unreachable!("one family"),
    };
    PacketBuilder::ip(header)
}

/// A TCP or UDP packet between two ends.
fn packet(proto: Proto, src: SocketAddr, dst: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let ip = builder(src.ip(), dst.ip());
    match proto {
        Proto::Tcp => ip.tcp(src.port(), dst.port(), 9, 512).ack(3).write(&mut packet, payload).unwrap(),
        Proto::Udp => ip.udp(src.port(), dst.port()).write(&mut packet, payload).unwrap(),
        Proto::Sctp => {
            let ports = [src.port().to_be_bytes(), dst.port().to_be_bytes()].concat();
            let number = etherparse::IpNumber::SCTP;
            ip.write(&mut packet, number, &[&ports[..], &[7; 8], payload].concat()).unwrap();
        }
    }
    packet
}

/// An error that says "too big" of a packet.
fn error(src: IpAddr, dst: IpAddr, quote: &[u8]) -> Vec<u8> {
    let mut error = Vec::new();
    let ip = builder(src, dst);
    if src.is_ipv4() {
        let needed = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 };
        ip.icmpv4(Icmpv4Type::DestinationUnreachable(needed)).write(&mut error, quote).unwrap();
    } else {
        ip.icmpv6(Icmpv6Type::PacketTooBig { mtu: 1400 }).write(&mut error, quote).unwrap();
    }
    error
}

fn quoted(error: &[u8]) -> Result<Quoted, NoQuote> {
    if error[0] >> 4 == 4 { quoted_v4(error) } else { quoted_v6(error) }
}

fn key(proto: Proto, src: SocketAddr, dst: SocketAddr) -> FlowKey {
    FlowKey::new(proto, Endpoint::from(src), Endpoint::from(dst))
}

/// A packet in its tunnel, as the director makes it: from its first IP header on.
fn tunnelled(inner: &[u8], v6: bool) -> Vec<u8> {
    let grown = if v6 { IPV6 } else { IPV4 };
    let mut frame = [&vec![0; ETHERNET + grown][..], inner].concat();
    match (v6, inner[0] >> 4) {
        (true, _) => encap::in_ipv6(&mut frame, &[0; 12], 1 << 100, 2 << 100, 5),
        (false, 4) => encap::ipip(&mut frame, &[0; 12], &Envelope::new(1 << 24, 2 << 24), 5),
        (false, _) => encap::ip6_in_ipv4(&mut frame, &[0; 12], &Envelope::new(1 << 24, 2 << 24)),
    }
    frame.split_off(ETHERNET)
}

/// The client, the VIP, a server and a router, in both families.
const PARTIES: [[&str; 4]; 2] = [
    ["192.0.2.7:4000", "10.0.0.100:80", "10.0.0.11:8080", "10.0.0.254:0"],
    ["[2001:db8::7]:4000", "[2001:db8::100]:80", "[2001:db8::11]:8080", "[2001:db8::fe]:0"],
];

#[test]
fn the_packet_that_an_error_is_about_is_found_in_and_without_a_tunnel() {
    for [client, vip, _, router] in PARTIES.map(|parties| parties.map(end)) {
        for proto in [Proto::Tcp, Proto::Udp] {
            let about = packet(proto, client, vip, b"payload");
            let found = quoted(&error(router.ip(), client.ip(), &about)).unwrap();
            let ip = if client.is_ipv4() { 28 } else { 48 };
            let (icmp, l4) = (ip - 8, ip + if client.is_ipv4() { 20 } else { 40 });
            assert_eq!(found.key, key(proto, client, vip));
            assert_eq!((found.icmp, found.ip, found.l4, found.outer), (icmp, ip, l4, None));
            assert_eq!(found.word, 1400);
            assert_eq!(found.kind, if client.is_ipv4() { (3, 4) } else { (2, 0) });

            for (v6, [director, .., router]) in
                [false, true].into_iter().zip(PARTIES.map(|parties| parties.map(end)))
            {
                let outer = tunnelled(&about, v6);
                let found = quoted(&error(router.ip(), director.ip(), &outer)).unwrap();
                assert_eq!(found.key, key(proto, client, vip));
                let (ip, len) = if v6 { (48, 40) } else { (28, 20) };
                assert_eq!(found.outer, Some(Outer { ip, len }));
                assert_eq!(found.ip, ip + len);
            }
        }
    }
}

#[test]
fn a_quotation_needs_the_ports_and_no_more() {
    for [client, vip, _, router] in PARTIES.map(|parties| parties.map(end)) {
        let about = packet(Proto::Tcp, client, vip, b"payload");
        let least = if client.is_ipv4() { 28 } else { 48 };
        for len in 0..about.len() {
            let found = quoted(&error(router.ip(), client.ip(), &about[..len]));
            assert_eq!(found.is_ok(), len >= least, "{len} bytes quoted: {found:?}");
            assert!(found.is_ok() || found == Err(NoQuote::Truncated));
        }
        let whole = error(router.ip(), client.ip(), &about);
        for len in 0..whole.len() {
            assert_eq!(
                quoted(&[&whole[..len.max(1)]].concat()),
                Err(NoQuote::Truncated),
                "cut to {len} bytes"
            );
        }
        let padded = [&whole[..], &[0; 9]].concat();
        assert_eq!(quoted(&padded), quoted(&whole));
    }
}

#[test]
fn what_is_about_no_connection_is_told_apart() {
    for [client, vip, _, router] in PARTIES.map(|parties| parties.map(end)) {
        let is_v4 = client.is_ipv4();
        let about = packet(Proto::Udp, client, vip, b"payload");
        let whole = error(router.ip(), client.ip(), &about);
        let mut wrong = whole.clone();
        *wrong.last_mut().unwrap() ^= 1;
        assert_eq!(quoted(&wrong), Err(NoQuote::BadChecksum));
        assert_eq!(quoted(&about), Err(NoQuote::NotAnError));

        let mut echo = Vec::new();
        let ip = builder(router.ip(), client.ip());
        if is_v4 {
            ip.icmpv4_echo_request(1, 2).write(&mut echo, &about).unwrap();
        } else {
            ip.icmpv6_echo_request(1, 2).write(&mut echo, &about).unwrap();
        }
        assert_eq!(quoted(&echo), Err(NoQuote::NotAnError));
        let of = |quote: &[u8]| quoted(&error(router.ip(), client.ip(), quote));
        assert_eq!(of(&echo), Err(NoQuote::OtherProtocol));
        assert_eq!(
            of(&tunnelled(&tunnelled(&about, true), false)),
            Err(NoQuote::OtherProtocol),
            "two tunnels"
        );
        assert_eq!(of(&[0x50; 60]), Err(NoQuote::BadQuote));

        let mut piece = about.clone();
        if is_v4 {
            piece[7] = 1;
        } else {
            piece[6] = 44;
            piece[40..48].copy_from_slice(&[17, 0, 0, 8, 0, 0, 0, 0]);
        }
        assert_eq!(of(&piece), Err(NoQuote::QuotedFragment));
        if is_v4 {
            let mut fragment = whole.clone();
            fragment[6] = 0x20;
            assert_eq!(quoted(&fragment), Err(NoQuote::Fragment));
        }
    }
}

proptest! {
    #[test]
    fn an_error_carried_through_masquerading_is_the_error_about_what_the_receiver_sent(
        is_tcp: bool, is_v6: bool, is_clients: bool, payload in proptest::collection::vec(any::<u8>(), 0..50), cut in 28usize..120,
        ports: [u16; 3],
    ) {
        let mut parties = PARTIES[usize::from(is_v6)].map(end);
        for (party, port) in parties.iter_mut().zip(ports) {
            party.set_port(port);
        }
        let [client, vip, server, router] = parties;
        let proto = if is_tcp { Proto::Tcp } else { Proto::Udp };
        // Even, so that no checksum is cut in half.
        let cut = cut.max(if is_v6 { 48 } else { 28 }) & !1;
        let about = |src, dst| {
            let mut packet = packet(proto, src, dst, &payload);
            packet.truncate(cut);
            packet
        };
        let (mut got, expected, changed, new) = if is_clients {
            let got = error(router.ip(), client.ip(), &about(client, server));
            (got, error(vip.ip(), client.ip(), &about(client, vip)), End::Dst, vip)
        } else {
            let got = error(router.ip(), vip.ip(), &about(vip, client));
            (got, error(router.ip(), server.ip(), &about(server, client)), End::Src, server)
        };
        let found = quoted(&got).unwrap();
        match new.ip() {
            IpAddr::V4(addr) => translate_v4(&mut got, &found, changed, V4End { addr: addr.to_bits(), port: new.port() }),
            IpAddr::V6(addr) => translate_v6(&mut got, &found, changed, V6End { addr: addr.to_bits(), port: new.port() }),
        }
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn any_bytes_are_searched_and_translated_without_a_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 1..200), bends in proptest::collection::vec((0usize..200, any::<u8>()), 0..4),
        family in 0usize..2, cut in 0usize..200,
    ) {
        let _ = (quoted_v4(&bytes), quoted_v6(&bytes));
        let [client, vip, _, router] = PARTIES[family].map(end);
        let whole = error(router.ip(), client.ip(), &tunnelled(&packet(Proto::Udp, client, vip, b"x"), family == 0));
        let found = quoted(&whole).unwrap();
        // What was found in one packet, applied to another.
        translate_v4(&mut bytes, &found, End::Src, V4End::default());
        translate_v6(&mut bytes, &found, End::Dst, V6End::default());
        let mut bent = whole;
        for (at, value) in bends {
            if let Some(byte) = bent.get_mut(at) {
                *byte = value;
            }
        }
        bent.truncate(cut.max(1));
        let _ = (quoted_v4(&bent), quoted_v6(&bent));
    }
}
