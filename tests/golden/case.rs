//! A golden case: a sentence, a configuration, packets in, packets out, counts.

use super::errors::UNREACHABLE;
use super::errors6::UNREACHABLE6;
use super::network::{
    DEFAULT_ROUTE, ETH0, ETH1, NETWORK, Server, client_receives, vip_complains, vip_complains6,
};
use super::packet::{Ip, Packet};
use super::six;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{Block, PcapNgReader, PcapNgWriter};
use pcap_file::{DataLink, Endianness, TsResolution};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// When every case begins: 2025-01-01 00:00:00 UTC.
const START: Duration = Duration::from_secs(1_735_689_600);

const INTERFACES: [&str; 2] = [ETH0, ETH1];

/// What is expected of one run.
pub struct Case {
    pub name: &'static str,
    pub sentence: &'static str,
    pub link_type: DataLink,
    director: String,
    network: String,
    services: Vec<Service>,
    inputs: BTreeMap<&'static str, Vec<(Duration, Vec<u8>)>>,
    sent: Vec<Sent>,
    to_host: BTreeMap<&'static str, u64>,
    dropped: BTreeMap<&'static str, u64>,
    answered: BTreeMap<&'static str, u64>,
    related: u64,
    /// Whether the services are of IPv6.
    six: bool,
    held: u64,
    /// Frames that a packet became beyond one.
    made: u64,
}

struct Service {
    name: &'static str,
    protocol: &'static str,
    vip: (Ip, u16),
    scheduler: &'static str,
    /// More lines of its section.
    more: &'static str,
    servers: Vec<(Server, Traffic)>,
}

/// What a server is expected to have counted.
#[derive(Debug, Clone, Copy, Default)]
struct Traffic {
    connections: u64,
    inward: (u64, u64),
    outward: (u64, u64),
    standing: Option<(u64, u64)>,
}

/// A frame expected to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub egress: String,
    pub time_ns: u128,
    pub frame: Vec<u8>,
}

impl Case {
    pub fn new(name: &'static str, sentence: &'static str) -> Case {
        Case {
            name,
            sentence,
            link_type: DataLink::ETHERNET,
            director: "max_connections = 1000\n".to_owned(),
            network: format!("{NETWORK}{DEFAULT_ROUTE}"),
            services: Vec::new(),
            inputs: BTreeMap::new(),
            sent: Vec::new(),
            to_host: BTreeMap::new(),
            dropped: BTreeMap::new(),
            answered: BTreeMap::new(),
            related: 0,
            six: false,
            held: 0,
            made: 0,
        }
    }

    /// In both families, with the services in IPv6.
    pub fn six(mut self) -> Case {
        self.six = true;
        self.dual()
    }

    /// In both families, with the services in IPv4.
    pub fn dual(self) -> Case {
        self.network(format!("{}{}", six::NETWORK, six::DEFAULT_ROUTE))
    }

    /// With another text under `[director]`.
    pub fn director(mut self, text: &str) -> Case {
        self.director = text.to_owned();
        self
    }

    /// In another network.
    pub fn network(mut self, text: impl Into<String>) -> Case {
        self.network = text.into();
        self
    }

    /// Captured with another link type.
    pub fn link_type(mut self, link_type: DataLink) -> Case {
        self.link_type = link_type;
        self
    }

    /// With a service more.
    pub fn service(
        mut self,
        name: &'static str,
        protocol: &'static str,
        vip: (Ip, u16),
        scheduler: &'static str,
        servers: &[Server],
    ) -> Case {
        let servers = servers.iter().map(|&server| (server, Traffic::default())).collect();
        self.services.push(Service { name, protocol, vip, scheduler, more: "", servers });
        self
    }

    /// With more lines in the section of the latest service.
    pub fn more(mut self, lines: &'static str) -> Case {
        self.services.last_mut().expect("a service").more = lines;
        self
    }

    /// A service `web` over TCP.
    pub fn web(self, scheduler: &'static str, servers: &[Server]) -> Case {
        self.service("web", "tcp", super::network::HTTP, scheduler, servers)
    }

    /// A service `dns` over UDP.
    pub fn dns(self, scheduler: &'static str, servers: &[Server]) -> Case {
        self.service("dns", "udp", super::network::DNS, scheduler, servers)
    }

    /// A frame comes in `at` milliseconds after the start.
    pub fn comes(&mut self, at: u64, ingress: &'static str, frame: Vec<u8>) -> Duration {
        let time = START + Duration::from_millis(at);
        let latest = self.inputs.values().flatten().map(|(time, _)| *time).max();
        assert!(latest <= Some(time), "{}: a case is told in the order of time", self.name);
        self.inputs.entry(ingress).or_default().push((time, frame));
        time
    }

    /// It goes on as another.
    pub fn goes(&mut self, time: Duration, egress: &str, frame: Vec<u8>) {
        self.sent.push(Sent { egress: egress.to_owned(), time_ns: time.as_nanos(), frame });
    }

    /// A client's packet opens a connection to a server (of the first service that has one at this VIP).
    pub fn opens(&mut self, at: u64, packet: &Packet, server: usize) {
        self.traffic(packet.dst, server).connections += 1;
        self.reaches(at, packet, server);
    }

    /// A client's packet reaches a server.
    pub fn reaches(&mut self, at: u64, packet: &Packet, server: usize) {
        self.frame_reaches(at, packet.frame(), packet, server);
    }

    /// A frame that holds a client's packet, in one way or another, reaches a server.
    pub fn frame_reaches(&mut self, at: u64, frame: Vec<u8>, packet: &Packet, server: usize) {
        let time = self.comes(at, ETH0, frame);
        let expected = self.server(packet.dst, server).receives(packet);
        self.goes(time, ETH1, expected);
        let traffic = self.traffic(packet.dst, server);
        traffic.inward.0 += 1;
        traffic.inward.1 += packet.ip_len();
    }

    /// A server's answer, described as if it came from the VIP, reaches the client.
    pub fn answers(&mut self, at: u64, packet: &Packet, server: usize) {
        self.frame_answers(at, Packet::frame, packet, server);
    }

    /// A server's answer in some frame.
    pub fn frame_answers(&mut self, at: u64, frame: fn(&Packet) -> Vec<u8>, packet: &Packet, server: usize) {
        let vip = packet.src;
        let answer = self.server(vip, server).answers(packet.clone());
        let time = self.comes(at, ETH1, frame(&answer));
        self.goes(time, ETH0, client_receives(&answer, vip));
        let traffic = self.traffic(vip, server);
        traffic.outward.0 += 1;
        traffic.outward.1 += packet.ip_len();
    }

    /// A frame is left to the host.
    pub fn left(&mut self, at: u64, frame: Vec<u8>, reason: &'static str) {
        self.left_from(at, ETH0, frame, reason);
    }

    /// A frame that came in elsewhere is left to the host.
    pub fn left_from(&mut self, at: u64, ingress: &'static str, frame: Vec<u8>, reason: &'static str) {
        self.comes(at, ingress, frame);
        *self.to_host.entry(reason).or_default() += 1;
    }

    /// A frame is dropped.
    pub fn drops(&mut self, at: u64, frame: Vec<u8>, reason: &'static str) {
        self.drops_from(at, ETH0, frame, reason);
    }

    /// A frame that came in elsewhere is dropped.
    pub fn drops_from(&mut self, at: u64, ingress: &'static str, frame: Vec<u8>, reason: &'static str) {
        self.comes(at, ingress, frame);
        *self.dropped.entry(reason).or_default() += 1;
    }

    /// A client's frame is dropped, and the client is told by this frame.
    pub fn answers_instead(&mut self, at: u64, frame: Vec<u8>, reason: &'static str, answer: Vec<u8>) {
        self.answers_instead_to(at, ETH0, frame, reason, answer);
    }

    /// A client's packet finds no server, and the client hears that the port is unreachable.
    pub fn turns_away(&mut self, at: u64, packet: &Packet) {
        let told = if packet.six {
            vip_complains6(UNREACHABLE6, packet)
        } else {
            vip_complains(UNREACHABLE, packet)
        };
        self.answers_instead(at, packet.frame(), "no_real_server", told);
    }

    /// A frame is dropped, and who sent it is told by this frame, where it came from.
    pub fn answers_instead_to(
        &mut self,
        at: u64,
        ingress: &'static str,
        frame: Vec<u8>,
        reason: &'static str,
        answer: Vec<u8>,
    ) {
        let time = self.comes(at, ingress, frame);
        self.goes(time, ingress, answer);
        *self.dropped.entry(reason).or_default() += 1;
        *self.answered.entry(reason).or_default() += 1;
    }

    /// An ICMP error about a packet of a server goes on to the server, as `sent`.
    pub fn concerns_server(&mut self, at: u64, frame: Vec<u8>, vip: (Ip, u16), server: usize, sent: Vec<u8>) {
        let traffic = self.traffic(vip, server);
        traffic.inward.0 += 1;
        traffic.inward.1 += frame.len() as u64 - 14;
        self.related += 1;
        let time = self.comes(at, ETH0, frame);
        self.goes(time, ETH1, sent);
    }

    /// An ICMP error about a client's packet goes on to the client, as `sent`. Of a masqueraded `server` it is counted as
    /// traffic.
    pub fn concerns_client(
        &mut self,
        at: u64,
        frame: Vec<u8>,
        server: Option<((Ip, u16), usize)>,
        sent: Vec<u8>,
    ) {
        if let Some((vip, server)) = server {
            let traffic = self.traffic(vip, server);
            traffic.outward.0 += 1;
            traffic.outward.1 += frame.len() as u64 - 14;
        }
        self.related += 1;
        let time = self.comes(at, ETH1, frame);
        self.goes(time, ETH0, sent);
    }

    /// Fragments, of so many bytes of IP packets together, pass from a client to a server.
    pub fn carries_in(&mut self, vip: (Ip, u16), server: usize, frames: &[Vec<u8>]) {
        let traffic = self.traffic(vip, server);
        traffic.inward.0 += frames.len() as u64;
        traffic.inward.1 += frames.iter().map(|frame| frame.len() as u64 - 14).sum::<u64>();
    }

    /// The same back.
    pub fn carries_out(&mut self, vip: (Ip, u16), server: usize, frames: &[Vec<u8>]) {
        let traffic = self.traffic(vip, server);
        traffic.outward.0 += frames.len() as u64;
        traffic.outward.1 += frames.iter().map(|frame| frame.len() as u64 - 14).sum::<u64>();
    }

    /// A fragment waits for the first of its datagram.
    pub fn waits(&mut self, at: u64, ingress: &'static str, frame: Vec<u8>) {
        self.comes(at, ingress, frame);
        self.held += 1;
    }

    /// Fragments that waited go to the host, or are dropped, after all.
    pub fn waited_in_vain(&mut self, verdict: &'static str, reason: &'static str, fragments: u64) {
        let counts = if verdict == "to_host" { &mut self.to_host } else { &mut self.dropped };
        *counts.entry(reason).or_default() += fragments;
    }

    /// A packet goes on as several frames.
    pub fn goes_in_pieces(&mut self, time: Duration, egress: &str, frames: Vec<Vec<u8>>) {
        self.made += frames.len() as u64 - 1;
        frames.into_iter().for_each(|frame| self.goes(time, egress, frame));
    }

    /// A connection is opened to a server, whether its packets reach it or not.
    pub fn opened(&mut self, vip: (Ip, u16), server: usize) {
        self.traffic(vip, server).connections += 1;
    }

    /// How many active and inactive connections a server has at the end.
    pub fn ends_with(&mut self, vip: (Ip, u16), server: usize, active: u64, inactive: u64) {
        self.traffic(vip, server).standing = Some((active, inactive));
    }

    fn service_at(&mut self, vip: (Ip, u16)) -> &mut Service {
        self.services.iter_mut().find(|service| service.vip == vip).expect("a service at this VIP")
    }

    fn server(&mut self, vip: (Ip, u16), server: usize) -> Server {
        self.service_at(vip).servers[server].0
    }

    fn traffic(&mut self, vip: (Ip, u16), server: usize) -> &mut Traffic {
        &mut self.service_at(vip).servers[server].1
    }

    /// The interfaces of the case's inputs.
    pub fn interfaces(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.inputs.keys().copied()
    }

    /// The frames expected to be sent, in their order.
    pub fn sent(&self) -> &[Sent] {
        &self.sent
    }

    /// The files of the case, by name.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let counters = serde_json::to_string_pretty(&self.counters()).unwrap() + "\n";
        let mut files = BTreeMap::from([
            ("config.toml".to_owned(), self.config().into_bytes()),
            ("counters.json".to_owned(), counters.into_bytes()),
            ("out.pcapng".to_owned(), pcapng(&self.sent)),
        ]);
        for (interface, packets) in &self.inputs {
            files.insert(format!("{interface}.pcap"), pcap(self.link_type, packets));
        }
        files
    }

    /// What is expected to be counted.
    pub fn counters(&self) -> Value {
        let server = |(server, traffic): &(Server, Traffic)| {
            let mut counts = json!({
                "address": server.address(self.six),
                "connections": traffic.connections,
                "in_packets": traffic.inward.0,
                "in_bytes": traffic.inward.1,
                "out_packets": traffic.outward.0,
                "out_bytes": traffic.outward.1,
            });
            if let Some((active, inactive)) = traffic.standing {
                counts["active"] = active.into();
                counts["inactive"] = inactive.into();
            }
            counts
        };
        let service = |service: &Service| {
            let servers: Vec<Value> = service.servers.iter().map(server).collect();
            json!({ "name": service.name, "real_servers": servers })
        };
        let mut counters = json!({
            "packets": self.inputs.values().map(Vec::len).sum::<usize>(),
            "forwarded": self.sent.len() as u64 - self.answered.values().sum::<u64>() - self.made,
            "to_host": self.to_host.values().sum::<u64>(),
            "to_host_by_reason": self.to_host,
            "dropped": self.dropped.values().sum::<u64>(),
            "dropped_by_reason": self.dropped,
            "services": self.services.iter().map(service).collect::<Vec<Value>>(),
        });
        // Named where they occur.
        if !self.answered.is_empty() {
            counters["answered_by_reason"] = json!(self.answered);
        }
        if self.held + self.made > 0 {
            counters["fragments"] = json!({ "held": self.held, "made": self.made });
        }
        if self.related > 0 {
            counters["related"] = self.related.into();
        }
        counters
    }

    fn config(&self) -> String {
        let mut text = format!("# {}\n\n[director]\n{}{}", self.sentence, self.director, self.network);
        for Service { name, protocol, vip, scheduler, more, servers } in &self.services {
            let _ = write!(
                text,
                "\n[[virtual_service]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\n\
                 address = \"{}\"\nscheduler = \"{scheduler}\"\n{more}",
                six::named(self.six, *vip)
            );
            for (server, _) in servers {
                let _ = write!(
                    text,
                    "\n[[virtual_service.real_server]]\naddress = \"{}\"\nforward = \"{}\"\nweight = {}\n",
                    server.address(self.six),
                    server.method,
                    server.weight
                );
                for (key, number) in
                    [("upper_threshold", server.thresholds.0), ("lower_threshold", server.thresholds.1)]
                {
                    if number > 0 {
                        let _ = writeln!(text, "{key} = {number}");
                    }
                }
            }
        }
        text
    }
}

fn pcap(datalink: DataLink, packets: &[(Duration, Vec<u8>)]) -> Vec<u8> {
    let header = PcapHeader {
        datalink,
        ts_resolution: TsResolution::MicroSecond,
        endianness: Endianness::Little,
        ..PcapHeader::default()
    };
    let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
    for (time, frame) in packets {
        writer.write_packet(&PcapPacket::new(*time, frame.len() as u32, frame)).unwrap();
    }
    writer.into_writer()
}

fn pcapng(sent: &[Sent]) -> Vec<u8> {
    let mut writer = PcapNgWriter::with_endianness(Vec::new(), Endianness::Little).unwrap();
    for name in INTERFACES {
        let mut interface = InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0);
        interface.options =
            vec![InterfaceDescriptionOption::IfName(name.into()), InterfaceDescriptionOption::IfTsResol(9)];
        writer.write_pcapng_block(interface).unwrap();
    }
    for Sent { egress, time_ns, frame } in sent {
        let packet = EnhancedPacketBlock {
            interface_id: INTERFACES.iter().position(|name| name == egress).unwrap() as u32,
            timestamp: Duration::from_nanos(*time_ns as u64),
            original_len: frame.len() as u32,
            data: Cow::Borrowed(frame),
            options: Vec::new(),
        };
        writer.write_pcapng_block(packet).unwrap();
    }
    writer.into_inner()
}

/// The frames of a pcapng file, with the names of their interfaces.
pub fn read_pcapng(bytes: &[u8]) -> Vec<Sent> {
    let mut reader = PcapNgReader::new(bytes).unwrap();
    let (mut names, mut sent) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block.unwrap().into_owned() {
            Block::InterfaceDescription(interface) => {
                let name = interface.options.into_iter().find_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.into_owned()),
                    _ => None,
                });
                names.push(name.expect("a named interface"));
            }
            Block::EnhancedPacket(packet) => sent.push(Sent {
                egress: names[packet.interface_id as usize].clone(),
                time_ns: packet.timestamp.as_nanos(),
                frame: packet.data.into_owned(),
            }),
            other => panic!("{other:?}"),
        }
    }
    sent
}

/// The frames of a pcap file.
pub fn read_pcap(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = PcapReader::new(bytes).unwrap();
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        frames.push(packet.unwrap().data.into_owned());
    }
    frames
}
