//! ICMP errors (RFC 792, RFC 4443): answering a packet with one, finding what one that arrived is about, and
//! carrying it through masquerading.
//!
//! Packets begin with their IP header here; what stands before it, tags included, is the caller's matter.
//!
//! ```text
//! an error    [ IP | type code checksum | MTU or 0 | as much as may be of the packet it is about        ]
//! of a tunnel [ IP | type code checksum | MTU or 0 | [ outer IP | as much as may be of the inner packet ]]
//! ```

mod answer;
mod quoted;
mod rewrite;
#[cfg(test)]
mod tests;

pub use answer::{Complaint, answer_v4, answer_v6};
pub use quoted::{NoQuote, Outer, Quoted, quoted_v4, quoted_v6};
pub use rewrite::{translate_v4, translate_v6};

use super::checksum;

/// Bytes before the quoted packet: type, code, checksum, and four whose meaning the type tells.
pub const ICMP: usize = 8;

/// Protocol numbers.
const ICMP_V4: u8 = 1;
const ICMP_V6: u8 = 58;

/// Types of ICMP errors.
mod v4 {
    pub(super) const UNREACHABLE: u8 = 3;
    pub(super) const SOURCE_QUENCH: u8 = 4;
    pub(super) const REDIRECT: u8 = 5;
    pub(super) const TIME_EXCEEDED: u8 = 11;
    pub(super) const PARAMETER_PROBLEM: u8 = 12;
    /// Codes of unreachable.
    pub(super) const HOST: u8 = 1;
    pub(super) const PORT: u8 = 3;
    pub(super) const FRAGMENTATION_NEEDED: u8 = 4;
}

/// Types of ICMPv6 errors, which are below 128 (RFC 4443, 2.1).
mod v6 {
    pub(super) const UNREACHABLE: u8 = 1;
    pub(super) const TOO_BIG: u8 = 2;
    pub(super) const TIME_EXCEEDED: u8 = 3;
    pub(super) const FIRST_MESSAGE: u8 = 128;
    pub(super) const REDIRECT: u8 = 137;
    /// Codes of unreachable.
    pub(super) const ADDRESS: u8 = 3;
    pub(super) const PORT: u8 = 4;
}

/// The checksum of an ICMPv6 message whose field holds 0, or 0 for one whose field is right.
fn of_message_v6(src: u128, dst: u128, message: &[u8]) -> u16 {
    let pseudo = checksum::pseudo_v6(src, dst, ICMP_V6, message.len() as u32);
    !checksum::fold(pseudo + checksum::sum(message))
}
