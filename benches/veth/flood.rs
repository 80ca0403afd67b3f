//! Packets as fast as they can be made, and who counts them where they arrive.
//!
//! The packets are XDP frames that the kernel makes by running a program over and over (BPF_PROG_TEST_RUN with live
//! frames, as xdp-trafficgen does): several times as cheap as any socket, so that the sender's core, on which the
//! receiving side of the director's interface runs as well, is never what limits.

#![allow(unsafe_code)]

use crate::bed::{Bed, CLIENT, FLOOD, Outcome, RIP, SENDERS_CORE, VIP};
use lvx::dataplane::port::bpf::{Hook, Link, Map, Object, Program, Words};
use lvx::dataplane::port::device;
use lvx::net::Mac;
use lvx::wire::checksum;
use std::net::Ipv4Addr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Bytes of a packet, with its Ethernet header.
pub const PACKET: usize = 64;
/// Source ports, each a flow of its own.
pub const FLOWS: u16 = 10_000;
const FIRST_PORT: u16 = 20_000;
const MAGIC: u64 = 0x6f6f_6c66_786c_766c;

/// Sent by one call, unless a signal comes first: beginning and ending a call take milliseconds each, in which
/// nothing is sent.
const AT_ONCE: u32 = i32::MAX as u32;
/// For every connection to be opened, and every cache to be what it will be.
const WARM_UP: Duration = Duration::from_millis(200);
const MEASURED: Duration = Duration::from_millis(400);

/// Where the flood should arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// At the server's own address.
    Server,
    /// At the VIP, which the server has too.
    Vip,
}

/// What came of a flood.
#[derive(Debug, Clone, Copy)]
pub struct Flooded {
    /// Packets that arrived, per microsecond.
    pub mpps: f64,
    /// Packets that were sent, per microsecond.
    pub offered_mpps: f64,
    /// Packets that arrived with another destination than they should, from the first one on.
    pub astray: u64,
}

/// The programs of `veth.bpf.c`, the sink attached at the server.
pub struct Programs {
    flood: Program,
    to_socket: Program,
    goals: Map,
    xsks: Map,
    counts: Words,
    client: u32,
    _sink: Link,
}

const SENT: usize = 0;
const RIGHT: usize = 1;
const WRONG: usize = 2;

impl Programs {
    pub fn load(bed: &Bed) -> Outcome<Programs> {
        let object = Object::load("veth", include_bytes!(concat!(env!("OUT_DIR"), "/veth.bpf.o")))?;
        // A handler that does nothing much, so that the signal ends a system call and not the process.
        signal_hook::flag::register(libc::SIGUSR1, Arc::default())?;
        let counts = object.map(c"counts")?.words()?;
        let client = bed.client.inside(|| device::index("c0"))??;
        object.map(c"orders")?.update(&[0; 4], &order(client, bed.macs))?;
        let sink = object.program(c"sink")?;
        let sink = bed.server.inside(|| sink.attach_xdp(device::index("s0")?, Hook::Native))??;
        Ok(Programs {
            flood: object.program(c"flood")?,
            to_socket: object.program(c"to_socket")?,
            goals: object.map(c"goals")?,
            xsks: object.map(c"xsks")?,
            counts,
            client,
            _sink: sink,
        })
    }

    /// Redirects the flood on queue 0 of this interface to an AF_XDP socket.
    pub fn attach_to_socket(&self, ifindex: u32, socket: RawFd) -> Outcome<Link> {
        self.xsks.update(&[0; 4], &socket.to_ne_bytes())?;
        Ok(self.to_socket.attach_xdp(ifindex, Hook::Native)?)
    }

    /// Floods the VIP for a while.
    pub fn flood(&self, bed: &Bed, goal: Goal) -> Outcome<Flooded> {
        let [_, _, _, server] = bed.macs;
        self.goals.update(&[0; 4], &arrival(server, goal))?;
        let count = |what| self.counts.word(what).load(Relaxed);
        let astray = count(WRONG);
        let sender = Sender::default();
        let (sent, right, took) = std::thread::scope(|scope| -> Outcome<(u64, u64, Duration)> {
            let sending = scope.spawn(|| bed.client.inside(|| self.send(&sender)));
            std::thread::sleep(WARM_UP);
            let (start, sent, right) = (Instant::now(), count(SENT), count(RIGHT));
            std::thread::sleep(MEASURED);
            let measured = (count(SENT) - sent, count(RIGHT) - right, start.elapsed());
            while !sending.is_finished() {
                sender.stop();
            }
            sending.join().map_err(|_| "the sender panicked")???;
            Ok(measured)
        })?;
        let rate = |packets: u64| packets as f64 / took.as_micros() as f64;
        Ok(Flooded { mpps: rate(right), offered_mpps: rate(sent), astray: count(WRONG) - astray })
    }

    fn send(&self, sender: &Sender) -> Outcome<()> {
        core_affinity::set_for_current(core_affinity::CoreId { id: SENDERS_CORE });
        sender.thread.store(rustix::thread::gettid().as_raw_nonzero().get(), Relaxed);
        while !sender.is_to_stop.load(Relaxed) {
            match self.flood.run_live_times(&[0; PACKET], self.client, 0, AT_ONCE) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The thread that sends, deep in a system call most of the time.
#[derive(Default)]
struct Sender {
    thread: AtomicI32,
    is_to_stop: AtomicBool,
}

impl Sender {
    /// Calls it out of the system call. It may not have been there yet: to be repeated until it has ended.
    fn stop(&self) {
        self.is_to_stop.store(true, Relaxed);
        let (process, thread) =
            (std::process::id() as libc::c_long, self.thread.load(Relaxed) as libc::c_long);
        // SAFETY: takes no pointers; a thread that has ended is an error of no consequence.
        unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR1 as libc::c_long) };
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// `struct order` of `veth.bpf.c`: the first flow's packet, with a checksum that is every flow's.
fn order(ifindex: u32, [client, director, ..]: [Mac; 4]) -> [u8; PACKET + 8] {
    let mut packet = [0; PACKET];
    packet[..6].copy_from_slice(&director.0);
    packet[6..12].copy_from_slice(&client.0);
    packet[12..24].copy_from_slice(&[0x08, 0x00, 0x45, 0, 0, 50, 0, 1, 0x40, 0, 64, 17]);
    packet[26..30].copy_from_slice(&CLIENT.octets());
    packet[30..34].copy_from_slice(&VIP.octets());
    let header = checksum::of_header(&packet[14..34]);
    packet[24..26].copy_from_slice(&header.to_be_bytes());
    packet[34..36].copy_from_slice(&FIRST_PORT.to_be_bytes());
    packet[36..38].copy_from_slice(&FLOOD[0].to_be_bytes());
    packet[38..40].copy_from_slice(&30u16.to_be_bytes());
    packet[42..44].copy_from_slice(&FLOWS.to_be_bytes());
    packet[48..56].copy_from_slice(&MAGIC.to_ne_bytes());
    let udp = udp_checksum(&packet);
    packet[40..42].copy_from_slice(&udp.to_be_bytes());
    let mut order = [0; PACKET + 8];
    order[..PACKET].copy_from_slice(&packet);
    order[PACKET..PACKET + 4].copy_from_slice(&ifindex.to_ne_bytes());
    order[PACKET + 4..PACKET + 6].copy_from_slice(&FIRST_PORT.to_ne_bytes());
    order[PACKET + 6..].copy_from_slice(&FLOWS.to_ne_bytes());
    order
}

/// RFC 768, of a packet whose checksum field is zero.
fn udp_checksum(packet: &[u8; PACKET]) -> u16 {
    let words = packet[26..].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum = words.sum::<u32>() + 17 + 30;
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// `struct goal` of `veth.bpf.c`.
fn arrival(mac: Mac, goal: Goal) -> [u8; 12] {
    let (addr, port): (Ipv4Addr, u16) = match goal {
        Goal::Server => (RIP, FLOOD[1]),
        Goal::Vip => (VIP, FLOOD[0]),
    };
    let mut bytes = [0; 12];
    bytes[..6].copy_from_slice(&mac.0);
    bytes[6..8].copy_from_slice(&port.to_be_bytes());
    bytes[8..].copy_from_slice(&addr.octets());
    bytes
}
