//! The AF_XDP port of one worker: one receive queue of every interface, all in one UMEM, so that a packet changes
//! interface without being copied.
//!
//! It promises that every frame is in exactly one place (see `ledger.rs`), that the kernel is woken only when it
//! asks for it, and that the steering programs hear of every turn. It does not carry packets in several frames
//! (jumbo).
//!
//! This file and those under `xdp/` are the fence around xsk-rs. Its calls ask two things: a descriptor must be of the same UMEM, which
//! holds since there is only one here; and the memory of a frame may be touched only while neither ring has it,
//! which holds since descriptors in the kernel's hands are not kept anywhere.

#![allow(unsafe_code)]

mod arm;
mod error;
mod umem;

pub use error::PortError;

use arm::{Arm, poll};
use umem::{Region, Shares, frame_bytes};

use super::counters::PortCounters;
use super::host::{Allowance, HostDoor};
use super::ledger::{FrameCensus, Ledger, Place};
use super::steer::{Heartbeat, Steering};
use super::{BATCH, Frame, HEADROOM, OwnFrame, Port, bpf, device};
use crate::dataplane::verdict::Verdict;
use crate::net::InterfaceId;
use arrayvec::ArrayVec;
use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};
use xsk_rs::Umem;
use xsk_rs::config::BindFlags;
use xsk_rs::umem::frame::FrameDesc;

/// After a process ended, the kernel holds its queues for some milliseconds yet.
const BUSY_RETRY: Duration = Duration::from_secs(2);

/// The longest sleep between two beats.
const BEAT_EVERY: Duration = Duration::from_millis(100);

/// The longest sleep while packets wait to be sent.
const PUSH_EVERY: Duration = Duration::from_millis(1);

/// How a worker's port is to be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XdpOptions {
    /// UMEM frames, for all interfaces of the worker together; at least 16 per interface.
    pub frames: u32,
    /// Let the driver run on the worker's core (SO_PREFER_BUSY_POLL).
    pub busy_poll: bool,
    /// Zero-copy where all interfaces can; otherwise, and always with generic XDP, the kernel copies.
    pub zero_copy: bool,
}

impl Default for XdpOptions {
    fn default() -> XdpOptions {
        XdpOptions { frames: 8192, busy_poll: false, zero_copy: true }
    }
}

/// See the module.
#[derive(Debug)]
pub struct XdpPort {
    arms: Vec<Arm>,
    /// The arm whose turn it is.
    next: usize,
    free: Vec<FrameDesc>,
    ledger: Ledger,
    region: Region,
    allowance: Allowance,
    counters: Arc<PortCounters>,
    total: usize,
    turns: u32,
}

impl XdpPort {
    /// Opens queue `queue` of each interface, and has their steering programs send it what they steer there.
    ///
    /// # Errors
    /// See [`PortError`].
    pub fn open(
        options: &XdpOptions,
        queue: u32,
        interfaces: &[(InterfaceId, &str, &Steering)],
    ) -> Result<XdpPort, PortError> {
        bpf::lift_memlock();
        let until = Instant::now() + BUSY_RETRY;
        let generic = interfaces.iter().any(|(_, _, steering)| steering.mode() == bpf::Hook::Generic);
        let mut bind =
            if options.zero_copy && !generic { BindFlags::XDP_ZEROCOPY } else { BindFlags::XDP_COPY };
        loop {
            match XdpPort::try_open(options, queue, interfaces, bind) {
                Err(e) if bind.contains(BindFlags::XDP_ZEROCOPY) && e.is_unsupported() => {
                    tracing::debug!("queue {queue}: no zero-copy ({e}): the kernel copies");
                    bind = BindFlags::XDP_COPY;
                }
                Err(PortError::QueueBusy { .. }) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                result => return result,
            }
        }
    }

    fn try_open(
        options: &XdpOptions,
        queue: u32,
        interfaces: &[(InterfaceId, &str, &Steering)],
        bind: BindFlags,
    ) -> Result<XdpPort, PortError> {
        let shares = Shares::of(options.frames, interfaces.len())?;
        let frame_bytes = frame_bytes(interfaces)?;
        let config = shares.umem_config(frame_bytes)?;
        let frames = NonZeroU32::new(options.frames).ok_or(PortError::TooFewFrames { least: 16 })?;
        let (umem, free) =
            Umem::new(config, frames, false).map_err(|e| PortError::umem(&e, options.frames))?;
        let mut arms = Vec::with_capacity(interfaces.len());
        for &(id, name, steering) in interfaces {
            arms.push(Arm::open(id, name, steering, queue, &umem, &shares, bind)?);
        }
        let total = free.len();
        let counters = PortCounters {
            arms: arms.iter().map(|arm| arm.counters(queue, &shares)).collect(),
            frames: total as u64,
            ..PortCounters::default()
        };
        let region = Region::of(umem, &free, frame_bytes);
        let mut port = XdpPort {
            arms,
            next: 0,
            free,
            ledger: Ledger::new(total),
            region,
            allowance: Allowance::new(monotonic_ns()),
            counters: Arc::new(counters),
            total,
            turns: 0,
        };
        for arm in &mut port.arms {
            arm.refill(&mut port.free, &mut port.ledger, &port.region).map_err(PortError::Other)?;
            arm.tune(options.busy_poll, shares.send_limit);
        }
        // Beat first, then register: from here on the queue is ours.
        port.beat();
        for (arm, (_, name, steering)) in port.arms.iter().zip(interfaces) {
            steering.register(queue, arm.fd()).map_err(|e| PortError::socket(name, queue, e))?;
        }
        tracing::debug!(queue, frames = total, frame_bytes, ?bind, "AF_XDP port open");
        Ok(port)
    }

    /// What the port counted, for another thread to read.
    pub fn counters(&self) -> Arc<PortCounters> {
        Arc::clone(&self.counters)
    }

    /// Where the frames are, between two turns.
    pub fn frames(&self) -> FrameCensus {
        FrameCensus {
            total: self.total,
            free: self.free.len(),
            filling: self.arms.iter().map(|arm| arm.filling).sum(),
            lent: 0,
            sending: self.arms.iter().map(|arm| arm.sending).sum(),
        }
    }

    fn beat(&mut self) {
        let now = monotonic_ns();
        self.allowance.advance(now);
        for arm in &self.arms {
            arm.heartbeat.beat(now);
        }
    }

    /// Takes back what was sent, gives out frames to receive into, and sends on what the kernel left in the ring.
    fn tend(&mut self) -> io::Result<()> {
        let mut sent = [FrameDesc::default(); BATCH];
        for arm in &mut self.arms {
            arm.reclaim(&mut sent, &mut self.free, &mut self.ledger, &self.region);
            arm.push()?;
            arm.refill(&mut self.free, &mut self.ledger, &self.region)?;
        }
        debug_assert!(self.frames().adds_up(), "every frame is somewhere: {:?}", self.frames());
        Ok(())
    }

    /// Lends what `received` describes to the road and carries out its verdicts.
    fn lend(
        &mut self,
        ingress: usize,
        received: &mut [FrameDesc],
        road: &mut dyn FnMut(&mut [Frame<'_>]) -> Vec<OwnFrame>,
    ) -> io::Result<()> {
        let id = self.arms[ingress].id;
        let mut outcomes: ArrayVec<(Verdict, usize, usize), BATCH> = ArrayVec::new();
        let own = {
            let mut frames: ArrayVec<Frame<'_>, BATCH> = ArrayVec::new();
            for desc in received.iter() {
                self.ledger.moved(self.region.number(desc), Place::Fill, Place::Lent);
                // SAFETY: just received, so in no ring; each descriptor names another frame.
                let buffer = unsafe { self.region.frame(desc) };
                frames.push(Frame::new(buffer, self.region.offset(desc), desc.lengths().data(), id));
            }
            let own = road(&mut frames);
            outcomes.extend(frames.iter().map(|frame| (frame.verdict, frame.start(), frame.len())));
            own
        };
        let any_own = !own.is_empty();
        let mut own = own.into_iter().peekable();
        for (at, (desc, &(verdict, start, len))) in received.iter_mut().zip(&outcomes).enumerate() {
            let sending = match verdict {
                Verdict::Forward(egress) | Verdict::Answer(egress, _) => self.stage(desc, egress, start, len),
                Verdict::ToHost(_) => {
                    self.hand_over(ingress, desc, start, len);
                    false
                }
                Verdict::Drop(_) | Verdict::Held => false,
            };
            if !sending {
                self.ledger.moved(self.region.number(desc), Place::Lent, Place::Free);
                self.free.push(*desc);
            }
            if any_own {
                while let Some(own) = own.next_if(|own| own.behind() == at) {
                    self.give_out(ingress, own)?;
                }
            }
        }
        Ok(())
    }

    /// Sends what the road has made, in a free frame, or hands it to the host.
    #[cold]
    fn give_out(&mut self, ingress: usize, mut own: OwnFrame) -> io::Result<()> {
        let made = own.frame();
        let packet = made.data();
        match made.verdict {
            Verdict::Forward(egress) | Verdict::Answer(egress, _) => {
                // There must be room in line for all frames of a batch yet.
                if self.arms.iter().any(|arm| arm.staged.remaining_capacity() <= BATCH) {
                    self.send_staged()?;
                }
                let Some(mut desc) = self.free.pop() else {
                    self.counters.tx_ring_full.add(1);
                    return Ok(());
                };
                self.ledger.moved(self.region.number(&desc), Place::Free, Place::Lent);
                let start = self.region.offset(&desc);
                // SAFETY: the frame was free and is now lent, so in no ring.
                let frame = unsafe { self.region.frame(&desc) };
                let place = frame.get_mut(start..start + packet.len());
                let fits = place.map(|place| place.copy_from_slice(packet)).is_some();
                if !fits {
                    self.counters.tx_ring_full.add(1);
                }
                if !fits || !self.stage(&mut desc, egress, start, packet.len()) {
                    self.ledger.moved(self.region.number(&desc), Place::Lent, Place::Free);
                    self.free.push(desc);
                }
            }
            Verdict::ToHost(_) => self.hand_over_packet(ingress, packet),
            Verdict::Drop(_) | Verdict::Held => {}
        }
        Ok(())
    }

    /// Puts the packet in line for the egress interface; `false`, and counted, if there is no room.
    fn stage(&mut self, desc: &mut FrameDesc, egress: InterfaceId, start: usize, len: usize) -> bool {
        let arm = self.arms.iter_mut().find(|arm| arm.id == egress);
        let room = arm.filter(|arm| arm.sending + arm.staged.len() < arm.send_limit && !arm.staged.is_full());
        // SAFETY: the frame is lent, so in no ring, and the road has returned.
        let staged = room.filter(|_| unsafe { self.region.place(desc, start, len) });
        let Some(arm) = staged else {
            self.counters.tx_ring_full.add(1);
            return false;
        };
        desc.set_options(0);
        arm.staged.push(*desc);
        self.ledger.moved(self.region.number(desc), Place::Lent, Place::Sending);
        true
    }

    #[cold]
    fn hand_over(&mut self, ingress: usize, desc: &FrameDesc, start: usize, len: usize) {
        // SAFETY: the frame is lent, so in no ring, and the road has returned.
        let frame = unsafe { self.region.frame(desc) };
        self.hand_over_packet(ingress, &frame[start..start + len]);
    }

    #[cold]
    fn hand_over_packet(&mut self, ingress: usize, packet: &[u8]) {
        let handed = self.allowance.take() && self.arms[ingress].door.send(packet).is_ok();
        if handed { &self.counters.to_host } else { &self.counters.host_unreachable }.add(1);
    }

    /// Gives the kernel what is in line. There is always room: `stage` kept to the limit, which the rings hold.
    fn send_staged(&mut self) -> io::Result<()> {
        for (arm, counters) in self.arms.iter_mut().zip(&self.counters.arms) {
            if arm.staged.is_empty() {
                continue;
            }
            // SAFETY: descriptors of this UMEM that are in no other ring.
            let sent = unsafe { arm.tx.produce(&arm.staged) };
            counters.sent.add(sent as u64);
            arm.sending += sent;
            for desc in arm.staged.drain(..).skip(sent) {
                self.ledger.moved(self.region.number(&desc), Place::Sending, Place::Free);
                self.free.push(desc);
                self.counters.tx_ring_full.add(1);
            }
            arm.push()?;
        }
        Ok(())
    }

    /// What need not be known at every turn: whether the interfaces are still there, what the kernel counts, and how full
    /// everything is.
    #[cold]
    fn look_around(&mut self) -> io::Result<()> {
        self.counters.free_frames.set(self.free.len() as u64);
        self.arms.iter_mut().zip(&self.counters.arms).try_for_each(|(arm, counters)| {
            arm.tell(counters);
            arm.check()
        })
    }
}

impl Port for XdpPort {
    fn turn(&mut self, road: &mut dyn FnMut(&mut [Frame<'_>]) -> Vec<OwnFrame>) -> io::Result<usize> {
        self.beat();
        self.tend()?;
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(4096) {
            self.look_around()?;
        }
        let mut received = [FrameDesc::default(); BATCH];
        for _ in 0..self.arms.len() {
            let ingress = self.next;
            self.next = (self.next + 1) % self.arms.len();
            let arm = &mut self.arms[ingress];
            // SAFETY: the ring's frames are of the only UMEM.
            let n = unsafe { arm.rx.consume(&mut received) };
            if n > 0 {
                arm.filling -= n;
                self.counters.arms[ingress].received.add(n as u64);
                self.lend(ingress, &mut received[..n], road)?;
                self.send_staged()?;
                return Ok(n);
            }
        }
        Ok(0)
    }

    fn send(&mut self, own: Vec<OwnFrame>) -> io::Result<()> {
        own.into_iter().try_for_each(|own| self.give_out(0, own))?;
        self.send_staged()
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let until = Instant::now() + timeout;
        loop {
            self.beat();
            self.tend()?;
            self.look_around()?;
            // What the kernel left in a transmit ring has to be pushed again soon.
            let longest = if self.arms.iter_mut().any(Arm::has_unsent) { PUSH_EVERY } else { BEAT_EVERY };
            let left = until.saturating_duration_since(Instant::now());
            if poll(&self.arms, left.min(longest))? || left <= longest {
                self.beat();
                return Ok(());
            }
        }
    }
}

fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec; CLOCK_MONOTONIC exists everywhere.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
