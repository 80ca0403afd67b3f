//! Persistent services.

use super::*;
use crate::net::Mark;
use crate::service::{Live, Persistence};
use std::time::Duration;

fn at(seconds: u32) -> Tick {
    Tick(seconds * Tick::PER_SECOND)
}

fn persistent(seconds: u64, prefix_len: u8) -> Policy {
    let persistence = Persistence { lasts: Duration::from_secs(seconds), prefix_len };
    Policy { persistence: Some(persistence), ..Policy::default() }
}

/// Two direct-routed servers of these weights behind a service that is persistent for 300 s.
fn world(weights: [u16; 2], prefix_len: u8) -> World {
    let world = World::new(100, &[]);
    republish(&world, weights, prefix_len);
    world
}

fn republish(world: &World, weights: [u16; 2], prefix_len: u8) {
    world.publish_with(&weights.map(|weight| (Method::Dr, weight)), persistent(300, prefix_len));
}

/// Which server a packet of this client reaches.
fn server_of(worker: &mut Pipeline, client: ([u8; 4], u16), flags: TcpFlags, now: Tick) -> Option<u8> {
    let (verdict, packet) = send_at(worker, CLIENTS, &tcp(client, (VIP, 80), flags, 64), now);
    (verdict == Verdict::Forward(SERVERS)).then(|| packet[5] - 11)
}

fn live(world: &World, server: usize) -> Arc<Live> {
    world.published.current().decisions[server * 2].as_ref().unwrap().live.clone()
}

fn templates_of(world: &World) -> Vec<crate::conntrack::Leading> {
    world.table.connections().filter_map(|c| c.template).collect()
}

fn templates(world: &World) -> Vec<(String, u32)> {
    let all = world.table.connections().filter(|c| c.template.is_some());
    let mut all: Vec<_> = all
        .map(|c| {
            assert_eq!(c.state, State::None);
            (c.key.to_string(), c.template.unwrap().connections)
        })
        .collect();
    all.sort();
    all
}

#[test]
fn a_client_keeps_to_its_server_and_another_is_scheduled() {
    let world = world([1, 1], 32);
    let mut worker = world.worker(0);
    let mut ask = |client, port| server_of(&mut worker, ([192, 0, 2, client], port), SYN, at(0));
    assert_eq!([ask(1, 10), ask(1, 11), ask(1, 12)], [Some(0); 3]);
    assert_eq!([ask(2, 10), ask(2, 11), ask(1, 13)], [Some(1), Some(1), Some(0)]);
    assert_eq!((live(&world, 0).templates(), live(&world, 0).active()), (1, 4));
    let listed = |client| format!("TCP 192.0.2.{client}:0 > 10.0.0.100:80");
    assert_eq!(templates(&world), [(listed(1), 4), (listed(2), 2)]);
}

#[test]
fn clients_of_one_network_share_a_template() {
    let world = world([1, 1], 24);
    let mut worker = world.worker(0);
    let mut ask = |net, client| server_of(&mut worker, ([192, 0, net, client], 10), SYN, at(0));
    assert_eq!([ask(2, 1), ask(2, 200), ask(3, 1), ask(3, 2), ask(2, 7)], [0, 0, 1, 1, 0].map(Some));
    assert_eq!(templates(&world)[0], ("TCP 192.0.2.0:0 > 10.0.0.100:80".to_owned(), 3));
}

#[test]
fn a_packet_from_port_0_of_the_masked_address_is_not_taken_for_the_template() {
    let world = world([1, 1], 24);
    let mut worker = world.worker(0);
    server_of(&mut worker, ([192, 0, 2, 1], 10), SYN, at(0));
    let impostor = tcp(([192, 0, 2, 0], 0), (VIP, 80), ACK, 64);
    let stray = Verdict::ToHost(HostReason::NoConnection);
    assert_eq!(send(&mut worker, &impostor).0, stray);
    // It may open a connection like any other, which has an entry of its own.
    assert_eq!(server_of(&mut worker, ([192, 0, 2, 0], 0), SYN, at(0)), Some(0));
    let of_port_0 = |c: &crate::conntrack::Connection| c.key.src() == end([192, 0, 2, 0], 0);
    let marks: Vec<Mark> = world.table.connections().filter(of_port_0).map(|c| c.key.mark()).collect();
    assert_eq!(marks, [Mark::Template, Mark::Packet]);
}

#[test]
fn a_template_outlives_its_last_use_by_the_services_time_and_its_connections_by_a_minute() {
    let world = world([1, 1], 32);
    let mut worker = world.worker(0);
    let client = |port| (CIP, port);
    assert_eq!(server_of(&mut worker, client(10), SYN, at(0)), Some(0));
    // ESTABLISHED lasts 900 seconds: longer than the template's 300.
    server_of(&mut worker, client(10), ACK, at(0));
    worker.sweep_all(at(301));
    let lasts = templates_of(&world)[0].lasts;
    assert_eq!((lasts, live(&world, 0).templates()), (60 * Tick::PER_SECOND, 1), "its connection lives");
    worker.sweep_all(at(361));
    worker.sweep_all(at(421));
    assert_eq!(templates(&world).len(), 1);
    worker.sweep_all(at(901));
    assert_eq!((world.table.connections().count(), live(&world, 0).templates()), (0, 0));
    assert_eq!(server_of(&mut worker, client(10), SYN, at(1000)), Some(1), "scheduled anew");
    // Used again within its time, it lasts anew.
    assert_eq!(server_of(&mut worker, client(11), SYN, at(1299)), Some(1));
    worker.sweep_all(at(1590));
    assert_eq!(server_of(&mut worker, client(12), SYN, at(1590)), Some(1));
    // Its time over and its connections too, it leads nowhere, swept or not.
    assert_eq!(templates(&world)[0].1, 1);
    world.table.connections().filter(|c| c.template.is_none()).for_each(|c| assert_eq!(c.key.src().port, 12));
}

#[test]
fn the_template_of_a_quiesced_server_gives_no_new_connection_and_its_old_ones_go_on() {
    let world = world([1, 1], 32);
    let mut worker = world.worker(0);
    assert_eq!(server_of(&mut worker, (CIP, 10), SYN, at(0)), Some(0));
    republish(&world, [0, 1], 32);
    assert_eq!(server_of(&mut worker, (CIP, 11), SYN, at(1)), Some(1));
    assert_eq!(server_of(&mut worker, (CIP, 10), ACK, at(1)), Some(0));
    assert_eq!([live(&world, 0).templates(), live(&world, 1).templates()], [0, 1]);
    // Back again, it gets nobody back who was led elsewhere.
    republish(&world, [1, 1], 32);
    assert_eq!(server_of(&mut worker, (CIP, 12), SYN, at(2)), Some(1));
    // All quiesced: the client is refused, and its template stays as it was.
    republish(&world, [0, 0], 32);
    assert_eq!(server_of(&mut worker, (CIP, 13), SYN, at(3)), None);
    assert_eq!(live(&world, 1).templates(), 1);
}

#[test]
fn as_ipvs_once_did_a_quiesced_server_may_keep_its_clients_but_not_one_that_is_shut() {
    let world = world([1, 1], 32);
    let mut worker = world.worker(0);
    assert_eq!(server_of(&mut worker, (CIP, 10), SYN, at(0)), Some(0));
    republish(&world, [0, 1], 32);
    let services = world.published.current().services.clone();
    let publish = |services| {
        let conduct = Conduct { keeps_quiesced_templates: true, ..Conduct::default() };
        let keeping = Snapshot::new(services, &[], world.hops.clone(), &conduct, Vec::new());
        world.published.publish(Arc::new(keeping));
    };
    publish(services.clone());
    assert_eq!(server_of(&mut worker, (CIP, 11), SYN, at(1)), Some(0));
    let mut shut: Vec<VirtualService> =
        services.table().services().iter().map(|service| VirtualService::clone(service)).collect();
    shut.iter_mut().for_each(|service| service.reals[0].is_shut = true);
    publish(Services::new(ServiceTable::new(shut), None).into());
    assert_eq!(server_of(&mut worker, (CIP, 12), SYN, at(2)), Some(1));
    assert_eq!(server_of(&mut worker, (CIP, 11), ACK, at(2)), Some(0), "its connections go on");
}

#[test]
fn the_template_of_a_removed_server_leads_elsewhere() {
    let world = world([1, 1], 32);
    let mut worker = world.worker(0);
    assert_eq!(server_of(&mut worker, ([192, 0, 2, 1], 1), SYN, at(0)), Some(0));
    assert_eq!(server_of(&mut worker, ([192, 0, 2, 2], 1), SYN, at(0)), Some(1));
    world.publish_with(&[(Method::Dr, 1)], persistent(300, 32));
    assert_eq!(server_of(&mut worker, ([192, 0, 2, 2], 2), SYN, at(0)), Some(0));
}

#[test]
fn a_full_table_refuses_a_template_and_a_failed_opening_lets_go_of_it() {
    let world = World::new(2, &[]);
    republish(&world, [1, 1], 32);
    let mut worker = world.worker(0);
    assert_eq!(server_of(&mut worker, (CIP, 10), SYN, at(0)), Some(0));
    // An established one makes no room.
    assert_eq!(server_of(&mut worker, (CIP, 10), ACK, at(0)), Some(0));
    let full = |worker: &mut Pipeline, client, port| {
        send(worker, &tcp((client, port), (VIP, 80), SYN, 64)).0 == Verdict::Drop(DropReason::TableFull)
    };
    assert!(full(&mut worker, CIP, 11), "a template, and no room for the connection");
    assert!(full(&mut worker, [192, 0, 2, 2], 10), "no room for the template");
    assert_eq!(templates(&world)[0].1, 1);
    assert_eq!(server_of(&mut worker, (CIP, 10), ACK, at(0)), Some(0));
}

#[test]
fn two_workers_choose_once() {
    let world = World::new(100_000, &[]);
    republish(&world, [1, 1], 32);
    let clients = 2000u16;
    let run = |number: u32| {
        let mut worker = world.worker(number);
        (0..clients)
            .map(|i| {
                let [a, b] = i.to_be_bytes();
                server_of(&mut worker, ([172, 16, a, b], 1000 + number as u16), SYN, at(0)).unwrap()
            })
            .collect::<Vec<_>>()
    };
    let (one, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| run(1));
        (run(0), other.join().unwrap())
    });
    assert_eq!(one, other);
    assert_eq!(live(&world, 0).templates() + live(&world, 1).templates(), u32::from(clients));
    assert!(templates(&world).iter().all(|(_, connections)| *connections == 2));
}
