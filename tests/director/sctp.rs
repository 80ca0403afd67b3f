//! SCTP, end to end. Kernels without SCTP sockets are common, so that both ends are raw ones: what they send has a
//! checksum of 0, as an offloading sender leaves it, and what they receive must have the right one.

use crate::bed::{Bed, PATIENCE};
use lvx::lab::{Layout, Node};
use lvx::service::Method;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};
use std::fmt::Write;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::time::Instant;

const PORT: u16 = 3868;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;

/// A raw socket of SCTP; of `std`'s it has the methods.
fn raw() -> io::Result<UdpSocket> {
    let sctp = NonZeroU32::new(132).map(Protocol::from_raw);
    let socket =
        UdpSocket::from(socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, sctp)?);
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// RFC 9260, appendix A, a bit at a time.
fn crc(packet: &[u8]) -> u32 {
    let shifted = |crc: u32, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !packet.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), shifted))
}

fn packet(sport: u16, dport: u16, chunk: u8) -> Vec<u8> {
    let ports = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    [&ports[..], &[0, 0, 0, 9, 0, 0, 0, 0, chunk, 0, 0, 8], b"echo"].concat()
}

/// The next packet with this chunk: who sent it, and all of it, whose checksum must be right.
fn receive(socket: &UdpSocket, sport: u16, dport: u16, chunk: u8) -> IpAddr {
    let end = Instant::now() + PATIENCE;
    let mut buffer = [0; 1500];
    loop {
        assert!(Instant::now() < end, "no chunk {chunk}");
        let (len, from) = socket.recv_from(&mut buffer).unwrap();
        // A raw socket shows the IP header, of 20 bytes.
        let mut received = buffer[20..len].to_vec();
        let stored = u32::from_le_bytes(received[8..12].try_into().unwrap());
        received[8..12].fill(0);
        if received[12] == chunk {
            assert_eq!(received, packet(sport, dport, chunk));
            assert_eq!(stored, crc(&received), "chunk {chunk} from {from}");
            return from.ip();
        }
    }
}

#[test]
fn sctp_reaches_the_server_by_every_method_and_a_masqueraded_ones_answer_comes_from_the_vip() {
    for layout in [Layout::Nat, Layout::Dr, Layout::Tun] {
        let bed = Bed::new(layout);
        let server = bed.plan.servers[0].clone();
        let (vip, is_nat) = (bed.plan.vip, server.method == Method::Nat);
        let rport = if is_nat { 3900 } else { PORT };
        let mut config = bed.director_config_with("", &[]);
        let (at, rip) = (SocketAddr::new(vip, PORT), SocketAddr::new(server.rip, rport));
        let _ = writeln!(config, "[[virtual_service]]\naddress = \"{at}\"\nprotocol = \"sctp\"");
        let _ = writeln!(
            config,
            "[[virtual_service.real_server]]\naddress = \"{rip}\"\nforward = \"{}\"",
            server.method
        );
        let director = bed.direct_by(&config);

        let socket_on = |node: Node| bed.node(node).unwrap().inside(raw).unwrap().unwrap();
        let (client, on_server) = (socket_on(Node::Client), socket_on(server.node()));
        client.send_to(&packet(40_000, PORT, INIT), at).unwrap();
        let from = receive(&on_server, 40_000, rport, INIT);
        assert_eq!(from, bed.plan.client, "{layout}");
        if is_nat {
            on_server.send_to(&packet(rport, 40_000, INIT_ACK), (from, 0)).unwrap();
            assert_eq!(receive(&client, PORT, 40_000, INIT_ACK), vip);
        }
        let report = director.stop().unwrap();
        let traffic = report.services[0].traffic;
        assert_eq!((report.dropped, &report.services[0].protocol[..]), (0, "sctp"), "{layout}");
        assert_eq!(
            (traffic.connections, traffic.in_packets, traffic.out_packets),
            (1, 1, u64::from(is_nat)),
            "{layout}"
        );
    }
}
