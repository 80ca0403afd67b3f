//! The port's hold on one interface: an AF_XDP socket on the worker's queue, and its four rings.

#![allow(unsafe_code)]

use super::super::counters::{ArmCounters, Ring};
use super::error::{PortError, source_of};
use super::umem::{Region, Shares};
use super::{BATCH, Heartbeat, HostDoor, Ledger, Place, Steering};
use crate::net::InterfaceId;
use arrayvec::ArrayVec;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;
use xsk_rs::config::{BindFlags, LibxdpFlags, QueueSize, SocketConfig};
use xsk_rs::umem::frame::FrameDesc;
use xsk_rs::{CompQueue, FillQueue, RxQueue, Socket, TxQueue, Umem};

/// The port's hold on one interface.
#[derive(Debug)]
pub(super) struct Arm {
    pub(super) id: InterfaceId,
    name: String,
    pub(super) tx: TxQueue,
    pub(super) rx: RxQueue,
    fill: FillQueue,
    completion: CompQueue,
    pub(super) heartbeat: Heartbeat,
    pub(super) door: HostDoor,
    /// Frames with the kernel for receiving, now and at most.
    pub(super) filling: usize,
    fill_target: usize,
    /// Frames with the kernel for sending, now and at most.
    pub(super) sending: usize,
    pub(super) send_limit: usize,
    /// In line to be sent: those of a batch, and what the road made beside them.
    pub(super) staged: ArrayVec<FrameDesc, { 4 * BATCH }>,
}

impl Arm {
    pub(super) fn open(
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

    pub(super) fn fd(&self) -> RawFd {
        self.rx.fd().as_raw_fd()
    }

    /// The kernel leaves word with the socket when it takes it off an interface that is removed; poll(2) is silent.
    pub(super) fn check(&self) -> io::Result<()> {
        let (mut code, mut bytes) = (0i32, 4);
        let at = (&raw mut code).cast();
        // SAFETY: writes one int.
        unsafe { libc::getsockopt(self.fd(), libc::SOL_SOCKET, libc::SO_ERROR, at, &mut bytes) };
        if code == 0 { Ok(()) } else { Err(gone(&self.name, io::Error::from_raw_os_error(code))) }
    }

    /// Where what it counts is to be written.
    pub(super) fn counters(&self, queue: u32, shares: &Shares) -> ArmCounters {
        let ring = |size: QueueSize| Ring { size: u64::from(size.get()), ..Ring::default() };
        let [receiving, sending] = [shares.fill_ring, shares.send_ring];
        ArmCounters {
            interface: self.name.clone(),
            queue,
            fill: ring(receiving),
            rx: ring(receiving),
            tx: ring(sending),
            completion: ring(sending),
            ..ArmCounters::default()
        }
    }

    /// Writes down what the kernel counts, and how full the rings are.
    pub(super) fn tell(&mut self, counters: &ArmCounters) {
        if let Ok(kernel) = self.rx.fd().xdp_statistics() {
            counters.rx_dropped.set(kernel.rx_dropped());
            counters.rx_ring_full.set(kernel.rx_ring_full());
            counters.fill_ring_empty.set(kernel.rx_fill_ring_empty_descs());
            counters.tx_ring_empty.set(kernel.tx_ring_empty_descs());
            counters.rx_invalid.set(kernel.rx_invalid_descs());
            counters.tx_invalid.set(kernel.tx_invalid_descs());
        }
        counters.filling.set(self.filling as u64);
        counters.sending.set(self.sending as u64);
        let without = |ring: &Ring, free: u32| ring.used.set(ring.size.saturating_sub(u64::from(free)));
        without(&counters.fill, self.fill.nb_free_exact());
        without(&counters.tx, self.tx.nb_free_exact());
        counters.rx.used.set(u64::from(self.rx.nb_avail_exact()));
        counters.completion.used.set(u64::from(self.completion.nb_avail_exact()));
    }

    /// Takes back the frames that were sent.
    #[inline]
    pub(super) fn reclaim(
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

    /// Whether packets stand in the transmit ring that the kernel has not taken yet.
    #[inline]
    pub(super) fn has_unsent(&mut self) -> bool {
        self.sending > 0 && self.tx.nb_free_exact() < self.send_limit as u32
    }

    /// Wakes the kernel for what is in the transmit ring: always after new frames, and again while it left some
    /// (in copy mode it sends a limited number per call, and stops when the device's queue is full).
    #[inline]
    pub(super) fn push(&mut self) -> io::Result<()> {
        if self.has_unsent() && self.tx.needs_wakeup() {
            self.tx.wakeup().map_err(|e| gone(&self.name, e))?;
        }
        Ok(())
    }

    /// Gives the kernel frames to receive into, once a batch of them is missing.
    #[inline]
    pub(super) fn refill(
        &mut self,
        free: &mut Vec<FrameDesc>,
        ledger: &mut Ledger,
        region: &Region,
    ) -> io::Result<()> {
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
    pub(super) fn tune(&self, busy_poll: bool, send_limit: usize) {
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
pub(super) fn poll(arms: &[Arm], timeout: Duration) -> io::Result<bool> {
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
