//! What is counted for and against servers as connections are opened to them.

use super::*;
use crate::dataplane::counters::Opened;
use etherparse::icmpv4::DestUnreachableHeader::{FragmentationNeeded, Port};
use etherparse::{IcmpEchoHeader, Icmpv4Type};

fn counted(worker: &Pipeline) -> Opened {
    worker.counters().real(RealId(0)).openings.get()
}

fn server(worker: &mut Pipeline, cport: u16, flags: TcpFlags) -> Verdict {
    send_at(worker, SERVERS, &tcp((rip(0), 8080), (CIP, cport), flags, 64), Tick(0)).0
}

/// An error from the server about what it was sent.
fn error(kind: Icmpv4Type, dst: [u8; 4], sent: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2([9; 6], mac(1).0).ipv4(rip(0), dst, 64).icmpv4(kind);
    builder.write(&mut frame, &sent[14..]).unwrap();
    frame
}

#[test]
fn answers_refusals_and_repeated_syns_are_counted_once_each() {
    let world = World::new(10, &[(Method::Nat, 1)]);
    let mut worker = world.worker(0);
    send(&mut worker, &request(4000, SYN));
    assert_eq!(counted(&worker), Opened { asked: 1, ..Opened::default() });
    send(&mut worker, &request(4000, SYN));
    send(&mut worker, &request(4000, SYN));
    server(&mut worker, 4000, SYN | ACK);
    server(&mut worker, 4000, SYN | ACK);
    send(&mut worker, &request(4000, ACK));
    // A reset of an open connection is no refusal.
    server(&mut worker, 4000, TcpFlags::RST | ACK);
    assert_eq!(counted(&worker), Opened { asked: 1, answered: 1, repeated: 2, ..Opened::default() });
    send(&mut worker, &request(4001, SYN));
    server(&mut worker, 4001, TcpFlags::RST | ACK);
    server(&mut worker, 4001, TcpFlags::RST | ACK);
    let both = Opened { asked: 2, answered: 1, repeated: 2, refused: 1, unreachable: 0 };
    assert_eq!(counted(&worker), both);
    // Nobody was asked to open a connection that is taken up in its midst, or has none.
    send(&mut worker, &datagram(4000, 50));
    assert_eq!(counted(&worker), both);
}

/// Publishes the TCP service once more, changed.
fn change(world: &World, change: impl FnOnce(&mut VirtualService)) {
    let before = world.published.current();
    let services = before.services.table().services().iter();
    let mut services: Vec<VirtualService> = services.map(|service| VirtualService::clone(service)).collect();
    change(&mut services[0]);
    let services = Services::new(ServiceTable::new(services), None).into();
    let snapshot = Snapshot::new(services, &[], world.hops.clone(), &Conduct::default(), vec![true, false]);
    world.published.publish(Arc::new(snapshot));
}

#[test]
fn a_client_that_asks_again_for_a_server_that_is_down_or_gone_is_scheduled_anew() {
    let server = |worker: &mut Pipeline, cport, flags| send(worker, &request(cport, flags)).1[5] - 11;
    for method in Method::ALL {
        let world = World::new(10, &[(method, 1), (method, 0)]);
        let mut worker = world.worker(0);
        assert_eq!([1, 2, 3].map(|cport| server(&mut worker, cport, SYN)), [0; 3], "{method}");
        server(&mut worker, 2, ACK);
        // A quiesced server finishes what it was asked for.
        world.publish(&[(method, 0), (method, 1)]);
        assert_eq!(server(&mut worker, 1, SYN), 0, "{method}");
        change(&world, |service| service.reals[0].is_shut = true);
        assert_eq!([server(&mut worker, 1, SYN), server(&mut worker, 1, ACK)], [1, 1], "{method}");
        assert_eq!(server(&mut worker, 2, ACK), 0, "{method}: an open connection stays");
        let live = |id: usize| world.published.current().decisions[id].as_ref().unwrap().live.connections();
        assert_eq!([live(0), live(2)], [2, 1], "{method}");
        change(&world, |service| drop(service.reals.remove(0)));
        assert_eq!(server(&mut worker, 3, SYN), 1, "{method}");
    }
}

#[test]
fn where_replies_pass_elsewhere_the_clients_ack_is_the_answer_and_its_reset_is_none() {
    for method in [Method::Dr, Method::Tun] {
        let world = World::new(10, &[(method, 1)]);
        let mut worker = world.worker(0);
        for (cport, flags) in [(1, ACK), (2, SYN), (3, TcpFlags::RST)] {
            send(&mut worker, &request(cport, SYN));
            send(&mut worker, &request(cport, flags));
        }
        let expected = Opened { asked: 3, answered: 1, repeated: 1, ..Opened::default() };
        assert_eq!(counted(&worker), expected, "{method}");
    }
}

#[test]
fn errors_are_counted_that_say_that_a_packet_has_not_reached_the_server() {
    let unreachable = Icmpv4Type::DestinationUnreachable;
    let too_big = unreachable(FragmentationNeeded { next_hop_mtu: 1400 });
    let (ping, of_port) = (Icmpv4Type::EchoRequest(IcmpEchoHeader { id: 0, seq: 0 }), unreachable(Port));
    for (method, dst) in [(Method::Nat, CIP), (Method::Tun, [10, 1, 0, 1])] {
        let world = World::new(10, &[(method, 1)]);
        let mut worker = world.worker(0);
        let (_, sent) = send(&mut worker, &request(4000, SYN));
        for (kind, expected) in [(too_big.clone(), 0), (ping.clone(), 0), (of_port.clone(), 1)] {
            send_at(&mut worker, SERVERS, &error(kind, dst, &sent), Tick(0));
            assert_eq!(counted(&worker).unreachable, expected, "{method}");
        }
        // What a client cannot be sent says nothing of the server.
        let answer = tcp((VIP, 80), (CIP, 4000), SYN | ACK, 64);
        send_at(&mut worker, CLIENTS, &error(of_port.clone(), VIP, &answer), Tick(0));
        assert_eq!(counted(&worker).unreachable, 1, "{method}");
    }
}

#[test]
fn a_server_whose_mac_nobody_tells_cannot_be_reached() {
    let world = World::new(10, &[(Method::Dr, 0), (Method::Dr, 0), (Method::Dr, 1)]);
    let mut worker = world.worker(0);
    send(&mut worker, &request(4000, SYN));
    send(&mut worker, &request(4000, SYN));
    let counted = [0, 1, 2].map(|n| worker.counters().real(RealId(2 * n)).openings.get().unreachable);
    assert_eq!(counted, [0, 0, 2]);
}
