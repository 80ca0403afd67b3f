//! A capture in memory, and reading it from a pcap file (draft-ietf-opsawg-pcap) with any of its four magic
//! numbers. Any bytes give a capture or an error.
//!
//! ```text
//! header   magic, version, zone, accuracy, snapshot length, link type   24 bytes
//! packet*  seconds, µs or ns, captured length, original length          16 bytes, then the captured ones
//! ```

use super::pcapng::SECTION_HEADER;
use crate::net::Mac;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

/// The longest packet that is read, in bytes: a longer one is taken for a corrupt length.
pub const MAX_PACKET: usize = 256 << 10;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

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
    pub(super) fn from_number(number: u32) -> Option<LinkType> {
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
    pub(super) bytes: Vec<u8>,
    pub(super) packets: Vec<Packet>,
    pub(super) truncated: bool,
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
            _ => Err(Fault::of_file(Cause::NotACapture)),
        };
        let number = capture.packets.len() + 1;
        read.map(|()| capture).map_err(|fault| (fault.in_packet.then_some(number), fault.cause))
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

    /// A packet as an Ethernet frame: the captured frame, or a made-up header from `source` to `destination`
    /// and what follows it, if the packet was captured with another link type.
    pub fn ethernet(&self, packet: &Packet, source: Mac, destination: Mac) -> (Option<[u8; 14]>, &[u8]) {
        let bytes = self.bytes(packet);
        let (ethertype, payload) = match packet.link_type {
            LinkType::Ethernet => return (None, bytes),
            LinkType::Ip => (ethertype_of_ip(bytes), bytes),
            LinkType::LinuxSll => cooked(bytes, 14, 16),
            LinkType::LinuxSll2 => cooked(bytes, 0, 20),
        };
        let mut header = [0; 14];
        header[..6].copy_from_slice(&destination.0);
        header[6..12].copy_from_slice(&source.0);
        header[12..].copy_from_slice(&ethertype.to_be_bytes());
        (Some(header), payload)
    }

    /// Takes in the packet at `range`; the file may end before it does.
    pub(super) fn push(&mut self, time_ns: u64, link_type: LinkType, original_len: u32, range: Range<usize>) {
        let complete = range.end <= self.bytes.len();
        self.truncated |= !complete;
        if complete {
            self.packets.push(Packet { time_ns, link_type, original_len, range });
        }
    }

    fn pcap(&mut self, order: Order, ns_per_fraction: u64) -> Result<(), Fault> {
        let Some(header) = self.bytes.get(..24) else {
            return Err(Fault::of_file(Cause::Malformed("ends within the file header")));
        };
        // The upper bits tell of a frame check sequence.
        let number = order.u32(header, 20) & 0xffff;
        let link_type = LinkType::from_number(number).ok_or(Fault::of_file(Cause::LinkType(number)))?;
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
}

pub(super) fn checked_len(captured: u32) -> Result<usize, Fault> {
    match captured as usize {
        len if len <= MAX_PACKET => Ok(len),
        _ => Err(Fault::of_packet(Cause::TooLong(captured))),
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

/// What ends the reading of a capture: in the packet at hand, or in the file around the packets.
#[derive(Debug)]
pub(super) struct Fault {
    in_packet: bool,
    cause: Cause,
}

impl Fault {
    pub fn of_file(cause: Cause) -> Fault {
        Fault { in_packet: false, cause }
    }

    pub fn of_packet(cause: Cause) -> Fault {
        Fault { in_packet: true, cause }
    }
}

/// The order of the bytes of a number in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    /// The number at `at`. Callers have checked that it is there.
    pub fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let pair = [bytes[at], bytes[at + 1]];
        if self == Order::Little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
    }

    pub fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let four = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if self == Order::Little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::pcapng::tests::{enhanced, interface, section};
    use super::*;
    use proptest::prelude::*;

    pub fn number(order: Order, value: u32) -> [u8; 4] {
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

    pub fn read(capture: &Capture) -> Vec<(u64, &[u8])> {
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
            let header = header.unwrap();
            assert_eq!((&header[..6], &header[6..12]), (&destination.0[..], &source.0[..]));
            assert_eq!((u16::from_be_bytes([header[12], header[13]]), rest), (ethertype, payload));
        }
    }

    #[test]
    fn an_ethernet_frame_is_left_as_it_is_even_if_its_header_is_cut() {
        for frame in [&b""[..], b"cut", &[7; 60]] {
            let capture = Capture::parse(pcap(Order::Little, 0xa1b2_c3d4, 1, &[(0, 0, frame)])).unwrap();
            assert_eq!(capture.ethernet(&capture.packets()[0], Mac::ZERO, Mac::ZERO), (None, frame));
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
    }
}
