//! Who is measured against whom, how often, and what is written down.

use crate::bed::{Bed, Manner, Outcome};
use crate::flood::{FLOWS, Flooded, Goal, Programs};
use crate::page::{Page, Row};
use crate::{bare, http, idle};
use lvx::lab::Interrupt;
use lvx::service::Method;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

const FLOOD_TURNS: usize = 9;
const HTTP_TURNS: usize = 3;
const HTTP_RATES: [u32; 2] = [500, 2000];
const HTTP_LASTS: Duration = Duration::from_millis(1500);
const IDLE_LASTS: Duration = Duration::from_secs(5);
const PING_TURNS: usize = 4;
const PINGS: u32 = 50;

/// Who stands between client and server.
#[derive(Debug, Clone, Copy)]
enum Side {
    Director(Manner),
    /// The loop of `bare.rs`.
    Bare,
    /// nft DNAT.
    Kernel,
}

impl Side {
    /// Does some work while this side stands between client and server. `programs` are there for a flood.
    fn stand_in<R>(
        self,
        bed: &Bed,
        programs: Option<&Programs>,
        work: impl FnOnce(&Bed) -> Outcome<R>,
    ) -> Outcome<R> {
        bed.interrupt.check()?;
        match (self, programs) {
            (Side::Director(manner), _) => {
                let director = bed.start_director(manner)?;
                let result = work(bed)?;
                bed.stop_director(director)?;
                Ok(result)
            }
            (Side::Kernel, _) => {
                bed.start_kernel(programs.is_some())?;
                let result = work(bed)?;
                bed.stop_kernel()?;
                Ok(result)
            }
            (Side::Bare, Some(programs)) => {
                let stop = AtomicBool::new(false);
                std::thread::scope(|scope| {
                    let bare = scope.spawn(|| bed.director.inside(|| bare::run(bed, programs, &stop)));
                    let result = work(bed);
                    stop.store(true, Relaxed);
                    bare.join().map_err(|_| "the bare loop panicked")???;
                    result
                })
            }
            (Side::Bare, None) => Err("the bare loop takes nothing but a flood".into()),
        }
    }
}

const fn director(method: Method) -> Manner {
    Manner { method, spins: false, busy_poll: false }
}

const NAT: Manner = director(Method::Nat);
const DR: Manner = director(Method::Dr);

/// As quick as it gets, which is what the bare loop does.
const fn spinning(manner: Manner) -> Manner {
    Manner { spins: true, ..manner }
}

pub fn main() -> ExitCode {
    match measure() {
        Ok(wrong) if wrong.is_empty() => ExitCode::SUCCESS,
        Ok(wrong) => {
            wrong.iter().for_each(|wrong| eprintln!("WRONG  {wrong}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            let causes = std::iter::successors(error.source(), |cause| cause.source());
            eprintln!("bench-veth: {error}{}", causes.map(|cause| format!(": {cause}")).collect::<String>());
            ExitCode::FAILURE
        }
    }
}

/// Everything that was asked for; what was not as it should be.
fn measure() -> Outcome<Vec<String>> {
    let parts = ["idle", "http", "flood"];
    let named: Vec<String> = std::env::args().filter(|arg| parts.contains(&arg.as_str())).collect();
    let wants = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    let mut contest =
        Contest { bed: Bed::new(Interrupt::on_signals()?)?, page: Page::default(), wrong: Vec::new() };
    if wants("idle") {
        contest.idle()?;
    }
    if wants("http") {
        contest.http()?;
    }
    // Last: it makes the director's interface another one for the kernel.
    if wants("flood") {
        contest.flood()?;
    }
    println!("\nthe same figures: {}", contest.page.write("bench-veth.json")?.display());
    Ok(contest.wrong)
}

struct Contest {
    bed: Bed,
    page: Page,
    wrong: Vec<String>,
}

impl Contest {
    /// The share of a core that an idle director takes, and what its sleep costs the first packet.
    fn idle(&mut self) -> Outcome<()> {
        let director = self.bed.start_director(NAT)?;
        let id = director.id().ok_or("the director has ended")?;
        let share = idle::share_of_a_core(id, IDLE_LASTS)?;
        self.bed.stop_director(director)?;
        println!("idle director, poll = \"adaptive\": {:.2} % of a core", share * 100.0);
        self.add("idle_core", "nat", 0, share * 1e9, Some(("a_whole_core", 1.0 / share)));

        let echo = self.bed.start_echo()?;
        let mut took = [Vec::new(), Vec::new()];
        for _ in 0..PING_TURNS {
            for (manner, took) in [NAT, spinning(NAT)].into_iter().zip(&mut took) {
                self.bed.interrupt.check()?;
                let director = self.bed.start_director(manner)?;
                took.extend(idle::ping_pong(&self.bed, PINGS)?);
                self.bed.stop_director(director)?;
            }
        }
        drop(echo);
        println!("a datagram there and back through NAT after 50 ms of silence, µs:");
        println!("{:<12}{:>10}{:>10}{:>10}", "", "adaptive", "busy", "added");
        for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
            let [adaptive, busy] = [0, 1].map(|side| quantile(&mut took[side], part));
            println!(
                "  {name:<10}{:>10.1}{:>10.1}{:>10.1}",
                adaptive / 1e3,
                busy / 1e3,
                (adaptive - busy) / 1e3
            );
            let bench = format!("first_packet_{name}");
            self.add(&bench, "nat", 1, adaptive, Some(("busy", busy / adaptive)));
        }
        Ok(())
    }

    /// Latency of HTTP requests at a fixed rate.
    fn http(&mut self) -> Outcome<()> {
        const SIDES: [(&str, Side); 3] =
            [("nat", Side::Director(NAT)), ("dr", Side::Director(DR)), ("kernel", Side::Kernel)];
        let nginx = self.bed.start_nginx()?;
        let mut took: [[Vec<Duration>; 3]; 2] = Default::default();
        for _ in 0..HTTP_TURNS {
            for (place, (name, side)) in SIDES.into_iter().enumerate() {
                let latencies = side.stand_in(&self.bed, None, |bed| {
                    http::load(bed, HTTP_RATES[0], Duration::from_millis(100))?;
                    HTTP_RATES
                        .into_iter()
                        .map(|rate| http::load(bed, rate, HTTP_LASTS))
                        .collect::<Outcome<Vec<_>>>()
                })?;
                for (latencies, took) in latencies.into_iter().zip(&mut took) {
                    took[place].extend(latencies.answered);
                    self.wrong.extend(
                        latencies.failures.iter().take(3).map(|failure| format!("HTTP, {name}: {failure}")),
                    );
                }
            }
        }
        drop(nginx);
        println!("\nHTTP, a connection for each request, µs from when it was due (kernel: nft DNAT):");
        println!("{:<20}{:>10}{:>10}{:>10}{:>18}", "", "NAT", "DR", "kernel", "kernel/NAT, /DR");
        for (rate, took) in HTTP_RATES.into_iter().zip(&mut took) {
            for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
                let [nat, dr, kernel] = [0, 1, 2].map(|side| quantile(&mut took[side], part));
                println!(
                    "  {:<18}{:>10.0}{:>10.0}{:>10.0}{:>10.2}{:>8.2}",
                    format!("{rate}/s {name}"),
                    nat / 1e3,
                    dr / 1e3,
                    kernel / 1e3,
                    kernel / nat,
                    kernel / dr
                );
                let bench = format!("http_{rate}_{name}");
                self.add(&bench, "nat", rate, nat, Some(("kernel", kernel / nat)));
                self.add(&bench, "dr", rate, dr, Some(("kernel", kernel / dr)));
                self.add(&bench, "kernel", rate, kernel, None);
            }
        }
        Ok(())
    }

    /// Packets per second at most.
    fn flood(&mut self) -> Outcome<()> {
        const POLLED: Manner = Manner { busy_poll: true, ..spinning(NAT) };
        const SIDES: [(&str, Side, Goal); 5] = [
            ("nat", Side::Director(spinning(NAT)), Goal::Server),
            ("dr", Side::Director(spinning(DR)), Goal::Vip),
            ("nat, busy_poll", Side::Director(POLLED), Goal::Server),
            ("bare loop", Side::Bare, Goal::Vip),
            ("kernel, nft DNAT", Side::Kernel, Goal::Server),
        ];
        self.bed.let_xdp_frames_pass()?;
        let programs = Programs::load(&self.bed)?;
        let mut turns: [Vec<Flooded>; 5] = Default::default();
        for _ in 0..FLOOD_TURNS {
            for ((name, side, goal), turns) in SIDES.into_iter().zip(&mut turns) {
                let flooded = side.stand_in(&self.bed, Some(&programs), |bed| programs.flood(bed, goal))?;
                if flooded.astray > 0 || flooded.mpps == 0.0 {
                    let Flooded { mpps, astray, .. } = flooded;
                    self.wrong.push(format!(
                        "flood, {name}: {astray} packets astray, {mpps} million a second right"
                    ));
                }
                turns.push(flooded);
            }
        }
        println!("\n64-byte UDP packets of {FLOWS} flows, one core forwards, million a second:");
        println!("{:<20}{:>9}{:>9}{:>9}{:>10}", "", "arrived", "offered", "/ bare", "/ kernel");
        let against = |side: &[Flooded], other: &[Flooded]| {
            median(side.iter().zip(other).map(|(side, other)| side.mpps / other.mpps))
        };
        let [nat, dr, polled, bare, kernel] = &turns;
        for ((name, ..), turns) in SIDES.iter().zip(&turns) {
            println!(
                "  {name:<18}{:>9.3}{:>9.3}{:>9.3}{:>10.2}",
                median(turns.iter().map(|turn| turn.mpps)),
                median(turns.iter().map(|turn| turn.offered_mpps)),
                against(turns, bare),
                against(turns, kernel),
            );
        }
        let ns = |turns: &[Flooded]| 1e3 / median(turns.iter().map(|turn| turn.mpps));
        let rows = [
            ("flood", "nat", nat, Some(("bare", bare))),
            ("flood", "nat", nat, Some(("kernel", kernel))),
            ("flood", "dr", dr, Some(("bare", bare))),
            ("flood", "dr", dr, Some(("kernel", kernel))),
            ("flood_busy_poll", "nat", polled, Some(("need_wakeup", nat))),
            ("flood", "bare", bare, None),
            ("flood", "kernel", kernel, None),
        ];
        for (bench, method, turns, other) in rows {
            let than = other.map(|(name, other)| (name, against(turns, other)));
            self.add(bench, method, u32::from(FLOWS), ns(turns), than);
        }
        Ok(())
    }

    fn add(
        &mut self,
        bench: &str,
        method: &'static str,
        flows: u32,
        ns: f64,
        than: Option<(&'static str, f64)>,
    ) {
        let (baseline, ratio) = than.unzip();
        let bench = format!("veth_{bench}");
        self.page.add(Row {
            bench,
            method,
            flows,
            distribution: "uniform",
            ns_per_packet: ns,
            baseline,
            ratio,
        });
    }
}

/// The middle one; none of none.
fn median(samples: impl Iterator<Item = f64>) -> f64 {
    let mut samples: Vec<f64> = samples.collect();
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What this part of all took at most, in nanoseconds.
fn quantile(took: &mut [Duration], part: f64) -> f64 {
    took.sort();
    took.get((took.len() as f64 * part) as usize).map_or(f64::NAN, |took| took.as_nanos() as f64)
}
