//! `lvx lab demo` on the screen: a live line while it runs, then a table per method and a summary.

use crate::lab::demo::{Settings, Step, Trial, WEIGHTS};
use crate::lab::{Error, Layout, Tally};
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};

/// Runs the demo; `false` if something did not go as it should.
pub(super) fn run(layouts: &[Layout], settings: &Settings) -> Result<bool, Error> {
    println!(
        "{} requests per method, each on a connection of its own; wrr with weights {}\n",
        settings.requests,
        WEIGHTS.map(|weight| weight.to_string()).join(", ")
    );
    let mut trials = Vec::new();
    for &layout in layouts {
        println!("{}", headline(layout));
        let mut live = LiveLine::new();
        let trial = Trial::run(layout, settings, |step| live.show(&step));
        live.clear();
        let trial = trial?;
        print_trial(&trial);
        trials.push(trial);
    }
    print_summary(&trials);
    Ok(trials.iter().all(|trial| trial.problems().is_empty()))
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
    width: usize,
}

impl LiveLine {
    fn new() -> LiveLine {
        LiveLine { is_terminal: io::stdout().is_terminal(), width: 0 }
    }

    fn show(&mut self, step: &Step<'_>) {
        let text = match step {
            Step::Building => "  building the lab".to_owned(),
            Step::Kernel(tally) => format!("  kernel  {}", bar(tally)),
            Step::Director(tally) => format!("  lvx     {}", bar(tally)),
            Step::Downloading => "  downloading 100 MB".to_owned(),
        };
        self.write(&text);
    }

    fn clear(&mut self) {
        self.write("");
    }

    fn write(&mut self, text: &str) {
        if self.is_terminal {
            let mut out = io::stdout().lock();
            // A screen that is gone is no reason to stop before the lab is removed.
            let _ = write!(out, "\r{text:<width$}\r{text}", width = self.width);
            let _ = out.flush();
            self.width = text.chars().count();
        }
    }
}

/// `[#########...........]  900/2000  0 failed  3000/s  server 1: 400  server 2: 300`
fn bar(tally: &Tally) -> String {
    const WIDTH: usize = 20;
    let full = (u64::from(tally.done) * WIDTH as u64 / u64::from(tally.wanted.max(1))) as usize;
    let mut line = format!("[{:.<WIDTH$}]", "#".repeat(full.min(WIDTH)));
    line += &format!("  {}/{}  {} failed", tally.done, tally.wanted, tally.failed);
    line += &format!("  {:.0}/s", tally.per_second());
    for (server, answers) in &tally.answers {
        line += &format!("  {server}: {answers}");
    }
    line
}

fn print_trial(trial: &Trial) {
    println!("  {:<28} {:>6} {:>12} {:>8} {:>8}", "server", "weight", "connections", "wanted", "got");
    for share in &trial.shares {
        let name = format!("server {} {}", share.number, share.address);
        let (weight, connections) = (share.weight, share.connections);
        let (wanted, got) = (share.wanted * 100.0, share.got * 100.0);
        println!("  {name:<28} {weight:>6} {connections:>12} {wanted:>6.1} % {got:>6.1} %");
    }
    let Trial { tally, download, report, .. } = trial;
    println!("  requests  {:.0}/s, {} failed of {}", tally.per_second(), tally.failed, tally.wanted);
    if let (Some(kernel), Some(ratio)) = (&trial.kernel, trial.ratio_to_kernel()) {
        println!(
            "            {:.0}/s with the kernel's own forwarding (nft DNAT), {} failed; lvx / kernel = {ratio:.2}",
            kernel.per_second(),
            kernel.failed
        );
    }
    let hash = if trial.is_whole() { "is the server's" } else { "IS NOT THE SERVER'S" };
    println!("  download  {}, SHA-256 {hash}", speed(download.bytes, download.seconds));
    println!(
        "  packets   {} forwarded, {} to the host{}, {} dropped{}",
        report.forwarded,
        report.to_host,
        reasons(&report.to_host_by_reason),
        report.dropped,
        reasons(&report.dropped_by_reason)
    );
    for problem in trial.problems() {
        println!("  WRONG     {problem}");
    }
    println!();
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

fn print_summary(trials: &[Trial]) {
    println!(
        "{:<8} {:>10} {:>8} {:>12} {:>14} {:>9}   result",
        "method", "requests", "failed", "requests/s", "download MB/s", "SHA-256"
    );
    for trial in trials {
        let Trial { layout, tally, download, .. } = trial;
        let (wanted, failed, per_second) = (tally.wanted, tally.failed, tally.per_second());
        let megabytes = download.bytes as f64 / 1e6 / download.seconds;
        let hash = if trial.is_whole() { "ok" } else { "WRONG" };
        let result = if trial.problems().is_empty() { "works" } else { "FAILED" };
        println!(
            "{layout:<8} {wanted:>10} {failed:>8} {per_second:>12.0} {megabytes:>14.0} {hash:>9}   {result}"
        );
        if let (Some(kernel), Some(ratio)) = (&trial.kernel, trial.ratio_to_kernel()) {
            let (wanted, failed, per_second) = (kernel.wanted, kernel.failed, kernel.per_second());
            println!(
                "{:<8} {wanted:>10} {failed:>8} {per_second:>12.0} {:>38}",
                "  kernel",
                format!("lvx / kernel = {ratio:.2}")
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_full_when_all_requests_are_done_and_not_before() {
        let tally = |done| Tally { wanted: 2000, done, ..Tally::default() };
        assert!(bar(&tally(0)).starts_with("[....................]  0/2000"));
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
