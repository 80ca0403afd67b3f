//! Two workers that share a table against one: the same connections, each worker on a core of its own.
//!
//! A turn is one arena of frames or less, short enough that both workers run all the time on most of them: they start
//! together, and a turn counts only if they ended together, too. Time is real, so that connections are marked as seen
//! as they are in a director.

use crate::page::{Page, Row};
use crate::short;
use crate::world::{FRAMES, Traffic, World, median, open_and_end, step};
use lvx::dataplane::port::BATCH;
use lvx::net::Tick;
use lvx::service::Method;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

/// Turns that count.
const REPEATS: usize = 101;
/// Turns at most: on a machine where others work, not every turn counts.
const ATTEMPTS: usize = 10 * REPEATS;
/// The part of the time in which at least one worker runs that both have to run.
const OVERLAP: f64 = 0.9;

/// Whose packets a worker gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flows {
    /// Everybody's: it is the only one.
    All,
    /// Every second connection; replies, too.
    Own,
    /// Requests of every second connection, and replies of all: half of them are the other worker's.
    HalfStrange,
    /// Requests of every second connection, and replies of the others.
    Strange,
}

/// Packets of a turn: some 200 µs.
const fn packets(traffic: Traffic) -> usize {
    match traffic {
        Traffic::New => FRAMES / 16,
        Traffic::Requests | Traffic::BothWays => FRAMES,
    }
}

/// What a worker is to do next.
struct Turn {
    traffic: Traffic,
    flows: Flows,
    /// The clock of new connections, which is ahead of the real one.
    clock: Tick,
    /// How many workers have come to the gate when this turn starts, since the first turn.
    gate: u32,
}

/// When a worker's turn was.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: Instant,
    end: Instant,
}

struct Worker {
    world: World,
    number: u32,
    /// Tick 0.
    start: Instant,
    next_new: u32,
}

/// Both workers at their posts.
struct Team {
    desks: Vec<(Sender<Turn>, Receiver<Span>)>,
    gate: u32,
    /// Of new connections.
    clock: Tick,
    step: u32,
}

impl Team {
    /// Does some work with two workers on a director with `flows` connections.
    fn employ<R>(method: Method, flows: u32, work: impl FnOnce(&mut Team) -> R) -> R {
        let arrived = AtomicU32::new(0);
        let start = Instant::now();
        std::thread::scope(|scope| {
            let mut desks = Vec::new();
            // Half full, as in the other benches.
            let worlds = World::of_workers(method, flows, flows, 2);
            for (number, world) in (0..).zip(worlds) {
                let ((tell, turns), (done, spans)) = (channel(), channel());
                let worker = Worker { world, number, start, next_new: flows + number };
                let arrived = &arrived;
                scope.spawn(move || worker.work(&turns, &done, arrived));
                desks.push((tell, spans));
            }
            // Connections of the start are silent for more than 900 s when the first new ones come.
            work(&mut Team { desks, gate: 0, clock: Tick(90_100), step: step(flows) })
        })
    }

    /// A turn of as many workers; when each of them ran.
    fn turn(&mut self, workers: usize, traffic: Traffic, flows: Flows) -> Vec<Span> {
        self.gate += workers as u32;
        for (tell, _) in &self.desks[..workers] {
            tell.send(Turn { traffic, flows, clock: self.clock, gate: self.gate }).expect("the worker lives");
        }
        self.clock = Tick(self.clock.0 + self.step * (packets(traffic) / BATCH) as u32);
        self.desks[..workers].iter().map(|(_, spans)| spans.recv().expect("the worker lives")).collect()
    }

    /// Nanoseconds per packet of several kinds of turns, by the number of workers and whose flows they get: that of
    /// all workers together, turn and turn about.
    fn measure<const KINDS: usize>(
        &mut self,
        traffic: Traffic,
        kinds: [(usize, Flows); KINDS],
    ) -> [f64; KINDS] {
        let mut samples: [Vec<f64>; KINDS] = std::array::from_fn(|_| Vec::new());
        for _ in 0..ATTEMPTS {
            for (&(workers, flows), samples) in kinds.iter().zip(&mut samples) {
                samples.extend(together(&self.turn(workers, traffic, flows), packets(traffic)));
            }
            if samples.iter().all(|samples| samples.len() >= REPEATS) {
                break;
            }
        }
        samples.map(|mut samples| if samples.is_empty() { f64::NAN } else { median(&mut samples) })
    }
}

/// Nanoseconds per packet of all workers together, if they ran at the same time.
fn together(spans: &[Span], packets: usize) -> Option<f64> {
    let (first, last) =
        (spans.iter().map(|span| span.start).min()?, spans.iter().map(|span| span.end).max()?);
    let (from, to) = (spans.iter().map(|span| span.start).max()?, spans.iter().map(|span| span.end).min()?);
    let rate = |span: &Span| packets as f64 / (span.end - span.start).as_nanos() as f64;
    let overlap = to.saturating_duration_since(from);
    (overlap.as_secs_f64() >= OVERLAP * (last - first).as_secs_f64())
        .then(|| 1.0 / spans.iter().map(rate).sum::<f64>())
}

/// The page's part about two workers.
pub fn measure(page: &mut Page) {
    if core_affinity::get_core_ids().is_none_or(|cores| cores.len() < 2) {
        println!("\ntwo workers: this machine has one core");
        return;
    }
    println!("\nns per packet of one worker, of two that share a table, and how many times one they are");
    println!("{:<35}{:>7}{:>9}{:>9}", "", "one", "two", "two/one");
    for method in [Method::Dr, Method::Nat] {
        for flows in [100_000, 1_000_000] {
            hits(method, flows, page);
        }
        let one_and_two = |team: &mut Team| team.measure(Traffic::New, [(1, Flows::All), (2, Flows::Own)]);
        let [one, two] = Team::employ(method, 1_000_000, one_and_two);
        line("new_connection", method, 1_000_000, one, two, page);
    }
}

fn hits(method: Method, flows: u32, page: &mut Page) {
    Team::employ(method, flows, |team| {
        let [one, two] = team.measure(Traffic::Requests, [(1, Flows::All), (2, Flows::Own)]);
        line("hit", method, flows, one, two, page);
        if method != Method::Nat {
            return;
        }
        let kinds = [(1, Flows::All), (2, Flows::HalfStrange), (2, Flows::Own), (2, Flows::Strange)];
        let [one, half, own, strange] = team.measure(Traffic::BothWays, kinds);
        line("hit_both_ways", method, flows, one, half, page);
        // Of both workers' packets every second one is a reply, and a worker's own time is twice that of both.
        let handed = 4.0 * (strange - own);
        println!("  a reply at the other core: {handed:+.1} ns");
        page.add(Row {
            bench: "reply_at_the_other_core".into(),
            method: method.name(),
            flows,
            distribution: "uniform",
            ns_per_packet: handed,
            baseline: None,
            ratio: None,
        });
    });
}

fn line(bench: &str, method: Method, flows: u32, one: f64, two: f64, page: &mut Page) {
    println!("{bench:<17}{:<5}{:>5}{one:>15.1}{two:>9.1}{:>9.2}", method.name(), short(flows), one / two);
    page.add(Row {
        bench: format!("two_workers_{bench}"),
        method: method.name(),
        flows,
        distribution: "uniform",
        ns_per_packet: two,
        baseline: Some("one_worker"),
        ratio: Some(one / two),
    });
}

impl Worker {
    fn work(mut self, turns: &Receiver<Turn>, done: &Sender<Span>, arrived: &AtomicU32) {
        core_affinity::set_for_current(core_affinity::CoreId { id: self.number as usize });
        self.world.pipeline.sweep(Tick(0), 0);
        for turn in turns {
            self.prepare(&turn);
            arrived.fetch_add(1, Ordering::AcqRel);
            while arrived.load(Ordering::Acquire) < turn.gate {
                std::hint::spin_loop();
            }
            if done.send(self.run(&turn)).is_err() {
                return;
            }
        }
    }

    fn prepare(&mut self, turn: &Turn) {
        for at in 0..packets(turn.traffic) {
            if turn.traffic == Traffic::New {
                // Worker 0 opens those of even numbers, worker 1 those of odd ones.
                self.world.write(at, self.next_new, 0x02, false);
                self.next_new += 2;
                continue;
            }
            let reply = turn.traffic == Traffic::BothWays && self.world.random() & 1 == 1;
            let flow = ((u64::from(self.world.random()) * u64::from(self.world.flows)) >> 32) as u32;
            let own = flow & !1 | self.number;
            let flow = match turn.flows {
                Flows::All => flow,
                Flows::HalfStrange if reply => flow,
                Flows::Strange if reply => own ^ 1,
                Flows::Own | Flows::HalfStrange | Flows::Strange => own,
            };
            self.world.write(at, flow, 0x10, reply);
        }
    }

    fn run(&mut self, turn: &Turn) -> Span {
        let (from, forwarded) = (Instant::now(), self.world.pipeline.counters().forwarded.get());
        match turn.traffic {
            Traffic::New => self.open(turn),
            traffic => self.world.turn_of(packets(traffic), |pipeline, batch| {
                let now = Tick::from_duration(self.start.elapsed());
                pipeline.run(batch, now);
            }),
        }
        let span = Span { start: from, end: Instant::now() };
        let forwarded = self.world.pipeline.counters().forwarded.get() - forwarded;
        assert_eq!(forwarded, packets(turn.traffic) as u64, "every packet is forwarded");
        span
    }

    /// Opens a connection for each packet and ends as many old ones.
    fn open(&mut self, turn: &Turn) {
        let (step, mut clock) = (step(self.world.flows), turn.clock);
        let mut due = self.world.pipeline.counters().expired.get();
        self.world.turn_of(packets(turn.traffic), |pipeline, batch| {
            clock = Tick(clock.0 + step);
            open_and_end(pipeline, batch, clock, &mut due);
        });
    }
}
