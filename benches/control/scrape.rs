//! What it costs a worker that somebody reads the metrics: seconds without a scrape, with one, and with one after the
//! other, turn and turn about.

use crate::median as middle;
use crate::world::{Distribution, FRAMES, Traffic, World, median};
use lvx::control::desk::Shared;
use lvx::net::{Endpoint, Tick};
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// The worker's core, which the control socket's thread is kept off.
pub const WORKER: usize = 0;
/// Where scrapes are read.
const READER: usize = 1;

const FLOWS: u32 = 100_000;
const ROUNDS: usize = 9;
const WINDOW: Duration = Duration::from_secs(5);

/// Turns so many times as long as the middle one are the machine's, which gave the core to somebody else.
const TAKEN_AWAY: f64 = 10.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scrapes {
    None,
    One,
    OneAfterTheOther,
}

const KINDS: [(Scrapes, &str); 3] = [
    (Scrapes::None, "no scrape"),
    (Scrapes::One, "a scrape each 5 s"),
    (Scrapes::OneAfterTheOther, "one scrape after the other"),
];

/// Measures, at the control socket of a director with services at port 80 of these addresses.
pub fn measure(socket: &Path, shared: &Shared, vips: Vec<Endpoint>) {
    if core_affinity::get_core_ids().is_none_or(|cores| cores.len() < 2) {
        println!("a scrape: this machine has one core");
        return;
    }
    let core = |id| assert!(core_affinity::set_for_current(core_affinity::CoreId { id }), "core {id}");
    let (ask, asked) = channel::<(Scrapes, Instant)>();
    let (tell, told) = channel::<Vec<(Duration, u64)>>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            core(READER);
            for (scrapes, until) in asked {
                let mut all = vec![scrape(socket)];
                while scrapes == Scrapes::OneAfterTheOther && Instant::now() < until {
                    all.push(scrape(socket));
                }
                tell.send(all).expect("who asked waits");
            }
        });
        core(WORKER);
        let (table, published) = (shared.table.clone(), shared.published.clone());
        let vips = vips.iter().map(|vip| match vip.addr {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => panic!("{address}"),
        });
        let mut world =
            World::of_director(table, published, shared.counters[0].clone(), vips.collect(), FLOWS);
        let (mut samples, mut all) = (KINDS.map(|_| Vec::new()), Vec::new());
        for _ in 0..ROUNDS {
            for ((scrapes, _), samples) in KINDS.iter().zip(&mut samples) {
                let until = Instant::now() + WINDOW;
                let mut is_over = *scrapes == Scrapes::None;
                if !is_over {
                    ask.send((*scrapes, until)).expect("the reader lives");
                }
                let mut turns = Vec::new();
                while Instant::now() < until || !is_over {
                    world.prepare(Distribution::Uniform, Traffic::Requests);
                    turns.push(world.run(Tick(0)));
                    if let Ok(scraped) = told.try_recv() {
                        all.extend(scraped);
                        is_over = true;
                    }
                }
                samples.push(mean(turns));
            }
        }
        drop(ask);
        let (times, bytes): (Vec<Duration>, Vec<u64>) = all.into_iter().unzip();
        let (scrapes, megabytes) = (times.len(), bytes[0] >> 20);
        println!("a scrape: {megabytes} MB, {:.2} s (median of {scrapes})", middle(times).as_secs_f64());
        report(&samples);
    });
}

/// Nanoseconds per packet.
fn mean(turns: Vec<f64>) -> f64 {
    let limit = TAKEN_AWAY * median(&mut turns.clone());
    let own: Vec<f64> = turns.into_iter().filter(|&turn| turn < limit).collect();
    own.iter().sum::<f64>() / own.len() as f64
}

fn report(samples: &[Vec<f64>; KINDS.len()]) {
    println!("{FLOWS} connections, {FRAMES} packets a turn; medians of {ROUNDS} times {WINDOW:?}");
    println!("{:<30}{:>10}{:>12}     rounds", "", "ns/packet", "rate");
    let without = median(&mut samples[0].clone());
    for ((_, what), with) in KINDS.iter().zip(samples) {
        let mut rates: Vec<f64> = samples[0].iter().zip(with).map(|(without, with)| without / with).collect();
        let ns = median(&mut with.clone());
        rates.sort_by(f64::total_cmp);
        let (least, most) = (rates[0], rates[rates.len() - 1]);
        println!("{what:<30}{ns:>10.2}{:>12.4}     {least:.4} to {most:.4}", without / ns);
    }
}

/// Reads the metrics as Prometheus does; how long that took, and how many bytes they were.
fn scrape(socket: &Path) -> (Duration, u64) {
    let begun = Instant::now();
    let mut stream = UnixStream::connect(socket).expect("the control socket");
    let accept = "accept: application/openmetrics-text";
    write!(stream, "GET /metrics HTTP/1.0\r\nhost: lvx\r\n{accept}\r\n\r\n").expect("to be heard");
    let (mut buffer, mut bytes, mut end) = (vec![0u8; 1 << 18], 0, Vec::<u8>::new());
    loop {
        let read = stream.read(&mut buffer).expect("an answer");
        if read == 0 {
            break;
        }
        bytes += read as u64;
        end.extend(&buffer[read.saturating_sub(6)..read]);
        end.drain(..end.len().saturating_sub(6));
    }
    assert_eq!(end, b"# EOF\n", "all of it");
    (begun.elapsed(), bytes)
}
