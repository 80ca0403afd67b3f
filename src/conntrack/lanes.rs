//! Eight tags compared at once.
#![allow(unsafe_code)]

/// Which of eight 16-bit lanes, the first lowest in the first word, equal `tag`: a bit for each.
#[inline]
pub(super) fn equal_lanes([first, second]: [u64; 2], tag: u16) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is part of every x86_64, and these work on registers alone.
    unsafe {
        use std::arch::x86_64::{
            _mm_cmpeq_epi16, _mm_movemask_epi8, _mm_packs_epi16, _mm_set_epi64x, _mm_set1_epi16,
            _mm_setzero_si128,
        };
        let equal = _mm_cmpeq_epi16(_mm_set_epi64x(second as i64, first as i64), _mm_set1_epi16(tag as i16));
        _mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128())) as u32
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let lane = |i: u32| if i < 4 { first >> (16 * i) } else { second >> (16 * i - 64) } as u16;
        (0..8).filter(|&i| lane(i) == tag).fold(0, |bits, i| bits | 1 << i)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_found_by_their_exact_tag() {
        for (lane, tag) in (0..8).flat_map(|lane| [1u16, 0x7fff, 0x8000, 0xffff].map(|tag| (lane, tag))) {
            for other in [0, tag ^ 1, tag ^ 0x8000, tag.wrapping_add(1), tag.wrapping_sub(1)] {
                let tags: [u16; 8] = std::array::from_fn(|i| if i == lane { tag } else { other });
                let word = |w: usize| (0..4).fold(0, |word, i| word | (tags[4 * w + i] as u64) << (16 * i));
                assert_eq!(equal_lanes([word(0), word(1)], tag), 1 << lane, "{tag:#x} among {other:#x}");
            }
        }
    }
}
