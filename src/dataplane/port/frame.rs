//! A frame on loan.
//!
//! The fence is around one thing: that a packet lies inside its buffer is checked when the frame is made, and not
//! again by each of the half-dozen steps that look at it, which took a tenth of the hot path's instructions.
#![allow(unsafe_code)]

use crate::dataplane::verdict::{DropReason, Verdict};
use crate::net::InterfaceId;

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
        let lies_inside = start <= buffer.len() && len <= buffer.len() - start;
        assert!(lies_inside && buffer.len() <= u32::MAX as usize, "the packet lies inside its buffer");
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
        let start = self.start as usize;
        // SAFETY: the packet lies inside its buffer: `new` asserts it, and no method moves an end outwards further
        // than to the buffer's.
        unsafe { self.buffer.get_unchecked(start..start + self.len as usize) }
    }

    /// The packet, to be rewritten in place.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let start = self.start as usize;
        // SAFETY: as in `data`.
        unsafe { self.buffer.get_unchecked_mut(start..start + self.len as usize) }
    }

    /// Asks for the cache line that the packet starts in.
    #[inline]
    pub fn prefetch(&self) {
        // Of a packet without bytes the line after its buffer may be asked for, which harms nobody.
        crate::conntrack::prefetch(self.buffer.as_ptr().wrapping_add(self.start as usize));
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

    /// The interface the frame came in on, from here on.
    #[inline]
    pub fn set_ingress(&mut self, ingress: InterfaceId) {
        self.ingress = ingress;
    }

    /// Takes `bytes` off the packet's front, once `prepare` has had the whole packet and agreed. `false`, and nothing
    /// changes, if it did not, or the packet is shorter.
    #[must_use]
    pub fn shrink_front(&mut self, bytes: usize, prepare: impl FnOnce(&mut [u8]) -> bool) -> bool {
        if bytes > self.len as usize || !prepare(self.data_mut()) {
            return false;
        }
        self.start += bytes as u32;
        self.len -= bytes as u32;
        true
    }

    /// Cuts the packet to its first `len` bytes; nothing happens if it is not longer.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len < self.len as usize {
            self.len = len as u32;
        }
    }

    /// Puts another packet in the packet's place. It starts where that did, or earlier if it would not end in the
    /// buffer. `false`, and nothing changes, if the buffer is too small.
    #[must_use]
    pub fn replace(&mut self, packet: &[u8]) -> bool {
        let Some(latest) = self.buffer.len().checked_sub(packet.len()) else { return false };
        let start = latest.min(self.start as usize);
        self.buffer[start..start + packet.len()].copy_from_slice(packet);
        (self.start, self.len) = (start as u32, packet.len() as u32);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_grows_into_its_headroom_and_not_beyond() {
        let mut buffer = [7; 30];
        let mut frame = Frame::new(&mut buffer, 10, 20, InterfaceId(0));
        assert!(!frame.grow_front(11));
        assert_eq!((frame.start(), frame.len(), frame.data().len()), (10, 20, 20));
        assert!(frame.grow_front(10) && !frame.grow_front(1));
        frame.data_mut().fill(1);
        frame.truncate(40);
        assert_eq!(frame.data(), [1; 30]);
        assert!(!frame.shrink_front(31, |_| true) && !frame.shrink_front(30, |_| false));
        assert!(frame.shrink_front(10, |packet| packet.len() == 30));
        assert_eq!((frame.start(), frame.len()), (10, 20));
        assert!(frame.grow_front(10));
        frame.truncate(3);
        assert_eq!(frame.data(), [1; 3]);
    }

    #[test]
    fn another_packet_takes_the_place_of_one_wherever_it_fits() {
        let mut buffer = [7; 30];
        let mut frame = Frame::new(&mut buffer, 10, 5, InterfaceId(0));
        assert!(frame.replace(&[1; 20]));
        assert_eq!((frame.start(), frame.data()), (10, &[1; 20][..]));
        assert!(frame.replace(&[2; 25]));
        assert_eq!((frame.start(), frame.data()), (5, &[2; 25][..]));
        assert!(!frame.replace(&[3; 31]));
        assert_eq!((frame.start(), frame.data()), (5, &[2; 25][..]));
        assert!(frame.replace(&[]) && frame.data().is_empty());
        assert!(frame.replace(&[4; 30]));
        assert_eq!(frame.start(), 0);
    }

    #[test]
    #[should_panic(expected = "inside its buffer")]
    fn a_packet_beyond_its_buffer_is_no_frame() {
        Frame::new(&mut [0; 30], 20, 11, InterfaceId(0));
    }

    #[test]
    #[should_panic(expected = "inside its buffer")]
    fn a_packet_whose_end_wraps_is_no_frame() {
        Frame::new(&mut [0; 30], usize::MAX, 2, InterfaceId(0));
    }
}
