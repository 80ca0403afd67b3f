//! A director in memory for the benches: a service, its servers, any number of established connections, and a
//! UMEM-like arena of frames that holds the next packets of randomly chosen connections.
#![allow(dead_code, reason = "every bench uses its own part of the world")]

use lvx::conntrack::{Seed, Table, Tracker};
use lvx::dataplane::counters::Counters;
use lvx::dataplane::nexthop::{Link, Neighbour, NextHops, Rib, Route};
use lvx::dataplane::pipeline::Pipeline;
use lvx::dataplane::port::{BATCH, Frame};
use lvx::dataplane::snapshot::{Published, Services, Snapshot};
use lvx::dataplane::verdict::Verdict;
use lvx::net::{Endpoint, InterfaceId, Mac, Proto, Tick};
use lvx::service::{
    Conduct, Method, Policy, RealId, RealServer, SchedulerName, SchedulerOptions, ServiceTable,
    VirtualService,
};
use std::sync::Arc;
use std::time::Instant;

/// Frames in the arena: as many as the receive rings of two interfaces hold.
pub const FRAMES: usize = 4096;
/// Bytes from one frame to the next, as in UMEM.
pub const STRIDE: usize = 2048;
/// Bytes of a packet, with its Ethernet header.
pub const PACKET: usize = 64;
/// Where a packet starts in its frame.
pub const START: usize = 256;
/// Places of the table that a busy worker looks at beside a batch.
pub const SWEEP: u32 = 256;
/// Bytes before a packet that [`World::packets`] lends too: an outer header fits.
pub const HEADROOM: usize = 20;

/// The service's address, at port 80.
pub const VIP: u32 = 0x0a00_0064;
/// Its servers, the i-th at 10.1.0.(1 + i), port 8080 (NAT) or 80.
pub const SERVERS: u32 = 16;

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
    /// The services' addresses; flows are of each in turn.
    vips: Vec<u32>,
    /// Server of each flow, for replies.
    servers: Vec<u8>,
    arena: Vec<u8>,
    dice: u64,
    next_new: u32,
    clock: Tick,
}

impl World {
    /// A director with `flows` established connections to servers reached by `method`, and room for `room` more.
    pub fn new(method: Method, flows: u32, room: u32) -> World {
        World::of_workers(method, flows, room, 1).remove(0)
    }

    /// The same with several workers, each with frames of its own; they share the connections.
    pub fn of_workers(method: Method, flows: u32, room: u32, workers: u32) -> Vec<World> {
        let table = Arc::new(Table::new(flows + room, Seed::new(1, 2)).expect("memory for the table"));
        let published = Arc::new(Published::default());
        publish(&table, &published, method, SERVERS);
        let world = |worker| {
            let tracker = Tracker::new(table.clone(), worker, workers);
            let pipeline = Pipeline::new(tracker, Arc::default(), published.clone());
            World {
                dice: 88 + u64::from(worker),
                ..World::of_pipeline(table.clone(), published.clone(), pipeline, method, vec![VIP], flows)
            }
        };
        let mut worlds: Vec<World> = (0..workers).map(world).collect();
        worlds[0].establish();
        let servers = worlds[0].servers.clone();
        worlds[1..].iter_mut().for_each(|world| world.servers.clone_from(&servers));
        worlds
    }

    /// The only worker of a director that masquerades services at port 80 of these addresses.
    pub fn of_director(
        table: Arc<Table>,
        published: Arc<Published>,
        counters: Arc<Counters>,
        vips: Vec<u32>,
        flows: u32,
    ) -> World {
        let tracker = Tracker::new(table.clone(), 0, 1);
        let pipeline = Pipeline::new(tracker, counters, published.clone());
        let mut world = World::of_pipeline(table, published, pipeline, Method::Nat, vips, flows);
        world.establish();
        world
    }

    fn of_pipeline(
        table: Arc<Table>,
        published: Arc<Published>,
        pipeline: Pipeline,
        method: Method,
        vips: Vec<u32>,
        flows: u32,
    ) -> World {
        World {
            table,
            published,
            pipeline,
            method,
            flows,
            vips,
            servers: vec![0; flows as usize],
            arena: vec![0xa5; FRAMES * STRIDE],
            dice: 88,
            next_new: flows,
            clock: Tick(0),
        }
    }

    fn establish(&mut self) {
        for first in (0..self.flows).step_by(FRAMES) {
            let count = (self.flows - first).min(FRAMES as u32) as usize;
            for flags in [0x02, 0x10] {
                for i in 0..count {
                    self.write(i, first + i as u32, flags, false);
                }
                let mut servers = self.servers[first as usize..].iter_mut();
                lend(&mut self.arena, count, |batch| {
                    self.pipeline.run(batch, Tick(0));
                    for (frame, server) in batch.iter().zip(&mut servers) {
                        assert!(matches!(frame.verdict, Verdict::Forward(_)), "{:?}", frame.verdict);
                        *server = frame.data()[5];
                    }
                });
            }
        }
    }

    /// Shows the packets that opened and established each connection to something else, in the same order.
    pub fn introduce(&mut self, mut each: impl FnMut(&mut [u8])) {
        for flow in 0..self.flows {
            for flags in [0x02, 0x10] {
                self.write(0, flow, flags, false);
                self.packets().take(1).for_each(&mut each);
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

    /// The next number of this world's own, fixed sequence.
    pub fn random(&mut self) -> u32 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 32) as u32
    }

    /// Lends all frames, [`BATCH`] at a time, as a port does.
    pub fn turn(&mut self, road: impl FnMut(&mut Pipeline, &mut [Frame<'_>])) {
        self.turn_of(FRAMES, road);
    }

    /// Lends the first so many frames.
    pub fn turn_of(&mut self, frames: usize, mut road: impl FnMut(&mut Pipeline, &mut [Frame<'_>])) {
        lend(&mut self.arena, frames, |batch| road(&mut self.pipeline, batch));
    }

    /// Runs all frames through the pipeline; what it took per packet.
    pub fn run(&mut self, now: Tick) -> f64 {
        timed(|| self.turn(|pipeline, batch| pipeline.run(batch, now)))
    }

    /// The same, one frame per call.
    pub fn run_one_at_a_time(&mut self, now: Tick) -> f64 {
        timed(|| {
            for chunk in self.arena.chunks_exact_mut(STRIDE) {
                let mut frame = [Frame::new(chunk, START, PACKET, InterfaceId(0))];
                self.pipeline.run(&mut frame, now);
            }
        })
    }

    /// Runs all frames through, and sweeps after each batch until as many connections have ended as the batch has
    /// opened: they have been silent for too long, so that it need not look at many more places than that.
    pub fn run_with_expiry(&mut self) -> f64 {
        // Half-open connections last 60 s: a round over the table takes longer than that.
        let step = step(self.flows);
        if self.clock == Tick(0) {
            // The first to end are established, and last 900 s.
            self.pipeline.sweep(self.clock, 0);
            self.clock = Tick(90_100);
        }
        let ended = self.pipeline.counters().expired.get();
        let opened = self.connections_opened();
        let (mut clock, mut due) = (self.clock, ended);
        let took = timed(|| {
            self.turn(|pipeline, batch| {
                clock = Tick(clock.0 + step);
                open_and_end(pipeline, batch, clock, &mut due);
            });
        });
        self.clock = clock;
        assert_eq!(self.connections_opened() - opened, FRAMES as u64, "every packet opens a connection");
        let ended = self.pipeline.counters().expired.get();
        assert!(ended >= due, "{ended} have ended, and not {due}");
        took
    }

    /// Connections that this worker has opened.
    pub fn connections_opened(&self) -> u64 {
        (0..SERVERS).map(|i| self.pipeline.counters().real(RealId(i)).connections.get()).sum()
    }

    /// The packets with [`HEADROOM`] bytes before each, to be handled by something else.
    pub fn packets(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.arena.chunks_exact_mut(STRIDE).map(|frame| &mut frame[START - HEADROOM..START + PACKET])
    }

    /// A TCP segment of 64 bytes of the client of this flow, or of its server.
    pub fn write(&mut self, at: usize, flow: u32, flags: u8, reply: bool) {
        let client = (0xc000_0000u32 + (flow >> 14), 1024 + (flow & 0x3fff) as u16);
        let (src, dst) = if reply {
            let server = self.servers[flow as usize] as u32;
            ((0x0a01_0000 + server, 8080), client)
        } else {
            (client, (self.vips[flow as usize % self.vips.len()], 80))
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

/// Opens a connection for each packet, and ends old ones until `due` and as many more have ended.
pub fn open_and_end(pipeline: &mut Pipeline, batch: &mut [Frame<'_>], clock: Tick, due: &mut u64) {
    pipeline.run(batch, clock);
    *due += batch.len() as u64;
    for _ in 0..BATCH {
        if pipeline.counters().expired.get() >= *due {
            break;
        }
        pipeline.sweep(clock, SWEEP);
    }
}

/// Ticks per batch of new connections: the table turns over in four minutes or two, and half-open ones last one.
pub fn step(flows: u32) -> u32 {
    (4 * 6_200 * BATCH as u64).div_ceil(u64::from(flows)) as u32
}

/// What it took to handle all frames, in nanoseconds per packet.
pub fn timed(all: impl FnOnce()) -> f64 {
    let start = Instant::now();
    all();
    start.elapsed().as_nanos() as f64 / FRAMES as f64
}

fn lend(arena: &mut [u8], count: usize, mut road: impl FnMut(&mut [Frame<'_>])) {
    let mut chunks = arena.chunks_exact_mut(STRIDE).take(count);
    loop {
        let mut batch: arrayvec::ArrayVec<Frame<'_>, BATCH> = arrayvec::ArrayVec::new();
        batch.extend(
            chunks.by_ref().take(BATCH).map(|chunk| Frame::new(chunk, START, PACKET, InterfaceId(0))),
        );
        if batch.is_empty() {
            return;
        }
        road(&mut batch);
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
        vlan: None,
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
        let (thresholds, live) = Default::default();
        RealServer {
            id: RealId(i),
            endpoint,
            weight: 1,
            is_shut: false,
            method,
            thresholds,
            ramp: None,
            live,
        }
    };
    let service = VirtualService {
        name: "bench".into(),
        proto: Proto::Tcp,
        endpoint: Endpoint::v4(VIP.into(), 80),
        group: None,
        scheduler: SchedulerName::Rr,
        options: SchedulerOptions::default(),
        policy: Policy::default(),
        reals: (0..servers).map(real).collect(),
    };
    let services = Arc::new(Services::new(ServiceTable::new(vec![service]), None));
    let hops = Arc::new(NextHops::new(&rib, None));
    published.publish(Arc::new(Snapshot::new(services, &[], hops, &Conduct::default(), vec![false, false])));
}

/// The middle one.
pub fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
