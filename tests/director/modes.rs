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
    for layout in [Layout::Nat, Layout::Tun] {
        let bed = Bed::with(layout, Options { queues: 2, ..options() });
        let director = bed.direct_by(&bed.director_config_with("workers = 2", &services()));
        // What the router itself sends is spread over both queues by the kernel's hash. Replies of NAT servers come
        // through a bridge, which leaves all of them on the first queue: half of them find the other worker.
        let url = format!("http://{}/?request=[1-300]", bed.plan.http());
        #[rustfmt::skip]
        let curl = ["curl", "-sS", "--parallel", "--parallel-immediate", "--parallel-max", "32",
            "--connect-timeout", "5", "--max-time", "10", "--header", "Connection: close", &url];
        let output = bed.exec(Node::Router, &curl).unwrap_or_else(|error| panic!("{error}"));
        let answers = String::from_utf8(output.stdout).unwrap();
        assert_eq!(answers.lines().filter(|line| line.starts_with("server ")).count(), 300, "{answers}");
        let statistics = bed.on(Node::Director, "ethtool -S eth0");
        for queue in 0..2 {
            let unused = format!("rx_queue_{queue}_xdp_redirect: 0\n");
            assert!(!statistics.contains(&unused), "{statistics}");
        }
        (0..3).for_each(|_| bed.download_whole());
        assert_eq!(bed.echo(60).len(), 60);
        let report = director.stop().unwrap();
        assert_drops_nothing(&report);
        // One round for both workers.
        assert_eq!(connections(&report), [101; 3]);
    }
}
