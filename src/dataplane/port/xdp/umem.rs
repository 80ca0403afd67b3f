//! The memory that a worker's interfaces share: the frames as slices, and how many each interface may have.

#![allow(unsafe_code)]

use super::error::PortError;
use super::{HEADROOM, Steering, device};
use crate::net::InterfaceId;
use std::fmt;
use std::io;
use xsk_rs::Umem;
use xsk_rs::config::{FrameSize, QueueSize, UmemConfig};
use xsk_rs::umem::frame::FrameDesc;

/// What the kernel keeps free in front of a received packet (XDP_PACKET_HEADROOM).
const KERNEL_HEADROOM: usize = 256;
const _: () = assert!(KERNEL_HEADROOM >= HEADROOM);

/// Ethernet header and two VLAN tags.
const LINK_BYTES: usize = 22;

/// The UMEM's memory.
#[derive(Debug)]
pub(super) struct Region {
    umem: Umem,
    base: *mut u8,
    /// A power of two.
    frame_bytes: usize,
    frame_shift: u32,
}

// SAFETY: `base` points into the memory that `umem` owns, which is Send itself.
unsafe impl Send for Region {}

impl Region {
    /// The memory of `umem`, whose frames are `frames`, and none of which is in a ring yet.
    pub(super) fn of(umem: Umem, frames: &[FrameDesc], frame_bytes: u32) -> Region {
        let base = base_of(&umem, frames);
        Region { umem, base, frame_bytes: frame_bytes as usize, frame_shift: frame_bytes.ilog2() }
    }

    /// The number of the frame that `desc` points into.
    #[inline]
    pub(super) fn number(&self, desc: &FrameDesc) -> usize {
        desc.addr() >> self.frame_shift
    }

    /// Where in its frame the packet of `desc` starts.
    #[inline]
    pub(super) fn offset(&self, desc: &FrameDesc) -> usize {
        desc.addr() & (self.frame_bytes - 1)
    }

    /// The whole frame that `desc` points into.
    ///
    /// # Safety
    /// `desc` is of this UMEM, its frame is in no ring, and no other slice of it lives.
    #[inline]
    pub(super) unsafe fn frame<'a>(&self, desc: &FrameDesc) -> &'a mut [u8] {
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
    pub(super) unsafe fn place(&self, desc: &mut FrameDesc, start: usize, len: usize) -> bool {
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
pub(super) struct Shares {
    pub(super) fill_target: usize,
    pub(super) fill_ring: QueueSize,
    pub(super) send_limit: usize,
    pub(super) send_ring: QueueSize,
}

impl Shares {
    const LEAST: u32 = 16;
    const RING_MOST: usize = 4096;

    /// Equal parts for each interface, half of them to receive into and half to send: so an interface that does not
    /// drain takes nothing from the others, and there are always free frames to receive into.
    pub(super) fn of(frames: u32, interfaces: usize) -> Result<Shares, PortError> {
        let least = Shares::LEAST * interfaces.max(1) as u32;
        if interfaces == 0 || frames < least {
            return Err(PortError::TooFewFrames { least });
        }
        let fill_target = (frames as usize / (2 * interfaces)).min(Shares::RING_MOST);
        let send_limit = 1 << fill_target.ilog2();
        Ok(Shares {
            fill_target,
            fill_ring: ring(fill_target.next_power_of_two())?,
            send_limit,
            send_ring: ring(send_limit)?,
        })
    }

    pub(super) fn umem_config(&self, frame_bytes: u32) -> Result<UmemConfig, PortError> {
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

/// The smaller frame unless a packet with an outer header would not fit it. A frame is a page at most, and a packet in one
/// frame, so that the kernel would drop what is larger.
pub(super) fn frame_bytes(interfaces: &[(InterfaceId, &str, &Steering)]) -> Result<u32, PortError> {
    let mut most = 0;
    let room = |frame: usize| frame - KERNEL_HEADROOM;
    let fits = room(4096) - LINK_BYTES;
    for (_, name, _) in interfaces {
        let mtu_bytes = device::mtu_bytes(name).map_err(|e| PortError::socket(name, 0, e))?;
        if mtu_bytes > fits {
            return Err(PortError::Jumbo { interface: (*name).to_owned(), mtu_bytes, fits });
        }
        most = most.max(mtu_bytes);
    }
    if LINK_BYTES + most + HEADROOM <= room(2048) {
        return Ok(2048);
    }
    Ok(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receiving_and_sending_on_all_interfaces_together_take_no_more_than_there_is() {
        let shares = Shares::of(64, 1).unwrap();
        assert_eq!((shares.fill_target, shares.send_limit), (32, 32));
        let shares = Shares::of(8192, 2).unwrap();
        assert_eq!((shares.fill_target, shares.send_limit), (2048, 2048));
        let shares = Shares::of(1000, 3).unwrap();
        assert_eq!((shares.fill_target, shares.fill_ring.get(), shares.send_limit), (166, 256, 128));
    }

    #[test]
    fn too_few_frames_are_refused_with_the_number_it_takes() {
        assert_eq!(Shares::of(31, 2).unwrap_err().to_string(), "too few frames: it takes at least 32");
    }
}
