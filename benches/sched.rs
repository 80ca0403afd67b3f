//! Choosing a server, alone, and with the counting of one connection opened on it and of one closed elsewhere: what
//! a new connection pays its scheduler.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use lvx::net::{Endpoint, FlowKey, Proto, Tick};
use lvx::sched;
use lvx::service::{Method, RealId, RealServer, SchedulerName, SchedulerOptions, Standing, Thresholds};
use std::collections::VecDeque;
use std::sync::Arc;

fn main() {
    divan::main();
}

const POOLS: [u32; 3] = [10, 100, 1000];
const PICKS: usize = 64;

/// Servers with weights from 1 to 7, each with some connections already.
fn servers(n: u32) -> Vec<RealServer> {
    let server = |i: u32| {
        let weight = 1 + (i * 5 % 7) as u16;
        let real = RealServer {
            id: RealId(i),
            endpoint: Endpoint::v4((0x0a01_0001 + i).into(), 80),
            weight,
            is_shut: false,
            method: Method::Dr,
            thresholds: Thresholds::default(),
            ramp: None,
            live: Arc::default(),
        };
        (0..weight * 10).for_each(|_| real.live.opened(Standing::Active));
        real
    };
    (0..n).map(server).collect()
}

/// Packets of clients 1, 2, 3 …, not near each other.
fn clients() -> impl FnMut() -> FlowKey {
    let mut client = 0u32;
    move || {
        client = client.wrapping_add(0x9e37_79b9);
        FlowKey::v4(Proto::Tcp, client, 0xc000_0264, 4000, 80)
    }
}

/// Picks while nothing changes.
fn pick(bencher: Bencher<'_, '_>, name: SchedulerName, n: u32) {
    let reals = servers(n);
    let scheduler = sched::build(name, &SchedulerOptions::default(), &reals);
    let mut key = clients();
    bencher.counter(ItemsCount::new(PICKS)).bench_local(|| {
        for _ in 0..PICKS {
            black_box(scheduler.pick(black_box(&reals), &key(), Tick(0)));
        }
    });
}

/// Picks as new connections come and old ones, picked a while ago, go.
fn pick_opened_closed(bencher: Bencher<'_, '_>, name: SchedulerName, n: u32) {
    let reals = servers(n);
    let scheduler = sched::build(name, &SchedulerOptions::default(), &reals);
    let mut open = VecDeque::from_iter((0..1000).map(|i| i % n as usize));
    open.iter().for_each(|&i| reals[i].live.opened(Standing::Active));
    let mut key = clients();
    bencher.counter(ItemsCount::new(PICKS)).bench_local(|| {
        for _ in 0..PICKS {
            let Some(picked) = black_box(scheduler.pick(black_box(&reals), &key(), Tick(0))) else {
                continue;
            };
            reals[picked].live.opened(Standing::Active);
            open.push_back(picked);
            if let Some(gone) = open.pop_front() {
                reals[gone].live.closed(Standing::Active);
            }
        }
    });
}

/// Both benches of each scheduler.
macro_rules! benches {
    ($($module:ident: $name:ident),+ $(,)?) => {$(
        mod $module {
            use super::{Bencher, POOLS, SchedulerName};

            #[divan::bench(args = POOLS)]
            fn pick(bencher: Bencher<'_, '_>, servers: u32) {
                super::pick(bencher, SchedulerName::$name, servers);
            }

            #[divan::bench(args = POOLS)]
            fn pick_opened_closed(bencher: Bencher<'_, '_>, servers: u32) {
                super::pick_opened_closed(bencher, SchedulerName::$name, servers);
            }
        }
    )+};
}

benches! {
    rr: Rr, wrr: Wrr, lc: Lc, wlc: Wlc, sed: Sed, nq: Nq, sh: Sh, dh: Dh, mh: Mh, lblc: Lblc, lblcr: Lblcr, fo: Fo,
    ovf: Ovf, twos: Twos,
}
