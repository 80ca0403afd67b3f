//! Opening, ending and sweeping, against plain maps and between threads.

use super::super::{Expiry, Seed, Touched};
use super::*;
use crate::net::{Endpoint, Tick};
use crate::service::{Conduct, Timeouts};
use hashbrown::HashMap;
use std::time::Duration;

const SYN: TcpFlags = TcpFlags::SYN;
const SERVER: RealId = RealId(7);

fn table(max: u32) -> Arc<Table> {
    let table = Table::new(max, Seed::new(1, 2)).unwrap();
    table.set_endpoint(SERVER, "10.0.0.7:8080".parse().unwrap());
    table.set_endpoint(RealId(8), "[fd00::8]:8080".parse().unwrap());
    Arc::new(table)
}

fn client(i: u32) -> FlowKey {
    FlowKey::v4(Proto::Tcp, 0xc000_0200 + (i >> 16), 0x0a00_0064, i as u16, 80)
}

fn find(table: &Table, key: &FlowKey) -> Option<Found> {
    let hash = table.hash(key);
    table.find(table.glance(hash), hash, key)
}

fn open(tracker: &mut Tracker, key: &FlowKey, real: RealId, now: Tick) -> Result<Opened, Refused> {
    let hash = tracker.table().hash(key);
    tracker.open(key, hash, SYN, now, || {
        Some(Chosen { real, replies_pass: true, hop: 0, template: None, is_watched: false, listens: false })
    })
}

#[test]
fn a_nat_connection_is_found_from_both_ends_until_it_ends() {
    let mut tracker = Tracker::new(table(100), 0, 1);
    let v6 =
        FlowKey::new(Proto::Udp, "[2001:db8::1]:9".parse().unwrap(), "[2001:db8::2]:53".parse().unwrap());
    for (key, real, rip) in [(client(5), SERVER, "10.0.0.7:8080"), (v6, RealId(8), "[fd00::8]:8080")] {
        let reply = FlowKey::new(key.proto(), rip.parse().unwrap(), key.src());
        let stranger = FlowKey::new(key.proto(), Endpoint::new(reply.src().addr, 8081), key.src());
        assert!(find(tracker.table(), &key).is_none());
        assert!(matches!(open(&mut tracker, &key, real, Tick(0)), Ok(Opened::New(_))));
        assert!(matches!(open(&mut tracker, &key, real, Tick(0)), Ok(Opened::Already(_))));
        tracker.settle();
        let there = find(tracker.table(), &key).unwrap();
        let back = find(tracker.table(), &reply).unwrap();
        assert_eq!((there.direction(), back.direction()), (Direction::Original, Direction::Reply));
        assert_eq!((there.real(), there.slot()), (real, back.slot()));
        assert_eq!(tracker.table().connections().next().map(|c| c.key), Some(key));
        assert!(find(tracker.table(), &stranger).is_none(), "another port of the server");
        assert!(tracker.end(&back).is_some() && tracker.end(&there).is_none());
        assert!(find(tracker.table(), &key).is_none() && find(tracker.table(), &reply).is_none());
    }
}

#[test]
fn of_two_connections_with_the_same_replies_the_one_left_gets_them() {
    let mut tracker = Tracker::new(table(10), 0, 1);
    let by = |vport| FlowKey::v4(Proto::Tcp, 0xc000_0201, 0x0a00_0064, 4000, vport);
    let reply = FlowKey::new(Proto::Tcp, "10.0.0.7:8080".parse().unwrap(), by(80).src());
    for vport in [80, 81] {
        assert!(open(&mut tracker, &by(vport), SERVER, Tick(0)).is_ok());
    }
    tracker.settle();
    let (first, second) = [80, 81].map(|vport| find(tracker.table(), &by(vport)).unwrap()).into();
    assert_eq!(find(tracker.table(), &reply).unwrap().slot(), first.slot());
    tracker.end(&first);
    assert_eq!(find(tracker.table(), &reply).unwrap().slot(), second.slot());
    tracker.end(&second);
    assert!(find(tracker.table(), &reply).is_none());
}

#[test]
fn a_full_table_refuses_and_takes_one_again_when_one_has_ended() {
    for max in [1, 10, 1000, 100_000] {
        let mut tracker = Tracker::new(table(max), 0, 1);
        for i in 0..max {
            assert!(open(&mut tracker, &client(i), SERVER, Tick(0)).is_ok(), "{i} of {max}");
        }
        assert_eq!(open(&mut tracker, &client(max), SERVER, Tick(0)).unwrap_err(), Refused::Full);
        let one = find(tracker.table(), &client(max / 2)).unwrap();
        tracker.end(&one);
        assert!(open(&mut tracker, &client(max), SERVER, Tick(0)).is_ok());
        assert_eq!(tracker.table().connections().count(), max as usize);
    }
}

#[test]
fn a_full_table_whose_connections_come_and_go_never_refuses_while_there_is_room() {
    let max = 20_000;
    let mut tracker = Tracker::new(table(max), 0, 1);
    let mut dice = 5;
    let mut open_now: Vec<u32> = (0..max).collect();
    open_now.iter().for_each(|&i| assert!(open(&mut tracker, &client(i), SERVER, Tick(0)).is_ok()));
    for i in max..max + 300_000 {
        let place = random(&mut dice) as usize % open_now.len();
        let gone = find(tracker.table(), &client(open_now[place])).unwrap();
        tracker.end(&gone);
        assert!(open(&mut tracker, &client(i), SERVER, Tick(0)).is_ok(), "{i}");
        open_now[place] = i;
    }
}

#[test]
fn a_connection_takes_less_than_96_bytes_all_in() {
    let table = table(1 << 20);
    let each = table.bytes() as f64 / table.capacity() as f64;
    assert!(each <= 96.0, "{each}");
}

#[test]
fn silent_connections_are_swept_out_within_a_second_of_their_timeout() {
    let mut tracker = Tracker::new(table(5000), 0, 1);
    let expiry = Expiry::default();
    (0..4000).for_each(|i| assert!(open(&mut tracker, &client(i), SERVER, Tick(0)).is_ok()));
    for i in (0..4000).step_by(4) {
        let found = find(tracker.table(), &client(i)).unwrap();
        let touched = tracker.table().touch(found, TcpFlags::ACK, Tick(1), &expiry);
        assert_eq!(touched, Touched::Same);
    }
    let mut gone = 0;
    let syn_recv = expiry.of(SERVER, State::SynRecv);
    for t in 0..=syn_recv {
        tracker.sweep(Tick(t), &expiry, 256, |_| gone += 1);
    }
    assert_eq!(gone, 0);
    for t in syn_recv + 2..=syn_recv + 1 + Tick::PER_SECOND {
        let mut before = gone;
        while tracker.sweep(Tick(t), &expiry, 256, |ended| {
            assert_eq!(ended, Ended { real: SERVER, standing: Some(Standing::Active) });
            gone += 1;
        }) {
            assert!(gone - before <= 256 / 8 + 1, "one call ends a few of many");
            before = gone;
        }
    }
    assert_eq!((gone, tracker.table().connections().count()), (3000, 1000));
}

#[test]
fn a_packet_of_a_connection_silent_for_too_long_finds_it_over() {
    let mut tracker = Tracker::new(table(10), 0, 1);
    let expiry = Expiry::default();
    assert!(open(&mut tracker, &client(1), SERVER, Tick(0)).is_ok());
    let found = find(tracker.table(), &client(1)).unwrap();
    let after = |seconds| Tick(seconds * Tick::PER_SECOND);
    let touch = |found: &Found, t| tracker.table().touch(*found, TcpFlags::ACK, t, &expiry);
    assert_eq!(touch(&found, after(60)), Touched::Same, "SYN_RECV allows 60 s, and the ACK establishes");
    let found = find(tracker.table(), &client(1)).unwrap();
    assert_eq!(found.state(), State::Established);
    assert_eq!(touch(&found, after(961)), Touched::Over);
}

#[test]
fn a_service_with_timeouts_of_its_own_remembers_as_long_as_it_says() {
    let seconds = |t: u32| Tick(t * Tick::PER_SECOND);
    let mut own = Timeouts::default();
    own.set(State::SynRecv, Duration::from_secs(10));
    own.set(State::Established, Duration::from_secs(2000));
    let other = RealId(9);
    let expiry = Expiry::new(&Conduct::default(), [(SERVER, own)]);
    let mut tracker = Tracker::new(table(10), 0, 1);
    tracker.table().set_endpoint(other, "10.0.0.9:8080".parse().unwrap());
    for (i, real) in [(1, SERVER), (2, other), (3, SERVER), (4, other)] {
        assert!(open(&mut tracker, &client(i), real, seconds(0)).is_ok());
    }
    let touch = |tracker: &Tracker, i: u32, now: Tick| {
        let found = find(tracker.table(), &client(i)).unwrap();
        tracker.table().touch(found, TcpFlags::ACK, now, &expiry)
    };
    // 2 was silent for longer than SERVER's service allows, but not for longer than its own.
    assert_eq!([1, 2].map(|i| touch(&tracker, i, seconds(10))), [Touched::Same; 2]);
    let mut left = |now: Tick| {
        tracker.sweep_all(now, &expiry, |_| {});
        let mut ports: Vec<u16> = tracker.table().connections().map(|c| c.key.src().port).collect();
        ports.sort_unstable();
        ports
    };
    assert_eq!(left(seconds(11)), [1, 2, 4], "SYN_RECV: 10 s and 60 s");
    assert_eq!(left(seconds(61)), [1, 2]);
    assert_eq!(left(seconds(911)), [1], "ESTABLISHED: 2000 s and 900 s");
    assert_eq!(left(seconds(2010)), [1]);
    assert!(left(seconds(2011)).is_empty());
}

/// A generator good enough to shuffle with, and the same on every run.
fn random(state: &mut u64) -> u32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as u32
}

/// The key of the replies to packets of this key from [`SERVER`] or, with IPv6, from server 8.
fn reply_to(key: &FlowKey) -> FlowKey {
    let rip = if key.is_v4() { "10.0.0.7:8080" } else { "[fd00::8]:8080" };
    FlowKey::new(key.proto(), rip.parse().unwrap(), key.src())
}

fn find_reply(tracker: &mut Tracker, key: &FlowKey) -> Option<Found> {
    let reply = reply_to(key);
    let found = find(tracker.table(), &reply);
    let hash = tracker.table().hash(&reply);
    found.or_else(|| tracker.find_fresh(hash, &reply))
}

#[test]
fn after_two_million_random_operations_the_table_agrees_with_a_plain_map() {
    let mut tracker = Tracker::new(table(3000), 0, 1);
    let mut model: HashMap<FlowKey, RealId> = HashMap::new();
    let mut dice = 42;
    let key = |i: u32| match i % 3 {
        0 => client(i),
        1 => FlowKey::v4(Proto::Udp, i, 2, 3, 4),
        _ => FlowKey::v6(Proto::Tcp, (i as u128) << 60, 7, 1, 80),
    };
    for step in 0..2_000_000u32 {
        let key = key(random(&mut dice) % 4096);
        let real = if key.is_v4() { SERVER } else { RealId(8) };
        let found = find(tracker.table(), &key);
        assert_eq!(found.map(|f| f.real()), model.get(&key).copied(), "step {step}: {key}");
        match (random(&mut dice) % 100, found) {
            (0..45, Some(found)) => {
                assert!(tracker.end(&found).is_some());
                model.remove(&key);
            }
            (0..60, None) => match open(&mut tracker, &key, real, Tick(step)) {
                Ok(Opened::New(_)) => drop(model.insert(key, real)),
                Ok(Opened::Already(_)) => panic!("step {step}: {key} was not there"),
                Err(refused) => assert_eq!((refused, model.len()), (Refused::Full, 3000), "step {step}"),
            },
            (60..80, found) => {
                let reply = find_reply(&mut tracker, &key);
                assert_eq!(reply.map(|f| f.slot()), found.map(|f| f.slot()), "step {step}: reply to {key}");
            }
            (80..82, found) => {
                tracker.settle();
                let reply = find(tracker.table(), &reply_to(&key));
                assert_eq!(reply.map(|f| f.slot()), found.map(|f| f.slot()), "step {step}: reply to {key}");
            }
            _ => {}
        }
    }
    let listed: HashMap<FlowKey, RealId> = tracker.table().connections().map(|c| (c.key, c.real)).collect();
    assert_eq!(listed, model);
    tracker.settle();
    assert_eq!(tracker.table().references(), 2 * model.len());
    for key in model.keys() {
        let found = find(tracker.table(), &reply_to(key)).unwrap();
        assert!(tracker.end(&found).is_some());
    }
    let table = tracker.table.clone();
    drop(tracker);
    assert_eq!((table.references(), table.slots.left()), (0, 3000));
    assert_eq!(table.overflow.left(), table.overflow_buckets(), "every overflow bucket is free again");
}

/// Two workers open and end the same few connections, each letting its replies be found now and then, in a table so
/// small that buckets overflow; a third thread finds those that nobody ends, at any moment.
#[test]
fn workers_that_open_and_end_the_same_connections_agree_on_each() {
    const KEYS: u32 = 64;
    const LASTING: std::ops::Range<u32> = 1000..1016;
    let table = table(KEYS + LASTING.len() as u32 + 4);
    let mut tracker = Tracker::new(table.clone(), 0, 1);
    LASTING
        .for_each(|i| assert!(matches!(open(&mut tracker, &client(i), SERVER, Tick(0)), Ok(Opened::New(_)))));
    drop(tracker);

    let over = std::sync::atomic::AtomicBool::new(false);
    let work = |number: u32| {
        let mut tracker = Tracker::new(table.clone(), number, 2);
        let (mut opened, mut ended, mut dice) = (0, 0, number as u64);
        for _ in 0..600_000 {
            let key = client(random(&mut dice) % KEYS);
            let found = if random(&mut dice).is_multiple_of(2) {
                find(&table, &key)
            } else {
                find_reply(&mut tracker, &key)
            };
            match found {
                Some(found) => ended += tracker.end(&found).is_some() as usize,
                None => match open(&mut tracker, &key, SERVER, Tick(0)) {
                    Ok(Opened::New(_)) => opened += 1,
                    Ok(Opened::Already(other)) => assert_eq!(other.real(), SERVER),
                    Err(refused) => panic!("all fit, but {refused:?}"),
                },
            }
            if random(&mut dice).is_multiple_of(24) {
                tracker.settle();
            }
        }
        (opened, ended)
    };
    let look = || {
        while !over.load(std::sync::atomic::Ordering::Relaxed) {
            for key in LASTING.map(client) {
                assert_eq!(find(&table, &key).map(|f| f.real()), Some(SERVER), "{key}");
                assert_eq!(find(&table, &reply_to(&key)).map(|f| f.real()), Some(SERVER), "reply to {key}");
            }
        }
    };
    let (opened, ended) = std::thread::scope(|scope| {
        let looker = scope.spawn(look);
        let workers = [0, 1].map(|number| scope.spawn(move || work(number)));
        let counts = workers.map(|worker| worker.join());
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        looker.join().unwrap();
        counts.into_iter().map(Result::unwrap).fold((0, 0), |(o, e), (opened, ended)| (o + opened, e + ended))
    });
    let left = opened - ended + LASTING.len();
    let keys: std::collections::HashSet<FlowKey> = table.connections().map(|c| c.key).collect();
    assert_eq!((table.connections().count(), keys.len()), (left, left), "no connection is there twice");
    for key in (0..KEYS).map(client) {
        assert_eq!(find(&table, &key).is_some(), keys.contains(&key), "{key}");
        assert_eq!(find(&table, &reply_to(&key)).is_some(), keys.contains(&key), "reply to {key}");
    }
    assert_eq!(table.references(), 2 * left, "nothing is left of those that ended");
    assert_eq!(table.slots.left() + left, table.capacity() as usize);
}

#[test]
fn a_reply_put_off_is_not_put_in_when_another_worker_has_ended_its_connection() {
    let table = table(10);
    let (mut one, mut other) = (Tracker::new(table.clone(), 0, 2), Tracker::new(table.clone(), 1, 2));
    let Ok(Opened::New(found)) = open(&mut one, &client(1), SERVER, Tick(0)) else {
        panic!("it is the first")
    };
    assert!(find(&table, &reply_to(&client(1))).is_none(), "not yet");
    assert!(other.end(&found).is_some());
    one.settle();
    assert_eq!(table.references(), 0);
}

#[test]
fn a_connection_without_room_for_its_replies_is_refused_whole() {
    let table = table(1000);
    table.overflow.take(usize::MAX, usize::MAX, |_| {});
    let mut tracker = Tracker::new(table.clone(), 0, 1);
    let (mut opened, mut refused) = (0, 0);
    for i in 0..1000 {
        match open(&mut tracker, &client(i), SERVER, Tick(0)) {
            Ok(_) => opened += 1,
            Err(Refused::Full) => refused += 1,
            Err(Refused::NoServer) => panic!("there is one"),
        }
        let found = [find(&table, &client(i)), find(&table, &reply_to(&client(i)))];
        assert_eq!(found[0].is_some(), found[1].is_some(), "{i} is found from both ends or from neither");
    }
    assert!(refused > 0 && opened > 800, "{opened} opened");
    assert_eq!((table.references(), table.connections().count()), (2 * opened, opened));
}

#[test]
fn nobody_is_asked_for_a_server_for_a_connection_that_is_there_and_none_leaves_all_as_it_was() {
    let mut tracker = Tracker::new(table(10), 0, 1);
    let (key, hash) = (client(1), tracker.table().hash(&client(1)));
    let refused = tracker.open(&key, hash, SYN, Tick(0), || None).unwrap_err();
    assert_eq!((refused, tracker.table().references()), (Refused::NoServer, 0));
    assert!(open(&mut tracker, &key, SERVER, Tick(0)).is_ok());
    let again = tracker.open(&key, hash, SYN, Tick(0), || panic!("it is there"));
    assert!(matches!(again, Ok(Opened::Already(_))));
}
