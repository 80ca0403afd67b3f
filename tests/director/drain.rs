//! Servers that are drained: under load, with a deadline, and back again.

use crate::bed::{Bed, LVX, PATIENCE, eventually, in_turn, options};
use lvx::control::client::Client;
use lvx::control::desired::ServerState;
use lvx::control::drains::DrainRow;
use lvx::lab::{Family, LabService, Layout, Node, Options};
use lvx::service::SchedulerName;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn lvx(bed: &Bed, words: &str) -> Output {
    let words = words.split_whitespace();
    Command::new(LVX).args(words).env("LVX_SOCKET", bed.control_socket()).output().unwrap()
}

/// What a command says that succeeds.
fn good(bed: &Bed, words: &str) -> String {
    let output = lvx(bed, words);
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "lvx {words}: {said}");
    said
}

fn client(bed: &Bed) -> Client {
    Client::new(&bed.control_socket())
}

fn drains(bed: &Bed) -> Vec<DrainRow> {
    client(bed).drains(&[]).unwrap()
}

/// How the first service's servers are.
fn states(bed: &Bed) -> Vec<ServerState> {
    let rows = client(bed).services(None, Default::default()).unwrap();
    rows[0].servers.iter().filter_map(|server| server.state).collect()
}

const UP: ServerState = ServerState::Up;
const DRAINING: ServerState = ServerState::Draining;

/// One server after the other is drained until it is empty, and gets new connections again, while the client asks and
/// asks.
fn drain_under_load(layout: Layout) {
    let bed = Bed::new(layout);
    let director = bed.direct(&in_turn());
    bed.load(30);
    let (tally, emptied) = std::thread::scope(|scope| {
        let drains = scope.spawn(|| {
            let emptied = |number: u8| {
                let rip = bed.plan.server(number).unwrap().rip;
                let said = good(&bed, &format!("drain {rip}"));
                assert!(said.contains(": no connection is left"), "{said}");
                let told =
                    format!("drained: no connection is left service=tcp {} server={rip}", bed.plan.http());
                eventually("word in the log", || bed.log().contains(&told));
                let others = bed.load(40).answers;
                assert!(others.len() == 2 && !others.contains_key(&format!("server {number}")), "{others:?}");
                good(&bed, &format!("undrain {rip}"));
                said
            };
            [1, 2].map(emptied)
        });
        let all = bed.load_while(|| !drains.is_finished());
        (all, drains.join().unwrap())
    });
    println!("{layout}: {} requests, {} failed; {emptied:?}", tally.done, tally.failed);
    assert!(tally.failed == 0 && tally.done > 0, "{:?}", tally.complaints);
    assert_eq!((states(&bed), bed.load(9).answers.len()), (vec![UP; 3], 3));
    let log = bed.log();
    for word in ["server draining", "drained: no connection is left", "server up"] {
        assert!(log.matches(word).count() >= 2, "{word}: {log}");
    }
    let report = director.stop().unwrap();
    assert_eq!(report.dropped, 0, "{:?}", report.dropped_by_reason);
}

#[test]
fn a_drain_under_load_fails_no_request_and_leaves_no_connection_in_nat() {
    drain_under_load(Layout::Nat);
}

#[test]
fn a_drain_under_load_fails_no_request_and_leaves_no_connection_in_dr() {
    drain_under_load(Layout::Dr);
}

/// A connection from the client by way of the director to a listener of our own on a server: both ends.
struct Pair {
    client: TcpStream,
    server: TcpStream,
}

/// What becomes of an end that only waits, and never closes.
fn waits(mut end: TcpStream) -> std::thread::JoinHandle<(io::Result<usize>, Duration, TcpStream)> {
    std::thread::spawn(move || {
        let begun = Instant::now();
        end.set_read_timeout(Some(2 * PATIENCE)).unwrap();
        let read = end.read(&mut [0; 100]);
        (read, begun.elapsed(), end)
    })
}

const PORT: u16 = 8099;

/// A lab with one server, whose listener is ours, behind VIP:80.
fn own_server(layout: Layout, family: Family) -> (Bed, lvx::lab::Director, TcpListener) {
    let bed = Bed::empty(layout, Options { family, ..options() });
    let server = &bed.plan.servers[0];
    let port = if layout == Layout::Nat { PORT } else { 80 };
    let config = bed.director_config(&[])
        + &format!(
            "\n[[virtual_service]]\naddress = \"{}\"\nscheduler = \"rr\"\n[[virtual_service.real_server]]\n\
             address = \"{}\"\nforward = \"{}\"\n",
            bed.plan.http(),
            SocketAddr::new(server.rip, port),
            server.method
        );
    let director = bed.direct_by(&config);
    let at = if layout == Layout::Nat { server.rip } else { bed.plan.vip };
    let node = bed.node(Node::Server(1)).unwrap();
    let listener = node.inside(|| TcpListener::bind(SocketAddr::new(at, port))).unwrap().unwrap();
    (bed, director, listener)
}

impl Pair {
    fn open(bed: &Bed, listener: &TcpListener) -> Pair {
        let client = bed.connect(bed.plan.http()).unwrap();
        let (server, _) = listener.accept().unwrap();
        Pair { client, server }
    }

    /// A word from each to the other.
    fn talks(&self) {
        for (mut from, mut to) in [(&self.client, &self.server), (&self.server, &self.client)] {
            from.write_all(b"hello").unwrap();
            to.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut word = [0; 5];
            to.read_exact(&mut word).unwrap();
            assert_eq!(&word, b"hello");
        }
    }
}

/// Connections in every posture are open when the deadline comes; each end of each is reset, also where nobody says a
/// word.
fn deadline_resets_both_ends(family: Family) {
    let (bed, director, listener) = own_server(Layout::Nat, family);
    let mut pairs: Vec<Pair> = (0..4).map(|_| Pair::open(&bed, &listener)).collect();
    // One has never carried a byte; the client of another has said its last word, and waits for an answer.
    pairs.iter().skip(1).for_each(Pair::talks);
    pairs[2].client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut last = pairs.pop().unwrap();
    // The last one never rests.
    let chatter = std::thread::spawn(move || {
        let deadline = Instant::now() + 2 * PATIENCE;
        while Instant::now() < deadline {
            if let Err(error) = last.client.write_all(&[7; 1000]) {
                let left = io::copy(&mut last.server, &mut io::sink());
                return (error.kind(), left.map_err(|error| error.kind()));
            }
            std::thread::sleep(Duration::from_millis(5));
            last.server.set_nonblocking(true).unwrap();
            let _ = io::copy(&mut last.server, &mut io::sink());
            last.server.set_nonblocking(false).unwrap();
        }
        panic!("nobody has ended it")
    });
    let ends: Vec<_> = pairs.into_iter().flat_map(|pair| [pair.client, pair.server]).map(waits).collect();
    let rip = bed.plan.servers[0].rip;
    let said = good(&bed, &format!("drain {rip} --deadline 2s"));
    assert!(said.contains("; 4 connections ended at the deadline"), "{said}");
    let ends: Vec<_> = ends.into_iter().map(|end| end.join().unwrap()).collect();
    for (number, (read, took, _)) in ends.iter().enumerate() {
        if number == 5 {
            // The client's FIN comes first.
            assert_eq!(*read.as_ref().unwrap(), 0, "end {number}");
            continue;
        }
        let kind = read.as_ref().err().map(|error| error.kind());
        assert_eq!(kind, Some(ErrorKind::ConnectionReset), "end {number}: {read:?} after {took:?}");
    }
    let (wrote, read) = chatter.join().unwrap();
    assert!(matches!(wrote, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{wrote:?}");
    assert_eq!(read, Err(ErrorKind::ConnectionReset));
    // Nobody has anything open any more, the one with the FIN neither.
    for node in [Node::Client, Node::Server(1)] {
        let open = bed.on(node, "ss -Htan state connected exclude time-wait");
        assert_eq!(open, "", "{node}");
    }
    assert!(bed.log().contains("the drain's deadline has come"), "{}", bed.log());
    let report = director.stop().unwrap();
    println!("{family:?}: {} probes, {:?}", report.probes, report.answered_by_reason);
    let reasons: Vec<&str> = report.dropped_by_reason.keys().map(|reason| &reason[..]).collect();
    assert_eq!(reasons, ["condemned"]);
    assert_eq!((report.connections.current, drains_of(&report)), (0, 0));
}

fn drains_of(report: &lvx::control::report::Report) -> u64 {
    report.services[0].real_servers[0].drain.unwrap().connections
}

#[test]
fn a_deadline_resets_connections_through_nat_at_both_ends() {
    deadline_resets_both_ends(Family::V4);
}

#[test]
fn a_deadline_resets_connections_through_nat_at_both_ends_in_ipv6() {
    deadline_resets_both_ends(Family::V6);
}

#[test]
fn a_deadline_drops_direct_routed_connections_and_the_client_hears_of_it_when_it_speaks() {
    let (bed, _director, listener) = own_server(Layout::Dr, Family::V4);
    let mut pair = Pair::open(&bed, &listener);
    pair.talks();
    let said = good(&bed, &format!("drain {} --deadline 1s", bed.plan.servers[0].rip));
    assert!(said.contains("; 1 connection ended at the deadline"), "{said}");
    assert_eq!(client(&bed).status().unwrap().connections, 0);
    // What is of no connection is the kernel's, which resets it.
    let _ = pair.client.write_all(b"still there?");
    let read = pair.client.read(&mut [0; 100]).unwrap_err();
    assert_eq!(read.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn what_a_deadline_keeps_goes_on() {
    let (bed, _director, listener) = own_server(Layout::Nat, Family::V4);
    let pair = Pair::open(&bed, &listener);
    let output = lvx(&bed, &format!("drain {} --deadline 1s --at-deadline keep", bed.plan.servers[0].rip));
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.ends_with("the deadline has come: 1 connection left\n"), "{said}");
    pair.talks();
    assert!(bed.connect(bed.plan.http()).is_err(), "no new one");
}

#[test]
fn a_drain_outlives_reloads_and_a_change_that_nobody_confirms() {
    let bed = Bed::new(Layout::Nat);
    let director = bed.direct(&in_turn());
    let mut visits = bed.visit_each();
    let rip = bed.plan.servers[1].rip;
    let drained = |others: usize| {
        let answers = bed.load(20).answers;
        assert!(answers.len() == others && !answers.contains_key("server 2"), "{answers:?}");
        assert_eq!(states(&bed)[1], DRAINING);
    };
    good(&bed, &format!("drain {rip} --deadline 10m --no-wait"));
    drained(2);
    let left = || drains(&bed)[0].drain.deadline_seconds.unwrap();
    eventually("second of the deadline's", || left() < 600);
    let heavier = bed.director_config(&[LabService::http(SchedulerName::Wlc, &[1, 9, 1])]);
    assert!(!bed.reload(&director, &heavier).contains("not reloaded"));
    drained(2);
    assert_eq!(visits[1].ask().unwrap(), "server 2", "its connections go on");
    assert!(left() < 600, "not the whole time anew");
    good(&bed, &format!("undrain {rip}"));
    assert!(bed.load(40).answers.contains_key("server 2"));

    // While a change waits, a server is drained; the change is undone, and the drain stays.
    let file = bed.dir().join("new.toml");
    fs::write(&file, bed.director_config(&[LabService::http(SchedulerName::Rr, &[1, 1, 0])])).unwrap();
    good(&bed, &format!("apply {} --confirm 2s", file.display()));
    good(&bed, &format!("drain {rip} --no-wait"));
    drained(1);
    eventually("end of the wait", || client(&bed).status().unwrap().confirm_within_seconds.is_none());
    drained(2);
    let written = good(&bed, "config");
    assert!(written.contains("weight = 9"), "{written}");
    assert_eq!(drains(&bed).len(), 1);
}

#[test]
fn a_deadline_leaves_other_servers_connections_alone() {
    let bed = Bed::new(Layout::Nat);
    let director = bed.direct(&in_turn());
    let mut visits = bed.visit_each();
    let said = good(&bed, &format!("drain {} --deadline 1s", bed.plan.servers[1].rip));
    assert!(said.contains("; 1 connection ended at the deadline"), "{said}");
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        for (place, other) in [(0, "server 1"), (2, "server 3")] {
            assert_eq!(visits[place].ask().unwrap(), other);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(visits[1].ask().is_err());
    let report = director.stop().unwrap();
    let reasons: Vec<&str> = report.dropped_by_reason.keys().map(|reason| &reason[..]).collect();
    assert_eq!(reasons, ["condemned"]);
}
