//! Servers that fail under traffic, which is noticed long before their checks are due.

use crate::bed::{Bed, eventually};
use crate::health::{direct, nginx, states, told};
use lvx::control::desired::ServerState::{Down, Up};
use lvx::lab::{Layout, Node, Signal, Tally};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{scope, sleep};
use std::time::Duration;

/// A check that comes by once a minute, but is believed soon.
const SELDOM: &str = "check = { type = \"tcp\", interval = \"1m\", timeout = \"100ms\", rise = 1, fall = 2 }";

/// What `act` comes to while requests are made all the time; how those went.
fn under_load<T>(bed: &Bed, act: impl FnOnce() -> T) -> (T, Tally) {
    let is_over = AtomicBool::new(false);
    scope(|scope| {
        let load = scope.spawn(|| bed.load_while(|| !is_over.load(Relaxed)));
        sleep(Duration::from_millis(300));
        // Even if it panics, the load ends.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        is_over.store(true, Relaxed);
        (outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), load.join().unwrap())
    })
}

fn a_killed_server_is_found_by_its_clients(layout: Layout, evidence: &str) {
    let bed = Bed::new(layout);
    // Where it listens is at the VIP.
    let _director = direct(&bed, &SELDOM.replace("\"tcp\"", "\"tcp\", via = \"vip\""));
    let before = bed.log().len();
    let ((took, line), tally) = under_load(&bed, || {
        assert!(nginx(&bed, 1).signal(Signal::KILL));
        told(&bed, before, "server down")
    });
    println!("{layout}: out of rotation within {} ms, {} requests failed", took.as_millis(), tally.failed);
    assert!(line.contains("was=\"suspect\"") && line.contains("connection refused"), "{line}");
    let suspected = bed.log().split_off(before);
    let suspected = suspected.lines().find(|line| line.contains("server suspect")).unwrap();
    assert!(suspected.contains("live traffic: ") && suspected.contains(evidence), "{suspected}");
    assert_eq!(states(&bed), [Down, Up, Up]);
    assert_eq!(bed.load(30).answers.len(), 2);
}

#[test]
fn a_killed_server_is_found_by_the_resets_that_it_answers_through_nat() {
    a_killed_server_is_found_by_its_clients(Layout::Nat, "refused");
}

#[test]
fn a_killed_server_is_found_by_its_silence_where_replies_pass_elsewhere() {
    a_killed_server_is_found_by_its_clients(Layout::Dr, "unanswered");
}

#[test]
fn a_suspicion_that_checks_do_not_share_takes_no_server_out_and_is_raised_less_and_less_often() {
    let bed = Bed::new(Layout::Nat);
    let _director = direct(&bed, SELDOM);
    let before = bed.log().len();
    for line in [
        "nft add table inet fault".to_owned(),
        "nft add chain inet fault in { type filter hook input priority 0 ; }".to_owned(),
        format!(
            "nft add rule inet fault in ip saddr {} tcp flags & ( syn | ack ) == syn reject with tcp reset",
            bed.plan.client
        ),
    ] {
        bed.on(Node::Server(2), &line);
    }
    let (_, tally) = under_load(&bed, || {
        let (_, line) = told(&bed, before, "server suspect");
        assert!(line.contains("server=10.30.0.12:8080") && line.contains("live traffic: "), "{line}");
        told(&bed, before, "server up service=\"http\" server=10.30.0.12:8080 was=\"suspect\"");
        sleep(Duration::from_millis(2500));
    });
    assert!(tally.failed > 0);
    let log = bed.log().split_off(before);
    let suspected = log.matches("server suspect").count();
    assert!((2..=4).contains(&suspected), "{log}");
    assert!(!log.contains("server down"), "{log}");
    eventually("servers up", || states(&bed) == [Up; 3]);
}

#[test]
fn a_service_that_would_rather_not_learns_nothing_from_its_traffic() {
    let bed = Bed::new(Layout::Nat);
    let _director = direct(&bed, &format!("{SELDOM}\npassive = false"));
    let before = bed.log().len();
    let ((), tally) = under_load(&bed, || {
        assert!(nginx(&bed, 1).signal(Signal::KILL));
        sleep(Duration::from_millis(700));
    });
    assert!(tally.failed > 0);
    assert_eq!(bed.log().split_off(before), "");
    assert_eq!(states(&bed), [Up; 3]);
}
