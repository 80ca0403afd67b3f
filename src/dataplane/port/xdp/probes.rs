//! The director's own probes, beside the port's interfaces: they come in through a door that one worker looks after,
//! and their answers leave through it.

use super::{Frame, OwnFrame, ProbeDoor, ProbeReader, Verdict, XdpPort};
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

/// So many turns may pass without a look for probes: an idle worker's take some microseconds, a busy one's a
/// millisecond.
const LOOK_EVERY: u32 = 16;

/// A port's hold on the door.
#[derive(Debug)]
pub(super) struct Probes {
    pub(super) door: Arc<ProbeDoor>,
    reader: Option<ProbeReader>,
    /// Some are known to wait.
    pub(super) wait: bool,
}

impl Probes {
    /// Whether it is time to look for probes.
    pub(super) fn are_due(&self, turn: u32) -> bool {
        self.reader.is_some() && (self.wait || turn.is_multiple_of(LOOK_EVERY))
    }

    /// What a worker that sleeps is to be woken by.
    pub(super) fn fd(&self) -> Option<RawFd> {
        self.reader.as_ref()?.door.fd()
    }
}

impl XdpPort {
    /// Brings answers to the director's own probes to `door`, and if `reads`, the probes from there, which one worker
    /// should do.
    pub fn serve_probes(&mut self, door: Arc<ProbeDoor>, reads: bool) {
        let reader = reads.then(|| ProbeReader::new(door.clone()));
        self.probes = Some(Probes { door, reader, wait: false });
    }

    /// Lends the probes that wait to the road, and carries out its verdicts.
    pub(super) fn lend_probes(
        &mut self,
        road: &mut dyn FnMut(&mut [Frame<'_>]) -> Vec<OwnFrame>,
    ) -> io::Result<usize> {
        let Some(probes) = &mut self.probes else { return Ok(0) };
        probes.wait = false;
        let Some(mut reader) = probes.reader.take() else { return Ok(0) };
        let mut frames = reader.receive();
        let lent = frames.len();
        let done = if lent > 0 { self.carry_out(&mut frames, road) } else { Ok(()) };
        drop(frames);
        if let Some(probes) = &mut self.probes {
            probes.reader = Some(reader);
        }
        done.map(|()| lent)
    }

    fn carry_out(
        &mut self,
        frames: &mut [Frame<'_>],
        road: &mut dyn FnMut(&mut [Frame<'_>]) -> Vec<OwnFrame>,
    ) -> io::Result<()> {
        let mut own = road(frames);
        let made = own.iter_mut().map(OwnFrame::frame);
        for frame in frames.iter().map(|frame| (frame.verdict, frame.data())) {
            self.give_away(frame)?;
        }
        for frame in made {
            self.give_away((frame.verdict, frame.data()))?;
        }
        self.send_staged()
    }

    /// The host has nothing to do with what it is not told of.
    fn give_away(&mut self, (verdict, packet): (Verdict, &[u8])) -> io::Result<()> {
        match verdict {
            Verdict::Forward(egress) | Verdict::Answer(egress, _) => self.send_copy(packet, egress),
            Verdict::ToHost(_) | Verdict::Drop(_) | Verdict::Held => Ok(()),
        }
    }

    /// Brings an answer to the door.
    #[cold]
    pub(super) fn let_in(&mut self, frame: &[u8]) {
        let sent = self.probes.as_ref().is_some_and(|probes| probes.door.send(frame));
        if !sent {
            self.counters.tx_ring_full.add(1);
        }
    }
}
