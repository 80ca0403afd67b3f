//! Where each UMEM frame is. A frame is in exactly one place; a frame that is nowhere is lost for ever, and one that
//! is in two is a packet overwritten by another.
//!
//! ```text
//!            fill ring            receive ring            verdict
//!   Free ---------------> Fill -----------------> Lent ------------+----> Free
//!    ^                                                             |
//!    +----------------------- Sending <----------------------------+
//!         completion ring                 transmit ring
//! ```
//!
//! A frame that the road makes is put in a free one, which is lent for that moment.

/// Where a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// With the port, in no use.
    Free,
    /// With the kernel, for a packet to be received into.
    Fill,
    /// With the road, until it returns.
    Lent,
    /// With the kernel, being sent.
    Sending,
}

/// How many frames are where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameCensus {
    /// All that there are.
    pub total: usize,
    /// With the port, in no use.
    pub free: usize,
    /// With the kernel, for packets to be received into.
    pub filling: usize,
    /// With the road.
    pub lent: usize,
    /// With the kernel, being sent.
    pub sending: usize,
}

impl FrameCensus {
    /// Whether no frame is lost and none is counted twice.
    pub fn adds_up(&self) -> bool {
        self.free + self.filling + self.lent + self.sending == self.total
    }
}

/// The place of every frame by its number. Debug builds keep it and panic at a step that is not in the drawing;
/// release builds keep nothing.
#[derive(Debug)]
pub(super) struct Ledger {
    #[cfg(debug_assertions)]
    places: Vec<Place>,
}

impl Ledger {
    #[cfg(debug_assertions)]
    pub(super) fn new(frames: usize) -> Ledger {
        Ledger { places: vec![Place::Free; frames] }
    }

    #[cfg(not(debug_assertions))]
    pub(super) fn new(_frames: usize) -> Ledger {
        Ledger {}
    }

    /// Frame number `frame` goes from one place to the next.
    #[inline]
    #[cfg_attr(not(debug_assertions), expect(unused_variables, reason = "release builds keep no places"))]
    pub(super) fn moved(&mut self, frame: usize, from: Place, to: Place) {
        #[cfg(debug_assertions)]
        {
            assert_eq!(self.places[frame], from, "frame {frame} goes to {to:?} from where it is");
            self.places[frame] = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_may_go_round_again_and_again() {
        let mut ledger = Ledger::new(2);
        for _ in 0..3 {
            ledger.moved(1, Place::Free, Place::Fill);
            ledger.moved(1, Place::Fill, Place::Lent);
            ledger.moved(1, Place::Lent, Place::Sending);
            ledger.moved(1, Place::Sending, Place::Free);
        }
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "frame 0 goes to Sending from where it is")]
    fn a_frame_that_is_sent_twice_is_caught() {
        let mut ledger = Ledger::new(1);
        ledger.moved(0, Place::Free, Place::Fill);
        ledger.moved(0, Place::Fill, Place::Lent);
        ledger.moved(0, Place::Lent, Place::Sending);
        ledger.moved(0, Place::Lent, Place::Sending);
    }

    #[test]
    fn a_census_with_a_frame_too_few_does_not_add_up() {
        let census = FrameCensus { total: 64, free: 1, filling: 60, lent: 2, sending: 1 };
        assert!(census.adds_up());
        assert!(!FrameCensus { sending: 0, ..census }.adds_up());
    }
}
