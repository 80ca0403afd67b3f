//! TCP segments without data that the road writes itself: the IP header, the TCP header, and both checksums.

use super::{IPV4, IPV6, checksum, put16};
use crate::net::{FlowKey, Proto, TcpFlags};

/// Bytes of a TCP header without options.
pub const TCP: usize = 20;

/// Bytes of options at most, a multiple of four.
const OPTIONS: usize = 12;

/// The longest segment, from its IP header on.
pub const LONGEST: usize = IPV6 + TCP + OPTIONS;

/// The hops that a segment may travel; Linux has as many.
const HOPS: u8 = 64;

/// What a segment says; its ends stand in its key.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'o> {
    /// The flags.
    pub flags: TcpFlags,
    /// The sequence number.
    pub seq: u32,
    /// The acknowledgement number.
    pub ack: u32,
    /// The options, padded to a multiple of four; those beyond 12 bytes are left out.
    pub options: &'o [u8],
}

impl Segment<'_> {
    /// Writes the segment that has this key into `out`. Returns how many bytes of it that is, from its IP header on.
    pub fn write(&self, key: &FlowKey, out: &mut [u8; LONGEST]) -> usize {
        let options = &self.options[..self.options.len().min(OPTIONS) & !3];
        let len = TCP + options.len();
        let mut tcp = [0; TCP + OPTIONS];
        put16(&mut tcp, 0, key.src().port);
        put16(&mut tcp, 2, key.dst().port);
        tcp[4..8].copy_from_slice(&self.seq.to_be_bytes());
        tcp[8..12].copy_from_slice(&self.ack.to_be_bytes());
        (tcp[12], tcp[13]) = ((len as u8 / 4) << 4, self.flags.0);
        tcp[TCP..len].copy_from_slice(options);
        let tcp = &mut tcp[..len];

        let (header_len, pseudo) =
            if key.is_v4() { header_v4(key, len, out) } else { header_v6(key, len, out) };
        let sum = !checksum::fold(pseudo + u32::from(checksum::fold(checksum::sum(tcp))));
        put16(tcp, checksum::offset(Proto::Tcp), sum);
        out[header_len..header_len + len].copy_from_slice(tcp);
        header_len + len
    }
}

/// Writes the IPv4 header before `len` bytes of TCP; its length, and the sum of the pseudo-header.
fn header_v4(key: &FlowKey, len: usize, out: &mut [u8; LONGEST]) -> (usize, u32) {
    let ((src, _), (dst, _)) = (key.src_v4(), key.dst_v4());
    let mut header = [0; IPV4];
    (header[0], header[6], header[8], header[9]) = (0x45, 0x40, HOPS, Proto::Tcp as u8);
    put16(&mut header, 2, (IPV4 + len) as u16);
    header[12..16].copy_from_slice(&src.to_be_bytes());
    header[16..20].copy_from_slice(&dst.to_be_bytes());
    let sum = checksum::of_header(&header);
    put16(&mut header, 10, sum);
    out[..IPV4].copy_from_slice(&header);
    (IPV4, checksum::pseudo_v4(src, dst, Proto::Tcp, len as u16))
}

/// The same for IPv6.
fn header_v6(key: &FlowKey, len: usize, out: &mut [u8; LONGEST]) -> (usize, u32) {
    let ((src, _), (dst, _)) = (key.src_v6(), key.dst_v6());
    let mut header = [0; IPV6];
    (header[0], header[6], header[7]) = (0x60, Proto::Tcp as u8, HOPS);
    put16(&mut header, 4, len as u16);
    header[8..24].copy_from_slice(&src.to_be_bytes());
    header[24..40].copy_from_slice(&dst.to_be_bytes());
    out[..IPV6].copy_from_slice(&header);
    (IPV6, checksum::pseudo_v6(src, dst, Proto::Tcp as u8, len as u32))
}
