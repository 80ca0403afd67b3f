//! Buckets of references, and the shards that guard them.
//!
//! ```text
//! bucket, one cache line: 8 tags of 16 bits | 8 references of 32 | overflow link | (unused)
//! ```
//!
//! A reader takes no lock: it compares tags and then asks the connection itself, so a stale reference costs a
//! comparison and nothing else. A reader that finds nothing may have overlooked a reference put in meanwhile:
//! who is about to act on a miss looks again under the shard's lock.

use super::lanes::equal_lanes;
use std::sync::Mutex;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};

/// References in a bucket.
pub(super) const LANES: usize = 8;

/// A reference to a connection: its slot, and in the top bit whether the packet is a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference(pub(super) u32);

impl Reference {
    pub(super) const fn new(slot: u32, reply: bool) -> Reference {
        Reference(slot | (reply as u32) << 31)
    }

    #[inline]
    pub(super) const fn slot(self) -> u32 {
        self.0 & 0x7fff_ffff
    }

    #[inline]
    pub(super) const fn is_reply(self) -> bool {
        self.0 >> 31 == 1
    }
}

/// Eight tags with their references, and a link to eight more.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    tags: [AtomicU64; 2],
    references: [AtomicU32; LANES],
    /// 1 + the number of the bucket that goes on, or 0.
    overflow: AtomicU32,
    _unused: [AtomicU32; 3],
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    /// The lanes whose tag this is; 0 asks for the empty ones.
    #[inline]
    fn lanes_of(&self, tag: u16) -> Lanes {
        Lanes(equal_lanes([self.tags[0].load(Acquire), self.tags[1].load(Acquire)], tag))
    }

    /// The references under this tag.
    #[inline]
    pub(super) fn under(&self, tag: u16) -> impl Iterator<Item = Reference> + '_ {
        self.lanes_of(tag).map(|lane| Reference(self.references[lane].load(Relaxed)))
    }

    /// The number of the bucket that goes on.
    #[inline]
    pub(super) fn next(&self) -> Option<u32> {
        self.overflow.load(Acquire).checked_sub(1)
    }

    fn set_tag(&self, lane: usize, tag: u16) {
        let (word, shift) = (&self.tags[lane / 4], lane % 4 * 16);
        let others = word.load(Relaxed) & !(0xffff << shift);
        word.store(others | (tag as u64) << shift, Release);
    }

    fn put(&self, tag: u16, reference: Reference) -> bool {
        let Some(lane) = self.lanes_of(0).next() else { return false };
        self.references[lane].store(reference.0, Relaxed);
        self.set_tag(lane, tag);
        true
    }

    /// Takes a reference out; the lane that is empty now.
    fn take(&self, tag: u16, reference: Reference) -> Option<usize> {
        let held = self.lanes_of(tag).find(|&lane| self.references[lane].load(Relaxed) == reference.0);
        held.inspect(|&lane| self.set_tag(lane, 0))
    }

    fn tag(&self, lane: usize) -> u16 {
        (self.tags[lane / 4].load(Relaxed) >> (lane % 4 * 16)) as u16
    }

    fn is_empty(&self) -> bool {
        self.lanes_of(0).count() == LANES
    }
}

/// Some of a bucket's lanes, a bit for each.
#[derive(Debug, Clone, Copy)]
struct Lanes(u32);

impl Iterator for Lanes {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let lane = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        // A bucket has eight lanes: the mask shows the compiler that no index is out of bounds.
        Some(lane & (LANES - 1))
    }
}

/// What guards a range of buckets: holding it is the right to change them.
#[derive(Debug)]
pub(super) struct Shard {
    /// Numbers of this shard's overflow buckets that no bucket goes on in.
    free: Mutex<Vec<u32>>,
    /// How often a reference moved within a chain, or a bucket was taken out of one.
    shortened: AtomicU32,
}

impl Shard {
    /// A shard that owns these overflow buckets.
    pub(super) fn new(overflow: std::ops::Range<u32>) -> Shard {
        Shard { free: Mutex::new(overflow.collect()), shortened: AtomicU32::new(0) }
    }

    /// How often a chain of the shard was shortened: a reader without the lock who went through a chain while this
    /// stood still saw all of it.
    #[inline]
    pub(super) fn shortened(&self) -> u32 {
        // What was read before is older than this.
        fence(Acquire);
        self.shortened.load(Acquire)
    }

    /// The right to change the shard's buckets.
    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        // A thread that panicked here left at worst a lost overflow bucket.
        self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Puts a reference into the chain that starts at bucket `first`. `false` if the chain is full and its shard has
/// no overflow bucket left.
pub(super) fn put(
    buckets: &[Bucket],
    free: &mut Vec<u32>,
    first: usize,
    tag: u16,
    reference: Reference,
) -> bool {
    let mut last = first;
    loop {
        if buckets[last].put(tag, reference) {
            return true;
        }
        match buckets[last].next() {
            Some(next) => last = next as usize,
            None => break,
        }
    }
    let Some(fresh) = free.pop() else { return false };
    let bucket = &buckets[fresh as usize];
    bucket.overflow.store(0, Relaxed);
    bucket.put(tag, reference);
    buckets[last].overflow.store(fresh + 1, Release);
    true
}

/// Takes a reference out of the chain that starts at bucket `first`. The last bucket fills the hole, so that a chain is
/// never longer than it must be: an overflow bucket left empty goes back.
pub(super) fn take(
    buckets: &[Bucket],
    shard: &Shard,
    free: &mut Vec<u32>,
    first: usize,
    tag: u16,
    reference: Reference,
) {
    let next = |&at: &usize| buckets[at].next().map(|next| next as usize);
    let chain = || std::iter::successors(Some(first), next);
    let taken = chain().find_map(|at| Some((at, buckets[at].take(tag, reference)?)));
    let Some((hole_at, lane)) = taken else { return };
    let (mut before, mut last_at) = (first, first);
    for (at, after) in chain().zip(chain().skip(1)) {
        (before, last_at) = (at, after);
    }
    let (hole, last) = (&buckets[hole_at], &buckets[last_at]);
    if let Some(from) = (0..LANES).find(|&from| hole_at != last_at && last.tag(from) != 0) {
        hole.references[lane].store(last.references[from].load(Relaxed), Relaxed);
        hole.set_tag(lane, last.tag(from));
        // Between the two: a reader who finds the old place empty learns that he must look again.
        shard.shortened.fetch_add(1, AcqRel);
        last.set_tag(from, 0);
    }
    if last_at != first && last.is_empty() {
        buckets[before].overflow.store(0, Release);
        // Before the bucket can be put to another use.
        shard.shortened.fetch_add(1, AcqRel);
        free.push(last_at as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(n: usize) -> Vec<Bucket> {
        // SAFETY is not needed: a bucket of zeros is built field by field.
        let bucket = || Bucket {
            tags: Default::default(),
            references: Default::default(),
            overflow: AtomicU32::new(0),
            _unused: Default::default(),
        };
        (0..n).map(|_| bucket()).collect()
    }

    fn all(buckets: &[Bucket], tag: u16) -> Vec<u32> {
        let mut found = Vec::new();
        let mut at = Some(0);
        while let Some(number) = at {
            found.extend(buckets[number as usize].under(tag).map(|r| r.0));
            at = buckets[number as usize].next();
        }
        found
    }

    #[test]
    fn a_chain_grows_into_overflow_buckets_and_gives_them_back() {
        let (buckets, shard, mut free) = (buckets(4), Shard::new(0..0), vec![3, 2, 1]);
        for slot in 0..32u32 {
            assert!(put(&buckets, &mut free, 0, 7, Reference::new(slot, false)));
        }
        assert!(!put(&buckets, &mut free, 0, 7, Reference::new(32, false)), "all four are full");
        assert_eq!(all(&buckets, 7), (0..32).collect::<Vec<_>>());
        // From the front: the last bucket fills each hole.
        for slot in 0..24 {
            take(&buckets, &shard, &mut free, 0, 7, Reference::new(slot, false));
            assert_eq!(free.len(), (slot as usize + 1) / 8, "after {slot}");
        }
        let mut left = all(&buckets, 7);
        left.sort_unstable();
        assert_eq!(left, (24..32).collect::<Vec<_>>());
        assert!(all(&buckets, 8).is_empty());
    }

    #[test]
    fn only_the_exact_reference_is_taken_out() {
        let (buckets, shard, mut free) = (buckets(1), Shard::new(0..0), vec![]);
        put(&buckets, &mut free, 0, 9, Reference::new(5, false));
        put(&buckets, &mut free, 0, 9, Reference::new(5, true));
        take(&buckets, &shard, &mut free, 0, 9, Reference::new(5, true));
        assert_eq!(all(&buckets, 9), [5]);
        take(&buckets, &shard, &mut free, 0, 8, Reference::new(5, false));
        assert_eq!(all(&buckets, 9), [5]);
    }
}
