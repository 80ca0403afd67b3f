//! What a connection's state, or the want of one, makes of its packets.

use super::case::Case;
use super::errors::UNREACHABLE;
use super::network::{
    DNS, ETH0, ETH0_MAC, ETH1, ETH1_MAC, HTTP, ROUTER_MAC, Server, VIP, client, dr, nat, tun,
};
use super::packet::{
    ABORT, COOKIE_ACK, COOKIE_ECHO, DATA, INIT, INIT_ACK, Ip, Packet, SHUTDOWN, SHUTDOWN_ACK,
    SHUTDOWN_COMPLETE, icmp_error, pieces,
};

pub fn cases() -> Vec<Case> {
    vec![
        timeouts_of_a_service(),
        sloppy_tcp(),
        conn_reuse_mode_0(),
        conn_reuse_mode_1(),
        conn_reuse_mode_2(),
        one_packet(),
        one_packet_of_two_services(),
        sctp_nat(),
        sctp_dr_and_tun(),
        sctp_reuse(),
        sloppy_sctp(),
        sctp_refused(),
        sctp_partial_checksums(),
        icmp_sctp(),
        sctp_in_six(),
        sctp_fragments(),
        full_table(),
        full_table_without_a_server(),
    ]
}

/// A segment of client `n`.
fn sends(flags: &'static str, n: u8) -> Packet {
    Packet::tcp(flags, client(n), HTTP)
}

fn timeouts_of_a_service() -> Case {
    let mut case = Case::new(
        "timeouts_of_a_service",
        "A service's own timeouts, shorter or longer than the director's: here web forgets a SYN after 2 s, dns a \
         query after 400 s.",
    )
    .director("[director.timeouts]\nsyn_recv = 30\nudp = 100\n")
    .web("rr", &[dr(11, 80), dr(12, 80)])
    .more("timeouts = { syn_recv = 2 }\n")
    .dns("rr", &[nat(11, 53), nat(12, 53)])
    .more("timeouts.udp = \"400s\"\n");
    let query = Packet::udp(client(9), DNS, b"question");
    case.opens(0, &sends("S", 1), 0);
    case.opens(1, &query, 0);
    case.reaches(1_900, &sends("S", 1), 0);
    case.opens(4_000, &sends("S", 1), 1);
    case.reaches(4_001, &sends("A", 1), 1);
    case.reaches(300_000, &sends("A", 1), 1);
    case.reaches(399_000, &query, 0);
    case.opens(800_000, &query, 1);
    case.ends_with(DNS, 1, 0, 1);
    case
}

fn sloppy_tcp() -> Case {
    let mut case = Case::new(
        "sloppy_tcp",
        "With sloppy_tcp a segment in the midst of a flow opens a connection, a reset alone does not; a service may \
         choose otherwise.",
    )
    .director("sloppy_tcp = true\n")
    .web("rr", &[nat(11, 8080), dr(12, 80)])
    .service("strict", "tcp", (HTTP.0, 81), "rr", &[dr(11, 81)])
    .more("sloppy_tcp = false\n");
    case.opens(0, &sends("PA", 1).with("GET"), 0);
    case.answers(1, &Packet::tcp("A", HTTP, client(1)), 0);
    case.left(2, sends("R", 2).frame(), "no_connection");
    case.left(3, sends("RA", 2).frame(), "no_connection");
    case.opens(4, &sends("FA", 2), 1);
    case.left(5, Packet::tcp("A", client(1), (HTTP.0, 81)).frame(), "no_connection");
    case.opens(6, &Packet::tcp("S", client(1), (HTTP.0, 81)), 0);
    case.ends_with(HTTP, 0, 1, 0);
    case.ends_with(HTTP, 1, 0, 1);
    case
}

/// A connection through NAT ends in TIME_WAIT, one through DR in FIN_WAIT, one through a tunnel in CLOSE.
fn finished(name: &'static str, sentence: &'static str, mode: u8) -> Case {
    let mut case = Case::new(name, sentence)
        .director(&format!("conn_reuse_mode = {mode}\n"))
        .web("rr", &[nat(11, 8080), dr(12, 80), tun(21, 80)]);
    for (n, server) in [(1, 0), (2, 1), (3, 2)] {
        case.opens(n.into(), &sends("S", n), server);
        case.reaches(n.into(), &sends("A", n), server);
    }
    case.reaches(4, &sends("FA", 1), 0);
    case.answers(5, &Packet::tcp("FA", HTTP, client(1)), 0);
    case.reaches(6, &sends("FA", 2), 1);
    case.reaches(7, &sends("RA", 3), 2);
    case
}

fn conn_reuse_mode_0() -> Case {
    let sentence =
        "With conn_reuse_mode = 0 a SYN on a connection in TIME_WAIT, FIN_WAIT or CLOSE keeps the server.";
    let mut case = finished("conn_reuse_mode_0", sentence, 0);
    (1..=3).for_each(|n| case.reaches(10, &sends("S", n), usize::from(n) - 1));
    (0..3).for_each(|server| case.ends_with(HTTP, server, 1, 0));
    case
}

fn conn_reuse_mode_1() -> Case {
    let sentence = "With conn_reuse_mode = 1 a SYN on a connection in TIME_WAIT or CLOSE is scheduled anew, in FIN_WAIT it \
                    keeps the server.";
    let mut case = finished("conn_reuse_mode_1", sentence, 1);
    case.reaches(10, &sends("S", 2), 1);
    case.opens(11, &sends("S", 3), 0);
    case.opens(12, &sends("S", 1), 1);
    case.ends_with(HTTP, 0, 1, 0);
    case.ends_with(HTTP, 1, 2, 0);
    case.ends_with(HTTP, 2, 0, 0);
    case
}

fn conn_reuse_mode_2() -> Case {
    let sentence = "With conn_reuse_mode = 2, the default, a SYN on a connection in TIME_WAIT, CLOSE or (DR and TUN) FIN_WAIT \
                    is scheduled anew.";
    let mut case = finished("conn_reuse_mode_2", sentence, 2);
    case.opens(10, &sends("S", 2), 0);
    case.opens(11, &sends("S", 3), 1);
    case.opens(12, &sends("S", 1), 2);
    (0..3).for_each(|server| case.ends_with(HTTP, server, 1, 0));
    case
}

fn one_packet() -> Case {
    let mut case = Case::new(
        "one_packet",
        "With one_packet = true each datagram gets its server anew, no connection stays, and a masqueraded server's \
         answers leave from the VIP (which IPVS does not care for).",
    )
    .dns("rr", &[nat(11, 53), dr(12, 53), tun(21, 53)])
    .more("one_packet = true\n");
    let query = Packet::udp(client(1), DNS, b"question");
    for at in 0..2 {
        case.opens(10 * at, &query, 0);
        case.answers(10 * at + 1, &Packet::udp(DNS, client(1), b"answer"), 0);
        case.opens(10 * at + 2, &query, 1);
        case.opens(10 * at + 3, &query, 2);
    }
    // An answer is known by whom it comes from.
    let other_port = Packet::udp((nat(11, 53).rip, 54), client(1), b"not of the service");
    case.left_from(30, ETH1, other_port.frame(), "not_ours");
    (0..3).for_each(|server| case.ends_with(DNS, server, 0, 0));
    case
}

fn one_packet_of_two_services() -> Case {
    let mut case = Case::new(
        "one_packet_of_two_services",
        "A server that answers for two services of one-packet scheduling from one port does not say for which: its \
         answers are left to the host (not_ours), as with IPVS.",
    )
    .dns("rr", &[nat(11, 53)])
    .more("one_packet = true\n")
    .service("dns2", "udp", (HTTP.0, 54), "rr", &[nat(11, 53)])
    .more("one_packet = true\n");
    case.opens(0, &Packet::udp(client(1), DNS, b"question"), 0);
    let answer = Packet::udp((nat(11, 53).rip, 53), client(1), b"answer");
    case.left_from(1, ETH1, answer.frame(), "not_ours");
    case
}

const DIAMETER: (Ip, u16) = (VIP, 3868);

/// An SCTP packet of client `n`.
fn chunk(kind: u8, n: u8) -> Packet {
    Packet::sctp(kind, client(n), DIAMETER)
}

/// An SCTP packet for client `n`, as if it came from the VIP.
fn chunk_to(kind: u8, n: u8) -> Packet {
    Packet::sctp(kind, DIAMETER, client(n))
}

fn diameter(case: Case, servers: &[Server]) -> Case {
    case.service("diameter", "sctp", DIAMETER, "rr", servers)
}

fn sctp_nat() -> Case {
    let sentence = "NAT carries SCTP from INIT to SHUTDOWN COMPLETE, its CRC32c right behind every changed port, and \
                    untouched where none changes; a packet that came in damaged goes out damaged.";
    let mut case = diameter(Case::new("sctp_nat", sentence), &[nat(11, 3900), nat(12, 3868)]);
    for (n, server) in [(1, 0), (2, 1)] {
        let at = u64::from(n) * 100;
        case.opens(at, &chunk(INIT, n), server);
        case.answers(at + 1, &chunk_to(INIT_ACK, n), server);
        case.reaches(at + 2, &chunk(COOKIE_ECHO, n), server);
        case.answers(at + 3, &chunk_to(COOKIE_ACK, n), server);
        case.reaches(at + 4, &chunk(DATA, n).with("some thirteen"), server);
        case.answers(at + 5, &chunk_to(DATA, n), server);
    }
    case.reaches(300, &chunk(SHUTDOWN, 1), 0);
    case.answers(301, &chunk_to(SHUTDOWN_ACK, 1), 0);
    case.reaches(302, &chunk(SHUTDOWN_COMPLETE, 1), 0);
    case.left(303, chunk(DATA, 3).frame(), "no_connection");
    case.ends_with(DIAMETER, 0, 0, 1);
    case.ends_with(DIAMETER, 1, 1, 0);
    case
}

fn sctp_fragments() -> Case {
    let sentence = "An SCTP packet in fragments reaches a masqueraded server at the same port; at another it cannot, since \
                    the CRC stands over all fragments: dropped (sctp_fragment), IPVS puts it together.";
    let mut case = diameter(Case::new("sctp_fragments", sentence), &[nat(12, 3868), nat(11, 3900)]);
    for (n, server) in [(1, 0), (2, 1)] {
        case.opens(u64::from(n) * 10, &chunk(INIT, n), server);
    }
    let whole =
        |n| Packet { dont_fragment: false, id: 0x5000 + u16::from(n), ..chunk(DATA, n).with(vec![7; 2000]) };
    let (server, come) = (nat(12, 3868), pieces(&whole(1).frame(), 1480));
    let there = Packet { dst: (server.rip, server.rport), ..whole(1).hop(ETH1_MAC, server.mac()) };
    case.carries_in(DIAMETER, 0, &come);
    for (at, (come, go)) in (100..).step_by(10).zip(come.into_iter().zip(pieces(&there.frame(), 1480))) {
        let time = case.comes(at, ETH0, come);
        case.goes(time, ETH1, go);
    }
    for (at, piece) in (200..).step_by(10).zip(pieces(&whole(2).frame(), 1480)) {
        case.drops(at, piece, "sctp_fragment");
    }
    case
}

fn sctp_dr_and_tun() -> Case {
    let sentence = "DR and TUN carry SCTP as it is, and follow its state by the client's packets alone: ESTABLISHED after \
                    COOKIE ECHO, remembered for 15 minutes.";
    let mut case = diameter(Case::new("sctp_dr_and_tun", sentence), &[dr(12, 3868), tun(21, 3868)]);
    for (n, server) in [(1, 0), (2, 1)] {
        case.opens(n.into(), &chunk(INIT, n), server);
        case.reaches(n.into(), &chunk(COOKIE_ECHO, n), server);
    }
    case.reaches(10, &chunk(DATA, 1), 0);
    // INIT1 lasts 4 s.
    case.opens(20, &chunk(INIT, 3), 0);
    case.opens(6_000, &chunk(INIT, 3), 1);
    case.reaches(800_000, &chunk(DATA, 2), 1);
    case.reaches(800_001, &chunk(ABORT, 2), 1);
    // CLOSED lasts 61 s.
    case.ends_with(DIAMETER, 0, 1, 0);
    case.ends_with(DIAMETER, 1, 0, 1);
    case
}

fn sctp_reuse() -> Case {
    let sentence = "An INIT on an association in CLOSED is scheduled anew, as a SYN is.";
    let mut case = diameter(Case::new("sctp_reuse", sentence), &[nat(11, 3900), dr(12, 3868)]);
    case.opens(0, &chunk(INIT, 1), 0);
    case.reaches(1, &chunk(INIT, 1), 0);
    case.reaches(2, &chunk(ABORT, 1), 0);
    case.opens(3, &chunk(INIT, 1), 1);
    case.ends_with(DIAMETER, 0, 0, 0);
    case
}

fn sloppy_sctp() -> Case {
    let sentence = "With sloppy_sctp any packet opens an association; without, an INIT alone.";
    let mut case = diameter(Case::new("sloppy_sctp", sentence), &[nat(11, 3900)])
        .more("sloppy_sctp = true\n")
        .service("strict", "sctp", (VIP, 99), "rr", &[dr(12, 99)]);
    case.opens(0, &chunk(DATA, 1), 0);
    case.answers(1, &chunk_to(DATA, 1), 0);
    case.left(2, Packet::sctp(DATA, client(1), (VIP, 99)).frame(), "no_connection");
    case.ends_with(DIAMETER, 0, 1, 0);
    case
}

fn sctp_refused() -> Case {
    let sentence = "An SCTP packet that ends within its header: dropped (truncated); one to no service: left to the host; \
                    without a server, the client hears that the port is unreachable.";
    let mut case = diameter(Case::new("sctp_refused", sentence), &[nat(11, 3900).weighing(0)]);
    let short =
        super::packet::with_header(&chunk(INIT, 1).frame()[..34 + 11], |ip| ip.set_payload_len(11).unwrap());
    case.drops(0, short, "truncated");
    case.left(1, Packet::sctp(INIT, client(1), (VIP, 4)).frame(), "not_ours");
    case.turns_away(2, &chunk(INIT, 1));
    case
}

fn sctp_partial_checksums() -> Case {
    let sentence = "An SCTP checksum of 0, as a sender leaves it to its network card, leaves complete, whatever the method.";
    let mut case = diameter(
        Case::new("sctp_partial_checksums", sentence),
        &[nat(11, 3900), nat(12, 3868), dr(13, 3868), tun(21, 3868)],
    );
    for (n, server) in [(1, 0), (2, 1), (3, 2), (4, 3)] {
        let init = chunk(INIT, n);
        case.opened(DIAMETER, server);
        case.frame_reaches(n.into(), init.frame_of_an_offloading_sender(), &init, server);
    }
    case.frame_answers(9, Packet::frame_of_an_offloading_sender, &chunk_to(INIT_ACK, 1), 0);
    case
}

fn icmp_sctp() -> Case {
    let sentence = "An ICMP error that quotes an SCTP packet, of which no more than its first 8 bytes are there, goes to the \
                    end that it concerns, translated.";
    let mut case = diameter(Case::new("icmp_sctp", sentence), &[nat(11, 3900)]);
    case.opens(0, &chunk(INIT, 1), 0);
    case.answers(1, &chunk_to(INIT_ACK, 1), 0);
    let server = nat(11, 3900);
    let cut = |packet: &Packet| packet.ip()[..28].to_vec();
    let (macs_in, macs_out) = ((server.mac(), ETH1_MAC), (ETH0_MAC, ROUTER_MAC));
    // The server's own word on the client's packet.
    let received = Packet { dst: (server.rip, server.rport), ttl: 63, ..chunk(INIT, 1) };
    let sent = Packet { ttl: 63, ..chunk(INIT, 1) };
    let error = icmp_error(macs_in, (server.rip, client(1).0, 64), UNREACHABLE, &cut(&received));
    let told = icmp_error(macs_out, (VIP, client(1).0, 63), UNREACHABLE, &cut(&sent));
    case.concerns_client(2, error, Some((DIAMETER, 0)), told);
    // The client's word on the server's.
    let received = Packet { ttl: 62, ..chunk_to(INIT_ACK, 1) };
    let sent = Packet { src: (server.rip, server.rport), ..received.clone() };
    let error = icmp_error((ROUTER_MAC, ETH0_MAC), (client(1).0, VIP, 64), UNREACHABLE, &cut(&received));
    let told = icmp_error((ETH1_MAC, server.mac()), (client(1).0, server.rip, 63), UNREACHABLE, &cut(&sent));
    case.concerns_server(3, error, DIAMETER, 0, told);
    case
}

fn full_table() -> Case {
    let mut case = Case::new(
        "full_table",
        "A full table gives up a half-open connection for a new one, without one a closing one, and never one that is \
         established: then the new one is refused (table_full).",
    )
    .director("max_connections = 3\n")
    .web("rr", &[nat(11, 8080), dr(12, 80)]);
    case.opens(0, &sends("S", 1), 0);
    case.reaches(1, &sends("A", 1), 0);
    case.opens(2, &sends("S", 2), 1);
    case.opens(3, &sends("S", 3), 0);
    case.reaches(4, &sends("A", 3), 0);
    case.reaches(5, &sends("R", 3), 0);
    case.opens(10, &sends("S", 4), 1);
    case.reaches(11, &sends("A", 4), 1);
    case.left(12, sends("A", 2).frame(), "no_connection");
    case.reaches(13, &sends("A", 3), 0);
    case.opens(14, &sends("S", 5), 0);
    case.reaches(15, &sends("A", 5), 0);
    case.left(16, sends("A", 3).frame(), "no_connection");
    case.drops(17, sends("S", 6).frame(), "table_full");
    [(1, 0), (4, 1), (5, 0)].into_iter().for_each(|(n, server)| case.reaches(18, &sends("A", n), server));
    case.evicts(1, 1);
    case.ends_with(HTTP, 0, 2, 0);
    case.ends_with(HTTP, 1, 1, 0);
    case
}

fn full_table_without_a_server() -> Case {
    let mut case = Case::new(
        "full_table_without_a_server",
        "A full table gives up nothing for a connection that no server may take.",
    )
    .director("max_connections = 1\n")
    .web("rr", &[dr(11, 80).limited(1, 1)]);
    case.opens(0, &sends("S", 1), 0);
    case.drops(1, sends("S", 2).frame(), "table_full");
    case.reaches(2, &sends("A", 1), 0);
    case
}

fn sctp_in_six() -> Case {
    let sentence =
        "SCTP in IPv6: NAT with its CRC32c right, also where a sender left it to its card, DR and TUN.";
    let mut case =
        diameter(Case::new("v6_sctp", sentence).six(), &[nat(11, 3900), dr(12, 3868), tun(21, 3868)]);
    for (n, server) in [(1, 0), (2, 1), (3, 2)] {
        let init = chunk(INIT, n).six();
        case.opened(DIAMETER, server);
        let at = u64::from(n) * 10;
        case.frame_reaches(at, init.frame_of_an_offloading_sender(), &init, server);
        if server == 0 {
            case.answers(at + 1, &chunk_to(INIT_ACK, n).six(), server);
        }
        case.reaches(at + 2, &chunk(COOKIE_ECHO, n).six(), server);
        case.reaches(at + 3, &chunk(DATA, n).with("fifteen letters").six(), server);
    }
    case.ends_with(DIAMETER, 0, 0, 1);
    case.ends_with(DIAMETER, 2, 1, 0);
    case
}
