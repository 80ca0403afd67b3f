//! What a replay tells: a table for people, one JSON object for programs.

use crate::control::report::{Report, Service};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

/// A finished replay.
#[derive(Debug, Serialize)]
pub(super) struct Replayed {
    /// The counts of the first time that the captures were played.
    #[serde(flatten)]
    pub report: Report,
    #[serde(flatten)]
    pub timing: Timing,
    /// Bytes of memory per connection when the table is full.
    pub bytes_per_connection: f64,
    pub inputs: Vec<Input>,
}

/// A capture that was played.
#[derive(Debug, Serialize)]
pub(super) struct Input {
    pub file: String,
    pub interface: String,
    pub packets: usize,
    /// Whether the file ended within a packet.
    pub truncated: bool,
}

/// How long the pipeline took, from frames in memory to verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Timing {
    /// How many times the captures were played.
    pub repeat: u32,
    /// The median of all times but the first, or that of the first if there is no other; 0 without packets.
    pub ns_per_packet: f64,
    /// The first time: it opened the connections.
    pub ns_per_packet_first: f64,
    /// Millions of packets per second at `ns_per_packet`.
    pub mpps: f64,
}

impl Timing {
    /// The timing of so many packets that took `first` once and then `later`.
    pub fn new(packets: usize, first: Duration, later: &[Duration]) -> Timing {
        let per_packet = |time: Duration| time.as_nanos() as f64 / packets.max(1) as f64;
        let mut sorted = later.to_vec();
        sorted.sort_unstable();
        // Of an even number the mean of the two in the middle.
        let middle = match sorted.len() {
            0 => first,
            n => (sorted[(n - 1) / 2] + sorted[n / 2]) / 2,
        };
        let ns_per_packet = per_packet(middle);
        let mpps = if ns_per_packet > 0.0 { 1000.0 / ns_per_packet } else { 0.0 };
        let ns_per_packet_first = per_packet(first);
        Timing { repeat: later.len() as u32 + 1, ns_per_packet, ns_per_packet_first, mpps }
    }
}

impl Replayed {
    /// Prints one JSON object.
    pub fn print_json(&self) -> ExitCode {
        match serde_json::to_string_pretty(self) {
            Ok(json) => print(&json),
            Err(error) => {
                eprintln!("lvx replay: the report: {error}");
                ExitCode::FAILURE
            }
        }
    }

    /// Prints the table.
    pub fn print_table(&self) -> ExitCode {
        print(self.to_string().trim_end())
    }
}

/// Prints to standard output, which may have been closed by a reader that has seen enough.
fn print(text: &str) -> ExitCode {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("lvx replay: write the report: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { packets, forwarded, to_host, to_host_by_reason, dropped, dropped_by_reason, .. } =
            &self.report;
        writeln!(f, "packets    {packets:>12}")?;
        writeln!(f, "forwarded  {forwarded:>12}")?;
        writeln!(f, "to host    {to_host:>12}{}", reasons(to_host_by_reason))?;
        writeln!(f, "dropped    {dropped:>12}{}", reasons(dropped_by_reason))?;
        let answered = &self.report.answered_by_reason;
        if !answered.is_empty() {
            writeln!(f, "answered   {:>12}{}", answered.values().sum::<u64>(), reasons(answered))?;
        }
        for service in &self.report.services {
            write!(f, "\n{}", ServiceTable(service))?;
        }
        let Timing { repeat, ns_per_packet, ns_per_packet_first, mpps } = self.timing;
        write!(f, "\n{ns_per_packet:.1} ns/packet, {mpps:.2} Mpps")?;
        if repeat > 1 {
            write!(f, " (median of {}; {ns_per_packet_first:.1} ns/packet the first time)", repeat - 1)?;
        }
        writeln!(f, ", {:.1} bytes/connection", self.bytes_per_connection)
    }
}

/// `  ttl_expired 2, too_big 1`, the most frequent first.
fn reasons(counts: &BTreeMap<String, u64>) -> String {
    let mut sorted: Vec<_> = counts.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let mut line = String::new();
    for (index, (reason, count)) in sorted.into_iter().enumerate() {
        let _ = write!(line, "{} {reason} {count}", if index == 0 { " " } else { "," });
    }
    line
}

struct ServiceTable<'r>(&'r Service);

impl fmt::Display for ServiceTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Service { name, protocol, address, scheduler, real_servers, .. } = self.0;
        let vip = format!("{protocol} {address}");
        // A service without a name of its own is called by its address.
        let name = if *name == vip { String::new() } else { format!("{name}  ") };
        writeln!(f, "{name}{vip} {scheduler}")?;
        writeln!(
            f,
            "  {:<22}{:>8}{:>8}{:>12}{:>10}{:>10}{:>12}{:>12}{:>14}{:>14}",
            "server",
            "forward",
            "weight",
            "connections",
            "active",
            "inactive",
            "in packets",
            "out packets",
            "in bytes",
            "out bytes"
        )?;
        for real in real_servers {
            let traffic = &real.traffic;
            writeln!(
                f,
                "  {:<22}{:>8}{:>8}{:>12}{:>10}{:>10}{:>12}{:>12}{:>14}{:>14}",
                real.address,
                real.forward,
                real.weight,
                traffic.connections,
                real.active,
                real.inactive,
                traffic.in_packets,
                traffic.out_packets,
                traffic.in_bytes,
                traffic.out_bytes
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_per_packet_is_the_median_without_the_first_pass() {
        let ns = Duration::from_nanos;
        let timing = Timing::new(10, ns(9000), &[ns(400), ns(5000), ns(200), ns(300)]);
        assert_eq!((timing.ns_per_packet, timing.ns_per_packet_first, timing.repeat), (35.0, 900.0, 5));
        assert_eq!(Timing::new(10, ns(9000), &[]).ns_per_packet, 900.0);
        assert_eq!(Timing::new(0, ns(0), &[]).mpps, 0.0);
    }

    #[test]
    fn reasons_are_told_the_most_frequent_first() {
        let counts = [("a", 1), ("b", 7), ("c", 7)].map(|(name, count)| (name.to_owned(), count));
        assert_eq!(reasons(&counts.into()), "  b 7, c 7, a 1");
        assert_eq!(reasons(&BTreeMap::new()), "");
    }
}
