//! What a large configuration costs the control thread: 1,000 services with 100 servers each, from the text to the
//! snapshot, and one edit of it; what it takes to be told of it; and what a scrape of it costs a worker.
//!
//! ```text
//! cargo bench --bench control [-- [edits] [asked] [scrape]]     those parts, all if none is named
//! ```

mod scrape;
#[path = "../world/mod.rs"]
mod world;

use lvx::config::{self, Config, Control};
use lvx::conntrack::{Seed, Table};
use lvx::control::api::{Api, Link};
use lvx::control::client::Client;
use lvx::control::desired::{Desired, Edit};
use lvx::control::desk::{Desk, Job, Shared};
use lvx::control::history::History;
use lvx::control::publish::Publisher;
use lvx::control::rates::Rates;
use lvx::control::view::{Columns, ServerKeys, View};
use lvx::dataplane::counters::Counters;
use lvx::dataplane::nexthop::Neighbour;
use lvx::dataplane::snapshot::Published;
use lvx::net::{InterfaceId, Mac, Tick};
use lvx::service::{RealServer, Standing};
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SERVICES: usize = 1000;
const SERVERS: usize = 100;

fn text() -> String {
    let mut text =
        "[[interface]]\nname = \"eth0\"\nmac = \"02:00:00:00:00:01\"\naddresses = [\"10.0.0.1/8\"]\n"
            .to_owned();
    for service in 0..SERVICES {
        let (a, b) = (service / 250, service % 250);
        let _ = writeln!(text, "[[virtual_service]]\naddress = \"192.{a}.2.{b}:80\"\nforward = \"nat\"");
        for server in 0..SERVERS {
            let (a, b) = (service / 250 * 100 + server, service % 250);
            let _ = writeln!(
                text,
                "[[virtual_service.real_server]]\naddress = \"10.{}.{b}.{}:8080\"\nweight = 2",
                a / 2,
                2 + a % 2
            );
        }
    }
    text
}

/// The median of so many times.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn timed<T>(what: &str, mut step: impl FnMut() -> T) -> T {
    let begun = Instant::now();
    let made = step();
    println!("{what:<58} {:>9.2} ms", begun.elapsed().as_secs_f64() * 1e3);
    made
}

fn main() {
    // Cargo adds --bench.
    let parts: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let wants = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let text = text();
    println!("{SERVICES} services, {SERVERS} servers each, {} MB of TOML", text.len() >> 20);
    let config =
        timed("read and check", || config::parse("f", &text)).unwrap_or_else(|errors| panic!("{errors}"));
    let mut rib = config.rib().unwrap_or_else(|errors| panic!("{errors}"));
    let table = Arc::new(Table::new(1 << 20, Seed::new(1, 2)).unwrap_or_else(|error| panic!("{error}")));
    let (published, counters) = (Arc::new(Published::default()), vec![Arc::default()]);
    let mut publisher = Publisher::new(table.clone(), published.clone(), counters.clone(), vec![true]);
    publisher.set_rib(&rib);
    let desired = timed("desired state", || Desired::from(config.clone()));
    timed("compile and publish all", || publisher.set_desired(&desired, Tick(0)))
        .unwrap_or_else(|error| panic!("{error}"));
    timed("neighbours needed", || published.current().neighbours_needed().len());

    let desired = if wants("edits") { edited(desired, &config, &mut publisher, &counters) } else { desired };
    for service in publisher.services().table().services() {
        for real in &service.reals {
            let (interface, mac) = (InterfaceId(0), Mac([2, 0, 0, 0, 1, 1]));
            rib.neighbours.push(Neighbour { interface, address: real.endpoint.addr, mac });
            used(real, &counters[0]);
        }
    }
    publisher.set_rib(&rib);
    let shared = Shared { table, published, counters, ports: Vec::new(), start: Instant::now() };
    at_the_socket(desired, publisher, shared, |socket, shared| {
        if wants("asked") {
            asked(socket);
        }
        if wants("scrape") {
            let vips = config.services.iter().map(|service| service.endpoint).collect();
            scrape::measure(socket, shared, vips);
        }
    });
}

/// Every server has connections, has counted packets, and has answered.
fn used(real: &RealServer, counters: &Counters) {
    let (some, count) = (u64::from(real.id.0) % 50, counters.real(real.id));
    (0..some).for_each(|_| real.live.opened(Standing::Active));
    (0..some / 3).for_each(|_| real.live.opened(Standing::Inactive));
    count.connections.add(100 * some);
    count.in_packets.add(12_345 * some);
    count.in_bytes.add(1_234_567 * some);
    count.out_packets.add(23_456 * some);
    count.out_bytes.add(234_567_890 * some);
    counters.count_latency(real.id, 900);
}

/// What edits cost, and what is made of the desired state for others; the desired state after it.
fn edited(
    mut desired: Desired,
    config: &Config,
    publisher: &mut Publisher,
    counters: &[Arc<Counters>],
) -> Desired {
    for (what, edit) in [
        (
            "set a weight",
            r#"{ "edit": "set_weight", "service": "tcp 192.1.2.7:80", "server": "10.50.7.2:8080", "weight": WEIGHT }"#,
        ),
        (
            "edit a service",
            r#"{ "edit": "edit_service", "service": "tcp 192.1.2.7:80", "table": { "mss_clamp": 1WEIGHT } }"#,
        ),
    ] {
        let (mut applied, mut published_in) = (Vec::new(), Vec::new());
        for number in 0..21u32 {
            let edit = edit.replace("WEIGHT", &(100 + number).to_string());
            let edit: Edit = serde_json::from_str(&edit).unwrap_or_else(|error| panic!("{error}"));
            let begun = Instant::now();
            let next =
                desired.apply(&[edit], Duration::ZERO).unwrap_or_else(|errors| panic!("{errors}")).desired;
            applied.push(begun.elapsed());
            let begun = Instant::now();
            publisher.set_desired(&next, Tick(0)).unwrap_or_else(|error| panic!("{error}"));
            published_in.push(begun.elapsed());
            desired = next;
        }
        let ms = |times: Vec<Duration>| median(times).as_secs_f64() * 1e3;
        println!("{:<58} {:>9.2} ms", format!("{what}: apply (median of 21)"), ms(applied));
        println!(
            "{:<58} {:>9.2} ms",
            format!("{what}: compile and publish (median of 21)"),
            ms(published_in)
        );
    }
    let same = timed("the same file again: apply", || {
        desired.apply(&[Edit::Replace(Arc::new(config.clone()))], Duration::ZERO)
    });
    let same = same.unwrap_or_else(|errors| panic!("{errors}")).desired;
    timed("the same file again: publish", || publisher.set_desired(&same, Tick(0)))
        .unwrap_or_else(|error| panic!("{error}"));
    let view = timed("view", || View::new(publisher, counters, Instant::now()));
    let mut rates = Rates::default();
    timed("estimate rates", || view.estimate(&mut rates));
    let rows = timed("rows", || view.rows(None, Columns::default()));
    let bytes = timed("rows as JSON", || serde_json::to_vec(&rows).unwrap_or_default());
    println!("{} MB of JSON", bytes.len() >> 20);
    timed("rows read again", || serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
    timed("written as TOML", || desired.config().to_toml().map(|text| text.len()).unwrap_or_default());
    desired
}

/// Does some work at the control socket of a director.
fn at_the_socket(desired: Desired, publisher: Publisher, shared: Shared, work: impl FnOnce(&Path, &Shared)) {
    let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let control = Control { socket: dir.path().join("lvx.sock"), ..Control::default() };
    let history = History::open(dir.path()).unwrap_or_else(|error| panic!("{error}"));
    let mut desk = Desk::new(desired, publisher, shared.clone(), history, dir.path().join("f"))
        .unwrap_or_else(|error| panic!("{error}"));
    let (tell, jobs) = crossbeam::channel::bounded::<Job>(64);
    let api = Api::open(&control, Link::new(tell, shared.clone()), &[scrape::WORKER])
        .unwrap_or_else(|error| panic!("{error}"));
    let at_work = std::thread::spawn(move || jobs.iter().for_each(|job| job(&mut desk)));
    work(&control.socket, &shared);
    drop(api);
    at_work.join().unwrap_or_else(|_| panic!("the desk"));
}

/// What it takes to be told by a director over its control socket, from calling `lvx` to its last byte.
fn asked(socket: &Path) {
    for words in [&["ipvsadm", "-Ln"][..], &["ipvsadm", "-Ln", "--stats"], &["ipvsadm", "-Sn"], &["status"]] {
        let mut lines = 0;
        let times = (0..11).map(|_| {
            let begun = Instant::now();
            let output = Command::new(env!("CARGO_BIN_EXE_lvx"))
                .args(words)
                .env("LVX_SOCKET", socket)
                .stderr(Stdio::inherit())
                .output()
                .unwrap_or_else(|error| panic!("{error}"));
            assert!(output.status.success(), "lvx {words:?}");
            lines = output.stdout.iter().filter(|&&byte| byte == b'\n').count();
            begun.elapsed()
        });
        let ms = median(times.collect()).as_secs_f64() * 1e3;
        println!("{:<58} {ms:>9.2} ms", format!("lvx {}, {lines} lines (median of 11)", words.join(" ")));
    }
    let client = Client::new(socket);
    for (what, open) in [("no service open", ""), ("one of them", "tcp 192.1.2.7:80"), ("all", "all")] {
        let looks = (0..11).map(|_| {
            let begun = Instant::now();
            client.overview_with::<ServerKeys>("", open).unwrap_or_else(|error| panic!("{error}"));
            begun.elapsed()
        });
        let ms = median(looks.collect()).as_secs_f64() * 1e3;
        println!("{:<58} {ms:>9.2} ms", format!("a look of lvx top, {what} (median of 11)"));
    }
}
