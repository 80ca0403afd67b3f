//! Clients that keep to their servers.

use super::case::Case;
use super::network::{HTTP, dr, nat};
use super::packet::Packet;

pub fn cases() -> Vec<Case> {
    vec![persistence(), persistence_by_network()]
}

fn persistence() -> Case {
    let mut case = Case::new(
        "persistence",
        "A client's connections go to the server of its first one, until its template has not been used for the \
         service's time and the connections that it led are over.",
    )
    .director("max_connections = 1000\n\n[director.timeouts]\ntcp = \"1s\"\ntcp_fin = \"1s\"\n")
    .web("rr", &[nat(11, 8080), nat(12, 8080)])
    .more("persistent = \"100s\"\n");
    let from = |host, port| ([203, 0, 113, host], port);
    let syn = |host, port| Packet::tcp("S", from(host, port), HTTP);
    for (at, host, port, server) in [(0, 1, 1000, 0), (10, 1, 1001, 0), (20, 2, 1000, 1), (30, 1, 1002, 0)] {
        case.opens(at, &syn(host, port), server);
        case.answers(at + 1, &Packet::tcp("SA", HTTP, from(host, port)), server);
        case.reaches(at + 2, &Packet::tcp("A", from(host, port), HTTP), server);
    }
    // From port 0, as a template has it: a connection like any other.
    case.left(40, Packet::tcp("A", from(1, 0), HTTP).frame(), "no_connection");
    case.opens(50, &syn(1, 0), 0);
    case.opens(90_000, &syn(1, 1003), 0);
    // 100 seconds after its last use, the connection of then being over: the next in the round.
    case.opens(250_100, &syn(1, 1004), 0);
    case.opens(250_200, &syn(2, 1001), 1);
    case
}

fn persistence_by_network() -> Case {
    let mut case = Case::new(
        "persistence_by_network",
        "With netmask = \"255.255.255.0\", all clients of a /24 go to one server.",
    )
    .web("rr", &[dr(11, 80), dr(12, 80), dr(13, 80)])
    .more("persistent = true\nnetmask = \"255.255.255.0\"\n");
    for (at, net, host, server) in
        [(0, 1, 1, 0), (1, 2, 1, 1), (2, 1, 200, 0), (3, 3, 9, 2), (4, 2, 255, 1), (5, 4, 1, 0), (6, 1, 3, 0)]
    {
        case.opens(at, &Packet::tcp("S", ([198, 18, net, host], 4000), HTTP), server);
    }
    case
}
