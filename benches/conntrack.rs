//! The connection table: hashing, finding, opening and ending, sweeping.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use lvx::conntrack::{Chosen, Expiry, FlowHash, Lookup, Opened, Seed, Table, Tracker};
use lvx::net::{FlowKey, Proto, TcpFlags, Tick};
use lvx::service::RealId;
use std::sync::Arc;

fn main() {
    divan::main();
}

const BATCH: usize = 64;
const SIZES: [u32; 3] = [1_000, 100_000, 1_000_000];
const SERVER: RealId = RealId(0);

fn key(i: u32) -> FlowKey {
    FlowKey::v4(Proto::Tcp, 0xc000_0000 + (i >> 14), 0x0a00_0064, 1024 + (i & 0x3fff) as u16, 80)
}

/// A table of masqueraded connections, and the hand that filled it.
fn filled(flows: u32) -> Tracker {
    let table = Arc::new(Table::new(2 * flows, Seed::new(1, 2)).expect("memory for the table"));
    table.set_endpoint(SERVER, "10.1.0.1:8080".parse().expect("an endpoint"));
    let mut tracker = Tracker::new(table, 0, 1);
    for i in 0..flows {
        open(&mut tracker, &key(i));
    }
    tracker
}

fn open(tracker: &mut Tracker, key: &FlowKey) -> lvx::conntrack::Found {
    let hash = tracker.table().hash(key);
    // An ACK alone opens an established connection, which lasts longest.
    let choose =
        || Some(Chosen { real: SERVER, replies_pass: true, hop: 0, template: None, is_watched: false });
    match tracker.open(key, hash, TcpFlags::ACK, Tick(0), choose) {
        Ok(Opened::New(found)) => found,
        other => panic!("{key} was not opened: {other:?}"),
    }
}

/// Keys chosen at random, a batch at a time.
struct Dice {
    state: u64,
    flows: u32,
}

impl Dice {
    fn keys(&mut self) -> [FlowKey; BATCH] {
        std::array::from_fn(|_| {
            self.state =
                self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            key((((self.state >> 32) * self.flows as u64) >> 32) as u32)
        })
    }
}

#[divan::bench]
fn hash_v4(bencher: Bencher<'_, '_>) {
    let keys: Vec<FlowKey> = (0..BATCH as u32).map(key).collect();
    hash_all(bencher, &keys);
}

#[divan::bench]
fn hash_v6(bencher: Bencher<'_, '_>) {
    let key = |i: u32| FlowKey::v6(Proto::Tcp, (i as u128) << 64 | 7, 1, i as u16, 80);
    let keys: Vec<FlowKey> = (0..BATCH as u32).map(key).collect();
    hash_all(bencher, &keys);
}

fn hash_all(bencher: Bencher<'_, '_>, keys: &[FlowKey]) {
    let seed = Seed::new(1, 2);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for key in keys {
            black_box(FlowHash::of(black_box(key), seed, 1 << 20));
        }
    });
}

/// Each look waits for its memory.
#[divan::bench(args = SIZES, sample_count = 2000, sample_size = 1)]
fn find_one_at_a_time(bencher: Bencher<'_, '_>, flows: u32) {
    let tracker = filled(flows);
    let table = tracker.table();
    let mut dice = Dice { state: 88, flows };
    bencher.counter(ItemsCount::new(BATCH)).with_inputs(|| dice.keys()).bench_local_refs(|keys| {
        for key in keys {
            let hash = table.hash(key);
            assert!(black_box(table.find(table.glance(hash), hash, key)).is_some());
        }
    });
}

/// As the pipeline does it: all buckets are asked for, then all connections.
#[divan::bench(args = SIZES, sample_count = 2000, sample_size = 1)]
fn find_in_batches_of_64(bencher: Bencher<'_, '_>, flows: u32) {
    let tracker = filled(flows);
    let table = tracker.table();
    let mut dice = Dice { state: 88, flows };
    bencher.counter(ItemsCount::new(BATCH)).with_inputs(|| dice.keys()).bench_local_refs(|keys| {
        let mut asked = [(FlowHash::NONE, Lookup::NOWHERE); BATCH];
        for ((hash, _), key) in asked.iter_mut().zip(keys.iter()) {
            *hash = table.hash(key);
            table.prefetch(*hash);
        }
        for (hash, lookup) in &mut asked {
            *lookup = table.glance(*hash);
        }
        for (hash, lookup) in &mut asked {
            *lookup = table.glance_further(*lookup, *hash);
        }
        for ((hash, lookup), key) in asked.iter().zip(keys.iter()) {
            assert!(black_box(table.find(*lookup, *hash, key)).is_some());
        }
    });
}

/// A connection opens and another ends, both directions known: the table stays as full as it is.
#[divan::bench(args = SIZES, sample_count = 2000, sample_size = 1)]
fn open_and_end(bencher: Bencher<'_, '_>, flows: u32) {
    let mut tracker = filled(flows);
    let (mut first, mut next) = (0, flows);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for _ in 0..BATCH {
            open(&mut tracker, &key(next));
            next += 1;
            let old = key(first);
            first += 1;
            let hash = tracker.table().hash(&old);
            let found =
                tracker.table().find(tracker.table().glance(hash), hash, &old).expect("not ended yet");
            assert!(tracker.end(&found).is_some());
        }
    });
}

/// What looking at a place costs when its connection lives on.
#[divan::bench(args = SIZES, sample_count = 500, sample_size = 1)]
fn sweep_a_place(bencher: Bencher<'_, '_>, flows: u32) {
    const PLACES: u32 = 256;
    let mut tracker = filled(flows);
    let expiry = Expiry::default();
    tracker.sweep(Tick(0), &expiry, 0, |_| {});
    // Every place is due once a second: time has to pass for 256 of them, and in all less than a connection lasts.
    let step = (PLACES * Tick::PER_SECOND).div_ceil(flows);
    let mut now = 0;
    bencher.counter(ItemsCount::new(PLACES)).bench_local(|| {
        now += step;
        black_box(tracker.sweep(Tick(now), &expiry, PLACES, |_| panic!("none is silent for so long")));
    });
}
