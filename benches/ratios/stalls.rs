//! How long single batches take while the table fills, while connections end by the hundred thousand, and while
//! snapshots change. A shared machine takes the core away now and then; so what can be repeated exactly is run
//! [`RUNS`] times, and each batch counts with its shortest time. What cannot (a second thread publishes) stands
//! beside the same without, and beside a loop that does nothing.

use crate::page::{Page, Row};
use crate::short;
use crate::world::{Distribution, FRAMES, SERVERS, SWEEP, Traffic, World, publish};
use lvx::dataplane::port::BATCH;
use lvx::net::Tick;
use lvx::service::Method;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

const RUNS: usize = 4;

/// All figures about stalls.
pub fn measure(full: bool, page: &mut Page) {
    println!("\nns per batch of {BATCH}{:>32}{:>9}{:>9}{:>11}", "p50", "p99", "p99.9", "max");
    let flows = if full { 10_000_000 } else { 1_000_000 };
    let nothing = || (0..20_000).map(|_| nothing_for_a_microsecond()).collect::<Vec<u32>>();
    line("the machine: a loop doing nothing", &mut nothing());
    line(&format!("the same, shortest of {RUNS}"), &mut shortest(nothing));
    for method in [Method::Dr, Method::Nat] {
        let what = format!("{method}: table grows to {}", short(flows));
        let figures = line(&what, &mut shortest(|| grow(method, flows)));
        add(page, "grow", method, flows, figures, None);
        let what = format!("{method}: {} connections expire", short(1_000_000));
        let figures = line(&what, &mut shortest(|| expire(method, 1_000_000)));
        add(page, "expire", method, 1_000_000, figures, None);
    }
    let (mut quiet, mut swapping, rate) = swaps(Method::Nat, 100_000);
    let quiet = line("nat: 100k flows, one snapshot", &mut quiet);
    add(page, "no_swaps", Method::Nat, 100_000, quiet, None);
    let swapping = line(&format!("nat: 100k flows, {rate:.0} snapshots/s"), &mut swapping);
    add(page, "swaps", Method::Nat, 100_000, swapping, Some(("no_swaps", quiet)));
}

/// p50, p99, p99.9 and the longest.
type Figures = [u32; 4];

const NAMES: [&str; 4] = ["p50", "p99", "p99.9", "max"];

fn line(what: &str, samples: &mut [u32]) -> Figures {
    samples.sort_unstable();
    let at = |thousandths: usize| samples[(samples.len() * thousandths / 1000).min(samples.len() - 1)];
    let figures = [at(500), at(990), at(999), at(1000)];
    println!("{what:<38}{:>12}{:>9}{:>9}{:>11}", figures[0], figures[1], figures[2], figures[3]);
    figures
}

fn add(
    page: &mut Page,
    bench: &str,
    method: Method,
    flows: u32,
    figures: Figures,
    baseline: Option<(&'static str, Figures)>,
) {
    for (i, name) in NAMES.iter().enumerate() {
        page.add(Row {
            bench: format!("{bench}_{name}"),
            method: method.name(),
            flows,
            distribution: "uniform",
            ns_per_packet: figures[i] as f64 / BATCH as f64,
            baseline: baseline.map(|(name, _)| name),
            ratio: baseline.map(|(_, theirs)| theirs[i] as f64 / figures[i] as f64),
        });
    }
}

/// Runs the same batches several times; the shortest time of each.
fn shortest(mut run: impl FnMut() -> Vec<u32>) -> Vec<u32> {
    let mut least = run();
    for _ in 1..RUNS {
        let again = run();
        assert_eq!(least.len(), again.len(), "the same batches each time");
        least.iter_mut().zip(again).for_each(|(least, again)| *least = again.min(*least));
    }
    least
}

fn nanoseconds(what: impl FnOnce()) -> u32 {
    let start = Instant::now();
    what();
    start.elapsed().as_nanos() as u32
}

/// About as long as a batch takes, in registers alone.
fn nothing_for_a_microsecond() -> u32 {
    nanoseconds(|| {
        let mut x = black_box(1u64);
        (0..1000).for_each(|_| x = x.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 1);
        black_box(x);
    })
}

/// From an empty table to `flows` connections, a batch of new ones at a time, with a worker's sweep beside each.
fn grow(method: Method, flows: u32) -> Vec<u32> {
    let mut world = World::new(method, 0, flows);
    let mut samples = Vec::with_capacity(flows as usize / BATCH);
    for _ in 0..flows as usize / FRAMES {
        world.prepare(Distribution::Uniform, Traffic::New);
        // A second passes in 2,500 batches or so: the sweep is at work, and finds nothing to end.
        let now = Tick(samples.len() as u32 / 25);
        world.turn(|pipeline, batch| {
            samples.push(nanoseconds(|| {
                pipeline.run(batch, now);
                pipeline.sweep(now, SWEEP);
            }));
        });
    }
    samples
}

/// Packets of a few connections pass while the sweep ends `flows` others.
fn expire(method: Method, flows: u32) -> Vec<u32> {
    let mut world = World::new(method, FRAMES as u32, flows);
    world.pipeline.sweep(Tick(0), 0);
    for _ in 0..flows as usize / FRAMES {
        world.prepare(Distribution::Uniform, Traffic::New);
        world.run(Tick(0));
    }
    // Half-open connections end after 60 s; those of the packets are established.
    let now = Tick(6_100);
    let mut samples = Vec::with_capacity(flows as usize / SWEEP as usize + BATCH);
    let mut behind = true;
    while behind {
        world.prepare(Distribution::Uniform, Traffic::Requests);
        world.turn(|pipeline, batch| {
            samples.push(nanoseconds(|| {
                pipeline.run(batch, now);
                behind = pipeline.sweep(now, SWEEP);
            }));
        });
    }
    let ended = world.pipeline.counters().expired.get();
    assert!(ended as usize >= flows as usize / FRAMES * FRAMES, "only {ended} ended");
    samples
}

/// Batches with one snapshot, batches while another thread publishes a thousand a second (turn and turn about),
/// and how many it did publish a second.
fn swaps(method: Method, flows: u32) -> (Vec<u32>, Vec<u32>, f64) {
    const SLOT: Duration = Duration::from_millis(250);
    const SLOTS: u32 = 8;
    let mut world = World::new(method, flows, 0);
    let (table, published) = (world.table.clone(), world.published.clone());
    let (swap, over, count) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU32::new(0));
    let mut samples = [Vec::new(), Vec::new()];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = Instant::now();
            while !over.load(Relaxed) {
                next += Duration::from_millis(1);
                if swap.load(Relaxed) {
                    publish(&table, &published, method, SERVERS);
                    count.fetch_add(1, Relaxed);
                }
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        for slot in 0..2 * SLOTS {
            let swapping = slot % 2 == 1;
            swap.store(swapping, Relaxed);
            let end = Instant::now() + SLOT;
            while Instant::now() < end {
                world.prepare(Distribution::Uniform, Traffic::Requests);
                let samples = &mut samples[swapping as usize];
                world.turn(|pipeline, batch| samples.push(nanoseconds(|| pipeline.run(batch, Tick(0)))));
            }
        }
        over.store(true, Relaxed);
    });
    let [quiet, swapping] = samples;
    (quiet, swapping, count.load(Relaxed) as f64 / (SLOT * SLOTS).as_secs_f64())
}
