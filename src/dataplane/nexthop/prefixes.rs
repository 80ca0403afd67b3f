//! Finds the longest prefix that holds an address, of IPv4 (`u32`) or IPv6 (`u128`).

use hashbrown::HashMap;
use std::cmp::Reverse;
use std::hash::Hash;
use std::ops::BitAnd;

/// So many prefixes are compared one by one sooner than looked up.
const FEW: usize = 8;

/// What is known of each prefix: a look-up for each new connection.
#[derive(Debug)]
pub(super) struct Prefixes<A, T> {
    /// By mask, the longest first.
    by_mask: Vec<(A, HashMap<A, T>)>,
    /// The same as mask, network and what is known in a row, if they are no more than [`FEW`].
    few: Vec<(A, A, T)>,
}

impl<A, T> Default for Prefixes<A, T> {
    fn default() -> Prefixes<A, T> {
        Prefixes { by_mask: Vec::new(), few: Vec::new() }
    }
}

impl<A: Copy + Ord + Hash + BitAnd<Output = A>, T: Copy> Prefixes<A, T> {
    /// Compiles prefixes, each a mask and a network; of two that are the same the one that is `better` stays, and of
    /// equals the first.
    pub(super) fn new(
        all: impl Iterator<Item = (A, A, T)>,
        better: impl Fn(&T, &T) -> bool,
    ) -> Prefixes<A, T> {
        let mut by_mask: Vec<(A, HashMap<A, T>)> = Vec::new();
        for (mask, network, known) in all {
            let at = by_mask.iter().position(|(other, _)| *other == mask).unwrap_or_else(|| {
                by_mask.push((mask, HashMap::new()));
                by_mask.len() - 1
            });
            let held = by_mask[at].1.entry(network).or_insert(known);
            if better(&known, held) {
                *held = known;
            }
        }
        // A longer mask is a larger number, too.
        by_mask.sort_unstable_by_key(|&(mask, _)| Reverse(mask));
        let in_a_row = || {
            let of_mask = |(mask, table): &(A, HashMap<A, T>)| {
                let mask = *mask;
                table.iter().map(move |(&network, &known)| (mask, network, known)).collect::<Vec<_>>()
            };
            by_mask.iter().flat_map(of_mask).collect()
        };
        let count: usize = by_mask.iter().map(|(_, table)| table.len()).sum();
        let few = if count <= FEW { in_a_row() } else { Vec::new() };
        Prefixes { by_mask, few }
    }

    /// What is known of the longest prefix that holds `address`.
    #[inline]
    pub(super) fn find(&self, address: A) -> Option<&T> {
        if !self.few.is_empty() {
            return self.few.iter().find_map(|(mask, net, known)| (address & *mask == *net).then_some(known));
        }
        self.by_mask.iter().find_map(|(mask, table)| table.get(&(address & *mask)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn mask(len: u32) -> u128 {
        u128::MAX.checked_shl(128 - len).unwrap_or(0)
    }

    proptest! {
        #[test]
        fn few_and_many_prefixes_are_found_as_by_looking_at_all(
            all in proptest::collection::vec((0u32..=128, 0u128..8, 0u8..4), 0..20), address in 0u128..8,
        ) {
            // All the difference is in the first three bits, so that prefixes hold each other.
            let all: Vec<(u128, u128, u8)> =
                all.into_iter().map(|(len, top, known)| (mask(len), top << 125 & mask(len), known)).collect();
            let address = address << 125;
            let prefixes = Prefixes::new(all.iter().copied(), |a, b| a < b);
            let distinct: HashSet<(u128, u128)> = all.iter().map(|&(mask, network, _)| (mask, network)).collect();
            prop_assert_eq!(prefixes.few.len(), if distinct.len() <= FEW { distinct.len() } else { 0 });
            let holding = all.iter().filter(|(mask, network, _)| address & mask == *network);
            let best = holding.min_by_key(|&&(mask, _, known)| (Reverse(mask), known));
            prop_assert_eq!(prefixes.find(address), best.map(|(_, _, known)| known));
        }
    }
}
