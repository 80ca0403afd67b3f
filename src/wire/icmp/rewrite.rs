//! Carries an ICMP error through masquerading: the packet that it quotes becomes the one that its receiver sent.
//!
//! ```text
//! about a client's packet, from the server's side     error RIP or router > CIP, quoting CIP > RIP
//!                                                     becomes      VIP    > CIP, quoting CIP > VIP
//! about a server's packet, from the client's side     error CIP or router > VIP, quoting VIP > CIP
//!                                                     becomes      same   > RIP, quoting RIP > CIP
//! ```
//!
//! Unlike IPVS's, the quoted UDP checksum is mended like TCP's.

use super::{Quoted, of_message_v6};
use crate::net::Proto;
use crate::wire::checksum::{self, Change};
use crate::wire::rewrite::{End, V4End};
use crate::wire::rewrite6::V6End;
use crate::wire::{be16, be32, be128, put16};

/// Replaces `end` of the quoted packet by `new`, and the address at the other end of the error itself by `new`'s, as
/// drawn above; checksums of both, and of the message, are right afterwards if those of the headers were before.
///
/// `packet` starts with its IPv4 header and is the one that [`super::quoted_v4`] said this of, with nothing left out
/// by a tunnel.
pub fn translate_v4(packet: &mut [u8], quoted: &Quoted, end: End, new: V4End) {
    let Some(packet) = packet.get_mut(..quoted.end as usize) else { return };
    let (own, theirs) = places(quoted, end, 12, 4);
    let addresses = |packet: &[u8], at: usize| Change::NONE.long(be32(packet, at), new.addr);
    let (of_error, of_quote) = (addresses(packet, own), addresses(packet, theirs));
    mend(packet, 10, of_error);
    mend(packet, quoted.ip as usize + 10, of_quote);
    set_port(packet, quoted, end, of_quote, new.port);
    for at in [own, theirs] {
        set(packet, at, &new.addr.to_be_bytes());
    }
    let icmp = quoted.icmp as usize;
    put16(packet, icmp + 2, 0);
    let sum = packet.get(icmp..).map_or(0, |message| !checksum::fold(checksum::sum(message)));
    put16(packet, icmp + 2, sum);
}

/// The same in IPv6, for what [`super::quoted_v6`] said.
pub fn translate_v6(packet: &mut [u8], quoted: &Quoted, end: End, new: V6End) {
    let Some(packet) = packet.get_mut(..quoted.end as usize) else { return };
    let (own, theirs) = places(quoted, end, 8, 16);
    let old = be128(packet, theirs);
    let of_quote = (0..8).fold(Change::NONE, |change, at| {
        change.word((old >> (16 * at)) as u16, (new.addr >> (16 * at)) as u16)
    });
    set_port(packet, quoted, end, of_quote, new.port);
    for at in [own, theirs] {
        set(packet, at, &new.addr.to_be_bytes());
    }
    let icmp = quoted.icmp as usize;
    put16(packet, icmp + 2, 0);
    let (src, dst) = (be128(packet, 8), be128(packet, 24));
    let sum = packet.get(icmp..).map_or(0, |message| of_message_v6(src, dst, message));
    put16(packet, icmp + 2, sum);
}

/// Where the error's own address stands that changes, and the quoted packet's, in headers whose source stands at
/// `first` and whose addresses have `len` bytes.
fn places(quoted: &Quoted, end: End, first: usize, len: usize) -> (usize, usize) {
    let quote = quoted.ip as usize + first;
    match end {
        End::Src => (first + len, quote),
        End::Dst => (first, quote + len),
    }
}

/// Replaces the quoted packet's port, and mends its transport checksum for that and for its address, if the quotation
/// goes so far.
fn set_port(packet: &mut [u8], quoted: &Quoted, end: End, address: Change, new: u16) {
    let l4 = quoted.l4 as usize;
    let at = if end == End::Src { l4 } else { l4 + 2 };
    let (change, proto) = (address.word(be16(packet, at), new), quoted.key.proto());
    put16(packet, at, new);
    // A CRC over what was cut off cannot be mended, nor does who looks for its association look at it (RFC 9260, 10).
    if proto == Proto::Sctp {
        return;
    }
    let checksum_at = l4 + checksum::offset(proto);
    // RFC 768: 0 is none.
    let none = proto == Proto::Udp && be16(packet, checksum_at) == 0;
    if !none && packet.len() >= checksum_at + 2 {
        mend(packet, checksum_at, change);
        if proto == Proto::Udp && be16(packet, checksum_at) == 0 {
            put16(packet, checksum_at, 0xffff);
        }
    }
}

fn mend(packet: &mut [u8], at: usize, change: Change) {
    if let Some(checksum) = packet.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *checksum = change.applied_to(*checksum);
    }
}

fn set(packet: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = packet.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
