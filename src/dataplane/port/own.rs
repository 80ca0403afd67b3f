//! Frames of the road's own making: fragments that waited for the first of their datagram, and further fragments of a
//! packet that did not fit its way. The port sends them right behind the frame that they belong to.

use super::{Frame, HEADROOM};
use crate::dataplane::verdict::Verdict;
use crate::net::InterfaceId;

/// A frame that the road made, in memory of its own.
#[derive(Debug)]
pub struct OwnFrame {
    buffer: Box<[u8]>,
    start: u32,
    len: u32,
    ingress: InterfaceId,
    verdict: Verdict,
    behind: usize,
}

impl OwnFrame {
    /// A copy of a packet, with the room in front that every frame has.
    pub fn copy(packet: &[u8]) -> Box<[u8]> {
        let mut buffer = vec![0; HEADROOM + packet.len()];
        buffer[HEADROOM..].copy_from_slice(packet);
        buffer.into()
    }

    /// The packet that `copy` holds, as [`OwnFrame::copy`] made it, to be sent behind the frame at this address, until
    /// [`OwnFrame::number_in`] makes a number of it.
    pub fn new(copy: Box<[u8]>, ingress: InterfaceId, verdict: Verdict, behind: usize) -> OwnFrame {
        let (start, len) = (HEADROOM.min(copy.len()), copy.len().saturating_sub(HEADROOM));
        OwnFrame { buffer: copy, start: start as u32, len: len as u32, ingress, verdict, behind }
    }

    /// Says behind which of `frames` it comes, of which it has named one by its address.
    pub fn number_in(&mut self, frames: &[Frame<'_>]) {
        let bytes = self.behind.saturating_sub(frames.as_ptr().addr());
        self.behind = (bytes / size_of::<Frame<'_>>()).min(frames.len().saturating_sub(1));
    }

    /// Puts it through a part of the road; what that leaves is what the port gets.
    pub fn put_through(&mut self, road: impl FnOnce(&mut Frame<'_>)) {
        let mut frame = self.frame();
        road(&mut frame);
        let (start, len, verdict) = (frame.start() as u32, frame.len() as u32, frame.verdict);
        (self.start, self.len, self.verdict) = (start, len, verdict);
    }

    /// The frame, for a port.
    pub fn frame(&mut self) -> Frame<'_> {
        let mut frame = Frame::new(&mut self.buffer, self.start as usize, self.len as usize, self.ingress);
        frame.verdict = self.verdict;
        frame
    }

    /// What is to become of it: [`Verdict::Forward`] or [`Verdict::ToHost`].
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The place in the batch of the frame that it comes behind.
    pub fn behind(&self) -> usize {
        self.behind
    }
}
