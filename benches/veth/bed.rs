//! Three namespaces in a row, a way back past the director, and whoever stands in the director's place.
//!
//! ```text
//!   client                    director                     server
//!   c0 10.1.0.2 ------ eth0 10.1.0.1      eth1 10.2.0.1 ------ s0 10.2.0.2
//!                           VIP 10.1.0.100                      lo VIP
//!   c1 10.3.0.3 ------------------------------------------- r0 10.3.0.2     what comes from the VIP
//! ```

use lvx::dataplane::port::device;
use lvx::lab::{Interrupt, Namespace, Node, Process, namespace_name};
use lvx::net::Mac;
use lvx::service::Method;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 100);
pub const RIP: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);
/// Ports at the VIP, and at the server where NAT maps them.
pub const HTTP: [u16; 2] = [80, 8080];
pub const FLOOD: [u16; 2] = [7, 8007];
pub const ECHO: [u16; 2] = [9, 8009];

/// The core that floods, and the one that forwards.
pub const SENDERS_CORE: usize = 0;
pub const DIRECTORS_CORE: usize = 1;

const LVX: &str = env!("CARGO_BIN_EXE_lvx");
const PATIENCE: Duration = Duration::from_secs(30);

/// What `lvx run` is asked to be like.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    pub method: Method,
    /// `poll = "busy"` instead of `"adaptive"`.
    pub spins: bool,
    /// SO_PREFER_BUSY_POLL.
    pub busy_poll: bool,
}

/// See the module. Dropping it ends what runs there and removes it.
pub struct Bed {
    pub client: Namespace,
    pub director: Namespace,
    pub server: Namespace,
    /// Of c0, eth0, eth1, s0.
    pub macs: [Mac; 4],
    pub interrupt: Interrupt,
    dir: TempDir,
}

impl Bed {
    pub fn new(interrupt: Interrupt) -> Outcome<Bed> {
        // Named as labs are, so that `make clean-lab` finds what a killed bench leaves.
        let lab = format!("bench_veth_{}", std::process::id());
        let node = |node| -> Outcome<Namespace> {
            let namespace = Namespace::create(&namespace_name(&lab, node))?;
            for (name, value) in sysctls(node) {
                namespace.sysctl(name, value)?;
            }
            Ok(namespace)
        };
        let (client, director, server) = (node(Node::Client)?, node(Node::Director)?, node(Node::Server(1))?);
        let cable = |a: (&str, &Namespace), b: (&str, &Namespace)| {
            let [(a, at), (b, to)] = [a, b].map(|(end, namespace)| (end, namespace.name().to_owned()));
            client.batch(&format!("link add {a} netns {at} type veth peer name {b} netns {to}\n"))
        };
        cable(("c0", &client), ("eth0", &director))?;
        cable(("eth1", &director), ("s0", &server))?;
        cable(("c1", &client), ("r0", &server))?;
        client.batch(&format!(
            "link set lo up\nlink set c0 up\nlink set c1 up\naddress add {CLIENT}/24 dev c0\n\
             address add 10.3.0.3/24 dev c1\n"
        ))?;
        director.batch(&format!(
            "link set lo up\nlink set eth0 up\nlink set eth1 up\naddress add 10.1.0.1/24 dev eth0\n\
             address add {VIP}/32 dev eth0\naddress add 10.2.0.1/24 dev eth1\n"
        ))?;
        server.batch(&format!(
            "link set lo up\nlink set s0 up\nlink set r0 up\naddress add {RIP}/24 dev s0\n\
             address add 10.3.0.2/24 dev r0\naddress add {VIP}/32 dev lo\nroute add default via 10.2.0.1\n\
             route add 10.1.0.0/24 dev r0 table 100\nrule add from {VIP} lookup 100\n"
        ))?;
        let mac =
            |at: &Namespace, end: &'static str| -> Outcome<Mac> { Ok(at.inside(|| device::mac(end))??) };
        let macs =
            [mac(&client, "c0")?, mac(&director, "eth0")?, mac(&director, "eth1")?, mac(&server, "s0")?];
        Ok(Bed { client, director, server, macs, interrupt, dir: tempfile::tempdir()? })
    }

    /// Starts `lvx run` and waits until its workers run.
    pub fn start_director(&self, manner: Manner) -> Outcome<Process> {
        let (file, report) = (self.dir.path().join("director.toml"), self.dir.path().join("report.json"));
        let _ = std::fs::remove_file(&report);
        std::fs::write(&file, config(manner))?;
        let argv = [LVX.as_ref(), "run".as_ref(), "--config".as_ref(), file.as_path()];
        let argv: Vec<&Path> = argv.into_iter().chain(["--report".as_ref(), report.as_path()]).collect();
        let director = self.director.spawn(&argv, &self.dir.path().join("director.log"))?;
        self.wait_for("the director", director, || report.exists())
    }

    /// Ends it, and fails if it has not lived until now.
    pub fn stop_director(&self, mut director: Process) -> Outcome<()> {
        match director.exit_status() {
            Some(status) => Err(format!("the director ended with {status}: {}", director.log_tail()).into()),
            None => Ok(director.terminate(Duration::from_secs(5)).map(drop)?),
        }
    }

    /// nft DNAT in the director's place. With `flooded`, receive packet steering takes the forwarding to the
    /// director's core, as far as the kernel can: otherwise the sender's core would do it all.
    pub fn start_kernel(&self, flooded: bool) -> Outcome<()> {
        let [(vip_http, http), (vip_flood, flood)] =
            [HTTP, FLOOD].map(|[at_vip, at_server]| (at_vip, at_server));
        self.director.exec(&[
            "nft",
            &format!(
                "add table ip bench; add chain ip bench pre {{ type nat hook prerouting priority dstnat; }}; \
                 add rule ip bench pre ip daddr {VIP} tcp dport {vip_http} dnat to {RIP}:{http}; \
                 add rule ip bench pre ip daddr {VIP} udp dport {vip_flood} dnat to {RIP}:{flood}"
            ),
        ])?;
        self.director.sysctl("net.ipv4.ip_forward", "1")?;
        self.steer_receiving(if flooded { 1 << DIRECTORS_CORE } else { 0 })
    }

    pub fn stop_kernel(&self) -> Outcome<()> {
        self.steer_receiving(0)?;
        self.director.sysctl("net.ipv4.ip_forward", "0")?;
        self.director.exec(&["nft", "delete table ip bench"])?;
        Ok(())
    }

    fn steer_receiving(&self, cores: u32) -> Outcome<()> {
        let write = format!("echo {cores:x} > /sys/class/net/eth0/queues/rx-0/rps_cpus");
        Ok(self.director.exec(&["sh", "-c", &write]).map(drop)?)
    }

    /// XDP frames can be sent over a veth only between ends that poll: XDP or GRO makes them. From here on, the
    /// director's end polls for the kernel, too.
    pub fn let_xdp_frames_pass(&self) -> Outcome<()> {
        self.client.exec(&["ethtool", "-K", "c0", "gro", "on"])?;
        self.director.exec(&["ethtool", "-K", "eth0", "gro", "on"])?;
        Ok(())
    }

    /// nginx at the server, for NAT and for DR.
    pub fn start_nginx(&self) -> Outcome<Process> {
        let (prefix, config) = (self.dir.path(), self.dir.path().join("nginx.conf"));
        std::fs::write(&config, nginx_config())?;
        let (prefix, config) = (prefix.to_string_lossy(), config.to_string_lossy());
        let log = self.dir.path().join("nginx.log");
        let argv = ["nginx", "-e", "stderr", "-p", &prefix, "-c", &config];
        let nginx = self.server.spawn(&argv, &log)?;
        let [_, port] = HTTP;
        self.wait_for("nginx", nginx, || {
            self.server.inside(|| TcpStream::connect(SocketAddrV4::new(RIP, port)).is_ok()).unwrap_or(false)
        })
    }

    /// `lvx lab udp-echo` at the server, for NAT.
    pub fn start_echo(&self) -> Outcome<Process> {
        let at = SocketAddrV4::new(RIP, ECHO[1]).to_string();
        let echo =
            self.server.spawn(&[LVX, "lab", "udp-echo", &at, "echo"], &self.dir.path().join("echo.log"))?;
        let bound = format!(":{:04X} ", ECHO[1]);
        let sockets = || std::fs::read_to_string("/proc/thread-self/net/udp").unwrap_or_default();
        self.wait_for("the echo", echo, || {
            self.server.inside(sockets).is_ok_and(|text| text.contains(&bound))
        })
    }

    fn wait_for(&self, what: &str, mut process: Process, is_ready: impl Fn() -> bool) -> Outcome<Process> {
        let deadline = Instant::now() + PATIENCE;
        while !is_ready() {
            self.interrupt.check()?;
            if process.exit_status().is_some() || Instant::now() > deadline {
                return Err(format!("{what} is not there: {}", process.log_tail()).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(process)
    }
}

fn sysctls(node: Node) -> Vec<(&'static str, &'static str)> {
    let mut sysctls = vec![
        ("net.ipv6.conf.all.disable_ipv6", "1"),
        ("net.ipv6.conf.default.disable_ipv6", "1"),
        ("net.ipv4.conf.all.rp_filter", "0"),
        ("net.ipv4.conf.default.rp_filter", "0"),
        ("net.ipv4.ip_forward", "0"),
    ];
    if node == Node::Server(1) {
        // It has the VIP, and does not say so.
        sysctls.extend([("net.ipv4.conf.all.arp_ignore", "1"), ("net.ipv4.conf.all.arp_announce", "2")]);
    }
    sysctls
}

fn config(Manner { method, spins, busy_poll }: Manner) -> String {
    let poll = if spins { "busy" } else { "adaptive" };
    let mut toml = format!(
        "[director]\nworkers = 1\ncores = [{DIRECTORS_CORE}]\npoll = \"{poll}\"\nbusy_poll = {busy_poll}\n\
         max_connections = 65536\n[[interface]]\nname = \"eth0\"\n[[interface]]\nname = \"eth1\"\n"
    );
    for (name, proto, [at_vip, at_server]) in
        [("http", "tcp", HTTP), ("flood", "udp", FLOOD), ("echo", "udp", ECHO)]
    {
        let port = if method == Method::Nat { at_server } else { at_vip };
        toml += &format!(
            "[[virtual_service]]\nname = \"{name}\"\nprotocol = \"{proto}\"\naddress = \"{VIP}:{at_vip}\"\n\
             scheduler = \"rr\"\n[[virtual_service.real_server]]\naddress = \"{RIP}:{port}\"\nforward = \"{method}\"\n"
        );
    }
    toml
}

fn nginx_config() -> String {
    let [at_vip, at_server] = HTTP;
    format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 4096; }}\nhttp {{\n  access_log off;\n  client_body_temp_path body;\n  \
         proxy_temp_path proxy;\n  fastcgi_temp_path fastcgi;\n  uwsgi_temp_path uwsgi;\n  scgi_temp_path scgi;\n  \
         default_type text/plain;\n  server {{\n    listen {at_vip} backlog=4096;\n    listen {at_server} backlog=4096;\n    \
         location / {{ return 200 \"hello\\n\"; }}\n  }}\n}}\n"
    )
}
