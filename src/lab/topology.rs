//! A plan made real: the namespaces, the links between them, and what runs in them.

use super::namespace::ip_batch;
use super::plan::{ECHO_PORT, HTTP_PORT, Node, Plan, Server};
use super::servers::{self, LARGE_FILE_BYTES, LargeFile};
use super::state::{self, Inhabitant, State, namespace_name};
use super::{Error, Family, Interrupt, Layout, MAX_SERVERS, Namespace, Process, ProcessId};
use crate::net::{Endpoint, Proto};
use crate::service::{Method, SchedulerName};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What may differ between two labs of one layout.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of which family all addresses are.
    pub family: Family,
    /// How many real servers, 1 to [`MAX_SERVERS`].
    pub servers: u8,
    /// Queues of each link of the director's, at both ends.
    pub queues: u16,
    /// Whether senders leave checksums to hardware that a veth does not have, as is the kernel's default.
    /// `false` turns that off (`ethtool -K … tx off`) on the interfaces that face the director.
    pub checksum_offload: bool,
    /// How long `/large` is, in bytes.
    pub large_file_bytes: u64,
    /// Whether nginx of DR and TUN servers listens at the server's own address too, where direct checks ask.
    pub listens_at_rip: bool,
    /// The program that is tried, and that the UDP echoes and decapsulators are made of.
    pub lvx: PathBuf,
    /// What ends the building early.
    pub interrupt: Interrupt,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            family: Family::V4,
            servers: 3,
            queues: 1,
            checksum_offload: true,
            large_file_bytes: LARGE_FILE_BYTES,
            listens_at_rip: false,
            lvx: std::env::current_exe().unwrap_or_else(|_| "lvx".into()),
            interrupt: Interrupt::default(),
        }
    }
}

/// A virtual service of a lab's, to be written into a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabService {
    /// TCP: the servers' nginx. UDP: their echo.
    pub proto: Proto,
    /// Which scheduler.
    pub scheduler: SchedulerName,
    /// The servers behind it, by number, with their weights.
    pub servers: Vec<(u8, u16)>,
    /// Further keys of `[[virtual_service]]`, one per line.
    pub keys: String,
}

impl LabService {
    /// All servers behind the VIP's port 80, the first with the first weight, and so on.
    pub fn http(scheduler: SchedulerName, weights: &[u16]) -> LabService {
        let servers = (1..).zip(weights.iter().copied()).collect();
        LabService { proto: Proto::Tcp, scheduler, servers, keys: String::new() }
    }

    /// The same behind the VIP's UDP port 7.
    pub fn echo(scheduler: SchedulerName, weights: &[u16]) -> LabService {
        LabService { proto: Proto::Udp, ..LabService::http(scheduler, weights) }
    }

    /// Without the server of this number.
    #[must_use]
    pub fn without(mut self, number: u8) -> LabService {
        self.servers.retain(|&(server, _)| server != number);
        self
    }
}

/// A running network. Dropping it removes it.
#[derive(Debug)]
pub struct Topology {
    name: String,
    layout: Layout,
    /// Addresses, interfaces and servers.
    pub plan: Plan,
    options: Options,
    // Fields are dropped in this order: processes before the namespaces that they run in.
    processes: Vec<Process>,
    namespaces: BTreeMap<Node, Namespace>,
    state: Mutex<State>,
    large: Option<LargeFile>,
    /// Questions asked to the UDP echo so far.
    asked: AtomicU16,
    is_left_running: bool,
}

impl Topology {
    /// Builds the network; nothing runs in it yet.
    ///
    /// # Errors
    /// Without root, if the name is in use or is none, and if a command fails; then nothing is left behind.
    pub fn new(name: &str, layout: Layout, options: Options) -> Result<Topology, Error> {
        super::check_name(name)?;
        if !(1..=MAX_SERVERS).contains(&options.servers) {
            return Err(Error::Refused(format!(
                "a lab has 1 to {MAX_SERVERS} real servers, not {}",
                options.servers
            )));
        }
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        need("ip", "iproute2")?;
        let state = claim(name, layout, &options)?;
        let mut topology = Topology {
            name: name.to_owned(),
            layout,
            plan: layout.plan(options.family, options.servers),
            options,
            processes: Vec::new(),
            namespaces: BTreeMap::new(),
            state: Mutex::new(state),
            large: None,
            asked: AtomicU16::new(0),
            is_left_running: false,
        };
        topology.build()?;
        Ok(topology)
    }

    fn build(&mut self) -> Result<(), Error> {
        let dir = self.dir();
        // Not create_dir_all: a directory that somebody else has put there is an error.
        fs::create_dir(&dir).map_err(Error::io(format!("create {}", dir.display())))?;
        for &node in &self.plan.nodes {
            self.options.interrupt.check()?;
            let namespace = Namespace::create(&namespace_name(&self.name, node))?;
            for (sysctl, value) in self.plan.node_sysctls(node) {
                namespace.sysctl(sysctl, value)?;
            }
            self.namespaces.insert(node, namespace);
        }
        self.keep_netfilter_off_the_switch()?;
        ip_batch(&[], &self.plan.links_batch(self.options.queues, |node| namespace_name(&self.name, node)))?;
        for (&node, namespace) in &self.namespaces {
            namespace.batch(&self.plan.node_batch(node))?;
        }
        if !self.options.checksum_offload {
            need("ethtool", "ethtool")?;
            for end in self.plan.ends_facing_the_director() {
                self.exec(end.node, &["ethtool", "-K", &end.interface, "tx", "off"])?;
            }
        }
        Ok(())
    }

    /// A kernel with br_netfilter shows bridged packets to the IP hooks: a switch should only switch.
    fn keep_netfilter_off_the_switch(&self) -> Result<(), Error> {
        if Path::new("/proc/sys/net/bridge").exists() {
            for table in ["iptables", "ip6tables", "arptables"] {
                self.node(Node::Switch)?.sysctl(&format!("net.bridge.bridge-nf-call-{table}"), "0")?;
            }
        }
        Ok(())
    }

    /// The lab's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which network this is.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Configurations, logs and what the servers serve.
    pub fn dir(&self) -> PathBuf {
        self.state().dir.clone()
    }

    /// What was asked for.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The file behind `/large`, once the servers run.
    pub fn large_file(&self) -> Option<&LargeFile> {
        self.large.as_ref()
    }

    /// The namespace of a node.
    ///
    /// # Errors
    /// If this lab has no such node.
    pub fn node(&self, node: Node) -> Result<&Namespace, Error> {
        self.namespaces
            .get(&node)
            .ok_or_else(|| Error::Refused(format!("lab {} has no node {node}", self.name)))
    }

    /// Runs a command on a node to its end.
    ///
    /// # Errors
    /// If there is no such node, or the command fails; the error holds the command and its standard error.
    pub fn exec<S: AsRef<OsStr>>(&self, node: Node, argv: &[S]) -> Result<Output, Error> {
        self.node(node)?.exec(argv)
    }

    /// Starts nginx and the UDP echo on every server, and decapsulation on those that need it.
    ///
    /// # Errors
    /// If one does not come up.
    pub fn start_servers(&mut self) -> Result<(), Error> {
        self.start_http()?;
        for server in self.plan.servers.clone() {
            let (dir, lvx, interrupt) =
                (self.dir(), self.options.lvx.clone(), self.options.interrupt.clone());
            let echo = servers::start_echo(&server, self.node(server.node())?, &dir, &lvx, &interrupt)?;
            self.keep(server.node(), echo)?;
        }
        self.start_decapsulation()
    }

    /// Starts nginx on every server.
    ///
    /// # Errors
    /// If one does not come up.
    pub fn start_http(&mut self) -> Result<(), Error> {
        need("nginx", "nginx-light")?;
        let large = LargeFile::generate(self.dir().join("large"), self.options.large_file_bytes)?;
        for server in self.plan.servers.clone() {
            let nginx = self.nginx(&server, &large)?;
            self.keep(server.node(), nginx)?;
        }
        self.large = Some(large);
        Ok(())
    }

    /// Starts nginx anew on a server whose own has ended. The new one ends with the value, or when the lab is removed.
    ///
    /// # Errors
    /// If it does not come up, or never did.
    #[cfg(feature = "xdp")]
    pub(super) fn start_http_again(&self, server: &Server) -> Result<Process, Error> {
        let never = || Error::Refused(format!("nginx of {} was never started", server.node()));
        let nginx = self.nginx(server, self.large.as_ref().ok_or_else(never)?)?;
        self.record(server.node(), &nginx)?;
        Ok(nginx)
    }

    fn nginx(&self, server: &Server, large: &LargeFile) -> Result<Process, Error> {
        let Options { listens_at_rip, interrupt, .. } = &self.options;
        let namespace = self.node(server.node())?;
        servers::start_http(server, namespace, &self.dir(), large, *listens_at_rip, interrupt)
    }

    /// Makes the TUN servers take IP-in-IP packets apart: by the kernel's ipip or ip6tnl device where it has one,
    /// otherwise by a child `lvx lab decap`.
    fn start_decapsulation(&mut self) -> Result<(), Error> {
        let tunnelled: Vec<Server> =
            self.plan.servers.iter().filter(|server| server.method == Method::Tun).cloned().collect();
        for server in tunnelled {
            let namespace = self.node(server.node())?;
            let kind = match self.plan.family {
                Family::V4 => "ipip",
                Family::V6 => "ip6tnl mode any",
            };
            let device =
                format!("link add decap0 type {kind} remote any local {}\nlink set decap0 up\n", server.rip);
            if namespace.batch(&device).is_ok() {
                continue;
            }
            let log = self.dir().join(format!("decap{}.log", server.number));
            let argv = [&*self.options.lvx.to_string_lossy(), "lab", "decap", "eth0"];
            let mut decap = namespace.spawn(&argv, &log)?;
            let what = format!("decapsulation at {}", server.node());
            self.options.interrupt.wait_until(&what, &mut decap, || {
                fs::read_to_string(&log).is_ok_and(|text| text.contains("ready"))
            })?;
            self.keep(server.node(), decap)?;
        }
        Ok(())
    }

    /// Asks the UDP echo at the VIP from the client; the answer starts with the name of the server. Each question comes
    /// from a port of its own, below those that the kernel chooses from, which may repeat: it is a connection of its own.
    ///
    /// # Errors
    /// If no answer comes within `patience`.
    pub fn ask_echo(&self, datagram: &[u8], patience: Duration) -> Result<Vec<u8>, Error> {
        let (to, port) = (self.plan.echo(), 10_000 + self.asked.fetch_add(1, Ordering::Relaxed) % 20_000);
        self.node(Node::Client)?
            .inside(|| servers::ask_echo(to, datagram, patience, port))?
            .map_err(Error::io(format!("ask the UDP echo at {to}")))
    }

    /// Gives every node its addresses and routes of another family beside those that it has; the plan of that. Servers
    /// listen on their addresses of the lab's own family alone.
    ///
    /// # Errors
    /// If one cannot be given.
    pub fn speak_also(&self, family: Family) -> Result<Plan, Error> {
        let plan = self.layout.plan(family, self.options.servers);
        for (&node, namespace) in &self.namespaces {
            for (sysctl, value) in plan.node_sysctls(node).into_iter().filter(|_| family == Family::V6) {
                namespace.sysctl(sysctl, value)?;
            }
            namespace.batch(&plan.addresses_batch(node))?;
        }
        Ok(plan)
    }

    /// The configuration of a director with these services.
    pub fn director_config(&self, services: &[LabService]) -> String {
        self.director_config_with("", services)
    }

    /// The same with further keys of `[director]`, one per line.
    pub fn director_config_with(&self, director_keys: &str, services: &[LabService]) -> String {
        let control = format!(
            "[control]\nsocket = \"{}\"\nstate_dir = \"{}\"\n\n",
            self.control_socket().display(),
            self.dir().join("state").display()
        );
        control + &director_config(&self.plan, director_keys, services)
    }

    /// Where the lab's director listens.
    pub fn control_socket(&self) -> PathBuf {
        self.dir().join("lvx.sock")
    }

    /// Takes care of a process until the lab is removed.
    fn keep(&mut self, node: Node, process: Process) -> Result<(), Error> {
        self.record(node, &process)?;
        self.processes.push(process);
        Ok(())
    }

    /// Writes a process into the lab's file.
    pub(super) fn record(&self, node: Node, process: &Process) -> Result<(), Error> {
        let Some(id) = process.id() else { return Ok(()) };
        let mut state = self.state();
        let command = process.command().to_owned();
        state.processes.push(Inhabitant { node: node.to_string(), id, command });
        state.save(&self.name)
    }

    /// Lets the lab run on when this process ends, until [`down`](super::down).
    ///
    /// # Errors
    /// If that cannot be written down; then the lab is removed.
    pub fn leave_running(mut self) -> Result<(), Error> {
        let mut state = self.state();
        state.owner = None;
        state.save(&self.name)?;
        drop(state);
        self.processes.iter_mut().for_each(Process::leave_running);
        self.namespaces.values_mut().for_each(Namespace::leave_behind);
        self.is_left_running = true;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        if self.is_left_running {
            return;
        }
        self.processes.clear();
        self.namespaces.clear();
        // Nobody to tell; what is left is found by `lvx lab down`.
        let _ = state::remove_dir(&self.dir());
        let _ = state::forget(&self.name);
    }
}

/// Takes the lab's name, from an abandoned lab if need be.
fn claim(name: &str, layout: Layout, options: &Options) -> Result<State, Error> {
    match State::load(name)? {
        Some(state) if state.is_abandoned() => state::down(name)?,
        Some(State { owner: Some(owner), .. }) => {
            return Err(Error::Refused(format!("lab {name} is in use by process {}", owner.pid)));
        }
        Some(_) => {
            return Err(Error::Refused(format!(
                "lab {name} is up already: `lvx lab down --name {name}` removes it"
            )));
        }
        None => {}
    }
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let dir = std::env::temp_dir().join(format!("lvx-lab-{name}-{nanos:x}"));
    let (family, servers) = (options.family, options.servers);
    let state = State { layout, family, servers, dir, owner: ProcessId::own(), processes: Vec::new() };
    state.claim(name)?;
    Ok(state)
}

/// An error that names the package, if `program` is not installed.
pub(super) fn need(program: &'static str, package: &'static str) -> Result<(), Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if is_there { Ok(()) } else { Err(Error::Missing { program, package }) }
}

pub(super) fn director_config(plan: &Plan, director_keys: &str, services: &[LabService]) -> String {
    let mut toml = format!("[director]\n{director_keys}\n");
    // Writing to a String does not fail.
    for interface in &plan.interfaces {
        let _ = writeln!(toml, "\n[[interface]]\nname = \"{interface}\"");
    }
    for service in services {
        let (name, protocol, port) = match service.proto {
            Proto::Tcp => ("http", "tcp", HTTP_PORT),
            Proto::Udp | Proto::Sctp => ("echo", "udp", ECHO_PORT),
        };
        let (vip, scheduler) = (Endpoint::new(plan.vip, port), service.scheduler);
        let _ = writeln!(toml, "\n[[virtual_service]]\nname = \"{name}\"\nprotocol = \"{protocol}\"");
        let _ = writeln!(toml, "address = \"{vip}\"\nscheduler = \"{scheduler}\"");
        toml.push_str(&service.keys);
        for &(number, weight) in &service.servers {
            let Some(server) = plan.server(number) else { continue };
            let listens = if service.proto == Proto::Tcp { server.http } else { server.echo };
            let (rip, method) = (Endpoint::new(server.rip, listens.port()), server.method);
            let _ = writeln!(toml, "\n[[virtual_service.real_server]]\naddress = \"{rip}\"");
            let _ = writeln!(toml, "weight = {weight}\nforward = \"{method}\"");
        }
    }
    toml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_names_interfaces_servers_ports_and_methods() {
        let services = [
            LabService::http(SchedulerName::Wrr, &[4, 3]),
            LabService::echo(SchedulerName::Lc, &[1, 1]).without(1),
        ];
        assert_eq!(
            director_config(&Layout::Mixed.plan(Family::V4, 2), "workers = 1", &services),
            "[director]\nworkers = 1\n\n[[interface]]\nname = \"eth0\"\n\n[[virtual_service]]\nname = \"http\"\n\
             protocol = \"tcp\"\naddress = \"10.20.0.100:80\"\nscheduler = \"wrr\"\n\n\
             [[virtual_service.real_server]]\naddress = \"10.20.0.11:8080\"\nweight = 4\nforward = \"nat\"\n\n\
             [[virtual_service.real_server]]\naddress = \"10.20.0.12:80\"\nweight = 3\nforward = \"dr\"\n\n\
             [[virtual_service]]\nname = \"echo\"\nprotocol = \"udp\"\naddress = \"10.20.0.100:7\"\n\
             scheduler = \"lc\"\n\n[[virtual_service.real_server]]\naddress = \"10.20.0.12:7\"\nweight = 1\n\
             forward = \"dr\"\n"
        );
    }

    #[test]
    fn a_configuration_of_an_ipv6_lab_is_one_that_is_accepted() {
        let services = [LabService::http(SchedulerName::Wrr, &[1, 1, 1])];
        let text = director_config(&Layout::Mixed.plan(Family::V6, 3), "", &services);
        assert!(text.contains("address = \"[2001:db8:20::100]:80\""), "{text}");
        let reals = &crate::config::parse("f", &text).unwrap().services[0].reals;
        let reals: Vec<String> =
            reals.iter().map(|real| format!("{} {}", real.endpoint, real.method)).collect();
        assert_eq!(
            reals,
            ["[2001:db8:20::11]:8080 nat", "[2001:db8:20::12]:80 dr", "[2001:db8:40::13]:80 tun"]
        );
    }

    #[test]
    fn a_missing_program_is_an_error_that_names_its_package() {
        assert!(need("sh", "dash").is_ok());
        let error = need("no-such-program", "the-package").unwrap_err();
        assert_eq!(error.to_string(), "no-such-program is not installed: apt-get install the-package");
    }
}
