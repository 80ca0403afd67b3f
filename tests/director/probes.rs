//! Probes along the data path: of a director in this process, whose probes the tests make themselves, and of checks.

use crate::bed::{Bed, LVX, PATIENCE, connections, eventually, in_turn, options};
use crate::health::{nginx, states, told};
use crossbeam::channel::bounded;
use lvx::config;
use lvx::control::client::Client;
use lvx::control::daemon::{self, ProbeRoad};
use lvx::control::desired::ServerState::{Down, Up};
use lvx::control::report::Report;
use lvx::dataplane::probe::Goal;
use lvx::lab::{Family, LabService, Layout, Node, Options, Process, ProcessId, Signal};
use lvx::net::{Endpoint, Proto};
use lvx::service::SchedulerName;
use rustix::net::sockopt::{Timeout, set_socket_reuseaddr, set_socket_timeout};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// How long a probe waits that gets no answer.
const SOON: Duration = Duration::from_millis(700);

/// A director whose probes are at hand.
struct Host<'a> {
    bed: &'a Bed,
    road: ProbeRoad,
}

impl Host<'_> {
    /// Runs a director with probes in this process, while `work` is done.
    fn with<R: Send>(bed: &Bed, config: &str, work: impl FnOnce(&Host<'_>) -> R) -> R {
        let file = config_file(bed);
        fs::write(&file, config).unwrap();
        let (tell, told) = bounded(1);
        let (stop, signals) = bounded(1);
        let namespace = bed.node(Node::Director).unwrap();
        let options = daemon::Options { config: file, report: None };
        thread::scope(|scope| {
            let directs = scope.spawn(move || {
                let run = || {
                    let config = config::read(&options.config).unwrap();
                    let mut director = daemon::Director::start(config, &options).unwrap();
                    tell.send(director.probe_road().clone()).unwrap();
                    director.listen(&signals).unwrap();
                };
                namespace.inside(run).unwrap();
            });
            let road = told.recv().expect("a director that has started");
            let outcome = work(&Host { bed, road });
            drop(stop);
            directs.join().unwrap();
            outcome
        })
    }

    /// The server of this number behind the lab's HTTP or echo service.
    fn goal(&self, proto: Proto, number: u8) -> Goal {
        let (plan, server) = (&self.bed.plan, self.bed.plan.server(number).unwrap());
        let (vip, listens) = match proto {
            Proto::Tcp => (plan.http(), server.http),
            _ => (plan.echo(), server.echo),
        };
        let service = (proto, Endpoint::new(vip.ip(), vip.port()));
        Goal { service, server: Endpoint::new(server.rip, listens.port()), proto, port: None }
    }

    /// Makes a probe on a thread in the namespace: connects a socket of this kind, and does something with it, that
    /// waits for so long at most.
    fn probe<R: Send>(
        &self,
        goal: &Goal,
        kind: SocketType,
        patience: Duration,
        work: impl FnOnce(OwnedFd) -> io::Result<R> + Send,
    ) -> io::Result<R> {
        let probe = || {
            self.road.door.enter()?;
            let port = self.road.probes.reserve(goal).map_err(io::Error::other)?;
            let family = if port.vip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let socket = socket(family, kind, None)?;
            set_socket_reuseaddr(&socket, true)?;
            for direction in [Timeout::Send, Timeout::Recv] {
                set_socket_timeout(&socket, direction, Some(patience))?;
            }
            bind(&socket, &port.source)?;
            connect(&socket, &port.vip)?;
            work(socket)
        };
        thread::scope(|scope| scope.spawn(probe).join().unwrap())
    }

    /// Which server says so to an HTTP request along the data path.
    fn ask(&self, number: u8) -> io::Result<String> {
        self.ask_within(PATIENCE, number)
    }

    /// Whether a server says nothing at all to that.
    fn hears_nothing(&self, number: u8) -> bool {
        let outcome = self.ask_within(SOON, number);
        // The time of connect(2) was over, or that of a read.
        let is_silence = |failure: &io::Error| {
            failure.kind() == io::ErrorKind::WouldBlock || failure.raw_os_error() == Some(libc::EINPROGRESS)
        };
        assert!(outcome.as_ref().err().is_none_or(is_silence), "{outcome:?}");
        outcome.is_err()
    }

    fn ask_within(&self, patience: Duration, number: u8) -> io::Result<String> {
        self.probe(&self.goal(Proto::Tcp, number), SocketType::STREAM, patience, |socket| {
            let mut stream = TcpStream::from(socket);
            stream.write_all(b"GET / HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            Ok(answer.lines().last().unwrap_or_default().to_owned())
        })
    }

    /// The same with a datagram of so many bytes.
    fn echo(&self, number: u8, bytes: usize) -> io::Result<String> {
        self.probe(&self.goal(Proto::Udp, number), SocketType::DGRAM, PATIENCE, |socket| {
            let (socket, question, mut answer) = (UdpSocket::from(socket), vec![b'x'; bytes], [0; 2000]);
            socket.send(&question)?;
            let len = socket.recv(&mut answer)?;
            let server = answer[..len].strip_suffix(&question[..]).expect("the question back");
            Ok(String::from_utf8_lossy(server).trim().to_owned())
        })
    }

    fn report(&self) -> Report {
        client(self.bed).report().unwrap()
    }
}

fn config_file(bed: &Bed) -> PathBuf {
    bed.dir().join("probing.toml")
}

fn client(bed: &Bed) -> Client {
    Client::new(&bed.control_socket())
}

/// The lab's configuration, of a director that makes the way for probes, and seldom any itself.
fn probing(bed: &Bed, services: &[LabService]) -> String {
    checked(bed, services, "check = { type = \"tcp\", via = \"vip\", interval = \"1d\" }", "")
}

/// The same with these keys of the HTTP service, and of the echo service.
fn checked(bed: &Bed, services: &[LabService], http: &str, echo: &str) -> String {
    let config = bed.director_config(services);
    let config = config.replace("name = \"http\"", &format!("name = \"http\"\n{http}"));
    config.replace("name = \"echo\"", &format!("name = \"echo\"\n{echo}"))
}

fn echo() -> LabService {
    LabService::echo(SchedulerName::Rr, &[1, 1, 1])
}

fn every_server_is_reached_and_no_client_notices(layout: Layout, family: Family) {
    let bed = Bed::with(layout, Options { family, ..options() });
    // Nobody would be led to the second.
    let http = LabService::http(SchedulerName::Rr, &[1, 0, 1]);
    Host::with(&bed, &probing(&bed, &[http, echo()]), |host| {
        for number in [1, 2, 3, 3, 2, 1, 2] {
            assert_eq!(host.ask(number).unwrap(), format!("server {number}"), "{layout} {family:?}");
            assert_eq!(host.echo(number, 1200).unwrap(), format!("server {number}"), "{layout} {family:?}");
        }
        // Clients' connections and probes at the same time: the scheduler's turns stay exact.
        thread::scope(|scope| {
            let probes = scope.spawn(|| (0..60).map(|n| host.ask(n % 3 + 1).unwrap()).collect::<Vec<_>>());
            let tally = bed.load(200);
            assert_eq!((tally.answers["server 1"], tally.answers["server 3"]), (100, 100));
            assert_eq!(probes.join().unwrap()[58..], ["server 2", "server 3"].map(String::from));
        });
        eventually("exact counts in the report", || connections(&host.report()) == [100, 0, 100]);
        let report = host.report();
        for real in report.services.iter().flat_map(|service| &service.real_servers) {
            let is_clients = real.traffic.connections > 0;
            let seen = [real.traffic.in_packets, real.traffic.out_packets];
            assert!(is_clients || seen == [0, 0], "{real:?}");
        }
        assert_eq!(report.connections.current, 200, "and none of a probe's");
        assert_eq!(report.dropped, 0, "{report:?}");
    });
}

#[test]
fn probes_reach_every_masqueraded_server() {
    Family::ALL
        .into_iter()
        .for_each(|family| every_server_is_reached_and_no_client_notices(Layout::Nat, family));
}

#[test]
fn probes_reach_every_server_of_direct_routing() {
    Family::ALL
        .into_iter()
        .for_each(|family| every_server_is_reached_and_no_client_notices(Layout::Dr, family));
}

#[test]
fn probes_reach_every_server_behind_a_tunnel() {
    Family::ALL
        .into_iter()
        .for_each(|family| every_server_is_reached_and_no_client_notices(Layout::Tun, family));
}

#[test]
fn a_server_without_the_vip_fails_its_probe_and_no_other() {
    for family in Family::ALL {
        let bed = Bed::with(Layout::Dr, Options { family, ..options() });
        Host::with(&bed, &probing(&bed, &in_turn()), |host| {
            assert_eq!(host.ask(2).unwrap(), "server 2");
            give_vip(&bed, Node::Server(2), false);
            assert!(host.hears_nothing(2));
            assert_eq!((host.ask(1).unwrap(), host.ask(3).unwrap()), ("server 1".into(), "server 3".into()));
            give_vip(&bed, Node::Server(2), true);
            assert_eq!(host.ask(2).unwrap(), "server 2");
        });
    }
}

#[test]
fn a_server_without_decapsulation_fails_its_probe_and_no_other() {
    for family in Family::ALL {
        let bed = Bed::with(Layout::Tun, Options { family, ..options() });
        Host::with(&bed, &probing(&bed, &in_turn()), |host| {
            assert_eq!(host.ask(2).unwrap(), "server 2");
            give_decapsulation(&bed, Node::Server(2), false);
            // A program goes moments after its process.
            eventually("silence", || host.hears_nothing(2));
            assert_eq!((host.ask(1).unwrap(), host.ask(3).unwrap()), ("server 1".into(), "server 3".into()));
            let _decap = give_decapsulation(&bed, Node::Server(2), true);
            assert_eq!(host.ask(2).unwrap(), "server 2");
        });
    }
}

/// At the server's own address a connection is accepted, and clients get a page.
const BOTH_WAYS: &str = r#"alpha = true
check = [
    { type = "tcp", name = "own address", interval = "50ms", timeout = "1s", rise = 1, fall = 2 },
    { type = "http", name = "page", via = "vip", path = "/health", interval = "50ms", timeout = "1s", rise = 1, fall = 2 },
]"#;

/// Listeners at the servers' own addresses, where the lab's servers listen at the VIP alone.
fn listeners(bed: &Bed) -> Vec<TcpListener> {
    let listen = |number| {
        let server = bed.plan.server(number).unwrap();
        let at = (server.rip, server.http.port());
        bed.node(Node::Server(number)).unwrap().inside(|| TcpListener::bind(at).unwrap()).unwrap()
    };
    (1..=3).map(listen).collect()
}

#[test]
fn a_server_that_clients_do_not_reach_passes_a_direct_check_and_fails_the_one_via_the_vip() {
    let ways: [(Layout, Give); 2] = [(Layout::Dr, give_vip), (Layout::Tun, give_decapsulation)];
    for ((layout, give), family) in ways.into_iter().flat_map(|way| Family::ALL.map(|family| (way, family))) {
        let bed = Bed::with(layout, Options { family, ..options() });
        let _listeners = listeners(&bed);
        let _director = bed.direct_by(&checked(&bed, &in_turn(), BOTH_WAYS, ""));
        eventually("servers up", || states(&bed) == [Up; 3]);
        let before = bed.log().len();
        give(&bed, Node::Server(2), false);
        let (_, line) = told(&bed, before, "server down");
        assert!(line.contains("cause=\"check page: timed out after 1s connecting"), "{line}");
        assert_eq!(states(&bed), [Up, Down, Up]);
        assert_eq!(bed.load(20).answers.into_keys().collect::<Vec<_>>(), ["server 1", "server 3"]);
        let _decap = give(&bed, Node::Server(2), true);
        eventually("server 2 up", || states(&bed) == [Up; 3]);
        assert_eq!(bed.load(30).answers.len(), 3);
        assert!(!bed.log()[before..].contains("own address"), "{}", bed.log());
    }
}

#[test]
fn checks_via_the_vip_of_tcp_and_udp_hold_by_every_method_and_no_client_is_counted() {
    let page =
        BOTH_WAYS.replace("{ type = \"tcp\", name = \"own address\",", "{ type = \"tcp\", via = \"vip\",");
    let word = r#"alpha = true
check = { type = "udp", send = "well?", expect = "well?", via = "vip", interval = "50ms", timeout = "1s", rise = 1, fall = 2 }"#;
    for layout in [Layout::Nat, Layout::Dr, Layout::Tun, Layout::Mixed] {
        let bed = Bed::new(layout);
        let director = bed.direct_by(&checked(&bed, &[in_turn()[0].clone(), echo()], &page, word));
        let up = |log: &str| log.lines().filter(|line| line.contains("server up")).count();
        eventually("servers up", || up(&bed.log()) == 6);
        let before = bed.log().len();
        assert!(nginx(&bed, 2).signal(Signal::KILL));
        let (_, line) = told(&bed, before, "server down");
        assert!(line.contains("connect: connection refused"), "{layout}: {line}");
        assert_eq!(states(&bed), [Up, Down, Up]);
        assert!(!bed.log().contains("server down service=\"echo\""), "{layout}: {}", bed.log());
        let report = client(&bed).report().unwrap();
        assert_eq!((connections(&report), report.connections.current, report.dropped), (vec![0; 3], 0, 0));
        director.stop().unwrap();
    }
}

#[test]
fn a_probe_hears_at_once_that_nobody_listens() {
    for layout in [Layout::Nat, Layout::Dr] {
        let bed = Bed::empty(layout, options());
        Host::with(&bed, &probing(&bed, &[in_turn()[0].clone(), echo()]), |host| {
            assert_eq!(host.ask(1).unwrap_err().kind(), io::ErrorKind::ConnectionRefused, "{layout}");
            assert_eq!(host.echo(1, 10).unwrap_err().kind(), io::ErrorKind::ConnectionRefused, "{layout}");
        });
    }
}

#[test]
fn one_service_may_be_probed_by_every_method_and_a_reload_makes_and_moves_the_way() {
    let bed = Bed::new(Layout::Mixed);
    Host::with(&bed, &bed.director_config(&in_turn()), |host| {
        let closed = host.road.door.enter().unwrap_err();
        assert_eq!(closed.kind(), io::ErrorKind::NotConnected);
        fs::write(config_file(&bed), probing(&bed, &in_turn())).unwrap();
        client(&bed).reload().unwrap();
        eventually("way for probes", || host.ask(1).is_ok());
        for number in 1..=3 {
            assert_eq!(host.ask(number).unwrap(), format!("server {number}"));
        }
        // Another address of the director's own.
        let dip = bed.plan.dip;
        assert_eq!(bed.on(Node::Director, "ip address add 10.20.0.77/24 dev eth0"), "");
        assert_eq!(bed.on(Node::Director, &format!("ip address del {dip}/24 dev eth0")), "");
        assert_eq!(bed.on(Node::Director, "ip address replace 10.20.0.77/24 dev eth0"), "");
        assert_eq!(bed.on(Node::Director, "ip route replace default via 10.20.0.1"), "");
        let source = || host.road.probes.reserve(&host.goal(Proto::Tcp, 2)).map(|port| port.source.ip());
        eventually("another source", || source().is_ok_and(|source| source.to_string() == "10.20.0.77"));
        eventually("probe from it", || host.ask(2).is_ok_and(|server| server == "server 2"));
    });
}

#[test]
fn many_probes_at_once_each_hear_their_own_server() {
    let bed = Bed::new(Layout::Dr);
    Host::with(&bed, &probing(&bed, &in_turn()), |host| {
        thread::scope(|scope| {
            for number in (1..=3).cycle().take(12) {
                scope.spawn(move || {
                    for _ in 0..40 {
                        assert_eq!(host.ask(number).unwrap(), format!("server {number}"));
                    }
                });
            }
        });
    });
}

/// The namespace goes with the director, however that ends: what was put in it from outside is gone, too.
#[test]
fn nothing_is_left_of_the_way_for_probes() {
    let bed = Bed::new(Layout::Dr);
    for kill in [true, false] {
        let director = bed.direct_by(&probing(&bed, &in_turn()));
        let namespace = namespace_of_probes(director.id().unwrap().pid);
        // A veth pair with one end in there, and the other where it can be seen.
        let inside = ["nsenter", &format!("--net={namespace}")];
        let ip = |argv: &[&str]| {
            let output = Command::new(inside[0]).arg(inside[1]).arg("ip").args(argv).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        assert!(ip(&["-j", "address"]).contains(&bed.plan.dip.to_string()));
        let outside = bed.node(Node::Director).unwrap().name().to_owned();
        ip(&["link", "add", "canary", "type", "veth", "peer", "name", "canary", "netns", &outside]);
        let is_there = || bed.on(Node::Director, "ip -br link").contains("canary");
        assert!(is_there());
        if kill {
            director.kill();
        } else {
            director.stop().unwrap();
        }
        eventually("end of the namespace", || !is_there());
    }
}

/// The network namespace that a director holds beside the one it lives in.
fn namespace_of_probes(pid: i32) -> String {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().map(|entry| entry.path());
    let is_network =
        |path: &PathBuf| fs::read_link(path).is_ok_and(|link| link.to_string_lossy().starts_with("net:["));
    let held: Vec<_> = links.filter(is_network).collect();
    assert_eq!(held.len(), 1, "{held:?}");
    held[0].display().to_string()
}

/// Gives a server what it needs for clients to reach it, or takes it away.
type Give = fn(&Bed, Node, bool) -> Option<Process>;

/// Gives a server of direct routing the VIP, or takes it away.
fn give_vip(bed: &Bed, server: Node, gives: bool) -> Option<Process> {
    let (bits, nodad) = if bed.plan.vip.is_ipv4() { (32, "") } else { (128, " nodad") };
    let (change, how) = if gives { ("add", nodad) } else { ("del", "") };
    assert_eq!(bed.on(server, &format!("ip address {change} {}/{bits} dev lo{how}", bed.plan.vip)), "");
    None
}

/// Has a server behind a tunnel take packets out of it, or not; in the first case by this process, if it takes one.
fn give_decapsulation(bed: &Bed, server: Node, gives: bool) -> Option<Process> {
    if bed.on(server, "ip -br link").contains("decap0") {
        let state = if gives { "up" } else { "down" };
        assert_eq!(bed.on(server, &format!("ip link set decap0 {state}")), "");
        return None;
    }
    if gives {
        let argv = [LVX, "lab", "decap", "eth0"];
        return Some(bed.node(server).unwrap().spawn(&argv, &bed.dir().join("decap-again.log")).unwrap());
    }
    let decap = ProcessId::of(process(bed, server, "lab\0decap")).unwrap();
    decap.kill();
    eventually("end of the decapsulator", || !decap.is_alive());
    None
}

/// The process on a node whose command line has these words.
fn process(bed: &Bed, node: Node, words: &str) -> i32 {
    let pids = Command::new("ip").args(["netns", "pids", bed.node(node).unwrap().name()]).output().unwrap();
    let pids = String::from_utf8(pids.stdout).unwrap();
    let has_words = |pid: &&str| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(words)
    };
    pids.lines().find(has_words).expect("such a process").parse().unwrap()
}
