//! Servers that somebody works on: nothing new comes, nobody asks them how they are, and nobody raises an alarm.

use crate::bed::{Bed, LVX, eventually, in_turn};
use crate::health::{nginx, start_again, states, told};
use lvx::control::desired::ServerState::{Down, Maintenance, Up};
use lvx::lab::{Layout, Node, Signal};
use std::fs;
use std::thread::sleep;
use std::time::Duration;

/// A script notes down whom it asks; connections are asked for beside it.
fn checks(bed: &Bed) -> String {
    let line = format!("echo {{address}} >> {}", bed.dir().join("asked").display());
    format!(
        "check = [{{ type = \"tcp\", interval = \"50ms\", rise = 1, fall = 2 }}, \
         {{ type = \"script\", command = [\"/bin/sh\", \"-c\", \"{line}\"], interval = \"100ms\" }}]"
    )
}

/// How often each server has been asked by the script.
fn asked(bed: &Bed) -> [usize; 3] {
    let all = fs::read_to_string(bed.dir().join("asked")).unwrap_or_default();
    [1, 2, 3].map(|number| {
        let rip = bed.plan.server(number).unwrap().rip.to_string();
        all.lines().filter(|line| *line == rip).count()
    })
}

fn lvx(bed: &Bed, words: &str) -> String {
    bed.on(Node::Director, &format!("{LVX} {words} --socket {}", bed.control_socket().display()))
}

#[test]
fn a_server_in_maintenance_is_neither_asked_nor_missed_and_comes_back_when_it_is_well() {
    let bed = Bed::new(Layout::Nat);
    let config = bed
        .director_config(&in_turn())
        .replace("scheduler = \"rr\"", &format!("scheduler = \"rr\"\n{}", checks(&bed)));
    let director = bed.direct_by(&config);
    eventually("all asked", || asked(&bed).iter().all(|asked| *asked > 1));
    let mut visits = bed.visit_each();

    let before = bed.log().len();
    let said = lvx(&bed, "maintenance 10.30.0.11 --reason disks");
    assert!(said.contains("10.30.0.11:8080 is in maintenance (disks); 1 connection go"), "{said}");
    let (_, line) = told(&bed, before, "server maintenance");
    assert!(line.contains("by=uid ") && line.contains("reason=\"disks\""), "{line}");
    // What is under way ends.
    sleep(Duration::from_millis(300));
    let then = asked(&bed);
    visits.iter_mut().for_each(|visit| drop(visit.ask().unwrap()));
    let answers = bed.load(20).answers;
    assert!(answers.len() == 2 && !answers.contains_key("server 1"), "{answers:?}");

    // It may well be gone for a while, and a reload does not matter.
    assert!(nginx(&bed, 1).signal(Signal::KILL));
    assert!(!bed.reload(&director, &config.replace("weight = 1", "weight = 2")).contains("not reloaded"));
    eventually("others asked", || asked(&bed)[1] > then[1] + 3);
    assert_eq!((asked(&bed)[0], states(&bed)), (then[0], vec![Maintenance, Up, Up]));
    assert!(!bed.log()[before..].contains("server down"), "{}", bed.log());

    // Back too early, it gets nothing.
    let before = bed.log().len();
    lvx(&bed, "maintenance 10.30.0.11 --end");
    assert_eq!(states(&bed)[0], Down);
    eventually("verdict", || asked(&bed)[0] > then[0] + 1);
    assert_eq!(states(&bed), [Down, Up, Up]);
    assert!(bed.load(20).answers.len() == 2);
    let _nginx = start_again(&bed, 1);
    told(&bed, before, "server up service=\"http\" server=10.30.0.11:8080 was=\"down\"");
    assert_eq!(bed.load(30).answers.len(), 3);
}
