//! Slow start: whose ramp begins when services are compiled, and when it ends. And who is held back at first, since its
//! MAC address is being asked for: what it was sent would be lost.

use super::ids::Ids;
use crate::dataplane::nexthop::{Missing, NextHops};
use crate::dataplane::snapshot::Services;
use crate::net::Tick;
use crate::service::{Ramp, RealId, RealServer, SlowStart, VirtualService};
use hashbrown::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a newcomer is held back at most: who does not answer by then is nobody to wait for.
const HELD: Duration = Duration::from_secs(1);

/// Begins the ramps of a service's servers that take connections and `took` none before, one after the other; those that
/// are not [met](is_met) are held.
///
/// Where no other server takes any, none ramps: nobody would be spared. So a director starts with whole shares, as does a
/// service.
pub(super) fn begin(
    reals: &mut [RealServer],
    took: &[bool],
    slow_start: Option<SlowStart>,
    hops: &NextHops,
    now: Tick,
) {
    let any_other = reals.iter().zip(took).any(|(real, took)| real.weight > 0 && *took);
    for (real, took) in reals.iter_mut().zip(took) {
        real.ramp = match took {
            _ if real.weight == 0 || !any_other => None,
            true => real.ramp.filter(|ramp| slow_start.is_some() || ramp.held_for(now).is_some()),
            false if !is_met(real, hops) => Some(Ramp::held(now)),
            false => slow_start.map(|slow_start| Ramp::new(slow_start, now)),
        };
    }
}

/// Whether nobody has to be asked yet how to reach a server.
fn is_met(real: &RealServer, hops: &NextHops) -> bool {
    !matches!(hops.find(real.endpoint.addr), Err(Missing::Neighbour(..)))
}

/// Begins the ramps of those servers of a service that are held and need not be any longer; what the service becomes, if
/// there are any.
pub(super) fn released(
    service: &VirtualService,
    slow_start: Option<SlowStart>,
    hops: &NextHops,
    now: Tick,
) -> Option<Arc<VirtualService>> {
    let is_due = |real: &RealServer| {
        let held_for = real.ramp.and_then(|ramp| ramp.held_for(now));
        held_for.is_some_and(|ticks| ticks >= Tick::span(HELD) || is_met(real, hops))
    };
    if !service.reals.iter().any(is_due) {
        return None;
    }
    let mut service = service.clone();
    let due = service.reals.iter_mut().filter(|real| is_due(real));
    due.for_each(|real| real.ramp = slow_start.map(|slow_start| Ramp::new(slow_start, now)));
    Some(Arc::new(service))
}

/// Servers whose ramps are over, but which have fewer connections than others still.
///
/// If its connections last as long as theirs, it has as many before it was given twice what it lacked. If they do not,
/// it never has; but then nothing is held back from it for longer than that.
#[derive(Debug, Default)]
pub(super) struct CatchingUp(HashMap<RealId, Goal>);

/// How many connections a server has been given when it has been given enough.
type Goal = u64;

impl CatchingUp {
    /// The services some of whose servers' ramps end now: where each is, and what it becomes.
    pub(super) fn ended(
        &mut self,
        services: &Services,
        ids: &Ids,
        now: Tick,
    ) -> Vec<(usize, Arc<VirtualService>)> {
        let mut still = HashMap::new();
        let mut ended = Vec::new();
        for (place, service) in services.table().services().iter().enumerate() {
            let mut is_over = |real: &RealServer| {
                if !real.ramp.is_some_and(|ramp| ramp.is_over(now)) {
                    return false;
                }
                if !services.would_flood(place, real) {
                    return true;
                }
                let given = ids.given(real.id);
                let goal = self.0.get(&real.id).copied().unwrap_or_else(|| given + 2 * lack(service, real));
                still.insert(real.id, goal);
                given >= goal
            };
            let over: Vec<bool> = service.reals.iter().map(&mut is_over).collect();
            if over.contains(&true) {
                let mut service = VirtualService::clone(service);
                let of_them = service.reals.iter_mut().zip(over).filter(|(_, over)| *over);
                of_them.for_each(|(real, _)| real.ramp = None);
                ended.push((place, Arc::new(service)));
            }
        }
        self.0 = still;
        ended
    }
}

/// How many connections the server lacks to have as many for its weight as those that do not ramp.
fn lack(service: &VirtualService, real: &RealServer) -> u64 {
    let connections = |real: &RealServer| real.live.connections();
    let weight = |real| u64::from(service.scheduler.weight(real));
    let settled = || service.reals.iter().filter(|real| real.ramp.is_none() && real.weight > 0);
    let (all, weights): (u64, u64) = (settled().map(connections).sum(), settled().map(weight).sum());
    (all * weight(real) / weights.max(1)).saturating_sub(connections(real))
}

#[cfg(test)]
mod tests {
    use super::super::Publisher;
    use crate::config::{self, Config};
    use crate::conntrack::{Seed, Table};
    use crate::control::desired::Desired;
    use crate::dataplane::counters::Counters;
    use crate::dataplane::nexthop::{Link, Neighbour, Rib, Route};
    use crate::net::{FlowKey, InterfaceId, Mac, Proto, Tick};
    use crate::service::{Ramp, RealServer, Standing};
    use std::sync::Arc;

    fn publisher() -> (Publisher, Arc<Counters>) {
        let counters: Arc<Counters> = Arc::default();
        let table = Arc::new(Table::new(8, Seed::new(1, 2)).unwrap());
        (Publisher::new(table, Arc::default(), vec![counters.clone()], Vec::new()), counters)
    }

    /// A service with servers 10.0.0.1, 10.0.0.2 … of these weights; -1 is none.
    fn config(keys: &str, weights: &[i32]) -> Config {
        let real = |(last, weight)| {
            format!("[[virtual_service.real_server]]\naddress = \"10.0.0.{last}\"\nweight = {weight}\n")
        };
        let reals: String = (1..).zip(weights).filter(|(_, weight)| **weight >= 0).map(real).collect();
        let service = format!("[[virtual_service]]\naddress = \"192.0.2.1:80\"\n{keys}\n{reals}");
        config::parse("f", &format!("[[interface]]\nname = \"eth0\"\n{service}")).unwrap()
    }

    fn reals(publisher: &Publisher) -> Vec<RealServer> {
        publisher.services().table().services()[0].reals.clone()
    }

    /// Publishes this at so many seconds; what each server has of its share then, in percent.
    fn shares(publisher: &mut Publisher, seconds: u32, keys: &str, weights: &[i32]) -> Vec<u32> {
        let now = Tick(seconds * Tick::PER_SECOND);
        publisher.set_desired(&Desired::from(config(keys, weights)), now).unwrap();
        let share = |ramp: Ramp| (ramp.share(now) * 100).div_ceil(Ramp::WHOLE);
        reals(publisher).iter().map(|real| real.ramp.map_or(100, share)).collect()
    }

    const SLOW: &str = "slow_start = 100";

    #[test]
    fn a_server_ramps_that_comes_new_or_back_to_others_and_goes_on_as_it_began() {
        let (mut publisher, _) = publisher();
        for (seconds, weights, expected) in [
            // A director and a service start with whole shares.
            (10, &[1, 1][..], &[100, 100][..]),
            (20, &[1, 1, 3], &[100, 100, 1]),
            (40, &[1, 1, 5, 0], &[100, 100, 20, 100]),
            (50, &[1, 1, 5, 2], &[100, 100, 30, 1]),
            // One leaves, and is back.
            (70, &[1, -1, 5, 2], &[100, 50, 20]),
            (80, &[0, 1, 5, 2], &[100, 1, 60, 30]),
            (90, &[4, 1, 5, 2], &[1, 10, 70, 40]),
        ] {
            assert_eq!(shares(&mut publisher, seconds, SLOW, weights), expected, "after {seconds} s");
        }
        assert_eq!(shares(&mut publisher, 95, "", &[4, 1, 5, 2]), [100; 4], "switched off");
    }

    #[test]
    fn where_nobody_else_takes_connections_nobody_ramps() {
        let (mut publisher, _) = publisher();
        for (weights, expected) in [
            (&[][..], &[][..]),
            (&[3], &[100]),
            (&[0], &[100]),
            (&[2, 0], &[100, 100]),
            (&[-1, 0, 4, 4], &[100, 100, 100]),
            // Now there is somebody.
            (&[-1, 4, 4, 4], &[1, 100, 100]),
        ] {
            assert_eq!(shares(&mut publisher, 1, SLOW, weights), expected, "{weights:?}");
        }
    }

    #[test]
    fn a_ramp_ends_when_it_is_over_and_the_service_is_compiled_once() {
        let (mut publisher, _) = publisher();
        shares(&mut publisher, 1, "slow_start = 10\nscheduler = \"wrr\"", &[1, 1]);
        shares(&mut publisher, 5, "slow_start = 10\nscheduler = \"wrr\"", &[1, 1, 1]);
        let service = |publisher: &Publisher| publisher.services().table().services()[0].clone();
        let ramping = service(&publisher);
        publisher.settle(Tick(1499));
        assert!(Arc::ptr_eq(&ramping, &service(&publisher)));
        publisher.settle(Tick(1500));
        assert!(reals(&publisher).iter().all(|real| real.ramp.is_none()));
        let generation = publisher.current();
        publisher.settle(Tick(1600));
        assert!(Arc::ptr_eq(&generation, &publisher.current()));
    }

    #[test]
    fn one_with_few_connections_goes_on_ramping_until_it_has_as_many_as_others_or_was_given_twice_what_it_lacked()
     {
        let keys = "slow_start = 10\nscheduler = \"wlc\"";
        let open = |real: &RealServer, n| (0..n).for_each(|_| real.live.opened(Standing::Active));
        for short in [false, true] {
            let (mut publisher, counters) = publisher();
            shares(&mut publisher, 1, keys, &[2, 2]);
            reals(&publisher).iter().for_each(|real| open(real, 100));
            shares(&mut publisher, 5, keys, &[2, 2, 4]);
            let new = reals(&publisher)[2].clone();
            open(&new, 20);
            counters.real(new.id).connections.add(20);
            let ramps = |publisher: &mut Publisher, seconds: u32| {
                publisher.settle(Tick(seconds * Tick::PER_SECOND));
                reals(publisher)[2].ramp.is_some()
            };
            // It lacks 180 of 200.
            assert!(ramps(&mut publisher, 15));
            if short {
                counters.real(new.id).connections.add(359);
                assert!(ramps(&mut publisher, 16));
                counters.real(new.id).connections.add(1);
            } else {
                open(&new, 179);
                assert!(ramps(&mut publisher, 1000));
                open(&new, 1);
            }
            assert!(!ramps(&mut publisher, 1001), "short: {short}");
        }
    }

    /// The network of 10.0.0.0/24 with these neighbours.
    fn rib(known: &[u8]) -> Rib {
        let interface = InterfaceId(0);
        let neighbour = |&last: &u8| Neighbour {
            interface,
            address: [10, 0, 0, last].into(),
            mac: Mac([2, 0, 0, 0, 0, last]),
        };
        let link = Link {
            name: "eth0".into(),
            mac: Mac([2; 6]),
            mtu_bytes: 1500,
            addresses: vec!["10.0.0.200/24".parse().unwrap()],
            up: true,
            vlan: None,
        };
        let route = Route {
            to: "10.0.0.0/24".parse().unwrap(),
            via: None,
            interface: Some(interface),
            source: None,
            metric: 0,
        };
        Rib { links: vec![link], routes: vec![route], neighbours: known.iter().map(neighbour).collect() }
    }

    #[test]
    fn a_newcomer_that_nobody_knows_the_way_to_is_held_until_somebody_does_or_for_a_second() {
        for (keys, after) in [("", 100), (SLOW, 1)] {
            let (mut publisher, _) = publisher();
            publisher.set_rib(&rib(&[1]));
            let held = |publisher: &Publisher| -> Vec<bool> {
                let is_held = |ramp: Ramp| ramp.held_for(Tick(0)).is_some();
                reals(publisher).iter().map(|real| real.ramp.is_some_and(is_held)).collect()
            };
            shares(&mut publisher, 1, keys, &[1, 1]);
            assert_eq!(held(&publisher), [false; 2], "none takes more than the other");
            shares(&mut publisher, 2, keys, &[1, 1, 1, 0, 1]);
            assert_eq!(held(&publisher), [false, false, true, false, true]);
            // Another change leaves that as it is.
            shares(&mut publisher, 2, keys, &[2, 1, 1, 0, 1]);
            assert_eq!(held(&publisher), [false, false, true, false, true]);
            publisher.set_rib(&rib(&[1, 3]));
            publisher.welcome(Tick(250));
            assert_eq!(held(&publisher), [false, false, false, false, true]);
            let share = |real: &RealServer, now| {
                real.ramp.map_or(100, |ramp| ramp.share(now) * 100 / Ramp::WHOLE + 1)
            };
            assert_eq!(share(&reals(&publisher)[2], Tick(250)), after);
            publisher.settle(Tick(299));
            assert!(held(&publisher)[4]);
            publisher.settle(Tick(300));
            assert_eq!(held(&publisher), [false; 5]);
            assert_eq!(share(&reals(&publisher)[4], Tick(300)), after);
        }
    }

    #[test]
    fn a_ramp_holds_where_connections_are_given_out() {
        let (mut publisher, _) = publisher();
        let keys = &format!("{SLOW}\nscheduler = \"wrr\"");
        shares(&mut publisher, 1, keys, &[1]);
        shares(&mut publisher, 5, keys, &[1, 1]);
        let given = |seconds: u32| {
            let to = |client| FlowKey::v4(Proto::Tcp, client, 0xc000_0201, 4000, 80);
            let services = publisher.services();
            let at = services.table().addressed_by(&to(0)).unwrap();
            let pick = |client| services.pick(at, &to(client), Tick(seconds * Tick::PER_SECOND)).unwrap().id;
            (0..1000).filter(|&client| pick(client) == reals(&publisher)[1].id).count()
        };
        for (seconds, expected) in [(25, 100), (55, 250), (105, 500)] {
            assert!(given(seconds).abs_diff(expected) <= 2, "after {seconds} s");
        }
    }
}
