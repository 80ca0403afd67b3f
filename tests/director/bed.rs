//! What the tests stand on: a lab with servers, a director in it, and clients.

use lvx::control::report::Report;
use lvx::lab::{Director, Error, LabService, Layout, Node, Options, Process, Tally, Topology};
use lvx::service::SchedulerName;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::ops::Deref;
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

pub const LVX: &str = env!("CARGO_BIN_EXE_lvx");

/// How long something may take that takes moments on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Labs that may live at once, less those that do.
static FREE_TURNS: Mutex<u8> = Mutex::new(2);
static TURN_ENDED: Condvar = Condvar::new();

/// The right to have a lab; given back when dropped, also by a panic.
struct Turn;

impl Turn {
    fn take() -> Turn {
        let mut free = TURN_ENDED.wait_while(FREE_TURNS.lock().unwrap(), |free| *free == 0).unwrap();
        *free -= 1;
        Turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *FREE_TURNS.lock().unwrap() += 1;
        TURN_ENDED.notify_one();
    }
}

/// A lab whose servers run.
pub struct Bed {
    // Before the turn: the next lab waits until this one is gone.
    lab: Topology,
    _turn: Turn,
}

impl Deref for Bed {
    type Target = Topology;

    fn deref(&self) -> &Topology {
        &self.lab
    }
}

/// Few and short, so that tests are quick.
pub fn options() -> Options {
    Options { lvx: LVX.into(), large_file_bytes: 3_000_000, ..Options::default() }
}

impl Bed {
    /// Three servers, or one clear line that says why there are none.
    pub fn new(layout: Layout) -> Bed {
        Bed::with(layout, options())
    }

    /// The same, with other options.
    pub fn with(layout: Layout, options: Options) -> Bed {
        let mut bed = Bed::empty(layout, options);
        bed.lab.start_servers().unwrap_or_else(|error| panic!("{error}"));
        bed
    }

    /// Nothing runs on the servers.
    pub fn empty(layout: Layout, options: Options) -> Bed {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let turn = Turn::take();
        let name = format!("dir{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let lab = match Topology::new(&name, layout, options) {
            Ok(lab) => lab,
            Err(Error::NotRoot) => {
                panic!("needs root for network namespaces: run 'make test' or 'sudo -E cargo test'")
            }
            Err(error) => panic!("{error}"),
        };
        Bed { lab, _turn: turn }
    }

    /// Starts a director with these services.
    pub fn direct(&self, services: &[LabService]) -> Director {
        self.direct_by(&self.director_config(services))
    }

    /// Starts a director with this configuration.
    pub fn direct_by(&self, config: &str) -> Director {
        self.start_director(config).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs `lvx run`, which must refuse to start, by way of the command `by`; what it said.
    pub fn refusal(&self, by: &[&str], config: &str, more: &[&str]) -> String {
        let file = self.dir().join("refused.toml");
        fs::write(&file, config).unwrap();
        // A copy: without capabilities, not even root may enter another's home.
        let lvx = self.dir().join("lvx");
        if !lvx.exists() {
            fs::copy(LVX, &lvx).unwrap();
        }
        let (file, lvx) = (file.to_string_lossy(), lvx.to_string_lossy());
        // One that does start is ended, with another exit code.
        let argv = [by, &["timeout", "--signal=KILL", "20", &lvx, "run", "--config", &file], more].concat();
        let output = self.node(Node::Director).unwrap().command(&argv).output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        said
    }

    /// Runs a command line, split at blanks, on a node; its output.
    pub fn on(&self, node: Node, line: &str) -> String {
        let argv: Vec<&str> = line.split_whitespace().collect();
        text(&self.exec(node, &argv).unwrap_or_else(|error| panic!("{error}")))
    }

    /// What curl says on a node, and whether it succeeded.
    pub fn curl(&self, node: Node, url: &str) -> Result<String, String> {
        let argv = ["curl", "-sS", "--connect-timeout", "3", "--max-time", "6", url];
        let output = self.node(node).unwrap().command(&argv).output().unwrap();
        if output.status.success() { Ok(text(&output).trim().to_owned()) } else { Err(text(&output)) }
    }

    /// Asks the VIP on a connection of its own; which server answers.
    pub fn ask(&self) -> Result<String, String> {
        self.curl(Node::Client, &format!("http://{}/", self.plan.http()))
    }

    /// So many requests, each on a connection of its own; all of them must be answered.
    pub fn load(&self, requests: u32) -> Tally {
        let tally = self.load_http(requests, |_| ()).unwrap();
        assert_eq!((tally.failed, tally.done), (0, requests), "{:?}", tally.complaints);
        tally
    }

    /// Requests for as long as that holds, each on a connection of its own; how they went.
    pub fn load_while(&self, goes_on: impl Fn() -> bool) -> Tally {
        let mut all = Tally::default();
        while goes_on() {
            let tally = self.load_http(1000, |_| ()).unwrap();
            all.done += tally.done;
            all.failed += tally.failed;
            all.complaints.extend(tally.complaints);
        }
        all
    }

    /// A download from the VIP, which must arrive whole.
    pub fn download_whole(&self) {
        let (download, large) = (self.download().unwrap(), self.large_file().unwrap());
        assert_eq!((download.bytes, &download.sha256), (large.bytes, &large.sha256));
    }

    /// So many UDP clients, one after the other, each of whom must hear its own datagram from the server's echo; who answered them.
    pub fn echo(&self, clients: u32) -> Vec<String> {
        let to = self.plan.echo();
        let connect = |_| {
            let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
            socket.connect(to)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok::<UdpSocket, io::Error>(socket)
        };
        let client = self.node(Node::Client).unwrap();
        // All are open at once, so that each has a port of its own.
        let sockets: io::Result<Vec<UdpSocket>> =
            client.inside(|| (0..clients).map(connect).collect()).unwrap();
        let sockets = sockets.unwrap();
        let answer = |(number, socket): (usize, &UdpSocket)| {
            let datagram = format!("datagram {number}");
            socket.send(datagram.as_bytes()).unwrap();
            let mut answer = [0; 64];
            let len = socket.recv(&mut answer).unwrap();
            let answer = String::from_utf8_lossy(&answer[..len]).into_owned();
            let server = answer.strip_suffix(&datagram).map(|server| server.trim().to_owned());
            server.unwrap_or_else(|| panic!("{answer:?} to {datagram:?}"))
        };
        sockets.iter().enumerate().map(answer).collect()
    }

    /// Opens a connection from the client.
    pub fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let stream = self
            .node(Node::Client)
            .unwrap()
            .inside(|| TcpStream::connect_timeout(&to, Duration::from_secs(3)))
            .unwrap()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Opens a connection to the VIP that stays open.
    pub fn visit(&self) -> Visit {
        Visit(BufReader::new(self.connect(self.plan.http()).unwrap()))
    }

    /// Opens one connection per server: in the order of the servers' numbers. The scheduler must give the first
    /// three to three servers.
    pub fn visit_each(&self) -> Vec<Visit> {
        let mut visits: Vec<(String, Visit)> = (0..self.plan.servers.len())
            .map(|_| {
                let mut visit = self.visit();
                (visit.ask().unwrap(), visit)
            })
            .collect();
        visits.sort_by(|(a, _), (b, _)| a.cmp(b));
        let names: Vec<&String> = visits.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["server 1", "server 2", "server 3"]);
        visits.into_iter().map(|(_, visit)| visit).collect()
    }

    /// Everything that directors have logged in this lab.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir().join("director.log")).unwrap_or_default()
    }

    /// Gives the director a new configuration, and waits until it says what it made of it; what it said.
    pub fn reload(&self, director: &Director, config: &str) -> String {
        let before = self.log().len();
        director.reload(config).unwrap();
        let said = || self.log().split_off(before);
        eventually("a word about the reload", || said().contains("reloaded"));
        said()
    }

    /// Starts a capture on a node's interface of what arrives there and matches `filter`.
    pub fn capture(&self, node: Node, interface: &str, filter: &str) -> Capture {
        let log = self.dir().join(format!("{node}-{interface}.tcpdump"));
        #[rustfmt::skip]
        let argv = ["tcpdump", "-i", interface, "-Q", "in", "-n", "-vv", "-l", "--immediate-mode", filter];
        let process = self.node(node).unwrap().spawn(&argv, &log).unwrap();
        let capture = Capture(process);
        eventually("tcpdump", || capture.text().contains("listening on"));
        capture
    }

    /// The interfaces that have a cable to the director, where they are.
    pub fn facing_the_director(&self) -> Vec<(Node, String)> {
        let mut facing = Vec::new();
        for link in &self.plan.links {
            let [a, b] = &link.ends;
            for (near, far) in [(a, b), (b, a)] {
                if near.node == Node::Director {
                    facing.push((far.node, far.interface.clone()));
                }
            }
        }
        facing
    }

    /// Whether there is an XDP program on any of the director's interfaces.
    pub fn has_xdp(&self) -> bool {
        let links = self.on(Node::Director, "ip -j link show");
        assert!(links.contains("eth0"), "{links}");
        links.contains("\"xdp\"")
    }
}

/// A running tcpdump.
pub struct Capture(Process);

impl Capture {
    /// What it has seen so far; the last line may be half written.
    pub fn text(&self) -> String {
        fs::read_to_string(self.0.log()).unwrap_or_default()
    }

    /// Ends it; what it has seen.
    pub fn end(mut self) -> String {
        self.0.terminate(PATIENCE).unwrap();
        self.text()
    }
}

/// A client with a connection that stays open from one request to the next.
pub struct Visit(BufReader<TcpStream>);

impl Visit {
    /// Which server answers.
    pub fn ask(&mut self) -> io::Result<String> {
        self.0.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")?;
        let (mut line, mut body) = (String::new(), Vec::new());
        while line != "\r\n" {
            line.clear();
            if self.0.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(length) = line.strip_prefix("Content-Length: ") {
                body.resize(length.trim().parse().unwrap(), 0);
            }
        }
        self.0.read_exact(&mut body)?;
        Ok(String::from_utf8_lossy(&body).trim().to_owned())
    }
}

/// All servers of a lab behind HTTP, the next connection to the next server.
pub fn in_turn() -> [LabService; 1] {
    [LabService::http(SchedulerName::Rr, &[1, 1, 1])]
}

/// Waits until `is_true`.
pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Connections that each server of the first service was given, in the configuration's order.
pub fn connections(report: &Report) -> Vec<u64> {
    report.services[0].real_servers.iter().map(|real| real.traffic.connections).collect()
}

/// Not even what came first, when a next hop's MAC might not have been known yet.
pub fn assert_drops_nothing(report: &Report) {
    assert_eq!(report.dropped, 0, "{report:?}");
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
