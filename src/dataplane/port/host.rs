//! The host door: hands a frame to the kernel as if it had just arrived on its interface.
//!
//! The way in is BPF_PROG_RUN of a program that passes everything, with live frames (Linux 5.18). Unlike a raw
//! socket it comes out on the receive side of the stack, and unlike a tap device it needs no address of its own. A
//! call costs some microseconds, so it is for the odd packet: the answer to a stray segment is the kernel's RST.
//!
//! What the kernel gets is bytes: a checksum that the sender left partial must be completed before, since the note
//! that said so was lost on the way in.

use super::bpf::{Map, Object, Program};
use super::steer::Steering;
use std::io;

/// The network layer's first bytes, which name a frame on its way; `struct ticket` of `bpf/steer.bpf.c`.
const TICKET: std::ops::Range<usize> = 14..42;

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
    /// EINVAL for a frame shorter than an Ethernet header or longer than about 3,500 bytes, and for a kernel before
    /// 5.18.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // In generic mode the steering program runs within the stack, and would steer the frame back to us.
        if let (Some(tickets), Some(ticket)) = (&self.tickets, frame.get(TICKET)) {
            tickets.update(ticket, &[1])?;
        }
        self.program.run_live(frame, self.ifindex, self.queue)
    }
}
