//! VLAN tags on the road: taken off a frame before anything else looks at it, and put before what leaves by a VLAN.
//! Between the two a frame's ingress is the VLAN, and so is the interface of its verdict.

use super::Pipeline;
use crate::dataplane::counters::Counters;
use crate::dataplane::nexthop::NextHops;
use crate::dataplane::port::{Frame, OwnFrame};
use crate::dataplane::verdict::{DropReason, Verdict};
use crate::wire::vlan;

/// Takes the tags off a frame, if they are those of a VLAN that is known.
#[cold]
pub(super) fn take_off(frame: &mut Frame<'_>, hops: &NextHops) {
    let Some(tags) = vlan::tags(frame.data()) else { return };
    let bytes = tags.len() * vlan::TAG;
    let Some(vlan) = hops.vlans().above(frame.ingress(), tags) else { return };
    if frame.shrink_front(bytes, |frame| vlan::put_away(frame, bytes)) {
        frame.set_ingress(vlan);
    }
}

impl Pipeline {
    /// Puts tags before the frames of a batch, and what was made beside them, and says by which interface they leave.
    #[cold]
    pub(super) fn put_tags(&mut self, frames: &mut [Frame<'_>]) {
        let (hops, road) = (&self.snapshot.hops, &mut self.road);
        for frame in frames {
            give_back(frame, hops);
            leave(frame, hops, &road.counters);
        }
        put_on(&mut road.own, hops, &road.counters);
    }
}

/// Puts tags before what the road has made.
pub(super) fn put_on(own: &mut [OwnFrame], hops: &NextHops, counters: &Counters) {
    for own in own {
        own.put_through(|frame| {
            // What was put away of it is not there any more: its VLAN's tags do as well.
            if let (Verdict::ToHost(_), Some((_, tags))) =
                (frame.verdict, hops.vlans().below(frame.ingress()))
            {
                push(frame, tags);
            }
            leave(frame, hops, counters);
        });
    }
}

/// The host gets the frame as it came.
fn give_back(frame: &mut Frame<'_>, hops: &NextHops) {
    let Verdict::ToHost(_) = frame.verdict else { return };
    let Some((_, tags)) = hops.vlans().below(frame.ingress()) else { return };
    let bytes = tags.len() * vlan::TAG;
    if frame.grow_front(bytes) {
        vlan::take_out(frame.data_mut(), bytes);
    }
}

fn leave(frame: &mut Frame<'_>, hops: &NextHops, counters: &Counters) {
    if let Some((ingress, _)) = hops.vlans().below(frame.ingress()) {
        frame.set_ingress(ingress);
    }
    let (Verdict::Forward(vlan) | Verdict::Answer(vlan, _)) = frame.verdict else { return };
    let Some((egress, tags)) = hops.vlans().below(vlan) else { return };
    if !push(frame, tags) {
        // No port keeps so little room.
        return super::give(frame, Verdict::Drop(DropReason::NoHeadroom), counters);
    }
    frame.verdict = match frame.verdict {
        Verdict::Answer(_, reason) => Verdict::Answer(egress, reason),
        _ => Verdict::Forward(egress),
    };
}

fn push(frame: &mut Frame<'_>, tags: &[vlan::Tag]) -> bool {
    let grown = frame.grow_front(tags.len() * vlan::TAG);
    if grown {
        vlan::push(frame.data_mut(), tags);
    }
    grown
}
