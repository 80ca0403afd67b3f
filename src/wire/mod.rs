//! Floor 1: bytes. Parsing with bounds checked once, checksums, and rewriting in place.
//!
//! Any bytes are welcome: nothing here panics, reads outside its slice or allocates. Addresses and ports cross
//! this border in host order.

pub mod checksum;
pub mod encap;
pub mod fragment;
pub mod ftp;
pub mod icmp;
pub mod ipv6;
pub mod martian;
pub mod mss;
pub mod options;
pub mod parse;
pub mod probe;
pub mod reset;
pub mod rewrite;
pub mod rewrite6;
pub mod sctp;
pub mod segment;
pub mod shift;
pub mod split;
pub mod vlan;

/// Bytes of an untagged Ethernet II header: destination, source, type.
pub const ETHERNET: usize = 14;

/// Bytes of an IPv4 header without options.
pub const IPV4: usize = 20;

/// Bytes of an IPv6 header without extension headers.
pub const IPV6: usize = 40;

/// Reads the big-endian 16 bits at `at`, or 0 past the end.
#[inline]
fn be16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]))
}

/// Reads the big-endian 32 bits at `at`, or 0 past the end.
#[inline]
fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_be_bytes(*b))
}

/// Reads the big-endian 128 bits at `at`, or 0 past the end.
#[inline]
fn be128(bytes: &[u8], at: usize) -> u128 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u128::from_be_bytes(*b))
}

/// Writes big-endian 16 bits at `at`; nothing past the end.
#[inline]
fn put16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}
