//! Makes fragments of a packet that does not fit its way: as a router does of an IPv4 packet without DF (RFC 791, 3.2),
//! and as the sender does of a tunnel's outer packet of either family (RFC 2003, 3.1; RFC 8200, 4.5).
//!
//! ```text
//! IPv4   [ Ethernet | IP    | data ............ ]      [ Ethernet | IP, MF | data ... ] [ Ethernet | IP, offset | ... ]
//! IPv6   [ Ethernet | IP    | data ............ ]      [ Ethernet | IP | fragment header | data ... ] ...
//! ```

use super::{ETHERNET, IPV4, IPV6, be16, checksum, ipv6, put16};

/// The flags of an IPv4 header that fragments have or have not.
const DF: u16 = 0x4000;
const MF: u16 = 0x2000;

/// The option that stands for nothing, and the bit of those that every fragment has.
const NOP: u8 = 1;
const COPIED: u8 = 0x80;

/// Makes the frame's packet the first of its fragments, none of them longer than `mtu_bytes`, and gives the others as
/// frames to `later`. `id` is to be their identification, or they have the packet's: that of IPv4 may be another only if
/// the packet is the director's own, and that of IPv6 must be given. Returns how many bytes of the frame remain.
///
/// `None`, and nothing changes, if it has no whole IP header, or no data fit `mtu_bytes`.
pub fn split(frame: &mut [u8], mtu_bytes: u16, id: Option<u32>, later: impl FnMut(Vec<u8>)) -> Option<usize> {
    match frame.get(ETHERNET)? >> 4 {
        4 => split_v4(frame, mtu_bytes, id.map(|id| id as u16), later),
        6 => split_v6(frame, mtu_bytes, id?, later),
        _ => None,
    }
}

fn split_v4(
    frame: &mut [u8],
    mtu_bytes: u16,
    id: Option<u16>,
    mut later: impl FnMut(Vec<u8>),
) -> Option<usize> {
    let header_len = (frame.get(ETHERNET)? & 15) as usize * 4;
    let end = ETHERNET + be16(frame, ETHERNET + 2) as usize;
    let data_at = ETHERNET + header_len;
    if header_len < IPV4 || data_at > end || end > frame.len() {
        return None;
    }
    let size = (mtu_bytes as usize).checked_sub(header_len)? & !7;
    if size == 0 {
        return None;
    }
    if let Some(id) = id {
        put16(frame, ETHERNET + 4, id);
    }
    let word = be16(frame, ETHERNET + 6) & !DF;
    let (first, offset) = (word & MF, word & 0x1fff);
    let mut head = frame[..data_at].to_vec();
    keep_copied_options(&mut head[ETHERNET + IPV4..]);
    let chunks = frame[data_at..end].chunks(size);
    let last = chunks.len().saturating_sub(1);
    for (n, data) in chunks.enumerate().skip(1) {
        let more = if n < last { MF } else { first };
        let at = offset + (n * size / 8) as u16;
        write_v4(&mut head, data.len(), more | at & 0x1fff);
        later([&head[..], data].concat());
    }
    let more = if last > 0 { MF } else { first };
    let len = size.min(end - data_at);
    write_v4(&mut frame[..data_at], len, more | offset);
    Some(data_at + len)
}

/// Makes the header in front of `data_len` bytes a fragment's.
fn write_v4(head: &mut [u8], data_len: usize, word: u16) {
    let header_len = head.len() - ETHERNET;
    put16(head, ETHERNET + 2, (header_len + data_len) as u16);
    put16(head, ETHERNET + 6, word);
    put16(head, ETHERNET + 10, 0);
    let sum = checksum::of_header(&head[ETHERNET..]);
    put16(head, ETHERNET + 10, sum);
}

/// Makes nothing of the options that only the first fragment has (RFC 791, 3.1), as Linux does.
fn keep_copied_options(options: &mut [u8]) {
    let mut at = 0;
    while let Some(&kind) = options.get(at) {
        let len = match kind {
            0 => return,
            NOP => 1,
            _ => options.get(at + 1).map_or(0, |&len| len as usize),
        };
        let Some(option) = options.get_mut(at..at + len).filter(|option| !option.is_empty()) else { return };
        if kind & COPIED == 0 {
            option.fill(NOP);
        }
        at += len;
    }
}

fn split_v6(frame: &mut [u8], mtu_bytes: u16, id: u32, mut later: impl FnMut(Vec<u8>)) -> Option<usize> {
    const DATA: usize = ETHERNET + IPV6;
    let head: [u8; DATA] = *frame.first_chunk()?;
    let end = DATA + be16(frame, ETHERNET + 4) as usize;
    let size = (mtu_bytes as usize).checked_sub(IPV6 + ipv6::FRAGMENT)? & !7;
    // The first fragment must be no longer than the packet, in whose place it comes.
    if size == 0 || end > frame.len() || DATA + ipv6::FRAGMENT + size > end {
        return None;
    }
    let chunks = frame[DATA..end].chunks(size);
    let last = chunks.len() - 1;
    for (n, data) in chunks.enumerate().skip(1) {
        let word = (n * size) as u16 | u16::from(n < last);
        later([&fragment_v6(&head, data.len(), word, id)[..], data].concat());
    }
    frame.copy_within(DATA..DATA + size, DATA + ipv6::FRAGMENT);
    frame[..DATA + ipv6::FRAGMENT].copy_from_slice(&fragment_v6(&head, size, 1, id));
    Some(DATA + ipv6::FRAGMENT + size)
}

/// Ethernet, IPv6 and fragment header before `data_len` bytes of data.
fn fragment_v6(
    head: &[u8; ETHERNET + IPV6],
    data_len: usize,
    word: u16,
    id: u32,
) -> [u8; ETHERNET + IPV6 + ipv6::FRAGMENT] {
    let mut out = [0; ETHERNET + IPV6 + ipv6::FRAGMENT];
    let (front, fragment) = out.split_at_mut(head.len());
    front.copy_from_slice(head);
    fragment[0] = head[ETHERNET + 6];
    fragment[2..4].copy_from_slice(&word.to_be_bytes());
    fragment[4..].copy_from_slice(&id.to_be_bytes());
    front[ETHERNET + 6] = ipv6::FRAGMENT_NUMBER;
    put16(front, ETHERNET + 4, (ipv6::FRAGMENT + data_len) as u16);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::defrag::{IpDefragPayloadVec, IpDefragPool};
    use etherparse::{IpNumber, Ipv4Header, Ipv4Options, Ipv6Header, SlicedPacket};
    use proptest::prelude::*;

    fn v4(payload: &[u8], options: &[u8], word: u16) -> Vec<u8> {
        let mut ip = Ipv4Header::new(0, 9, IpNumber::UDP, [1; 4], [2; 4]).unwrap();
        ip.options = Ipv4Options::try_from(options).unwrap();
        ip.set_payload_len(payload.len()).unwrap();
        ip.identification = 0x1234;
        let mut frame = [b"abcdefghijkl\x08\x00", &ip.to_bytes()[..], payload].concat();
        put16(&mut frame, 20, word);
        frame
    }

    fn v6(payload: &[u8]) -> Vec<u8> {
        let ip = Ipv6Header {
            payload_length: payload.len() as u16,
            next_header: IpNumber::IPV4,
            hop_limit: 9,
            source: [1; 16],
            destination: [2; 16],
            ..Ipv6Header::default()
        };
        [b"abcdefghijkl\x86\xdd", &ip.to_bytes()[..], payload].concat()
    }

    /// The fragments of a frame.
    fn all(mut frame: Vec<u8>, mtu_bytes: u16, id: Option<u32>) -> Option<Vec<Vec<u8>>> {
        let mut frames = vec![Vec::new()];
        let len = split(&mut frame, mtu_bytes, id, |later| frames.push(later))?;
        frame.truncate(len);
        frames[0] = frame;
        Some(frames)
    }

    /// What a receiver makes of fragments, by etherparse.
    fn put_together(frames: &[Vec<u8>]) -> Option<IpDefragPayloadVec> {
        let mut pool = IpDefragPool::<(), ()>::new();
        let mut whole = None;
        for frame in frames {
            let sliced = SlicedPacket::from_ethernet(frame).unwrap();
            assert!(whole.is_none(), "nothing comes after the last");
            whole = pool.process_sliced_packet(&sliced, (), ()).unwrap();
        }
        whole
    }

    #[test]
    fn a_fragment_is_split_further_and_stays_where_it_belongs() {
        let frames = all(v4(&[7; 100], &[], MF | 10), 68, None).unwrap();
        let words: Vec<u16> = frames.iter().map(|frame| be16(frame, 20)).collect();
        assert_eq!(words, [MF | 10, MF | 16, MF | 22]);
        let frames = all(v4(&[7; 100], &[], 10), 68, Some(0x7_8888)).unwrap();
        let words: Vec<u16> = frames.iter().map(|frame| be16(frame, 20)).collect();
        assert_eq!(words, [MF | 10, MF | 16, 22]);
        assert!(frames.iter().all(|frame| frame[18..20] == [0x88, 0x88]));
    }

    #[test]
    fn options_that_are_not_copied_stand_in_the_first_fragment_alone() {
        // Record route (7) is not copied, router alert (148) is.
        let options = [7, 3, 4, 148, 4, 0, 0, 1];
        let frames = all(v4(&[7; 100], &options, 0), 68, None).unwrap();
        assert_eq!(frames[0][34..42], options);
        assert_eq!(frames[1][34..42], [1, 1, 1, 148, 4, 0, 0, 1]);
        keep_copied_options(&mut [7, 0, 0]);
        keep_copied_options(&mut [7, 9, 0]);
    }

    #[test]
    fn what_has_no_room_for_data_is_left_as_it_is() {
        assert_eq!(all(v4(&[7; 100], &[], 0), 27, None), None);
        assert_eq!(all(v6(&[7; 100]), 55, Some(1)), None);
        assert_eq!(all(v6(&[7; 2000]), 1280, None), None, "an identification is needed");
        assert_eq!(all(vec![0x45; 20], 1500, None), None);
    }

    proptest! {
        #[test]
        fn a_receiver_puts_the_fragments_together_again(
            payload in proptest::collection::vec(any::<u8>(), 1500..5000), mtu_bytes in 576u16..1500, is_v4: bool,
        ) {
            let frame = if is_v4 { v4(&payload, &[], DF) } else { v6(&payload) };
            let frames = all(frame, mtu_bytes, Some(77)).unwrap();
            prop_assert!(frames.len() > 1);
            for frame in &frames {
                prop_assert!(frame.len() <= 14 + mtu_bytes as usize);
                prop_assert_eq!(&frame[..12], b"abcdefghijkl");
                if is_v4 {
                    prop_assert_eq!(checksum::of_header(&frame[14..34]), 0);
                }
            }
            let whole = put_together(&frames).unwrap();
            prop_assert_eq!(whole.payload, payload);
        }

        #[test]
        fn any_bytes_are_split_without_a_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..300), mtu_bytes: u16, version in 4u8..7,
        ) {
            if let Some(first) = bytes.get_mut(14) {
                *first = version << 4 | *first & 15;
            }
            let len = bytes.len();
            if let Some(left) = split(&mut bytes, mtu_bytes, Some(1), |_| ()) {
                prop_assert!(left <= len);
            }
        }
    }
}
