//! Large arrays of cache lines: zeroed, aligned, on huge pages where the system gives them, and touched before
//! the first packet, since the first touch of a page can cost milliseconds.
#![allow(unsafe_code)]

use std::io;
use std::ops::Deref;
use std::ptr::NonNull;

/// A type that may come into being as zero bytes and needs no drop.
///
/// # Safety
/// All-zero bytes must be a valid value, and the type must not need dropping.
pub(super) unsafe trait Zeroed: Sync + Send {}

// SAFETY: an atomic integer of zero bytes is the integer 0.
unsafe impl Zeroed for std::sync::atomic::AtomicU16 {}
// SAFETY: as above.
unsafe impl Zeroed for std::sync::atomic::AtomicU32 {}
// SAFETY: as above.
unsafe impl Zeroed for std::sync::atomic::AtomicU64 {}
// SAFETY: an array of what may be zeroed.
unsafe impl<T: Zeroed, const N: usize> Zeroed for [T; N] {}
// SAFETY: entries consist of atomic integers alone.
unsafe impl Zeroed for super::entry::Entry {}
// SAFETY: buckets consist of atomic integers alone.
unsafe impl Zeroed for super::bucket::Bucket {}

/// `len` zeroed values in memory of their own.
pub(super) struct Zeros<T: Zeroed> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: a `Zeros` owns its values as a box would, and they are `Send`.
unsafe impl<T: Zeroed> Send for Zeros<T> {}
// SAFETY: shared access gives `&T` only, and the values are `Sync`.
unsafe impl<T: Zeroed> Sync for Zeros<T> {}

impl<T: Zeroed> Zeros<T> {
    /// Maps and touches `len` values.
    ///
    /// # Errors
    /// The system has not that much memory.
    pub(super) fn new(len: usize) -> io::Result<Zeros<T>> {
        let bytes = size_of::<T>().checked_mul(len).filter(|&b| b <= isize::MAX as usize);
        let bytes = bytes.ok_or(io::ErrorKind::OutOfMemory)?;
        if bytes == 0 {
            return Ok(Zeros { start: NonNull::dangling(), len: 0 });
        }
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        populate(start, bytes);
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        // Pages are aligned far beyond a cache line.
        debug_assert!(start.is_aligned());
        Ok(Zeros { start, len })
    }
}

/// Asks for huge pages, for every page now, and for none of it in a child process: a fork would have the kernel copy each
/// page that is written next (1 GiB: seconds). These are wishes: without them touches are slower.
#[cfg(target_os = "linux")]
fn populate(start: *mut libc::c_void, bytes: usize) {
    // SAFETY: the range is a mapping of ours, fresh and private; no advice changes what it holds.
    unsafe {
        libc::madvise(start, bytes, libc::MADV_HUGEPAGE);
        libc::madvise(start, bytes, libc::MADV_POPULATE_WRITE);
        libc::madvise(start, bytes, libc::MADV_DONTFORK);
    }
}

#[cfg(not(target_os = "linux"))]
fn populate(_start: *mut libc::c_void, _bytes: usize) {}

impl<T: Zeroed> Deref for Zeros<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `start` points to `len` zeroed values (or dangles for none), mapped until drop, and `Zeroed`
        // promises that zero bytes are values.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Zeroed> Drop for Zeros<T> {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: the mapping was made in `new` with this size, and no reference outlives `self`.
            unsafe { libc::munmap(self.start.as_ptr().cast(), size_of::<T>() * self.len) };
        }
    }
}

/// Asks for the cache line at an address, to be there when it is read.
#[inline]
pub fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint: it reads nothing, and faults on no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    #[test]
    fn memory_comes_zeroed_aligned_and_writable() {
        let words: Zeros<[AtomicU64; 8]> = Zeros::new(100_000).unwrap();
        assert_eq!(words.as_ptr() as usize % 64, 0);
        assert!(words.iter().flatten().all(|w| w.load(Relaxed) == 0));
        words[99_999][7].store(1, Relaxed);
        prefetch(&words[5]);
        assert_eq!(words[99_999][7].load(Relaxed), 1);
        assert!(Zeros::<AtomicU64>::new(0).unwrap().is_empty());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_child_process_gets_none_of_it() {
        let words: Zeros<AtomicU64> = Zeros::new(1 << 20).unwrap();
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let at = words.as_ptr() as usize;
        // `start-end …`, and some lines further on, `VmFlags: …`, of which `dc` is "do not copy area on fork".
        let holds = |line: &str| {
            let (start, rest) = line.split_once('-').unwrap_or_default();
            let end = rest.split(' ').next().unwrap_or_default();
            let [start, end] = [start, end].map(|hex| usize::from_str_radix(hex, 16).unwrap_or_default());
            (start..end).contains(&at)
        };
        let flags = maps.lines().skip_while(|line| !holds(line)).find(|line| line.starts_with("VmFlags"));
        assert!(flags.is_some_and(|flags| flags.split(' ').any(|flag| flag == "dc")), "{flags:?}");
    }

    #[test]
    fn more_memory_than_there_can_be_is_an_error() {
        assert!(Zeros::<AtomicU64>::new(usize::MAX / 4).is_err());
    }
}
