//! Datagrams larger than any frame, between real clients and real servers.

use crate::bed::{Bed, PATIENCE, assert_drops_nothing, options};
use lvx::control::report::Report;
use lvx::lab::{Family, LabService, Layout, Options};
use lvx::service::SchedulerName;

/// Datagrams of 8,000 bytes reach every server by turns, and their answers, as large, come back. The director's report.
fn carries_large_datagrams(layout: Layout, family: Family, queues: u16) -> Report {
    let bed = Bed::with(layout, Options { family, queues, ..options() });
    let director = bed.direct(&[LabService::echo(SchedulerName::Rr, &[1, 1, 1])]);
    let datagram: Vec<u8> = (0..8000u32).map(|i| (i * 31) as u8).collect();
    for n in 0..24 {
        let answer = bed.ask_echo(&datagram, PATIENCE).unwrap_or_else(|error| {
            panic!("{layout:?} {family:?} datagram {n}: {error}; {:?}", director.report())
        });
        let server = format!("server {} ", n % 3 + 1);
        assert_eq!(answer, [server.as_bytes(), &datagram].concat(), "{layout:?} {family:?} datagram {n}");
    }
    let report = director.stop().unwrap();
    assert_drops_nothing(&report);
    assert_eq!(report.to_host_by_reason.get("fragment"), None, "{report:?}");
    for real in &report.services[0].real_servers {
        assert_eq!(real.traffic.connections, 8);
        // Six fragments each.
        assert_eq!(real.traffic.in_packets, 48, "{report:?}");
        assert_eq!(real.traffic.out_packets, if real.forward == "nat" { 48 } else { 0 }, "{report:?}");
    }
    report
}

#[test]
fn fragments_pass_nat_both_ways_in_both_families() {
    Family::ALL.into_iter().for_each(|family| drop(carries_large_datagrams(Layout::Nat, family, 1)));
}

#[test]
fn fragments_pass_dr_in_both_families() {
    Family::ALL.into_iter().for_each(|family| drop(carries_large_datagrams(Layout::Dr, family, 1)));
}

#[test]
fn fragments_pass_two_workers() {
    Family::ALL.into_iter().for_each(|family| drop(carries_large_datagrams(Layout::Nat, family, 2)));
}
