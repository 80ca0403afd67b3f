//! What ipvsadm 1.31 prints, byte for byte: listings, and the rules that `-S` saves.

use super::request::{
    Daemon, Format, Forward, Mask, Role, SchedulerFlags, ServerSpec, ServiceKey, ServiceSpec, TunnelKind,
};
use super::table::{Connection, Daemons, Server, Service, Table};
use super::words::cut;
use crate::control::report::Traffic;
use crate::net::{Endpoint, Proto};
use std::cmp::Ordering;
use std::fmt::Write;
use std::net::IpAddr;

/// Names for numbers, where this machine has some.
pub(super) trait Labels {
    /// A host's name.
    fn of_host(&self, address: IpAddr) -> Option<String>;
    /// A port's name.
    fn of_port(&self, port: u16, protocol: Proto) -> Option<String>;
}

/// An IPVS version, as the kernel's has stood for many years.
const VERSION: &str = "1.2.1";

/// So many characters of a name are shown in IPv4: of a service's with its protocol, of a server's.
const SERVICE_WIDTH: usize = 33;
const SERVER_WIDTH: usize = 28;

/// And so many in any case.
const NAME_WIDTH: usize = 59;

/// A page being written. Whether anybody reads it is not its concern.
pub(super) struct Page<'l> {
    text: &'l mut dyn Write,
    format: Format,
    labels: &'l dyn Labels,
    /// The line that is being written, of a hundred thousand perhaps.
    line: String,
}

/// What stands in a cell.
enum Cell<'a> {
    Text(&'a str),
    Number(u64),
}

impl From<u16> for Cell<'_> {
    fn from(number: u16) -> Self {
        Cell::Number(number.into())
    }
}

impl From<u32> for Cell<'_> {
    fn from(number: u32) -> Self {
        Cell::Number(number.into())
    }
}

impl<'l> Page<'l> {
    pub(super) fn new(text: &'l mut dyn Write, format: Format, labels: &'l dyn Labels) -> Page<'l> {
        Page { text, format, labels, line: String::new() }
    }

    /// `-L`: every service.
    pub(super) fn all(mut self, table: &Table) {
        let _ = writeln!(self.text, "IP Virtual Server version {VERSION} (size={})", table.size);
        self.title();
        for service in self.sorted(table) {
            self.service(service);
        }
    }

    /// `-L -t VIP:port`.
    pub(super) fn one(mut self, service: &Service) {
        self.title();
        self.service(service);
    }

    /// `-S`: what `-R` reads.
    pub(super) fn rules(mut self, table: &Table) {
        for service in self.sorted(table) {
            self.rule(service);
        }
    }

    /// `-Lc`.
    pub(super) fn connections(mut self, connections: impl IntoIterator<Item = Connection>) {
        self.put("IPVS connection entries\n");
        self.put("pro expire state       source             virtual            destination");
        self.put(match self.format.persistent_conn {
            true => "        pe name          pe_data\n",
            false => "\n",
        });
        for connection in connections {
            self.connection(&connection);
        }
    }

    fn put(&mut self, text: &str) {
        let _ = self.text.write_str(text);
    }

    fn sorted<'t>(&self, table: &'t Table) -> Vec<&'t Service> {
        let mut services: Vec<_> = table.services.iter().collect();
        if !self.format.no_sort {
            sort(&mut services, |a, b| services_in_order(&a.spec.key, &b.spec.key));
        }
        services
    }

    fn title(&mut self) {
        let Format { stats, rate, thresholds, persistent_conn, tunnel_info, .. } = self.format;
        let heads = match () {
            () if stats => Some(["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"]),
            () if rate => Some(["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"]),
            () => None,
        };
        let title = "Prot LocalAddress:Port";
        if let Some([a, b, c, d, e]) = heads {
            let _ = writeln!(self.text, "{title:<33} {a:>8} {b:>8} {c:>8} {d:>8} {e:>8}");
            self.put("  -> RemoteAddress:Port\n");
            return;
        }
        self.put(match () {
            () if thresholds => {
                "Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn \n  -> RemoteAddress:Port\n"
            }
            () if persistent_conn => {
                "Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn \n  -> RemoteAddress:Port\n"
            }
            () if tunnel_info => {
                "Prot LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn\n"
            }
            () => {
                "Prot LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
            }
        });
    }

    fn service(&mut self, service: &Service) {
        let Service { spec, total, rate, servers } = service;
        let (name, protocol) = match spec.key {
            ServiceKey::Fwmark { mark, is_v6 } => {
                (format!("FWM  {mark}{}", if is_v6 { " IPv6" } else { "" }), None)
            }
            ServiceKey::Address { protocol, address, port } => {
                let name = format!("{protocol:<4} {}", self.label(address, port, Some(protocol)));
                let most = if address.is_ipv4() { SERVICE_WIDTH } else { name.len() };
                (cut(&name, most).to_owned(), Some(protocol))
            }
        };
        self.line.clear();
        if self.format.stats || self.format.rate {
            let _ = write!(self.line, "{name:<33}");
            self.numbers(if self.format.stats { total } else { rate });
        } else {
            let _ = write!(self.line, "{name} {}", spec.scheduler);
            self.flags_and_persistence(spec);
        }
        self.end_line();
        for server in self.sorted_servers(servers) {
            self.server(server, protocol);
        }
    }

    fn sorted_servers<'s>(&self, servers: &'s [Server]) -> Vec<&'s Server> {
        let mut servers: Vec<_> = servers.iter().collect();
        if !self.format.no_sort {
            sort(&mut servers, |a, b| {
                addresses_in_order((a.spec.address, a.spec.port), (b.spec.address, b.spec.port))
            });
        }
        servers
    }

    fn flags_and_persistence(&mut self, spec: &ServiceSpec) {
        if spec.flags != SchedulerFlags::default() {
            let _ = write!(self.line, " ({})", flags(spec));
        }
        if let Some(seconds) = spec.persistent {
            let _ = write!(self.line, " persistent {seconds}");
            match spec.mask {
                mask if mask.is_whole() => {}
                Mask::V4(mask) => drop(write!(self.line, " mask {mask}")),
                Mask::V6(prefix) => drop(write!(self.line, " mask {prefix}")),
            }
            if !spec.engine.is_empty() {
                let _ = write!(self.line, " pe {}", spec.engine);
            }
        }
        if spec.one_packet {
            self.line.push_str(" ops");
        }
    }

    fn server(&mut self, server: &Server, protocol: Option<Proto>) {
        let Server { spec, weight, active, inactive, persistent, total, rate } = server;
        let name = self.label(spec.address, spec.port, protocol);
        let name = cut(&name, if spec.address.is_ipv4() { SERVER_WIDTH } else { name.len() });
        let forward = Cell::Text(spec.forward.name());
        let (weight, active, inactive) = ((*weight).into(), (*active).into(), (*inactive).into());
        self.line.clear();
        self.line.push_str("  ->");
        self.cells([(Cell::Text(name), 28)]);
        if self.format.stats {
            self.numbers(total);
        } else if self.format.rate {
            // Of a server these three are never shortened.
            for number in [rate.connections, rate.in_packets, rate.out_packets] {
                self.line.push(' ');
                self.right(number, "", 8);
            }
            self.number(rate.in_bytes);
            self.number(rate.out_bytes);
        } else if self.format.thresholds {
            let (upper, lower) = (spec.upper_threshold.into(), spec.lower_threshold.into());
            self.cells([(upper, 10), (lower, 10), (active, 10), (inactive, 10)]);
        } else if self.format.persistent_conn {
            self.cells([(weight, 9), ((*persistent).into(), 11), (active, 10), (inactive, 10)]);
        } else if self.format.tunnel_info {
            let tunnel = tunnel_info(spec);
            self.cells([(forward, 7), (Cell::Text(&tunnel), 13), (weight, 6), (active, 10), (inactive, 10)]);
        } else {
            self.cells([(forward, 7), (weight, 6), (active, 10), (inactive, 10)]);
        }
        self.end_line();
    }

    fn end_line(&mut self) {
        self.line.push('\n');
        let _ = self.text.write_str(&self.line);
    }

    /// Cells, so wide each at least, with a blank before each.
    fn cells<const N: usize>(&mut self, cells: [(Cell<'_>, usize); N]) {
        for (value, width) in cells {
            let mut digits = itoa::Buffer::new();
            let text = match value {
                Cell::Text(text) => text,
                Cell::Number(number) => digits.format(number),
            };
            self.line.push(' ');
            self.line.push_str(text);
            self.blanks(width.saturating_sub(text.chars().count()));
        }
    }

    fn blanks(&mut self, count: usize) {
        const BLANKS: &str = "                                ";
        self.line.push_str(&BLANKS[..count]);
    }

    /// A number with its unit, in so many places at least.
    fn right(&mut self, number: u64, unit: &str, places: usize) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(number);
        self.blanks(places.saturating_sub(digits.len() + unit.len()));
        self.line.push_str(digits);
        self.line.push_str(unit);
    }

    fn numbers(&mut self, traffic: &Traffic) {
        let Traffic { connections, in_packets, out_packets, in_bytes, out_bytes } = *traffic;
        for number in [connections, in_packets, out_packets, in_bytes, out_bytes] {
            self.number(number);
        }
    }

    /// In nine places, shortened if it must be.
    fn number(&mut self, number: u64) {
        const THOUSAND: u64 = 1_000;
        const MILLION: u64 = 1_000_000;
        const BILLION: u64 = 1_000_000_000;
        match number {
            _ if self.format.exact => {
                self.line.push(' ');
                self.right(number, "", 8);
            }
            0..100_000_000 => self.right(number, "", 9),
            100_000_000..1_000_000_000 => self.right(number / THOUSAND, "K", 9),
            1_000_000_000..100_000_000_000 => self.right(number / MILLION, "M", 9),
            100_000_000_000..100_000_000_000_000 => self.right(number / BILLION, "G", 9),
            _ => self.right(number / (BILLION * THOUSAND), "T", 9),
        }
    }

    fn rule(&mut self, service: &Service) {
        let Service { spec, servers, .. } = service;
        let (name, protocol) = match spec.key {
            ServiceKey::Fwmark { mark, is_v6 } => {
                (format!("-f {mark}{}", if is_v6 { " -6" } else { "" }), None)
            }
            ServiceKey::Address { protocol, address, port } => (
                format!("{} {}", option(protocol), self.label(address, port, Some(protocol))),
                Some(protocol),
            ),
        };
        let _ = write!(self.text, "-A {name} -s {}", spec.scheduler);
        if let Some(seconds) = spec.persistent {
            let _ = write!(self.text, " -p {seconds}");
            match spec.mask {
                mask if mask.is_whole() => {}
                Mask::V4(mask) => drop(write!(self.text, " -M {mask}")),
                Mask::V6(prefix) => drop(write!(self.text, " -M {prefix}")),
            }
        }
        if !spec.engine.is_empty() {
            let _ = write!(self.text, " --pe {}", spec.engine);
        }
        if spec.one_packet {
            self.put(" -o");
        }
        if spec.flags != SchedulerFlags::default() {
            let _ = write!(self.text, " -b {}", flags(spec));
        }
        self.put("\n");
        for Server { spec, .. } in self.sorted_servers(servers) {
            let server = self.label(spec.address, spec.port, protocol);
            self.line.clear();
            for text in ["-a ", &name, " -r ", &server, " ", spec.forward.option(), " -w "] {
                self.line.push_str(text);
            }
            self.right(spec.weight.into(), "", 0);
            if spec.forward == Forward::Tunnel {
                let tunnel = spec.tunnel;
                let _ = write!(self.line, " --tun-type {}", tunnel.kind.name());
                let _ = match tunnel.kind {
                    TunnelKind::Ipip => Ok(()),
                    TunnelKind::Gue => {
                        write!(self.line, " --tun-port {} {}", tunnel.port, tunnel.checksum.option())
                    }
                    TunnelKind::Gre => write!(self.line, " {}", tunnel.checksum.option()),
                };
            }
            self.end_line();
        }
    }

    fn connection(&mut self, connection: &Connection) {
        let Connection { protocol, client, virtual_, server, state, expires } = connection;
        let transport = protocol.parse().ok();
        let [client, virtual_, server] =
            [client, virtual_, server].map(|&(address, port)| self.label(address, port, transport));
        let expires = format!("{:02}:{:02}", expires / 60, expires % 60);
        let _ = writeln!(
            self.text,
            "{protocol:<3} {expires:<6} {state:<11} {client:<18} {virtual_:<18} {server}"
        );
    }

    /// `address:port`, by name unless numbers are wanted.
    fn label(&self, address: IpAddr, port: u16, protocol: Option<Proto>) -> String {
        if self.format.numeric {
            // There is room for any.
            return Endpoint::new(address, port).to_string();
        }
        let host = self.labels.of_host(address).unwrap_or_else(|| address.to_string());
        let port = protocol
            .and_then(|protocol| self.labels.of_port(port, protocol))
            .unwrap_or_else(|| port.to_string());
        let label = match address {
            IpAddr::V4(_) => format!("{host}:{port}"),
            IpAddr::V6(_) => format!("[{host}]:{port}"),
        };
        cut(&label, NAME_WIDTH).to_owned()
    }
}

/// `--timeout`, in seconds.
pub(super) fn timeouts(tcp: u32, tcp_fin: u32, udp: u32) -> String {
    format!("Timeout (tcp tcpfin udp): {tcp} {tcp_fin} {udp}\n")
}

/// `--daemon`.
pub(super) fn daemons(daemons: &Daemons) -> String {
    let mut text = String::new();
    for Daemon { role, interface, sync_id, max_len, group, port, ttl } in daemons {
        let role = match role {
            Role::Master => "master",
            Role::Backup => "backup",
        };
        let _ = write!(text, "{role} sync daemon (mcast={interface}, syncid={sync_id}");
        if *max_len != 0 {
            let _ = write!(text, ", maxlen={max_len}");
        }
        if let Some(group) = group {
            let _ = write!(text, ", group={group}");
        }
        if *port != 0 {
            let _ = write!(text, ", port={port}");
        }
        if *ttl != 0 {
            let _ = write!(text, ", ttl={ttl}");
        }
        text.push_str(")\n");
    }
    text
}

/// Which option a service of this protocol is named with.
fn option(protocol: Proto) -> &'static str {
    match protocol {
        Proto::Tcp => "-t",
        Proto::Udp => "-u",
        Proto::Sctp => "--sctp-service",
    }
}

fn flags(spec: &ServiceSpec) -> String {
    let names: [&str; 3] = match &spec.scheduler[..] {
        "sh" => ["sh-fallback", "sh-port", ""],
        "mh" => ["mh-fallback", "mh-port", ""],
        _ => ["flag-1", "flag-2", "flag-3"],
    };
    let set =
        names.into_iter().zip(0..).filter(|(name, bit)| spec.flags.0 >> bit & 1 == 1 && !name.is_empty());
    set.map(|(name, _)| name).collect::<Vec<_>>().join(",")
}

fn tunnel_info(spec: &ServerSpec) -> String {
    if spec.forward != Forward::Tunnel {
        return "n/a".to_owned();
    }
    let tunnel = spec.tunnel;
    let info = match tunnel.kind {
        TunnelKind::Ipip => tunnel.kind.name().to_owned(),
        TunnelKind::Gue => format!("gue:{}:{}", tunnel.port, tunnel.checksum.mark()),
        TunnelKind::Gre => format!("gre:{}", tunnel.checksum.mark()),
    };
    cut(&info, 15).to_owned()
}

/// Marks, then families, protocols, addresses, ports.
fn services_in_order(a: &ServiceKey, b: &ServiceKey) -> Ordering {
    let parts = |key: &ServiceKey| match *key {
        ServiceKey::Fwmark { mark, is_v6 } => (mark, is_v6, 0),
        ServiceKey::Address { protocol, address, .. } => (0, address.is_ipv6(), protocol as u8),
    };
    let ((mark, is_v6, protocol), (other_mark, other_is_v6, other_protocol)) = (parts(a), parts(b));
    by_difference(mark, other_mark)
        .then(is_v6.cmp(&other_is_v6))
        .then(protocol.cmp(&other_protocol))
        .then_with(|| match (*a, *b) {
            (
                ServiceKey::Address { address, port, .. },
                ServiceKey::Address { address: other, port: other_port, .. },
            ) => addresses_in_order((address, port), (other, other_port)),
            _ => Ordering::Equal,
        })
}

/// Addresses, then ports; the family is the first one's.
fn addresses_in_order((a, port): (IpAddr, u16), (b, other_port): (IpAddr, u16)) -> Ordering {
    if let (IpAddr::V4(a), IpAddr::V4(b)) = (a, b) {
        return by_difference(a.to_bits(), b.to_bits()).then(port.cmp(&other_port));
    }
    let words = |address: IpAddr| -> [u32; 4] {
        match address {
            IpAddr::V4(address) => [address.to_bits(), 0, 0, 0],
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                std::array::from_fn(|i| (bits >> (96 - 32 * i)) as u32)
            }
        }
    };
    let (words, others) = (words(a), words(b));
    let compared = if a.is_ipv6() { 4 } else { 1 };
    words[..compared]
        .iter()
        .zip(others)
        .map(|(&word, other)| by_difference(word, other))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
        .then(port.cmp(&other_port))
}

/// ipvsadm subtracts and looks at the sign: addresses more than half of all apart stand in the other order, 192.0.2.1
/// before 10.0.0.1.
fn by_difference(a: u32, b: u32) -> Ordering {
    (a.wrapping_sub(b) as i32).cmp(&0)
}

/// A merge sort like that of the C library, which puts up with an order that goes round in circles as
/// [`by_difference`]'s does.
fn sort<T: Copy>(items: &mut [T], order: impl Fn(T, T) -> Ordering + Copy) {
    fn halves<T: Copy>(items: &mut [T], left: &mut Vec<T>, order: impl Fn(T, T) -> Ordering + Copy) {
        let middle = items.len() / 2;
        if middle == 0 {
            return;
        }
        halves(&mut items[..middle], left, order);
        halves(&mut items[middle..], left, order);
        left.clear();
        left.extend_from_slice(&items[..middle]);
        // What is merged never catches up with what is left of the right half.
        let (mut merged, mut right) = (0, middle);
        for &item in &*left {
            while right < items.len() && order(item, items[right]).is_gt() {
                items[merged] = items[right];
                (merged, right) = (merged + 1, right + 1);
            }
            items[merged] = item;
            merged += 1;
        }
    }
    halves(items, &mut Vec::with_capacity(items.len() / 2), order);
}
