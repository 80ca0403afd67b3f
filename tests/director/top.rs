//! `lvx top` beside a director at work: what it shows is what happens.

use crate::bed::{Bed, LVX, eventually, in_turn};
use crate::terminal::Terminal;
use lvx::lab::Layout;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The numbers of a line, behind its name.
fn numbers(line: &str) -> Vec<f64> {
    let number = |word: &str| {
        let digits = word.trim_end_matches(|c: char| c.is_alphabetic());
        let factor = match &word[digits.len()..] {
            "" => 1.0,
            "k" => 1e3,
            "M" => 1e6,
            "G" => 1e9,
            "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            _ => return None,
        };
        digits.parse::<f64>().ok().map(|number| number * factor)
    };
    line.split_whitespace().skip(1).filter_map(number).collect()
}

/// The line that has this in it.
fn line<'a>(screen: &'a [String], text: &str) -> Option<&'a str> {
    screen.iter().map(|line| line.trim()).find(|line| line.contains(text))
}

#[test]
fn it_shows_rates_latencies_drops_and_workers_and_drains_a_server() {
    let bed = Bed::new(Layout::Nat);
    let _director = bed.direct(&in_turn());
    let socket = bed.control_socket();
    let argv = [LVX, "top", "-d", "0.5", "--socket", socket.to_str().unwrap()];
    let mut top = Terminal::run(&argv, &[], (140, 30));
    let servers: Vec<String> = (1..=3).map(|n| bed.plan.server(n).unwrap().http.to_string()).collect();
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !has_ended.load(Relaxed) {
                bed.load(300);
            }
        });
        let end = scopeguard(&has_ended);
        top.shows("(http)");
        top.press("\x1b[B\x1b[C");
        // weight, active, inactive, conn/s, packets and bits in and out, p50, p99.
        let screen = top.until("rates of every server", |screen| {
            servers.iter().all(|server| {
                line(screen, server).is_some_and(|line| {
                    let numbers = numbers(line);
                    numbers.len() == 10 && numbers[3..].iter().all(|number| *number > 0.0)
                })
            })
        });
        let of = |server: &str| numbers(line(&screen, server).unwrap());
        let service = of("(http)");
        // The name is the second word, and the key has three.
        let service = &service[service.len() - 9..];
        let sum: f64 = servers.iter().map(|server| of(server)[3]).sum();
        assert!((sum / service[2] - 1.0).abs() < 0.1, "{sum} of {service:?}");
        for server in &servers {
            let numbers = of(server);
            let [connections, in_packets, out_packets, in_bits, out_bits] = numbers[3..8] else { panic!() };
            assert!(in_packets > connections && out_packets > connections, "{numbers:?}");
            assert!(in_bits > 8.0 * 40.0 * in_packets * 0.9 && out_bits > 8.0 * 40.0 * out_packets * 0.9, "{numbers:?}");
            assert!(numbers[8] <= numbers[9] && numbers[9] < 10.0, "p50 and p99: {numbers:?}");
        }
        assert!(screen[3].starts_with("workers") && screen[3].contains('%'), "{}", screen[3]);

        top.press("3");
        let workers = top.until("a worker at work", |screen| {
            line(screen, "0  [").is_some_and(|line| numbers(line).last().is_some_and(|batch| *batch >= 1.0))
        });
        assert!(workers[5].contains("packets/s"), "{workers:?}");

        // Drained: no connection comes any more, and the others have them all.
        top.press("1/");
        top.press(&servers[1]);
        top.press("\r");
        top.until("one server", |screen| {
            line(screen, &servers[1]).is_some() && line(screen, &servers[0]).is_none()
        });
        top.press("\x1b[B\x1b[Bd");
        let asked = top.shows("y/n");
        assert!(asked[29].starts_with(&format!("drain {} of tcp ", servers[1])), "{}", asked[29]);
        top.press("y");
        top.until("drain", |screen| line(screen, &format!("{} ", servers[1])).is_some_and(|line| line.contains("draining")));
        top.until("no new connection", |screen| {
            line(screen, "    0  ").is_some_and(|line| line.starts_with(&servers[1]))
        });
        top.press("u");
        top.shows("undrain");
        top.press("y");
        top.until("connections again", |screen| {
            line(screen, &format!("{} ", servers[1]))
                .is_some_and(|line| !line.contains("draining") && numbers(line).get(3).is_some_and(|rate| *rate > 0.0))
        });
        drop(end);
    });

    // A connection to a service without servers that may have it is a drop, with its reason.
    top.press("2");
    top.shows("for the reason");
    top.press("q");
    assert!(top.end().success());
    assert!(top.is_as_before());
    eventually("end", || true);
}
