//! How long servers take to answer.

use super::*;
use std::time::Duration;

fn at(micros: u64) -> Moment {
    Moment::from_duration(Duration::from_micros(micros))
}

/// What has been measured of the only server: how often, and all of it together, in microseconds.
fn measured(worker: &Pipeline) -> (u64, u64) {
    let latency = worker.counters().latency(RealId(0));
    (latency.count(), latency.sum)
}

fn client(worker: &mut Pipeline, cport: u16, flags: TcpFlags, micros: u64) {
    send_at(worker, CLIENTS, &request(cport, flags), at(micros));
}

fn server(worker: &mut Pipeline, cport: u16, flags: TcpFlags, micros: u64) {
    send_at(worker, SERVERS, &tcp((rip(0), 8080), (CIP, cport), flags, 64), at(micros));
}

#[test]
fn through_nat_it_is_from_the_first_syn_to_the_first_answer_at_whichever_worker() {
    let world = World::new(10, &[(Method::Nat, 1)]);
    let (mut one, mut other) = (world.worker(0), world.worker(1));
    client(&mut one, 4000, SYN, 9_990);
    server(&mut one, 4000, SYN | ACK, 10_250);
    assert_eq!(measured(&one), (1, 260));
    server(&mut one, 4000, SYN | ACK, 10_300);
    client(&mut one, 4000, ACK, 10_400);
    server(&mut one, 4000, ACK, 10_500);
    assert_eq!(measured(&one), (1, 260), "once for each connection");

    client(&mut one, 4001, SYN, 20_000);
    client(&mut one, 4001, SYN, 1_020_000);
    server(&mut other, 4001, SYN | ACK, 1_020_700);
    assert_eq!(
        (measured(&one), measured(&other)),
        ((1, 260), (1, 1_000_700)),
        "a repeated SYN is no new one"
    );
}

#[test]
fn where_replies_pass_elsewhere_it_is_to_the_clients_ack() {
    for method in [Method::Dr, Method::Tun] {
        let world = World::new(10, &[(method, 1)]);
        let mut worker = world.worker(0);
        client(&mut worker, 4000, SYN, 100);
        client(&mut worker, 4000, SYN, 500);
        client(&mut worker, 4000, ACK, 1_100);
        client(&mut worker, 4000, ACK, 9_100);
        assert_eq!(measured(&worker), (1, 1_000), "{method}");
    }
}

#[test]
fn a_refusal_is_no_answer_and_leaves_nothing_to_the_next_in_its_place() {
    let world = World::new(1, &[(Method::Nat, 1)]);
    let mut worker = world.worker(0);
    client(&mut worker, 4000, SYN, 0);
    server(&mut worker, 4000, TcpFlags::RST | ACK, 50);
    assert_eq!(measured(&worker), (0, 0));
    // In the only place there is, half a minute later.
    client(&mut worker, 4001, SYN, 30_000_000);
    server(&mut worker, 4001, SYN | ACK, 30_000_070);
    assert_eq!(measured(&worker), (1, 70));
}

#[test]
fn an_answer_that_was_not_seen_before_the_clients_word_of_it_is_not_measured() {
    let world = World::new(10, &[(Method::Nat, 1)]);
    let mut worker = world.worker(0);
    client(&mut worker, 4000, SYN, 0);
    client(&mut worker, 4000, ACK, 10);
    server(&mut worker, 4000, SYN | ACK, 20);
    assert_eq!(measured(&worker), (0, 0));
}
