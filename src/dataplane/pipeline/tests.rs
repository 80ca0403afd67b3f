//! The road, packet by packet. Packets are built, and what comes out is read, by etherparse.

use super::*;
use crate::conntrack::{Seed, State, Table};
use crate::dataplane::nexthop::{Link, Neighbour, NextHops, Rib, Route};
use crate::dataplane::snapshot::Services;
use crate::net::{Endpoint, Mac};
use crate::service::{
    Conduct, Method, Policy, RealId, RealServer, SchedulerName, SchedulerOptions, ServiceTable, Thresholds,
    VirtualService,
};
use etherparse::{PacketBuilder, SlicedPacket};

const CLIENTS: InterfaceId = InterfaceId(0);
const SERVERS: InterfaceId = InterfaceId(1);
const VIP: [u8; 4] = [10, 0, 0, 100];
const CIP: [u8; 4] = [192, 0, 2, 1];

/// A director with a leg to the clients' router and one to the servers' link.
struct World {
    table: Arc<Table>,
    published: Arc<Published>,
    hops: Arc<NextHops>,
}

fn end(addr: [u8; 4], port: u16) -> Endpoint {
    Endpoint::v4(addr.into(), port)
}

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

fn rip(i: usize) -> [u8; 4] {
    [10, 1, 0, 11 + i as u8]
}

fn rib() -> Rib {
    let link = |name: &str, last, address: &str| Link {
        name: name.into(),
        mac: mac(last),
        mtu_bytes: 1500,
        addresses: vec![address.parse().unwrap()],
        up: true,
        vlan: None,
    };
    let route = |to: &str, via: Option<&str>, interface| Route {
        to: to.parse().unwrap(),
        via: via.map(|via| via.parse().unwrap()),
        interface: Some(interface),
        source: None,
        metric: 0,
    };
    let neighbour = |interface, address: [u8; 4], last| Neighbour {
        interface,
        address: IpAddr::V4(address.into()),
        mac: mac(last),
    };
    Rib {
        links: vec![link("out", 1, "10.0.0.1/24"), link("in", 2, "10.1.0.1/24")],
        routes: vec![
            route("0.0.0.0/0", Some("10.0.0.254"), CLIENTS),
            route("10.0.0.0/24", None, CLIENTS),
            route("10.1.0.0/24", None, SERVERS),
        ],
        neighbours: vec![
            neighbour(CLIENTS, [10, 0, 0, 254], 0xfe),
            neighbour(SERVERS, rip(0), 11),
            neighbour(SERVERS, rip(1), 12),
        ],
    }
}

impl World {
    /// One TCP and one UDP service at VIP:80 over servers of these methods and weights, scheduled by `rr`.
    fn new(max_connections: u32, servers: &[(Method, u16)]) -> World {
        let table = Arc::new(Table::new(max_connections, Seed::new(7, 7)).unwrap());
        table.note_leaders().unwrap();
        let world = World { table, published: Arc::default(), hops: Arc::new(NextHops::new(&rib(), None)) };
        world.publish(servers);
        world
    }

    fn publish(&self, servers: &[(Method, u16)]) {
        self.publish_with(servers, Policy::default());
    }

    fn publish_with(&self, servers: &[(Method, u16)], policy: Policy) {
        let real = |proto: Proto, i: usize, (method, weight): (Method, u16)| {
            let id = RealId(i as u32 * 2 + u32::from(proto == Proto::Udp));
            let endpoint = end(rip(i), if method == Method::Nat { 8080 } else { 80 });
            self.table.set_endpoint(id, endpoint);
            let before = self.published.current();
            let live = before.decisions.get(id.index()).and_then(|d| d.as_ref()).map(|d| d.live.clone());
            let live = live.unwrap_or_default();
            RealServer {
                id,
                endpoint,
                weight,
                is_shut: false,
                method,
                thresholds: Thresholds::default(),
                ramp: None,
                live,
            }
        };
        let service = |proto| VirtualService {
            name: "web".into(),
            proto,
            endpoint: end(VIP, 80),
            group: None,
            scheduler: SchedulerName::Rr,
            options: SchedulerOptions::default(),
            policy,
            reals: servers.iter().enumerate().map(|(i, &server)| real(proto, i, server)).collect(),
        };
        let services = Services::new(ServiceTable::new(vec![service(Proto::Tcp), service(Proto::Udp)]), None);
        let hops = self.hops.clone();
        self.published.publish(Arc::new(Snapshot::new(
            services.into(),
            &[],
            hops,
            &Conduct::default(),
            vec![true, false],
        )));
    }

    fn worker(&self, number: u32) -> Pipeline {
        Pipeline::new(Tracker::new(self.table.clone(), number, 2), Arc::default(), self.published.clone())
    }
}

/// Sends one packet through; gives the verdict and the packet as it came out.
fn send_at(
    worker: &mut Pipeline,
    ingress: InterfaceId,
    packet: &[u8],
    now: impl Into<Moment>,
) -> (Verdict, Vec<u8>) {
    let mut buffer = vec![0xa5; 64 + packet.len()];
    buffer[64..].copy_from_slice(packet);
    let mut frames = [Frame::new(&mut buffer, 64, packet.len(), ingress)];
    worker.run(&mut frames, now);
    (frames[0].verdict, frames[0].data().to_vec())
}

fn send(worker: &mut Pipeline, packet: &[u8]) -> (Verdict, Vec<u8>) {
    send_at(worker, CLIENTS, packet, Tick(0))
}

fn tcp(src: ([u8; 4], u16), dst: ([u8; 4], u16), flags: TcpFlags, ttl: u8) -> Vec<u8> {
    let mut builder =
        PacketBuilder::ethernet2([9; 6], mac(1).0).ipv4(src.0, dst.0, ttl).tcp(src.1, dst.1, 5, 99);
    if flags.has(TcpFlags::SYN) {
        builder = builder.syn();
    }
    if flags.has(TcpFlags::ACK) {
        builder = builder.ack(1);
    }
    if flags.has(TcpFlags::RST) {
        builder = builder.rst();
    }
    let mut packet = Vec::new();
    builder.write(&mut packet, b"data").unwrap();
    packet
}

fn request(cport: u16, flags: TcpFlags) -> Vec<u8> {
    tcp((CIP, cport), (VIP, 80), flags, 64)
}

fn datagram(cport: u16, bytes: usize) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = PacketBuilder::ethernet2([9; 6], mac(1).0).ipv4(CIP, VIP, 64).udp(cport, 80);
    builder.write(&mut packet, &vec![1; bytes]).unwrap();
    packet
}

/// The packet with its MACs and the TTL that a router leaves.
fn routed(mut packet: Vec<u8>, dst: u8, src: u8) -> Vec<u8> {
    packet[..6].copy_from_slice(&mac(dst).0);
    packet[6..12].copy_from_slice(&mac(src).0);
    packet
}

const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;

#[test]
fn nat_translates_there_and_back_and_counts_the_connection() {
    let world = World::new(10, &[(Method::Nat, 1)]);
    let mut worker = world.worker(0);
    let there = send(&mut worker, &request(4000, SYN));
    let expected = tcp((CIP, 4000), (rip(0), 8080), SYN, 63);
    assert_eq!(there, (Verdict::Forward(SERVERS), routed(expected, 11, 2)));

    let answer = tcp((rip(0), 8080), (CIP, 4000), SYN | ACK, 64);
    let back = send_at(&mut worker, SERVERS, &answer, Tick(0));
    let expected = tcp((VIP, 80), (CIP, 4000), SYN | ACK, 63);
    assert_eq!(back, (Verdict::Forward(CLIENTS), routed(expected, 0xfe, 1)));

    let counters = worker.counters().real(RealId(0));
    assert_eq!(
        (counters.connections.get(), counters.in_packets.get(), counters.out_packets.get()),
        (1, 1, 1)
    );
    assert_eq!((counters.in_bytes.get(), counters.out_bytes.get()), (44, 44));
    let live = &world.published.current().decisions[0].as_ref().unwrap().live.clone();
    assert_eq!((live.active(), live.inactive()), (1, 0));
    send(&mut worker, &request(4000, TcpFlags::RST));
    assert_eq!((live.active(), live.inactive()), (1, 0), "a reset in SYN_RECV leaves the state, as in IPVS");
    send(&mut worker, &request(4000, ACK));
    send(&mut worker, &request(4000, TcpFlags::RST));
    assert_eq!((live.active(), live.inactive()), (0, 1));
}

#[test]
fn a_reply_through_another_worker_finds_its_connection() {
    let world = World::new(10, &[(Method::Nat, 1)]);
    let (mut one, mut other) = (world.worker(0), world.worker(1));
    send(&mut one, &request(4000, SYN));
    let answer = tcp((rip(0), 8080), (CIP, 4000), SYN | ACK, 64);
    let (verdict, packet) = send_at(&mut other, SERVERS, &answer, Tick(0));
    assert_eq!(verdict, Verdict::Forward(CLIENTS));
    assert_eq!(packet[26..30], VIP);
}

#[test]
fn direct_routing_changes_macs_and_ttl_alone() {
    let world = World::new(10, &[(Method::Dr, 1)]);
    let (verdict, packet) = send(&mut world.worker(0), &request(4000, SYN));
    let expected = tcp((CIP, 4000), (VIP, 80), SYN, 63);
    assert_eq!((verdict, packet), (Verdict::Forward(SERVERS), routed(expected, 11, 2)));
}

#[test]
fn tunnelling_wraps_the_packet_from_the_directors_own_address() {
    let world = World::new(10, &[(Method::Tun, 1)]);
    let (verdict, packet) = send(&mut world.worker(0), &request(4000, SYN));
    assert_eq!(verdict, Verdict::Forward(SERVERS));
    assert_eq!(packet[34..], tcp((CIP, 4000), (VIP, 80), SYN, 63)[14..]);
    assert_eq!((&packet[26..30], &packet[30..34]), (&[10, 1, 0, 1][..], &rip(0)[..]));
}

#[test]
fn servers_of_one_service_may_have_different_methods() {
    let world = World::new(10, &[(Method::Nat, 1), (Method::Tun, 1)]);
    let mut worker = world.worker(0);
    let lengths: Vec<usize> = (0..4).map(|i| send(&mut worker, &request(i, SYN)).1.len()).collect();
    assert_eq!(lengths, [58, 78, 58, 78]);
}

#[test]
fn a_connection_stays_with_its_server_and_survives_quiescing() {
    let world = World::new(10, &[(Method::Dr, 1), (Method::Dr, 1)]);
    let mut worker = world.worker(0);
    let server = |packet: Vec<u8>| packet[5];
    let first = server(send(&mut worker, &request(1, SYN)).1);
    assert_eq!(first, 11);
    world.publish(&[(Method::Dr, 0), (Method::Dr, 1)]);
    assert_eq!(server(send(&mut worker, &request(1, ACK)).1), 11);
    assert!((2..5).all(|i| server(send(&mut worker, &request(i, SYN)).1) == 12));
    world.publish(&[(Method::Dr, 0), (Method::Dr, 0)]);
    let refused = Verdict::Answer(CLIENTS, DropReason::NoRealServer);
    assert_eq!(send(&mut worker, &request(9, SYN)).0, refused);
    assert_eq!(server(send(&mut worker, &request(1, ACK)).1), 11);
}

#[test]
fn a_new_connection_from_the_port_of_a_closed_one_is_scheduled_anew() {
    let world = World::new(10, &[(Method::Nat, 1), (Method::Nat, 1)]);
    let mut worker = world.worker(0);
    for flags in [SYN, ACK, TcpFlags::RST] {
        send(&mut worker, &request(4000, flags));
    }
    world.publish(&[(Method::Nat, 0), (Method::Nat, 1)]);
    let (_, packet) = send(&mut worker, &request(4000, SYN));
    assert_eq!(packet[30..34], rip(1));
    assert_eq!(worker.counters().real(RealId(2)).connections.get(), 1);
}

#[test]
fn what_is_not_ours_goes_to_the_host_untouched() {
    let world = World::new(10, &[(Method::Nat, 1)]);
    let mut worker = world.worker(0);
    let other_port = tcp((CIP, 4000), (VIP, 22), SYN, 64);
    assert_eq!(send(&mut worker, &other_port), (Verdict::ToHost(HostReason::NotOurs), other_port));
    let stray = request(4000, ACK);
    assert_eq!(send(&mut worker, &stray), (Verdict::ToHost(HostReason::NoConnection), stray));
    let reset = request(4000, SYN | TcpFlags::RST);
    assert_eq!(send(&mut worker, &reset).0, Verdict::ToHost(HostReason::NoConnection));
    let server_as_client = tcp((rip(0), 8080), (CIP, 1), SYN, 64);
    let verdict = send_at(&mut worker, SERVERS, &server_as_client, Tick(0)).0;
    assert_eq!(verdict, Verdict::ToHost(HostReason::NotOurs));
}

#[test]
fn every_drop_on_the_way_out_has_its_reason() {
    let full = World::new(1, &[(Method::Dr, 1)]);
    let mut worker = full.worker(0);
    send(&mut worker, &request(1, SYN));
    send(&mut worker, &request(1, ACK));
    assert_eq!(send(&mut worker, &request(2, SYN)).0, Verdict::Drop(DropReason::TableFull));
    assert_eq!(
        send(&mut worker, &request(1, ACK)).0,
        Verdict::Forward(SERVERS),
        "the one that is there goes on"
    );

    let world = World::new(10, &[(Method::Tun, 1)]);
    let mut worker = world.worker(0);
    let last_hop = tcp((CIP, 1), (VIP, 80), SYN, 1);
    assert_eq!(send(&mut worker, &last_hop).0, Verdict::Answer(CLIENTS, DropReason::TtlExpired));
    assert_eq!(send(&mut worker, &datagram(1, 1452)).0, Verdict::Forward(SERVERS), "1480 and 20 fit 1500");
    assert_eq!(send(&mut worker, &datagram(1, 1453)).0, Verdict::Answer(CLIENTS, DropReason::TooBig));

    let unknown = World::new(10, &[(Method::Dr, 0), (Method::Dr, 0), (Method::Dr, 1)]);
    let mut worker = unknown.worker(0);
    assert_eq!(send(&mut worker, &request(1, SYN)).0, Verdict::Drop(DropReason::NoNeighbour));
    let wanted: Vec<Wanted> = worker.take_wanted().collect();
    assert_eq!(wanted, [(SERVERS, IpAddr::V4(rip(2).into()))]);
    assert!(worker.counters().real(RealId(4)).in_packets.get() == 0);
}

#[test]
fn partial_checksums_are_completed_where_senders_leave_them() {
    let world = World::new(10, &[(Method::Nat, 1)]);
    let mut worker = world.worker(0);
    let mut half = request(4000, SYN);
    let pseudo = checksum::pseudo_v4(u32::from_be_bytes(CIP), u32::from_be_bytes(VIP), Proto::Tcp, 24);
    half[50..52].copy_from_slice(&checksum::fold(pseudo).to_be_bytes());
    let (_, packet) = send(&mut worker, &half);
    assert_eq!(packet, routed(tcp((CIP, 4000), (rip(0), 8080), SYN, 63), 11, 2));
    assert_eq!(worker.counters().completed_checksums.get(), 1);
}

#[test]
fn a_silent_connection_is_over_and_its_next_packet_is_scheduled_anew() {
    let world = World::new(10, &[(Method::Dr, 1), (Method::Dr, 1)]);
    let mut worker = world.worker(0);
    let at = |worker: &mut Pipeline, seconds| {
        send_at(worker, CLIENTS, &datagram(5, 4), Tick(seconds * Tick::PER_SECOND)).1[5]
    };
    assert_eq!([at(&mut worker, 0), at(&mut worker, 300), at(&mut worker, 601)], [11, 11, 12]);
    worker.sweep_all(Tick(902 * Tick::PER_SECOND));
    let decisions = &world.published.current().decisions;
    assert!(decisions.iter().flatten().all(|d| d.live.overhead() == 0));
}

#[test]
fn a_batch_decides_as_one_packet_at_a_time_would() {
    let world = World::new(1000, &[(Method::Dr, 1), (Method::Dr, 1)]);
    let mut worker = world.worker(0);
    // A SYN, its retransmission and the ACK after it, of many connections, all in one batch.
    let packets: Vec<Vec<u8>> = (0..60)
        .map(|i| request(i / 3, if i % 3 == 2 { ACK } else { SYN }))
        .chain([request(99, ACK)])
        .collect();
    let mut buffers: Vec<Vec<u8>> = packets.iter().map(|p| [&[0; 64][..], p].concat()).collect();
    let mut frames: Vec<Frame<'_>> = buffers
        .iter_mut()
        .map(|buffer| {
            let len = buffer.len() - 64;
            Frame::new(buffer, 64, len, CLIENTS)
        })
        .collect();
    worker.run(&mut frames, Tick(0));
    for (i, frame) in frames[..60].iter().enumerate() {
        let connection = i / 3;
        assert_eq!(frame.data()[5], 11 + (connection % 2) as u8, "packet {i}");
    }
    assert_eq!(frames[60].verdict, Verdict::ToHost(HostReason::NoConnection));
    assert!(frames[..60].iter().all(|frame| SlicedPacket::from_ethernet(frame.data()).is_ok()));
    assert_eq!(worker.counters().real(RealId(0)).connections.get(), 10);
    let states: Vec<State> = world.table.connections().map(|connection| connection.state).collect();
    assert_eq!(
        states,
        [State::Established; 20],
        "each ACK was seen by the connection that its batch had opened"
    );
}

#[test]
fn a_reply_in_the_same_batch_as_its_request_finds_the_connection() {
    let world = World::new(1000, &[(Method::Nat, 1)]);
    let mut worker = world.worker(0);
    let answer = |cport| tcp((rip(0), 8080), (CIP, cport), SYN | ACK, 64);
    // The replies to the first come when their references went in, those to the last before.
    let packets: Vec<Vec<u8>> =
        (1..=30).map(|i| request(i, SYN)).chain((1..=30).map(answer)).chain([answer(99)]).collect();
    let mut buffers: Vec<Vec<u8>> = packets.iter().map(|p| [&[0; 64][..], p].concat()).collect();
    let lent = buffers.iter_mut().zip(&packets).enumerate();
    let mut frames: Vec<Frame<'_>> = lent
        .map(|(i, (buffer, p))| Frame::new(buffer, 64, p.len(), if i < 30 { CLIENTS } else { SERVERS }))
        .collect();
    worker.run(&mut frames, Tick(0));
    for (i, frame) in frames[30..60].iter().enumerate() {
        assert_eq!(frame.verdict, Verdict::Forward(CLIENTS), "reply {i}");
        assert_eq!(frame.data()[26..30], VIP, "reply {i}");
    }
    assert_eq!(frames[60].verdict, Verdict::ToHost(HostReason::NotOurs), "nobody asked");
}

mod condemned;
mod errors;
mod latency;
mod openings;
mod persist;
mod probe;
mod sctp;
mod tags;

#[test]
fn a_frame_without_room_for_an_outer_header_is_dropped_by_name() {
    let world = World::new(10, &[(Method::Tun, 1)]);
    let mut worker = world.worker(0);
    let packet = request(4000, SYN);
    for (headroom, verdict) in [(19, Verdict::Drop(DropReason::NoHeadroom)), (20, Verdict::Forward(SERVERS))]
    {
        let mut buffer = [&vec![0xa5; headroom][..], &packet].concat();
        let mut frames = [Frame::new(&mut buffer, headroom, packet.len(), CLIENTS)];
        worker.run(&mut frames, Tick(0));
        assert_eq!(frames[0].verdict, verdict, "{headroom} bytes of headroom");
    }
    assert_eq!(worker.counters().dropped(DropReason::NoHeadroom), 1);
}
