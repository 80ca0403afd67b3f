//! VLAN tags: 802.1Q, and 802.1ad around it (QinQ).
//!
//! ```text
//! [ MACs 12 | 0x88a8, TCI | 0x8100, TCI | type | packet ]      TCI: priority 3 bits, drop eligible 1, VLAN 12
//! ```

use super::be16;
use arrayvec::ArrayVec;

/// Bytes of a tag.
pub const TAG: usize = 4;

/// Tags before a packet, at most.
pub const TAGS: usize = 2;

/// Bytes of the MACs, before which tags are never.
const MACS: usize = 12;

/// A VLAN on a link, or in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag {
    /// The Ethernet type that says that a tag follows: 0x8100 (802.1Q) or 0x88a8 (802.1ad).
    pub protocol: u16,
    /// 1..=4094.
    pub vlan: u16,
}

impl Tag {
    /// 802.1Q's.
    pub const DOT1Q: u16 = 0x8100;
    /// 802.1ad's.
    pub const DOT1AD: u16 = 0x88a8;

    /// The bytes of a tag without priority.
    pub const fn bytes(self) -> [u8; TAG] {
        ((self.protocol as u32) << 16 | self.vlan as u32).to_be_bytes()
    }
}

/// The tags of a frame, the outer one first. `None` for an untagged frame, and for one with more tags than [`TAGS`].
pub fn tags(frame: &[u8]) -> Option<ArrayVec<Tag, TAGS>> {
    let mut tags = ArrayVec::new();
    loop {
        let at = MACS + tags.len() * TAG;
        let protocol = be16(frame, at);
        if protocol != Tag::DOT1Q && protocol != Tag::DOT1AD {
            return (!tags.is_empty()).then_some(tags);
        }
        let tci = be16(frame.get(..at + TAG)?, at + 2);
        tags.try_push(Tag { protocol, vlan: tci & 0xfff }).ok()?;
    }
}

/// Moves the first `bytes` behind the MACs in front of them, where they are kept. `false` if the frame is shorter.
pub fn put_away(frame: &mut [u8], bytes: usize) -> bool {
    frame.get_mut(..MACS + bytes).map(|head| head.rotate_right(bytes)).is_some()
}

/// Undoes [`put_away`]; `frame` begins with what was put away.
pub fn take_out(frame: &mut [u8], bytes: usize) {
    if let Some(head) = frame.get_mut(..MACS + bytes) {
        head.rotate_left(bytes);
    }
}

/// Writes tags into a frame already grown at its front by what they take.
pub fn push(frame: &mut [u8], tags: &[Tag]) {
    let bytes = tags.len() * TAG;
    let Some(head) = frame.get_mut(..MACS + bytes) else { return };
    head.copy_within(bytes.., 0);
    for (place, tag) in head[MACS..].chunks_exact_mut(TAG).zip(tags) {
        place.copy_from_slice(&tag.bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketBuilder, VlanId};
    use proptest::prelude::*;

    fn frame(outer: u16, inner: u16) -> Vec<u8> {
        let mut frame = Vec::new();
        let ethernet = PacketBuilder::ethernet2(*b"abcdef", *b"ghijkl");
        let tagged = ethernet.double_vlan(VlanId::try_new(outer).unwrap(), VlanId::try_new(inner).unwrap());
        tagged.ipv4([1; 4], [2; 4], 9).udp(1, 2).write(&mut frame, b"data").unwrap();
        frame
    }

    #[test]
    fn tags_are_read_put_away_taken_out_and_pushed() {
        let whole = frame(100, 7);
        let found = tags(&whole).unwrap();
        let tag = |protocol, vlan| Tag { protocol, vlan };
        assert_eq!(found[..], [tag(Tag::DOT1AD, 100), tag(Tag::DOT1Q, 7)]);
        let mut changed = whole.clone();
        assert!(put_away(&mut changed, 8));
        assert_eq!(&changed[8..22], b"ghijklabcdef\x08\x00");
        assert_eq!(tags(&changed[8..]), None);
        let mut pushed = [&[0xa5; 8], &changed[8..]].concat();
        push(&mut pushed, &found);
        assert_eq!(pushed, whole);
        take_out(&mut changed, 8);
        assert_eq!(changed, whole);
    }

    #[test]
    fn three_tags_are_too_many_and_a_cut_tag_is_none() {
        let mut three = frame(100, 7);
        three.splice(12..12, [0x81, 0, 0, 9]);
        assert_eq!(tags(&three), None);
        assert_eq!(tags(&frame(100, 7)[..15]), None);
        assert!(!put_away(&mut [0; 15], 4));
    }

    proptest! {
        #[test]
        fn any_bytes_may_claim_tags(mut bytes in proptest::collection::vec(prop_oneof![Just(0x81u8), Just(0), any::<u8>()], 0..40), n in 0usize..10) {
            let _ = tags(&bytes);
            push(&mut bytes, &[Tag { protocol: 1, vlan: 2 }; TAGS]);
            take_out(&mut bytes, n);
            put_away(&mut bytes, n);
        }
    }
}
