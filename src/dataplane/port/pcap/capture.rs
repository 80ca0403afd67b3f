//! Reading a capture: pcap with its four magic numbers, and pcapng.
//!
//! ```text
//! pcap      header { magic, version, zone, accuracy, snapshot length, link type }   24 bytes
//!           packet { seconds, µs or ns, captured length, original length, bytes }*   16 bytes + captured
//! pcapng    block  { type, total length, body, total length }*                       multiples of 4 bytes
//!           section header: byte order;  interface: link type, time resolution;  packets: simple, enhanced
//! ```
//!
//! Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng. Any bytes give a capture or an error.

use crate::net::Mac;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

/// The longest packet that is read, in bytes: a longer one is taken for a corrupt length.
pub const MAX_PACKET: usize = 256 << 10;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Interfaces that a section may describe: more are taken for corrupt.
const MAX_INTERFACES: usize = 1 << 16;

/// What a captured packet begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkType {
    /// An Ethernet header (LINKTYPE_ETHERNET, 1).
    Ethernet,
    /// An IPv4 or IPv6 header (LINKTYPE_RAW 101, IPV4 228, IPV6 229; DLT_RAW's 12 and 14).
    Ip,
    /// The header of Linux's "any" device (LINKTYPE_LINUX_SLL, 113).
    LinuxSll,
    /// Its second version (LINKTYPE_LINUX_SLL2, 276).
    LinuxSll2,
}

impl LinkType {
    fn from_number(number: u32) -> Option<LinkType> {
        match number {
            1 => Some(LinkType::Ethernet),
            12 | 14 | 101 | 228 | 229 => Some(LinkType::Ip),
            113 => Some(LinkType::LinuxSll),
            276 => Some(LinkType::LinuxSll2),
            _ => None,
        }
    }
}

/// A captured packet: where it lies in its capture, and when it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Nanoseconds since 1970-01-01 UTC.
    pub time_ns: u64,
    /// What it begins with.
    pub link_type: LinkType,
    /// How long it was on the wire, in bytes; more than was captured if the capture cut it.
    pub original_len: u32,
    range: Range<usize>,
}

/// A capture file in memory.
#[derive(Debug, Clone, Default)]
pub struct Capture {
    bytes: Vec<u8>,
    packets: Vec<Packet>,
    truncated: bool,
}

/// Why a capture could not be read or written.
#[derive(Debug)]
pub struct CaptureError {
    /// The file.
    pub path: PathBuf,
    /// The packet that was at fault, counted from 1 as Wireshark does; `None` for the file as a whole.
    pub packet: Option<usize>,
    /// What was wrong.
    pub cause: Cause,
}

/// What was wrong with a capture.
#[derive(Debug)]
pub enum Cause {
    /// The system could not read or write the file.
    Io(io::Error),
    /// The file begins with the magic number of no known format.
    NotACapture,
    /// The link type, by its LINKTYPE number, is one whose packets hold no IP that we know how to find.
    LinkType(u32),
    /// A captured length beyond [`MAX_PACKET`].
    TooLong(u32),
    /// A packet of an interface that the file does not describe.
    UnknownInterface(u32),
    /// A field has a value that it cannot have.
    Malformed(&'static str),
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        if let Some(packet) = self.packet {
            write!(f, "packet {packet}: ")?;
        }
        match &self.cause {
            Cause::Io(error) => error.fmt(f),
            Cause::NotACapture => f.write_str("neither a pcap nor a pcapng file"),
            Cause::LinkType(number) => {
                write!(
                    f,
                    "link type {number} is not known; known are Ethernet, raw IP and Linux cooked (SLL, SLL2)"
                )
            }
            Cause::TooLong(len) => {
                write!(f, "a captured length of {len} bytes; at most {MAX_PACKET} are read")
            }
            Cause::UnknownInterface(id) => {
                write!(f, "captured on interface {id}, which the file does not describe")
            }
            Cause::Malformed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for CaptureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl Capture {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, or is no capture of a known link type. A capture that was cut in its last packet
    /// is no error: [`Capture::truncated`].
    pub fn read(path: &Path) -> Result<Capture, CaptureError> {
        let failed = |packet, cause| CaptureError { path: path.to_owned(), packet, cause };
        let bytes = fs::read(path).map_err(|error| failed(None, Cause::Io(error)))?;
        Capture::parse(bytes).map_err(|(packet, cause)| failed(packet, cause))
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// As [`Capture::read`]: the number of the packet at fault, if it was one, and the cause.
    pub fn parse(bytes: Vec<u8>) -> Result<Capture, (Option<usize>, Cause)> {
        let magic = bytes.first_chunk().copied().map_or(0, u32::from_le_bytes);
        let mut capture = Capture { bytes, packets: Vec::new(), truncated: false };
        let read = match magic {
            0xa1b2_c3d4 => capture.pcap(Order::Little, 1000),
            0xd4c3_b2a1 => capture.pcap(Order::Big, 1000),
            0xa1b2_3c4d => capture.pcap(Order::Little, 1),
            0x4d3c_b2a1 => capture.pcap(Order::Big, 1),
            SECTION_HEADER => capture.pcapng(),
            _ => Err((false, Cause::NotACapture)),
        };
        let number = capture.packets.len() + 1;
        read.map(|()| capture).map_err(|(in_packet, cause)| (in_packet.then_some(number), cause))
    }

    /// The packets, in the file's order.
    pub fn packets(&self) -> &[Packet] {
        &self.packets
    }

    /// The captured bytes of a packet of this capture, from its link header on.
    pub fn bytes(&self, packet: &Packet) -> &[u8] {
        &self.bytes[packet.range.clone()]
    }

    /// Whether the file ends within a packet, as one does whose writer was killed. That packet is left out.
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// A packet as an Ethernet frame: its header and what follows it. A packet of another link type gets a
    /// made-up header from `source` to `destination`.
    pub fn ethernet(&self, packet: &Packet, source: Mac, destination: Mac) -> ([u8; 14], &[u8]) {
        let bytes = self.bytes(packet);
        let (ethertype, payload) = match packet.link_type {
            LinkType::Ethernet => match bytes.split_first_chunk() {
                Some((header, payload)) => return (*header, payload),
                // Shorter than a header: padded with zeros. No capture of a real network has one.
                None => return (std::array::from_fn(|i| bytes.get(i).copied().unwrap_or(0)), &[]),
            },
            LinkType::Ip => (ethertype_of_ip(bytes), bytes),
            LinkType::LinuxSll => cooked(bytes, 14, 16),
            LinkType::LinuxSll2 => cooked(bytes, 0, 20),
        };
        let mut header = [0; 14];
        header[..6].copy_from_slice(&destination.0);
        header[6..12].copy_from_slice(&source.0);
        header[12..].copy_from_slice(&ethertype.to_be_bytes());
        (header, payload)
    }

    /// Takes in the packet at `range`; the file may end before it does.
    fn push(&mut self, time_ns: u64, link_type: LinkType, original_len: u32, range: Range<usize>) {
        let complete = range.end <= self.bytes.len();
        self.truncated |= !complete;
        if complete {
            self.packets.push(Packet { time_ns, link_type, original_len, range });
        }
    }

    fn pcap(&mut self, order: Order, ns_per_fraction: u64) -> Result<(), (bool, Cause)> {
        let Some(header) = self.bytes.get(..24) else {
            return Err((false, Cause::Malformed("ends within the file header")));
        };
        // The upper bits tell of a frame check sequence.
        let number = order.u32(header, 20) & 0xffff;
        let link_type = LinkType::from_number(number).ok_or((false, Cause::LinkType(number)))?;
        let mut at = 24;
        while at < self.bytes.len() && !self.truncated {
            let Some(header) = self.bytes.get(at..at + 16) else {
                self.truncated = true;
                break;
            };
            let field = |offset| order.u32(header, offset);
            let time_ns = u64::from(field(0)) * 1_000_000_000 + u64::from(field(4)) * ns_per_fraction;
            let (captured, original_len) = (field(8), field(12));
            let len = checked_len(captured)?;
            self.push(time_ns, link_type, original_len, at + 16..at + 16 + len);
            at += 16 + len;
        }
        Ok(())
    }

    fn pcapng(&mut self) -> Result<(), (bool, Cause)> {
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
                    _ => return Err((false, Cause::Malformed("a section of no known byte order"))),
                };
                interfaces.clear();
            }
            let (kind, total) = (order.u32(head, 0), order.u32(head, 4) as usize);
            if total < 12 || !total.is_multiple_of(4) {
                return Err((false, Cause::Malformed("a block's length is below 12 or no multiple of 4")));
            }
            let end = at + total;
            self.truncated |= end > self.bytes.len();
            // What there is of a block that the file cuts off may still betray a corrupt length.
            let body = at + 8..(end - 4).min(self.bytes.len());
            if let Some(trailer) = self.bytes.get(end - 4..end)
                && order.u32(trailer, 0) as usize != total
            {
                return Err((false, Cause::Malformed("a block's two lengths differ")));
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
    ) -> Result<(), (bool, Cause)> {
        let Some(header) = self.bytes[body.clone()].get(..20) else { return self.short_block() };
        let id = match kind {
            ENHANCED_PACKET => order.u32(header, 0),
            _ => u32::from(order.u16(header, 0)),
        };
        let units = u64::from(order.u32(header, 4)) << 32 | u64::from(order.u32(header, 8));
        let (captured, original_len) = (order.u32(header, 12), order.u32(header, 16));
        let interface = interfaces.get(id as usize).ok_or((true, Cause::UnknownInterface(id)))?;
        let link_type = interface.link_type()?;
        let len = checked_len(captured)?;
        if self.truncated {
            return Ok(());
        }
        let start = body.start + 20;
        if start + len > body.end {
            return Err((true, Cause::Malformed("the captured length exceeds the block")));
        }
        self.push(interface.time_ns(units), link_type, original_len, start..start + len);
        Ok(())
    }

    /// A simple packet has no time: it gets that of the packet before it. It belongs to interface 0, and its
    /// captured length is the lesser of its original length and the snapshot length.
    fn simple(
        &mut self,
        order: Order,
        body: Range<usize>,
        interfaces: &[Interface],
    ) -> Result<(), (bool, Cause)> {
        let Some(header) = self.bytes[body.clone()].get(..4) else { return self.short_block() };
        let original_len = order.u32(header, 0);
        let interface = interfaces.first().ok_or((true, Cause::UnknownInterface(0)))?;
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

    fn short_block(&self) -> Result<(), (bool, Cause)> {
        if self.truncated {
            Ok(())
        } else {
            Err((true, Cause::Malformed("the block is too short for a packet")))
        }
    }
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

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
    fn read(order: Order, body: &[u8]) -> Result<Interface, (bool, Cause)> {
        let Some((head, mut options)) = body.split_at_checked(8) else {
            return Err((false, Cause::Malformed("an interface's block is too short")));
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
                return Err((false, Cause::Malformed("an interface's option exceeds its block")));
            };
            match (code, value) {
                (OPTION_TIME_RESOLUTION, &[resolution]) => {
                    interface.units_per_second = units_per_second(resolution)
                        .ok_or((false, Cause::Malformed("a time resolution beyond all measure")))?;
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

    fn link_type(&self) -> Result<LinkType, (bool, Cause)> {
        LinkType::from_number(self.link_number).ok_or((true, Cause::LinkType(self.link_number)))
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

fn checked_len(captured: u32) -> Result<usize, (bool, Cause)> {
    match captured as usize {
        len if len <= MAX_PACKET => Ok(len),
        _ => Err((true, Cause::TooLong(captured))),
    }
}

fn ethertype_of_ip(bytes: &[u8]) -> u16 {
    match bytes.first().map(|first| first >> 4) {
        Some(6) => ETHERTYPE_IPV6,
        _ => ETHERTYPE_IPV4,
    }
}

/// The Ethernet type and the payload behind a cooked header of `len` bytes, with the type at `at`. A header that
/// is cut short has no payload.
fn cooked(bytes: &[u8], at: usize, len: usize) -> (u16, &[u8]) {
    match bytes.split_at_checked(len) {
        Some((header, payload)) => (Order::Big.u16(header, at), payload),
        None => (ETHERTYPE_IPV4, &[]),
    }
}

/// The order of the bytes of a number in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Order {
    /// The number at `at`. Callers have checked that it is there.
    fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let pair = [bytes[at], bytes[at + 1]];
        if self == Order::Little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
    }

    fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let four = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if self == Order::Little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(order: Order, value: u32) -> [u8; 4] {
        if order == Order::Little { value.to_le_bytes() } else { value.to_be_bytes() }
    }

    fn pcap(order: Order, magic: u32, link_type: u32, packets: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let header = [magic, 0x0004_0002, 0, 0, 96, link_type];
        let mut file = header.map(|value| number(order, value)).concat();
        for (seconds, fraction, bytes) in packets {
            // The wire had more than the snapshot length, as in any capture with a short one.
            for value in [*seconds, *fraction, bytes.len() as u32, 1514] {
                file.extend(number(order, value));
            }
            file.extend(*bytes);
        }
        file
    }

    fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
        let padded = body.len().next_multiple_of(4);
        let total = number(order, padded as u32 + 12);
        let padding = vec![0; padded - body.len()];
        [&number(order, kind), &total, body, &padding, &total].concat()
    }

    fn section(order: Order) -> Vec<u8> {
        let rest = [[0xff; 4], [0xff; 4]].concat();
        block(order, SECTION_HEADER, &[&number(order, 0x1a2b_3c4d)[..], &number(order, 1), &rest].concat())
    }

    fn interface(order: Order, link_type: u16, snapshot_len: u32, options: &[(u16, &[u8])]) -> Vec<u8> {
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

    fn enhanced(order: Order, interface: u32, units: u64, bytes: &[u8]) -> Vec<u8> {
        let head = [interface, (units >> 32) as u32, units as u32, bytes.len() as u32, 1514];
        let head = head.map(|value| number(order, value)).concat();
        block(order, ENHANCED_PACKET, &[&head, bytes].concat())
    }

    fn read(capture: &Capture) -> Vec<(u64, &[u8])> {
        capture.packets().iter().map(|packet| (packet.time_ns, capture.bytes(packet))).collect()
    }

    #[test]
    fn pcap_is_read_in_both_byte_orders_and_both_resolutions() {
        for order in [Order::Little, Order::Big] {
            for (magic, ns) in [(0xa1b2_c3d4, 7_000), (0xa1b2_3c4d, 7)] {
                let capture =
                    Capture::parse(pcap(order, magic, 1, &[(3, 7, b"one"), (4, 7, b"two!")])).unwrap();
                let (first, second) = (3_000_000_000 + ns, 4_000_000_000 + ns);
                assert_eq!(read(&capture), [(first, &b"one"[..]), (second, b"two!")]);
                assert_eq!(capture.packets()[0].original_len, 1514);
                assert!(!capture.truncated());
            }
        }
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

    #[test]
    fn a_capture_cut_anywhere_in_its_last_packet_gives_the_ones_before() {
        let order = Order::Little;
        let head = [section(order), interface(order, 1, 0, &[])].concat();
        for (whole, last) in [
            (pcap(order, 0xa1b2_c3d4, 1, &[(1, 0, b"one"), (2, 0, b"two!")]), 20),
            ([head, enhanced(order, 0, 1, b"one"), enhanced(order, 0, 2, b"two!")].concat(), 36),
        ] {
            for cut in 1..last {
                let capture = Capture::parse(whole[..whole.len() - cut].to_vec()).unwrap();
                assert!(capture.truncated(), "{cut} bytes cut");
                assert_eq!(capture.packets().len(), 1, "{cut} bytes cut");
            }
            assert!(!Capture::parse(whole[..whole.len() - last].to_vec()).unwrap().truncated());
        }
    }

    #[test]
    fn an_error_names_the_file_the_packet_and_the_cause() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.pcap");
        let mut file = pcap(Order::Little, 0xa1b2_c3d4, 1, &[(1, 0, b"one"), (2, 0, b"two")]);
        let length = file.len() - 3 - 8;
        file[length..length + 4].copy_from_slice(&300_000u32.to_le_bytes());
        fs::write(&path, file).unwrap();
        let error = Capture::read(&path).unwrap_err().to_string();
        let expected = "web.pcap: packet 2: a captured length of 300000 bytes; at most 262144 are read";
        assert!(error.ends_with(expected), "{error}");
        let error = Capture::read(&dir.path().join("absent")).unwrap_err().to_string();
        assert!(error.contains("absent: No such file"), "{error}");
    }

    #[test]
    fn what_is_no_capture_or_of_an_unknown_link_type_is_refused() {
        let cause = |bytes: Vec<u8>| Capture::parse(bytes).unwrap_err();
        assert!(matches!(cause(Vec::new()), (None, Cause::NotACapture)));
        assert!(matches!(cause(b"GET / HTTP/1.1".to_vec()), (None, Cause::NotACapture)));
        assert!(matches!(cause(pcap(Order::Big, 0xa1b2_c3d4, 105, &[])), (None, Cause::LinkType(105))));
        let order = Order::Little;
        let wireless = [section(order), interface(order, 105, 0, &[])].concat();
        assert!(Capture::parse(wireless.clone()).is_ok(), "no packet of it, no harm");
        let packet = [wireless, enhanced(order, 0, 0, b"x")].concat();
        assert!(matches!(cause(packet), (Some(1), Cause::LinkType(105))));
        let orphan = [section(order), enhanced(order, 0, 0, b"x")].concat();
        assert!(matches!(cause(orphan), (Some(1), Cause::UnknownInterface(0))));
    }

    #[test]
    fn packets_without_an_ethernet_header_get_one() {
        let (source, destination) = (Mac([2, 0, 0, 0, 0, 0]), Mac([2, 0, 0, 0, 0, 9]));
        let sll = [&[0; 14][..], &[0x86, 0xdd], b"\x60six"].concat();
        let sll2 = [&[0x08, 0x06][..], &[0; 18], b"arp"].concat();
        for (link_type, bytes, ethertype, payload) in [
            (101, &b"\x45four"[..], 0x0800, &b"\x45four"[..]),
            (229, b"\x60six", 0x86dd, b"\x60six"),
            (12, b"", 0x0800, b""),
            (113, &sll, 0x86dd, b"\x60six"),
            (276, &sll2, 0x0806, b"arp"),
            (276, b"cut", 0x0800, b""),
        ] {
            let capture =
                Capture::parse(pcap(Order::Little, 0xa1b2_c3d4, link_type, &[(0, 0, bytes)])).unwrap();
            let (header, rest) = capture.ethernet(&capture.packets()[0], source, destination);
            assert_eq!((&header[..6], &header[6..12]), (&destination.0[..], &source.0[..]));
            assert_eq!((u16::from_be_bytes([header[12], header[13]]), rest), (ethertype, payload));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_after_any_magic_number_do_no_harm(
            magic in prop::sample::select(vec![0xa1b2_c3d4u32, 0xd4c3_b2a1, 0xa1b2_3c4d, 0x4d3c_b2a1]),
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = Capture::parse([&magic.to_le_bytes()[..], &bytes].concat());
        }

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
