//! What is told of services and servers: a column for each number, its text, and what it is sorted by.

use super::figures::{count, short, time};
use super::list::Line;
use super::moment::{Counts, Flow, Quantiles};
use crate::cli::table::{self, Cell, Tone};
use crate::control::desired::ServerState;
use clap::ValueEnum;
use std::cmp::Ordering;

/// A column, in the order of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Column {
    /// The operator's order
    Name,
    /// Of servers
    Weight,
    /// Active connections
    Active,
    /// Inactive connections
    Inactive,
    /// Connections by the second
    Connections,
    /// Packets from clients by the second
    InPackets,
    /// Packets to clients by the second
    OutPackets,
    /// Bits from clients by the second
    InBits,
    /// Bits to clients by the second
    OutBits,
    /// Half of the answers came within
    P50,
    /// 99 of 100 answers came within
    P99,
}

use Column::*;

/// What sorts the list, the largest first; names in the operator's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    pub by: Column,
    pub is_reversed: bool,
}

impl Column {
    /// All of them.
    pub const ALL: [Column; 11] =
        [Name, Weight, Active, Inactive, Connections, InPackets, OutPackets, InBits, OutBits, P50, P99];

    /// Its heading, and how soon it goes where room is short.
    const fn heading(self) -> (&'static str, u8) {
        match self {
            Name => ("service / server", 0),
            Weight => ("weight", 5),
            Active => ("active", 1),
            Inactive => ("inactive", 6),
            Connections => ("conn/s", 1),
            InPackets => ("in pkt/s", 7),
            OutPackets => ("out pkt/s", 8),
            InBits => ("in bit/s", 2),
            OutBits => ("out bit/s", 3),
            P50 => ("p50", 9),
            P99 => ("p99", 4),
        }
    }

    /// As a heading of a table; the one that sorts it is marked, and is never left out.
    pub fn titled(self, sort: Sort) -> table::Column {
        let (title, rank) = self.heading();
        let is_sorted = sort.by == self;
        let mark = match (is_sorted, sort.is_reversed == (self == Name)) {
            (false, _) => "",
            (true, true) => "↓",
            (true, false) => "↑",
        };
        table::Column {
            title: format!("{title}{mark}"),
            is_number: self != Name,
            rank: if is_sorted { 0 } else { rank },
            width: match self {
                Name => 22,
                // A state has room there, too.
                Weight => "draining".len(),
                _ => title.len().max(6) + 1,
            },
        }
    }

    /// The next one in this direction, if there is one.
    pub fn beside(self, by: isize) -> Option<Column> {
        Column::ALL.get((self as usize).checked_add_signed(by)?).copied()
    }

    /// What it says of a line.
    pub fn cell(self, line: &Line<'_>) -> Cell {
        let counts = line.counts();
        match self {
            Name => name(line),
            Weight => weight(line),
            Active => Cell::new(count(counts.active)),
            Inactive => Cell::new(count(counts.inactive)),
            P50 | P99 => Cell::new(self.number(&counts).map(time).unwrap_or_default()),
            _ => match self.number(&counts) {
                None => Cell::default(),
                Some(0.0) => Cell::new("0").with(Tone::Quiet),
                Some(rate) => Cell::new(short(rate)),
            },
        }
    }

    /// The number that stands there, if it is known.
    fn number(self, counts: &Counts) -> Option<f64> {
        let rate = |of: fn(&Flow) -> f64| counts.rate.as_ref().map(of);
        let latency = |of: fn(&Quantiles) -> f64| counts.latency.as_ref().map(of);
        match self {
            Name => None,
            Weight => counts.weight.map(f64::from),
            Active => Some(counts.active as f64),
            Inactive => Some(counts.inactive as f64),
            Connections => rate(|flow| flow.connections),
            InPackets => rate(|flow| flow.in_packets),
            OutPackets => rate(|flow| flow.out_packets),
            InBits => rate(|flow| flow.in_bits),
            OutBits => rate(|flow| flow.out_bits),
            P50 => latency(|latency| latency.p50_seconds),
            P99 => latency(|latency| latency.p99_seconds),
        }
    }
}

impl Sort {
    /// Which of two comes first, each with its place in the operator's order; what is not known comes last.
    pub fn order(self, a: (&Counts, usize), b: (&Counts, usize)) -> Ordering {
        let number = |of: &Counts| self.by.number(of).unwrap_or(-1.0);
        let order = number(b.0).total_cmp(&number(a.0));
        let order = if self.is_reversed { order.reverse() } else { order };
        order.then(if self.by == Name && self.is_reversed { b.1.cmp(&a.1) } else { a.1.cmp(&b.1) })
    }
}

fn name(line: &Line<'_>) -> Cell {
    match line {
        Line::Service(service, is_open) => {
            let mark = if *is_open { "-" } else { "+" };
            let named = service.name.is_empty() || service.name == service.service;
            let name = if named { String::new() } else { format!(" ({})", service.name) };
            Cell::new(format!("{mark} {}{name}", service.service)).with(Tone::Title)
        }
        Line::Server(_, server) => Cell::new(format!("    {}", server.address)),
        Line::Unknown(_) => Cell::new("    …").with(Tone::Quiet),
    }
}

/// The weight, or what keeps it from holding.
fn weight(line: &Line<'_>) -> Cell {
    let Line::Server(_, server) = line else { return Cell::default() };
    match (server.state, server.counts.weight) {
        (None, _) => Cell::new("removed").with(Tone::Quiet),
        (Some(ServerState::Up), Some(0)) => Cell::new("0").with(Tone::Warning),
        (Some(ServerState::Up), weight) => Cell::new(weight.unwrap_or_default().to_string()),
        // As haproxy has it, since the column is narrow.
        (Some(ServerState::Maintenance), _) => Cell::new("maint").with(Tone::Warning),
        (Some(state), _) => Cell::new(state.to_string()).with(Tone::Warning),
    }
}
