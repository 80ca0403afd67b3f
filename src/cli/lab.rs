//! `lvx lab`: networks of namespaces in which the director is tried.

use crate::lab::demo::Settings;
use crate::lab::{self, Error, Family, Interrupt, Layout, MAX_SERVERS, Node, Options, State, Topology};
use clap::{Args, Subcommand};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// Build networks of namespaces and veth pairs, with real servers and a client, to try the director in. Needs
/// root. Nothing of the host's own network is touched.
#[derive(Debug, Args)]
pub struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Build a lab that stays until `down`.
    Up {
        /// nat, dr, tun or mixed.
        layout: Layout,
        /// Its name: lower case letters, digits and underscores.
        #[arg(long, default_value = "lab")]
        name: String,
        /// 4 or 6: of which family all addresses are.
        #[arg(long, default_value_t)]
        family: Family,
        /// Real servers.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_SERVERS)))]
        servers: u8,
        /// Queues of the director's links.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
        queues: u16,
        /// Without `lvx run` in the director: for one that you start yourself.
        #[arg(long)]
        no_director: bool,
    },
    /// Remove a lab, whatever state it is in; that there is none is no error.
    Down {
        /// Which lab.
        #[arg(long, default_value = "lab")]
        name: String,
        /// Every lab there is.
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Run a command on a node: client, router, switch, director, server1, server2 …
    Exec {
        /// Of which lab.
        #[arg(long, default_value = "lab")]
        name: String,
        /// The node: client, router, switch, director, server1, server2 …
        node: Node,
        /// The command with its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Tell which labs there are, and what runs in them.
    Status,
    /// Show that every forwarding method works, under real traffic, in under a minute; or what clients see of servers that
    /// fall ill.
    Demo(DemoArgs),
    /// Answer UDP datagrams with a name and the datagram.
    #[command(hide = true)]
    UdpEcho {
        /// Where to listen.
        address: SocketAddr,
        /// The name.
        name: String,
    },
    /// Take the outer header off IP-in-IP packets that arrive on an interface, until killed.
    #[command(hide = true)]
    Decap {
        /// The interface.
        interface: String,
    },
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Requests per method and family.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
    /// Which methods, in this order [default: nat,dr,tun].
    #[arg(long, value_delimiter = ',')]
    methods: Vec<Layout>,
    /// In which families: 4, 6 or both [default: 4,6].
    #[arg(long = "family", value_delimiter = ',')]
    families: Vec<Family>,
    #[cfg(feature = "xdp")]
    #[command(flatten)]
    scenario: super::scenario::ScenarioArgs,
}

/// Runs `lvx lab`.
pub fn run(args: LabArgs) -> ExitCode {
    let result = match args.command {
        LabCommand::Up { layout, name, family, servers, queues, no_director } => {
            up(layout, &name, Options { family, servers, queues, ..Options::default() }, no_director)
        }
        LabCommand::Down { name, all } => down(if all { lab::labs() } else { vec![name] }),
        LabCommand::Exec { name, node, command } => exec(&name, node, &command),
        LabCommand::Status => status(),
        LabCommand::Demo(args) => match demo(args) {
            Ok(false) => return ExitCode::FAILURE,
            result => result.map(drop),
        },
        LabCommand::UdpEcho { address, name } => lab::udp_echo(address, &name)
            .map_err(|source| Error::Io { tried: format!("listen on {address}"), source }),
        LabCommand::Decap { interface } => decap(&interface),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lvx lab: {error}");
            // 128 and SIGINT's number, as shells have it.
            if matches!(error, Error::Interrupted) { ExitCode::from(130) } else { ExitCode::FAILURE }
        }
    }
}

fn up(layout: Layout, name: &str, options: Options, no_director: bool) -> Result<(), Error> {
    let interrupt = on_signals()?;
    let mut topology = Topology::new(name, layout, Options { interrupt: interrupt.clone(), ..options })?;
    topology.start_servers()?;
    let director = if no_director {
        None
    } else {
        let weights = vec![1; topology.plan.servers.len()];
        let services = [
            lab::LabService::http(crate::service::SchedulerName::Wlc, &weights),
            lab::LabService::echo(crate::service::SchedulerName::Wlc, &weights),
        ];
        Some(topology.start_director(&topology.director_config(&services))?)
    };
    interrupt.check()?;
    let (plan, dir) = (topology.plan.clone(), topology.dir());
    topology.leave_running()?;
    director.into_iter().for_each(lab::Director::leave_running);
    say!("lab {name} ({layout}{}) is up; its files are in {}", in_family(plan.family), dir.display());
    print_plan(&plan);
    say!("try   lvx lab exec --name {name} client curl -s http://{}/", plan.http());
    say!("      lvx lab exec --name {name} client ping -c 3 {}", plan.vip);
    say!("end   lvx lab down --name {name}");
    Ok(())
}

/// What is said of a lab's family: nothing of the usual one.
fn in_family(family: Family) -> &'static str {
    match family {
        Family::V4 => "",
        Family::V6 => " in IPv6",
    }
}

fn print_plan(plan: &lab::Plan) {
    say!("  {:<10} {}", "client", plan.client);
    say!("  {:<10} {} on {}, VIP {}", "director", plan.dip, plan.interfaces.join(" and "), plan.vip);
    for server in &plan.servers {
        let (node, rip, method, http) = (server.node(), server.rip, server.method, server.http);
        say!("  {node:<10} {rip}, {method}, HTTP at {http}, UDP echo at {}", server.echo);
    }
}

fn down(names: Vec<String>) -> Result<(), Error> {
    let there = lab::labs();
    for name in names {
        if !there.contains(&name) {
            say!("there is no lab {name}");
        }
        // Also where nothing is to be seen: a crash may have left a part.
        lab::down(&name)?;
        if there.contains(&name) {
            say!("lab {name} is down");
        }
    }
    Ok(())
}

fn exec(name: &str, node: Node, command: &[String]) -> Result<(), Error> {
    if !lab::labs().iter().any(|lab| lab == name) {
        return Err(Error::Refused(format!("lab {name} is not up")));
    }
    let namespace = lab::namespace_name(name, node);
    if !std::path::Path::new("/run/netns").join(&namespace).exists() {
        return Err(Error::Refused(format!("lab {name} has no {node}")));
    }
    // In place of this process: the terminal, signals and the exit code are the command's.
    let source = Command::new("ip").args(["netns", "exec", &namespace]).args(command).exec();
    Err(Error::Io { tried: format!("ip netns exec {namespace}"), source })
}

fn status() -> Result<(), Error> {
    let names = lab::labs();
    if names.is_empty() {
        say!("no lab is up");
    }
    for name in names {
        let Some(state) = State::load(&name)? else {
            say!("lab {name}: only namespaces are left; `lvx lab down --name {name}` removes them");
            continue;
        };
        let State { layout, family, servers, ref dir, .. } = state;
        let standing = match (state.owner, state.is_abandoned()) {
            (None, _) => "up".to_owned(),
            (Some(_), true) => format!("abandoned; `lvx lab down --name {name}` removes it"),
            (Some(owner), false) => format!("in use by process {}", owner.pid),
        };
        say!(
            "lab {name} ({layout}{}, {servers} real servers) is {standing}; its files are in {}",
            in_family(family),
            dir.display()
        );
        print_plan(&layout.plan(family, servers));
        for process in &state.processes {
            let life = if process.id.is_alive() { "runs" } else { "has ended" };
            say!("  {:<10} {:>7} {life}: {}", process.node, process.id.pid, process.command);
        }
        if let Ok(report) = state.report() {
            let (packets, forwarded, current) =
                (report.packets, report.forwarded, report.connections.current);
            say!("  director: {packets} packets, {forwarded} forwarded, {current} connections");
        }
    }
    Ok(())
}

/// Holds the decapsulator until a signal comes.
#[cfg(feature = "xdp")]
fn decap(interface: &str) -> Result<(), Error> {
    let interrupt = on_signals()?;
    let _link = lab::attach_decap(interface)?;
    lab::take_apart_reassembled()?;
    say!("ready");
    while !interrupt.is_raised() {
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    Ok(())
}

#[cfg(not(feature = "xdp"))]
fn decap(_interface: &str) -> Result<(), Error> {
    let why = "this kernel has no ipip device, and this lvx was built without feature xdp, which has a decapsulator";
    Err(Error::Refused(why.into()))
}

fn demo(args: DemoArgs) -> Result<bool, Error> {
    lab::demo::remove_abandoned()?;
    let (lvx, interrupt) = (Options::default().lvx, on_signals()?);
    #[cfg(feature = "xdp")]
    if let Some(settings) =
        args.scenario.settings(&args.methods, &args.families, lvx.clone(), interrupt.clone())?
    {
        return super::scenario::run(&settings, &args.scenario.plot(settings.scenario));
    }
    let methods =
        if args.methods.is_empty() { vec![Layout::Nat, Layout::Dr, Layout::Tun] } else { args.methods };
    let families = if args.families.is_empty() { Family::ALL.to_vec() } else { args.families };
    super::demo::run(&families, &methods, &Settings { requests: args.requests, lvx, interrupt })
}

fn on_signals() -> Result<Interrupt, Error> {
    Interrupt::on_signals().map_err(|source| Error::Io { tried: "catch signals".into(), source })
}
