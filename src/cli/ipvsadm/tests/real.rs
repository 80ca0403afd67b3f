//! The real ipvsadm, before a kernel that these tests play.

use crate::cli::ipvsadm::request::*;
use crate::cli::ipvsadm::table::{Connection, Table};
use crate::control::report::Traffic;
use crate::net::Proto;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// What a run of it came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// What it asked the kernel to change.
    pub changes: Vec<Request>,
}

/// The real ipvsadm.
pub struct Real {
    folder: TempDir,
}

impl Real {
    /// It finds these services and connections.
    pub fn before(table: &Table, connections: &[Connection]) -> Real {
        let folder = tempfile::tempdir().unwrap();
        let real = Real { folder };
        let info =
            message(15, &[attribute(1, &0x010201u32.to_ne_bytes()), attribute(2, &table.size.to_ne_bytes())]);
        real.put("15", &info);
        let mut services = Vec::new();
        for service in &table.services {
            let spec = &service.spec;
            services.extend(message(1, &[nest(1, &service_attributes(spec, &service.total, &service.rate))]));
            let servers: Vec<u8> = service
                .servers
                .iter()
                .flat_map(|server| {
                    let spec = &server.spec;
                    let counts = [(7, server.active), (8, server.inactive), (9, server.persistent)];
                    let mut attributes = server_attributes(spec);
                    attributes.extend(counts.map(|(kind, count)| attribute(kind, &count.to_ne_bytes())));
                    attributes.push(stats(10, 4, &server.total, &server.rate));
                    attributes.push(stats(12, 8, &server.total, &server.rate));
                    message(5, &[nest(2, &attributes)])
                })
                .collect();
            let key: String = key_attributes(spec.key).iter().flat_map(|a| a[4..].to_vec()).fold(
                String::new(),
                |mut key, byte| {
                    let _ = write!(key, "{byte:02x}");
                    key
                },
            );
            // Attributes are padded to four bytes, what is in them is not.
            let key = match spec.key {
                ServiceKey::Address { .. } => {
                    let [family, protocol, address, port] =
                        [&key[..4], &key[8..12], &key[16..48], &key[48..52]];
                    format!("{family}{protocol}{address}{port}")
                }
                ServiceKey::Fwmark { .. } => format!("{}{}", &key[..4], &key[8..16]),
            };
            real.put(&format!("8-{key}"), &servers);
        }
        real.put("4", &services);
        let mut lines =
            "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n".to_owned();
        for Connection { protocol, client, virtual_, server, state, expires } in connections {
            let side = |(address, port): (IpAddr, u16)| match address {
                IpAddr::V4(address) => format!("{:08X} {port:04X}", address.to_bits()),
                IpAddr::V6(address) => format!("{address} {port:04X}"),
            };
            let [client, virtual_, server] = [client, virtual_, server].map(|&at| side(at));
            let _ = writeln!(lines, "{protocol:<3} {client} {virtual_} {server} {state:<11} {expires:>7}");
        }
        real.put("connections", lines.as_bytes());
        real
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.folder.path().join(name), bytes).unwrap();
    }

    /// Runs it.
    pub fn run(&self, words: &[&str], stdin: &str) -> Run {
        let requests = self.folder.path().join("requests");
        let _ = std::fs::remove_file(&requests);
        let mut child = Command::new("ipvsadm")
            .arg0("ipvsadm")
            .args(words)
            .env("PATH", path())
            .env("LD_PRELOAD", shim())
            .env("LVX_KERNEL", self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the real ipvsadm is installed (scripts/setup)");
        // It may end without reading.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            changes: changes(&std::fs::read(&requests).unwrap_or_default()),
        }
    }
}

fn path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// The library that plays the kernel, compiled once.
fn shim() -> &'static PathBuf {
    static SHIM: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = SHIM.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernel.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/ipvsadm/tests/kernel.c");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-w", "-o"])
            .arg(&path)
            .arg(source)
            .args(["-ldl"])
            .status()
            .unwrap();
        assert!(status.success());
        (folder, path)
    });
    path
}

/// A generic netlink message.
fn message(command: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
    let body: Vec<u8> = attributes.concat();
    let mut bytes = (20 + body.len() as u32).to_ne_bytes().to_vec();
    bytes.extend(77u16.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend([command, 1, 0, 0]);
    bytes.extend(body);
    bytes
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn nest(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | 0x8000, &attributes.concat())
}

fn family(is_v6: bool) -> [u8; 2] {
    (if is_v6 { 10u16 } else { 2 }).to_ne_bytes()
}

fn address_bytes(address: IpAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    match address {
        IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes = address.octets(),
    }
    bytes
}

fn key_attributes(key: ServiceKey) -> Vec<Vec<u8>> {
    match key {
        ServiceKey::Fwmark { mark, is_v6 } => {
            vec![attribute(1, &family(is_v6)), attribute(5, &mark.to_ne_bytes())]
        }
        ServiceKey::Address { protocol, address, port } => vec![
            attribute(1, &family(address.is_ipv6())),
            attribute(2, &(protocol as u16).to_ne_bytes()),
            attribute(3, &address_bytes(address)),
            attribute(4, &port.to_be_bytes()),
        ],
    }
}

fn service_attributes(spec: &ServiceSpec, total: &Traffic, rate: &Traffic) -> Vec<Vec<u8>> {
    let mut attributes = key_attributes(spec.key);
    let flags =
        u32::from(spec.persistent.is_some()) | u32::from(spec.one_packet) << 2 | u32::from(spec.flags.0) << 3;
    let netmask = match spec.mask {
        Mask::V4(mask) => u32::from_ne_bytes(mask.octets()),
        Mask::V6(prefix) => prefix.into(),
    };
    attributes.push(attribute(6, &[spec.scheduler.as_bytes(), &[0]].concat()));
    if !spec.engine.is_empty() {
        attributes.push(attribute(11, &[spec.engine.as_bytes(), &[0]].concat()));
    }
    attributes.push(attribute(7, &[flags.to_ne_bytes(), [0xff; 4]].concat()));
    attributes.push(attribute(8, &spec.persistent.unwrap_or(0).to_ne_bytes()));
    attributes.push(attribute(9, &netmask.to_ne_bytes()));
    attributes.push(stats(10, 4, total, rate));
    attributes.push(stats(12, 8, total, rate));
    attributes
}

fn server_attributes(spec: &ServerSpec) -> Vec<Vec<u8>> {
    vec![
        attribute(11, &family(spec.address.is_ipv6())),
        attribute(1, &address_bytes(spec.address)),
        attribute(2, &spec.port.to_be_bytes()),
        attribute(3, &(spec.forward as u32).to_ne_bytes()),
        attribute(4, &u32::from(spec.weight).to_ne_bytes()),
        attribute(13, &[spec.tunnel.kind as u8]),
        attribute(14, &spec.tunnel.port.to_be_bytes()),
        attribute(15, &u16::from(spec.tunnel.checksum.0).to_ne_bytes()),
        attribute(5, &spec.upper_threshold.to_ne_bytes()),
        attribute(6, &spec.lower_threshold.to_ne_bytes()),
    ]
}

/// Statistics whose counts are of `width` bytes; bytes are always counted in eight.
fn stats(kind: u16, width: usize, total: &Traffic, rate: &Traffic) -> Vec<u8> {
    let numbers = [
        (total.connections, width),
        (total.in_packets, width),
        (total.out_packets, width),
        (total.in_bytes, 8),
        (total.out_bytes, 8),
        (rate.connections, width),
        (rate.in_packets, width),
        (rate.out_packets, width),
        (rate.in_bytes, width),
        (rate.out_bytes, width),
    ];
    let attributes: Vec<_> = numbers
        .into_iter()
        .zip(1..)
        .map(|((number, width), kind)| attribute(kind, &number.to_ne_bytes()[..width]))
        .collect();
    nest(kind, &attributes)
}

/// The value of an attribute; empty if there is none.
fn value(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    while let [a, b, c, d, ..] = *rest {
        let len = usize::from(u16::from_ne_bytes([a, b]));
        if u16::from_ne_bytes([c, d]) & 0x3fff == kind {
            return Some(&rest[4..len]);
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    }
    None
}

fn short(attributes: &[u8], kind: u16) -> u16 {
    u16::from_ne_bytes(value(attributes, kind).unwrap()[..2].try_into().unwrap())
}

fn word(attributes: &[u8], kind: u16) -> u32 {
    u32::from_ne_bytes(value(attributes, kind).unwrap()[..4].try_into().unwrap())
}

fn text(attributes: &[u8], kind: u16) -> String {
    let bytes = value(attributes, kind).unwrap_or_default();
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

fn address(family: u16, bytes: &[u8]) -> IpAddr {
    match family {
        10 => <[u8; 16]>::try_from(bytes).unwrap().into(),
        _ => <[u8; 4]>::try_from(&bytes[..4]).unwrap().into(),
    }
}

fn key(service: &[u8]) -> ServiceKey {
    let family = short(service, 1);
    if value(service, 5).is_some() {
        return ServiceKey::Fwmark { mark: word(service, 5), is_v6: family == 10 };
    }
    let protocol = Proto::from_number(short(service, 2) as u8).unwrap_or(Proto::Tcp);
    let port = u16::from_be(short(service, 4));
    ServiceKey::Address { protocol, address: address(family, value(service, 3).unwrap()), port }
}

fn service(service: &[u8]) -> ServiceSpec {
    let flags = word(service, 7);
    let mask = word(service, 9);
    ServiceSpec {
        key: key(service),
        scheduler: text(service, 6),
        flags: SchedulerFlags((flags >> 3) as u8 & 7),
        persistent: (flags & 1 != 0).then(|| word(service, 8)),
        mask: match short(service, 1) {
            10 => Mask::V6(mask as u8),
            _ => Mask::V4(Ipv4Addr::from(mask.to_ne_bytes())),
        },
        one_packet: flags & 4 != 0,
        engine: text(service, 11),
    }
}

fn server(server: &[u8]) -> ServerSpec {
    ServerSpec {
        address: address(short(server, 11), value(server, 1).unwrap()),
        port: u16::from_be(short(server, 2)),
        forward: match word(server, 3) {
            0 => Forward::Masq,
            2 => Forward::Tunnel,
            _ => Forward::Route,
        },
        tunnel: Tunnel {
            kind: TunnelKind::ALL[usize::from(value(server, 13).unwrap()[0])],
            port: u16::from_be(short(server, 14)),
            checksum: TunnelChecksum(short(server, 15) as u8),
        },
        weight: word(server, 4) as u16,
        upper_threshold: word(server, 5),
        lower_threshold: word(server, 6),
    }
}

fn daemon(daemon: &[u8]) -> Daemon {
    let group4 = value(daemon, 5).map(|bytes| address(2, bytes));
    Daemon {
        role: if word(daemon, 1) == 1 { Role::Master } else { Role::Backup },
        interface: text(daemon, 2),
        sync_id: word(daemon, 3) as u8,
        max_len: value(daemon, 4).map_or(0, |_| short(daemon, 4)),
        group: group4.or_else(|| value(daemon, 6).map(|bytes| address(10, bytes))),
        port: value(daemon, 7).map_or(0, |_| short(daemon, 7)),
        ttl: value(daemon, 8).map_or(0, |bytes| bytes[0]),
    }
}

/// The changes among these messages.
fn changes(messages: &[u8]) -> Vec<Request> {
    let mut changes = Vec::new();
    let mut rest = messages;
    while let [a, b, c, d, ..] = *rest {
        let (message, behind) = rest.split_at(u32::from_ne_bytes([a, b, c, d]) as usize);
        rest = behind;
        let attributes = &message[20..];
        let (of_service, of_server) = (value(attributes, 1), value(attributes, 2));
        changes.extend(match (message[16], of_service, of_server) {
            (1, Some(it), None) => Some(Request::AddService(service(it))),
            (2, Some(it), None) => Some(Request::EditService(service(it))),
            (3, Some(it), None) => Some(Request::DeleteService(key(it))),
            (5, Some(of), Some(it)) => Some(Request::AddServer(key(of), server(it))),
            (6, Some(of), Some(it)) => Some(Request::EditServer(key(of), server(it))),
            (7, Some(of), Some(it)) => {
                let server = server(it);
                Some(Request::DeleteServer(key(of), server.address, server.port))
            }
            (9, ..) => Some(Request::StartDaemon(daemon(value(attributes, 3).unwrap()))),
            (10, ..) => Some(Request::StopDaemon(daemon(value(attributes, 3).unwrap()))),
            (12, ..) => Some(Request::SetTimeouts {
                tcp: word(attributes, 4),
                tcp_fin: word(attributes, 5),
                udp: word(attributes, 6),
            }),
            (16, it, None) => Some(Request::Zero(it.map(key))),
            (17, ..) => Some(Request::Flush),
            _ => None,
        });
    }
    changes
}
