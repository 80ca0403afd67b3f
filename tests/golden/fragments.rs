//! Datagrams that come in fragments.

use super::case::Case;
use super::network::{
    DIP, DNS, ETH0, ETH0_MAC, ETH1, ETH1_MAC, HTTP, ROUTER_MAC, Server, VIP, client, client_receives, dr,
    nat, tun,
};
use super::packet::{Packet, fragment, pieces, wrapped};

pub fn cases() -> Vec<Case> {
    vec![
        fragments_nat(),
        fragments_of_tcp(),
        fragments_dr_and_tun(),
        fragments_out_of_order(),
        fragments_of_no_service(),
        tiny_fragment(),
        fragment_overlap(),
        fragment_duplicate(),
        fragment_too_long(),
        fragment_misfit(),
        too_many_fragments(),
        fragment_timeout(),
        fragments_share_the_fate_of_the_first(),
    ]
}

/// Bytes of data in a fragment of 1,500 bytes.
const FULL: usize = 1480;

/// A datagram of three fragments.
fn datagram(n: u8, dst: ([u8; 4], u16)) -> Packet {
    let payload: Vec<u8> = (0..3200u32).map(|i| (i * 7) as u8).collect();
    Packet { dont_fragment: false, id: 0x4000 + u16::from(n), ..Packet::udp(client(n), dst, &payload) }
}

fn dns(name: &'static str, sentence: &'static str) -> Case {
    Case::new(name, sentence).dns("rr", &[nat(11, 5353)])
}

/// The fragments that a server gets of a client's packet.
fn received(server: &Server, packet: &Packet) -> Vec<Vec<u8>> {
    let on = packet.hop(ETH1_MAC, server.mac());
    match server.method.to_string().as_str() {
        "nat" => pieces(&Packet { dst: (server.rip, server.rport), ..on }.frame(), FULL),
        "dr" => pieces(&on.frame(), FULL),
        _ => {
            let wrap =
                |piece: &Vec<u8>| wrapped(piece, (ETH1_MAC, server.mac()), (DIP, server.rip), packet.src);
            pieces(&on.frame(), FULL).iter().map(wrap).collect()
        }
    }
}

/// A client's fragments come one after the other, and go on likewise.
fn pass_in(case: &mut Case, at: u64, packet: &Packet, server: (usize, &Server), order: &[usize]) {
    let (come, go) = (pieces(&packet.frame(), FULL), received(server.1, packet));
    case.opened(packet.dst, server.0);
    case.carries_in(packet.dst, server.0, &come);
    // Those before the first wait for it.
    let first = order.iter().position(|&n| n == 0).unwrap();
    for (i, &n) in order.iter().enumerate() {
        let at = at + 10 * i as u64;
        if i < first {
            case.waits(at, ETH0, come[n].clone());
            continue;
        }
        let time = case.comes(at, ETH0, come[n].clone());
        case.goes(time, ETH1, go[n].clone());
        if i == first {
            let mut waited = order[..first].to_vec();
            waited.sort_unstable();
            waited.into_iter().for_each(|n| case.goes(time, ETH1, go[n].clone()));
        }
    }
}

fn fragments_nat() -> Case {
    let mut case = dns(
        "fragments_nat",
        "A datagram in fragments through NAT, and the server's answer in fragments: addresses rewritten in each, ports \
         and the UDP checksum in the first.",
    );
    let server = nat(11, 5353);
    pass_in(&mut case, 0, &datagram(1, DNS), (0, &server), &[0, 1, 2]);
    let answer = Packet { dst: client(1), src: DNS, ..datagram(2, DNS) };
    let from_server = Packet { dont_fragment: false, ..server.answers(answer.clone()) };
    let come = pieces(&from_server.frame(), FULL);
    let go = pieces(&client_receives(&from_server, DNS), FULL);
    case.carries_out(DNS, 0, &come);
    for (n, (come, go)) in come.into_iter().zip(go).enumerate() {
        let time = case.comes(100 + 10 * n as u64, ETH1, come);
        case.goes(time, ETH0, go);
    }
    case
}

fn fragments_of_tcp() -> Case {
    let mut case = Case::new(
        "fragments_of_tcp",
        "A TCP segment that a router has fragmented goes on its connection; a SYN in fragments opens one.",
    )
    .web("rr", &[nat(11, 8080)]);
    let server = nat(11, 8080);
    case.opens(0, &Packet::tcp("S", client(1), HTTP), 0);
    let segment =
        Packet { dont_fragment: false, ..Packet::tcp("PA", client(1), HTTP).with(vec![0x33; 2000]) };
    let (come, go) = (pieces(&segment.frame(), FULL), received(&server, &segment));
    case.carries_in(HTTP, 0, &come);
    for (n, (come, go)) in come.into_iter().zip(go).enumerate() {
        let time = case.comes(10 + 10 * n as u64, ETH0, come);
        case.goes(time, ETH1, go);
    }
    let syn = Packet { dont_fragment: false, ..Packet::tcp("S", client(2), HTTP).with(vec![0x44; 2000]) };
    pass_in(&mut case, 100, &syn, (0, &server), &[0, 1]);
    case
}

fn fragments_dr_and_tun() -> Case {
    let mut case = Case::new(
        "fragments_dr_and_tun",
        "By DR fragments go on as they are; by TUN each travels in an outer packet of its own, with the identification \
         of its datagram.",
    )
    .network(super::network::NETWORK.to_owned().replacen("name = \"eth1\"", "name = \"eth1\"\nmtu = 1520", 1)
        + super::network::DEFAULT_ROUTE)
    .dns("rr", &[dr(12, 53), tun(21, 53)]);
    pass_in(&mut case, 0, &datagram(1, DNS), (0, &dr(12, 53)), &[0, 1, 2]);
    pass_in(&mut case, 100, &datagram(2, DNS), (1, &tun(21, 53)), &[0, 2, 1]);
    case
}

fn fragments_out_of_order() -> Case {
    let mut case = Case::new(
        "fragments_out_of_order",
        "Fragments that come before the first wait for it, and follow it to the same server, by every method.",
    )
    .network(super::network::NETWORK.to_owned().replacen("name = \"eth1\"", "name = \"eth1\"\nmtu = 1520", 1)
        + super::network::DEFAULT_ROUTE)
    .dns("rr", &[nat(11, 5353), dr(12, 53), tun(21, 53)]);
    let servers = [nat(11, 5353), dr(12, 53), tun(21, 53)];
    let orders = [[1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for (n, order) in (1..).zip(orders) {
        let server = usize::from(n) - 1;
        pass_in(&mut case, 100 * u64::from(n), &datagram(n, DNS), (server, &servers[server]), &order);
    }
    case
}

fn fragments_of_no_service() -> Case {
    let mut case = dns(
        "fragments_of_no_service",
        "A datagram in fragments to a port of the VIP that is no service's is left to the host as a whole (not_ours), \
         also if the first fragment comes late; one to another address at once (fragment).",
    );
    let port = (VIP, 5000);
    for (at, piece) in pieces(&datagram(1, port).frame(), FULL).into_iter().enumerate() {
        case.left(10 * at as u64, piece, "not_ours");
    }
    let mut late = pieces(&datagram(2, port).frame(), FULL);
    case.waits(100, ETH0, late.pop().unwrap());
    case.left(110, late.remove(0), "not_ours");
    case.waited_in_vain("to_host", "not_ours", 1);
    case.left(120, late.remove(0), "not_ours");
    for (at, piece) in pieces(&datagram(3, ([192, 0, 2, 1], 53)).frame(), FULL).into_iter().enumerate() {
        case.left(200 + 10 * at as u64, piece, "fragment");
    }
    case
}

fn tiny_fragment() -> Case {
    let mut case = Case::new(
        "tiny_fragment",
        "A first fragment without its whole TCP or UDP header, and one that begins within the TCP header: dropped \
         (tiny_fragment), and with it what follows.",
    )
    .web("rr", &[nat(11, 8080)])
    .dns("rr", &[nat(11, 5353)]);
    let syn = Packet { mss: Some(1460), ..Packet::tcp("S", client(1), HTTP) }.with(vec![0; 40]);
    // The MSS option does not fit the first; the rest follows.
    for (at, piece) in pieces(&syn.frame(), 16).into_iter().take(1).enumerate() {
        case.drops(at as u64, piece, "tiny_fragment");
    }
    for (at, piece) in pieces(&Packet { id: 2, ..syn.clone() }.frame(), 8).into_iter().take(2).enumerate() {
        case.drops(10 + at as u64, piece, "tiny_fragment");
    }
    let whole = Packet { id: 3, ..syn }.frame();
    case.drops(20, fragment(&whole, 1, true), "tiny_fragment");
    case.drops(21, fragment(&whole, 2, false), "tiny_fragment");
    case
}

fn fragment_overlap() -> Case {
    let mut case = dns(
        "fragment_overlap",
        "A fragment that overlaps another is dropped (fragment_overlap), and so is everything more of its datagram, also \
         what waits.",
    );
    let (server, packet) = (nat(11, 5353), datagram(1, DNS));
    let (come, go) = (pieces(&packet.frame(), FULL), received(&server, &packet));
    case.opened(DNS, 0);
    case.carries_in(DNS, 0, &come[..1]);
    let time = case.comes(0, ETH0, come[0].clone());
    case.goes(time, ETH1, go[0].clone());
    case.drops(10, fragment(&come[1], 184, true), "fragment_overlap");
    case.drops(20, come[1].clone(), "fragment_overlap");
    case.drops(30, come[2].clone(), "fragment_overlap");
    let waits = pieces(&datagram(2, DNS).frame(), FULL);
    case.waits(100, ETH0, waits[1].clone());
    case.drops(110, fragment(&waits[1], 200, true), "fragment_overlap");
    case.waited_in_vain("dropped", "fragment_overlap", 1);
    case.drops(120, waits[0].clone(), "fragment_overlap");
    case
}

fn fragment_duplicate() -> Case {
    let mut case = dns(
        "fragment_duplicate",
        "A fragment that comes twice before its datagram is whole is sent on once; the other is dropped \
         (fragment_duplicate).",
    );
    let (server, packet) = (nat(11, 5353), datagram(1, DNS));
    let (come, go) = (pieces(&packet.frame(), FULL), received(&server, &packet));
    case.opened(DNS, 0);
    case.carries_in(DNS, 0, &come);
    for n in 0..3 {
        let time = case.comes(20 * n as u64, ETH0, come[n].clone());
        case.goes(time, ETH1, go[n].clone());
        if n < 2 {
            case.drops(20 * n as u64 + 10, come[n].clone(), "fragment_duplicate");
        }
    }
    case
}

fn fragment_too_long() -> Case {
    let mut case = dns(
        "fragment_too_long",
        "A fragment that ends beyond 65,535 bytes (\"ping of death\"): dropped (fragment_too_long).",
    );
    let frame = datagram(1, DNS).with(vec![0; 60]).frame();
    case.drops(0, fragment(&frame, 8191, false), "fragment_too_long");
    case.drops(1, fragment(&frame, 8182, false), "fragment_too_long");
    case
}

fn fragment_misfit() -> Case {
    let mut case = dns(
        "fragment_misfit",
        "A fragment without data, one of 8 n + 1 bytes that is not the last, and one that contradicts the datagram's end: \
         dropped (fragment_misfit), the last with everything more of its datagram.",
    );
    let odd = datagram(1, DNS).with(vec![0; 57]).frame();
    case.drops(0, fragment(&odd, 0, true), "fragment_misfit");
    case.drops(1, fragment(&odd, 10, true), "fragment_misfit");
    let bare = super::packet::with_header(&odd, |ip| ip.set_payload_len(0).unwrap());
    case.drops(2, fragment(&bare[..34], 10, true), "fragment_misfit");
    let come = pieces(&datagram(2, DNS).frame(), FULL);
    case.waits(10, ETH0, come[2].clone());
    case.drops(20, fragment(&come[2], 500, false), "fragment_misfit");
    case.waited_in_vain("dropped", "fragment_misfit", 1);
    case.drops(30, come[0].clone(), "fragment_misfit");
    case
}

fn too_many_fragments() -> Case {
    let mut case = dns(
        "too_many_fragments",
        "More than 64 fragments that wait for one first: the others are dropped (too_many_fragments).",
    );
    let packet = datagram(1, DNS).with(vec![0x55; 8 * 70]);
    let come = pieces(&packet.frame(), 8);
    let go = pieces(
        &Packet { dst: ([10, 0, 0, 11], 5353), ..packet.hop(ETH1_MAC, nat(11, 5353).mac()) }.frame(),
        8,
    );
    for (at, piece) in (1..).zip(&come[1..65]) {
        case.waits(at, ETH0, piece.clone());
    }
    for (at, piece) in (70..).zip(&come[65..]) {
        case.drops(at, piece.clone(), "too_many_fragments");
    }
    case.opened(DNS, 0);
    case.carries_in(DNS, 0, &come[..65]);
    let time = case.comes(100, ETH0, come[0].clone());
    go[..65].iter().for_each(|piece| case.goes(time, ETH1, piece.clone()));
    case
}

fn fragment_timeout() -> Case {
    let mut case = dns(
        "fragment_timeout",
        "A fragment waits a second for the first of its datagram, and is dropped then (fragment_timeout). After the first \
         one, others are expected for half a minute.",
    );
    let (server, packet) = (nat(11, 5353), datagram(1, DNS));
    let (come, go) = (pieces(&packet.frame(), FULL), received(&server, &packet));
    case.waits(0, ETH0, come[1].clone());
    case.waited_in_vain("dropped", "fragment_timeout", 1);
    case.opened(DNS, 0);
    case.carries_in(DNS, 0, &come[..2]);
    let time = case.comes(1020, ETH0, come[0].clone());
    case.goes(time, ETH1, go[0].clone());
    let time = case.comes(30_000, ETH0, come[1].clone());
    case.goes(time, ETH1, go[1].clone());
    case.waits(31_040, ETH0, come[2].clone());
    case.waited_in_vain("dropped", "fragment_timeout", 1);
    case.left(33_000, Packet::udp(client(9), ([192, 0, 2, 1], 9), b"time passes").frame(), "not_ours");
    case
}

fn fragments_share_the_fate_of_the_first() -> Case {
    let mut case = Case::new(
        "fragments_share_the_fate_of_the_first",
        "Of a datagram whose first fragment is dropped (here: no_real_server, and the client is told once), all are.",
    )
    .dns("rr", &[nat(11, 5353).weighing(0)]);
    let packet = datagram(1, DNS);
    let come = pieces(&packet.frame(), FULL);
    let quote = &come[0][14..14 + 548];
    let told = super::packet::icmp_error(
        (ETH0_MAC, ROUTER_MAC),
        (VIP, packet.src.0, 64),
        super::errors::UNREACHABLE,
        quote,
    );
    case.waits(0, ETH0, come[2].clone());
    case.answers_instead(10, come[0].clone(), "no_real_server", told);
    case.waited_in_vain("dropped", "no_real_server", 1);
    case.drops(20, come[1].clone(), "no_real_server");
    case
}
