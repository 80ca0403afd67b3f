//! The same traffic, whatever way frames reach the director.

use crate::bed::{Bed, assert_drops_nothing, connections, in_turn, options};
use lvx::lab::{LabService, Layout, Node, Options};
use lvx::service::SchedulerName;

fn services() -> [LabService; 2] {
    [in_turn()[0].clone(), LabService::echo(SchedulerName::Rr, &[1, 1, 1])]
}

/// Many connections, a long one and UDP, through a director with these keys.
fn works_with(bed: &Bed, director_keys: &str) {
    let director = bed.direct_by(&bed.director_config_with(director_keys, &services()));
    bed.load(150);
    bed.download_whole();
    assert_eq!(bed.echo(30).len(), 30);
    assert_drops_nothing(&director.stop().unwrap());
}

#[test]
fn generic_xdp_works_with_senders_that_make_single_frames() {
    for layout in [Layout::Nat, Layout::Tun] {
        let bed = Bed::new(layout);
        for (node, interface) in bed.facing_the_director() {
            // What the director's log asks for.
            bed.on(node, &format!("ethtool -K {interface} tso off gso off"));
        }
        works_with(&bed, "xdp_mode = \"generic\"");
        assert!(bed.log().contains("ethtool -K PEER tso off gso off"), "{}", bed.log());
    }
}

#[test]
fn native_xdp_works_with_checksums_completed_by_the_senders() {
    for layout in [Layout::Nat, Layout::Tun] {
        let bed = Bed::with(layout, Options { checksum_offload: false, ..options() });
        works_with(&bed, "xdp_mode = \"native\"");
    }
}

#[test]
fn busy_polling_works() {
    let bed = Bed::new(Layout::Nat);
    works_with(&bed, "poll = \"busy\"");
    works_with(&bed, "poll = \"busy\"\nbusy_poll = true");
}

#[test]
fn few_frames_are_enough_for_few_connections() {
    let bed = Bed::new(Layout::Nat);
    works_with(&bed, "frames = 1024");
}

#[test]
fn two_workers_share_connections_whichever_queue_their_packets_arrive_on() {
    for layout in [Layout::Nat, Layout::Dr] {
        let bed = Bed::with(layout, Options { queues: 2, ..options() });
        // Packets take the transmit queue of the core that they are sent on, and arrive on the director's queue of
        // the same number: by default, what the router forwards would all be on the first.
        for (node, interface) in bed.facing_the_director() {
            for (queue, cores) in [(0, "1"), (1, "2")] {
                let file = format!("/sys/class/net/{interface}/queues/tx-{queue}/xps_cpus");
                bed.exec(node, &["sh", "-c", &format!("echo {cores} > {file}")]).unwrap();
            }
        }
        let director = bed.direct_by(&bed.director_config_with("workers = 2", &services()));
        bed.load(300);
        (0..3).for_each(|_| bed.download_whole());
        assert_eq!(bed.echo(60).len(), 60);
        for interface in &bed.plan.interfaces {
            let statistics = bed.on(Node::Director, &format!("ethtool -S {interface}"));
            let is_unused = |line: &str| line.contains("_xdp_redirect: 0");
            assert!(!statistics.lines().any(is_unused), "a queue of {interface} was not used: {statistics}");
        }
        let report = director.stop().unwrap();
        assert_drops_nothing(&report);
        // Each worker takes turns of its own.
        let connections = connections(&report);
        assert_eq!(connections.iter().sum::<u64>(), 303);
        assert!(connections.iter().all(|n| n.abs_diff(101) <= 1), "{connections:?}");
    }
}
