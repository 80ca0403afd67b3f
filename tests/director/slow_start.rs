//! A server that is added to others under load.

use crate::bed::{Bed, assert_drops_nothing};
use lvx::control::client::Client;
use lvx::control::view::{Columns, ServerRow};
use lvx::lab::{LabService, Layout};
use lvx::service::SchedulerName;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// What the director says of the last server: connections that all have been given, and it; and the part of its share
/// that it may have, in percent, and at most: three halves after its ramp, while it has fewer
/// connections than others: a few may be lacking yet when the director ends that.
struct Look {
    all: u64,
    its: u64,
    percent: f64,
    at_most: f64,
}

impl Look {
    fn at(client: &Client) -> Look {
        let columns = Columns { traffic: true, rate: false, latency: false };
        let servers = client.services(None, columns).unwrap().remove(0).servers;
        let given = |server: &ServerRow| server.traffic.unwrap().connections;
        let last = servers.last().unwrap();
        let percent = last.start.map_or(100.0, |start| start.share_percent);
        let has_ramped = last.start.is_none_or(|start| start.left_seconds == 0);
        let at_most = if has_ramped { 150.0 } else { percent };
        Look { all: servers.iter().map(given).sum(), its: given(last), percent, at_most }
    }
}

/// Whatever the machine does meanwhile, between two looks the server gets a part of its share that the director says it
/// may have at one of them, or between.
fn starts_slowly(layout: Layout, scheduler: SchedulerName) {
    let bed = Bed::new(layout);
    let config = |weights: &[u16]| {
        bed.director_config_with("slow_start = \"8s\"", &[LabService::http(scheduler, weights)])
    };
    let director = bed.direct_by(&config(&[1, 1]));
    let client = Client::new(&bed.control_socket());
    assert_eq!(Look::at(&client).percent, 100.0, "a director starts at once");
    let ended = AtomicBool::new(false);
    let (looks, asked) = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut asked = 0;
            while !ended.load(Relaxed) {
                asked += bed.load(500).done;
            }
            asked
        });
        let said = bed.reload(&director, &config(&[1, 1, 1]));
        assert!(!said.contains("not reloaded"), "{said}");
        let mut looks = vec![Look::at(&client)];
        // Until some time after its start, if nothing goes wrong with the load.
        while looks.iter().filter(|look| look.percent == 100.0).count() < 4 && !load.is_finished() {
            std::thread::sleep(Duration::from_millis(500));
            looks.push(Look::at(&client));
        }
        ended.store(true, Relaxed);
        (looks, load.join().unwrap())
    });
    let mut steps = 0;
    for pair in looks.windows(2) {
        let (all, its) = ((pair[1].all - pair[0].all) as f64, (pair[1].its - pair[0].its) as f64);
        // Ten percent of its share, and what is opened while somebody looks.
        let slack = 0.1 * all / 3.0 + 40.0;
        let [least, most] =
            [pair[0].percent, pair[0].at_most.max(pair[1].at_most)].map(|percent| percent / 300.0 * all);
        println!("{layout} {scheduler}: {all} given, {its} to it; due {least:.0} to {most:.0}");
        assert!(
            its >= least - slack && its <= most + slack,
            "{all} given, {its} to it; due {least:.0} to {most:.0}"
        );
        steps += usize::from(pair[0].percent < 90.0);
    }
    println!("{layout} {scheduler}: {asked} requests, none failed");
    assert!(steps > 1, "{steps} looks during the start");
    let report = director.stop().unwrap();
    // Not even while the director asks for its MAC address.
    assert_drops_nothing(&report);
}

#[test]
fn a_server_added_under_load_gets_its_share_little_by_little_and_no_request_fails() {
    starts_slowly(Layout::Nat, SchedulerName::Wlc);
}

#[test]
fn the_same_by_round_robin_with_direct_routing() {
    starts_slowly(Layout::Dr, SchedulerName::Rr);
}
