//! What the road itself answers to a packet that goes no further: an ICMP error or a reset, put in the packet's place.

use super::port::{Frame, OwnFrame};
use crate::net::{FlowKey, Tick};
use crate::wire::icmp::{Complaint, answer_v4, answer_v6};
use crate::wire::parse::Packet;
use crate::wire::{ETHERNET, IPV4, IPV6, probe, reset, segment};
use std::net::IpAddr;
use std::ops::Range;

/// The longest ICMP error (RFC 4443, 2.4 c).
const LONGEST: usize = 1280;

/// What every link carries in IPv6 (RFC 8200, 5).
const LEAST_V6: u16 = 1280;

/// Puts an ICMP error about the packet at `about` in the frame, in place of whatever is there: from `source`, which is
/// of the packet's family, to the packet's sender. `macs` begin the new frame.
///
/// `false`, and nothing changes, if the packet must not be answered so or the buffer is too small.
#[must_use]
pub fn complain(
    frame: &mut Frame<'_>,
    about: Range<usize>,
    source: IpAddr,
    complaint: Complaint,
    macs: &[u8; 12],
) -> bool {
    let mut out = [0; ETHERNET + LONGEST];
    let (ethernet, answer) = out.split_at_mut(ETHERNET);
    let Some(packet) = frame.data().get(about) else { return false };
    let (len, kind) = match source {
        IpAddr::V4(source) => (answer_v4(packet, source.to_bits(), complaint, answer), [0x08, 0x00]),
        IpAddr::V6(source) => (answer_v6(packet, source.to_bits(), complaint, answer), [0x86, 0xdd]),
    };
    let Some(len) = len else { return false };
    ethernet[..12].copy_from_slice(macs);
    ethernet[12..].copy_from_slice(&kind);
    frame.replace(&out[..ETHERNET + len])
}

/// Puts the reset for a segment in its place. `macs` begin the new frame.
///
/// `false`, and nothing changes, if it must not be reset or the buffer is too small.
#[must_use]
pub fn reset(frame: &mut Frame<'_>, packet: &Packet, macs: &[u8; 12]) -> bool {
    let mut reset = [0; segment::LONGEST];
    let Some(segment) = frame.data().get(ETHERNET..) else { return false };
    let l4 = (packet.l4 as usize).saturating_sub(ETHERNET);
    let Some(len) = reset::answer(segment, l4, &mut reset) else { return false };
    frame.replace(&framed(&packet.key, &reset, macs)[..ETHERNET + len])
}

/// The probe (`wire/probe.rs`) for whoever receives packets of this key, as a frame that `macs` begin.
pub fn probe(key: &FlowKey, again: bool, macs: &[u8; 12]) -> Box<[u8]> {
    let mut probe = [0; segment::LONGEST];
    let len = probe::write(key, again, &mut probe);
    OwnFrame::copy(&framed(key, &probe, macs)[..ETHERNET + len])
}

fn framed(
    key: &FlowKey,
    segment: &[u8; segment::LONGEST],
    macs: &[u8; 12],
) -> [u8; ETHERNET + segment::LONGEST] {
    let mut frame = [0; ETHERNET + segment::LONGEST];
    frame[..12].copy_from_slice(macs);
    frame[12..ETHERNET].copy_from_slice(if key.is_v4() { &[0x08, 0x00] } else { &[0x86, 0xdd] });
    frame[ETHERNET..].copy_from_slice(segment);
    frame
}

/// Whether the packet may go on in fragments, with `outer` bytes of headers before it: one of IPv4 without DF may, as it
/// is or in a tunnel (RFC 2003, 3.1). One of IPv6 may in a tunnel, if it is so short that every link has to carry it
/// (RFC 2473, 7.1).
pub fn may_be_fragmented(frame: &Frame<'_>, outer: u16) -> bool {
    let Some(ip) = frame.data().get(ETHERNET..).filter(|ip| ip.len() >= IPV4) else { return false };
    match ip[0] >> 4 {
        4 => ip[6] & 0x40 == 0,
        6 => {
            outer > 0
                && IPV6 as u16 + u16::from_be_bytes([ip[4], ip[5]]).min(u16::MAX - IPV6 as u16) <= LEAST_V6
        }
        _ => false,
    }
}

/// The MACs of an answer to whoever sent the frame, over the link that it came by; `None` if it was sent to more than
/// one there, and so must not be answered (RFC 1122, 3.2.2).
pub fn macs_back(frame: &Frame<'_>) -> Option<[u8; 12]> {
    let received: &[u8; 12] = frame.data().first_chunk()?;
    let mut macs = [0; 12];
    macs[..6].copy_from_slice(&received[6..]);
    macs[6..].copy_from_slice(&received[..6]);
    (received[0] & 1 == 0).then_some(macs)
}

/// How many answers a worker may give: as many as Linux gives (`icmp_msgs_per_sec`, `icmp_msgs_burst`).
#[derive(Debug)]
pub struct Allowance {
    left: u32,
    since: Tick,
}

impl Allowance {
    /// Answers in 10 ms, which is 1,000 a second.
    const PER_TICK: u32 = 10;
    /// Answers at once.
    const AT_ONCE: u32 = 50;

    /// A whole burst.
    pub fn new() -> Allowance {
        Allowance { left: Allowance::AT_ONCE, since: Tick(0) }
    }

    /// Whether one more may be given now.
    #[must_use]
    pub fn take(&mut self, now: Tick) -> bool {
        let more = now.since(self.since).saturating_mul(Allowance::PER_TICK);
        (self.left, self.since) = (self.left.saturating_add(more).min(Allowance::AT_ONCE), now);
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_answers_may_be_given_at_once_and_a_thousand_a_second() {
        let mut allowance = Allowance::new();
        let mut given = |now| (0..100).filter(|_| allowance.take(Tick(now))).count();
        assert_eq!([given(0), given(0), given(1), given(3)], [50, 0, 10, 20]);
        assert_eq!(given(1_000_000), 50);
        assert_eq!((1_000_001..1_000_101).map(given).sum::<usize>(), 1000);
    }
}
