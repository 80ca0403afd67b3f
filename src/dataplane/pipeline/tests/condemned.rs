//! Connections that are ended from here: both ends are told, by resets that they heed.

use super::sctp::{CIP6, RIP6, VIP6, world_of};
use super::*;
use etherparse::{NetSlice, TransportSlice};

/// The three ends of a connection, in one family.
struct Ends {
    client: Endpoint,
    vip: Endpoint,
    server: Endpoint,
}

const FIN: TcpFlags = TcpFlags(0x01);
const RST: TcpFlags = TcpFlags::RST;

fn both() -> [(World, Ends); 2] {
    let v4 = Ends { client: end(CIP, 4000), vip: end(VIP, 80), server: end(rip(0), 8080) };
    let [client, vip, server] = [CIP6, VIP6, RIP6].map(|text| text.parse().unwrap());
    [(World::new(10, &[(Method::Nat, 1)]), v4), (world_of(Proto::Tcp), Ends { client, vip, server })]
}

/// A segment with these numbers and some data.
fn segment(from: Endpoint, to: Endpoint, flags: TcpFlags, (seq, ack): (u32, u32)) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2([9; 6], mac(1).0);
    let ip = match (from.addr, to.addr) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 64),
        _ => panic!("of two families"),
    };
    let mut tcp = ip.tcp(from.port, to.port, seq, 99);
    tcp = if flags.has(SYN) { tcp.syn() } else { tcp };
    tcp = if flags.has(FIN) { tcp.fin() } else { tcp };
    tcp = if flags.has(RST) { tcp.rst() } else { tcp };
    tcp = if flags.has(ACK) { tcp.ack(ack) } else { tcp };
    let mut packet = Vec::new();
    tcp.write(&mut packet, if flags.has(SYN) { b"" } else { b"data" }).unwrap();
    packet
}

/// What a segment says, whose checksums must be right: whose it is, its flags, its numbers.
#[derive(Debug, PartialEq)]
struct Said {
    from: Endpoint,
    to: Endpoint,
    flags: TcpFlags,
    seq: u32,
    ack: u32,
}

fn said(frame: &[u8]) -> Said {
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { panic!("{sliced:?}") };
    let (from, to): (IpAddr, IpAddr) = match sliced.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv4(header.source, header.destination).unwrap());
            (header.source.into(), header.destination.into())
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv6(header.source, header.destination).unwrap());
            (header.source.into(), header.destination.into())
        }
        other => panic!("{other:?}"),
    };
    let set =
        [(tcp.fin(), FIN), (tcp.syn(), SYN), (tcp.rst(), RST), (tcp.psh(), TcpFlags::PSH), (tcp.ack(), ACK)];
    let flags = set.iter().filter(|(set, _)| *set).fold(TcpFlags(0), |all, (_, flag)| all | *flag);
    Said {
        from: Endpoint::new(from, tcp.source_port()),
        to: Endpoint::new(to, tcp.destination_port()),
        flags,
        seq: tcp.sequence_number(),
        ack: tcp.acknowledgment_number(),
    }
}

impl World {
    /// Establishes the connection through this worker, and condemns it at second 1.
    fn condemn(&self, worker: &mut Pipeline, ends: &Ends) {
        let opens = |worker: &mut Pipeline, ingress, packet: &[u8]| {
            assert!(matches!(send_at(worker, ingress, packet, Tick(0)).0, Verdict::Forward(_)));
        };
        opens(worker, CLIENTS, &segment(ends.client, ends.vip, SYN, (100, 0)));
        opens(worker, SERVERS, &segment(ends.server, ends.client, SYN | ACK, (900, 101)));
        opens(worker, CLIENTS, &segment(ends.client, ends.vip, ACK, (101, 901)));
        let key = FlowKey::new(Proto::Tcp, ends.client, ends.vip);
        let found = self.table.search(self.table.hash(&key), &key).unwrap();
        assert!(self.table.condemn(&found, Tick(100)));
    }

    fn active(&self) -> u32 {
        self.published.current().decisions[0].as_ref().unwrap().live.active()
    }
}

/// What a worker that has nothing to do sends in the second that ends at this tick.
fn probes(worker: &mut Pipeline, now: u32) -> Vec<(InterfaceId, Vec<u8>)> {
    let mut sent = Vec::new();
    for tick in now - Tick::PER_SECOND..=now {
        while worker.sweep(Tick(tick), 64) {}
        for mut own in worker.take_probes(Tick(tick)) {
            let Verdict::Forward(egress) = own.verdict() else { panic!("{own:?}") };
            sent.push((egress, own.frame().data().to_vec()));
        }
    }
    sent
}

#[test]
fn whatever_either_end_says_is_answered_with_the_reset_that_it_heeds() {
    for (world, ends) in both() {
        let mut worker = world.worker(1);
        world.condemn(&mut worker, &ends);
        let Ends { client, vip, server } = ends;
        for flags in [ACK, ACK | FIN, ACK | TcpFlags::PSH] {
            let (verdict, out) =
                send_at(&mut worker, CLIENTS, &segment(client, vip, flags, (105, 977)), Tick(150));
            assert_eq!(verdict, Verdict::Answer(CLIENTS, DropReason::Condemned));
            assert_eq!(said(&out), Said { from: vip, to: client, flags: RST, seq: 977, ack: 0 });
            assert_eq!(out[..12], [mac(0xfe).0, mac(1).0].concat());
            let (verdict, out) =
                send_at(&mut worker, SERVERS, &segment(server, client, flags, (u32::MAX, 3)), Tick(150));
            assert_eq!(verdict, Verdict::Answer(SERVERS, DropReason::Condemned));
            assert_eq!(said(&out), Said { from: client, to: server, flags: RST, seq: 3, ack: 0 });
            assert_eq!(out[..12], [mac(11).0, mac(2).0].concat());
        }
        // An answer to a SYN that was sent long ago.
        let (verdict, out) =
            send_at(&mut worker, SERVERS, &segment(server, client, SYN | ACK, (900, 101)), Tick(150));
        assert_eq!(verdict, Verdict::Answer(SERVERS, DropReason::Condemned));
        assert_eq!(said(&out).seq, 101);
        let counters = worker.counters();
        assert_eq!(
            (counters.dropped(DropReason::Condemned), counters.answered(DropReason::Condemned)),
            (7, 7)
        );
        assert_eq!(counters.forwarded.get(), 3, "nothing went on");
    }
}

#[test]
fn ends_that_are_silent_are_probed_until_they_have_closed() {
    for (world, ends) in both() {
        let mut worker = world.worker(1);
        world.condemn(&mut worker, &ends);
        let Ends { client, vip, server } = ends;
        // Two workers share the slots; this one has this one.
        let mut other = world.worker(0);
        assert_eq!(probes(&mut other, 200), []);
        let probe = |from, to, number| Said { from, to, flags: ACK, seq: number, ack: number };
        let numbers = [0, 0x8000_0000];
        for second in [2, 3] {
            let sent = probes(&mut worker, second * Tick::PER_SECOND);
            let (to_server, to_client): (Vec<_>, Vec<_>) =
                sent.iter().partition(|(egress, _)| *egress == SERVERS);
            assert!(!to_server.is_empty() && to_server.len() == to_client.len(), "{sent:?}");
            for ((_, to_server), (_, to_client)) in to_server.iter().zip(&to_client) {
                let number = said(to_server).seq;
                assert!(numbers.contains(&number));
                assert_eq!(said(to_server), probe(client, server, number));
                assert_eq!(said(to_client), probe(vip, client, number));
                assert_eq!(to_server[..12], [mac(11).0, mac(2).0].concat());
                assert_eq!(to_client[..12], [mac(0xfe).0, mac(1).0].concat());
            }
        }
        assert_eq!(world.active(), 1);
        let closed = |worker: &mut Pipeline, ingress, from, to| {
            let (verdict, _) = send_at(worker, ingress, &segment(from, to, RST, (7, 0)), Tick(350));
            assert_eq!(verdict, Verdict::Drop(DropReason::Condemned), "a reset is not answered");
        };
        closed(&mut worker, SERVERS, server, client);
        let sent = probes(&mut worker, 400);
        assert!(!sent.is_empty() && sent.iter().all(|(egress, _)| *egress == CLIENTS), "{sent:?}");
        assert_eq!(world.active(), 1);
        closed(&mut worker, CLIENTS, client, vip);
        assert_eq!((world.active(), world.table.connections().count()), (0, 0));
        assert_eq!(probes(&mut worker, 500), []);
    }
}

#[test]
fn ends_that_are_gone_are_waited_for_five_seconds() {
    let [(world, ends), _] = both();
    let mut worker = world.worker(1);
    world.condemn(&mut worker, &ends);
    let sent: Vec<usize> =
        (2..=9).map(|second| probes(&mut worker, second * Tick::PER_SECOND).len()).collect();
    assert!(sent[..4].iter().all(|&sent| (2..=4).contains(&sent)) && sent[6..] == [0, 0], "{sent:?}");
    assert_eq!((world.active(), world.table.connections().count()), (0, 0));
    assert_eq!(worker.counters().probes.get() as usize, sent.iter().sum::<usize>());
}

#[test]
fn a_client_that_opens_a_new_connection_from_the_same_port_gets_it() {
    let [(world, ends), _] = both();
    let mut worker = world.worker(1);
    world.condemn(&mut worker, &ends);
    world.publish(&[(Method::Nat, 0), (Method::Nat, 1)]);
    let (verdict, out) =
        send_at(&mut worker, CLIENTS, &segment(ends.client, ends.vip, SYN, (5, 0)), Tick(150));
    assert_eq!((verdict, said(&out).to), (Verdict::Forward(SERVERS), end(rip(1), 8080)));
    assert_eq!(world.active(), 0);
}

#[test]
fn a_probe_leaves_with_the_tag_of_its_vlan() {
    let world = tags::world();
    let mut worker = world.worker(1);
    let tagged = tags::tagged(&request(4000, SYN));
    assert_eq!(send(&mut worker, &tagged).0, Verdict::Forward(SERVERS));
    assert_eq!(send(&mut worker, &tags::tagged(&request(4000, ACK))).0, Verdict::Forward(SERVERS));
    let key = FlowKey::new(Proto::Tcp, end(CIP, 4000), end(VIP, 80));
    let found = world.table.search(world.table.hash(&key), &key).unwrap();
    assert!(world.table.condemn(&found, Tick(100)));
    let sent = probes(&mut worker, 200);
    let (_, to_client) = sent.iter().find(|(egress, _)| *egress == CLIENTS).unwrap();
    assert_eq!(to_client[12..18], [0x81, 0, 0, 100, 8, 0]);
    let untagged = [&to_client[..12], &to_client[16..]].concat();
    assert_eq!(said(&untagged).to, end(CIP, 4000));
}
