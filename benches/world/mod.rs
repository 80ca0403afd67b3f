//! A director in memory for the benches: a service, its servers, any number of established connections, and a
//! UMEM-like arena of frames that holds the next packets of randomly chosen connections.
#![allow(dead_code, reason = "every bench uses its own part of the world")]

use lvx::conntrack::{Seed, Table, Timeouts, Tracker};
use lvx::dataplane::counters::Counters;
use lvx::dataplane::nexthop::{Link, Neighbour, NextHops, Rib, Route};
use lvx::dataplane::pipeline::Pipeline;
use lvx::dataplane::port::{BATCH, Frame};
use lvx::dataplane::snapshot::{Published, Services, Snapshot};
use lvx::dataplane::verdict::Verdict;
use lvx::net::{Endpoint, InterfaceId, Mac, Proto, Tick};
use lvx::service::{Method, RealId, RealServer, SchedulerName, ServiceTable, VirtualService};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Frames in the arena: as many as a worker's receive rings hold.
pub const FRAMES: usize = 8192;
/// Bytes from one frame to the next, as in UMEM.
pub const STRIDE: usize = 2048;
/// Bytes of a packet, with its Ethernet header.
pub const PACKET: usize = 64;
/// Where a packet starts in its frame.
pub const START: usize = 256;

const VIP: u32 = 0x0a00_0064;
const SERVERS: u32 = 16;

/// Which connections the packets are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// All alike.
    Uniform,
    /// The k-th most popular in proportion to 1/k (exponent 1, by inversion of the continuous form).
    Zipf,
}

/// What passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Clients' ACKs.
    Requests,
    /// Half clients' ACKs, half servers' (NAT only).
    BothWays,
    /// SYNs of new connections.
    New,
}

/// See the module.
pub struct World {
    pub table: Arc<Table>,
    pub published: Arc<Published>,
    pub pipeline: Pipeline,
    pub method: Method,
    pub flows: u32,
    /// Server of each flow, for replies.
    servers: Vec<u8>,
    arena: Vec<u8>,
    dice: u64,
    next_new: u32,
}

impl World {
    /// A director with `flows` established connections to servers reached by `method`, and room for `room` more.
    pub fn new(method: Method, flows: u32, room: u32) -> World {
        let table = Arc::new(Table::new(flows + room, Seed::new(1, 2)).expect("memory for the table"));
        let published = Arc::new(Published::default());
        publish(&table, &published, method, SERVERS);
        let pipeline = Pipeline::new(
            Tracker::new(table.clone(), 0, 1),
            Arc::new(Counters::default()),
            published.clone(),
        );
        let arena = vec![0xa5; FRAMES * STRIDE];
        let servers = vec![0; flows as usize];
        let mut world =
            World { table, published, pipeline, method, flows, servers, arena, dice: 88, next_new: flows };
        world.establish();
        world
    }

    fn establish(&mut self) {
        for first in (0..self.flows).step_by(FRAMES) {
            let count = (self.flows - first).min(FRAMES as u32) as usize;
            for flags in [0x02, 0x10] {
                for i in 0..count {
                    self.write(i, first + i as u32, flags, false);
                }
                let servers = &mut self.servers;
                run(&mut self.pipeline, &mut self.arena, count, Tick(0), |i, frame| {
                    assert!(matches!(frame.verdict, Verdict::Forward(_)), "{:?}", frame.verdict);
                    let mac = frame.data()[5];
                    servers[first as usize + i] = mac;
                });
            }
        }
    }

    /// Writes the next packets of randomly chosen connections (or of new ones) into every frame.
    pub fn prepare(&mut self, distribution: Distribution, traffic: Traffic) {
        for i in 0..FRAMES {
            if traffic == Traffic::New {
                self.write(i, self.next_new, 0x02, false);
                self.next_new = self.next_new.wrapping_add(1);
                continue;
            }
            let flow = self.choose(distribution);
            let reply = traffic == Traffic::BothWays && self.random() & 1 == 1;
            self.write(i, flow, 0x10, reply);
        }
    }

    /// Puts back what the pipeline changed of the packets' TTLs and checksums, no more.
    pub fn again(&mut self) {
        self.prepare(Distribution::Uniform, Traffic::Requests);
    }

    fn choose(&mut self, distribution: Distribution) -> u32 {
        let r = self.random();
        match distribution {
            Distribution::Uniform => ((r as u64 * self.flows as u64) >> 32) as u32,
            Distribution::Zipf => {
                let rank = (self.flows as f64).powf(r as f64 / u32::MAX as f64) as u32;
                // Popular connections do not lie side by side.
                (rank.wrapping_mul(0x9e37_79b1)) % self.flows
            }
        }
    }

    fn random(&mut self) -> u32 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 32) as u32
    }

    /// Runs all frames through the pipeline; what it took per packet.
    pub fn run(&mut self, now: Tick) -> f64 {
        let start = Instant::now();
        run(&mut self.pipeline, &mut self.arena, FRAMES, now, |_, _| {});
        nanoseconds_each(start.elapsed())
    }

    /// The same, one frame per call.
    pub fn run_one_at_a_time(&mut self, now: Tick) -> f64 {
        let start = Instant::now();
        for chunk in self.arena.chunks_exact_mut(STRIDE) {
            let mut frame = [Frame::new(chunk, START, PACKET, InterfaceId(0))];
            self.pipeline.run(&mut frame, now);
        }
        nanoseconds_each(start.elapsed())
    }

    /// The packets, to be handled by something else.
    pub fn packets(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.arena.chunks_exact_mut(STRIDE).map(|frame| &mut frame[START - 20..START + PACKET])
    }

    /// A TCP segment of 64 bytes of the client of this flow, or of its server.
    fn write(&mut self, at: usize, flow: u32, flags: u8, reply: bool) {
        let client = (0xc000_0000u32 + (flow >> 14), 1024 + (flow & 0x3fff) as u16);
        let (src, dst) = if reply {
            let server = self.servers[flow as usize] as u32;
            ((0x0a01_0000 + server, 8080), client)
        } else {
            (client, (VIP, 80))
        };
        let packet = &mut self.arena[at * STRIDE + START..][..PACKET];
        packet[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0]);
        packet[14..34].copy_from_slice(&[0x45, 0, 0, 50, 0, 1, 0x40, 0, 64, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        packet[26..30].copy_from_slice(&src.0.to_be_bytes());
        packet[30..34].copy_from_slice(&dst.0.to_be_bytes());
        let checksum = lvx::wire::checksum::of_header(&packet[14..34]);
        packet[24..26].copy_from_slice(&checksum.to_be_bytes());
        packet[34..36].copy_from_slice(&src.1.to_be_bytes());
        packet[36..38].copy_from_slice(&dst.1.to_be_bytes());
        packet[38..54].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0x10, 0, 0x12, 0x34, 0, 0]);
    }
}

/// What a run over all frames took, per packet.
pub fn nanoseconds_each(elapsed: Duration) -> f64 {
    elapsed.as_nanos() as f64 / FRAMES as f64
}

fn run(
    pipeline: &mut Pipeline,
    arena: &mut [u8],
    count: usize,
    now: Tick,
    mut each: impl FnMut(usize, &Frame<'_>),
) {
    let mut chunks = arena.chunks_exact_mut(STRIDE).take(count);
    let mut at = 0;
    loop {
        let mut batch: arrayvec::ArrayVec<Frame<'_>, BATCH> = arrayvec::ArrayVec::new();
        batch.extend(
            chunks.by_ref().take(BATCH).map(|chunk| Frame::new(chunk, START, PACKET, InterfaceId(0))),
        );
        if batch.is_empty() {
            return;
        }
        pipeline.run(&mut batch, now);
        for frame in &batch {
            each(at, frame);
            at += 1;
        }
    }
}

/// Publishes one TCP service at VIP:80 over this many servers.
pub fn publish(table: &Table, published: &Published, method: Method, servers: u32) {
    let link = |name: &str, last, address: &str| Link {
        name: name.into(),
        mac: Mac([2, 0, 0, 0, 0, last]),
        mtu_bytes: 1500,
        addresses: vec![address.parse().expect("a prefix")],
        up: true,
    };
    let route = |to: &str, via: Option<&str>, interface| Route {
        to: to.parse().expect("a prefix"),
        via: via.map(|via| via.parse().expect("an address")),
        interface: Some(InterfaceId(interface)),
        source: None,
        metric: 0,
    };
    let neighbour = |interface, address: u32, last| Neighbour {
        interface: InterfaceId(interface),
        address: std::net::IpAddr::V4(address.into()),
        mac: Mac([2, 0, 0, 0, 1, last]),
    };
    let rip = |i: u32| 0x0a01_0001 + i;
    let rib = Rib {
        links: vec![link("out", 1, "10.0.0.1/24"), link("in", 2, "10.1.255.1/16")],
        routes: vec![route("0.0.0.0/0", Some("10.0.0.254"), 0), route("10.1.0.0/16", None, 1)],
        neighbours: (0..servers)
            .map(|i| neighbour(1, rip(i), (i + 1) as u8))
            .chain([neighbour(0, 0x0a00_00fe, 254)])
            .collect(),
    };
    let real = |i: u32| {
        let endpoint = Endpoint::v4(rip(i).into(), if method == Method::Nat { 8080 } else { 80 });
        table.set_endpoint(RealId(i), endpoint);
        RealServer { id: RealId(i), endpoint, weight: 1, method, live: Arc::default() }
    };
    let service = VirtualService {
        name: "bench".into(),
        proto: Proto::Tcp,
        endpoint: Endpoint::v4(VIP.into(), 80),
        scheduler: SchedulerName::Rr,
        reals: (0..servers).map(real).collect(),
    };
    let services = Arc::new(Services::new(ServiceTable::new(vec![service]), None));
    let hops = Arc::new(NextHops::new(&rib, None));
    published.publish(Arc::new(Snapshot::new(services, &[], hops, Timeouts::default(), vec![false, false])));
}

/// The middle one.
pub fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
