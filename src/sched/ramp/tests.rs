//! Pools under load, in simulated time.

use super::CATCHING_UP;
use crate::net::{FlowKey, Proto, Tick};
use crate::sched::tests::{from, overload, picks, servers, to};
use crate::sched::{Scheduler, build};
use crate::service::SchedulerName::{
    self, Dh, Fo, Lblc, Lblcr, Lc, Mh, Nq, Ovf, Rr, Sed, Sh, Twos, Wlc, Wrr,
};
use crate::service::{Curve, Ramp, RealServer, SchedulerOptions, SlowStart, Standing};
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

const OPTIONS: SchedulerOptions = SchedulerOptions { fallback: false, port: false, mh_table_size: 4093 };
const BY_LOAD: [SchedulerName; 6] = [Lc, Wlc, Sed, Nq, Lblc, Lblcr];

/// How many ticks a ramp lasts here.
const LASTS: u32 = 3000;

fn ramp(since: Tick) -> Option<Ramp> {
    let lasts = Duration::from_millis(u64::from(LASTS) * 10);
    Some(Ramp::new(SlowStart { lasts, curve: Curve::Linear }, since))
}

/// Numbers that look like chance.
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    /// Exponentially distributed about a mean.
    fn about(&mut self, mean: f64) -> f64 {
        -mean * ((f64::from(self.throw()) + 1.0) / 4_294_967_297.0).ln()
    }
}

/// Servers and what clients open on them.
struct Pool {
    name: SchedulerName,
    reals: Vec<RealServer>,
    scheduler: Box<dyn Scheduler>,
    now: Tick,
    /// When a connection ends, and whose it is.
    open: BinaryHeap<Reverse<(u32, usize)>>,
    dice: Dice,
    /// New connections in each tick, and how many ticks one lasts.
    rate: u32,
    mean: f64,
    /// How many addresses clients ask for.
    addresses: u32,
}

impl Pool {
    fn new(name: SchedulerName, weights: &[u16], rate: u32, mean: f64) -> Pool {
        let reals = servers(weights);
        let scheduler = build(name, &OPTIONS, &reals);
        let (now, open, dice) = (Tick(0), BinaryHeap::new(), Dice(7));
        Pool { name, reals, scheduler, now, open, dice, rate, mean, addresses: u32::MAX }
    }

    /// Other servers, or others that ramp.
    fn change(&mut self, change: impl FnOnce(&mut Vec<RealServer>)) {
        change(&mut self.reals);
        let changed = self.scheduler.for_changed(&self.reals);
        self.scheduler = changed.unwrap_or_else(|| build(self.name, &OPTIONS, &self.reals));
    }

    /// One more server, which ramps.
    fn add(&mut self, weight: u16) {
        let mut new = servers(&vec![weight; self.reals.len() + 1]).split_off(self.reals.len());
        new[0].ramp = ramp(self.now);
        self.change(|reals| reals.append(&mut new));
    }

    /// Lets so many ticks go by: what each server got of the new connections.
    fn run(&mut self, ticks: u32) -> Vec<f64> {
        let mut got = vec![0u32; self.reals.len()];
        for _ in 0..ticks {
            self.now = Tick(self.now.0 + 1);
            while let Some(&Reverse((end, server))) = self.open.peek()
                && end <= self.now.0
            {
                self.open.pop();
                self.reals[server].live.closed(Standing::Active);
            }
            for _ in 0..self.rate {
                let (client, address) = (self.dice.throw(), self.dice.throw() % self.addresses);
                let key = FlowKey::v4(Proto::Tcp, client, address, 4000, 80);
                let server = self.scheduler.pick(&self.reals, &key, self.now).expect("nobody is refused");
                got[server] += 1;
                self.reals[server].live.opened(Standing::Active);
                let end = self.now.0 + self.dice.about(self.mean) as u32;
                self.open.push(Reverse((end, server)));
            }
        }
        got.into_iter().map(|got| f64::from(got) / f64::from(ticks * self.rate)).collect()
    }

    fn loads(&self) -> Vec<f64> {
        self.reals.iter().map(|real| f64::from(real.live.active())).collect()
    }
}

/// What a new server of weight 6 gets of the new connections in the end, beside others of 2, 3 and 4.
fn due(name: SchedulerName) -> f64 {
    match name {
        Rr | Lc | Dh => 1.0 / 4.0,
        // It is the heaviest, and has room.
        Fo | Ovf => 1.0,
        _ => 6.0 / 15.0,
    }
}

#[test]
fn a_new_servers_share_rises_with_its_ramp_under_every_scheduler() {
    for name in SchedulerName::ALL {
        // ovf counts connections against weights, sh gives places by weights.
        let weights = if name == Ovf { [2000, 3000, 4000, 6000] } else { [2, 3, 4, 6] };
        let mut pool = Pool::new(name, &weights[..3], 20, 50.0);
        pool.run(1000);
        pool.add(weights[3]);
        for tenth in 0..14 {
            let share = pool.run(LASTS / 10)[3];
            let allowed = (f64::from(tenth) / 10.0 + 0.05).min(1.0) * due(name);
            assert!(
                (share - allowed).abs() < 0.1 * due(name),
                "{name} tenth {tenth}: {share:.3}, not {allowed:.3}"
            );
        }
    }
}

/// As the publisher does each second: a ramp that is over ends, once its server would not be flooded.
fn settle(pool: &mut Pool) {
    let (scheduler, now) = (&pool.scheduler, pool.now);
    let floods = |real: &RealServer| scheduler.compare(real) == Some(Ordering::Less);
    let ends = |real: &RealServer| real.ramp.is_some_and(|ramp| ramp.is_over(now)) && !floods(real);
    let ended: Vec<usize> = (0..pool.reals.len()).filter(|&i| ends(&pool.reals[i])).collect();
    if !ended.is_empty() {
        pool.change(|reals| ended.iter().for_each(|&i| reals[i].ramp = None));
    }
}

#[test]
fn where_connections_last_long_an_empty_server_is_never_flooded_and_loads_even_out() {
    for name in BY_LOAD {
        // A connection lasts ten ramps, 5 minutes, and there are 30,000 of them: five servers have 6,000 each.
        let mut pool = Pool::new(name, &[8000; 5], 1, 10.0 * f64::from(LASTS));
        pool.run(4 * 10 * LASTS);
        pool.add(8000);
        let most = f64::from(CATCHING_UP) / f64::from(Ramp::WHOLE) / 6.0;
        let mut seconds = 0;
        while pool.reals[5].ramp.is_some() {
            let share = pool.run(100)[5];
            assert!(share <= most + 2.0 / 100.0, "{name} second {seconds}: {share:.3}");
            settle(&mut pool);
            seconds += 1;
        }
        assert!((30..600).contains(&seconds), "{name} has caught up after {seconds} s");
        // As large as the others, it gets as much as they do.
        let share = pool.run(10 * 100)[5];
        assert!(share <= most, "{name}: {share:.3}");
        let loads = pool.loads();
        let mean = loads.iter().sum::<f64>() / 6.0;
        assert!(loads.iter().all(|load| (load - mean).abs() < 0.01 * mean), "{name}: {loads:?}");
    }
}

#[test]
fn without_a_ramp_a_scheduler_that_goes_by_load_floods_an_empty_server() {
    let mut pool = Pool::new(Wlc, &[1; 5], 2, 20.0 * f64::from(LASTS));
    pool.run(20 * LASTS);
    pool.add(1);
    pool.change(|reals| reals[5].ramp = None);
    assert!(pool.run(100)[5] > 0.99);
}

#[test]
fn a_slow_newcomer_gets_less_than_its_turns_once_it_has_more_than_others() {
    let mut pool = Pool::new(Wlc, &[1; 3], 2, 50.0);
    pool.run(1000);
    pool.add(1);
    // Its connections do not end.
    pool.reals[3].live = Default::default();
    (0..100).for_each(|_| pool.reals[3].live.opened(Standing::Active));
    assert_eq!(pool.run(LASTS)[3], 0.0);
}

/// Which server each of many keys goes to.
fn places(scheduler: &dyn Scheduler, reals: &[RealServer], keys: &[FlowKey], now: Tick) -> Vec<usize> {
    keys.iter().map(|key| scheduler.pick(reals, key, now).unwrap()).collect()
}

#[test]
fn where_a_key_decides_each_key_goes_where_it_went_or_to_the_newcomer_and_changes_once() {
    let keys: Vec<FlowKey> =
        (0..5000).map(|i| from(i * 77, 5)).chain((0..5000).map(|i| to(i * 77, 80))).collect();
    for (name, fallback) in [(Sh, false), (Sh, true), (Dh, false), (Mh, false), (Mh, true)] {
        let options = SchedulerOptions { fallback, ..OPTIONS };
        let mut reals = servers(&[4, 3, 2, 3]);
        let whole = places(&*build(name, &options, &reals), &reals, &keys, Tick(0));
        let away = {
            let mut away = servers(&[4, 3, 2, 0]);
            if !(fallback || name == Mh) {
                away.truncate(3);
            }
            places(&*build(name, &options, &away), &away, &keys, Tick(0))
        };
        reals[3].ramp = ramp(Tick(100));
        let scheduler = build(name, &options, &reals);
        let mut before = places(&*scheduler, &reals, &keys, Tick(100));
        for ticks in (0..=LASTS).step_by(100) {
            let now = places(&*scheduler, &reals, &keys, Tick(100 + ticks));
            for (key, (&now, &before)) in now.iter().zip(&before).enumerate() {
                assert!(now == before || (now, whole[key]) == (3, 3), "{name} {ticks}: {before} to {now}");
                assert_eq!(
                    now,
                    if now == 3 || whole[key] != 3 { whole[key] } else { away[key] },
                    "{name} {ticks}"
                );
            }
            before = now;
        }
        assert_eq!(before, whole, "{name}");
    }
}

#[test]
fn a_pool_never_refuses_since_its_servers_ramp() {
    for name in SchedulerName::ALL {
        for weights in [&[3][..], &[4, 3, 2], &[5; 40]] {
            let mut reals = servers(weights);
            reals.iter_mut().for_each(|real| real.ramp = ramp(Tick(0)));
            assert!(!picks(&*build(name, &OPTIONS, &reals), &reals, 200).contains('-'), "{name} {weights:?}");
        }
        // The only one that does not ramp is overloaded.
        let mut reals = servers(&[4, 3, 2]);
        reals[1].ramp = ramp(Tick(0));
        reals[2].ramp = ramp(Tick(0));
        overload(&reals[0]);
        let options = SchedulerOptions { fallback: true, ..OPTIONS };
        if name != Dh {
            assert!(!picks(&*build(name, &options, &reals), &reals, 200).contains('-'), "{name}");
        }
    }
}

#[test]
fn no_scheduler_gives_a_newcomer_what_it_cannot_take() {
    for name in SchedulerName::ALL {
        for quiesced in [true, false] {
            let mut reals = servers(&[4, 3, 2]);
            reals[2].ramp = ramp(Tick(0));
            if quiesced {
                reals[2].weight = 0;
            } else {
                overload(&reals[2]);
            }
            let scheduler = build(name, &OPTIONS, &reals);
            let late = |client| scheduler.pick(&reals, &from(client, 1), Tick(LASTS - 1));
            assert!((0..200).all(|client| late(client) != Some(2)), "{name}");
        }
    }
}

#[test]
fn when_all_ramp_each_gets_what_its_weight_and_its_ramp_make_together() {
    for name in [Rr, Wrr, Lc, Wlc, Sed, Nq, Twos] {
        let mut pool = Pool::new(name, &[1, 1], 2, 1.0);
        let (now, ahead) = (Tick(LASTS), LASTS / 2);
        pool.now = now;
        pool.change(|reals| {
            reals[0].ramp = ramp(Tick(now.0 - ahead));
            reals[1].ramp = ramp(Tick(now.0 - ahead / 4));
        });
        // Four parts to one, rising together.
        let share = pool.run(60)[1];
        assert!((0.17..0.25).contains(&share), "{name}: {share:.3}");
    }
}

#[test]
fn servers_that_come_one_after_the_other_have_their_own_ramps() {
    for name in [Wrr, Wlc, Mh, Lblcr] {
        let mut pool = Pool::new(name, &[3, 3, 3], 20, 50.0);
        pool.run(500);
        pool.add(3);
        pool.run(LASTS / 2);
        pool.add(3);
        pool.run(LASTS / 4 - 100);
        let share = pool.run(200);
        assert!((share[3] - 0.75 / 5.0).abs() < 0.03, "{name}: {share:?}");
        assert!((share[4] - 0.25 / 5.0).abs() < 0.03, "{name}: {share:?}");
    }
}

#[test]
fn edits_meanwhile_do_not_hold_a_newcomer_back() {
    for name in [Rr, Wrr, Lc, Wlc, Sed, Nq, Twos, Fo, Ovf, Lblc] {
        let weights = if name == Ovf { [2000, 3000, 4000, 6000] } else { [2, 3, 4, 6] };
        let mut pool = Pool::new(name, &weights[..3], 2, 50.0);
        pool.run(500);
        pool.add(weights[3]);
        let mut got = 0.0;
        for _ in 0..LASTS / 10 {
            got += pool.run(1)[3];
            pool.change(|reals| reals.iter_mut().for_each(|real| real.weight += 1));
            pool.change(|reals| reals.iter_mut().for_each(|real| real.weight -= 1));
            got += pool.run(9)[3] * 9.0;
        }
        let share = got / f64::from(LASTS);
        assert!((share - 0.5 * due(name)).abs() < 0.05 * due(name), "{name}: {share:.3}");
    }
}

#[test]
fn workers_at_once_give_a_newcomer_together_what_it_is_due() {
    for name in [Rr, Wrr, Wlc, Fo] {
        let mut reals = servers(&[4, 3, 2, 6]);
        reals[3].ramp = ramp(Tick(0));
        let scheduler = build(name, &OPTIONS, &reals);
        let (workers, each) = (4, 5000);
        let pick = |i: u32| scheduler.pick(&reals, &from(i, 1), Tick(LASTS / 4)) == Some(3);
        let got: usize = std::thread::scope(|scope| {
            let worker = || scope.spawn(|| (0..each).filter(|&i| pick(i)).count());
            let workers: Vec<_> = (0..workers).map(|_| worker()).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        let allowed = 0.25 * due(name) * f64::from(workers * each);
        assert!((got as f64 - allowed).abs() <= 3.0, "{name}: {got}, not {allowed}");
    }
}

#[test]
fn addresses_that_are_asked_for_too_much_do_not_flood_a_newcomer_either() {
    for name in [Lblc, Lblcr] {
        // Each of five has some 200 active connections, far more than its weight.
        let mut pool = Pool { addresses: 100, ..Pool::new(name, &[40; 5], 20, 50.0) };
        pool.run(1000);
        pool.add(40);
        for tenth in 0..10 {
            let share = pool.run(LASTS / 10)[5];
            let allowed = f64::from(tenth + 1) / 10.0 / 6.0;
            assert!(share <= allowed + 0.01, "{name} tenth {tenth}: {share:.3}");
        }
    }
}
