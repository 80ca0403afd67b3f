//! What an AF_XDP port counts itself: written by its worker, read by anyone. What the kernel counts, and how full the
//! rings are, is some milliseconds old.

use crate::dataplane::counters::Counter;

/// A worker's port.
#[derive(Debug, Default)]
pub struct PortCounters {
    /// Its part on each interface.
    pub arms: Vec<ArmCounters>,
    /// UMEM frames, all that there are.
    pub frames: u64,
    /// Those of them that are in no use.
    pub free_frames: Counter,
    /// Frames handed to the host.
    pub to_host: Counter,
    /// Frames for the host that could not be handed over, or were more than the host door's allowance.
    pub host_unreachable: Counter,
    /// Frames freed since the egress interface's transmit ring was full, or no interface of this port is the
    /// egress, or the packet had become longer than a frame holds.
    pub tx_ring_full: Counter,
}

/// A port's part on one interface.
#[derive(Debug, Default)]
pub struct ArmCounters {
    /// The interface.
    pub interface: String,
    /// Its receive queue.
    pub queue: u32,
    /// Frames lent to the road.
    pub received: Counter,
    /// Frames given to the kernel to be sent.
    pub sent: Counter,
    /// Packets that the kernel dropped since they did not fit a frame, or for want of one in copy mode.
    pub rx_dropped: Counter,
    /// Packets that the kernel dropped since the receive ring was full.
    pub rx_ring_full: Counter,
    /// Times that the kernel found no frame to receive into.
    pub fill_ring_empty: Counter,
    /// Times that the kernel found nothing to send.
    pub tx_ring_empty: Counter,
    /// Descriptors on the fill ring that the kernel could not make sense of.
    pub rx_invalid: Counter,
    /// The same on the transmit ring.
    pub tx_invalid: Counter,
    /// Frames with the kernel to receive into: on the fill ring, with the driver, or received and not yet taken.
    pub filling: Counter,
    /// Frames with the kernel to be sent: on the transmit ring, with the driver, or sent and not yet taken back.
    pub sending: Counter,
    /// Frames on the fill ring.
    pub fill: Ring,
    /// Frames on the receive ring.
    pub rx: Ring,
    /// Frames on the transmit ring.
    pub tx: Ring,
    /// Frames on the completion ring.
    pub completion: Ring,
}

/// A ring's state.
#[derive(Debug, Default)]
pub struct Ring {
    /// Entries in it.
    pub used: Counter,
    /// Entries that it has room for.
    pub size: u64,
}

impl PortCounters {
    /// What all its parts have counted together.
    pub fn sum(&self, of: impl Fn(&ArmCounters) -> &Counter) -> u64 {
        self.arms.iter().map(|arm| of(arm).get()).sum()
    }

    /// Frames lent to the road.
    pub fn received(&self) -> u64 {
        self.sum(|arm| &arm.received)
    }
}
