//! `make bench`: the pipeline against what it has to beat, both sides in one run.

mod world;

use lvx::net::Tick;
use lvx::service::Method;
use world::{Distribution, Traffic, World, median};

/// `ratios profile NAT 1000 [ROUNDS]`: nothing but the pipeline, for perf and callgrind.
fn profile(args: &[String]) {
    let method =
        Method::ALL.into_iter().find(|m| args[0].eq_ignore_ascii_case(m.name())).expect("nat, dr or tun");
    let mut world = World::new(method, args[1].parse().expect("a number of flows"), 0);
    let rounds: u32 = args.get(2).map_or(20_000, |n| n.parse().expect("a number of rounds"));
    world.prepare(Distribution::Uniform, Traffic::Requests);
    let mut samples: Vec<f64> = (0..rounds)
        .map(|_| {
            world.again();
            world.run(Tick(0))
        })
        .collect();
    println!("{:.1} ns a packet", median(&mut samples));
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|a| a == "profile") {
        return profile(&args[at + 1..]);
    }
    let only: Vec<u32> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let sizes = if only.is_empty() { vec![1_000, 100_000, 1_000_000] } else { only };
    for flows in sizes {
        for method in [Method::Dr, Method::Nat, Method::Tun] {
            let mut world = World::new(method, flows, 2_000_000);
            for traffic in [Traffic::Requests, Traffic::BothWays] {
                if traffic == Traffic::BothWays && method != Method::Nat {
                    continue;
                }
                let mut samples: Vec<f64> = (0..41)
                    .map(|_| {
                        world.prepare(Distribution::Uniform, traffic);
                        world.run(Tick(0))
                    })
                    .collect();
                let batched = median(&mut samples);
                let mut samples: Vec<f64> = (0..15)
                    .map(|_| {
                        world.prepare(Distribution::Uniform, traffic);
                        world.run_one_at_a_time(Tick(0))
                    })
                    .collect();
                let single = median(&mut samples);
                println!("{method} {flows:>9} {traffic:?}: {batched:6.1} ns, one at a time {single:6.1}");
            }
            let mut samples: Vec<f64> = (0..41)
                .map(|_| {
                    world.prepare(Distribution::Uniform, Traffic::New);
                    world.run(Tick(0))
                })
                .collect();
            println!("{method} {flows:>9} New: {:6.1} ns", median(&mut samples));
        }
    }
}
