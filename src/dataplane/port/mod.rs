//! Where frames come from and where they go: memory, captures, AF_XDP.
//!
//! A port owns its frames for ever. It lends a batch for the length of one call, reads the verdicts when the
//! call returns, and sends, frees or hands on each frame itself. So a frame can neither leak nor be sent twice.

#[cfg(all(feature = "xdp", target_os = "linux"))]
pub mod bpf;
pub mod counters;
#[cfg(all(feature = "xdp", target_os = "linux"))]
pub mod device;
mod frame;
#[cfg(all(feature = "xdp", target_os = "linux"))]
pub mod host;
#[cfg(all(feature = "xdp", target_os = "linux"))]
pub mod ledger;
pub mod mem;
mod own;
pub mod pcap;
#[cfg(all(feature = "xdp", target_os = "linux"))]
pub mod steer;
#[cfg(all(feature = "xdp", target_os = "linux"))]
pub mod xdp;

pub use frame::Frame;
pub use own::OwnFrame;

use std::io;
use std::time::Duration;

/// Frames lent at once, at most.
pub const BATCH: usize = 64;

/// Room that every port keeps in front of a received packet, in bytes: enough for an outer IPv6 header and two VLAN tags.
pub const HEADROOM: usize = 48;

/// What a worker takes frames from and gives them back to: all the interfaces of one worker together.
pub trait Port {
    /// Lends the next frames, [`BATCH`] at most and all of one interface, to `road`, and then does what their
    /// verdicts say, and with what the road returns what theirs say, each behind the frame that it names. Returns how
    /// many were lent; 0 means that nothing waits, and `road` was not called.
    ///
    /// # Errors
    /// Only when the port can do no more work at all (the interface is gone).
    fn turn(&mut self, road: &mut dyn FnMut(&mut [Frame<'_>]) -> Vec<OwnFrame>) -> io::Result<usize>;

    /// Sends what the road has made of itself, behind no frame.
    ///
    /// # Errors
    /// As [`Port::turn`].
    fn send(&mut self, own: Vec<OwnFrame>) -> io::Result<()>;

    /// Sleeps until a frame waits or `timeout` has gone by, whichever is first.
    ///
    /// # Errors
    /// As [`Port::turn`].
    fn wait(&mut self, timeout: Duration) -> io::Result<()>;
}
