//! Several captures in the order of time, and the port that plays them.

use super::capture::{Capture, Packet};
use crate::dataplane::port::{BATCH, Frame, HEADROOM, OwnFrame, Port};
use crate::net::{InterfaceId, Mac, Tick};
use arrayvec::ArrayVec;
use std::io;
use std::ops::Range;
use std::time::Duration;

/// The sender of packets that were captured without an Ethernet header.
const NOBODY: Mac = Mac([2, 0, 0, 0, 0, 0]);

/// A made-up Ethernet header may take this much more than was captured.
const ETHERNET: usize = 14;

/// Frames are laid out as in a UMEM: as far apart, with as much room in front, on lines of the cache, and as many
/// at once as a worker has by default (fewer if they are larger). So the road finds packets in the caches about
/// where a network card would have put them.
const STRIDE: usize = 2048;
const FRONT: usize = 256;
const LINE: usize = 64;
const LAID_OUT_BYTES: usize = 8192 * STRIDE;

/// Packets that came within this are of one moment: what is measured of connections is not measured more closely.
const TOGETHER: Duration = Duration::from_micros(16);

const _: () = assert!(FRONT >= HEADROOM);

/// The packets of several captures in the order of time, each with the interface it came in on.
#[derive(Debug, Clone, Default)]
pub struct Tape {
    inputs: Vec<(InterfaceId, Capture)>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    time_ns: u64,
    input: u32,
    packet: u32,
}

/// Merges captures by time. Packets of one time come in the order of `inputs`, and those of one capture in the
/// order of its file: where a capture's clock goes back, its packets count as of the latest time before.
pub fn merge(inputs: Vec<(InterfaceId, Capture)>) -> Tape {
    let mut entries = Vec::with_capacity(inputs.iter().map(|(_, capture)| capture.packets().len()).sum());
    for (input, (_, capture)) in inputs.iter().enumerate() {
        let mut latest = 0;
        entries.extend(capture.packets().iter().enumerate().map(|(number, packet)| {
            latest = packet.time_ns.max(latest);
            Entry { time_ns: latest, input: input as u32, packet: number as u32 }
        }));
    }
    // Stable, which is what keeps the order of inputs and of each file.
    entries.sort_by_key(|entry| entry.time_ns);
    Tape { inputs, entries }
}

impl Tape {
    /// How many packets it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When a packet came in, in nanoseconds since 1970.
    ///
    /// # Panics
    /// If there is no packet of this index.
    pub fn time_ns(&self, index: usize) -> u64 {
        self.entries[index].time_ns
    }

    /// Which interface a packet came in on.
    ///
    /// # Panics
    /// As [`Tape::time_ns`].
    pub fn ingress(&self, index: usize) -> InterfaceId {
        self.inputs[self.entries[index].input as usize].0
    }

    /// A packet as an Ethernet frame: the header made up for it if it was captured without one, and the
    /// captured bytes. `mac` tells the MAC of an interface, to which such packets were sent.
    ///
    /// # Panics
    /// As [`Tape::time_ns`].
    pub fn frame(&self, index: usize, mac: impl Fn(InterfaceId) -> Mac) -> (Option<[u8; 14]>, &[u8]) {
        let (ingress, capture, packet) = self.packet(index);
        capture.ethernet(packet, NOBODY, mac(ingress))
    }

    /// When a packet came in, since the first one.
    fn since_first(&self, index: usize) -> Duration {
        Duration::from_nanos(self.entries[index].time_ns - self.entries[0].time_ns)
    }

    fn packet(&self, index: usize) -> (InterfaceId, &Capture, &Packet) {
        let entry = self.entries[index];
        let (ingress, capture) = &self.inputs[entry.input as usize];
        (*ingress, capture, &capture.packets()[entry.packet as usize])
    }

    fn longest(&self) -> usize {
        let lengths = |(_, capture): &(_, Capture)| {
            capture.packets().iter().map(|packet| capture.bytes(packet).len()).max().unwrap_or(0)
        };
        self.inputs.iter().map(lengths).max().unwrap_or(0)
    }
}

/// Plays a tape: lends its packets in order, and gives each with its verdict to a sink, and behind it what the road made.
///
/// A batch holds packets of one interface that came in within one [`Tick`] and within [`TOGETHER`], so that the caller can
/// hand the pipeline the moment of [`PcapPort::next_time`] as the present for all of them.
#[derive(Debug)]
pub struct PcapPort<'t, S> {
    tape: &'t Tape,
    next: usize,
    together: Duration,
    /// The MACs by interface.
    macs: Vec<Mac>,
    /// Frames of `stride` bytes, each with [`FRONT`] bytes of room in front, from `aligned` on.
    buffers: Vec<u8>,
    aligned: usize,
    stride: usize,
    /// The packets that lie in the buffers, the first of them in the first.
    laid_out: Range<usize>,
    /// Their lengths as frames.
    lengths: Vec<usize>,
    sink: S,
}

impl<'t, S> PcapPort<'t, S>
where
    S: FnMut(usize, &Frame<'_>) -> io::Result<()>,
{
    /// A port at the beginning of `tape`. `macs` are the interfaces' MACs by [`InterfaceId`], the destinations
    /// of packets that were captured without an Ethernet header. `sink` gets each packet's index on the tape
    /// and its frame, after the road; its error ends the replay.
    pub fn new(tape: &'t Tape, macs: &[Mac], sink: S) -> PcapPort<'t, S> {
        let stride = (FRONT + ETHERNET + tape.longest()).next_multiple_of(LINE).max(STRIDE);
        let frames = (LAID_OUT_BYTES / stride).max(BATCH).min(tape.len());
        let buffers = vec![0; stride * frames + LINE];
        // Where it cannot be aligned (in an interpreter) it works all the same.
        let aligned = buffers.as_ptr().align_offset(LINE).min(LINE);
        PcapPort {
            tape,
            next: 0,
            together: TOGETHER,
            macs: macs.to_vec(),
            buffers,
            aligned,
            stride,
            laid_out: 0..0,
            lengths: Vec::with_capacity(frames),
            sink,
        }
    }

    /// When the next packet came in, since the first one; `None` at the end of the tape.
    pub fn next_time(&self) -> Option<Duration> {
        (self.next < self.tape.len()).then(|| self.tape.since_first(self.next))
    }

    /// From here on, batches hold whatever came within one tick: for who measures what packets cost, and not what
    /// is measured of them.
    pub fn lend_whole_ticks(&mut self) {
        self.together = Duration::MAX;
    }

    /// Back to the beginning.
    pub fn rewind(&mut self) {
        self.next = 0;
        self.laid_out = 0..0;
    }

    /// Fills the buffers with the packets from the next one on.
    fn lay_out(&mut self) {
        let mac = |id: InterfaceId| self.macs.get(id.index()).copied().unwrap_or(Mac::ZERO);
        let rest = self.next..self.tape.len();
        self.lengths.clear();
        for (index, buffer) in rest.zip(self.buffers[self.aligned..].chunks_exact_mut(self.stride)) {
            let (header, payload) = self.tape.frame(index, mac);
            let header = header.as_ref().map_or(&[][..], |made_up| made_up);
            let len = header.len() + payload.len();
            let packet = &mut buffer[FRONT..FRONT + len];
            packet[..header.len()].copy_from_slice(header);
            packet[header.len()..].copy_from_slice(payload);
            self.lengths.push(len);
        }
        self.laid_out = self.next..self.next + self.lengths.len();
    }

    /// Where the batch that begins at `first` ends: at another interface, at another tick, with what came later, or when
    /// it is full.
    fn batch_end(&self, first: usize) -> usize {
        let time = |index| self.tape.since_first(index);
        let of_batch = |index| (self.tape.ingress(index), Tick::from_duration(time(index)));
        let is_later = |index| time(index) - time(first) > self.together;
        let last = self.tape.len().min(first + BATCH);
        let ends = |&index: &usize| of_batch(index) != of_batch(first) || is_later(index);
        (first + 1..last).find(ends).unwrap_or(last)
    }
}

impl<S> Port for PcapPort<'_, S>
where
    S: FnMut(usize, &Frame<'_>) -> io::Result<()>,
{
    fn turn(&mut self, road: &mut dyn FnMut(&mut [Frame<'_>]) -> Vec<OwnFrame>) -> io::Result<usize> {
        let first = self.next;
        if first == self.tape.len() {
            return Ok(0);
        }
        if !self.laid_out.contains(&first) {
            self.lay_out();
        }
        let end = self.batch_end(first).min(self.laid_out.end);
        let ingress = self.tape.ingress(first);
        let place = first - self.laid_out.start;
        let buffers = self.buffers[self.aligned..].chunks_exact_mut(self.stride).zip(&self.lengths);
        let frames = buffers.skip(place).take(end - first);
        let mut frames: ArrayVec<Frame<'_>, BATCH> =
            frames.map(|(buffer, &len)| Frame::new(buffer, FRONT, len, ingress)).collect();
        self.next = end;
        let mut own = road(&mut frames).into_iter().peekable();
        for (at, frame) in frames.iter().enumerate() {
            (self.sink)(first + at, frame)?;
            while let Some(mut own) = own.next_if(|own| own.behind() == at) {
                (self.sink)(first + at, &own.frame())?;
            }
        }
        Ok(frames.len())
    }

    /// Behind the packet that was lent last.
    fn send(&mut self, own: Vec<OwnFrame>) -> io::Result<()> {
        let last = self.next.saturating_sub(1);
        own.into_iter().try_for_each(|mut own| (self.sink)(last, &own.frame()))
    }

    /// Returns at once: time passes on the tape only.
    fn wait(&mut self, _timeout: Duration) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::verdict::{DropReason, HostReason, Verdict};

    const MILLI: u64 = 1_000_000;

    /// A capture of packets at these times in ns, the n-th of `len + n` bytes of `fill`.
    fn capture(link_type: u32, times: &[u64], fill: u8, len: usize) -> Capture {
        let mut file: Vec<u8> = [0xa1b2_3c4d, 0x0004_0002, 0, 0, 0, link_type]
            .iter()
            .flat_map(|v: &u32| v.to_le_bytes())
            .collect();
        for (n, time) in times.iter().enumerate() {
            let (seconds, ns, len) = (time / 1_000_000_000, time % 1_000_000_000, (len + n) as u64);
            file.extend([seconds, ns, len, len].iter().flat_map(|&v| (v as u32).to_le_bytes()));
            file.extend(vec![fill; len as usize]);
        }
        Capture::parse(file).unwrap()
    }

    /// The first byte of each packet, in the tape's order.
    fn order(tape: &Tape) -> Vec<u8> {
        (0..tape.len()).map(|index| tape.frame(index, |_| Mac::ZERO).1[0]).collect()
    }

    #[test]
    fn captures_are_merged_by_time_and_ties_go_to_the_earlier_input() {
        let a = capture(1, &[10, 20, 30], b'a', 60);
        let b = capture(1, &[5, 20, 25], b'b', 60);
        let tape = merge(vec![(InterfaceId(1), a), (InterfaceId(0), b)]);
        assert_eq!(order(&tape), b"baabba");
        assert_eq!((tape.ingress(0), tape.ingress(1)), (InterfaceId(0), InterfaceId(1)));
    }

    #[test]
    fn a_capture_whose_clock_goes_back_keeps_its_own_order() {
        let a = capture(1, &[10, 50, 20], b'a', 60);
        let b = capture(1, &[30, 60], b'b', 60);
        let tape = merge(vec![(InterfaceId(0), a), (InterfaceId(1), b)]);
        assert_eq!(order(&tape), b"abaab");
        assert_eq!((0..5).map(|index| tape.time_ns(index)).collect::<Vec<_>>(), [10, 30, 50, 50, 60]);
    }

    #[test]
    fn a_batch_ends_where_the_interface_or_the_tick_changes_or_when_it_is_full() {
        let day = 86_400_000_000_000;
        let a: Vec<u64> = [0, 9, 10, 11, 30].map(|ms| day + ms * MILLI).to_vec();
        let full: Vec<u64> = vec![day + 40 * MILLI; BATCH + 1];
        let tape = merge(vec![
            (InterfaceId(0), capture(1, &a, b'a', 60)),
            (InterfaceId(1), capture(1, &[day + 12 * MILLI], b'b', 60)),
            (InterfaceId(2), capture(1, &full, b'c', 60)),
        ]);
        let mut port = PcapPort::new(&tape, &[], |_, _| Ok(()));
        port.lend_whole_ticks();
        let expected = [(0, 0, 2), (10, 0, 2), (12, 1, 1), (30, 0, 1), (40, 2, 64), (40, 2, 1)];
        assert_eq!(batches(&mut port), expected.map(|(ms, interface, lent)| (ms * 1000, interface, lent)));
        assert_eq!(port.turn(&mut |_| panic!("the tape is at its end")).unwrap(), 0);
        port.rewind();
        assert_eq!(port.next_time(), Some(Duration::ZERO));
    }

    /// The batches up to the end of a tape: when in microseconds, from which interface, how many packets.
    fn batches<S>(port: &mut PcapPort<'_, S>) -> Vec<(u128, u16, usize)>
    where
        S: FnMut(usize, &Frame<'_>) -> io::Result<()>,
    {
        let mut batches = Vec::new();
        while let Some(time) = port.next_time() {
            let mut interface = None;
            let mut road = |frames: &mut [Frame<'_>]| {
                interface = Some(frames[0].ingress().0);
                Vec::new()
            };
            let lent = port.turn(&mut road).unwrap();
            batches.push((time.as_micros(), interface.unwrap(), lent));
        }
        batches
    }

    #[test]
    fn what_is_measured_of_connections_sees_packets_apart_that_came_apart() {
        let times = [0, 9, 16, 17, 33, 34].map(|micros| micros * MILLI / 1000);
        let tape = merge(vec![(InterfaceId(0), capture(1, &times, b'a', 60))]);
        let mut port = PcapPort::new(&tape, &[], |_, _| Ok(()));
        assert_eq!(batches(&mut port), [(0, 0, 3), (17, 0, 2), (34, 0, 1)]);
    }

    #[test]
    fn the_sink_gets_each_frame_as_the_road_left_it() {
        let tape = merge(vec![(InterfaceId(0), capture(101, &[1, 2], 0x45, 20))]);
        let mut seen = Vec::new();
        let mac = Mac([2, 0, 0, 0, 0, 7]);
        let mut port = PcapPort::new(&tape, &[mac], |index, frame: &Frame<'_>| {
            seen.push((index, frame.data().to_vec(), frame.verdict));
            Ok(())
        });
        let lent = port.turn(&mut |frames| {
            assert_eq!(frames[0].data()[..14], [&mac.0[..], &NOBODY.0, &[8, 0]].concat());
            frames[0].verdict = Verdict::Forward(InterfaceId(1));
            assert!(frames[1].grow_front(HEADROOM), "the headroom is there");
            frames[1].data_mut()[0] = 0x77;
            let behind = std::ptr::from_ref(&frames[0]).addr();
            let verdict = Verdict::ToHost(HostReason::NotOurs);
            let mut own = OwnFrame::new(OwnFrame::copy(&[8; 3]), InterfaceId(0), verdict, behind);
            own.number_in(frames);
            vec![own]
        });
        assert_eq!(lent.unwrap(), 2);
        assert_eq!((seen[0].0, seen[0].1.len(), seen[0].2), (0, 34, Verdict::Forward(InterfaceId(1))));
        assert_eq!(seen.remove(1), (0, vec![8; 3], Verdict::ToHost(HostReason::NotOurs)));
        assert_eq!((seen[1].0, seen[1].1.len(), seen[1].1[0]), (1, 35 + HEADROOM, 0x77));
        assert_eq!(seen[1].2, Verdict::Drop(DropReason::Truncated), "the road said nothing");
    }

    #[test]
    fn an_error_of_the_sink_ends_the_turn() {
        let tape = merge(vec![(InterfaceId(0), capture(1, &[1], 0, 60))]);
        let mut port = PcapPort::new(&tape, &[], |_, _: &Frame<'_>| Err(io::Error::other("disk full")));
        assert_eq!(port.turn(&mut |_| Vec::new()).unwrap_err().to_string(), "disk full");
    }
}
