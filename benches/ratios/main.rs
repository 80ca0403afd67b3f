//! `make bench`: the pipeline against what it has to beat, both sides in one process, turn and turn about.
//!
//! ```text
//! ratios [--full] [ratios] [workers] [stalls]     those parts of the page, all if none is named, and
//!     target/bench.json; --full goes up to ten million connections
//! ratios profile METHOD FLOWS ROUNDS [hit|hit_both_ways|new_connection]     one kind alone, for perf and callgrind
//! ```
//!
//! A figure is the median of [`REPEATS`] turns over [`FRAMES`] frames, each of them a fresh choice of connections:
//! short enough that most turns are disturbed by nothing on a shared machine.

mod floor;
mod obvious;
mod page;
mod stalls;
mod workers;
#[path = "../world/mod.rs"]
mod world;

use floor::Floor;
use lvx::net::Tick;
use lvx::service::Method;
use obvious::Obvious;
use page::{Page, Row};
use world::{Distribution, FRAMES, Traffic, World, median, timed};

const REPEATS: usize = 61;

/// What the packets are, as the rows call it.
const fn name_of(traffic: Traffic) -> &'static str {
    match traffic {
        Traffic::Requests => "hit",
        Traffic::BothWays => "hit_both_ways",
        Traffic::New => "new_connection",
    }
}

const fn distribution_name(distribution: Distribution) -> &'static str {
    match distribution {
        Distribution::Uniform => "uniform",
        Distribution::Zipf => "zipf",
    }
}

/// Everything that the packets of one world are shown to.
struct Contest {
    world: World,
    floor: Floor,
    obvious: Obvious,
}

impl Contest {
    fn new(method: Method, flows: u32) -> Contest {
        // Half full: near its limit, a table whose connections come and go refuses some before it is full.
        let mut world = World::new(method, flows, flows.max(65_536));
        let mut obvious = Obvious::new(method);
        world.introduce(|frame| assert!(obvious.handle(frame, Tick(0)).is_some(), "every client is served"));
        assert_eq!(obvious.connections(), flows as usize);
        Contest { world, floor: Floor::new(flows), obvious }
    }

    /// Measures several kinds of traffic, turn and turn about, and puts them on the page.
    fn measure(&mut self, kinds: &[(Traffic, Distribution)], page: &mut Page) {
        let mut samples: Vec<[Vec<f64>; 4]> = kinds.iter().map(|_| Default::default()).collect();
        for _ in 0..REPEATS {
            for (&(traffic, distribution), samples) in kinds.iter().zip(&mut samples) {
                self.sample(traffic, distribution, samples);
            }
        }
        for (&(traffic, distribution), samples) in kinds.iter().zip(&mut samples) {
            self.report(traffic, distribution, samples, page);
        }
    }

    /// One turn of each side: ours, the floor, the obvious design, one packet at a time.
    fn sample(&mut self, traffic: Traffic, distribution: Distribution, samples: &mut [Vec<f64>; 4]) {
        let Contest { world, floor, obvious } = self;
        let [ours, floors, theirs, singles] = samples;
        world.prepare(distribution, traffic);
        ours.push(if traffic == Traffic::New { world.run_with_expiry() } else { world.run(Tick(0)) });

        world.prepare(distribution, traffic);
        // Its connections end as ours do: the established ones of the start are silent for more than 900 s by then.
        let now = if traffic == Traffic::New { Tick(90_100) } else { Tick(0) };
        let mut sent = 0;
        theirs.push(timed(|| {
            for packet in world.packets() {
                sent += obvious.handle(packet, now).is_some() as usize;
                if traffic == Traffic::New {
                    obvious.expire_one(now);
                }
            }
        }));
        assert_eq!(sent, FRAMES, "the obvious design sends every packet on");

        // New connections have no floor of two lines, and their lines wait for locks, not for a batch.
        if traffic != Traffic::New {
            world.prepare(distribution, traffic);
            floors.push(timed(|| floor.run(world)));
            world.prepare(distribution, traffic);
            singles.push(world.run_one_at_a_time(Tick(0)));
        }
    }

    fn report(
        &self,
        traffic: Traffic,
        distribution: Distribution,
        samples: &mut [Vec<f64>; 4],
        page: &mut Page,
    ) {
        let (method, flows) = (self.world.method.name(), self.world.flows);
        let [ours, others @ ..] = samples;
        let ours = median(ours);
        let (bench, distribution) = (name_of(traffic), distribution_name(distribution));
        print!("{bench:<15}{method:<5}{:>5}  {distribution:<8}{ours:>7.1}", short(flows));
        for (baseline, samples) in ["floor", "obvious", "one_at_a_time"].into_iter().zip(others) {
            if samples.is_empty() {
                print!("{:>18}", "-");
                continue;
            }
            let theirs = median(samples);
            print!("{theirs:>10.1}{:>7.2}x", theirs / ours);
            page.add(Row {
                bench: bench.into(),
                method,
                flows,
                distribution,
                ns_per_packet: ours,
                baseline: Some(baseline),
                ratio: Some(theirs / ours),
            });
        }
        println!();
    }
}

fn ratios(full: bool, page: &mut Page) {
    println!(
        "ns per packet of 64 bytes; behind each baseline's ns, how many times ours that is (> 1: we are faster)"
    );
    println!("{:<35}{:>7}{:>18}{:>18}{:>18}", "", "lvx", "floor", "obvious", "one at a time");
    let sizes = [1_000, 100_000, 1_000_000, 10_000_000];
    for &flows in if full { &sizes[..] } else { &sizes[..3] } {
        for method in Method::ALL {
            let mut contest = Contest::new(method, flows);
            let both_ways = (method == Method::Nat).then_some(Traffic::BothWays);
            let kinds: Vec<_> = [Some(Traffic::Requests), both_ways]
                .into_iter()
                .flatten()
                .flat_map(|traffic| [(traffic, Distribution::Uniform), (traffic, Distribution::Zipf)])
                .collect();
            contest.measure(&kinds, page);
            contest.measure(&[(Traffic::New, Distribution::Uniform)], page);
        }
    }
}

/// A count with k or M.
fn short(n: u32) -> String {
    match n {
        n if n >= 1_000_000 && n.is_multiple_of(1_000_000) => format!("{}M", n / 1_000_000),
        n if n >= 1000 && n.is_multiple_of(1000) => format!("{}k", n / 1000),
        n => n.to_string(),
    }
}

fn profile(args: &[String]) {
    let [method, flows, rounds, traffic @ ..] = args else { panic!("profile METHOD FLOWS ROUNDS [TRAFFIC]") };
    let method = Method::ALL.into_iter().find(|m| m.name() == method).expect("nat, dr or tun");
    let flows = flows.parse().expect("a number of flows");
    let rounds: usize = rounds.parse().expect("a number of rounds");
    let known = [Traffic::Requests, Traffic::BothWays, Traffic::New];
    let wanted = traffic.first().map_or(name_of(Traffic::Requests), String::as_str);
    let traffic =
        known.into_iter().find(|t| name_of(*t) == wanted).expect("hit, hit_both_ways or new_connection");
    let mut world = World::new(method, flows, flows);
    let mut samples: Vec<f64> = (0..rounds)
        .map(|_| {
            world.prepare(Distribution::Uniform, traffic);
            if traffic == Traffic::New { world.run_with_expiry() } else { world.run(Tick(0)) }
        })
        .collect();
    println!("packets {}, {:.1} ns each", rounds * FRAMES, median(&mut samples));
}

fn main() -> std::io::Result<()> {
    // Cargo adds --bench.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let full = args.iter().any(|arg| arg == "--full");
    let has = |word: &str| args.iter().any(|arg| arg == word);
    if has("profile") {
        profile(&args[1..]);
        return Ok(());
    }
    let mut page = Page::default();
    let parts = ["ratios", "workers", "stalls"];
    let wants = |part| has(part) || !parts.into_iter().any(has);
    if wants("ratios") {
        ratios(full, &mut page);
    }
    if wants("workers") {
        workers::measure(&mut page);
    }
    if wants("stalls") {
        stalls::measure(full, &mut page);
    }
    println!("\nthe same figures: {}", page.write("bench.json")?.display());
    Ok(())
}
