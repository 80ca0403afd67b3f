//! What `dh`, `sh` and `mh` make of addresses.

use crate::net::FlowKey;

/// The places of dh's and sh's tables (IPVS's `TAB_BITS` 8).
pub(super) const PLACES: usize = 256;

/// The client's address, an IPv6 one folded to 32 bits.
#[inline]
pub(super) fn source(key: &FlowKey) -> u32 {
    let [a, b, ..] = *key.words();
    if key.is_v4() { (a >> 32) as u32 } else { fold(a ^ b) }
}

/// The client's port.
#[inline]
pub(super) fn source_port(key: &FlowKey) -> u16 {
    (key.tail() >> 48) as u16
}

/// The address that the client asks for, folded likewise.
pub(super) fn destination(key: &FlowKey) -> u32 {
    let [a, _, c, d] = *key.words();
    if key.is_v4() { a as u32 } else { fold(c ^ d) }
}

/// Four words of an address become one, by exclusive or.
const fn fold(word: u64) -> u32 {
    (word >> 32) as u32 ^ word as u32
}

/// The place of a number: the upper bits of its product with the golden ratio (the kernel's `hash_32`).
pub(super) const fn place(number: u32) -> usize {
    (number.wrapping_mul(0x61c8_8647) >> 24) as usize
}

/// Any number becomes one that looks like chance: a product of 128 bits, folded.
#[inline]
pub(super) const fn mix(number: u64, by: u64) -> u64 {
    let product = (number ^ 0x9e37_79b9_7f4a_7c15) as u128 * by as u128;
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::super::tests::from;
    use super::*;
    use crate::net::Proto;

    #[test]
    fn addresses_of_both_families_fold_as_ipvs_folds_them() {
        let v4 = from(0xc000_0201, 4000);
        assert_eq!((source(&v4), source_port(&v4)), (0xc000_0201, 4000));
        let end = |text: &str| text.parse().unwrap();
        let v6 = FlowKey::new(Proto::Tcp, end("[1:2:3:4:5:6:7:8]:9"), end("[a:b::c:d]:80"));
        assert_eq!(source(&v6), 0x0001_0002 ^ 0x0003_0004 ^ 0x0005_0006 ^ 0x0007_0008);
        assert_eq!(source_port(&v6), 9);
        assert_eq!(destination(&v6), 0x000a_000b ^ 0x000c_000d);
    }
}
