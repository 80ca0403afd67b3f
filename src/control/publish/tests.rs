use super::*;
use crate::config;
use crate::conntrack::Seed;
use crate::net::{Proto, Tick};
use crate::service::{Standing, State};

const SERVER: &str = "10.0.0.11:8080";

fn publisher() -> (Publisher, Arc<Counters>) {
    let counters: Arc<Counters> = Arc::default();
    let table = Arc::new(Table::new(8, Seed::new(1, 2)).unwrap());
    (Publisher::new(table, Arc::default(), vec![counters.clone()], Vec::new()), counters)
}

/// A service at each VIP, with these servers behind it.
fn services(vips: &[&str], servers: &[&str]) -> Config {
    let real = |rip: &&str| format!("[[virtual_service.real_server]]\naddress = \"{rip}\"\n");
    let reals: String = servers.iter().map(real).collect();
    let service = |vip| format!("[[virtual_service]]\naddress = \"{vip}\"\nforward = \"nat\"\n{reals}");
    let text: String = vips.iter().map(service).collect();
    config::parse("f", &format!("[[interface]]\nname = \"eth0\"\n{text}")).unwrap()
}

fn key(vip: &str) -> Key {
    Key::new(Proto::Tcp, vip.parse().unwrap())
}

fn vip(text: &str) -> Endpoint {
    text.parse().unwrap()
}

/// The server of this address in the first service.
fn server(publisher: &Publisher, address: &str) -> Option<RealServer> {
    let first = publisher.services().table().services().first()?;
    first.reals.iter().find(|real| real.endpoint == vip(address)).cloned()
}

#[test]
fn a_removed_server_keeps_its_id_its_counts_and_its_decision_and_comes_back_with_them() {
    let (mut publisher, _) = publisher();
    let both = services(&["10.0.0.1:80"], &[SERVER, "10.0.0.12:8080"]);
    publisher.set_services(&both).unwrap();
    let before = server(&publisher, SERVER).unwrap();
    before.live.opened(Standing::Active);

    publisher.set_services(&services(&["10.0.0.1:80"], &["10.0.0.12:8080"])).unwrap();
    assert!(server(&publisher, SERVER).is_none());
    let departed = publisher.departed_from(key("10.0.0.1:80")).next().unwrap();
    assert_eq!(departed.id, before.id);
    assert!(publisher.current().decisions[before.id.index()].is_some(), "its connections go on");

    publisher.set_services(&both).unwrap();
    let back = server(&publisher, SERVER).unwrap();
    assert_eq!((back.id, back.live.active()), (before.id, 1));
}

#[test]
fn a_removed_server_keeps_the_timeouts_that_its_service_had_of_its_own() {
    let (mut publisher, _) = publisher();
    let mut with_own = services(&["10.0.0.1:80"], &[SERVER]);
    with_own.services[0].policy.timeouts.set(State::Close, Duration::from_secs(77));
    publisher.set_services(&with_own).unwrap();
    let id = server(&publisher, SERVER).unwrap().id;
    let seconds = |publisher: &Publisher, state| publisher.current().expiry.of(id, state) / Tick::PER_SECOND;
    let mut without = services(&[], &[]);
    without.director.conduct.timeouts.set(State::Udp, Duration::from_secs(5));
    for config in [&with_own, &without, &without] {
        publisher.set_services(config).unwrap();
        assert_eq!(seconds(&publisher, State::Close), 77);
    }
    assert_eq!(seconds(&publisher, State::Udp), 5, "what it did not say is the director's");
}

#[test]
fn an_id_is_given_back_only_after_its_last_connection_and_a_while() {
    let (mut publisher, counters) = publisher();
    publisher.set_services(&services(&["10.0.0.1:80"], &[SERVER])).unwrap();
    let real = server(&publisher, SERVER).unwrap();
    real.live.opened(Standing::Inactive);
    counters.real(real.id).connections.add(3);
    counters.count_latency(real.id, 900);
    publisher.set_services(&services(&["10.0.0.1:80"], &[])).unwrap();

    let start = Instant::now();
    assert!(!publisher.retire(start) && !publisher.retire(start + 2 * GRACE), "a connection is left");
    real.live.closed(Standing::Inactive);
    assert!(!publisher.retire(start + 2 * GRACE), "a worker may yet open one");
    assert!(!publisher.retire(start + 3 * GRACE - Duration::from_millis(1)));
    assert!(publisher.retire(start + 3 * GRACE));
    assert!(publisher.departed_from(key("10.0.0.1:80")).next().is_none());
    let retired = publisher.retired()[&key("10.0.0.1:80")];
    assert_eq!((retired.traffic.connections, retired.latency.count()), (3, 1));
    assert!(!publisher.retire(start + 4 * GRACE), "once");
}

#[test]
fn connections_of_a_removed_service_are_counted_while_they_last() {
    let (mut publisher, _) = publisher();
    publisher.set_services(&services(&["10.0.0.1:80", "10.0.0.2:80"], &[SERVER])).unwrap();
    for service in publisher.services().table().services() {
        service.reals[0].live.opened(Standing::Active);
    }
    publisher.set_services(&services(&["10.0.0.2:80"], &[SERVER])).unwrap();
    let departed = publisher.departed().into_values().flatten().map(|real| real.live.active()).sum::<u32>();
    assert_eq!(departed, 1);
}

#[test]
fn one_edit_compiles_one_service_and_leaves_the_others_what_they_were() {
    let (mut publisher, _) = publisher();
    let before = Desired::from(services(&["10.0.0.1:80", "10.0.0.2:80"], &[SERVER]));
    publisher.set_desired(&before, Tick(0)).unwrap();
    let compiled = |publisher: &Publisher| publisher.services().table().services().to_vec();
    let (old, weight) = (
        compiled(&publisher),
        r#"{"edit": "set_weight", "service": "tcp 10.0.0.2:80",
        "server": "10.0.0.11:8080", "weight": 7}"#,
    );
    let after = before.apply(&[serde_json::from_str(weight).unwrap()], Duration::ZERO).unwrap().desired;
    assert!(publisher.take_moved());
    publisher.set_desired(&after, Tick(0)).unwrap();
    assert!(!publisher.take_moved(), "a weight moves nobody");
    let new = compiled(&publisher);
    assert_eq!((Arc::ptr_eq(&old[0], &new[0]), Arc::ptr_eq(&old[1], &new[1])), (true, false));
    assert_eq!((new[1].reals[0].weight, new[1].reals[0].id), (7, old[1].reals[0].id));
    let decided = |id: RealId| {
        publisher.current().decision(id).is_some_and(|d| Arc::ptr_eq(&d.live, &old[id.index()].reals[0].live))
    };
    assert!(decided(RealId(0)) && decided(RealId(1)));
}

#[test]
fn a_drained_server_has_weight_0_and_its_old_one_afterwards_and_only_its_service_is_compiled() {
    let (mut publisher, _) = publisher();
    let before = Desired::from(services(&["10.0.0.1:80", "10.0.0.2:80"], &[SERVER]));
    let after = |state: &Desired, edit: &str| {
        state.apply(&[serde_json::from_str(edit).unwrap()], Duration::ZERO).unwrap().desired
    };
    let drained = after(
        &before,
        r#"{"edit": "drain", "service": "tcp 10.0.0.2:80", "server": "10.0.0.11", "deadline_seconds": 9}"#,
    );
    let longer = after(&drained, r#"{"edit": "drain", "service": "tcp 10.0.0.2:80", "server": "10.0.0.11"}"#);
    let back = after(&longer, r#"{"edit": "undrain", "server": "10.0.0.11"}"#);
    let published = [&before, &drained, &longer, &back].map(|state| {
        publisher.set_desired(state, Tick(0)).unwrap();
        publisher.services().table().services().to_vec()
    });
    let real = |place: usize| {
        let real = &published[place][1].reals[0];
        (real.id, real.weight, real.is_shut)
    };
    let id = real(0).0;
    assert_eq!([1, 2, 3].map(real), [(id, 0, true), (id, 0, true), (id, 1, false)]);
    let same = |a: usize, b: usize| [0, 1].map(|at| Arc::ptr_eq(&published[a][at], &published[b][at]));
    assert_eq!([same(0, 1), same(1, 2), same(2, 3)], [[true, false], [true, true], [true, false]]);
}

#[test]
fn a_removed_servers_connections_are_to_be_forgotten_if_its_service_says_so() {
    let (mut publisher, _) = publisher();
    let mut config = services(&["10.0.0.1:80", "10.0.0.2:80"], &[SERVER]);
    config.services[0].removed_server = Some(Removed::ExpireNodest);
    publisher.set_services(&config).unwrap();
    let reals: Vec<RealServer> =
        publisher.services().table().services().iter().map(|s| s.reals[0].clone()).collect();
    reals.iter().for_each(|real| real.live.opened(Standing::Active));
    publisher.set_services(&services(&[], &[])).unwrap();
    assert_eq!(publisher.expiring(), [reals[0].id]);
    reals[0].live.closed(Standing::Active);
    assert_eq!(publisher.expiring(), []);
}

#[test]
fn a_service_counted_from_zero_leaves_the_others_counts() {
    let (mut publisher, counters) = publisher();
    publisher.set_services(&services(&["10.0.0.1:80", "10.0.0.2:80"], &[SERVER])).unwrap();
    for id in [0, 1] {
        counters.real(RealId(id)).connections.add(5);
        counters.count_latency(RealId(id), 100);
    }
    publisher.zero(key("10.0.0.1:80"));
    assert_eq!([0, 1].map(|id| publisher.ids.counted(RealId(id)).traffic.connections), [0, 5]);
    let latency = |id| publisher.baselines().latency_since(RealId(id), std::slice::from_ref(&counters));
    assert_eq!([0, 1].map(|id| latency(id).map(|latency| latency.count())), [None, Some(1)]);
}

#[test]
fn more_servers_than_there_are_ids_change_nothing() {
    let (mut publisher, _) = publisher();
    publisher.set_services(&services(&["10.0.0.1:80"], &[SERVER])).unwrap();
    publisher.ids.unused = RealId::LIMIT as u32;
    let more = services(&["10.0.0.1:80"], &[SERVER, "10.0.0.12:8080"]);
    assert_eq!(publisher.set_services(&more), Err(TooManyServers));
    assert_eq!(publisher.services().table().services()[0].reals.len(), 1);
}

#[test]
fn an_id_used_again_counts_from_zero() {
    let (mut publisher, counters) = publisher();
    publisher.ids.unused = RealId::LIMIT as u32;
    publisher.ids.give(RealId(7));
    counters.real(RealId(7)).in_packets.add(5);
    publisher.set_services(&services(&["10.0.0.1:80"], &[SERVER])).unwrap();
    let real = server(&publisher, SERVER).unwrap();
    assert_eq!((real.id, publisher.baselines().of(real.id).in_packets), (RealId(7), 5));
}
