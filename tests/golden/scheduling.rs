//! Which server a connection gets, and how long it keeps it.

use super::case::Case;
use super::network::{DNS, HTTP, VIP, client, dr, nat, tun};
use super::packet::{Ip, Packet};

pub fn cases() -> Vec<Case> {
    vec![
        rr(),
        wrr(),
        lc(),
        wlc_and_closing_connections(),
        weight_0_gets_nothing(),
        sed(),
        nq(),
        sh(),
        sh_port(),
        sh_fallback(),
        dh(),
        mh(),
        mh_port_and_fallback(),
        lblc(),
        lblcr(),
        fo(),
        ovf(),
        twos(),
        thresholds(),
        udp_timeout(),
        reset_and_close(),
        syn_recv_timeout(),
        established_timeout_of_the_configuration(),
        replies_keep_a_connection(),
    ]
}

/// Another web service.
const ALT: (Ip, u16) = (VIP, 81);

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

fn sed() -> Case {
    let mut case =
        Case::new("sed", "sed compares (active + 1) / weight, so that the strongest server is first.")
            .web("sed", &[nat(11, 80), nat(12, 80).weighing(2), nat(13, 80).weighing(3)]);
    opened_in_order(&mut case, &[2, 1, 2, 0, 1, 2, 2]);
    case
}

fn nq() -> Case {
    let mut case =
        Case::new("nq", "nq gives idle servers a connection first, in their order, then goes on as sed.")
            .web("nq", &[nat(11, 80), nat(12, 80).weighing(2), nat(13, 80).weighing(4)]);
    // 2/1 2/2 2/4, then 3/4, then 4/4 against 2/2.
    opened_in_order(&mut case, &[0, 1, 2, 2, 2, 1]);
    case
}

/// A client's SYN from this port.
fn syn_from(n: u8, port: u16) -> Packet {
    Packet::tcp("S", (client(n).0, port), HTTP)
}

// The servers of sh, dh, mh and twos below were computed apart from lvx, by a few lines of Python.

fn sh() -> Case {
    let mut case = Case::new(
        "sh",
        "sh gives a client's connections to one server, by its address: 256 places, two for A and one for B in turn.",
    )
    .web("sh", &[nat(11, 80).weighing(2), nat(12, 80)]);
    let servers = [1, 0, 1, 0, 1, 1, 0, 0];
    opened_in_order(&mut case, &servers);
    for (n, server) in (1..).zip(servers) {
        case.opens(100 + u64::from(n), &syn_from(n, 50_000), server);
    }
    case
}

fn sh_port() -> Case {
    let mut case = Case::new("sh_port", "With sh-port the connections of one client spread, by its port.")
        .web("sh", &[nat(11, 80), nat(12, 80)])
        .more("scheduler_flags = [\"sh-port\"]\n");
    for (port, server) in (50_000..).zip([0, 0, 0, 0, 0, 1, 1, 1]) {
        case.opens(u64::from(port - 49_999), &syn_from(1, port), server);
    }
    case
}

fn sh_fallback() -> Case {
    let mut case = Case::new(
        "sh_fallback",
        "sh refuses the clients of a server that takes none; with sh-fallback they get another one.",
    )
    .web("sh", &[nat(11, 80), nat(12, 80).weighing(0), nat(13, 80)])
    .service("alt", "tcp", ALT, "sh", &[nat(11, 81), nat(12, 81).weighing(0), nat(13, 81)])
    .more("scheduler_flags = [\"sh-fallback\"]\n");
    for (n, server) in (1..).zip([2, 0, 2, 0, 2, 2]) {
        case.opens(u64::from(n), &syn(n), server);
        case.opens(u64::from(n), &Packet::tcp("S", client(n), ALT), server);
    }
    case.turns_away(7, &syn(7));
    case.opens(7, &Packet::tcp("S", client(7), ALT), 2);
    case
}

fn dh() -> Case {
    let mut case = Case::new("dh", "dh gives all connections to one address to one server.")
        .web("dh", &[nat(11, 80), nat(12, 80)])
        .dns("dh", &[nat(11, 53), nat(12, 53), nat(13, 53)]);
    opened_in_order(&mut case, &[1, 1, 1]);
    case.opens(10, &Packet::udp(client(1), DNS, b"question"), 0);
    case.opens(11, &Packet::udp(client(2), DNS, b"question"), 0);
    case
}

fn mh() -> Case {
    let mut case = Case::new(
        "mh",
        "mh gives a client's connections to one server, by weight, and whatever order the servers are written in.",
    )
    .web("mh", &[nat(11, 80), nat(12, 80).weighing(2), nat(13, 80)])
    .more("mh_table_size = 4093\n")
    .service("alt", "tcp", ALT, "mh", &[nat(13, 80), nat(11, 80), nat(12, 80).weighing(2)])
    .more("mh_table_size = 4093\n");
    let rotated = [1, 2, 0];
    for (n, server) in (1..).zip([1, 1, 2, 1, 1, 0, 1, 1]) {
        case.opens(u64::from(n), &syn(n), server);
        case.opens(u64::from(n), &Packet::tcp("S", (client(n).0, 50_000), ALT), rotated[server]);
    }
    case
}

fn mh_port_and_fallback() -> Case {
    let mut case = Case::new(
        "mh_flags",
        "With mh-port the connections of one client spread; with mh-fallback clients of an overloaded server get others.",
    )
    .web("mh", &[nat(11, 80), nat(12, 80)])
    .more("scheduler_flags = [\"mh-port\"]\n")
    .service("alt", "tcp", ALT, "mh", &[nat(11, 80), nat(12, 80).limited(1, 0), nat(13, 80)])
    .more("scheduler_flags = [\"mh-fallback\"]\n");
    for (port, server) in (50_000..).zip([0, 0, 0, 0, 1, 1, 0, 0]) {
        case.opens(u64::from(port - 49_999), &syn_from(1, port), server);
    }
    // Without the limit: B C B C A C A B.
    for (n, server) in (1..).zip([1, 2, 2, 2, 0, 2, 0, 2]) {
        case.opens(100 + u64::from(n), &Packet::tcp("S", client(n), ALT), server);
    }
    case
}

fn lblc() -> Case {
    let mut case = Case::new(
        "lblc",
        "lblc keeps an address's server until it has more than its weight and another one less than half of its own.",
    )
    .web("lblc", &[nat(11, 80).weighing(2), nat(12, 80).weighing(2)]);
    opened_in_order(&mut case, &[0, 0, 0, 1, 1, 1, 1, 1]);
    case
}

fn lblcr() -> Case {
    let mut case = Case::new(
        "lblcr",
        "lblcr gives such an address another server beside its own, and uses the least loaded of them.",
    )
    .web("lblcr", &[nat(11, 80).weighing(2), nat(12, 80).weighing(2)]);
    opened_in_order(&mut case, &[0, 0, 0, 1, 1, 1, 1, 0, 1]);
    case
}

fn fo() -> Case {
    let mut case =
        Case::new("fo", "fo uses the heaviest server until it is overloaded, then the next heaviest.")
            .web("fo", &[nat(11, 80), nat(12, 80).weighing(5).limited(2, 0), nat(13, 80).weighing(5)]);
    opened_in_order(&mut case, &[1, 1, 2, 2, 2]);
    case
}

fn ovf() -> Case {
    let mut case = Case::new(
        "ovf",
        "ovf fills the heaviest server up to one connection more than its weight, then the next; then it refuses.",
    )
    .web("ovf", &[nat(11, 80), nat(12, 80).weighing(2)]);
    opened_in_order(&mut case, &[1, 1, 1, 0, 0]);
    case.turns_away(6, &syn(6));
    case
}

fn twos() -> Case {
    let mut case = Case::new(
        "twos",
        "twos draws two servers by weight, and uses the less loaded; its dice are its own.",
    )
    .web("twos", &[nat(11, 80).weighing(3), nat(12, 80), nat(13, 80)]);
    opened_in_order(&mut case, &[0, 0, 2, 0, 1, 2, 1, 0, 0, 0]);
    case
}

fn thresholds() -> Case {
    let mut case = Case::new(
        "thresholds",
        "A server at its upper threshold gets nothing until it is below the lower one, or three quarters of the upper.",
    )
    .web("rr", &[dr(11, 80).limited(2, 0), dr(12, 80).limited(4, 2)]);
    // A is full with two, B with four.
    opened_in_order(&mut case, &[0, 1, 0, 1, 1, 1]);
    case.turns_away(7, &syn(7));
    // One of A's and two of B's are reset and forgotten: A has 1 of 2, B 2, which is not below 2.
    for (n, server) in [(1, 0), (2, 1), (4, 1)] {
        case.reaches(10 * u64::from(n), &ack(n), server);
        case.reaches(10 * u64::from(n) + 1, &Packet::tcp("R", client(n), HTTP), server);
    }
    case.opens(11_000, &syn(8), 0);
    case.turns_away(11_001, &syn(9));
    // Another one of B's.
    case.reaches(11_002, &ack(5), 1);
    case.reaches(11_003, &Packet::tcp("R", client(5), HTTP), 1);
    case.opens(22_000, &syn(10), 1);
    case.ends_with(HTTP, 0, 2, 0);
    case.ends_with(HTTP, 1, 2, 0);
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
