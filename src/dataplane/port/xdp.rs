//! The AF_XDP port of one worker: one receive queue of every interface, all in one UMEM, so that a packet changes
//! interface without being copied.
//!
//! It promises that every frame is in exactly one place (see `ledger.rs`), that the kernel is woken only when it
//! asks for it, and that the steering programs hear of every turn. It does not carry packets in several frames
//! (jumbo), and it sends nothing of its own.
//!
//! This file is the fence around xsk-rs. Its calls ask two things: a descriptor must be of the same UMEM, which
//! holds since there is only one here; and the memory of a frame may be touched only while neither ring has it,
//! which holds since descriptors in the kernel's hands are not kept anywhere.

#![allow(unsafe_code)]

use super::host::HostDoor;
use super::ledger::{FrameCensus, Ledger, Place};
use super::steer::{Heartbeat, Steering};
use super::{BATCH, Frame, HEADROOM, Port, bpf, device};
use crate::dataplane::verdict::Verdict;
use crate::net::InterfaceId;
use arrayvec::ArrayVec;
use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use xsk_rs::config::{BindFlags, FrameSize, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk_rs::umem::frame::FrameDesc;
use xsk_rs::{CompQueue, FillQueue, RxQueue, Socket, TxQueue, Umem};

/// What the kernel keeps free in front of a received packet (XDP_PACKET_HEADROOM).
const KERNEL_HEADROOM: usize = 256;
const _: () = assert!(KERNEL_HEADROOM >= HEADROOM);

/// Ethernet header.
const LINK_BYTES: usize = 14;

/// After a process ended, the kernel holds its queues for some milliseconds yet.
const BUSY_RETRY: Duration = Duration::from_secs(2);

/// The longest sleep between two beats.
const BEAT_EVERY: Duration = Duration::from_millis(100);

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

/// What the port itself counted. Written by its worker, read from anywhere; the kernel's three are some
/// milliseconds old.
#[derive(Debug, Default)]
pub struct PortCounters {
    /// Frames lent to the road.
    pub received: AtomicU64,
    /// Frames given to the kernel to be sent.
    pub sent: AtomicU64,
    /// Frames handed to the host.
    pub to_host: AtomicU64,
    /// Frames freed since the egress interface's transmit ring was full, or no interface of this port is the
    /// egress.
    pub tx_ring_full: AtomicU64,
    /// Frames for the host that could not be handed over.
    pub host_unreachable: AtomicU64,
    /// Packets that the kernel dropped since they did not fit a frame, or for want of one in copy mode.
    pub rx_dropped: AtomicU64,
    /// Packets that the kernel dropped since the receive ring was full.
    pub rx_ring_full: AtomicU64,
    /// Times that the kernel found no frame to receive into.
    pub fill_ring_empty: AtomicU64,
}

/// One writer: no locked addition is needed.
fn count(counter: &AtomicU64, more: usize) {
    counter.store(counter.load(Ordering::Relaxed) + more as u64, Ordering::Relaxed);
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
    counters: Arc<PortCounters>,
    total: usize,
    turns: u32,
}

/// The port's hold on one interface.
#[derive(Debug)]
struct Arm {
    id: InterfaceId,
    name: String,
    tx: TxQueue,
    rx: RxQueue,
    fill: FillQueue,
    completion: CompQueue,
    heartbeat: Heartbeat,
    door: HostDoor,
    /// Frames with the kernel for receiving, now and at most.
    filling: usize,
    fill_target: usize,
    /// Frames with the kernel for sending, now and at most.
    sending: usize,
    send_limit: usize,
    staged: ArrayVec<FrameDesc, BATCH>,
}

/// The UMEM's memory.
#[derive(Debug)]
struct Region {
    umem: Umem,
    base: *mut u8,
    frame_bytes: usize,
}

// SAFETY: `base` points into the memory that `umem` owns, which is Send itself.
unsafe impl Send for Region {}

impl Region {
    /// The number of the frame that `desc` points into.
    #[inline]
    fn number(&self, desc: &FrameDesc) -> usize {
        desc.addr() / self.frame_bytes
    }

    /// Where in its frame the packet of `desc` starts.
    #[inline]
    fn offset(&self, desc: &FrameDesc) -> usize {
        desc.addr() % self.frame_bytes
    }

    /// The whole frame that `desc` points into.
    ///
    /// # Safety
    /// `desc` is of this UMEM, its frame is in no ring, and no other slice of it lives.
    #[inline]
    unsafe fn frame<'a>(&self, desc: &FrameDesc) -> &'a mut [u8] {
        // SAFETY: inside the region, as the descriptor is of this UMEM; exclusive, as the caller promises.
        unsafe {
            let start = self.base.add(self.number(desc) * self.frame_bytes);
            std::slice::from_raw_parts_mut(start, self.frame_bytes)
        }
    }

    /// Makes the `len` bytes at `start` of the frame the packet that `desc` names. xsk-rs has no way to set a
    /// descriptor's address, so a packet whose start has moved (an outer header was put in front) is moved back to
    /// where the address points: 10 to 50 ns, the only copy on the road. `false` if it does not fit there.
    ///
    /// # Safety
    /// As [`Region::frame`].
    #[inline]
    unsafe fn place(&self, desc: &mut FrameDesc, start: usize, len: usize) -> bool {
        let offset = self.offset(desc);
        if offset + len > self.frame_bytes {
            return false;
        }
        if start != offset {
            // SAFETY: as the caller promises.
            let frame = unsafe { self.frame(desc) };
            frame.copy_within(start..start + len, offset);
        }
        // SAFETY: as the caller promises.
        unsafe { self.umem.data_mut(desc) }.cursor().set_pos(len);
        true
    }
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
        let base = base_of(&umem, &free);
        let total = free.len();
        let region = Region { umem, base, frame_bytes: frame_bytes as usize };
        let mut port = XdpPort {
            arms,
            next: 0,
            free,
            ledger: Ledger::new(total),
            region,
            counters: Arc::default(),
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

    fn beat(&self) {
        let now = monotonic_ns();
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
    fn lend(&mut self, ingress: usize, received: &mut [FrameDesc], road: &mut dyn FnMut(&mut [Frame<'_>])) {
        let id = self.arms[ingress].id;
        let mut outcomes: ArrayVec<(Verdict, usize, usize), BATCH> = ArrayVec::new();
        {
            let mut frames: ArrayVec<Frame<'_>, BATCH> = ArrayVec::new();
            for desc in received.iter() {
                self.ledger.moved(self.region.number(desc), Place::Fill, Place::Lent);
                // SAFETY: just received, so in no ring; each descriptor names another frame.
                let buffer = unsafe { self.region.frame(desc) };
                frames.push(Frame::new(buffer, self.region.offset(desc), desc.lengths().data(), id));
            }
            road(&mut frames);
            outcomes.extend(frames.iter().map(|frame| (frame.verdict, frame.start(), frame.len())));
        }
        for (desc, &(verdict, start, len)) in received.iter_mut().zip(&outcomes) {
            let sending = match verdict {
                Verdict::Forward(egress) => self.stage(desc, egress, start, len),
                Verdict::ToHost(_) => {
                    self.hand_over(ingress, desc, start, len);
                    false
                }
                Verdict::Drop(_) => false,
            };
            if !sending {
                self.ledger.moved(self.region.number(desc), Place::Lent, Place::Free);
                self.free.push(*desc);
            }
        }
    }

    /// Puts the packet in line for the egress interface; `false`, and counted, if there is no room.
    fn stage(&mut self, desc: &mut FrameDesc, egress: InterfaceId, start: usize, len: usize) -> bool {
        let arm = self.arms.iter_mut().find(|arm| arm.id == egress);
        let room = arm.filter(|arm| arm.sending + arm.staged.len() < arm.send_limit && !arm.staged.is_full());
        // SAFETY: the frame is lent, so in no ring, and the road has returned.
        let staged = room.filter(|_| unsafe { self.region.place(desc, start, len) });
        let Some(arm) = staged else {
            count(&self.counters.tx_ring_full, 1);
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
        let handed = self.arms[ingress].door.send(&frame[start..start + len]);
        count(if handed.is_ok() { &self.counters.to_host } else { &self.counters.host_unreachable }, 1);
    }

    /// Gives the kernel what is in line. There is always room: `stage` kept to the limit, which the rings hold.
    fn send_staged(&mut self) -> io::Result<()> {
        for arm in &mut self.arms {
            if arm.staged.is_empty() {
                continue;
            }
            // SAFETY: descriptors of this UMEM that are in no other ring.
            let sent = unsafe { arm.tx.produce(&arm.staged) };
            count(&self.counters.sent, sent);
            arm.sending += sent;
            for desc in arm.staged.drain(..).skip(sent) {
                self.ledger.moved(self.region.number(&desc), Place::Sending, Place::Free);
                self.free.push(desc);
                count(&self.counters.tx_ring_full, 1);
            }
            arm.push()?;
        }
        Ok(())
    }

    /// What need not be known at every turn: the kernel's counters, and whether the interfaces are still there.
    #[cold]
    fn look_around(&self) -> io::Result<()> {
        self.arms.iter().try_for_each(Arm::check)?;
        let (mut dropped, mut ring_full, mut fill_empty) = (0, 0, 0);
        for statistics in self.arms.iter().filter_map(|arm| arm.rx.fd().xdp_statistics().ok()) {
            dropped += statistics.rx_dropped();
            ring_full += statistics.rx_ring_full();
            fill_empty += statistics.rx_fill_ring_empty_descs();
        }
        self.counters.rx_dropped.store(dropped, Ordering::Relaxed);
        self.counters.rx_ring_full.store(ring_full, Ordering::Relaxed);
        self.counters.fill_ring_empty.store(fill_empty, Ordering::Relaxed);
        Ok(())
    }
}

impl Port for XdpPort {
    fn turn(&mut self, road: &mut dyn FnMut(&mut [Frame<'_>])) -> io::Result<usize> {
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
                count(&self.counters.received, n);
                self.lend(ingress, &mut received[..n], road);
                self.send_staged()?;
                return Ok(n);
            }
        }
        Ok(0)
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let until = Instant::now() + timeout;
        loop {
            self.beat();
            self.tend()?;
            self.look_around()?;
            let left = until.saturating_duration_since(Instant::now());
            if poll(&self.arms, left.min(BEAT_EVERY))? || left <= BEAT_EVERY {
                self.beat();
                return Ok(());
            }
        }
    }
}

impl Arm {
    fn open(
        id: InterfaceId,
        name: &str,
        steering: &Steering,
        queue: u32,
        umem: &Umem,
        shares: &Shares,
        bind: BindFlags,
    ) -> Result<Arm, PortError> {
        let config = SocketConfig::builder()
            .rx_queue_size(shares.fill_ring)
            .tx_queue_size(shares.send_ring)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(bind | BindFlags::XDP_USE_NEED_WAKEUP)
            .build();
        let interface = name.parse().map_err(|_| PortError::socket(name, queue, absent()))?;
        // SAFETY: INHIBIT_PROG_LOAD is set, so that libxdp detaches nothing.
        let (tx, rx, rings) = unsafe { Socket::new(config, umem, &interface, queue) }
            .map_err(|e| PortError::socket(name, queue, source_of(&e)))?;
        let (fill, completion) = rings.ok_or_else(|| PortError::Twice { interface: name.to_owned() })?;
        let door = HostDoor::open(steering, queue).map_err(PortError::Other)?;
        Ok(Arm {
            id,
            name: name.to_owned(),
            tx,
            rx,
            fill,
            completion,
            heartbeat: steering.heartbeat(queue),
            door,
            filling: 0,
            fill_target: shares.fill_target,
            sending: 0,
            send_limit: shares.send_limit,
            staged: ArrayVec::new(),
        })
    }

    fn fd(&self) -> RawFd {
        self.rx.fd().as_raw_fd()
    }

    /// The kernel leaves word with the socket when it takes it off an interface that is removed; poll(2) is silent.
    fn check(&self) -> io::Result<()> {
        let (mut code, mut bytes) = (0i32, 4);
        let at = (&raw mut code).cast();
        // SAFETY: writes one int.
        unsafe { libc::getsockopt(self.fd(), libc::SOL_SOCKET, libc::SO_ERROR, at, &mut bytes) };
        if code == 0 { Ok(()) } else { Err(gone(&self.name, io::Error::from_raw_os_error(code))) }
    }

    /// Takes back the frames that were sent.
    #[inline]
    fn reclaim(
        &mut self,
        sent: &mut [FrameDesc; BATCH],
        free: &mut Vec<FrameDesc>,
        ledger: &mut Ledger,
        region: &Region,
    ) {
        while self.sending > 0 {
            // SAFETY: the ring's frames are of the only UMEM.
            let n = unsafe { self.completion.consume(sent) };
            self.sending -= n;
            for desc in &sent[..n] {
                ledger.moved(region.number(desc), Place::Sending, Place::Free);
            }
            free.extend_from_slice(&sent[..n]);
            if n < BATCH {
                return;
            }
        }
    }

    /// Wakes the kernel for what is in the transmit ring: always after new frames, and again while it left some
    /// (in copy mode it sends a limited number per call, and stops when the device's queue is full).
    #[inline]
    fn push(&mut self) -> io::Result<()> {
        if self.sending > 0 && self.tx.needs_wakeup() && self.tx.nb_free_exact() < self.send_limit as u32 {
            self.tx.wakeup().map_err(|e| gone(&self.name, e))?;
        }
        Ok(())
    }

    /// Gives the kernel frames to receive into, once a batch of them is missing.
    #[inline]
    fn refill(&mut self, free: &mut Vec<FrameDesc>, ledger: &mut Ledger, region: &Region) -> io::Result<()> {
        let missing = self.fill_target - self.filling;
        // Fewer are not worth the ring's cache line, unless the kernel would soon have none.
        if missing < BATCH && self.filling >= BATCH {
            return self.wake_receiver();
        }
        let at = free.len() - missing.min(free.len());
        // SAFETY: free frames of this UMEM.
        let n = unsafe { self.fill.produce(&free[at..]) };
        for desc in &free[at..at + n] {
            ledger.moved(region.number(desc), Place::Free, Place::Fill);
        }
        self.filling += n;
        free.drain(at..at + n);
        self.wake_receiver()
    }

    /// A zero-copy driver that ran out of frames sleeps until told.
    #[inline]
    fn wake_receiver(&mut self) -> io::Result<()> {
        if self.fill.needs_wakeup() {
            self.fill.wakeup(self.rx.fd_mut(), 0).map_err(|e| gone(&self.name, e))?;
        }
        Ok(())
    }

    /// Options of the socket that make it quicker where the kernel knows them.
    fn tune(&self, busy_poll: bool, send_limit: usize) {
        // Linux 6.17: how many frames one call sends in copy mode; 32 without.
        const XDP_MAX_TX_SKB_BUDGET: i32 = 9;
        const BUSY_POLL_MICROSECONDS: i32 = 20;
        let set = |level, name, value: i32| {
            // SAFETY: reads one int.
            unsafe { libc::setsockopt(self.fd(), level, name, (&raw const value).cast(), 4) == 0 }
        };
        if !set(libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, send_limit as i32) {
            tracing::debug!("{}: the kernel sends 32 frames per call", self.name);
        }
        let polled = || {
            set(libc::SOL_SOCKET, libc::SO_PREFER_BUSY_POLL, 1)
                && set(libc::SOL_SOCKET, libc::SO_BUSY_POLL, BUSY_POLL_MICROSECONDS)
                && set(libc::SOL_SOCKET, libc::SO_BUSY_POLL_BUDGET, BATCH as i32)
        };
        if busy_poll && !polled() {
            let why = io::Error::last_os_error();
            tracing::warn!("{}: busy polling is refused ({why}): going on without", self.name);
        }
    }
}

/// Sleeps until one of the arms has a packet (`true`) or the time is over.
fn poll(arms: &[Arm], timeout: Duration) -> io::Result<bool> {
    let mut fds: ArrayVec<libc::pollfd, 64> = arms
        .iter()
        .take(64)
        .map(|arm| libc::pollfd { fd: arm.fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    let milliseconds = timeout.as_micros().div_ceil(1000) as i32;
    // SAFETY: an array of that many, which the kernel writes within.
    let ready = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, milliseconds) };
    if ready < 0 {
        let error = io::Error::last_os_error();
        // A signal is a reason to look around.
        return if error.kind() == io::ErrorKind::Interrupted { Ok(true) } else { Err(error) };
    }
    let broken = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
    match fds.iter().zip(arms).find(|(fd, _)| fd.revents & broken != 0) {
        Some((_, arm)) => Err(gone(&arm.name, absent())),
        None => Ok(ready > 0),
    }
}

fn absent() -> io::Error {
    io::Error::from_raw_os_error(libc::ENODEV)
}

#[cold]
fn gone(interface: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{interface}: the interface is gone: {error}"))
}

fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec; CLOCK_MONOTONIC exists everywhere.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The start of the UMEM's memory, which xsk-rs tells only by the segments of a frame.
fn base_of(umem: &Umem, frames: &[FrameDesc]) -> *mut u8 {
    // SAFETY: a descriptor of this UMEM, whose memory nobody else touches yet.
    let first = unsafe { umem.data(&frames[0]) };
    let base = first.contents().as_ptr().addr() - frames[0].addr();
    // The slice is of one frame; the pointer to the whole region was given to libxdp and the kernel, so that it is
    // exposed and may be taken up again by its address.
    std::ptr::with_exposed_provenance_mut(base)
}

/// How the frames of a worker are shared out among its interfaces.
#[derive(Debug, Clone, Copy)]
struct Shares {
    fill_target: usize,
    fill_ring: QueueSize,
    send_limit: usize,
    send_ring: QueueSize,
}

impl Shares {
    const LEAST: u32 = 16;
    const RING_MOST: usize = 4096;

    /// Receiving may take every frame, in equal parts; sending no more than half of them, so that an interface
    /// that does not drain cannot stop the others.
    fn of(frames: u32, interfaces: usize) -> Result<Shares, PortError> {
        let least = Shares::LEAST * interfaces.max(1) as u32;
        if interfaces == 0 || frames < least {
            return Err(PortError::TooFewFrames { least });
        }
        let fill_target = (frames as usize / interfaces).min(Shares::RING_MOST);
        let send_limit = 1 << (frames as usize / (2 * interfaces)).min(Shares::RING_MOST).ilog2();
        Ok(Shares {
            fill_target,
            fill_ring: ring(fill_target.next_power_of_two())?,
            send_limit,
            send_ring: ring(send_limit)?,
        })
    }

    fn umem_config(&self, frame_bytes: u32) -> Result<UmemConfig, PortError> {
        let refused = |e: &dyn fmt::Display| PortError::Other(io::Error::other(e.to_string()));
        UmemConfig::builder()
            .frame_size(FrameSize::new(frame_bytes).map_err(|e| refused(&e))?)
            .fill_queue_size(self.fill_ring)
            .comp_queue_size(self.send_ring)
            .build()
            .map_err(|e| refused(&e))
    }
}

fn ring(entries: usize) -> Result<QueueSize, PortError> {
    QueueSize::new(entries as u32).map_err(|e| PortError::Other(io::Error::other(e.to_string())))
}

/// The smaller frame unless a packet with an outer header would not fit it.
fn frame_bytes(interfaces: &[(InterfaceId, &str, &Steering)]) -> Result<u32, PortError> {
    let mut most = 0;
    for (_, name, _) in interfaces {
        most = most.max(device::mtu_bytes(name).map_err(|e| PortError::socket(name, 0, e))?);
    }
    let room = |frame: usize| frame - KERNEL_HEADROOM;
    if LINK_BYTES + most + HEADROOM <= room(2048) {
        return Ok(2048);
    }
    if LINK_BYTES + most > room(4096) {
        let fits = room(4096) - LINK_BYTES;
        tracing::warn!("an MTU of {most} is more than a frame holds: packets above {fits} bytes are dropped");
    }
    Ok(4096)
}

/// Why a port could not be opened.
#[derive(Debug)]
pub enum PortError {
    /// Fewer frames than the rings need.
    TooFewFrames {
        /// How many it takes.
        least: u32,
    },
    /// EPERM.
    Privilege(io::Error),
    /// The UMEM does not fit the limit of lockable memory.
    LockedMemory {
        /// The frames asked for.
        frames: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another process has a socket on this queue, or the one before has not quite gone.
    QueueBusy {
        /// The interface.
        interface: String,
        /// Its receive queue.
        queue: u32,
    },
    /// The interface was named twice.
    Twice {
        /// The interface.
        interface: String,
    },
    /// The kernel refused the socket.
    Socket {
        /// The interface.
        interface: String,
        /// Its receive queue.
        queue: u32,
        /// What the kernel said: EINVAL for a queue that the interface does not have.
        source: io::Error,
    },
    /// Anything else.
    Other(io::Error),
}

impl PortError {
    fn umem(error: &(dyn std::error::Error + 'static), frames: u32) -> PortError {
        let source = source_of(error);
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => PortError::Privilege(source),
            Some(libc::ENOMEM | libc::ENOBUFS | libc::EAGAIN) => PortError::LockedMemory { frames, source },
            _ => PortError::Other(source),
        }
    }

    fn socket(interface: &str, queue: u32, source: io::Error) -> PortError {
        let interface = interface.to_owned();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => PortError::Privilege(source),
            Some(libc::EBUSY) => PortError::QueueBusy { interface, queue },
            _ => PortError::Socket { interface, queue, source },
        }
    }

    fn is_unsupported(&self) -> bool {
        let codes = [libc::EOPNOTSUPP, libc::EINVAL, libc::ENOTSUP];
        matches!(self, PortError::Socket { source, .. }
            if source.raw_os_error().is_some_and(|code| codes.contains(&code)))
    }
}

/// xsk-rs keeps the kernel's error as the source of its own.
fn source_of(error: &(dyn std::error::Error + 'static)) -> io::Error {
    let kernel = error.source().and_then(|e| e.downcast_ref::<io::Error>()).and_then(io::Error::raw_os_error);
    kernel.map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error)
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortError::TooFewFrames { least } => write!(f, "too few frames: it takes at least {least}"),
            PortError::Privilege(_) => {
                f.write_str("opening an AF_XDP socket needs root or CAP_NET_ADMIN, CAP_BPF and CAP_NET_RAW")
            }
            PortError::LockedMemory { frames, .. } => write!(
                f,
                "{frames} frames do not fit the memory that may be locked: raise the memlock limit \
                 (ulimit -l unlimited), or lower frames"
            ),
            PortError::QueueBusy { interface, queue } => {
                write!(f, "queue busy: another AF_XDP socket is bound to {interface} queue {queue}")
            }
            PortError::Twice { interface } => write!(f, "{interface}: the interface is named twice"),
            PortError::Socket { interface, queue, source } => {
                write!(f, "opening an AF_XDP socket on {interface} queue {queue}: {source}")?;
                if source.raw_os_error() == Some(libc::EINVAL) {
                    f.write_str(" (has the interface that many queues? see ethtool -l)")?;
                }
                Ok(())
            }
            PortError::Other(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for PortError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PortError::Privilege(e) | PortError::Other(e) => Some(e),
            PortError::LockedMemory { source, .. } | PortError::Socket { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receiving_may_take_all_frames_and_sending_half() {
        let shares = Shares::of(64, 1).unwrap();
        assert_eq!((shares.fill_target, shares.send_limit), (64, 32));
        let shares = Shares::of(8192, 2).unwrap();
        assert_eq!((shares.fill_target, shares.send_limit), (4096, 2048));
        let shares = Shares::of(1000, 3).unwrap();
        assert_eq!((shares.fill_target, shares.fill_ring.get(), shares.send_limit), (333, 512, 128));
    }

    #[test]
    fn too_few_frames_are_refused_with_the_number_it_takes() {
        assert_eq!(Shares::of(31, 2).unwrap_err().to_string(), "too few frames: it takes at least 32");
    }

    #[test]
    fn a_busy_queue_is_named() {
        let error = PortError::socket("eth0", 3, io::Error::from_raw_os_error(libc::EBUSY));
        assert_eq!(error.to_string(), "queue busy: another AF_XDP socket is bound to eth0 queue 3");
    }

    #[test]
    fn a_memory_limit_is_told_as_what_to_do() {
        let error = PortError::LockedMemory { frames: 8192, source: absent() };
        assert!(error.to_string().contains("ulimit -l unlimited"));
    }
}
