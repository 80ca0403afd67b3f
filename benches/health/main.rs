//! What 10,000 checks a second cost the thread that makes them, and how late the latest verdict comes.
//!
//! ```text
//! cargo bench --bench health [-- [tcp] [http] [10000] [10s]]     as root: in a namespace of its own
//! ```
//!
//! Each server is an address of its own. Those of TCP are behind a TUN device whose far end (`wire.py`) looks for packets all
//! the time on the last core: what the thread pays for is to send, as by a card. Those of HTTP are nginx, on the loopback
//! interface. The thread runs on the first core.

use lvx::dataplane::worker::cores;
use lvx::health::{Driver, Health, Target};
use lvx::lab::{Namespace, Process};
use lvx::net::Endpoint;
use lvx::service::check::{Check, Http, Kind, Pace};
use std::error::Error;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::sleep;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_millis(500);
const TCP: u16 = 7001;
const HTTP: u16 = 7002;

/// How often all verdicts are looked at.
const LOOK: Duration = Duration::from_millis(100);

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let wants = |kind: &str| {
        let mut kinds = words.iter().filter(|word| word.chars().all(char::is_alphabetic)).peekable();
        kinds.peek().is_none() || kinds.any(|word| word == kind)
    };
    let count = words.iter().find_map(|word| word.parse().ok()).unwrap_or(10_000);
    let seconds = words.iter().find_map(|word| word.strip_suffix('s')?.parse().ok()).unwrap_or(10);
    let namespace = Namespace::create(&format!("lvx-health-{}", std::process::id()))?;
    namespace.batch("link set lo up")?;
    let dir = tempfile::tempdir()?;
    let _wire = wants("tcp").then(|| wire(&namespace, dir.path())).transpose()?;
    let _nginx = wants("http").then(|| nginx(&namespace, dir.path())).transpose()?;
    println!(
        "{count} servers, each asked every {INTERVAL:?}, with a timeout of {TIMEOUT:?}, for {seconds} s"
    );
    println!(
        "{:<6} {:>9} {:>12} {:>15} {:>15} {:>7}",
        "", "of a core", "per probe", "probes a second", "latest verdict", "failed"
    );
    let http = Kind::Http(Box::<Http>::default());
    let kinds = [("tcp", [10, 1, 0, 1], TCP, Kind::Tcp), ("http", [127, 1, 0, 1], HTTP, http)];
    for (name, first, port, kind) in kinds.into_iter().filter(|(name, ..)| wants(name)) {
        let Found { of_a_core, probes, latest, failures } =
            measure(&namespace, targets(count, first, port, kind), Duration::from_secs(seconds))?;
        println!(
            "{name:<6} {:>7.1} % {:>9.1} µs {:>15.0} {:>12.0} ms {failures:>7}",
            of_a_core * 100.0,
            of_a_core * 1e6 / probes,
            probes,
            latest.as_secs_f64() * 1e3
        );
    }
    Ok(())
}

/// Who accepts connections at every address of 10.0.0.0/8.
fn wire(namespace: &Namespace, dir: &Path) -> Outcome<Process> {
    let log = dir.join("wire");
    let last = cores().last().copied().unwrap_or(0).to_string();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/health/wire.py");
    let wire = namespace.spawn(&["python3", script, "wire", &last], &log)?;
    until(&log, || Ok(fs::read_to_string(&log)?.contains("ready")))?;
    namespace.batch("address add 10.0.0.1/8 dev wire\nlink set wire up")?;
    Ok(wire)
}

/// Who answers at every address of the loopback interface.
fn nginx(namespace: &Namespace, dir: &Path) -> Outcome<Process> {
    let file = dir.join("nginx.conf");
    let http = format!(
        "access_log off; client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; \
         scgi_temp_path e; server {{ listen {HTTP} backlog=16384; location / {{ return 200 \"ok\"; }} }}"
    );
    fs::write(
        &file,
        format!(
            "daemon off; master_process off; pid nginx.pid; events {{ worker_connections 30000; }} http {{ {http} }}"
        ),
    )?;
    let [prefix, file] = [dir, &file].map(|path| path.display().to_string());
    let nginx = namespace.spawn(&["nginx", "-e", "stderr", "-p", &prefix, "-c", &file], &dir.join("log"))?;
    until(&dir.join("log"), || Ok(namespace.inside(|| TcpStream::connect(("127.0.0.1", HTTP)).is_ok())?))?;
    Ok(nginx)
}

/// Waits until that is so, which those who write this log are to bring about.
fn until(log: &Path, is_so: impl Fn() -> Outcome<bool>) -> Outcome<()> {
    let until = Instant::now() + Duration::from_secs(10);
    while !is_so()? {
        if Instant::now() > until {
            return Err(fs::read_to_string(log)?.into());
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn targets(count: u32, first: [u8; 4], port: u16, kind: Kind) -> Vec<Target> {
    let pace = Pace { timeout: TIMEOUT, ..Pace::every(INTERVAL) };
    let check = Arc::new(Check { kind, pace, ..Check::default() });
    let server = |number: u32| Ipv4Addr::from(u32::from(Ipv4Addr::from(first)) + number);
    (0..count)
        .map(|number| {
            let server = Endpoint::from(SocketAddr::from((server(number), port)));
            Target { server, check: check.clone(), service: None }
        })
        .collect()
}

struct Found {
    /// Of the checking thread.
    of_a_core: f64,
    /// A second.
    probes: f64,
    /// The longest time from one verdict on a server to the next, as of looks.
    latest: Duration,
    failures: u64,
}

fn measure(namespace: &Namespace, targets: Vec<Target>, lasts: Duration) -> Outcome<Found> {
    let (tell, told) = mpsc::channel();
    let prepare = move || {
        core_affinity::set_for_current(core_affinity::CoreId { id: cores().first().copied().unwrap_or(0) });
        // Whoever waits for it is there.
        let _ = tell.send(rustix::thread::gettid().as_raw_nonzero().get());
    };
    let driver = namespace.inside(|| Driver::start(prepare, ()))??;
    let thread = told.recv()?;
    driver.set(targets.iter().cloned());
    // Until each has been asked a few times.
    sleep(3 * INTERVAL);
    let verdicts = || -> Option<Vec<(u64, u64)>> {
        let status = |target| driver.status(target).map(|status| (status.probes, status.failures));
        targets.iter().map(status).collect()
    };
    let missing = "a target is not asked";
    let (began, cpu, first) = (Instant::now(), time_of(thread)?, verdicts().ok_or(missing)?);
    let (mut seen, mut since) = (first.clone(), vec![began; targets.len()]);
    let mut latest = Duration::ZERO;
    let mut next = began;
    while began.elapsed() < lasts {
        next += LOOK;
        sleep(next.saturating_duration_since(Instant::now()));
        let now = Instant::now();
        for ((verdict, seen), since) in verdicts().ok_or(missing)?.into_iter().zip(&mut seen).zip(&mut since)
        {
            if verdict.0 != seen.0 {
                (*seen, *since) = (verdict, now);
            }
            latest = latest.max(now - *since);
        }
    }
    let (took, cpu) = (began.elapsed().as_secs_f64(), (time_of(thread)? - cpu).as_secs_f64());
    let sum = |of: fn(&(u64, u64)) -> u64| -> u64 {
        seen.iter().map(of).sum::<u64>() - first.iter().map(of).sum::<u64>()
    };
    let well =
        targets.iter().filter(|target| driver.status(target).is_some_and(|it| it.health == Health::Up));
    if well.count() < targets.len() {
        eprintln!("some servers are taken for ill");
    }
    Ok(Found {
        of_a_core: cpu / took,
        probes: sum(|verdict| verdict.0) as f64 / took,
        latest,
        failures: sum(|verdict| verdict.1),
    })
}

/// What time a thread has had on a core.
fn time_of(thread: i32) -> Outcome<Duration> {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat"))?;
    let nanoseconds = text.split_whitespace().next().ok_or("schedstat is empty")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}
