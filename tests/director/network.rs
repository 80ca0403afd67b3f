//! The network changes under a running director.

use crate::bed::{Bed, PATIENCE, eventually, in_turn};
use lvx::lab::{Layout, Node};
use std::thread;
use std::time::{Duration, Instant};

/// Asks until there is an answer.
fn recovers(bed: &Bed) {
    eventually("answer", || bed.ask().is_ok());
}

/// Asks until there is none: the director hears of a change some milliseconds after the kernel has made it.
fn breaks_off(bed: &Bed) {
    eventually("loss", || bed.ask().is_err());
}

#[test]
fn traffic_outlives_the_loss_of_all_neighbours() {
    for layout in [Layout::Nat, Layout::Dr] {
        let bed = Bed::new(layout);
        let director = bed.direct(&in_turn());
        let until = Instant::now() + Duration::from_secs(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                while Instant::now() < until {
                    bed.on(Node::Director, "ip neigh flush all");
                    thread::sleep(Duration::from_millis(200));
                }
            });
            // Segments that are lost are sent again; none of the connections fails.
            while Instant::now() < until {
                bed.load(50);
            }
        });
        let report = director.stop().unwrap();
        let dropped: Vec<&String> = report.dropped_by_reason.keys().collect();
        assert!(dropped.iter().all(|reason| *reason == "no_neighbour"), "{dropped:?}");
    }
}

#[test]
fn packets_to_a_server_that_does_not_answer_arp_are_counted() {
    let bed = Bed::new(Layout::Nat);
    bed.on(Node::Server(2), "ip link set eth0 arp off");
    let director = bed.direct(&in_turn());
    let mut failed = 0;
    for _ in 0..3 {
        failed += u32::from(bed.ask().is_err());
    }
    assert_eq!(failed, 1, "the one that was the second server's turn");
    assert!(director.report().unwrap().dropped_by_reason["no_neighbour"] > 0);
    bed.on(Node::Server(2), "ip link set eth0 arp on");
    eventually("answer of the second server", || bed.ask() == Ok("server 2".to_owned()));
}

#[test]
fn a_servers_new_mac_is_followed() {
    for layout in [Layout::Nat, Layout::Dr] {
        let bed = Bed::new(layout);
        let _director = bed.direct(&in_turn());
        let mut visits = bed.visit_each();
        // As a replaced machine does, the server tells its segment.
        bed.node(Node::Server(1)).unwrap().sysctl("net.ipv4.conf.eth0.arp_notify", "1").unwrap();
        bed.on(Node::Server(1), "ip link set eth0 address 02:00:00:00:00:77");
        let heard = || bed.on(Node::Director, "ip neigh show").contains("02:00:00:00:00:77");
        eventually("word of the new MAC", heard);
        assert_eq!(visits[0].ask().unwrap(), "server 1");
        bed.load(9);
    }
}

#[test]
fn a_replaced_route_is_followed() {
    let bed = Bed::new(Layout::Nat);
    let director = bed.direct(&in_turn());
    bed.load(6);
    // The way back to the client: through a gateway that nobody is.
    bed.on(Node::Director, "ip route replace default via 10.20.0.99");
    breaks_off(&bed);
    bed.on(Node::Router, "ip address add 10.20.0.99/32 dev eth1");
    recovers(&bed);

    bed.on(Node::Director, "ip route del default");
    breaks_off(&bed);
    eventually("packets without a route in the report", || {
        director.report().unwrap().dropped_by_reason.get("no_route").is_some_and(|&n| n > 0)
    });
    bed.on(Node::Director, "ip route add 10.10.0.0/24 via 10.20.0.1");
    recovers(&bed);
    bed.load(6);
}

#[test]
fn a_tunnel_follows_the_route_to_its_servers() {
    let bed = Bed::new(Layout::Tun);
    let _director = bed.direct(&in_turn());
    bed.load(6);
    bed.on(Node::Director, "ip route add 10.40.0.0/24 via 10.20.0.99");
    breaks_off(&bed);
    bed.on(Node::Director, "ip route replace 10.40.0.0/24 via 10.20.0.1");
    recovers(&bed);
    bed.load(6);
}

#[test]
fn a_link_that_goes_down_and_comes_up_again_carries_on() {
    let bed = Bed::new(Layout::Dr);
    let director = bed.direct(&in_turn());
    bed.load(3);
    bed.on(Node::Director, "ip link set eth0 down");
    thread::sleep(Duration::from_millis(300));
    // The kernel forgets the routes through a link that goes down; whoever configures the host puts them back.
    bed.on(Node::Director, "ip link set eth0 up");
    bed.on(Node::Director, "ip route replace default via 10.20.0.1");
    recovers(&bed);
    bed.load(6);
    assert!(director.signal(lvx::lab::Signal::CONT), "it still runs, after {PATIENCE:?} at most");
}
