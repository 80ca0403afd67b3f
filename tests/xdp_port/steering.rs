//! What the steering program makes of single frames: extension headers, fragments, ICMP errors, VLAN tags. Frames are
//! written by etherparse, or by hand where it has no words for them, and sent by the client as they are.

use super::*;
use etherparse::{
    EtherType, Ethernet2Header, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpFragOffset, IpNumber,
    Ipv4Header, Ipv6FragmentHeader, Ipv6Header, SingleVlanHeader, UdpHeader, VlanId, VlanPcp,
};
use lvx::net::Endpoint;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{FromRawFd, OwnedFd};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1);
/// Addresses of nobody in the lab but the tables: what counts is whether the program steers.
const OWN: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 9);
const OWN6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 9);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 11);
const SERVER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 11);
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);

/// UDP services at port 7000 of both VIPs, masqueraded servers at port 8000.
fn table() -> SteeringTable {
    let at = |text: &str| (Proto::Udp, text.parse().unwrap());
    SteeringTable {
        returns: [at("10.1.0.11:8000"), at("[fd00:1::b]:8000")].into(),
        own: [OWN.into(), OWN6.into()].into(),
        ..udp(&[SERVICE, "[fd00:1::1]:7000"])
    }
}

/// A steered port, and a client that sends frames.
struct Bed {
    client: Raw,
    macs: [Mac; 2],
    steering: Steering,
    port: XdpPort,
}

impl Bed {
    fn new(lab: &Lab, mode: AttachMode) -> Bed {
        let steering = steered("d0", 1, mode, &table());
        let mut port = open(&steering, 0, 256);
        // The first beat.
        turn(&mut port, &mut discard).unwrap();
        let (client, mac) = lab.on("c", || (Raw::open("c0"), device::mac("c0").unwrap()));
        Bed { client, macs: [device::mac("d0").unwrap(), mac], steering, port }
    }

    /// The Ethernet header to the director.
    fn to_director(&self, ether_type: EtherType) -> Vec<u8> {
        let [destination, source] = self.macs.map(|mac| mac.0);
        Ethernet2Header { source, destination, ether_type }.to_bytes().to_vec()
    }

    /// Whether the director sees a packet of these bytes, which begin with the IP header.
    fn sees(&mut self, packet: &[u8]) -> bool {
        let v4 = packet[0] >> 4 == 4;
        let ether_type = if v4 { EtherType::IPV4 } else { EtherType::IPV6 };
        self.sees_frame(&[&self.to_director(ether_type), packet].concat())
    }

    /// Sends the frame, and behind it one that is steered for certain: when that has come, the other has, or never will.
    fn sees_frame(&mut self, frame: &[u8]) -> bool {
        let marker = [self.to_director(EtherType::IPV4), udp_v4(CLIENT, VIP, 7000)].concat();
        let before = self.port.counters().received();
        self.client.send(frame);
        self.client.send(&marker);
        let mut marked = false;
        let end = Instant::now() + Duration::from_secs(2);
        while !marked {
            assert!(Instant::now() < end, "the second frame did not come");
            let mut look = |frames: &mut [Frame<'_>]| {
                marked |= frames.iter().any(|frame| frame.data() == marker);
                discard(frames);
            };
            if turn(&mut self.port, &mut look).unwrap() == 0 {
                self.port.wait(Duration::from_millis(10)).unwrap();
            }
        }
        match self.port.counters().received() - before {
            1 => false,
            2 => true,
            more => panic!("{more} frames received"),
        }
    }
}

/// A socket of the client's that sends frames as they are. Opened once: closing one waits for the whole kernel.
struct Raw {
    socket: OwnedFd,
    to: libc::sockaddr_ll,
}

impl Raw {
    fn open(interface: &str) -> Raw {
        // SAFETY: takes no pointers.
        let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) };
        assert!(socket >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: nobody else has it. And sockaddr_ll is plain data, for which zeros are a value.
        let (socket, mut to): (_, libc::sockaddr_ll) =
            unsafe { (OwnedFd::from_raw_fd(socket), std::mem::zeroed()) };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = device::index(interface).unwrap() as i32;
        Raw { socket, to }
    }

    fn send(&self, frame: &[u8]) {
        let (to, length) = ((&raw const self.to).cast(), size_of::<libc::sockaddr_ll>() as u32);
        let (socket, bytes) = (self.socket.as_raw_fd(), frame.as_ptr().cast());
        // SAFETY: reads `frame` and the address, which outlive the call.
        let sent = unsafe { libc::sendto(socket, bytes, frame.len(), 0, to, length) };
        assert_eq!(sent, frame.len() as isize, "{}", std::io::Error::last_os_error());
    }
}

/// A UDP header from port 8000 without payload or checksum.
fn udp_header(to: u16) -> Vec<u8> {
    UdpHeader { source_port: 8000, destination_port: to, length: 8, checksum: 0 }.to_bytes().to_vec()
}

fn v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: IpNumber, payload: &[u8]) -> Vec<u8> {
    let header = Ipv4Header::new(payload.len() as u16, 64, protocol, src.octets(), dst.octets()).unwrap();
    [&header.to_bytes()[..], payload].concat()
}

fn v6(src: Ipv6Addr, dst: Ipv6Addr, next_header: IpNumber, payload: &[u8]) -> Vec<u8> {
    let header = Ipv6Header {
        payload_length: payload.len() as u16,
        next_header,
        hop_limit: 64,
        source: src.octets(),
        destination: dst.octets(),
        ..Ipv6Header::default()
    };
    [&header.to_bytes()[..], payload].concat()
}

fn udp_v4(src: Ipv4Addr, dst: Ipv4Addr, to: u16) -> Vec<u8> {
    v4(src, dst, IpNumber::UDP, &udp_header(to))
}

fn udp_v6(src: Ipv6Addr, dst: Ipv6Addr, to: u16) -> Vec<u8> {
    v6(src, dst, IpNumber::UDP, &udp_header(to))
}

/// UDP to the IPv6 service behind these extension headers, of eight bytes each but for the bytes given.
fn extended(headers: &[(IpNumber, [u8; 7])]) -> Vec<u8> {
    let next = headers.iter().map(|&(kind, _)| kind).skip(1).chain([IpNumber::UDP]);
    let mut payload = Vec::new();
    for (&(_, rest), next) in headers.iter().zip(next) {
        payload.push(next.0);
        payload.extend(rest);
        payload.resize(payload.len() + usize::from(rest[0]) * 8, 0);
    }
    payload.extend(udp_header(7000));
    v6(CLIENT6, VIP6, headers.first().map_or(IpNumber::UDP, |&(kind, _)| kind), &payload)
}

const HOP_BY_HOP: IpNumber = IpNumber::IPV6_HEADER_HOP_BY_HOP;
const OPTIONS: IpNumber = IpNumber::IPV6_DESTINATION_OPTIONS;
const ROUTING: IpNumber = IpNumber::IPV6_ROUTE_HEADER;
const FRAGMENT: IpNumber = IpNumber::IPV6_FRAGMENTATION_HEADER;
const AUTHENTICATION: IpNumber = IpNumber::AUTHENTICATION_HEADER;

#[test]
fn extension_headers_are_stepped_over_up_to_a_bound() {
    let lab = Lab::new(1);
    lab.on("d", || {
        let mut bed = Bed::new(&lab, AttachMode::Native);
        let plain = [0; 7];
        let long = [3, 0, 0, 0, 0, 0, 0];
        for headers in [
            &[][..],
            &[(HOP_BY_HOP, plain)],
            &[(OPTIONS, long)],
            &[(ROUTING, plain)],
            &[(FRAGMENT, plain)],
            &[(HOP_BY_HOP, long), (OPTIONS, plain), (ROUTING, long), (FRAGMENT, plain), (OPTIONS, long)],
        ] {
            assert!(bed.sees(&extended(headers)), "{headers:?}");
        }
        let segments_left = [0, 0, 1, 0, 0, 0, 0];
        for headers in [&[(OPTIONS, plain); 6][..], &[(ROUTING, segments_left)], &[(AUTHENTICATION, plain)]] {
            assert!(!bed.sees(&extended(headers)), "{headers:?}");
        }
        let whole = extended(&[(HOP_BY_HOP, long), (OPTIONS, plain)]);
        for len in 40..whole.len() - 4 {
            assert!(!bed.sees(&whole[..len]), "cut to {len} bytes, without both ports");
        }
    });
}

/// Three pieces of a UDP datagram of each family: the first, a middle one and the last, which is but one byte long.
fn pieces(v4_ends: (Ipv4Addr, Ipv4Addr), v6_ends: (Ipv6Addr, Ipv6Addr)) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    for (offset, more, payload) in [(0, true, &udp_header(9)[..]), (1, true, &[0; 8]), (2, false, &[0])]
        .map(|(o, m, p)| (o, m, p.to_vec()))
    {
        let fragment_offset = IpFragOffset::try_new(offset).unwrap();
        let (src, dst) = v4_ends;
        let mut header =
            Ipv4Header::new(payload.len() as u16, 64, IpNumber::UDP, src.octets(), dst.octets()).unwrap();
        (header.more_fragments, header.fragment_offset, header.dont_fragment) =
            (more, fragment_offset, false);
        header.header_checksum = header.calc_header_checksum();
        pieces.push([&header.to_bytes()[..], &payload].concat());
        let fragment = Ipv6FragmentHeader::new(IpNumber::UDP, fragment_offset, more, 7);
        let payload = [&fragment.to_bytes()[..], &payload].concat();
        pieces.push(v6(v6_ends.0, v6_ends.1, FRAGMENT, &payload));
    }
    pieces
}

/// An SCTP packet (whose ports stand where UDP's do), with its IP header.
fn sctp(src: (IpAddr, u16), dst: (IpAddr, u16)) -> Vec<u8> {
    let ports = [src.1.to_be_bytes(), dst.1.to_be_bytes()].concat();
    let sctp = [&ports[..], &[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 4]].concat();
    let (src, dst) = match (src.0, dst.0) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => (src, dst),
        (IpAddr::V6(src), IpAddr::V6(dst)) => return v6(src, dst, IpNumber::SCTP, &sctp),
        _ => panic!("of one family"),
    };
    let mut header =
        Ipv4Header::new(sctp.len() as u16, 64, IpNumber::SCTP, src.octets(), dst.octets()).unwrap();
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes()[..], &sctp].concat()
}

#[test]
fn sctp_is_steered_to_its_services_and_from_its_servers_in_both_families() {
    let lab = Lab::new(1);
    lab.on("d", || {
        let mut bed = Bed::new(&lab, AttachMode::Native);
        let ends: [[IpAddr; 3]; 2] =
            [[VIP, SERVER, CLIENT].map(Into::into), [VIP6, SERVER6, CLIENT6].map(Into::into)];
        let at = |addr: IpAddr, port| (Proto::Sctp, Endpoint::new(addr, port));
        for [vip, server, client] in ends {
            assert!(!bed.sees(&sctp((client, 9), (vip, 7000))), "the service there is UDP's");
            let mut with = table();
            with.services.insert(at(vip, 7001));
            with.returns.insert(at(server, 8001));
            bed.steering.set(&with).unwrap();
            assert!(bed.sees(&sctp((client, 9), (vip, 7001))));
            assert!(!bed.sees(&sctp((client, 9), (vip, 7000))));
            assert!(bed.sees(&sctp((server, 8001), (client, 9))));
            assert!(!bed.sees(&sctp((server, 8000), (client, 9))));
        }
    });
}

#[test]
fn fragments_are_steered_by_their_addresses_where_the_director_takes_them() {
    let lab = Lab::new(1);
    lab.on("d", || {
        let mut bed = Bed::new(&lab, AttachMode::Native);
        let to_vip = pieces((CLIENT, VIP), (CLIENT6, VIP6));
        let from_server = pieces((SERVER, CLIENT), (SERVER6, CLIENT6));
        let health_check = pieces((SERVER, OWN), (SERVER6, OWN6));
        let others = pieces((CLIENT, OWN), (CLIENT6, OWN6));
        for piece in [&to_vip, &from_server, &health_check, &others].into_iter().flatten() {
            assert!(!bed.sees(piece), "{piece:?}");
        }
        bed.steering.set(&SteeringTable { fragments: true, ..table() }).unwrap();
        for piece in to_vip.iter().chain(&from_server) {
            assert!(bed.sees(piece), "{piece:?}");
        }
        for piece in health_check.iter().chain(&others) {
            assert!(!bed.sees(piece), "{piece:?}");
        }
        bed.steering.set(&table()).unwrap();
        assert!(!bed.sees(&to_vip[0]), "no longer wanted");
    });
}

fn the_kernel_gets_fragments_from_the_director(mode: AttachMode) {
    let lab = Lab::new(1);
    lab.on("d", || {
        let steering = steered("d0", 1, mode, &SteeringTable { fragments: true, ..table() });
        let mut port = open(&steering, 0, 256);
        with_udp_server(SERVICE, b"the kernel", || {
            with_worker(&mut port, &mut to_host, || {
                // 1,472 bytes fill a frame: the last piece has one byte, and is shorter than a ticket.
                assert_eq!(ask(&lab, SERVICE, &[b'x'; 1473]).unwrap(), b"the kernel");
            });
        });
        let counters = port.counters();
        assert!(counters.received() >= 2);
        assert_eq!(counters.received(), counters.to_host.get());
    });
}

#[test]
fn a_fragment_for_the_host_is_put_together_by_the_kernel_with_native_xdp() {
    the_kernel_gets_fragments_from_the_director(AttachMode::Native);
}

#[test]
fn a_fragment_for_the_host_is_put_together_by_the_kernel_with_generic_xdp() {
    the_kernel_gets_fragments_from_the_director(AttachMode::Generic);
}

/// An error that quotes this packet.
fn error_v4(src: Ipv4Addr, dst: Ipv4Addr, quoted: &[u8]) -> Vec<u8> {
    error_of_type(11, src, dst, quoted)
}

fn error_of_type(icmp_type: u8, src: Ipv4Addr, dst: Ipv4Addr, quoted: &[u8]) -> Vec<u8> {
    let kind = Icmpv4Type::Unknown { type_u8: icmp_type, code_u8: 0, bytes5to8: [0; 4] };
    let header = Icmpv4Header::with_checksum(kind, quoted);
    v4(src, dst, IpNumber::ICMP, &[&header.to_bytes()[..], quoted].concat())
}

fn error_v6(src: Ipv6Addr, dst: Ipv6Addr, quoted: &[u8]) -> Vec<u8> {
    message_v6(2, src, dst, quoted)
}

fn message_v6(type_u8: u8, src: Ipv6Addr, dst: Ipv6Addr, quoted: &[u8]) -> Vec<u8> {
    let kind = Icmpv6Type::Unknown { type_u8, code_u8: 0, bytes5to8: [0; 4] };
    let header = Icmpv6Header::with_checksum(kind, src.octets(), dst.octets(), quoted).unwrap();
    v6(src, dst, IpNumber::IPV6_ICMP, &[&header.to_bytes()[..], quoted].concat())
}

#[test]
fn icmp_errors_about_the_directors_packets_are_steered_where_it_takes_them() {
    let lab = Lab::new(1);
    lab.on("d", || {
        let mut bed = Bed::new(&lab, AttachMode::Native);
        let (router, router6) = (Ipv4Addr::new(10, 1, 0, 200), Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 200));
        let to_server = v4(CLIENT, SERVER, IpNumber::UDP, &udp_header(8000));
        let to_server6 = v6(CLIENT6, SERVER6, IpNumber::UDP, &udp_header(8000));
        let wanted = [
            // About what a service has answered.
            error_v4(router, VIP, &udp_v4(VIP, CLIENT, 4000)),
            error_v6(router6, VIP6, &udp_v6(VIP6, CLIENT6, 4000)),
            // About a client's packet on its way to a masqueraded server.
            error_v4(router, CLIENT, &to_server),
            error_v6(router6, CLIENT6, &to_server6),
            // About a tunnel's outer packet.
            error_v4(router, OWN, &v4(OWN, SERVER, IpNumber::IPV4, &to_server)),
            error_v4(router, OWN, &v4(OWN, SERVER, IpNumber::IPV6, &to_server6)),
            error_v6(router6, OWN6, &v6(OWN6, SERVER6, IpNumber::IPV6, &to_server6)),
            error_v6(router6, OWN6, &v6(OWN6, SERVER6, IpNumber::IPV4, &to_server)),
        ];
        let unwanted = [
            // About the director's own packets: a health check, a ping.
            error_v4(router, OWN, &v4(OWN, SERVER, IpNumber::UDP, &udp_header(8000))),
            error_v6(router6, OWN6, &v6(OWN6, SERVER6, IpNumber::UDP, &udp_header(8000))),
            error_v4(router, OWN, &v4(OWN, SERVER, IpNumber::ICMP, &[8; 8])),
            // About packets to another port of the server's.
            error_v4(router, CLIENT, &v4(CLIENT, SERVER, IpNumber::UDP, &udp_header(8001))),
            error_v6(router6, CLIENT6, &v6(CLIENT6, SERVER6, IpNumber::UDP, &udp_header(8001))),
            // No errors: an echo request, a redirect, a neighbour solicitation for the VIP.
            error_of_type(8, CLIENT, VIP, &[0; 40]),
            error_of_type(5, router, VIP, &udp_v4(VIP, CLIENT, 4000)),
            message_v6(128, CLIENT6, VIP6, &[0; 40]),
            message_v6(135, router6, VIP6, &[&VIP6.octets()[..], &[1, 1, 2, 0, 0, 0, 0, 1]].concat()),
        ];
        for error in wanted.iter().chain(&unwanted) {
            assert!(!bed.sees(error), "not asked for: {error:?}");
        }
        bed.steering.set(&SteeringTable { errors: true, ..table() }).unwrap();
        for error in &wanted {
            assert!(bed.sees(error), "{error:?}");
        }
        for error in &unwanted {
            assert!(!bed.sees(error), "{error:?}");
        }
        for error in &wanted[2..] {
            let quoted = if error[0] >> 4 == 4 { 28 } else { 48 };
            for len in quoted..quoted + 20 {
                assert!(!bed.sees(&error[..len]), "a quotation cut to {len} bytes: {error:?}");
            }
        }
    });
}

#[test]
fn vlan_tags_are_stepped_over_where_the_director_takes_them() {
    let lab = Lab::new(1);
    lab.on("d", || {
        let mut bed = Bed::new(&lab, AttachMode::Native);
        let tag = |ether_type: EtherType| {
            let vlan_id = VlanId::try_new(7).unwrap();
            let pcp = VlanPcp::try_new(3).unwrap();
            SingleVlanHeader { pcp, drop_eligible_indicator: false, vlan_id, ether_type }.to_bytes()
        };
        let (customer, provider) = (EtherType::VLAN_TAGGED_FRAME, EtherType::PROVIDER_BRIDGING);
        let four = udp_v4(CLIENT, VIP, 7000);
        let six = udp_v6(CLIENT6, VIP6, 7000);
        let once = [&bed.to_director(customer)[..], &tag(EtherType::IPV4), &four].concat();
        let twice = [&bed.to_director(provider)[..], &tag(customer), &tag(EtherType::IPV6), &six].concat();
        let thrice =
            [&bed.to_director(provider)[..], &tag(customer), &tag(customer), &tag(EtherType::IPV6), &six]
                .concat();
        let arp = [&bed.to_director(customer)[..], &tag(EtherType::ARP), &[0; 46]].concat();
        for frame in [&once, &twice, &thrice, &arp] {
            assert!(!bed.sees_frame(frame), "not asked for: {frame:?}");
        }
        bed.steering.set(&SteeringTable { vlans: true, ..table() }).unwrap();
        assert!(bed.sees_frame(&once));
        assert!(bed.sees_frame(&twice));
        assert!(!bed.sees_frame(&thrice));
        assert!(!bed.sees_frame(&arp));
        for len in 14..once.len() - 4 {
            assert!(!bed.sees_frame(&once[..len]), "cut to {len} bytes");
        }
    });
}
