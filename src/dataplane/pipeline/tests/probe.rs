//! The director's own probes, by every method, and what is none.

use super::*;
use crate::dataplane::probe::{Goal, NoProbe, PORTS, ProbePort, Probes, sources};
use crate::service::Standing;
use etherparse::{Icmpv4Type, icmpv4::DestUnreachableHeader};

const DIP: [u8; 4] = [10, 1, 0, 1];

/// A worker that leads probes.
fn leading(world: &World) -> (Pipeline, Arc<Probes>) {
    let probes = Arc::new(Probes::new(world.published.clone()));
    probes.set_sources(sources(&world.published.current()));
    let mut worker = world.worker(0);
    worker.lead(probes.clone());
    (worker, probes)
}

fn goal(server: usize, method: Method) -> Goal {
    let server = end(rip(server), if method == Method::Nat { 8080 } else { 80 });
    Goal { service: (Proto::Tcp, end(VIP, 80)), server, proto: Proto::Tcp, port: None }
}

/// The segment that a probe from this port sends.
fn asks(port: &ProbePort, flags: TcpFlags) -> Vec<u8> {
    assert_eq!((port.source.ip(), port.vip), (IpAddr::from(DIP), (VIP, 80).into()));
    tcp((DIP, port.source.port()), (VIP, 80), flags, 64)
}

fn comes_out(worker: &mut Pipeline, packet: &[u8]) -> (Verdict, Vec<u8>) {
    send_at(worker, InterfaceId::PROBES, packet, Tick(0))
}

#[test]
fn a_probe_reaches_its_own_server_by_the_servers_method_whatever_the_scheduler_says_and_is_not_counted() {
    for method in Method::ALL {
        // The second is quiesced, and nobody would be led there.
        let world = World::new(10, &[(method, 1), (method, 0)]);
        let (mut worker, probes) = leading(&world);
        for server in [1, 0, 1] {
            let port = probes.reserve(&goal(server, method)).unwrap();
            let cport = port.source.port();
            for flags in [SYN, ACK, TcpFlags::RST] {
                let (verdict, mut out) = comes_out(&mut worker, &asks(&port, flags));
                assert_eq!(verdict, Verdict::Forward(SERVERS), "{method}");
                let to = if method == Method::Nat { (rip(server), 8080) } else { (VIP, 80) };
                if method == Method::Tun {
                    assert_eq!((&out[26..30], &out[30..34]), (&DIP[..], &rip(server)[..]));
                    out.drain(14..34);
                }
                let expected = routed(tcp((DIP, cport), to, flags, 63), 11 + server as u8, 2);
                assert_eq!(out, expected, "{method}, server {server}");
            }
            let from = if method == Method::Nat { (rip(server), 8080) } else { (VIP, 80) };
            let answer = tcp(from, (DIP, cport), SYN | ACK, 64);
            let (verdict, out) = send_at(&mut worker, SERVERS, &answer, Tick(0));
            assert_eq!(verdict, Verdict::Forward(InterfaceId::PROBES), "{method}");
            let ttl = if method == Method::Nat { 63 } else { 64 };
            assert_eq!(out[14..], tcp((VIP, 80), (DIP, cport), SYN | ACK, ttl)[14..], "{method}");
        }
        assert_eq!(world.table.connections().count(), 0);
        for decision in world.published.current().decisions.iter().flatten() {
            assert_eq!((decision.live.active(), decision.live.inactive()), (0, 0));
        }
        let counters = worker.counters();
        for counters in (0..4).map(|id| counters.real(RealId(id))) {
            let counts = [&counters.connections, &counters.in_packets, &counters.out_packets];
            assert_eq!(counts.map(|count| count.get()), [0; 3], "{method}");
        }
        assert_eq!(counters.forwarded.get(), 12);
    }
}

#[test]
fn nobody_outside_chooses_a_server_by_a_probes_port() {
    let world = World::new(10, &[(Method::Dr, 1), (Method::Dr, 1)]);
    let (mut worker, probes) = leading(&world);
    let port = probes.reserve(&goal(1, Method::Dr)).unwrap();
    let asks = asks(&port, SYN);
    assert_eq!(send_at(&mut worker, CLIENTS, &asks, Tick(0)).0, Verdict::Drop(DropReason::OwnSource));
    // A client's packet from the same port has nothing to do with it: the first server's turn.
    let (verdict, out) = send(&mut worker, &request(port.source.port(), SYN));
    assert_eq!((verdict, out[5]), (Verdict::Forward(SERVERS), 11));
    // And out of the namespace, only what a port is reserved for goes anywhere.
    for stray in
        [request(4000, SYN), tcp((DIP, 62000), (VIP, 80), SYN, 64), tcp((DIP, 4000), (VIP, 22), SYN, 64)]
    {
        assert_eq!(comes_out(&mut worker, &stray).0, Verdict::Drop(DropReason::StrayProbe));
    }
    let as_answer = tcp((VIP, 80), (DIP, port.source.port()), ACK, 64);
    assert_eq!(comes_out(&mut worker, &as_answer).0, Verdict::Drop(DropReason::StrayProbe));
}

#[test]
fn only_the_server_that_was_asked_answers_a_probe() {
    let world = World::new(10, &[(Method::Nat, 1), (Method::Nat, 1)]);
    let (mut worker, probes) = leading(&world);
    let port = probes.reserve(&goal(1, Method::Nat)).unwrap().source.port();
    for (from, to) in
        [((rip(0), 8080), (DIP, port)), ((rip(1), 8081), (DIP, port)), ((rip(1), 8080), (CIP, port))]
    {
        let answer = tcp(from, to, SYN | ACK, 64);
        let outcome = send_at(&mut worker, SERVERS, &answer, Tick(0));
        assert_eq!(outcome, (Verdict::ToHost(HostReason::NotOurs), answer));
    }
}

#[test]
fn a_probe_of_a_service_of_many_ports_hears_from_the_one_that_it_has_asked() {
    let world = World::new(10, &[(Method::Nat, 1)]);
    let mut all = VirtualService::clone(&world.published.current().services.table().services()[0]);
    all.endpoint.port = 0;
    all.reals[0].endpoint.port = 0;
    let services = Services::new(ServiceTable::new(vec![all]), None);
    let snapshot =
        Snapshot::new(services.into(), &[], world.hops.clone(), &Conduct::default(), vec![true, false]);
    world.published.publish(Arc::new(snapshot));
    let (mut worker, probes) = leading(&world);
    let goal = Goal {
        service: (Proto::Tcp, end(VIP, 0)),
        server: end(rip(0), 0),
        proto: Proto::Tcp,
        port: Some(8443),
    };
    let port = probes.reserve(&goal).unwrap().source.port();
    let (verdict, out) = comes_out(&mut worker, &tcp((DIP, port), (VIP, 8443), SYN, 64));
    assert_eq!(verdict, Verdict::Forward(SERVERS));
    assert_eq!(out, routed(tcp((DIP, port), (rip(0), 8443), SYN, 63), 11, 2));
    let answer = tcp((rip(0), 8443), (DIP, port), SYN | ACK, 64);
    let (verdict, out) = send_at(&mut worker, SERVERS, &answer, Tick(0));
    assert_eq!(verdict, Verdict::Forward(InterfaceId::PROBES));
    assert_eq!(out[14..], tcp((VIP, 8443), (DIP, port), SYN | ACK, 63)[14..]);
}

#[test]
fn a_probe_hears_that_its_server_refuses_a_datagram() {
    for method in [Method::Nat, Method::Dr] {
        let world = World::new(10, &[(method, 1)]);
        let (mut worker, probes) = leading(&world);
        let goal = Goal { service: (Proto::Udp, end(VIP, 80)), proto: Proto::Udp, ..goal(0, method) };
        let port = probes.reserve(&goal).unwrap().source.port();
        let mut question = Vec::new();
        let builder = PacketBuilder::ethernet2([9; 6], mac(1).0).ipv4(DIP, VIP, 64).udp(port, 80);
        builder.write(&mut question, b"well?").unwrap();
        let (verdict, at_server) = comes_out(&mut worker, &question);
        assert_eq!(verdict, Verdict::Forward(SERVERS));
        let refused = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port);
        // In DR the server speaks as the VIP.
        let speaker = if method == Method::Nat { rip(0) } else { VIP };
        let mut error = Vec::new();
        let builder = PacketBuilder::ethernet2([9; 6], mac(2).0).ipv4(speaker, DIP, 64).icmpv4(refused);
        builder.write(&mut error, &at_server[14..]).unwrap();
        let (verdict, out) = send_at(&mut worker, SERVERS, &error, Tick(0));
        assert_eq!(verdict, Verdict::Forward(InterfaceId::PROBES), "{method}");
        let quoted = &out[42..];
        assert_eq!((&quoted[12..16], &quoted[16..20]), (&DIP[..], &VIP[..]), "as the probe has sent it");
        assert_eq!(quoted[20..24], question[34..38], "ports");
    }
}

#[test]
fn a_probe_too_big_for_its_tunnel_hears_what_fits() {
    let world = World::new(10, &[(Method::Tun, 1)]);
    let (mut worker, probes) = leading(&world);
    let port = probes.reserve(&goal(0, Method::Tun)).unwrap();
    let mut packet = Vec::new();
    let builder = PacketBuilder::ethernet2([9; 6], mac(1).0).ipv4(DIP, VIP, 64);
    builder.tcp(port.source.port(), 80, 5, 99).ack(1).write(&mut packet, &[1; 1460]).unwrap();
    let (verdict, out) = comes_out(&mut worker, &packet);
    assert_eq!(verdict, Verdict::Answer(InterfaceId::PROBES, DropReason::TooBig));
    assert_eq!((&out[26..30], &out[30..34]), (&VIP[..], &DIP[..]));
    assert_eq!(out[40..42], 1480u16.to_be_bytes());
    assert!(worker.take_wanted().next().is_none(), "nobody looks for the director itself");
}

#[test]
fn a_port_leads_no_longer_to_a_server_that_left_nor_to_the_next_with_its_id() {
    let world = World::new(10, &[(Method::Dr, 1)]);
    let (mut worker, probes) = leading(&world);
    let port = probes.reserve(&goal(0, Method::Dr)).unwrap();
    world.publish(&[]);
    assert_eq!(comes_out(&mut worker, &asks(&port, SYN)).0, Verdict::Drop(DropReason::StrayProbe));
    assert_eq!(probes.reserve(&goal(0, Method::Dr)).unwrap_err(), NoProbe::NoServer);
    world.publish(&[(Method::Dr, 1)]);
    let same_id_another_server = comes_out(&mut worker, &asks(&port, SYN)).0;
    assert_eq!(same_id_another_server, Verdict::Drop(DropReason::StrayProbe));
}

#[test]
fn a_server_at_its_threshold_is_probed_all_the_same() {
    let world = World::new(10, &[(Method::Dr, 1)]);
    let (mut worker, probes) = leading(&world);
    let live = world.published.current().decisions[0].as_ref().unwrap().live.clone();
    live.limit(Thresholds { upper: 1, lower: 0 });
    live.opened(Standing::Active);
    assert!(matches!(send(&mut worker, &request(1, SYN)).0, Verdict::Answer(..)));
    let port = probes.reserve(&goal(0, Method::Dr)).unwrap();
    assert_eq!(comes_out(&mut worker, &asks(&port, SYN)).0, Verdict::Forward(SERVERS));
    assert!(PORTS.contains(&port.source.port()));
}
