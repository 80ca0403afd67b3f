//! Where frames come from and where they go: memory, captures, AF_XDP.
//!
//! A port owns its frames for ever. It lends a batch for the length of one call, reads the verdicts when the
//! call returns, and sends, frees or hands on each frame itself. So a frame can neither leak nor be sent twice.

#[cfg(all(feature = "xdp", target_os = "linux"))]
pub mod bpf;
#[cfg(all(feature = "xdp", target_os = "linux"))]
pub mod device;
#[cfg(all(feature = "xdp", target_os = "linux"))]
pub mod host;
#[cfg(all(feature = "xdp", target_os = "linux"))]
pub mod ledger;
pub mod mem;
pub mod pcap;
#[cfg(all(feature = "xdp", target_os = "linux"))]
pub mod steer;
#[cfg(all(feature = "xdp", target_os = "linux"))]
pub mod xdp;

use super::verdict::{DropReason, Verdict};
use crate::net::InterfaceId;
use std::io;
use std::time::Duration;

/// Frames lent at once, at most.
pub const BATCH: usize = 64;

/// Room that every port keeps in front of a received packet, in bytes: enough for an outer IPv6 header.
pub const HEADROOM: usize = 40;

/// One received frame, from its Ethernet header on, lent by a port.
///
/// ```text
/// buffer   [ headroom .......... | packet ................. | tailroom ]
///                                ^ start                    ^ start + len
/// ```
#[derive(Debug)]
pub struct Frame<'a> {
    buffer: &'a mut [u8],
    start: u32,
    len: u32,
    ingress: InterfaceId,
    /// What is to become of it; a port lends frames with [`Verdict::Drop`] of a truncated frame in here, and
    /// the road always replaces it.
    pub verdict: Verdict,
}

impl<'a> Frame<'a> {
    /// A frame whose packet is `buffer[start..start + len]`, received on `ingress`.
    ///
    /// # Panics
    /// If the packet does not lie inside the buffer.
    #[inline]
    pub fn new(buffer: &'a mut [u8], start: usize, len: usize, ingress: InterfaceId) -> Frame<'a> {
        assert!(
            start + len <= buffer.len() && buffer.len() <= u32::MAX as usize,
            "the packet lies inside its buffer"
        );
        let verdict = Verdict::Drop(DropReason::Truncated);
        Frame { buffer, start: start as u32, len: len as u32, ingress, verdict }
    }

    /// The interface the frame came in on.
    #[inline]
    pub fn ingress(&self) -> InterfaceId {
        self.ingress
    }

    /// The packet.
    #[inline]
    pub fn data(&self) -> &[u8] {
        &self.buffer[self.start as usize..(self.start + self.len) as usize]
    }

    /// The packet, to be rewritten in place.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start as usize..(self.start + self.len) as usize]
    }

    /// Where the packet starts in its buffer, in bytes.
    #[inline]
    pub fn start(&self) -> usize {
        self.start as usize
    }

    /// The packet's length in bytes.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a frame is never asked whether it is empty")]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Grows the packet by `bytes` at its front. `false`, and nothing changes, if the headroom is too small.
    /// The new bytes hold whatever the buffer held.
    #[inline]
    #[must_use]
    pub fn grow_front(&mut self, bytes: usize) -> bool {
        let Some(start) = (self.start as usize).checked_sub(bytes) else { return false };
        self.start = start as u32;
        self.len += bytes as u32;
        true
    }

    /// Cuts the packet to its first `len` bytes; nothing happens if it is not longer.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len as u32);
    }
}

/// What a worker takes frames from and gives them back to: all the interfaces of one worker together.
pub trait Port {
    /// Lends the next frames, [`BATCH`] at most and all of one interface, to `road`, and then does what their
    /// verdicts say. Returns how many were lent; 0 means that nothing waits, and `road` was not called.
    ///
    /// # Errors
    /// Only when the port can do no more work at all (the interface is gone).
    fn turn(&mut self, road: &mut dyn FnMut(&mut [Frame<'_>])) -> io::Result<usize>;

    /// Sleeps until a frame waits or `timeout` has gone by, whichever is first.
    ///
    /// # Errors
    /// As [`Port::turn`].
    fn wait(&mut self, timeout: Duration) -> io::Result<()>;
}
