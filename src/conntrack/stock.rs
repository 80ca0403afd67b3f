//! Numbers that are free: slots of the slab, overflow buckets. Workers take and give back a handful at a time.

use super::memory::Zeros;
use std::io;
use std::ops::Range;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard};

/// The free ones of a range of numbers, shared by all workers.
pub(super) struct Stock {
    end: u32,
    /// Numbers from this one on were never used. Written under the lock.
    unused: AtomicU32,
    /// How many were used and are free again.
    returned: Mutex<u32>,
    /// Which: as many of these as `returned` says, the last the next to go. Written under the lock.
    stack: Zeros<AtomicU32>,
}

impl Stock {
    /// All of these numbers, free.
    ///
    /// # Errors
    /// The system has not that much memory.
    pub(super) fn new(numbers: Range<u32>) -> io::Result<Stock> {
        let stack = Zeros::new(numbers.len())?;
        Ok(Stock { end: numbers.end, unused: numbers.start.into(), returned: Mutex::new(0), stack })
    }

    /// Bytes of memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.stack)
    }

    /// Numbers from this one on were never used; another worker may be taking them this moment.
    #[inline]
    pub(super) fn unused(&self) -> u32 {
        self.unused.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, u32> {
        // A thread that panicked here left at worst some numbers that nobody uses any more.
        self.returned.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes up to `wanted` numbers, but no more than a 64th of those left, so that one worker does not hoard the
    /// last; of the last ones `least`. Each is told to `each`.
    pub(super) fn take(&self, least: usize, wanted: usize, mut each: impl FnMut(u32)) {
        let mut returned = self.lock();
        let mut unused = self.unused.load(Relaxed);
        let free = (*returned + (self.end - unused)) as usize;
        for _ in 0..(free / 64).max(least).min(wanted).min(free) {
            if *returned > 0 {
                *returned -= 1;
                each(self.stack[*returned as usize].load(Relaxed));
            } else {
                each(unused);
                unused += 1;
            }
        }
        self.unused.store(unused, Relaxed);
    }

    /// Gives numbers back.
    pub(super) fn give(&self, numbers: impl Iterator<Item = u32>) {
        let mut returned = self.lock();
        for number in numbers {
            if let Some(place) = self.stack.get(*returned as usize) {
                place.store(number, Relaxed);
                *returned += 1;
            }
        }
    }
}

#[cfg(test)]
impl Stock {
    /// How many are free.
    pub(super) fn left(&self) -> usize {
        (*self.lock() + (self.end - self.unused())) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(stock: &Stock, least: usize, wanted: usize) -> Vec<u32> {
        let mut numbers = Vec::new();
        stock.take(least, wanted, |number| numbers.push(number));
        numbers
    }

    #[test]
    fn numbers_given_back_go_first_and_the_last_ones_go_singly() {
        let stock = Stock::new(100..300).unwrap();
        assert_eq!(taken(&stock, 1, 64), [100, 101, 102], "a 64th of 200");
        stock.give([101, 100].into_iter());
        assert_eq!((taken(&stock, 1, 2), stock.unused()), (vec![100, 101], 103));
        while stock.unused() < 300 {
            assert!(!taken(&stock, 1, 64).is_empty());
        }
        stock.give([200, 201].into_iter());
        assert_eq!([taken(&stock, 0, 64), taken(&stock, 1, 64)], [vec![], vec![201]]);
        assert_eq!(taken(&stock, 2, 64), [200]);
        assert!(taken(&stock, 2, 64).is_empty());
    }
}
