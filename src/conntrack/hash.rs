//! The seeded hash of a flow key: folded multiplication, two for IPv4 and five for IPv6.
//!
//! The seed is drawn at random per start, so that nobody outside can choose keys that collide. (A CRC would be
//! quicker, but is linear: its collisions are the same under every seed.)

use crate::net::FlowKey;

/// What makes this table's hashes differ from another's.
#[derive(Debug, Clone, Copy)]
pub struct Seed([u64; 2]);

impl Seed {
    /// A seed from two words, which should be random wherever strangers send packets.
    pub const fn new(a: u64, b: u64) -> Seed {
        // The constants keep a seed of zeros from multiplying by zero; they are digits of pi.
        Seed([a ^ 0x243f_6a88_85a3_08d3, b ^ 0x1319_8a2e_0370_7344])
    }
}

/// The hash of one flow key under one seed, as a table of some number of buckets uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowHash {
    /// The bucket to look at first.
    pub(super) bucket: u32,
    /// What the bucket remembers of the hash, where 0 is an empty lane; a key's has the top bit set.
    pub(super) tag: u16,
}

impl FlowHash {
    /// Of no key.
    pub const NONE: FlowHash = FlowHash { bucket: 0, tag: 1 };

    /// Whether it is of a key.
    #[inline]
    pub const fn is_some(self) -> bool {
        self.tag != FlowHash::NONE.tag
    }

    /// The hash of `key` for a table of `buckets` buckets.
    #[inline]
    pub fn of(key: &FlowKey, Seed([a, b]): Seed, buckets: u32) -> FlowHash {
        let [w0, w1, w2, w3] = *key.words();
        let mut hash = fold(w0 ^ a, key.tail() ^ b);
        if !key.is_v4() {
            hash = fold(hash ^ w1, a ^ w2.rotate_left(32));
            hash = fold(hash ^ w3, b);
        }
        let hash = fold(hash ^ b, a | 1);
        // From the upper half the one, from the lower half the other.
        FlowHash { bucket: (((hash >> 32) * buckets as u64) >> 32) as u32, tag: hash as u16 | 1 << 15 }
    }
}

/// Both halves of the 128-bit product, one laid over the other.
#[inline]
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Proto;

    fn spread(keys: impl Iterator<Item = FlowKey>, seed: Seed) -> (usize, usize) {
        let mut buckets = vec![0usize; 1024];
        let mut tags = vec![0usize; 1 << 16];
        for key in keys {
            let hash = FlowHash::of(&key, seed, 1024);
            buckets[hash.bucket as usize] += 1;
            tags[hash.tag as usize] += 1;
        }
        (*buckets.iter().max().unwrap(), *tags.iter().max().unwrap())
    }

    #[test]
    fn neighbouring_addresses_and_ports_spread_evenly_in_both_families() {
        // 65,536 keys over 1,024 buckets: 64 each, and more than 64 + 8 sigma would be a pattern.
        let v4 =
            (0..1u32 << 16).map(|i| FlowKey::v4(Proto::Tcp, 0x0a00_0000 + (i >> 8), 1, i as u16 & 0xff, 80));
        let v6 = (0..1u128 << 16).map(|i| FlowKey::v6(Proto::Tcp, (i >> 8) << 64, 1, i as u16 & 0xff, 80));
        for seed in [Seed::new(0, 0), Seed::new(1, 2), Seed::new(u64::MAX, 0xdead_beef)] {
            let ((b4, t4), (b6, t6)) = (spread(v4.clone(), seed), spread(v6.clone(), seed));
            assert!(b4 < 130 && b6 < 130, "buckets {b4} {b6}");
            assert!(t4 < 16 && t6 < 16, "tags {t4} {t6}");
        }
    }

    #[test]
    fn keys_that_collide_under_one_seed_part_under_another() {
        let keys: Vec<FlowKey> = (0..1u32 << 20).map(|i| FlowKey::v4(Proto::Udp, i, 1, 1, 53)).collect();
        let chosen = |seed| keys.iter().copied().filter(move |k| FlowHash::of(k, seed, 1024).bucket == 7);
        let (worst, _) = spread(chosen(Seed::new(3, 4)), Seed::new(5, 6));
        assert!(chosen(Seed::new(3, 4)).count() > 900 && worst < 20, "{worst} still share a bucket");
    }
}
