//! A desk that works on a thread of its own, with a control socket in a directory of its own.

use crossbeam::channel::{bounded, select, tick};
use lvx::config::{self, Config};
use lvx::conntrack::{Chosen, Expiry, Seed, Table, Tracker};
use lvx::control::api::{Api, Link};
use lvx::control::client::Client;
use lvx::control::desired::Desired;
use lvx::control::desk::{Desk, Job, Shared};
use lvx::control::history::History;
use lvx::control::publish::Publisher;
use lvx::net::{Endpoint, FlowKey, Proto, TcpFlags, Tick};
use lvx::service::{RealId, Standing};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Two services; the first has two servers.
pub const SERVICES: &str = "[[interface]]\nname = \"eth0\"\n\
     [[virtual_service]]\nname = \"web\"\naddress = \"192.0.2.1:80\"\nforward = \"nat\"\n\
     [[virtual_service.real_server]]\naddress = \"10.0.0.1:8080\"\n\
     [[virtual_service.real_server]]\naddress = \"10.0.0.2:8080\"\nweight = 2\n\
     [[virtual_service]]\naddress = \"192.0.2.1:53\"\nprotocol = \"udp\"\n";

pub struct Office {
    pub client: Client,
    pub file: PathBuf,
    pub shared: Shared,
    pub config: Config,
    pub dir: TempDir,
    pub api: Option<Api>,
    desk: Option<JoinHandle<()>>,
}

impl Office {
    pub fn new() -> Office {
        Office::with("", SERVICES)
    }

    /// With more keys of `[control]`.
    pub fn with(control: &str, services: &str) -> Office {
        let dir = tempfile::tempdir().unwrap();
        Office::in_dir(dir, control, services)
    }

    pub fn in_dir(dir: TempDir, control: &str, services: &str) -> Office {
        let (socket, state) = (dir.path().join("lvx.sock"), dir.path().join("state"));
        let head = format!("[control]\nsocket = {socket:?}\nstate_dir = {state:?}\n{control}\n");
        let file = dir.path().join("director.toml");
        fs::write(&file, format!("{head}{services}")).unwrap();
        let config = config::read(&file).unwrap();

        let table = Arc::new(Table::new(1 << 16, Seed::new(1, 2)).unwrap());
        let shared = Shared {
            table: table.clone(),
            published: Arc::default(),
            counters: vec![Arc::default()],
            ports: Vec::new(),
            start: Instant::now(),
        };
        let publisher = Publisher::new(table, shared.published.clone(), shared.counters.clone(), Vec::new());
        let history = History::open(&config.control.state_dir).unwrap();
        let desired = Desired::from(config.clone());
        let mut desk = Desk::new(desired, publisher, shared.clone(), history, file.clone()).unwrap();
        let (tell, jobs) = bounded::<Job>(64);
        let api = Api::open(&config.control, Link::new(tell, shared.clone()), &[]).unwrap();
        let desk = std::thread::spawn(move || {
            let ticks = tick(Duration::from_millis(100));
            loop {
                select! {
                    recv(jobs) -> job => match job {
                        Ok(job) => job(&mut desk),
                        Err(_) => return,
                    },
                    recv(ticks) -> now => {
                        let _ = desk.tick(now.unwrap());
                    }
                }
                while desk.is_on_round() {
                    desk.go_on();
                }
            }
        });
        Office { client: Client::new(&socket), file, shared, config, dir, api: Some(api), desk: Some(desk) }
    }

    /// Ends the director, and begins another on its directory.
    pub fn restart(mut self) -> Office {
        self.end();
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        Office::in_dir(dir, "", SERVICES)
    }

    pub fn end(&mut self) {
        self.api = None;
        if let Some(desk) = self.desk.take() {
            desk.join().unwrap();
        }
    }

    /// Writes the services anew into the configuration file.
    pub fn write(&self, services: &str) {
        let text = fs::read_to_string(&self.file).unwrap();
        let head = text.split("[director]").next().unwrap().split("[[interface]]").next().unwrap();
        fs::write(&self.file, format!("{head}{services}")).unwrap();
    }

    /// Lets so many clients have a connection to a server, as a worker would.
    pub fn connect(&self, vip: &str, server: &str, clients: u16) {
        let snapshot = self.shared.published.current();
        let (vip, server): (Endpoint, Endpoint) = (vip.parse().unwrap(), server.parse().unwrap());
        let services = snapshot.services.table().services().iter();
        let of_vip = services.filter(|service| service.endpoint == vip).flat_map(|service| &service.reals);
        let real = of_vip.into_iter().find(|real| real.endpoint == server).unwrap();
        let mut tracker = Tracker::new(self.shared.table.clone(), 0, 1);
        // Each server has clients of its own.
        let number = (server.port as u8).wrapping_add(real.id.0 as u8);
        for port in 0..clients {
            let client = Endpoint::new([203, 0, 113, number].into(), 1024 + port);
            let key = FlowKey::new(Proto::Tcp, client, vip);
            let chosen = Chosen {
                real: real.id,
                replies_pass: true,
                hop: 0,
                is_watched: false,
                listens: false,
                template: None,
            };
            let hash = self.shared.table.hash(&key);
            tracker.open(&key, hash, TcpFlags::SYN, Tick(0), || Some(chosen)).unwrap();
            real.live.opened(Standing::Active);
        }
    }

    /// Has so many clients of a server say this.
    pub fn hear(&self, id: u32, clients: usize, flags: TcpFlags) {
        let table = &self.shared.table;
        let all = table.connections().filter(|connection| connection.real == RealId(id));
        for connection in all.take(clients) {
            let found = table.search(table.hash(&connection.key), &connection.key).unwrap();
            table.touch(found, flags, Tick(0), &Expiry::default());
        }
    }

    /// Connections that the table has to this server.
    pub fn connections_of(&self, id: u32) -> usize {
        self.shared.table.connections().filter(|connection| connection.real == RealId(id)).count()
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits until `is_true`.
pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_true() {
        assert!(Instant::now() < deadline, "no {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
