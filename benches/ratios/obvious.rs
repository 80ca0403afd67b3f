//! The obvious design, written as one would: hash maps of connections, etherparse, one packet at a time, checksums
//! computed anew. It does for a packet what the pipeline does: the same checks, states, timeouts, counts and
//! rewriting.
//!
//! Its maps hash with foldhash, not with the slower SipHash that std starts with, and are never asked about a
//! reply's key when the packet is a client's. It is given the time; a real one would also read a clock per packet.

use crate::world::{HEADROOM, SERVERS, VIP};
use etherparse::{IpNumber, Ipv4Header, NetSlice, SlicedPacket, TransportSlice};
use hashbrown::DefaultHashBuilder;
use lvx::net::Tick;
use lvx::service::Method;
use lvx::wire::checksum;
use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;

const ETHERNET: usize = 14;
const MTU: u16 = 1500;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    proto: u8,
    src: Ipv4Addr,
    dst: Ipv4Addr,
    sport: u16,
    dport: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    SynRecv,
    Established,
    FinWait,
    CloseWait,
    TimeWait,
    Close,
}

impl State {
    /// The state after a segment.
    fn after(self, from_client: bool, flags: Flags) -> State {
        match self {
            _ if flags.rst => State::Close,
            State::SynRecv if flags.ack && !flags.syn && !flags.fin => State::Established,
            State::TimeWait | State::Close if flags.syn => State::SynRecv,
            State::Established if flags.fin && from_client => State::CloseWait,
            State::Established if flags.fin => State::FinWait,
            State::FinWait if flags.fin && from_client => State::TimeWait,
            State::CloseWait if flags.fin && !from_client => State::TimeWait,
            same => same,
        }
    }

    fn timeout_seconds(self) -> u32 {
        match self {
            State::Established => 900,
            State::FinWait | State::TimeWait => 120,
            State::SynRecv | State::CloseWait => 60,
            State::Close => 10,
        }
    }

    fn is_active(self) -> bool {
        matches!(self, State::SynRecv | State::Established)
    }
}

#[derive(Debug, Clone, Copy)]
struct Flags {
    syn: bool,
    ack: bool,
    fin: bool,
    rst: bool,
}

struct Conn {
    server: usize,
    vip: Ipv4Addr,
    vport: u16,
    state: State,
    seen: Tick,
}

impl Conn {
    fn is_over(&self, now: Tick) -> bool {
        now.since(self.seen) > self.state.timeout_seconds() * Tick::PER_SECOND
    }
}

struct Server {
    address: Ipv4Addr,
    port: u16,
    mac: [u8; 6],
    active: u64,
    inactive: u64,
    connections: u64,
    in_packets: u64,
    in_bytes: u64,
    out_packets: u64,
    out_bytes: u64,
}

impl Server {
    fn count(&mut self, state: State, by: i64) {
        let count = if state.is_active() { &mut self.active } else { &mut self.inactive };
        *count = count.wrapping_add_signed(by);
    }
}

struct Service {
    servers: Vec<usize>,
    next: usize,
}

/// Where a packet is in its frame, and whose it is.
struct Parsed {
    key: Key,
    flags: Flags,
    l4: usize,
    ip_len: u16,
    ttl: u8,
}

/// The director.
pub struct Obvious {
    method: Method,
    services: HashMap<(u8, Ipv4Addr, u16), Service, DefaultHashBuilder>,
    servers: Vec<Server>,
    conns: HashMap<Key, Conn, DefaultHashBuilder>,
    /// A server's packets, by the key of its client's.
    replies: HashMap<Key, Key, DefaultHashBuilder>,
    /// Connections in the order of their opening, those that ended otherwise included.
    oldest: VecDeque<Key>,
    own_mac: [u8; 6],
    router_mac: [u8; 6],
    tunnel_source: Ipv4Addr,
}

impl Obvious {
    /// A director of the bench's service.
    pub fn new(method: Method) -> Obvious {
        let server = |i: u32| Server {
            address: Ipv4Addr::from_bits(0x0a01_0001 + i),
            port: if method == Method::Nat { 8080 } else { 80 },
            mac: [2, 0, 0, 0, 1, (i + 1) as u8],
            active: 0,
            inactive: 0,
            connections: 0,
            in_packets: 0,
            in_bytes: 0,
            out_packets: 0,
            out_bytes: 0,
        };
        let service = Service { servers: (0..SERVERS as usize).collect(), next: 0 };
        Obvious {
            method,
            services: [((6, VIP.into(), 80), service)].into_iter().collect(),
            servers: (0..SERVERS).map(server).collect(),
            conns: HashMap::default(),
            replies: HashMap::default(),
            oldest: VecDeque::new(),
            own_mac: [2, 0, 0, 0, 0, 2],
            router_mac: [2, 0, 0, 0, 1, 254],
            tunnel_source: Ipv4Addr::new(10, 1, 255, 1),
        }
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// Rewrites the packet that starts [`HEADROOM`] bytes into `frame`; says where it starts now, or `None` if it is
    /// not to be sent.
    pub fn handle(&mut self, frame: &mut [u8], now: Tick) -> Option<usize> {
        let parsed = parse(&frame[HEADROOM..])?;
        if let Some(conn) = self.conns.get_mut(&parsed.key) {
            if !conn.is_over(now) {
                let server = &mut self.servers[conn.server];
                pass(conn, server, &parsed, true, now);
                server.in_packets += 1;
                server.in_bytes += parsed.ip_len as u64;
                let server = conn.server;
                return self.to_server(frame, &parsed, server);
            }
            self.end(parsed.key);
        } else if let Some(key) = self.replies.get(&parsed.key) {
            let conn = self.conns.get_mut(key).filter(|conn| !conn.is_over(now))?;
            let server = &mut self.servers[conn.server];
            pass(conn, server, &parsed, false, now);
            server.out_packets += 1;
            server.out_bytes += parsed.ip_len as u64;
            let (vip, vport) = (conn.vip, conn.vport);
            return self.to_client(frame, &parsed, vip, vport);
        }
        let server = self.open(&parsed, now)?;
        self.to_server(frame, &parsed, server)
    }

    fn open(&mut self, parsed: &Parsed, now: Tick) -> Option<usize> {
        let key = parsed.key;
        let service = self.services.get_mut(&(key.proto, key.dst, key.dport))?;
        if !parsed.flags.syn || parsed.flags.rst {
            return None;
        }
        let number = *service.servers.get(service.next)?;
        service.next = if service.next + 1 == service.servers.len() { 0 } else { service.next + 1 };
        let server = &mut self.servers[number];
        server.connections += 1;
        server.in_packets += 1;
        server.in_bytes += parsed.ip_len as u64;
        let state = State::SynRecv;
        server.count(state, 1);
        let conn = Conn { server: number, vip: key.dst, vport: key.dport, state, seen: now };
        if self.method == Method::Nat {
            self.replies.insert(reply_key(&key, server), key);
        }
        self.conns.insert(key, conn);
        self.oldest.push_back(key);
        Some(number)
    }

    /// Looks at the oldest connection, and forgets it if it was silent for too long.
    pub fn expire_one(&mut self, now: Tick) {
        let Some(key) = self.oldest.pop_front() else { return };
        match self.conns.get(&key) {
            Some(conn) if conn.is_over(now) => self.end(key),
            Some(_) => self.oldest.push_back(key),
            None => {}
        }
    }

    fn end(&mut self, key: Key) {
        let Some(conn) = self.conns.remove(&key) else { return };
        let server = &mut self.servers[conn.server];
        server.count(conn.state, -1);
        if self.method == Method::Nat {
            self.replies.remove(&reply_key(&key, server));
        }
    }

    fn to_server(&self, frame: &mut [u8], parsed: &Parsed, server: usize) -> Option<usize> {
        let server = &self.servers[server];
        let outer = if self.method == Method::Tun { HEADROOM as u16 } else { 0 };
        if parsed.ttl <= 1 || parsed.ip_len + outer > MTU {
            return None;
        }
        let packet = &mut frame[HEADROOM..];
        packet[22] -= 1;
        if self.method == Method::Nat {
            packet[30..34].copy_from_slice(&server.address.octets());
            packet[parsed.l4 + 2..parsed.l4 + 4].copy_from_slice(&server.port.to_be_bytes());
            renew_tcp_checksum(packet, parsed);
        }
        renew_ip_checksum(packet, parsed);
        let start = if self.method == Method::Tun {
            let inner = Ipv4Header::from_slice(&packet[ETHERNET..]).ok()?.0;
            let source = self.tunnel_source.octets();
            let mut outer = Ipv4Header::new(
                parsed.ip_len,
                parsed.ttl - 1,
                IpNumber::IPV4,
                source,
                server.address.octets(),
            )
            .ok()?;
            outer.dont_fragment = inner.dont_fragment;
            outer.identification = inner.identification;
            outer.header_checksum = outer.calc_header_checksum();
            frame[ETHERNET..ETHERNET + HEADROOM].copy_from_slice(&outer.to_bytes());
            frame[12..14].copy_from_slice(&[8, 0]);
            0
        } else {
            HEADROOM
        };
        frame[start..start + 6].copy_from_slice(&server.mac);
        frame[start + 6..start + 12].copy_from_slice(&self.own_mac);
        Some(start)
    }

    fn to_client(&self, frame: &mut [u8], parsed: &Parsed, vip: Ipv4Addr, vport: u16) -> Option<usize> {
        if parsed.ttl <= 1 || parsed.ip_len > MTU {
            return None;
        }
        let packet = &mut frame[HEADROOM..];
        packet[22] -= 1;
        packet[26..30].copy_from_slice(&vip.octets());
        packet[parsed.l4..parsed.l4 + 2].copy_from_slice(&vport.to_be_bytes());
        renew_tcp_checksum(packet, parsed);
        renew_ip_checksum(packet, parsed);
        packet[..6].copy_from_slice(&self.router_mac);
        packet[6..12].copy_from_slice(&self.own_mac);
        Some(HEADROOM)
    }
}

fn parse(packet: &[u8]) -> Option<Parsed> {
    let sliced = SlicedPacket::from_ethernet(packet).ok()?;
    let Some(NetSlice::Ipv4(ip)) = &sliced.net else { return None };
    let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { return None };
    let header = ip.header();
    if checksum::of_header(header.slice()) != 0 {
        return None;
    }
    Some(Parsed {
        key: Key {
            proto: header.protocol().0,
            src: header.source_addr(),
            dst: header.destination_addr(),
            sport: tcp.source_port(),
            dport: tcp.destination_port(),
        },
        flags: Flags { syn: tcp.syn(), ack: tcp.ack(), fin: tcp.fin(), rst: tcp.rst() },
        l4: ETHERNET + header.slice().len(),
        ip_len: header.total_len(),
        ttl: header.ttl(),
    })
}

fn pass(conn: &mut Conn, server: &mut Server, parsed: &Parsed, from_client: bool, now: Tick) {
    let next = conn.state.after(from_client, parsed.flags);
    if next.is_active() != conn.state.is_active() {
        server.count(conn.state, -1);
        server.count(next, 1);
    }
    conn.state = next;
    conn.seen = now;
}

fn reply_key(key: &Key, server: &Server) -> Key {
    Key { proto: key.proto, src: server.address, dst: key.src, sport: server.port, dport: key.sport }
}

fn renew_ip_checksum(packet: &mut [u8], parsed: &Parsed) {
    packet[24..26].fill(0);
    let checksum = checksum::of_header(&packet[ETHERNET..parsed.l4]);
    packet[24..26].copy_from_slice(&checksum.to_be_bytes());
}

fn renew_tcp_checksum(packet: &mut [u8], parsed: &Parsed) {
    let word = |at: usize| u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
    let (src, dst) = (word(26), word(30));
    let segment = &mut packet[parsed.l4..ETHERNET + parsed.ip_len as usize];
    segment[16..18].fill(0);
    let pseudo = checksum::pseudo_v4(src, dst, lvx::net::Proto::Tcp, segment.len() as u16);
    let checksum = !checksum::fold(checksum::sum(segment) + pseudo);
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
}
