//! Servers that are drained: what is left of them, their deadlines, and the commands that watch.

use crate::office::{Office, SERVICES, eventually};
use lvx::control::api::Transaction;
use lvx::control::drains::DrainRow;
use lvx::net::TcpFlags;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

const WEB: &str = "192.0.2.1:80";
const SERVER: &str = "10.0.0.1:8080";

fn edit(office: &Office, edit: Value) {
    let edits = serde_json::from_value(json!([edit])).unwrap();
    office.client.edit(&Transaction { edits, ..Transaction::default() }).unwrap();
}

fn only(office: &Office) -> DrainRow {
    let rows = office.client.drains(&[]).unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.into_iter().next().unwrap()
}

fn lvx(office: &Office, words: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_lvx"))
        .args(words.split_whitespace())
        .env("LVX_SOCKET", office.dir.path().join("lvx.sock"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a command says, and its exit code.
fn said(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn connections_left_are_counted_with_their_ages_without_those_that_are_finished() {
    let office = Office::new();
    office.connect(WEB, SERVER, 5);
    office.connect(WEB, "10.0.0.2:8080", 3);
    office.hear(0, 5, TcpFlags::ACK);
    office.hear(0, 2, TcpFlags::RST);
    edit(&office, json!({ "edit": "drain", "server": "10.0.0.1" }));
    eventually("count", || only(&office).drain.oldest_seconds.is_some());
    let row = only(&office);
    assert_eq!((&row.service[..], &row.server[..]), ("tcp 192.0.2.1:80", SERVER));
    assert_eq!(row.drain.connections, 3);
    // All were opened at tick 0.
    let uptime = office.shared.start.elapsed().as_secs() as u32;
    let (oldest, median) = (row.drain.oldest_seconds.unwrap(), row.drain.median_seconds.unwrap());
    assert!(oldest == median && (uptime.saturating_sub(3)..=uptime).contains(&oldest), "{row:?}");
    for (words, found) in [
        ([("server", "10.0.0.1"), ("service", "web")], 1),
        ([("server", "10.0.0.1:8081"), ("service", "web")], 0),
        ([("server", "10.0.0.1"), ("service", "udp 192.0.2.1:53")], 0),
    ] {
        assert_eq!(office.client.drains(&words).unwrap().len(), found, "{words:?}");
    }
}

#[test]
fn what_is_left_at_the_deadline_is_reset_dropped_or_kept() {
    for (rest, left, condemned) in [("reset", 4, 4), ("drop", 0, 0), ("keep", 4, 0)] {
        let tls = "[[virtual_service]]\nname = \"tls\"\naddress = \"192.0.2.1:443\"\nforward = \"nat\"\n\
            real_server = [{ address = \"10.0.0.1:8443\" }]\n";
        let office = Office::with("", &format!("{SERVICES}{tls}"));
        office.connect(WEB, SERVER, 4);
        office.hear(0, 4, TcpFlags::ACK);
        // Half-open, and another server's: nobody is told of the one, and nothing done to the other.
        office.connect("192.0.2.1:443", "10.0.0.1:8443", 3);
        office.connect(WEB, "10.0.0.2:8080", 2);
        let drain = |service: &str| {
            json!({ "edit": "drain", "service": service, "server": "10.0.0.1",
            "deadline_seconds": 1, "at_deadline": rest })
        };
        edit(&office, drain("web"));
        edit(&office, drain("tls"));
        assert_eq!((office.connections_of(0), office.connections_of(2)), (4, 3), "not yet");
        let half_open = if rest == "keep" { 3 } else { 0 };
        let over = || office.client.drains(&[]).unwrap()[0].drain.deadline_seconds == Some(0);
        eventually("deadline", over);
        eventually(rest, || {
            let told = office.shared.table.connections().filter(|c| c.condemned.is_some()).count();
            (office.connections_of(0), office.connections_of(2), told) == (left, half_open, condemned)
        });
        assert_eq!(office.connections_of(1), 2);
        let state = &office.client.services(Some("web"), Default::default()).unwrap()[0].servers[0];
        assert!(state.weight == 0 && state.drain.is_some(), "it gets nothing new for all that");
    }
}

#[test]
fn the_command_waits_until_no_connection_is_left() {
    let office = Office::new();
    office.connect(WEB, SERVER, 2);
    let mut child = lvx(&office, "drain 10.0.0.1 --deadline 10m");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = || lines.next().unwrap().unwrap();
    assert_eq!(line(), "~ tcp 192.0.2.1:80: 10.0.0.1:8080 is draining; 2 connections go on");
    let words = line();
    assert!(words.starts_with("2 connections left") && words.contains("; deadline in "), "{words}");
    assert!(child.try_wait().unwrap().is_none());
    office.client.end_connections(&[("server", "10.0.0.1")]).unwrap();
    let end = lines.map(Result::unwrap).last().unwrap();
    assert!(end.starts_with("drained in 0:0") && end.ends_with(": no connection is left"), "{end}");
    assert!(child.wait().unwrap().success());

    let (code, told) = said(lvx(&office, "status"));
    assert!(
        code == Some(0) && told.contains("draining for 0:0") && told.contains(", 0 left, deadline in "),
        "{told}"
    );
    let (code, told) = said(lvx(&office, "undrain 10.0.0.1"));
    assert_eq!(
        (code, &told[..]),
        (Some(0), "~ tcp 192.0.2.1:80: 10.0.0.1:8080 is up; 0 connections go on\n")
    );
    let (code, told) = said(lvx(&office, "undrain 10.0.0.1"));
    assert_eq!((code, &told[..]), (Some(1), "edit 1: real server \"10.0.0.1\" is not being drained\n"));
}

#[test]
fn the_command_says_what_it_sees_in_json_and_fails_if_connections_are_kept_beyond_the_deadline() {
    let office = Office::new();
    office.connect(WEB, SERVER, 2);
    let (code, told) =
        said(lvx(&office, "drain 10.0.0.1:8080 --service web --deadline 2s --at-deadline keep --json"));
    assert_eq!(code, Some(1), "{told}");
    let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() > 1 && lines.iter().all(|line| line["connections"] == 2), "{told}");
    let last = &lines.last().unwrap()["drains"][0];
    assert_eq!((&last["server"], &last["deadline_seconds"]), (&json!(SERVER), &json!(0)));
    assert_eq!((&last["at_deadline"], last["oldest_seconds"].is_u64()), (&json!("keep"), true));

    let (code, told) = said(lvx(&office, "drain 10.0.0.2 --no-wait"));
    assert_eq!(
        (code, &told[..]),
        (Some(0), "~ tcp 192.0.2.1:80: 10.0.0.2:8080 is draining; 0 connections go on\n")
    );
    let (code, told) = said(lvx(&office, "drain 10.0.0.9"));
    assert_eq!((code, &told[..]), (Some(1), "edit 1: real server \"10.0.0.9\" is unknown\n"));
}

#[test]
fn an_interrupt_ends_the_watching_and_not_the_drain() {
    let office = Office::new();
    office.connect(WEB, SERVER, 2);
    let mut child = lvx(&office, "drain 10.0.0.1");
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    // The second line comes when the watching has begun.
    (0..2).for_each(|_| assert!(lines.read_line(&mut line).unwrap() > 0));
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("the drain goes on; `lvx undrain 10.0.0.1` ends it\n"), "{rest}");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(only(&office).drain.connections, 2);

    let watched = lvx(&office, "drain 10.0.0.1");
    eventually("watching again", || only(&office).drain.oldest_seconds.is_some());
    edit(&office, json!({ "edit": "undrain", "server": "10.0.0.1" }));
    let (code, told) = said(watched);
    assert_eq!((code, told.lines().last()), (Some(1), Some("it is not drained any more")));
}

#[test]
fn a_server_is_in_maintenance_until_that_is_ended_and_everybody_sees_why() {
    let office = Office::new();
    office.connect(WEB, SERVER, 2);
    let begin = Command::new(env!("CARGO_BIN_EXE_lvx"))
        .args(["maintenance", "10.0.0.1", "--service", "web", "--reason", "new disks"])
        .env("LVX_SOCKET", office.dir.path().join("lvx.sock"))
        .output()
        .unwrap();
    let words = "~ tcp 192.0.2.1:80: 10.0.0.1:8080 is in maintenance (new disks); 2 connections go on\n";
    assert_eq!((begin.status.code(), &String::from_utf8(begin.stdout).unwrap()[..]), (Some(0), words));
    let (_, told) = said(lvx(&office, "status"));
    let by = format!("by uid {}, process ", rustix::process::geteuid().as_raw());
    let line = told.lines().find(|line| line.contains(SERVER)).unwrap();
    assert!(line.contains("maintenance for 0:0") && line.contains(&by), "{told}");
    assert!(line.ends_with(": new disks, 2 left"), "{told}");
    let row = &office.client.services(Some("web"), Default::default()).unwrap()[0].servers[0];
    assert_eq!((row.weight, row.maintenance.as_ref().unwrap().reason.as_str()), (0, "new disks"));
    assert_eq!(only(&office).drain.connections, 2);

    // It outlives what is written, and going back.
    let other = std::fs::read_to_string(&office.file).unwrap().replace("weight = 2", "weight = 3");
    office.client.apply("f", other, None).unwrap();
    office.client.roll_back(1).unwrap();
    assert_eq!(said(lvx(&office, "undrain 10.0.0.1")).0, Some(1));
    let report = office.client.report().unwrap();
    let server = &report.services[0].real_servers[0];
    assert_eq!((server.state.unwrap().name(), server.maintenance.is_some()), ("maintenance", true));

    let (code, told) = said(lvx(&office, "maintenance 10.0.0.1 --end"));
    assert_eq!(
        (code, &told[..]),
        (Some(0), "~ tcp 192.0.2.1:80: 10.0.0.1:8080 is up; 2 connections go on\n")
    );
    let (code, told) = said(lvx(&office, "maintenance 10.0.0.1 --end"));
    assert_eq!((code, &told[..]), (Some(1), "edit 1: real server \"10.0.0.1\" is not in maintenance\n"));
    assert_eq!(said(lvx(&office, "maintenance 10.0.0.1 --end --deadline 5s")).0, Some(2));
}
