//! What captures bring with them: other link types, several inputs.

use super::case::Case;
use super::network::{DNS, ETH1, HTTP, client, nat};
use super::packet::Packet;
use pcap_file::DataLink;

pub fn cases() -> Vec<Case> {
    vec![raw_ip(), merged()]
}

fn raw_ip() -> Case {
    let mut case = Case::new(
        "raw_ip",
        "A capture without Ethernet headers (LINKTYPE_RAW) is played as if each packet had come in a frame.",
    )
    .link_type(DataLink::RAW)
    .web("rr", &[nat(11, 8080)])
    .dns("rr", &[nat(12, 53)]);
    for (at, packet) in
        [(0, Packet::tcp("S", client(1), HTTP)), (1, Packet::udp(client(2), DNS, b"question"))]
    {
        case.opened(packet.dst, 0);
        case.frame_reaches(at, packet.ip(), &packet, 0);
    }
    case.left(2, Packet::tcp("A", client(3), HTTP).ip(), "no_connection");
    case.drops(3, Vec::new(), "truncated");
    case
}

/// Each packet is sent on before the next one comes: only the right order lets every reply find its connection.
fn merged() -> Case {
    let mut case = Case::new(
        "merged",
        "Requests captured at one interface and replies captured at another are merged by time; a reply before its \
         request belongs to nothing.",
    )
    .web("rr", &[nat(11, 8080)]);
    let server = nat(11, 8080);
    let early = server.answers(Packet::tcp("SA", HTTP, client(1)));
    case.left_from(0, ETH1, early.frame(), "not_ours");
    for n in 1..=20 {
        let at = u64::from(n) * 7;
        case.opens(at, &Packet::tcp("S", client(n), HTTP), 0);
        case.answers(at + 1, &Packet::tcp("SA", HTTP, client(n)), 0);
        case.reaches(at + 2, &Packet::tcp("A", client(n), HTTP), 0);
    }
    // At one and the same time: the packet of the first input is first.
    let syn = Packet::tcp("S", client(50), HTTP);
    case.opens(500, &syn, 0);
    case.answers(500, &Packet::tcp("SA", HTTP, client(50)), 0);
    case
}
