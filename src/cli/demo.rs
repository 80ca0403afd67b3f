//! `lvx lab demo` on the screen: a live line while it runs, then a table per method and a summary.

use crate::lab::demo::{Settings, Step, Trial, WEIGHTS, sequences};
use crate::lab::{Error, Family, Layout, Tally};
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};

/// Runs the demo; `false` if something did not go as it should.
pub(super) fn run(families: &[Family], layouts: &[Layout], settings: &Settings) -> Result<bool, Error> {
    say!(
        "{} requests per method, each on a connection of its own; wrr with weights {}\n",
        settings.requests,
        WEIGHTS.map(|weight| weight.to_string()).join(", ")
    );
    let mut trials = Vec::new();
    let rounds = families.iter().flat_map(|&family| layouts.iter().map(move |&layout| (layout, family)));
    for (layout, family) in rounds {
        say!("{}{}", headline(layout), if family == Family::V6 { "; in IPv6" } else { "" });
        let live = LiveLine::new();
        let trial = Trial::run(layout, family, settings, |step| live.show(&step));
        live.clear();
        match trial {
            Ok(trial) => {
                print_trial(&trial);
                trials.push((name(layout, family), Some(trial)));
            }
            // The same would befall every method.
            Err(error @ (Error::Interrupted | Error::NotRoot | Error::Missing { .. })) => return Err(error),
            // The other methods may work: go on, and fail at the end.
            Err(error) => {
                say!("  WRONG     {error}\n");
                trials.push((name(layout, family), None));
            }
        }
    }
    print_summary(&trials);
    Ok(trials.iter().all(|(_, trial)| trial.as_ref().is_some_and(|trial| trial.problems().is_empty())))
}

/// A trial's name in the summary.
fn name(layout: Layout, family: Family) -> String {
    format!("{layout}{}", if family == Family::V6 { " IPv6" } else { "" })
}

fn headline(layout: Layout) -> &'static str {
    match layout {
        Layout::Nat => "NAT: the destination is rewritten, replies pass the director",
        Layout::Dr => "DR: only the destination MAC is rewritten, replies go straight to the client",
        Layout::Tun => "TUN: IP-in-IP to servers behind a router, replies go straight to the client",
        Layout::Mixed => "All three methods behind one virtual service",
    }
}

/// One line that is written over and over, on a terminal; elsewhere nothing.
struct LiveLine {
    is_terminal: bool,
}

impl LiveLine {
    fn new() -> LiveLine {
        LiveLine { is_terminal: io::stdout().is_terminal() }
    }

    fn show(&self, step: &Step<'_>) {
        self.write(&match step {
            Step::Building => "  building the lab".to_owned(),
            Step::Kernel(tally) => format!("  kernel {}", bar(tally)),
            Step::Director(tally) => format!("  lvx    {}", bar(tally)),
            Step::Downloading => "  downloading 100 MB".to_owned(),
        });
    }

    fn clear(&self) {
        self.write("");
    }

    fn write(&self, text: &str) {
        if self.is_terminal {
            let mut out = io::stdout().lock();
            // Back to the start, and clear the line. A screen that is gone is no reason to stop before the lab is
            // removed.
            let _ = write!(out, "\r\x1b[2K{text}");
            let _ = out.flush();
        }
    }
}

/// `[#########...........] 900/2000  0 failed  3000/s  server 1: 400, 2: 300, 3: 200`
fn bar(tally: &Tally) -> String {
    const WIDTH: usize = 20;
    let full = (u64::from(tally.done) * WIDTH as u64 / u64::from(tally.wanted.max(1))) as usize;
    let mut line = format!("[{:.<WIDTH$}]", "#".repeat(full.min(WIDTH)));
    line += &format!(" {}/{}  {} failed", tally.done, tally.wanted, tally.failed);
    line += &format!("  {:.0}/s", tally.per_second());
    let number = |server: &str| server.trim_start_matches("server ").to_owned();
    let answers = tally.answers.iter().map(|(server, answers)| format!("{}: {answers}", number(server)));
    let answers: Vec<String> = answers.collect();
    if !answers.is_empty() {
        line += &format!("  server {}", answers.join(", "));
    }
    line
}

fn print_trial(trial: &Trial) {
    let names = trial.shares.iter().map(|share| format!("server {} {}", share.number, share.address));
    let names: Vec<String> = names.collect();
    let width = names.iter().map(String::len).max().unwrap_or(0).max(28);
    say!("  {:<width$} {:>6} {:>12} {:>8} {:>8}", "server", "weight", "connections", "wanted", "got");
    for (share, name) in trial.shares.iter().zip(&names) {
        let (weight, connections) = (share.weight, share.connections);
        let (wanted, got) = (share.wanted * 100.0, share.got * 100.0);
        say!("  {name:<width$} {weight:>6} {connections:>12} {wanted:>6.1} % {got:>6.1} %");
    }
    let Trial { tally, download, report, .. } = trial;
    say!("  requests  {:.0}/s, {} failed of {}", tally.per_second(), tally.failed, tally.wanted);
    if let (Some((way, kernel)), Some(ratio)) = (&trial.kernel, trial.ratio_to_kernel()) {
        say!(
            "            {:.0}/s with the kernel's own forwarding ({}), {} failed; lvx / kernel = {ratio:.2}",
            kernel.per_second(),
            way.name(),
            kernel.failed
        );
    }
    let hash = if trial.is_whole() { "is the server's" } else { "IS NOT THE SERVER'S" };
    say!("  download  {}, SHA-256 {hash}", speed(download.bytes, download.seconds));
    say!(
        "  packets   {} forwarded, {} to the host{}, {} dropped{}",
        report.forwarded,
        report.to_host,
        reasons(&report.to_host_by_reason),
        report.dropped,
        reasons(&report.dropped_by_reason)
    );
    for problem in trial.problems() {
        say!("  WRONG     {problem}");
    }
    say!();
}

fn speed(bytes: u64, seconds: f64) -> String {
    let megabytes = bytes as f64 / 1e6;
    format!("{megabytes:.0} MB in {seconds:.2} s, {:.0} MB/s", megabytes / seconds)
}

/// ` (arp 3, no_service 1)`, without those that never came up.
fn reasons(counts: &BTreeMap<String, u64>) -> String {
    let seen = counts.iter().filter(|&(_, &count)| count > 0);
    let list: Vec<String> = seen.map(|(reason, count)| format!("{reason} {count}")).collect();
    if list.is_empty() { String::new() } else { format!(" ({})", list.join(", ")) }
}

fn print_summary(trials: &[(String, Option<Trial>)]) {
    say!("method      requests   failed   requests/s   download   SHA-256   result");
    for (name, trial) in trials {
        let Some(trial) = trial else {
            say!("{name:<10} {:>59}", "FAILED");
            continue;
        };
        let download = format!("{:.0} MB/s", trial.download.bytes as f64 / 1e6 / trial.download.seconds);
        let hash = if trial.is_whole() { "ok" } else { "WRONG" };
        let result = if trial.problems().is_empty() { "works" } else { "FAILED" };
        say!("{} {download:>10} {hash:>9}   {result}", counts(name, &trial.tally));
        if let (Some((_, kernel)), Some(ratio)) = (&trial.kernel, trial.ratio_to_kernel()) {
            say!("{}   lvx does {ratio:.2} times that", counts("  kernel", kernel));
        }
    }
    say!("\nschedulers: 18 picks among servers A, B, C of weights 4, 3, 2; connections stay");
    for (scheduler, picks) in sequences(18) {
        say!("{scheduler:<8} {picks}");
    }
}

/// The left half of a line of the summary.
fn counts(name: &str, tally: &Tally) -> String {
    format!("{name:<10} {:>9} {:>8} {:>12.0}", tally.wanted, tally.failed, tally.per_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_full_when_all_requests_are_done_and_not_before() {
        let tally = |done| Tally { wanted: 2000, done, ..Tally::default() };
        assert!(bar(&tally(0)).starts_with("[....................] 0/2000"));
        assert!(bar(&tally(1999)).starts_with("[###################.]"));
        assert!(bar(&tally(2000)).starts_with("[####################]"));
    }

    #[test]
    fn only_reasons_that_came_up_are_told() {
        let counts = BTreeMap::from([("arp".to_owned(), 3), ("fragment".to_owned(), 0)]);
        assert_eq!(reasons(&counts), " (arp 3)");
        assert_eq!(reasons(&BTreeMap::new()), "");
    }
}
