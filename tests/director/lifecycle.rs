//! How a director ends, hangs and starts again.

use crate::bed::{Bed, eventually, in_turn};
use lvx::lab::{Layout, Node, Signal};
use std::io::ErrorKind;

#[test]
fn whatever_ends_a_director_leaves_no_xdp_program_and_it_starts_again_at_once() {
    let bed = Bed::new(Layout::Nat);
    assert!(!bed.has_xdp());
    for signal in [Signal::KILL, Signal::TERM, Signal::INT, Signal::KILL] {
        let mut director = bed.direct(&in_turn());
        assert!(bed.has_xdp());
        bed.load(30);
        assert!(director.signal(signal));
        let mut status = None;
        eventually("end", || {
            status = director.exit_status();
            status.is_some()
        });
        // Detached when the kernel has let go of the last reference, moments after the end.
        eventually("interface without a program", || !bed.has_xdp());
        assert_eq!(status.unwrap().success(), signal != Signal::KILL, "{}", director.log_tail());
    }
    let _director = bed.direct(&in_turn());
    bed.load(9);
}

#[test]
fn a_killed_director_is_replaced_at_once() {
    let bed = Bed::new(Layout::Dr);
    for _ in 0..3 {
        // Without waiting for the kernel to have cleaned up.
        bed.direct(&in_turn()).kill();
    }
    let _director = bed.direct(&in_turn());
    bed.load(9);
}

#[test]
fn its_last_report_has_everything() {
    let bed = Bed::new(Layout::Dr);
    let director = bed.direct(&in_turn());
    bed.load(60);
    let report = director.stop().unwrap();
    assert_eq!(report.services[0].traffic.connections, 60);
    assert_eq!(report.connections.current, 60, "closed, but remembered until their time is over");
}

#[test]
fn while_a_director_hangs_its_packets_are_the_kernels() {
    let bed = Bed::new(Layout::Nat);
    let director = bed.direct(&in_turn());
    let mut visit = bed.visit();
    let server = visit.ask().unwrap();
    assert!(director.signal(Signal::STOP));
    let refused = || bed.connect(bed.plan.http()).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused);
    eventually("RST from the kernel, which has no such server", refused);
    let ping = bed.on(Node::Client, "ping -c 3 -i 0.2 -W 5 10.20.0.100");
    assert!(ping.contains(" 0% packet loss"), "{ping}");

    assert!(director.signal(Signal::CONT));
    eventually("answer", || bed.ask().is_ok());
    // Nothing was asked on it meanwhile, so nobody has reset it.
    assert_eq!(visit.ask().unwrap(), server);
    bed.load(9);
}

#[test]
fn a_director_whose_interface_vanishes_ends_and_says_so() {
    let bed = Bed::new(Layout::Nat);
    let mut director = bed.direct(&in_turn());
    bed.load(3);
    bed.on(Node::Director, "ip link del eth1");
    let mut status = None;
    eventually("end", || {
        status = director.exit_status();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(1));
    assert!(director.log_tail().contains("lvx: cannot move packets: "), "{}", director.log_tail());
    assert!(director.log_tail().contains("eth1"), "{}", director.log_tail());
    assert!(!bed.has_xdp());
}
