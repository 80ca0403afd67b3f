//! Which servers' loads have fallen since somebody last looked.
//!
//! A scheduler that keeps an order of its servers must hear of every fall of a load, from any worker, but not more
//! than once per look. So there is a board of marks, a bit for each server that is watched. A server's
//! [`super::Live`] knows its bit by number alone: telling follows no pointer that could be replaced meanwhile, and
//! costs one atomic instruction, or two. One board serves the whole process, since a number must mean the same to
//! everybody; a scheduler takes lines of it for as long as it lives.
//!
//! Marking: change the count, then look at the bit. Taking: clear the bit, then read the count. In one order for all
//! threads (hence `SeqCst` everywhere), so that either the marker sees the bit cleared, or the taker sees the count
//! changed. A mark on a line that has changed hands makes its new owner look in vain, and does nothing else.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard};

/// Servers on a line, and the words that hold their bits.
const PER_LINE: usize = WORDS * 64;
const WORDS: usize = 7;

/// A cache line of marks.
#[derive(Debug)]
#[repr(align(64))]
struct Line {
    words: [AtomicU64; WORDS],
    /// Whether a word may have a bit set.
    any: AtomicBool,
}

/// Twice over, room for every server that a director holds, in the smallest services that are watched: a new
/// scheduler takes its lines before the old one leaves its own. Pages never written are never there.
const LINES: usize = 1 << 15;

static BOARD: [Line; LINES] =
    [const { Line { words: [const { AtomicU64::new(0) }; WORDS], any: AtomicBool::new(false) } }; LINES];

static FREE: Mutex<Free> = Mutex::new(Free { unused: 0, given_back: Vec::new() });

/// The lines that nobody has: those from `unused` on, and those given back.
#[derive(Debug)]
struct Free {
    unused: u32,
    given_back: Vec<u32>,
}

impl Free {
    fn lock() -> MutexGuard<'static, Free> {
        FREE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn take(&mut self) -> Option<u32> {
        self.given_back.pop().or_else(|| {
            let line = self.unused;
            ((line as usize) < LINES).then(|| {
                self.unused += 1;
                line
            })
        })
    }
}

/// A bit on the board, as its number, or none.
#[derive(Debug)]
pub(super) struct Seat(AtomicU32);

const NO_SEAT: u32 = u32::MAX;

impl Default for Seat {
    fn default() -> Seat {
        Seat(AtomicU32::new(NO_SEAT))
    }
}

impl Seat {
    /// From now on, marks go to the server at this place of `watch`.
    pub(super) fn take(&self, watch: &Watch, place: usize) {
        self.0.store(watch.number(place), SeqCst);
    }

    /// Marks go nowhere, if they went to this place of `watch`.
    pub(super) fn leave(&self, watch: &Watch, place: usize) {
        // If not, another watch has the server by now.
        let _ = self.0.compare_exchange(watch.number(place), NO_SEAT, SeqCst, SeqCst);
    }

    /// The server's load may have fallen.
    #[inline]
    pub(super) fn mark(&self) {
        let number = self.0.load(SeqCst);
        let Some(line) = BOARD.get(number as usize >> 9) else { return };
        let Some(word) = line.words.get(number as usize >> 6 & 7) else { return };
        let bit = 1 << (number & 63);
        if word.load(SeqCst) & bit == 0 {
            word.fetch_or(bit, SeqCst);
        }
        // The bit first: who finds the flag set and clears it, sees the bit.
        if !line.any.load(SeqCst) {
            line.any.store(true, SeqCst);
        }
    }
}

/// A bit for each of a scheduler's servers.
#[derive(Debug)]
pub struct Watch {
    lines: Vec<u32>,
}

impl Watch {
    /// A watch over `servers` servers; `None` if the board has no room for so many.
    pub fn new(servers: usize) -> Option<Watch> {
        let mut free = Free::lock();
        let mut watch = Watch { lines: Vec::with_capacity(servers.div_ceil(PER_LINE)) };
        while watch.lines.len() < watch.lines.capacity() {
            match free.take() {
                Some(line) => watch.lines.push(line),
                None => {
                    drop(free);
                    return None;
                }
            }
        }
        Some(watch)
    }

    /// line 23 bits | word 3 bits | bit 6 bits
    fn number(&self, place: usize) -> u32 {
        let line = self.lines.get(place / PER_LINE).copied();
        line.map_or(NO_SEAT, |line| line << 9 | (place % PER_LINE) as u32)
    }

    /// Takes the places marked since the last call, in order; now and then one that is not, or not of this watch.
    #[inline]
    pub fn take(&self, mut each: impl FnMut(usize)) {
        for (at, &line) in self.lines.iter().enumerate() {
            let line = &BOARD[line as usize];
            if !line.any.load(SeqCst) || !line.any.swap(false, SeqCst) {
                continue;
            }
            for (word_at, word) in line.words.iter().enumerate() {
                if word.load(SeqCst) != 0 {
                    let first = at * PER_LINE + word_at * 64;
                    ones(word.swap(0, SeqCst)).for_each(|bit| each(first + bit));
                }
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        Free::lock().given_back.append(&mut self.lines);
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

    /// Marks this place of the watch.
    fn mark(watch: &Watch, place: usize) {
        let seat = Seat::default();
        seat.take(watch, place);
        seat.mark();
    }

    fn taken(watch: &Watch) -> Vec<usize> {
        let mut places = Vec::new();
        watch.take(|place| places.push(place));
        places
    }

    #[test]
    fn each_place_marked_is_taken_once() {
        let watch = Watch::new(5000).unwrap();
        taken(&watch);
        [4999, 0, 63, 64, 447, 448, 4096, 64].into_iter().for_each(|place| mark(&watch, place));
        mark(&watch, 70_000);
        assert_eq!(taken(&watch), [0, 63, 64, 447, 448, 4096, 4999]);
        assert!(taken(&watch).is_empty());
        mark(&watch, 64);
        assert_eq!(taken(&watch), [64]);
    }

    #[test]
    fn a_server_tells_the_watch_that_had_it_last_and_after_leaving_nobody() {
        let (old, new) = (Watch::new(100).unwrap(), Watch::new(100).unwrap());
        // What another test's servers left on the lines.
        [&old, &new].into_iter().for_each(|watch| drop(taken(watch)));
        let seat = Seat::default();
        seat.mark();
        seat.take(&old, 5);
        seat.take(&new, 7);
        seat.leave(&old, 5);
        seat.mark();
        assert_eq!((taken(&old), taken(&new)), (vec![], vec![7]));
        seat.leave(&new, 7);
        seat.mark();
        assert!(taken(&new).is_empty());
    }

    #[test]
    fn lines_given_back_are_used_again_and_beyond_the_last_there_is_none() {
        let mut free = Free { unused: LINES as u32 - 1, given_back: Vec::new() };
        assert_eq!((free.take(), free.take()), (Some(LINES as u32 - 1), None));
        free.given_back.push(3);
        assert_eq!((free.take(), free.take()), (Some(3), None));
        assert!((0..2 * LINES).all(|_| Watch::new(1).is_some()));
    }

    #[test]
    fn nothing_marked_by_another_thread_is_lost() {
        let watch = Watch::new(200).unwrap();
        let counts: Vec<AtomicU64> = (0..200).map(|_| AtomicU64::new(0)).collect();
        let seats: Vec<Seat> = (0..200).map(|_| Seat::default()).collect();
        seats.iter().enumerate().for_each(|(place, seat)| seat.take(&watch, place));
        let mut seen = vec![0; 200];
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                for i in 0..100_000 {
                    counts[i % 200].fetch_add(1, SeqCst);
                    seats[i % 200].mark();
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
