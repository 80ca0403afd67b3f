//! ipvsadm(8)'s grammar: which options there are, which go with which command, and what is wrong with a command line, in
//! the words and with the exit codes of ipvsadm 1.31.

use super::numbers::{atoi, inet_aton, number, strtol};
use super::options::{Command, Judgement, Meaning, OPTIONALS, Optional, SPELLINGS};
use super::request::{
    Daemon, Format, Forward, List, Mask, Request, Role, SchedulerFlags, ServerSpec, ServiceKey, ServiceSpec,
    Tunnel, TunnelChecksum, TunnelKind,
};
use super::words::{Words, cut};
use crate::net::Proto;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// 31 days, as the kernel has it.
const MAX_TIMEOUT: i64 = 31 * 86_400;

/// A persistent service's timeout in seconds, if none is given. ipvsadm(8) says 300, ipvsadm 1.31 does 360.
const PERSISTENT_TIMEOUT: u32 = 360;

/// What `-s` is if it is not given.
pub(super) const DEFAULT_SCHEDULER: &str = "wlc";

/// What names mean on this machine.
pub(super) trait Names {
    /// The first IPv4 address of a host.
    fn host(&self, name: &str) -> Option<Ipv4Addr>;
    /// A service's port.
    fn port(&self, name: &str, protocol: Proto) -> Option<u16>;
}

/// Why a command line is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Something is wrong with it: exit code 2.
    Wrong(String),
    /// An option is none: exit code 255.
    Malformed(String),
    /// There is no command: exit code 255, with a hint at the help.
    NoCommand,
}

impl Refusal {
    /// What the process exits with.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Refusal::Wrong(_) => 2,
            Refusal::Malformed(_) | Refusal::NoCommand => 255,
        }
    }

    /// What it says, for a program of this name.
    pub(super) fn message(&self, program: &str) -> String {
        match self {
            Refusal::Wrong(text) | Refusal::Malformed(text) => text.clone(),
            Refusal::NoCommand => format!("Try `{program} -h' or '{program} --help' for more information."),
        }
    }
}

macro_rules! wrong {
    ($($text:tt)*) => { return Err(Refusal::Wrong(format!($($text)*))) };
}

/// A command line as far as it was read. An option's meaning may depend on those before it: `-M` is a mask before an IPv6
/// service and a prefix length after it, `-r` takes the port of a service that stands before it.
struct Line<'n> {
    names: &'n dyn Names,
    given: u64,
    format: Format,
    /// The service's address and port; both families start at nothing.
    address: Option<IpAddr>,
    port: u16,
    protocol: Proto,
    fwmark: u32,
    is_v6: bool,
    mask: Mask,
    scheduler: String,
    flags: String,
    persistent: Option<u32>,
    engine: String,
    server: Option<(IpAddr, u16)>,
    forward: Forward,
    weight: u16,
    upper: u32,
    lower: u32,
    tunnel: TunnelKind,
    tunnel_port: u16,
    checksum: TunnelChecksum,
    daemon: Daemon,
}

/// Reads the words behind the program's name.
///
/// # Errors
/// The first thing that is wrong, as ipvsadm says it.
pub(super) fn parse(words: &[String], names: &dyn Names) -> Result<Request, Refusal> {
    let mut words = Words::new(words, SPELLINGS);
    let Some(Ok((Meaning::Command(command), argument))) = words.next() else {
        return Err(Refusal::NoCommand);
    };
    let mut line = Line::new(names);
    match command {
        Command::Help => return Ok(Request::Help),
        Command::Version => return Ok(Request::Version),
        Command::StartDaemon => {
            line.daemon.role = role(argument, "illegal start-daemon parameter specified")?
        }
        Command::StopDaemon => line.daemon.role = role(argument, "illegal start_daemon specified")?,
        _ => {}
    }
    loop {
        match words.next() {
            Some(Ok((Meaning::Command(_), _))) => wrong!("invalid option `{}'", words.last()),
            Some(Ok((meaning, argument))) => line.take(meaning, argument)?,
            Some(Err(malformed)) => {
                return Err(Refusal::Malformed(format!("{}: {malformed}", words.last())));
            }
            None => break,
        }
    }
    let left_over = words.left_over();
    let (timeouts, left_over) = match (command, &left_over[..]) {
        (Command::Set, [tcp, tcp_fin, udp, rest @ ..]) => {
            let given = [tcp, tcp_fin, udp].map(|text| timeout(text, 0));
            let [tcp, tcp_fin, udp] = given;
            ([tcp?, tcp_fin?, udp?], rest)
        }
        (Command::Set, _) => wrong!("--set option requires 3 timeout values"),
        (_, rest) => ([0; 3], rest),
    };
    if let Some(word) = left_over.first() {
        wrong!("unexpected argument {word}");
    }
    let flags = line.scheduler_flags()?;
    line.judge(command)?;
    line.request(command, flags, timeouts)
}

fn role(argument: Option<&str>, otherwise: &str) -> Result<Role, Refusal> {
    match argument {
        Some("master") => Ok(Role::Master),
        Some("backup") => Ok(Role::Backup),
        _ => wrong!("{otherwise}"),
    }
}

fn timeout(text: &str, least: i64) -> Result<u32, Refusal> {
    match number(text, least, MAX_TIMEOUT) {
        Some(seconds) => Ok(seconds as u32),
        None => wrong!("invalid timeout value `{text}' specified"),
    }
}

/// A number between `least` and `most`, or what is wrong.
fn within(text: &str, least: i64, most: i64, otherwise: &str) -> Result<u32, Refusal> {
    match number(text, least, most) {
        Some(number) => Ok(number as u32),
        None => wrong!("{otherwise}"),
    }
}

impl<'n> Line<'n> {
    fn new(names: &'n dyn Names) -> Line<'n> {
        Line {
            names,
            given: 0,
            format: Format::default(),
            address: None,
            port: 0,
            protocol: Proto::Tcp,
            fwmark: 0,
            is_v6: false,
            mask: Mask::V4(Ipv4Addr::BROADCAST),
            scheduler: String::new(),
            flags: String::new(),
            persistent: None,
            engine: String::new(),
            server: None,
            forward: Forward::Route,
            weight: 1,
            upper: 0,
            lower: 0,
            tunnel: TunnelKind::Ipip,
            tunnel_port: 0,
            checksum: TunnelChecksum::default(),
            daemon: Daemon::default(),
        }
    }

    fn has(&self, option: Optional) -> bool {
        self.given & 1 << option as u8 != 0
    }

    fn has_any(&self, options: &[Optional]) -> bool {
        options.iter().any(|&option| self.has(option))
    }

    /// Notes that an option was given: each once.
    fn once(&mut self, option: Optional) -> Result<(), Refusal> {
        if self.has(option) {
            wrong!("multiple '{}' options specified", option.name());
        }
        self.given |= 1 << option as u8;
        Ok(())
    }

    fn take(&mut self, meaning: Meaning, argument: Option<&str>) -> Result<(), Refusal> {
        let text = argument.unwrap_or_default();
        match meaning {
            Meaning::Command(_) | Meaning::Sort => Ok(()),
            Meaning::Service(protocol) => {
                self.once(Optional::Service)?;
                self.protocol = protocol;
                let Some((address, port)) = self.address(text) else {
                    wrong!("illegal virtual server address[:port] specified");
                };
                self.address = Some(address);
                self.port = port.unwrap_or(self.port);
                self.is_v6 = address.is_ipv6();
                if self.is_v6 {
                    self.mask = Mask::V6(128);
                }
                Ok(())
            }
            Meaning::Fwmark => {
                self.once(Optional::Service)?;
                let mark = strtol(text).filter(|&mark| mark > 0).and_then(|mark| u32::try_from(mark).ok());
                let Some(mark) = mark else { wrong!("invalid fwmark value `{text}' specified") };
                (self.is_v6, self.protocol, self.fwmark) = (false, Proto::Tcp, mark);
                Ok(())
            }
            Meaning::Ipv6 => {
                if self.fwmark == 0 {
                    wrong!("-6 used before -f\n");
                }
                (self.is_v6, self.mask) = (true, Mask::V6(128));
                Ok(())
            }
            Meaning::Forward(forward) => {
                self.once(Optional::Forward)?;
                self.forward = forward;
                Ok(())
            }
            Meaning::Option(option) => {
                self.once(option)?;
                self.option(option, argument)
            }
        }
    }

    fn option(&mut self, option: Optional, argument: Option<&str>) -> Result<(), Refusal> {
        use Optional as O;
        let text = argument.unwrap_or_default();
        match option {
            O::Scheduler => self.scheduler = cut(text, 15).to_owned(),
            O::Persistent => {
                self.persistent = Some(argument.map_or(Ok(PERSISTENT_TIMEOUT), |text| timeout(text, 1))?);
            }
            O::Netmask => self.mask = self.netmask(text)?,
            O::Server => {
                let Some((address, port)) = self.address(text) else {
                    wrong!("illegal real server address[:port] specified");
                };
                self.server = Some((address, port.unwrap_or(self.port)));
            }
            O::Weight => self.weight = within(text, 0, 65_535, "illegal weight specified")? as u16,
            O::UpperThreshold => {
                self.upper = within(text, 0, i64::from(i32::MAX), "illegal u_threshold specified")?;
            }
            O::LowerThreshold => {
                self.lower = within(text, 0, i64::from(i32::MAX), "illegal l_threshold specified")?;
            }
            O::Engine => self.engine = cut(text, 16).to_owned(),
            O::SchedulerFlags => self.flags = cut(text, 127).to_owned(),
            O::McastInterface => self.daemon.interface = cut(text, 15).to_owned(),
            O::SyncId => self.daemon.sync_id = within(text, 0, 255, "illegal syncid specified")? as u8,
            O::McastGroup => self.daemon.group = Some(multicast(text)?),
            O::McastPort => {
                self.daemon.port = within(text, 1, 65_535, "illegal mcast-port specified")? as u16;
            }
            O::McastTtl => self.daemon.ttl = within(text, 1, 255, "illegal mcast-ttl specified")? as u8,
            O::SyncMaxlen => {
                self.daemon.max_len = within(text, 1, 65_507, "illegal sync-maxlen specified")? as u16;
            }
            O::TunnelType => {
                let kind = TunnelKind::ALL.into_iter().find(|kind| kind.name() == text);
                let Some(kind) = kind else { wrong!("illegal tunnel type specified") };
                self.tunnel = kind;
            }
            O::TunnelPort => {
                self.tunnel_port = within(text, 1, 65_535, "illegal tunnel port specified")? as u16;
            }
            O::TunnelNoCsum => {}
            O::TunnelCsum => self.checksum.0 |= TunnelChecksum::PLAIN.0,
            O::TunnelRemCsum => self.checksum.0 |= TunnelChecksum::REMOTE.0,
            O::Numeric => self.format.numeric = true,
            O::Stats => self.format.stats = true,
            O::Rate => self.format.rate = true,
            O::Thresholds => self.format.thresholds = true,
            O::PersistentConn => self.format.persistent_conn = true,
            O::NoSort => self.format.no_sort = true,
            O::Exact => self.format.exact = true,
            O::TunnelInfo => self.format.tunnel_info = true,
            O::Connection | O::Timeout | O::Daemon | O::OnePacket | O::Service | O::Forward => {}
        }
        Ok(())
    }

    fn netmask(&self, text: &str) -> Result<Mask, Refusal> {
        if self.is_v6 {
            return match atoi(text) {
                prefix @ 1..=128 => Ok(Mask::V6(prefix as u8)),
                _ => wrong!("illegal ipv6 netmask specified"),
            };
        }
        match inet_aton(text).or_else(|| self.names.host(text)) {
            Some(mask) => Ok(Mask::V4(mask)),
            None => wrong!("illegal virtual server persistent mask specified"),
        }
    }

    /// `address[:port]`, by number or name; `[address]:port` for IPv6. The port is `None` where there is none.
    fn address(&self, text: &str) -> Option<(IpAddr, Option<u16>)> {
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let (address, port) = match text.strip_prefix('[') {
            Some(inner) => {
                inner.split_once(']').and_then(|(inner, port)| Some((inner, port.strip_prefix(':')?)))?
            }
            None => (text, ""),
        };
        let is_bracketed = text.starts_with('[');
        let port_of = |port: &str| {
            number(port, 0, 65_535).map(|port| port as u16).or_else(|| self.names.port(port, self.protocol))
        };
        if let Ok(address) = address.parse::<Ipv6Addr>() {
            let port = if is_bracketed { Some(port_of(port)?) } else { None };
            return Some((address.into(), port));
        }
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        };
        let address = inet_aton(host).or_else(|| self.names.host(host))?;
        let port = match port {
            Some(port) => Some(port_of(port)?),
            None => None,
        };
        Some((address.into(), port))
    }

    fn scheduler_flags(&self) -> Result<SchedulerFlags, Refusal> {
        let scheduler = if self.scheduler.is_empty() { DEFAULT_SCHEDULER } else { &self.scheduler };
        let mut flags = SchedulerFlags::default();
        for flag in self.flags.split(',').filter(|flag| !flag.is_empty()) {
            let (bit, whose) = match flag {
                "flag-1" => (1, None),
                "flag-2" => (2, None),
                "flag-3" => (4, None),
                "sh-fallback" => (1, Some("sh")),
                "sh-port" => (2, Some("sh")),
                "mh-fallback" => (1, Some("mh")),
                "mh-port" => (2, Some("mh")),
                _ => wrong!("invalid scheduler flag `{flag}'"),
            };
            if whose.is_some_and(|whose| whose != scheduler) {
                wrong!("incompatible scheduler flag `{flag}'");
            }
            flags.0 |= bit;
        }
        Ok(flags)
    }

    /// Whether the options go with the command and with each other.
    fn judge(&self, command: Command) -> Result<(), Refusal> {
        let mut exclusive: Option<Optional> = None;
        for (option, name) in OPTIONALS {
            match (command.judges(option), self.has(option)) {
                (Judgement::Needed, false) => {
                    wrong!("You need to supply the '{name}' option for the '{}' command", command.name());
                }
                (Judgement::Illegal, true) => {
                    wrong!("Illegal '{name}' option with the '{}' command", command.name());
                }
                (Judgement::Exclusive, true) => match exclusive {
                    Some(first) => wrong!(
                        "The option '{name}' conflicts with the '{}' option in the '{}' command",
                        first.name(),
                        command.name()
                    ),
                    None => exclusive = Some(option),
                },
                _ => {}
            }
        }
        match command {
            Command::Add | Command::Edit => self.judge_service(),
            Command::AddServer | Command::EditServer => self.judge_server(),
            Command::List => self.judge_list(),
            _ => Ok(()),
        }
    }

    fn judge_service(&self) -> Result<(), Refusal> {
        if self.fwmark == 0 && self.port == 0 && self.persistent.is_none() {
            wrong!("Zero port specified for non-persistent service");
        }
        if self.has(Optional::OnePacket) && self.fwmark == 0 && self.protocol != Proto::Udp {
            wrong!("One-Packet Scheduling is only for UDP virtual services");
        }
        Ok(())
    }

    fn judge_server(&self) -> Result<(), Refusal> {
        let is_v6 = self.server.is_some_and(|(address, _)| address.is_ipv6());
        if is_v6 != self.is_v6 && self.forward != Forward::Tunnel {
            wrong!("Different address family is allowed only for tunneling servers");
        }
        use Optional as O;
        let of_tunnel = [O::TunnelType, O::TunnelPort, O::TunnelNoCsum, O::TunnelCsum, O::TunnelRemCsum];
        if self.has_any(&of_tunnel) && self.forward != Forward::Tunnel {
            wrong!("Tunnel options conflict with forward method");
        }
        // ipip takes none of them; gue needs its port and takes any one checksum; gre takes either of two.
        let kind = self.tunnel;
        let mut checksum: Option<Optional> = None;
        for option in [O::TunnelPort, O::TunnelNoCsum, O::TunnelCsum, O::TunnelRemCsum] {
            let name = option.name();
            let is_legal = match kind {
                TunnelKind::Ipip => false,
                TunnelKind::Gue => true,
                TunnelKind::Gre => matches!(option, O::TunnelNoCsum | O::TunnelCsum),
            };
            match (self.has(option), option) {
                (false, O::TunnelPort) if kind == TunnelKind::Gue => {
                    wrong!("You need to supply the '{name}' option for the '{}' tunnel type", kind.name());
                }
                (false, _) => {}
                (true, _) if !is_legal => {
                    wrong!("Illegal '{name}' option with the '{}' tunnel type", kind.name());
                }
                (true, O::TunnelPort) => {}
                (true, _) => match checksum {
                    Some(first) => wrong!(
                        "The option '{name}' conflicts with the '{}' option in the '{}' tunnel type",
                        first.name(),
                        kind.name()
                    ),
                    None => checksum = Some(option),
                },
            }
        }
        Ok(())
    }

    fn judge_list(&self) -> Result<(), Refusal> {
        use Optional as O;
        let numbers = self.has_any(&[O::Stats, O::Rate, O::Thresholds]);
        let is_odd = (self.has_any(&[O::Connection, O::Timeout, O::Daemon]) && numbers)
            || (self.has_any(&[O::Timeout, O::Daemon]) && self.has(O::PersistentConn));
        if is_odd {
            wrong!("options conflicts in the list command");
        }
        Ok(())
    }

    fn service(&self) -> ServiceKey {
        match (self.fwmark, self.address) {
            (0, Some(address)) => ServiceKey::Address { protocol: self.protocol, address, port: self.port },
            (0, None) => ServiceKey::Address {
                protocol: self.protocol,
                address: Ipv4Addr::UNSPECIFIED.into(),
                port: 0,
            },
            (mark, _) => ServiceKey::Fwmark { mark, is_v6: self.is_v6 },
        }
    }

    fn request(
        mut self,
        command: Command,
        flags: SchedulerFlags,
        [tcp, tcp_fin, udp]: [u32; 3],
    ) -> Result<Request, Refusal> {
        let key = self.service();
        let (server, server_port) = self.server.unwrap_or((Ipv4Addr::UNSPECIFIED.into(), 0));
        // In direct routing and tunnels packets keep their port, unless a mark says which they are.
        let keeps_port = self.fwmark == 0 && self.forward != Forward::Masq;
        let spec = |line: &mut Line<'_>| ServiceSpec {
            key,
            scheduler: match std::mem::take(&mut line.scheduler) {
                none if none.is_empty() => DEFAULT_SCHEDULER.to_owned(),
                scheduler => scheduler,
            },
            flags,
            persistent: line.persistent,
            mask: line.mask,
            one_packet: line.has(Optional::OnePacket),
            engine: std::mem::take(&mut line.engine),
        };
        let server = ServerSpec {
            address: server,
            port: server_port,
            forward: self.forward,
            tunnel: Tunnel { kind: self.tunnel, port: self.tunnel_port, checksum: self.checksum },
            weight: self.weight,
            upper_threshold: self.upper,
            lower_threshold: self.lower,
        };
        let with_port = ServerSpec { port: if keeps_port { self.port } else { server.port }, ..server };
        let given_service = self.has(Optional::Service).then_some(key);
        Ok(match command {
            Command::Add => Request::AddService(spec(&mut self)),
            Command::Edit => Request::EditService(spec(&mut self)),
            Command::Delete => Request::DeleteService(key),
            Command::Flush => Request::Flush,
            Command::AddServer => Request::AddServer(key, with_port),
            Command::EditServer => Request::EditServer(key, with_port),
            Command::DeleteServer => Request::DeleteServer(key, server.address, server.port),
            Command::Set => Request::SetTimeouts { tcp, tcp_fin, udp },
            Command::StartDaemon => {
                if self.daemon.interface.is_empty() {
                    "eth0".clone_into(&mut self.daemon.interface);
                }
                Request::StartDaemon(self.daemon)
            }
            Command::StopDaemon => Request::StopDaemon(self.daemon),
            Command::Restore => Request::Restore,
            Command::Save => Request::Save(self.format),
            Command::Zero => Request::Zero(given_service),
            Command::List if self.has(Optional::Connection) => Request::List(List::Connections, self.format),
            Command::List if self.has(Optional::Timeout) => Request::List(List::Timeouts, self.format),
            Command::List if self.has(Optional::Daemon) => Request::List(List::Daemons, self.format),
            Command::List => Request::List(given_service.map_or(List::All, List::Service), self.format),
            Command::Help => Request::Help,
            Command::Version => Request::Version,
        })
    }
}

/// A group to send to.
fn multicast(text: &str) -> Result<IpAddr, Refusal> {
    let (family, group) = match text.contains(':') {
        true => ("IPv6", text.parse::<Ipv6Addr>().ok().map(IpAddr::from)),
        false => ("IPv4", text.parse::<Ipv4Addr>().ok().map(IpAddr::from)),
    };
    match group.filter(IpAddr::is_multicast) {
        Some(group) => Ok(group),
        None => wrong!("invalid {family} mcast-group `{text}'"),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message("ipvsadm"))
    }
}
