//! VLANs: interfaces that are tags on others. Packets leave by, and come in on, the interface below, which is one that
//! lvx works on.

use super::rib::Link;
use crate::net::InterfaceId;
use crate::wire::vlan::{TAGS, Tag};
use arrayvec::ArrayVec;
use hashbrown::HashMap;

/// Tags as they stand in a frame, the outer one first.
pub type Tags = ArrayVec<Tag, TAGS>;

/// Which interfaces are VLANs, and of what.
#[derive(Debug, Default)]
pub struct Vlans {
    below: HashMap<InterfaceId, (InterfaceId, Tags)>,
    above: HashMap<(InterfaceId, Tags), InterfaceId>,
}

impl Vlans {
    /// Those among `links`. One in more VLANs than a frame has tags for, or above an interface that is not there, is none.
    pub(super) fn new(links: &[Link]) -> Vlans {
        let mut vlans = Vlans::default();
        for (place, link) in links.iter().enumerate().filter(|(_, link)| link.vlan.is_some()) {
            let Some((below, tags)) = resolve(links, link) else { continue };
            let id = InterfaceId(place as u16);
            vlans.above.insert((below, tags.clone()), id);
            vlans.below.insert(id, (below, tags));
        }
        vlans
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.below.is_empty()
    }

    /// Whether there are any on this interface.
    pub fn are_on(&self, interface: InterfaceId) -> bool {
        self.below.values().any(|(below, _)| *below == interface)
    }

    /// The interface below a VLAN, and the tags of frames there; `None` for one that is no VLAN.
    pub fn below(&self, vlan: InterfaceId) -> Option<(InterfaceId, &[Tag])> {
        self.below.get(&vlan).map(|(below, tags)| (*below, &tags[..]))
    }

    /// The VLAN of frames that come in on an interface with these tags.
    pub fn above(&self, interface: InterfaceId, tags: Tags) -> Option<InterfaceId> {
        self.above.get(&(interface, tags)).copied()
    }
}

fn resolve<'l>(links: &'l [Link], mut link: &'l Link) -> Option<(InterfaceId, Tags)> {
    let mut tags = Tags::new();
    let mut below = None;
    while let Some(vlan) = link.vlan {
        tags.try_insert(0, vlan.tag).ok()?;
        below = Some(vlan.parent);
        link = links.get(vlan.parent.index())?;
    }
    Some((below?, tags))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::nexthop::Vlan;
    use crate::net::Mac;

    fn tag(vlan: u16) -> Tag {
        Tag { protocol: Tag::DOT1Q, vlan }
    }

    fn link(parent: Option<(u16, u16)>) -> Link {
        let vlan = parent.map(|(parent, vlan)| Vlan { parent: InterfaceId(parent), tag: tag(vlan) });
        Link { name: String::new(), mac: Mac::ZERO, mtu_bytes: 1500, addresses: Vec::new(), up: true, vlan }
    }

    #[test]
    fn a_vlan_may_be_in_another_and_no_deeper() {
        let links = [None, Some((0, 100)), Some((1, 7)), Some((2, 8)), Some((9, 5)), Some((5, 5))].map(link);
        let vlans = Vlans::new(&links);
        assert_eq!(vlans.below(InterfaceId(0)), None);
        assert_eq!(vlans.below(InterfaceId(1)), Some((InterfaceId(0), &[tag(100)][..])));
        assert_eq!(vlans.below(InterfaceId(2)), Some((InterfaceId(0), &[tag(100), tag(7)][..])));
        for not_one in 3..=5 {
            assert_eq!(vlans.below(InterfaceId(not_one)), None, "too deep, on nothing, on itself");
        }
        let above = |tags: &[Tag]| vlans.above(InterfaceId(0), tags.iter().copied().collect());
        assert_eq!(above(&[tag(100)]), Some(InterfaceId(1)));
        assert_eq!(above(&[tag(100), tag(7)]), Some(InterfaceId(2)));
        assert_eq!(above(&[tag(7)]), None);
        assert!(vlans.are_on(InterfaceId(0)) && !vlans.are_on(InterfaceId(1)));
        assert!(!vlans.is_empty() && Vlans::new(&links[..1]).is_empty());
    }
}
