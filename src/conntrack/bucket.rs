//! Buckets of references, and the chains they form.
//!
//! ```text
//! bucket, one cache line: 8 tags of 16 bits | 8 references of 32 | overflow link | lock | shortened | (unused)
//! ```
//!
//! A reader takes no lock: it compares tags and then asks the connection itself, so a stale reference costs a
//! comparison and nothing else. A reader that finds nothing may have overlooked a reference put in meanwhile:
//! who is about to act on a miss looks again under the chain's lock. The lock is in the chain's first bucket, a line
//! that whoever changes the chain needs anyway.

use super::lanes::equal_lanes;
use crossbeam::utils::Backoff;
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
    /// 1 while somebody changes the chain that starts here.
    lock: AtomicU32,
    /// How often a reference moved within the chain that starts here, or a bucket was taken out of it.
    shortened: AtomicU32,
    _unused: AtomicU32,
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

    /// Changes a lane's tag from one to another.
    #[inline]
    fn set_tag(&self, lane: usize, from: u16, to: u16) {
        let (word, shift) = (&self.tags[lane / 4], lane % 4 * 16);
        word.store(word.load(Relaxed) ^ ((from ^ to) as u64) << shift, Release);
    }

    #[inline]
    fn put(&self, tag: u16, reference: Reference) -> bool {
        let Some(lane) = self.lanes_of(0).next() else { return false };
        self.references[lane].store(reference.0, Relaxed);
        self.set_tag(lane, 0, tag);
        true
    }

    /// Takes a reference out; the lane that is empty now.
    #[inline]
    fn take(&self, tag: u16, reference: Reference) -> Option<usize> {
        let held = self.lanes_of(tag).find(|&lane| self.references[lane].load(Relaxed) == reference.0);
        held.inspect(|&lane| self.set_tag(lane, tag, 0))
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

/// The buckets that a hash leads to: one, and those that go on where it is full.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chain<'t> {
    buckets: &'t [Bucket],
    first: &'t Bucket,
}

impl<'t> Chain<'t> {
    /// The chain that starts at bucket `first`.
    #[inline]
    pub(super) fn new(buckets: &'t [Bucket], first: usize) -> Chain<'t> {
        Chain { buckets, first: &buckets[first] }
    }

    #[inline]
    fn after(&self, bucket: &Bucket) -> Option<&'t Bucket> {
        bucket.next().and_then(|number| self.buckets.get(number as usize))
    }

    /// What `accept` makes of the first reference under this tag that it takes. Without the lock, a reference may be
    /// overlooked that moves meanwhile: see [`Chain::shortened`].
    #[inline(always)]
    pub(super) fn find<T>(&self, tag: u16, accept: impl Fn(Reference) -> Option<T>) -> Option<T> {
        let mut bucket = self.first;
        loop {
            if let Some(found) = bucket.under(tag).find_map(&accept) {
                return Some(found);
            }
            bucket = self.after(bucket)?;
        }
    }

    /// How often the chain was shortened: a reader without the lock who went through it while this stood still saw
    /// all of it.
    #[inline]
    pub(super) fn shortened(&self) -> u32 {
        // What was read before is older than this.
        fence(Acquire);
        self.first.shortened.load(Acquire)
    }

    fn note_shortening(&self) {
        self.first.shortened.fetch_add(1, AcqRel);
    }

    /// The right to change the chain. Held for as long as a scheduler takes to choose a server, at most.
    #[inline]
    pub(super) fn lock(self) -> Held<'t> {
        if self.first.lock.swap(1, Acquire) != 0 {
            self.wait();
        }
        Held(self)
    }

    #[cold]
    fn wait(&self) {
        let backoff = Backoff::new();
        while self.first.lock.load(Relaxed) != 0 || self.first.lock.swap(1, Acquire) != 0 {
            backoff.snooze();
        }
    }
}

/// A chain that nobody else changes until this is dropped.
#[derive(Debug)]
pub(super) struct Held<'t>(Chain<'t>);

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.first.lock.store(0, Release);
    }
}

impl<'t> std::ops::Deref for Held<'t> {
    type Target = Chain<'t>;

    #[inline]
    fn deref(&self) -> &Chain<'t> {
        &self.0
    }
}

#[cfg(test)]
impl Held<'_> {
    /// How many references are in the chain.
    pub(super) fn len(&self) -> usize {
        let chain = std::iter::successors(Some(self.first), |bucket| self.after(bucket));
        chain.map(|bucket| LANES - bucket.lanes_of(0).count()).sum()
    }
}

impl Held<'_> {
    /// Puts a reference in. If the chain is full, `spare` gives the number of a bucket that is in no chain; `false` if
    /// there is none.
    #[inline]
    pub(super) fn put(
        &mut self,
        tag: u16,
        reference: Reference,
        spare: impl FnOnce() -> Option<u32>,
    ) -> bool {
        self.first.put(tag, reference) || self.put_further(tag, reference, spare)
    }

    #[cold]
    fn put_further(&mut self, tag: u16, reference: Reference, spare: impl FnOnce() -> Option<u32>) -> bool {
        let mut last = self.first;
        while let Some(bucket) = self.after(last) {
            if bucket.put(tag, reference) {
                return true;
            }
            last = bucket;
        }
        let Some(fresh) = spare() else { return false };
        let Some(bucket) = self.buckets.get(fresh as usize) else { return false };
        bucket.overflow.store(0, Relaxed);
        bucket.put(tag, reference);
        last.overflow.store(fresh + 1, Release);
        true
    }

    /// Takes a reference out; gives the number of the bucket that is now in no chain, if one is.
    #[inline]
    pub(super) fn take(&mut self, tag: u16, reference: Reference) -> Option<u32> {
        if self.first.next().is_none() {
            self.first.take(tag, reference);
            return None;
        }
        self.take_and_close_up(tag, reference)
    }

    /// The last bucket fills the hole, so that a chain is never longer than it must be: an overflow bucket left
    /// empty goes.
    #[cold]
    fn take_and_close_up(&mut self, tag: u16, reference: Reference) -> Option<u32> {
        let chain = || std::iter::successors(Some(self.first), |bucket| self.after(bucket));
        let (hole, lane) = chain().find_map(|bucket| Some((bucket, bucket.take(tag, reference)?)))?;
        let (before, last) = chain().zip(chain().skip(1)).last()?;
        let moved = (0..LANES).find(|&from| !std::ptr::eq(hole, last) && last.tag(from) != 0);
        if let Some(from) = moved {
            hole.references[lane].store(last.references[from].load(Relaxed), Relaxed);
            hole.set_tag(lane, 0, last.tag(from));
            // Between the two: a reader who finds the old place empty learns that he must look again.
            self.note_shortening();
            last.set_tag(from, last.tag(from), 0);
        }
        if !last.is_empty() {
            return None;
        }
        let gone = before.next();
        before.overflow.store(0, Release);
        // Before the bucket can be put to another use.
        self.note_shortening();
        gone
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
            lock: AtomicU32::new(0),
            shortened: AtomicU32::new(0),
            _unused: AtomicU32::new(0),
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
        let (buckets, mut free) = (buckets(4), vec![3, 2, 1]);
        let mut chain = Chain::new(&buckets, 0).lock();
        for slot in 0..32u32 {
            assert!(chain.put(7, Reference::new(slot, false), || free.pop()));
        }
        assert!(!chain.put(7, Reference::new(32, false), || free.pop()), "all four are full");
        assert_eq!(all(&buckets, 7), (0..32).collect::<Vec<_>>());
        // From the front: the last bucket fills each hole.
        for slot in 0..24 {
            free.extend(chain.take(7, Reference::new(slot, false)));
            assert_eq!(free.len(), (slot as usize + 1) / 8, "after {slot}");
        }
        let mut left = all(&buckets, 7);
        left.sort_unstable();
        assert_eq!(left, (24..32).collect::<Vec<_>>());
        assert!(all(&buckets, 8).is_empty());
        free.sort_unstable();
        assert_eq!(free, [1, 2, 3], "each is free once");
    }

    #[test]
    fn only_the_exact_reference_is_taken_out() {
        let buckets = buckets(1);
        let mut chain = Chain::new(&buckets, 0).lock();
        chain.put(9, Reference::new(5, false), || None);
        chain.put(9, Reference::new(5, true), || None);
        chain.take(9, Reference::new(5, true));
        assert_eq!(all(&buckets, 9), [5]);
        chain.take(8, Reference::new(5, false));
        assert_eq!(all(&buckets, 9), [5]);
    }

    #[test]
    fn one_holds_a_chain_at_a_time() {
        let (buckets, count) = (buckets(1), AtomicU32::new(0));
        let work = || {
            for _ in 0..100_000 {
                let _held = Chain::new(&buckets, 0).lock();
                // Not an atomic addition: without the lock some of these would be lost.
                count.store(count.load(Relaxed) + 1, Relaxed);
            }
        };
        std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
        assert_eq!(count.load(Relaxed), 200_000);
    }
}
