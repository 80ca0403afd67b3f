//! Reading a pcapng file (draft-ietf-opsawg-pcapng) into a [`Capture`].
//!
//! ```text
//! block*   type, total length, body, total length   multiples of 4 bytes
//!          section header: byte order      interface: link type, time resolution
//!          enhanced packet, simple packet, and the obsolete packet; all others are passed over
//! ```

use super::capture::{Capture, Cause, Fault, LinkType, Order, checked_len};
use std::ops::Range;

pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// Interfaces that a section may describe: more are taken for corrupt.
const MAX_INTERFACES: usize = 1 << 16;

const OPTION_TIME_RESOLUTION: u16 = 9;
const OPTION_TIME_OFFSET: u16 = 14;

/// An interface of a pcapng section.
#[derive(Debug, Clone)]
struct Interface {
    link_number: u32,
    /// 0 means no limit.
    snapshot_len: u32,
    /// Units of time in a second.
    units_per_second: u128,
    offset_seconds: i64,
}

impl Interface {
    /// ```text
    /// link type u16   reserved u16   snapshot length u32   options { code u16, length u16, value, padding }*
    /// ```
    fn read(order: Order, body: &[u8]) -> Result<Interface, Fault> {
        let Some((head, mut options)) = body.split_at_checked(8) else {
            return Err(Fault::of_file(Cause::Malformed("an interface's block is too short")));
        };
        let mut interface = Interface {
            link_number: u32::from(order.u16(head, 0)),
            snapshot_len: order.u32(head, 4),
            units_per_second: 1_000_000,
            offset_seconds: 0,
        };
        while let Some((head, rest)) = options.split_at_checked(4) {
            let (code, len) = (order.u16(head, 0), usize::from(order.u16(head, 2)));
            let Some(value) = rest.get(..len) else {
                return Err(Fault::of_file(Cause::Malformed("an interface's option exceeds its block")));
            };
            match (code, value) {
                (OPTION_TIME_RESOLUTION, &[resolution]) => {
                    interface.units_per_second = units_per_second(resolution)
                        .ok_or(Fault::of_file(Cause::Malformed("a time resolution beyond all measure")))?;
                }
                (OPTION_TIME_OFFSET, value) if len == 8 => {
                    let (a, b) = (order.u32(value, 0), order.u32(value, 4));
                    let (high, low) = if order == Order::Big { (a, b) } else { (b, a) };
                    interface.offset_seconds = (u64::from(high) << 32 | u64::from(low)) as i64;
                }
                _ => {}
            }
            options = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        }
        Ok(interface)
    }

    fn link_type(&self) -> Result<LinkType, Fault> {
        LinkType::from_number(self.link_number).ok_or(Fault::of_packet(Cause::LinkType(self.link_number)))
    }

    /// Nanoseconds since 1970; times that u64 cannot hold are clamped to it.
    fn time_ns(&self, units: u64) -> u64 {
        // units < 2^64 and 10^9 < 2^30: no overflow in 128 bits.
        let ns = (u128::from(units) * 1_000_000_000 / self.units_per_second) as i128;
        (ns + i128::from(self.offset_seconds) * 1_000_000_000).clamp(0, i128::from(u64::MAX)) as u64
    }
}

/// if_tsresol: a negative power of 10, or of 2 if the highest bit is set.
fn units_per_second(resolution: u8) -> Option<u128> {
    let (base, exponent) = if resolution & 0x80 == 0 { (10u128, resolution) } else { (2, resolution & 0x7f) };
    base.checked_pow(u32::from(exponent))
}

impl Capture {
    pub(super) fn pcapng(&mut self) -> Result<(), Fault> {
        let mut order = Order::Little;
        let mut interfaces: Vec<Interface> = Vec::new();
        let mut at = 0;
        while at < self.bytes.len() && !self.truncated {
            let Some(head) = self.bytes.get(at..at + 12) else {
                self.truncated = true;
                break;
            };
            if order.u32(head, 0) == SECTION_HEADER {
                // The type reads alike in both orders; the word after the length tells which it is.
                order = match head[8..] {
                    [0x4d, 0x3c, 0x2b, 0x1a] => Order::Little,
                    [0x1a, 0x2b, 0x3c, 0x4d] => Order::Big,
                    _ => return Err(Fault::of_file(Cause::Malformed("a section of no known byte order"))),
                };
                interfaces.clear();
            }
            let (kind, total) = (order.u32(head, 0), order.u32(head, 4) as usize);
            if total < 12 || !total.is_multiple_of(4) {
                return Err(Fault::of_file(Cause::Malformed(
                    "a block's length is below 12 or no multiple of 4",
                )));
            }
            let end = at + total;
            // What there is of a block that the file cuts off is looked at all the same: it may betray a
            // corrupt length.
            self.truncated |= end > self.bytes.len();
            let body = at + 8..(end - 4).min(self.bytes.len());
            if let Some(trailer) = self.bytes.get(end - 4..end)
                && order.u32(trailer, 0) as usize != total
            {
                return Err(Fault::of_file(Cause::Malformed("a block's two lengths differ")));
            }
            match kind {
                INTERFACE if !self.truncated && interfaces.len() < MAX_INTERFACES => {
                    interfaces.push(Interface::read(order, &self.bytes[body])?);
                }
                ENHANCED_PACKET | OBSOLETE_PACKET => self.enhanced(order, kind, body, &interfaces)?,
                SIMPLE_PACKET => self.simple(order, body, &interfaces)?,
                _ => {}
            }
            at = end;
        }
        Ok(())
    }

    /// ```text
    /// enhanced   interface u32          time u64 (high, low)   captured u32   original u32   bytes   options
    /// obsolete   interface u16 drops u16     the same
    /// ```
    fn enhanced(
        &mut self,
        order: Order,
        kind: u32,
        body: Range<usize>,
        interfaces: &[Interface],
    ) -> Result<(), Fault> {
        let Some(header) = self.bytes[body.clone()].get(..20) else { return self.short_block() };
        let id = match kind {
            ENHANCED_PACKET => order.u32(header, 0),
            _ => u32::from(order.u16(header, 0)),
        };
        let units = u64::from(order.u32(header, 4)) << 32 | u64::from(order.u32(header, 8));
        let (captured, original_len) = (order.u32(header, 12), order.u32(header, 16));
        let interface = interfaces.get(id as usize).ok_or(Fault::of_packet(Cause::UnknownInterface(id)))?;
        let link_type = interface.link_type()?;
        let len = checked_len(captured)?;
        if self.truncated {
            return Ok(());
        }
        let start = body.start + 20;
        if start + len > body.end {
            return Err(Fault::of_packet(Cause::Malformed("the captured length exceeds the block")));
        }
        self.push(interface.time_ns(units), link_type, original_len, start..start + len);
        Ok(())
    }

    /// A simple packet has no time: it gets that of the packet before it. It belongs to interface 0, and its
    /// captured length is the lesser of its original length and the snapshot length.
    fn simple(&mut self, order: Order, body: Range<usize>, interfaces: &[Interface]) -> Result<(), Fault> {
        let Some(header) = self.bytes[body.clone()].get(..4) else { return self.short_block() };
        let original_len = order.u32(header, 0);
        let interface = interfaces.first().ok_or(Fault::of_packet(Cause::UnknownInterface(0)))?;
        let link_type = interface.link_type()?;
        let snapshot = if interface.snapshot_len == 0 { u32::MAX } else { interface.snapshot_len };
        if self.truncated {
            return Ok(());
        }
        let start = body.start + 4;
        // Nothing but the block's own length tells where the snapshot really ended, if the writer lied.
        let len = checked_len(original_len.min(snapshot).min((body.end - start) as u32))?;
        let time_ns = self.packets.last().map_or(0, |packet| packet.time_ns);
        self.push(time_ns, link_type, original_len, start..start + len);
        Ok(())
    }

    fn short_block(&self) -> Result<(), Fault> {
        if self.truncated {
            Ok(())
        } else {
            Err(Fault::of_packet(Cause::Malformed("the block is too short for a packet")))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::capture::tests::{number, read};
    use super::*;
    use crate::net::Mac;
    use proptest::prelude::*;

    pub fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
        let padded = body.len().next_multiple_of(4);
        let total = number(order, padded as u32 + 12);
        let padding = vec![0; padded - body.len()];
        [&number(order, kind), &total, body, &padding, &total].concat()
    }

    pub fn section(order: Order) -> Vec<u8> {
        let rest = [[0xff; 4], [0xff; 4]].concat();
        block(order, SECTION_HEADER, &[&number(order, 0x1a2b_3c4d)[..], &number(order, 1), &rest].concat())
    }

    pub fn interface(order: Order, link_type: u16, snapshot_len: u32, options: &[(u16, &[u8])]) -> Vec<u8> {
        let short =
            |value: u16| if order == Order::Little { value.to_le_bytes() } else { value.to_be_bytes() };
        let mut body = [&short(link_type)[..], &[0, 0], &number(order, snapshot_len)].concat();
        for (code, value) in options {
            body.extend(short(*code));
            body.extend(short(value.len() as u16));
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        block(order, INTERFACE, &body)
    }

    pub fn enhanced(order: Order, interface: u32, units: u64, bytes: &[u8]) -> Vec<u8> {
        let head = [interface, (units >> 32) as u32, units as u32, bytes.len() as u32, 1514];
        let head = head.map(|value| number(order, value)).concat();
        block(order, ENHANCED_PACKET, &[&head, bytes].concat())
    }

    #[test]
    fn pcapng_is_read_with_each_interfaces_own_link_type_and_resolution() {
        for order in [Order::Little, Order::Big] {
            let file = [
                section(order),
                interface(order, 1, 0, &[(2, b"eth0"), (OPTION_TIME_RESOLUTION, &[9])]),
                interface(order, 101, 0, &[]),
                interface(order, 113, 0, &[(OPTION_TIME_RESOLUTION, &[0x80 | 10])]),
                block(order, 0x0bad, b"of no known kind"),
                enhanced(order, 0, 5_000_000_007, b"one"),
                enhanced(order, 1, 5_000_007, b"two"),
                enhanced(order, 2, 5 << 10 | 512, b"three"),
            ];
            let capture = Capture::parse(file.concat()).unwrap();
            let times = read(&capture);
            assert_eq!(times[0], (5_000_000_007, &b"one"[..]));
            assert_eq!(times[1], (5_000_007_000, &b"two"[..]));
            assert_eq!(times[2], (5_500_000_000, &b"three"[..]));
            let types: Vec<_> = capture.packets().iter().map(|p| p.link_type).collect();
            assert_eq!(types, [LinkType::Ethernet, LinkType::Ip, LinkType::LinuxSll]);
        }
    }

    #[test]
    fn a_new_section_has_its_own_byte_order_and_interfaces() {
        let file = [
            [section(Order::Little), interface(Order::Little, 1, 0, &[])].concat(),
            enhanced(Order::Little, 0, 1, b"one"),
            [section(Order::Big), interface(Order::Big, 101, 0, &[])].concat(),
            enhanced(Order::Big, 0, 2, b"two"),
        ];
        let capture = Capture::parse(file.concat()).unwrap();
        assert_eq!(read(&capture), [(1000, &b"one"[..]), (2000, b"two")]);
        assert_eq!(capture.packets()[1].link_type, LinkType::Ip);
    }

    #[test]
    fn a_time_offset_is_added_and_may_be_negative() {
        for (order, offset) in [(Order::Little, (-2i64).to_le_bytes()), (Order::Big, (-2i64).to_be_bytes())] {
            let options: [(u16, &[u8]); 1] = [(OPTION_TIME_OFFSET, &offset)];
            let file =
                [section(order), interface(order, 1, 0, &options), enhanced(order, 0, 5_000_000, b"x")];
            assert_eq!(Capture::parse(file.concat()).unwrap().packets()[0].time_ns, 3_000_000_000);
        }
    }

    #[test]
    fn a_simple_packet_is_cut_by_the_snapshot_length_and_timed_by_the_one_before() {
        let order = Order::Little;
        let simple = |original: u32, bytes: &[u8]| {
            block(order, SIMPLE_PACKET, &[&number(order, original)[..], bytes].concat())
        };
        let file = [
            [section(order), interface(order, 1, 6, &[])].concat(),
            enhanced(order, 0, 9, b"timed"),
            simple(5, b"whole"),
            simple(100, b"cut it"),
        ];
        let capture = Capture::parse(file.concat()).unwrap();
        assert_eq!(read(&capture)[1..], [(9000, &b"whole"[..]), (9000, b"cut it")]);
    }

    proptest! {
        #[test]
        fn a_capture_with_any_bytes_changed_gives_packets_that_lie_within_it(
            big in any::<bool>(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        ) {
            let order = if big { Order::Big } else { Order::Little };
            let mut file = [
                section(order),
                interface(order, 1, 64, &[(2, b"eth0"), (OPTION_TIME_RESOLUTION, &[9])]),
                enhanced(order, 0, 1, b"one"),
                block(order, SIMPLE_PACKET, &[&number(order, 4)[..], b"two!"].concat()),
                block(order, OBSOLETE_PACKET, &[&[0; 12][..], &number(order, 5), &[0; 4], b"three"].concat()),
            ]
            .concat();
            for (place, value) in changes {
                let place = place.index(file.len());
                file[place] = value;
            }
            if let Ok(capture) = Capture::parse(file) {
                for packet in capture.packets() {
                    capture.ethernet(packet, Mac::ZERO, Mac::ZERO);
                }
            }
        }
    }
}
