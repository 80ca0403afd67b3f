//! Fills a [`Report`] from what the workers have counted.

use super::desired::Key;
use super::publish::Publisher;
use super::report::{Connections, Fragments, Port, RealServer, Report, Service, Worker};
use super::view::View;
use crate::conntrack::Table;
use crate::dataplane::counters::Counters;
use crate::dataplane::verdict::{DropReason, HostReason};
use crate::service::{Match, RealServer as Real};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// The report as of now. Reasons that never occurred are left out. What the port could not carry out after the
/// pipeline had given its verdict counts as dropped.
pub fn report(publisher: &Publisher, workers: &[Arc<Counters>], table: &Table) -> Report {
    report_of(&View::new(publisher, workers, Instant::now()), table)
}

/// The same of what was seen.
pub(super) fn report_of(view: &View, table: &Table) -> Report {
    Report { services: services(view), ..totals(view, table) }
}

/// The report without its services.
pub(super) fn totals(view: &View, table: &Table) -> Report {
    let (workers, port) = (view.workers(), Port::of(view.ports()));
    let sum = |count: &dyn Fn(&Counters) -> u64| workers.iter().map(|counters| count(counters)).sum::<u64>();
    let to_host_by_reason: BTreeMap<String, u64> = named(
        HostReason::ALL.iter().map(|&reason| (reason.name(), sum(&|counters| counters.to_host(reason)))),
    );
    let dropped_by_reason: BTreeMap<String, u64> = named(DropReason::ALL.iter().map(|&reason| {
        let later = match reason {
            DropReason::TxRingFull => port.tx_ring_full,
            DropReason::HostUnreachable => port.host_unreachable,
            _ => 0,
        };
        (reason.name(), sum(&|counters| counters.dropped(reason)) + later)
    }));
    let answered_by_reason = named(
        DropReason::ALL.iter().map(|&reason| (reason.name(), sum(&|counters| counters.answered(reason)))),
    );
    let forwarded = sum(&|counters| counters.forwarded.get()).saturating_sub(port.tx_ring_full);
    let to_host = to_host_by_reason.values().sum::<u64>().saturating_sub(port.host_unreachable);
    let dropped: u64 = dropped_by_reason.values().sum();
    let pieces = table.datagrams().census();
    Report {
        packets: forwarded + to_host + dropped + pieces.waiting,
        forwarded,
        to_host,
        to_host_by_reason,
        dropped,
        fragments: Fragments {
            datagrams: pieces.datagrams,
            evicted: pieces.evicted,
            waiting: pieces.waiting,
            held: sum(&|counters| counters.held.get()),
            made: sum(&|counters| counters.fragmented.get()),
        },
        connections: Connections {
            current: view.connections(),
            templates: view.templates(),
            limit: table.capacity() as u64,
            refused: dropped_by_reason.get(DropReason::TableFull.name()).copied().unwrap_or(0),
            evicted_half_open: sum(&|counters| counters.evicted_half_open.get()),
            evicted_closing: sum(&|counters| counters.evicted_closing.get()),
            bytes_each: table.bytes() as f64 / table.capacity() as f64,
        },
        dropped_by_reason,
        answered_by_reason,
        unanswered: sum(&|counters| counters.unanswered.get()),
        related: sum(&|counters| counters.related.get()),
        probes: sum(&|counters| counters.probes.get()),
        port,
        workers: workers
            .iter()
            .zip(0..)
            .map(|(counters, number)| Worker::of(counters, view.load(number)))
            .collect(),
        services: Vec::new(),
    }
}

fn named<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> BTreeMap<String, u64> {
    counts.filter(|(_, n)| *n > 0).map(|(name, n)| (name.to_owned(), n)).collect()
}

fn services(view: &View) -> Vec<Service> {
    let row = |real: &Real, weight| RealServer {
        address: real.endpoint.to_string(),
        forward: real.method.to_string(),
        weight,
        state: None,
        health: None,
        start: None,
        maintenance: None,
        drain: None,
        active: real.live.active() as u64,
        inactive: real.live.inactive() as u64,
        persistent: real.live.templates() as u64,
        traffic: view.traffic(real.id),
        latency: view.latency(real.id).map(Into::into),
    };
    view.services()
        .iter()
        .map(|service| {
            let key = Key::from(&**service);
            let departed = view.departed_from(key);
            let states = view.states(key, &service.reals);
            let current = service.reals.iter().zip(states).map(|(real, state)| RealServer {
                state: Some(state),
                health: view.health(key, real.endpoint),
                start: view.starting(real),
                maintenance: view.maintained(key, real.endpoint),
                drain: view.draining(key, real),
                ..row(real, real.weight)
            });
            Service {
                name: service.name.to_string(),
                protocol: service.proto.word().to_owned(),
                address: service.endpoint.to_string(),
                fwmark: service.group.as_ref().map(|group| group.fwmark),
                matches: service
                    .group
                    .as_ref()
                    .map_or_else(Vec::new, |group| group.matches.iter().map(Match::to_string).collect()),
                scheduler: service.scheduler.to_string(),
                traffic: view.traffic_of(service),
                fails_open: view.fails_open(key),
                has_lost_quorum: view.has_lost_quorum(key),
                real_servers: current.chain(departed.iter().map(|real| row(real, 0))).collect(),
            }
        })
        .collect()
}
