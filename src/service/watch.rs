//! Which servers' counts have changed since somebody last looked.
//!
//! A scheduler that keeps an order of its servers (`lc`, `wlc`) must hear of every change of a count, from any
//! worker, but not more than once per look: a bit for each server, and a bit for each word of those bits.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// A bit for each of a service's servers.
///
/// Marking: change the count, then look at the bit. Taking: clear the bit, then read the count. In one order for all
/// threads (hence `SeqCst`; on x86 it costs nothing more here), so that either the marker sees the bit cleared, or
/// the taker sees the count changed.
#[derive(Debug)]
pub struct Watch {
    words: Box<[AtomicU64]>,
    /// A bit for each word that may have a bit set.
    summary: Box<[AtomicU64]>,
}

impl Watch {
    /// A watch over `servers` servers, of which nothing has changed.
    pub fn new(servers: usize) -> Watch {
        let zeros = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect();
        let words = servers.div_ceil(64);
        Watch { words: zeros(words), summary: zeros(words.div_ceil(64)) }
    }

    /// The count of the server at this place has changed.
    #[inline]
    pub fn mark(&self, place: u32) {
        let (word, bit) = (place as usize / 64, 1 << (place % 64));
        let Some(bits) = self.words.get(word) else { return };
        if bits.load(SeqCst) & bit == 0 {
            // The bit before its summary: who takes the summary sees the bit.
            bits.fetch_or(bit, SeqCst);
            self.summary[word / 64].fetch_or(1 << (word % 64), SeqCst);
        }
    }

    /// Takes the places marked since the last call, in order.
    pub fn take(&self, mut each: impl FnMut(usize)) {
        for (at, summary) in self.summary.iter().enumerate() {
            if summary.load(SeqCst) == 0 {
                continue;
            }
            for word in ones(summary.swap(0, SeqCst)) {
                let word = at * 64 + word;
                ones(self.words[word].swap(0, SeqCst)).for_each(|bit| each(word * 64 + bit));
            }
        }
    }
}

fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = bits.trailing_zeros() as usize;
        (bits != 0).then(|| {
            bits &= bits - 1;
            place
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(watch: &Watch) -> Vec<usize> {
        let mut places = Vec::new();
        watch.take(|place| places.push(place));
        places
    }

    #[test]
    fn each_place_marked_is_taken_once() {
        let watch = Watch::new(5000);
        [4999, 0, 63, 64, 4096, 64].into_iter().for_each(|place| watch.mark(place));
        watch.mark(70_000);
        assert_eq!(taken(&watch), [0, 63, 64, 4096, 4999]);
        assert!(taken(&watch).is_empty());
        watch.mark(64);
        assert_eq!(taken(&watch), [64]);
    }

    #[test]
    fn nothing_marked_by_another_thread_is_lost() {
        let watch = Watch::new(200);
        let counts: Vec<AtomicU64> = (0..200).map(|_| AtomicU64::new(0)).collect();
        let mut seen = vec![0; 200];
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                for i in 0..100_000u32 {
                    counts[i as usize % 200].fetch_add(1, SeqCst);
                    watch.mark(i % 200);
                }
            });
            while !worker.is_finished() {
                watch.take(|place| seen[place] = counts[place].load(SeqCst));
            }
        });
        watch.take(|place| seen[place] = counts[place].load(SeqCst));
        assert_eq!(seen, vec![500; 200]);
    }
}
