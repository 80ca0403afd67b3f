//! A new configuration by SIGHUP, while connections live.

use crate::bed::{Bed, PATIENCE, eventually, in_turn};
use lvx::lab::{LabService, Layout, Node, Signal};
use lvx::service::SchedulerName;
use std::io::{Read, Write};
use std::net::UdpSocket;

/// Who answers so many requests on connections of their own.
fn answers(bed: &Bed, requests: u32) -> Vec<String> {
    bed.load(requests).answers.into_keys().collect()
}

#[test]
fn a_quiesced_server_gets_no_new_connection_but_keeps_those_it_has() {
    // One server per method.
    let bed = Bed::new(Layout::Mixed);
    let director = bed.direct(&in_turn());
    let mut visits = bed.visit_each();
    for (place, name) in ["server 1", "server 2", "server 3"].into_iter().enumerate() {
        let mut weights = [1; 3];
        weights[place] = 0;
        let config = bed.director_config(&[LabService::http(SchedulerName::Rr, &weights)]);
        assert!(!bed.reload(&director, &config).contains("not reloaded"));
        let others = answers(&bed, 20);
        assert!(others.len() == 2 && !others.contains(&name.to_owned()), "{others:?}");
        for visit in &mut visits {
            visit.ask().unwrap();
        }
        assert_eq!(visits[place].ask().unwrap(), name);
    }
}

#[test]
fn connections_of_a_removed_server_go_on_and_it_may_come_back() {
    let bed = Bed::new(Layout::Mixed);
    let director = bed.direct(&in_turn());
    let mut visits = bed.visit_each();
    for (number, name) in [(1, "server 1"), (2, "server 2"), (3, "server 3")] {
        let visit = &mut visits[usize::from(number) - 1];
        let without = bed.director_config(&in_turn().map(|service| service.without(number)));
        bed.reload(&director, &without);
        let others = answers(&bed, 20);
        assert!(others.len() == 2 && !others.contains(&name.to_owned()), "{others:?}");
        assert_eq!(visit.ask().unwrap(), name, "after it was removed");

        bed.reload(&director, &bed.director_config(&in_turn()));
        assert_eq!(visit.ask().unwrap(), name, "after it was put back");
        assert_eq!(answers(&bed, 9).len(), 3);
    }
}

#[test]
fn a_download_survives_the_removal_of_its_server_whole() {
    let bed = Bed::new(Layout::Nat);
    let director = bed.direct(&[LabService::http(SchedulerName::Wlc, &[1, 0, 0])]);
    let mut visit = bed.connect(bed.plan.http()).unwrap();
    visit.write_all(b"GET /large HTTP/1.0\r\n\r\n").unwrap();
    // The rest of the answer is more than the socket's buffers hold.
    let mut answer = vec![0; 1000];
    visit.read_exact(&mut answer).unwrap();
    let moved = LabService { servers: vec![(2, 1)], ..LabService::http(SchedulerName::Wlc, &[]) };
    bed.reload(&director, &bed.director_config(&[moved]));
    assert_eq!(bed.ask().unwrap(), "server 2");
    visit.read_to_end(&mut answer).unwrap();
    let large = std::fs::read(&bed.large_file().unwrap().path).unwrap();
    assert!(answer.ends_with(&large), "{} bytes came", answer.len());
}

#[test]
fn a_udp_client_stays_with_its_server_when_that_is_removed() {
    let bed = Bed::new(Layout::Dr);
    let echo = LabService::echo(SchedulerName::Rr, &[1, 1]);
    let director = bed.direct(std::slice::from_ref(&echo));
    let (to, client) = (bed.plan.echo(), bed.node(Node::Client).unwrap());
    let socket = client.inside(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let ask = || {
        socket.send_to(b"?", to).unwrap();
        let mut answer = [0; 16];
        let len = socket.recv(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..len]).into_owned()
    };
    assert_eq!(ask(), "server 1 ?");
    bed.reload(&director, &bed.director_config(&[echo.without(1)]));
    assert_eq!(ask(), "server 1 ?");
    assert_eq!(bed.echo(5), ["server 2"; 5]);
}

#[test]
fn a_bad_configuration_changes_nothing_and_the_log_says_where_it_is_bad() {
    let bed = Bed::new(Layout::Nat);
    let director = bed.direct(&in_turn());
    let mut visits = bed.visit_each();
    let bad = bed.director_config(&in_turn()).replace("scheduler = \"rr\"", "scheduler = \"wcl\"");
    let line = 1 + bad.lines().position(|line| line.contains("wcl")).unwrap();
    let said = bed.reload(&director, &bad);
    assert!(said.contains("not reloaded, everything stays as it was"), "{said}");
    assert!(said.contains(&format!("director.toml:{line}:13: ")) && said.contains("wlc"), "{said}");
    assert_eq!(answers(&bed, 9).len(), 3);
    for (visit, name) in visits.iter_mut().zip(["server 1", "server 2", "server 3"]) {
        assert_eq!(visit.ask().unwrap(), name);
    }

    let said = bed.reload(&director, &bed.director_config_with("max_connections = 77", &in_turn()));
    assert!(said.contains("max_connections can be changed by a restart only"), "{said}");
    // A file that is not there is no new configuration, either.
    std::fs::remove_file(bed.dir().join("director.toml")).unwrap();
    assert!(director.signal(Signal::HUP));
    eventually("word about the missing file", || bed.log().matches("not reloaded").count() == 3);
    assert_eq!(answers(&bed, 9).len(), 3);
}
