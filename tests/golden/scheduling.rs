//! Which server a connection gets, and how long it keeps it.

use super::case::Case;
use super::network::{DNS, HTTP, client, dr, nat, tun};
use super::packet::Packet;

pub fn cases() -> Vec<Case> {
    vec![
        rr(),
        wrr(),
        lc(),
        wlc_and_closing_connections(),
        weight_0_gets_nothing(),
        udp_timeout(),
        reset_and_close(),
        syn_recv_timeout(),
        established_timeout_of_the_configuration(),
        replies_keep_a_connection(),
    ]
}

fn syn(n: u8) -> Packet {
    Packet::tcp("S", client(n), HTTP)
}

fn ack(n: u8) -> Packet {
    Packet::tcp("A", client(n), HTTP)
}

/// Connections opened by clients 1, 2, 3 … go to these servers.
fn opened_in_order(case: &mut Case, servers: &[usize]) {
    for (n, &server) in (1..).zip(servers) {
        case.opens(u64::from(n), &syn(n), server);
    }
}

fn rr() -> Case {
    let mut case = Case::new("rr", "rr gives connections to A, B and C in turn, whatever their weights.")
        .web("rr", &[nat(11, 80).weighing(9), dr(12, 80), tun(21, 80)]);
    opened_in_order(&mut case, &[0, 1, 2, 0, 1, 2, 0]);
    case
}

fn wrr() -> Case {
    let mut case =
        Case::new("wrr", "wrr with weights A=4, B=3, C=2 gives connections in the order ABCABCABA.")
            .web("wrr", &[nat(11, 80).weighing(4), nat(12, 80).weighing(3), nat(13, 80).weighing(2)]);
    opened_in_order(&mut case, &[0, 1, 2, 0, 1, 2, 0, 1, 0, 0, 1, 2, 0, 1, 2, 0, 1, 0]);
    case.ends_with(HTTP, 0, 8, 0);
    case.ends_with(HTTP, 1, 6, 0);
    case.ends_with(HTTP, 2, 4, 0);
    case
}

fn lc() -> Case {
    let mut case =
        Case::new("lc", "lc gives each connection to the server with the fewest, ignoring weights.")
            .web("lc", &[dr(11, 80), dr(12, 80).weighing(100)]);
    opened_in_order(&mut case, &[0, 1, 0, 1]);
    // A's two close: two inactive ones weigh less than one active one.
    for n in [1, 3] {
        case.reaches(10 * u64::from(n), &ack(n), 0);
        case.reaches(10 * u64::from(n) + 5, &Packet::tcp("FA", client(n), HTTP), 0);
    }
    case.opens(50, &syn(5), 0);
    case.opens(51, &syn(6), 0);
    case.opens(52, &syn(7), 1);
    case.ends_with(HTTP, 0, 2, 2);
    case.ends_with(HTTP, 1, 3, 0);
    case
}

fn wlc_and_closing_connections() -> Case {
    let mut case = Case::new(
        "wlc",
        "wlc compares (active * 256 + inactive) / weight; closing connections count as inactive, and ties go to the \
         earlier server.",
    )
    .web("wlc", &[nat(11, 80).weighing(2), nat(12, 80)]);
    // 0/2 = 0/1, then 1/2 > 0/1, then 1/2 < 1/1, then 2/2 = 1/1.
    opened_in_order(&mut case, &[0, 1, 0, 0]);
    for n in [1, 2] {
        case.reaches(10 + u64::from(n), &ack(n), usize::from(n) - 1);
    }
    // B's only connection closes: 1 against 3 * 256 / 2.
    case.reaches(20, &Packet::tcp("FA", client(2), HTTP), 1);
    case.opens(21, &syn(5), 1);
    // 257 against 384, and then 513.
    case.opens(22, &syn(6), 1);
    case.opens(23, &syn(7), 0);
    case.ends_with(HTTP, 0, 4, 0);
    case.ends_with(HTTP, 1, 2, 1);
    case
}

fn weight_0_gets_nothing() -> Case {
    let mut case = Case::new("weight_0", "A server of weight 0 gets no connection from any scheduler.")
        .web("wrr", &[nat(11, 80).weighing(0), nat(12, 80), nat(13, 80)])
        .dns("wlc", &[nat(11, 53), nat(12, 53).weighing(0)]);
    opened_in_order(&mut case, &[1, 2, 1, 2]);
    for n in 1..=3 {
        case.opens(10 + u64::from(n), &Packet::udp(client(n), DNS, b"question"), 0);
    }
    case.ends_with(HTTP, 0, 0, 0);
    case.ends_with(DNS, 1, 0, 0);
    case
}

fn udp_timeout() -> Case {
    let mut case = Case::new(
        "udp_timeout",
        "A UDP client keeps its server for 300 s of silence, and is scheduled anew after that.",
    )
    .dns("rr", &[nat(11, 53), nat(12, 53)]);
    let query = Packet::udp(client(1), DNS, b"question");
    case.opens(0, &query, 0);
    case.reaches(300_000, &query, 0);
    case.opens(600_020, &query, 1);
    case.ends_with(DNS, 0, 0, 0);
    case.ends_with(DNS, 1, 0, 1);
    case
}

fn reset_and_close() -> Case {
    let mut case = Case::new(
        "reset",
        "A reset closes the connection: inactive at once, forgotten after 10 s of silence.",
    )
    .web("rr", &[dr(11, 80), dr(12, 80)]);
    case.opens(0, &syn(1), 0);
    case.reaches(1, &ack(1), 0);
    case.reaches(1_000, &Packet::tcp("R", client(1), HTTP), 0);
    case.reaches(11_000, &ack(1), 0);
    case.left(21_020, ack(1).frame(), "no_connection");
    case.opens(21_030, &syn(1), 1);
    case.ends_with(HTTP, 0, 0, 0);
    case.ends_with(HTTP, 1, 1, 0);
    case
}

fn syn_recv_timeout() -> Case {
    let mut case = Case::new(
        "syn_recv_timeout",
        "A connection that never got beyond its SYN is forgotten after 60 s, and makes room for lc.",
    )
    .web("lc", &[dr(11, 80), dr(12, 80)]);
    case.opens(0, &syn(1), 0);
    case.opens(1_000, &syn(2), 1);
    case.reaches(1_001, &ack(2), 1);
    // Both have one.
    case.opens(50_000, &syn(3), 0);
    // The first has gone by now.
    case.opens(60_100, &syn(4), 0);
    case.left(60_101, ack(1).frame(), "no_connection");
    case.ends_with(HTTP, 0, 2, 0);
    case.ends_with(HTTP, 1, 1, 0);
    case
}

fn established_timeout_of_the_configuration() -> Case {
    let mut case = Case::new(
        "configured_timeouts",
        "[director.timeouts] says how long silence may last: here tcp 5 s, tcp_fin 2 s, udp 1 s.",
    )
    .director("max_connections = 1000\n\n[director.timeouts]\ntcp = \"5s\"\ntcp_fin = \"2s\"\nudp = \"1s\"\n")
    .web("rr", &[dr(11, 80)])
    .dns("rr", &[nat(11, 53), nat(12, 53)]);
    let query = Packet::udp(client(9), DNS, b"question");
    case.opens(0, &syn(1), 0);
    case.reaches(1, &ack(1), 0);
    case.opens(2, &syn(2), 0);
    case.reaches(3, &ack(2), 0);
    case.reaches(4, &Packet::tcp("FA", client(2), HTTP), 0);
    case.opens(5, &query, 0);
    case.opens(1_100, &query, 1);
    case.left(2_100, ack(2).frame(), "no_connection");
    case.reaches(5_000, &ack(1), 0);
    case.left(10_100, ack(1).frame(), "no_connection");
    case.ends_with(HTTP, 0, 0, 0);
    case
}

fn replies_keep_a_connection() -> Case {
    let mut case = Case::new(
        "replies_keep_a_connection",
        "A server's packets keep a NAT connection from being forgotten as the client's do.",
    )
    .dns("rr", &[nat(11, 53), nat(12, 53)]);
    let query = Packet::udp(client(1), DNS, b"question");
    case.opens(0, &query, 0);
    case.answers(200_000, &Packet::udp(DNS, client(1), b"still here"), 0);
    case.reaches(450_000, &query, 0);
    case
}
