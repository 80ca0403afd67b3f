//! The host door: hands a frame to the kernel as if it had just arrived on its interface.
//!
//! The way in is BPF_PROG_RUN of a program that passes everything, with live frames (Linux 5.18). Unlike a raw
//! socket it comes out on the receive side of the stack, and unlike a tap device it needs no address of its own. A
//! call costs 12 to 17 µs (veth, 60 and 1514 bytes alike), so it is for the odd packet, such as a stray segment that
//! the kernel is to answer with RST; an allowance keeps a flood of them from taking the worker's time.
//!
//! What the kernel gets is bytes: a checksum that the sender left partial must be completed before, since the note
//! that said so was lost on the way in.

use super::bpf::{Map, Object, Program};
use super::steer::Steering;
use std::io;

/// A frame's first bytes behind the Ethernet header, which name it on its way; `struct ticket` of `bpf/steer.bpf.c`.
/// Frames too short for that are a last fragment of IPv4 at least, and named by its header.
fn ticket(frame: &[u8]) -> Option<[u8; 28]> {
    let name = frame.get(14..42).or_else(|| frame.get(14..34))?;
    let mut ticket = [0; 28];
    ticket[..name.len()].copy_from_slice(name);
    Some(ticket)
}

/// How many frames may go through the door: so many a second, and so many at once.
///
/// At [`Allowance::PER_SECOND`] the door takes at most a sixth of a core.
#[derive(Debug)]
pub(super) struct Allowance {
    /// In frames' nanoseconds: one frame is `FRAME_NS` of saved time.
    saved_ns: u64,
    last_ns: u64,
}

impl Allowance {
    pub(super) const PER_SECOND: u64 = 10_000;
    pub(super) const AT_ONCE: u64 = 256;
    const FRAME_NS: u64 = 1_000_000_000 / Allowance::PER_SECOND;
    const MOST_NS: u64 = Allowance::AT_ONCE * Allowance::FRAME_NS;

    pub(super) fn new(now_ns: u64) -> Allowance {
        Allowance { saved_ns: Allowance::MOST_NS, last_ns: now_ns }
    }

    /// Time goes on.
    #[inline]
    pub(super) fn advance(&mut self, now_ns: u64) {
        let saved = self.saved_ns.saturating_add(now_ns.saturating_sub(self.last_ns));
        (self.saved_ns, self.last_ns) = (saved.min(Allowance::MOST_NS), now_ns);
    }

    /// Whether one more frame may pass now.
    pub(super) fn take(&mut self) -> bool {
        let left = self.saved_ns.checked_sub(Allowance::FRAME_NS);
        self.saved_ns = left.unwrap_or(self.saved_ns);
        left.is_some()
    }
}

/// The way for frames of one interface to the kernel's stack.
#[derive(Debug)]
pub struct HostDoor {
    program: Program,
    tickets: Option<Map>,
    ifindex: u32,
    queue: u32,
}

impl HostDoor {
    /// A door into the interface that `steering` is attached to, for frames that were received on `queue`.
    ///
    /// # Errors
    /// As the kernel's when it loads a program.
    pub fn open(steering: &Steering, queue: u32) -> io::Result<HostDoor> {
        let object = Object::load("door", include_bytes!(concat!(env!("OUT_DIR"), "/door.bpf.o")))?;
        let (program, tickets) = (object.program(c"door")?, steering.tickets()?);
        Ok(HostDoor { program, tickets, ifindex: steering.ifindex(), queue })
    }

    /// Hands over one frame, from its Ethernet header on. The stack has processed it when the call returns, unless
    /// it put it aside for another core.
    ///
    /// # Errors
    /// EINVAL for a frame shorter than an Ethernet header or longer than about 3,300 bytes, and for a kernel before
    /// 5.18.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // In generic mode the steering program runs within the stack, and would steer the frame back to us.
        if let (Some(tickets), Some(ticket)) = (&self.tickets, ticket(frame)) {
            tickets.update(&ticket, &[1])?;
        }
        self.program.run_live(frame, self.ifindex, self.queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_frame_is_named_by_its_header_alone_as_the_steering_program_does() {
        let frame: Vec<u8> = (1..=60).collect();
        assert_eq!(ticket(&frame).unwrap()[..], frame[14..42]);
        let short = ticket(&frame[..41]).unwrap();
        assert_eq!((&short[..20], &short[20..]), (&frame[14..34], &[0; 8][..]));
        assert_eq!(ticket(&frame[..33]), None);
    }

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let mut allowance = Allowance::new(7);
        let passed = |allowance: &mut Allowance| (0..100_000).filter(|_| allowance.take()).count() as u64;
        assert_eq!(passed(&mut allowance), Allowance::AT_ONCE);
        assert_eq!(passed(&mut allowance), 0, "no time has gone by");
        let mut in_a_second = 0;
        for millisecond in 1..=1000 {
            allowance.advance(7 + millisecond * 1_000_000);
            in_a_second += passed(&mut allowance);
        }
        assert_eq!(in_a_second, Allowance::PER_SECOND);
        allowance.advance(u64::MAX);
        assert_eq!(passed(&mut allowance), Allowance::AT_ONCE, "idle time is not saved beyond the burst");
    }
}
