//! `lvx top` beside a director at work: what it shows is what happens.

use crate::bed::{Bed, LVX, in_turn};
use crate::terminal::Terminal;
use lvx::control::api::Transaction;
use lvx::control::client::Client;
use lvx::control::desired::{Edit, ServiceRef};
use lvx::lab::Layout;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Ends the load when it is dropped, also by a panic.
struct Load<'a>(&'a AtomicBool);

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

/// A number as it is shown: `1.2k`, `16µs`.
fn number(word: &str) -> Option<f64> {
    let digits = word.trim_end_matches(char::is_alphabetic);
    let factor = match &word[digits.len()..] {
        "" | "s" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "ms" => 1e-3,
        "µs" => 1e-6,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * factor)
}

/// The numbers at the end of the line that begins with this.
fn numbers(screen: &[String], name: &str) -> Option<Vec<f64>> {
    let line = screen.iter().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(' '))?;
    Some(line.split_whitespace().filter_map(number).collect())
}

#[test]
fn it_shows_what_happens_and_drains_a_server() {
    let bed = Bed::new(Layout::Nat);
    let _director = bed.direct(&in_turn());
    let socket = bed.control_socket();
    let mut top =
        Terminal::run(&[LVX, "top", "-d", "0.5", "--socket", socket.to_str().unwrap()], &[], (140, 30));
    let servers: Vec<String> = (1..=3).map(|n| bed.plan.server(n).unwrap().http.to_string()).collect();
    let service = format!("- tcp {} (http)", bed.plan.http());

    let is_wanted = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let load = Load(&is_wanted);
        scope.spawn(|| {
            while is_wanted.load(Relaxed) {
                bed.load(200);
            }
        });
        top.shows("(http)");
        top.press("\x1b[B\x1b[C");
        // Weight, active, inactive; connections, packets in and out, bits in and out by the second; p50, p99.
        let screen = top.until("rates of every server", |screen| {
            servers.iter().all(|server| {
                let numbers = numbers(screen, server).unwrap_or_default();
                numbers.len() == 10 && numbers[3..].iter().all(|number| *number > 0.0)
            })
        });
        let of = |name: &str| numbers(&screen, name).unwrap();
        // A service has no weight.
        let whole = of(&service)[2];
        let sum: f64 = servers.iter().map(|server| of(server)[3]).sum();
        assert!((sum / whole - 1.0).abs() < 0.1, "{sum} of {whole}");
        for server in &servers {
            let numbers = of(server);
            let [connections, in_packets, out_packets, in_bits, out_bits, p50, p99] = numbers[3..] else {
                panic!("{numbers:?}")
            };
            assert!(in_packets > connections && out_packets > connections, "{numbers:?}");
            // No packet of TCP has fewer than 40 bytes.
            assert!(in_bits > 300.0 * in_packets && out_bits > 300.0 * out_packets, "{numbers:?}");
            assert!(p50 <= p99 && p99 < 17.0, "{numbers:?}");
        }

        top.press("3");
        top.until("a worker at work", |screen| {
            let numbers = numbers(screen, "0").unwrap_or_default();
            // Load, polling, sleeping; packets, and how many came at once.
            numbers.len() == 5 && numbers[0] > 0.0 && numbers[3] > 0.0 && numbers[4] >= 1.0
        });

        // Drained: nothing new comes to it. Found by its address, its service is open.
        top.press("1");
        top.press("/");
        top.press(&servers[1]);
        top.press("\r");
        top.until("that server alone", |screen| {
            numbers(screen, &servers[1]).is_some() && numbers(screen, &servers[0]).is_none()
        });
        top.press("\x1b[B\x1b[Bd");
        let asked = top.shows("y/n");
        assert!(asked[29].starts_with(&format!("drain {} of tcp ", servers[1])), "{}", asked[29]);
        top.press("y");
        top.until("drain", |screen| {
            let is_draining = screen.iter().any(|line| line.contains("draining"));
            // Active, inactive, and then the rate of connections.
            is_draining && numbers(screen, &servers[1]).is_some_and(|numbers| numbers[2] == 0.0)
        });
        top.press("u");
        top.shows("undrain");
        top.press("y");
        top.until("connections again", |screen| {
            numbers(screen, &servers[1]).is_some_and(|numbers| numbers.len() == 10 && numbers[3] > 0.0)
        });
        drop(load);
    });

    // Without a server that may have it, a connection is dropped, and why is told.
    top.press("2");
    top.shows("for the reason");
    let quiesce = |server: &String| Edit::SetWeight {
        service: ServiceRef("http".to_owned()),
        server: server.clone(),
        weight: 0,
    };
    let edits = servers.iter().map(quiesce).collect();
    Client::new(&socket).edit(&Transaction { edits, ..Transaction::default() }).unwrap();
    assert!(bed.ask().is_err());
    top.until("drop", |screen| {
        numbers(screen, "dropped  no_real_server").is_some_and(|numbers| numbers.last() >= Some(&1.0))
    });
    top.press("q");
    assert!(top.end().success());
    assert!(top.is_as_before());
}
