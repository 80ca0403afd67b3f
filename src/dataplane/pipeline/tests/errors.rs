//! ICMP errors: those that come by, and those that the road answers with.

use super::*;
use crate::service::{MssClamp, NoServer};
use crate::wire::icmp::quoted_v4;
use etherparse::{
    Icmpv4Slice, Icmpv4Type, Ipv4HeaderSlice, TcpHeaderSlice, TcpOptionElement, TransportSlice, icmpv4,
};

const ROUTER: [u8; 4] = [10, 1, 0, 77];
const OWN: [u8; 4] = [10, 1, 0, 1];

/// A frame with an error about `quote`, which begins with its IP header.
fn error(src: [u8; 4], dst: [u8; 4], kind: Icmpv4Type, quote: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2([9; 6], mac(1).0).ipv4(src, dst, 64).icmpv4(kind);
    builder.write(&mut frame, quote).unwrap();
    frame
}

fn needed(next_hop_mtu: u16) -> Icmpv4Type {
    Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu })
}

const EXPIRED: Icmpv4Type = Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit);

/// Source, destination and TTL of a frame's packet, and its ICMP message's type and quotation, all checksums being right.
fn read(frame: &[u8]) -> ([u8; 4], [u8; 4], u8, Icmpv4Type, Vec<u8>) {
    let ip = Ipv4HeaderSlice::from_slice(&frame[14..]).unwrap();
    assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
    let icmp = Icmpv4Slice::from_slice(&frame[34..14 + ip.total_len() as usize]).unwrap();
    let message = &frame[34..14 + ip.total_len() as usize];
    assert_eq!(checksum::fold(checksum::sum(message)), 0xffff);
    (ip.source(), ip.destination(), ip.ttl(), icmp.icmp_type(), icmp.payload().to_vec())
}

/// The packet without DF, which etherparse sets.
fn fragmentable(mut frame: Vec<u8>) -> Vec<u8> {
    (frame[20], frame[24], frame[25]) = (0, 0, 0);
    let sum = checksum::of_header(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

#[test]
fn an_error_about_a_masqueraded_packet_reaches_the_client_as_if_from_the_vip() {
    let world = World::new(10, &[(Method::Nat, 1)]);
    let mut worker = world.worker(0);
    let (_, at_server) = send(&mut worker, &request(4000, SYN));
    let mut frame = error(ROUTER, CIP, needed(1400), &at_server[14..]);
    frame.extend([0xee; 4]);
    let (verdict, out) = send_at(&mut worker, SERVERS, &frame, Tick(0));
    assert_eq!(verdict, Verdict::Forward(CLIENTS));
    let sent = tcp((CIP, 4000), (VIP, 80), SYN, 63);
    assert_eq!(read(&out), (VIP, CIP, 63, needed(1400), sent[14..].to_vec()));
    assert_eq!(out[..12], routed(sent, 0xfe, 1)[..12]);
    let counters = worker.counters();
    assert_eq!((counters.related.get(), counters.real(RealId(0)).out_packets.get()), (1, 1));
}

#[test]
fn an_error_about_a_servers_packet_reaches_the_server_by_every_method() {
    for method in Method::ALL {
        let world = World::new(10, &[(method, 1)]);
        let mut worker = world.worker(0);
        send(&mut worker, &request(4000, SYN));
        let answer = tcp((VIP, 80), (CIP, 4000), SYN | ACK, 50);
        let frame = error([8, 8, 8, 8], VIP, EXPIRED, &answer[14..]);
        let (verdict, mut out) = send(&mut worker, &frame);
        assert_eq!(verdict, Verdict::Forward(SERVERS), "{method}");
        assert_eq!(out[..6], mac(11).0, "{method}");
        if method == Method::Tun {
            assert_eq!((&out[26..30], &out[30..34]), (&OWN[..], &rip(0)[..]));
            out.drain(14..34);
        }
        let own = if method == Method::Nat { (rip(0), 8080) } else { (VIP, 80) };
        let its_own = tcp(own, (CIP, 4000), SYN | ACK, 50)[14..].to_vec();
        assert_eq!(read(&out), ([8, 8, 8, 8], own.0, 63, EXPIRED, its_own), "{method}");
        assert_eq!(worker.counters().real(RealId(0)).in_packets.get(), 2);
    }
}

#[test]
fn an_error_about_a_tunnel_is_told_to_the_client_about_its_own_packet() {
    let world = World::new(10, &[(Method::Tun, 1)]);
    let mut worker = world.worker(0);
    let (_, outer) = send(&mut worker, &request(4000, SYN));
    let inner = outer[34..].to_vec();
    for (said, heard) in [(needed(1400), needed(1380)), (needed(80), needed(80)), (EXPIRED, EXPIRED)] {
        let frame = error(ROUTER, OWN, said.clone(), &outer[14..]);
        let (verdict, out) = send_at(&mut worker, SERVERS, &frame, Tick(0));
        assert_eq!(verdict, Verdict::Forward(CLIENTS), "{said:?}");
        assert_eq!(read(&out), (VIP, CIP, 64, heard, inner.clone()));
    }
    // From a tunnel that is not the connection's, whoever wrote that.
    let mut forged = outer.clone();
    forged[33] = 99;
    let frame = error(ROUTER, OWN, needed(600), &forged[14..]);
    let verdict = send_at(&mut worker, SERVERS, &frame, Tick(0)).0;
    assert_eq!(verdict, Verdict::ToHost(HostReason::Unrelated));
    assert_eq!(worker.counters().related.get(), 3);
}

#[test]
fn a_client_whose_packets_may_be_fragmented_hears_nothing_of_the_tunnels_mtu() {
    let world = World::new(10, &[(Method::Tun, 1)]);
    let mut worker = world.worker(0);
    let (_, outer) = send(&mut worker, &fragmentable(request(4000, SYN)));
    let frame = error(ROUTER, OWN, needed(1400), &outer[14..]);
    let verdict = send_at(&mut worker, SERVERS, &frame, Tick(0)).0;
    assert_eq!(verdict, Verdict::ToHost(HostReason::Unrelated));
}

#[test]
fn errors_about_nothing_known_and_what_is_no_error_stay_with_the_host_as_they_were() {
    let world = World::new(10, &[(Method::Nat, 1)]);
    let mut worker = world.worker(0);
    send(&mut worker, &request(4000, SYN));
    let other = tcp((VIP, 80), (CIP, 4001), SYN | ACK, 50);
    let unknown = error([8, 8, 8, 8], VIP, EXPIRED, &other[14..]);
    assert_eq!(send(&mut worker, &unknown), (Verdict::ToHost(HostReason::Unrelated), unknown.clone()));
    let little = error([8, 8, 8, 8], VIP, EXPIRED, &other[14..40]);
    assert_eq!(send(&mut worker, &little).0, Verdict::ToHost(HostReason::Unrelated));
    let echo = icmpv4::TimeExceededCode::TtlExceededInTransit;
    let mut ping = error(CIP, VIP, Icmpv4Type::TimeExceeded(echo), b"ping");
    (ping[34], ping[36], ping[37]) = (8, 0, 0);
    let reason = Verdict::ToHost(HostReason::OtherProtocol);
    assert_eq!(send(&mut worker, &ping), (reason, ping));
    let mut wrong = unknown;
    wrong[36] ^= 1;
    assert_eq!(send(&mut worker, &wrong).0, Verdict::Drop(DropReason::BadChecksum));
}

#[test]
fn an_error_touches_neither_state_nor_silence_and_dies_with_its_last_hop() {
    let world = World::new(10, &[(Method::Nat, 1)]);
    let mut worker = world.worker(0);
    let (_, at_server) = send(&mut worker, &request(4000, SYN));
    let before: Vec<_> = world.table.connections().collect();
    let mut frame = error(rip(0), CIP, needed(1400), &at_server[14..]);
    assert_eq!(send_at(&mut worker, SERVERS, &frame, Tick(99)).0, Verdict::Forward(CLIENTS));
    assert_eq!(world.table.connections().collect::<Vec<_>>(), before);
    frame = {
        let mut last = Vec::new();
        let ip = PacketBuilder::ethernet2([9; 6], mac(1).0).ipv4(rip(0), CIP, 1);
        ip.icmpv4(needed(1400)).write(&mut last, &at_server[14..]).unwrap();
        last
    };
    let verdict = send_at(&mut worker, SERVERS, &frame, Tick(99)).0;
    assert_eq!(verdict, Verdict::Drop(DropReason::TtlExpired));
}

#[test]
fn an_error_in_the_batch_of_the_packet_that_it_is_about_finds_the_connection() {
    let world = World::new(10, &[(Method::Nat, 1)]);
    let (mut worker, mut other) = (world.worker(0), World::new(10, &[(Method::Nat, 1)]).worker(0));
    let (_, at_server) = send(&mut other, &request(4000, SYN));
    let packets = [request(4000, SYN), error(rip(0), CIP, EXPIRED, &at_server[14..])];
    let mut buffers = packets.each_ref().map(|packet| [&[0; 64][..], packet].concat());
    let lent = buffers.iter_mut().zip(&packets);
    let mut frames: Vec<_> = lent.map(|(b, p)| Frame::new(b, 64, p.len(), SERVERS)).collect();
    worker.run(&mut frames, Tick(0));
    assert_eq!(frames[1].verdict, Verdict::Forward(CLIENTS));
    let quoted = quoted_v4(&frames[1].data()[14..]).unwrap();
    assert_eq!(quoted.key.dst(), end(VIP, 80));
}

const UNREACHABLE: Icmpv4Type = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port);

#[test]
fn a_client_hears_from_the_vip_that_its_packet_had_a_hop_too_few_or_a_byte_too_many() {
    for (method, mtu) in [(Method::Nat, 1500), (Method::Dr, 1500), (Method::Tun, 1480)] {
        let world = World::new(10, &[(method, 1)]);
        let mut worker = world.worker(0);
        let last = tcp((CIP, 1), (VIP, 80), SYN, 1);
        let (verdict, out) = send(&mut worker, &last);
        assert_eq!(verdict, Verdict::Answer(CLIENTS, DropReason::TtlExpired), "{method}");
        assert_eq!(read(&out), (VIP, CIP, 64, EXPIRED, last[14..].to_vec()), "{method}");
        assert_eq!(out[..12], routed(last, 0xfe, 1)[..12], "by the route to the client");

        let large = datagram(1, mtu - 27);
        let (verdict, out) = send(&mut worker, &large);
        assert_eq!(verdict, Verdict::Answer(CLIENTS, DropReason::TooBig), "{method}");
        assert_eq!(read(&out), (VIP, CIP, 64, needed(mtu as u16), large[14..562].to_vec()), "{method}");
        let (verdict, first) = send(&mut worker, &fragmentable(large));
        assert_eq!((verdict, first.len()), (Verdict::Forward(SERVERS), 1514), "{method}: without DF");
        let counters = worker.counters();
        let told = |reason| (counters.dropped(reason), counters.answered(reason));
        assert_eq!((told(DropReason::TtlExpired), told(DropReason::TooBig)), ((1, 1), (1, 1)));
    }
}

#[test]
fn a_masqueraded_server_hears_from_the_directors_address_on_its_side() {
    let world = World::new(10, &[(Method::Nat, 1)]);
    let mut worker = world.worker(0);
    send(&mut worker, &request(4000, SYN));
    let last = tcp((rip(0), 8080), (CIP, 4000), SYN | ACK, 1);
    let (verdict, out) = send_at(&mut worker, SERVERS, &last, Tick(0));
    assert_eq!(verdict, Verdict::Answer(SERVERS, DropReason::TtlExpired));
    assert_eq!(read(&out), (OWN, rip(0), 64, EXPIRED, last[14..].to_vec()));
    assert_eq!(out[..12], routed(last, 11, 2)[..12]);
}

#[test]
fn without_a_server_the_client_hears_what_the_services_policy_says() {
    let world = World::new(10, &[]);
    let mut worker = world.worker(0);
    let reason = DropReason::NoRealServer;
    let syn = request(4000, SYN);
    let (verdict, out) = send(&mut worker, &syn);
    assert_eq!(verdict, Verdict::Answer(CLIENTS, reason));
    assert_eq!(read(&out), (VIP, CIP, 64, UNREACHABLE, syn[14..].to_vec()));

    world.publish_with(&[], Policy { no_server: NoServer::Reset, ..Policy::default() });
    let (verdict, out) = send(&mut worker, &syn);
    assert_eq!(verdict, Verdict::Answer(CLIENTS, reason));
    let packet = SlicedPacket::from_ethernet(&out).unwrap();
    let Some(TransportSlice::Tcp(reset)) = packet.transport else { panic!("{packet:?}") };
    assert!(reset.rst() && reset.ack() && reset.acknowledgment_number() == 5 + 1 + 4, "SYN and data");
    assert_eq!(reset.checksum(), reset.calc_checksum_ipv4(VIP, CIP).unwrap());
    assert_eq!((reset.source_port(), reset.destination_port(), &out[30..34]), (80, 4000, &CIP[..]));

    world.publish_with(&[], Policy { no_server: NoServer::Drop, ..Policy::default() });
    assert_eq!(send(&mut worker, &syn), (Verdict::Drop(reason), syn));
    assert_eq!((worker.counters().dropped(reason), worker.counters().answered(reason)), (3, 2));
}

#[test]
fn answers_are_limited_but_for_those_without_which_nothing_comes_through() {
    let world = World::new(10, &[(Method::Tun, 1)]);
    let mut worker = world.worker(0);
    let last = tcp((CIP, 1), (VIP, 80), SYN, 1);
    let answered = |worker: &mut Pipeline, now| {
        (0..100)
            .filter(|_| matches!(send_at(worker, CLIENTS, &last, Tick(now)).0, Verdict::Answer(..)))
            .count()
    };
    assert_eq!([answered(&mut worker, 0), answered(&mut worker, 1)], [50, 10]);
    assert_eq!(worker.counters().unanswered.get(), 140);
    let large = send(&mut worker, &datagram(1, 1453)).0;
    assert_eq!(large, Verdict::Answer(CLIENTS, DropReason::TooBig));
}

#[test]
fn what_was_sent_to_many_on_the_link_is_not_answered() {
    let world = World::new(10, &[]);
    let mut syn = request(4000, SYN);
    syn[..6].fill(0xff);
    let verdict = send(&mut world.worker(0), &syn).0;
    assert_eq!(verdict, Verdict::Drop(DropReason::NoRealServer));
}

#[test]
fn a_syn_into_a_tunnel_announces_what_fits_it_and_so_does_its_repetition() {
    let syn = |mss| {
        let builder = PacketBuilder::ethernet2([9; 6], mac(1).0).ipv4(CIP, VIP, 64).tcp(4000, 80, 5, 99);
        let mut packet = Vec::new();
        let options = [TcpOptionElement::Noop, TcpOptionElement::MaximumSegmentSize(mss)];
        builder.syn().options(&options).unwrap().write(&mut packet, &[]).unwrap();
        packet
    };
    let clamp = |mss_clamp| Policy { mss_clamp, ..Policy::default() };
    let cases = [
        (Method::Tun, Policy::default(), 1440),
        (Method::Tun, clamp(MssClamp::Bytes(1300)), 1300),
        (Method::Tun, clamp(MssClamp::Off), 1460),
        (Method::Nat, Policy::default(), 1460),
        (Method::Dr, clamp(MssClamp::Bytes(1300)), 1460),
    ];
    for (method, policy, mss) in cases {
        let world = World::new(10, &[]);
        world.publish_with(&[(method, 1)], policy);
        let mut worker = world.worker(0);
        for _ in 0..2 {
            let (verdict, out) = send(&mut worker, &syn(1460));
            assert_eq!(verdict, Verdict::Forward(SERVERS), "{method}");
            let inner = if method == Method::Tun { &out[34..] } else { &out[14..] };
            let ends = SlicedPacket::from_ip(inner).unwrap();
            let Some(TransportSlice::Tcp(tcp)) = ends.transport else { panic!("{ends:?}") };
            let announced: Vec<_> =
                TcpHeaderSlice::from_slice(tcp.slice()).unwrap().options_iterator().collect();
            assert_eq!(announced[1], Ok(TcpOptionElement::MaximumSegmentSize(mss)), "{method} {policy:?}");
            let destination = inner[16..20].try_into().unwrap();
            assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv4(CIP, destination).unwrap());
        }
    }
}
