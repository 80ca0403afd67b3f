//! What a connection's state, or the want of one, makes of its packets.

use super::case::Case;
use super::network::{DNS, HTTP, client, dr, nat, tun};
use super::packet::Packet;

pub fn cases() -> Vec<Case> {
    vec![
        timeouts_of_a_service(),
        sloppy_tcp(),
        conn_reuse_mode_0(),
        conn_reuse_mode_1(),
        conn_reuse_mode_2(),
        one_packet(),
        one_packet_of_two_services(),
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
    case.left_from(30, super::network::ETH1, other_port.frame(), "not_ours");
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
    case.left_from(1, super::network::ETH1, answer.frame(), "not_ours");
    case
}
