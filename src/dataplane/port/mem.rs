//! A port over frames in memory, for benches and tests: no input, no output, the same packets again and again.

use super::{BATCH, Frame, HEADROOM, OwnFrame, Port};
use crate::dataplane::verdict::{DropReason, HostReason, Verdict};
use crate::net::InterfaceId;
use arrayvec::ArrayVec;
use std::io;
use std::time::Duration;

/// Bytes of a frame's buffer, as in an AF_XDP UMEM.
const STRIDE: usize = 2048;

/// What a turn restores of each packet: all headers that the road may have rewritten.
const RESTORED: usize = 128;

/// The longest packet that a frame holds.
pub const MAX_PACKET: usize = STRIDE - HEADROOM;

/// Frames in one arena, lent from the first to the last.
///
/// ```text
/// arena      [ headroom | packet ...... | unused ] [ headroom | packet ...
///              48 bytes                             ^ every 2048 bytes
/// pristine   [ the packet's first 128 bytes ] [ the next one's ...
/// ```
#[derive(Debug)]
pub struct MemPort {
    arena: Vec<u8>,
    pristine: Vec<u8>,
    lengths: Vec<u16>,
    ingress: InterfaceId,
    next: usize,
    restoring: bool,
    counts: VerdictCounts,
    outputs: Option<Vec<(Verdict, Vec<u8>)>>,
}

/// How often each verdict was given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerdictCounts {
    /// Frames to send.
    pub forwarded: u64,
    /// Frames for the kernel, by [`HostReason`].
    pub to_host: [u64; HostReason::ALL.len()],
    /// Frames dropped, by [`DropReason`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Frames of which the road keeps a copy.
    pub held: u64,
}

impl VerdictCounts {
    fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Forward(_) => self.forwarded += 1,
            Verdict::ToHost(reason) => self.to_host[reason as usize] += 1,
            Verdict::Drop(reason) | Verdict::Answer(_, reason) => self.dropped[reason as usize] += 1,
            Verdict::Held => self.held += 1,
        }
    }

    /// All verdicts together: as many as frames were lent.
    pub fn total(&self) -> u64 {
        self.forwarded + self.to_host.iter().sum::<u64>() + self.dropped.iter().sum::<u64>() + self.held
    }
}

impl MemPort {
    /// A port that lends `packets`, all received on `ingress`. Before each turn the first 128 bytes of the
    /// packets it lends are as they were in the beginning.
    ///
    /// # Panics
    /// If a packet is longer than [`MAX_PACKET`].
    pub fn new(packets: &[Vec<u8>], ingress: InterfaceId) -> MemPort {
        // Unwritten bytes show.
        let mut arena = vec![0xa5; packets.len() * STRIDE];
        let mut pristine = vec![0xa5; packets.len() * RESTORED];
        for (n, packet) in packets.iter().enumerate() {
            assert!(packet.len() <= MAX_PACKET, "a packet of {} bytes; {MAX_PACKET} fit", packet.len());
            arena[n * STRIDE + HEADROOM..][..packet.len()].copy_from_slice(packet);
            let head = packet.len().min(RESTORED);
            pristine[n * RESTORED..][..head].copy_from_slice(&packet[..head]);
        }
        MemPort {
            arena,
            pristine,
            lengths: packets.iter().map(|packet| packet.len() as u16).collect(),
            ingress,
            next: 0,
            restoring: true,
            counts: VerdictCounts::default(),
            outputs: None,
        }
    }

    /// Leaves the packets as the last road left them, to measure a road that does not mind.
    pub fn without_restoring(mut self) -> MemPort {
        self.restoring = false;
        self
    }

    /// Keeps a copy of every frame as it leaves the road.
    pub fn recording(mut self) -> MemPort {
        self.outputs = Some(Vec::new());
        self
    }

    /// Back to the first packet. Counts and records go on.
    pub fn rewind(&mut self) {
        self.next = 0;
    }

    /// The verdicts given so far.
    pub fn counts(&self) -> &VerdictCounts {
        &self.counts
    }

    /// The frames that left the road, in order; empty unless the port is [`MemPort::recording`].
    pub fn outputs(&self) -> &[(Verdict, Vec<u8>)] {
        self.outputs.as_deref().unwrap_or_default()
    }
}

impl Port for MemPort {
    fn turn(&mut self, road: &mut dyn FnMut(&mut [Frame<'_>]) -> Vec<OwnFrame>) -> io::Result<usize> {
        let first = self.next;
        let end = self.lengths.len().min(first + BATCH);
        if first == end {
            return Ok(0);
        }
        let buffers = self.arena[first * STRIDE..end * STRIDE].chunks_exact_mut(STRIDE);
        let pristine = self.pristine[first * RESTORED..end * RESTORED].chunks_exact(RESTORED);
        let mut frames: ArrayVec<Frame<'_>, BATCH> = ArrayVec::new();
        for ((buffer, pristine), &len) in buffers.zip(pristine).zip(&self.lengths[first..end]) {
            if self.restoring {
                buffer[HEADROOM..HEADROOM + RESTORED].copy_from_slice(pristine);
            }
            frames.push(Frame::new(buffer, HEADROOM, len.into(), self.ingress));
        }
        self.next = end;
        let mut own = road(&mut frames).into_iter().peekable();
        for (at, frame) in frames.iter().enumerate() {
            self.counts.count(frame.verdict);
            let Some(outputs) = &mut self.outputs else { continue };
            outputs.push((frame.verdict, frame.data().to_vec()));
            while let Some(mut own) = own.next_if(|own| own.behind() == at) {
                outputs.push((own.verdict(), own.frame().data().to_vec()));
            }
        }
        Ok(end - first)
    }

    fn send(&mut self, own: Vec<OwnFrame>) -> io::Result<()> {
        if let Some(outputs) = &mut self.outputs {
            outputs.extend(own.into_iter().map(|mut own| (own.verdict(), own.frame().data().to_vec())));
        }
        Ok(())
    }

    /// Returns at once: nothing ever arrives.
    fn wait(&mut self, _timeout: Duration) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|n| vec![n as u8; 60 + n]).collect()
    }

    #[test]
    fn every_packet_is_lent_once_until_the_port_is_rewound() {
        let mut port = MemPort::new(&packets(100), InterfaceId(3));
        let mut lent = Vec::new();
        let mut road = |frames: &mut [Frame<'_>]| {
            assert!(frames.iter().all(|frame| frame.ingress() == InterfaceId(3)));
            lent.extend(frames.iter().map(|frame| (frame.data()[0], frame.len())));
            Vec::new()
        };
        let turns: Vec<usize> = (0..3).map(|_| port.turn(&mut road).unwrap()).collect();
        assert_eq!(turns, [64, 36, 0]);
        port.rewind();
        assert_eq!(port.turn(&mut road).unwrap(), 64);
        let once: Vec<_> = (0..100).map(|n| (n as u8, 60 + n)).collect();
        assert_eq!((&lent[..100], &lent[100..]), (&once[..], &once[..64]));
    }

    #[test]
    fn a_packets_headers_are_restored_before_it_is_lent_again() {
        let mut port = MemPort::new(&[vec![7; 200]], InterfaceId(0));
        let mut spoil = |frames: &mut [Frame<'_>]| {
            assert_eq!((frames[0].data()[0], frames[0].data()[RESTORED - 1]), (7, 7));
            assert!(frames[0].grow_front(20));
            frames[0].data_mut()[..20 + RESTORED].fill(0);
            Vec::new()
        };
        for _ in 0..2 {
            port.turn(&mut spoil).unwrap();
            port.rewind();
        }
    }

    #[test]
    fn without_restoring_a_packet_is_lent_as_it_was_left() {
        let mut port = MemPort::new(&packets(1), InterfaceId(0)).without_restoring();
        let mut seen = Vec::new();
        for _ in 0..2 {
            let mut road = |frames: &mut [Frame<'_>]| {
                seen.push(std::mem::replace(&mut frames[0].data_mut()[0], 9));
                Vec::new()
            };
            port.turn(&mut road).unwrap();
            port.rewind();
        }
        assert_eq!(seen, [0, 9]);
    }

    #[test]
    fn every_verdict_is_counted_under_its_name_and_recorded_with_its_frame() {
        let verdicts = [
            Verdict::Forward(InterfaceId(1)),
            Verdict::ToHost(HostReason::NotIp),
            Verdict::Drop(DropReason::NoRoute),
            Verdict::Drop(DropReason::NoRoute),
        ];
        let mut port = MemPort::new(&packets(4), InterfaceId(0)).recording();
        let mut road = |frames: &mut [Frame<'_>]| {
            frames.iter_mut().zip(verdicts).for_each(|(frame, verdict)| frame.verdict = verdict);
            frames[0].truncate(1);
            let copy = OwnFrame::copy(b"own");
            let behind = std::ptr::from_ref(&frames[1]).addr();
            let mut own = OwnFrame::new(copy, InterfaceId(7), Verdict::Forward(InterfaceId(2)), behind);
            own.number_in(frames);
            vec![own]
        };
        port.turn(&mut road).unwrap();
        let counts = port.counts();
        assert_eq!((counts.forwarded, counts.total()), (1, 4));
        assert_eq!(counts.to_host[HostReason::NotIp as usize], 1);
        assert_eq!(counts.dropped[DropReason::NoRoute as usize], 2);
        let mut outputs = port.outputs().to_vec();
        let own = (Verdict::Forward(InterfaceId(2)), b"own".to_vec());
        assert_eq!(outputs.remove(2), own, "behind the frame that it names");
        assert_eq!(outputs.iter().map(|(verdict, _)| *verdict).collect::<Vec<_>>(), verdicts);
        assert_eq!(outputs[0].1, [0]);
    }

    #[test]
    fn nothing_is_recorded_unasked() {
        let mut port = MemPort::new(&packets(1), InterfaceId(0));
        port.turn(&mut |_| Vec::new()).unwrap();
        assert!(port.outputs().is_empty());
    }
}
