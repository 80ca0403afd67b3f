//! What the tests stand on: a director's namespace, a server's, and a wire between them.

use lvx::health::{Change, Driver, Event, Health, Target, What};
use lvx::lab::{Error, Namespace, Process};
use lvx::net::Endpoint;
use lvx::service::check::{Check, Kind, Pace};
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const MS: Duration = Duration::from_millis(1);

/// How long something may take that takes moments on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The server's addresses.
pub const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 2));
pub const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2));

/// What every nginx here is told outside of its `http` block.
const NGINX: &str = "daemon off;\nmaster_process off;\npid nginx.pid;\nevents {}\n";

/// The same inside of it: nothing is written beside its own directory.
const TEMPORARY: &str = "
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;";

pub struct Bed {
    // Before the namespaces: who runs in them goes first.
    processes: Vec<Process>,
    director: Namespace,
    pub server: Namespace,
    dir: TempDir,
}

impl Bed {
    pub fn new() -> Bed {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("hc{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let namespace = |node: &str| match Namespace::create(&format!("{name}{node}")) {
            Ok(namespace) => namespace,
            Err(Error::NotRoot) => {
                panic!("needs root for network namespaces: run 'make test' or 'sudo -E cargo test'")
            }
            Err(error) => panic!("{error}"),
        };
        let (director, server) = (namespace("d"), namespace("s"));
        let wire = format!("link add eth0 type veth peer name eth0 netns {}", server.name());
        let up = |own| {
            format!(
                "link set lo up\nlink set eth0 up\naddress add 10.77.0.{own}/24 dev eth0\naddress add fd77::{own}/64 dev eth0 nodad"
            )
        };
        director.batch(&wire).unwrap();
        director.batch(&up(1)).unwrap();
        server.batch(&up(2)).unwrap();
        Bed { processes: Vec::new(), director, server, dir: tempfile::tempdir().unwrap() }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file into the bed's directory.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Starts a server, which listens at `port` then.
    pub fn serve(&mut self, argv: &[&str], port: u16) -> usize {
        let log = self.dir().join(format!("log{}", self.processes.len()));
        let process = self.server.spawn(argv, &log).unwrap();
        let until = Instant::now() + PATIENCE;
        let listens = || TcpStream::connect_timeout(&SocketAddr::new(V4, port), 100 * MS).is_ok();
        while !self.server.inside(listens).unwrap() {
            let said = fs::read_to_string(&log).unwrap_or_default();
            assert!(Instant::now() < until, "{argv:?} does not listen at port {port}: {said}");
            std::thread::sleep(20 * MS);
        }
        self.processes.push(process);
        self.processes.len() - 1
    }

    /// Starts nginx, with that in its `http` block.
    pub fn serve_nginx(&mut self, http: &str, port: u16) -> usize {
        let config = self.file("nginx.conf", &format!("{NGINX}http {{{TEMPORARY}{http}}}\n"));
        let (config, prefix) = (config.to_string_lossy(), self.dir().to_string_lossy().into_owned());
        self.serve(&["nginx", "-e", "stderr", "-p", &prefix, "-c", &config], port)
    }

    /// A server that was started.
    pub fn process(&self, number: usize) -> &Process {
        &self.processes[number]
    }

    /// Drops or refuses packets at the server, as these rules of nft's say.
    pub fn firewall(&self, rules: &str) {
        let table =
            format!("table inet f {{ chain in {{ type filter hook input priority 0; {rules} }}\n}}\n");
        let file = self.file("rules.nft", &table);
        self.server.exec(&["nft", "-f", &file.to_string_lossy()]).unwrap();
    }

    /// A driver on the director's side of the wire.
    pub fn driver(&self) -> Driver {
        self.inside_director(|| Driver::start(|| (), ())).unwrap()
    }

    /// Does this in the director's namespace.
    pub fn inside_director<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.director.inside(work).unwrap()
    }

    /// What the first probe of a server comes to: nothing, or the cause.
    pub fn ask(&self, server: SocketAddr, kind: Kind) -> Result<(), String> {
        self.ask_for(server, kind, PATIENCE)
    }

    /// The same, of one that has so much time.
    pub fn ask_for(&self, server: SocketAddr, kind: Kind, timeout: Duration) -> Result<(), String> {
        let pace = Pace { timeout, ..Pace::every(50 * MS) };
        let driver = self.driver();
        driver.set([target(server, kind, pace)]);
        match change(&driver) {
            (Health::Up, _) => Ok(()),
            (_, cause) => Err(cause),
        }
    }
}

pub fn target(server: SocketAddr, kind: Kind, pace: Pace) -> Target {
    let check = Check { kind, pace, ..Check::default() };
    Target { server: Endpoint::from(server), check: Arc::new(check), service: None }
}

/// What is believed next, and why.
pub fn change(driver: &Driver) -> (Health, String) {
    change_of(next(driver))
}

pub fn change_of(event: Event) -> (Health, String) {
    match event.what {
        What::Health(Change { to, .. }, cause) => (to, cause.map_or(String::new(), |why| why.cause)),
        other => panic!("{other:?}"),
    }
}

pub fn next(driver: &Driver) -> Event {
    driver.events().recv_timeout(2 * PATIENCE).unwrap()
}
