//! How often which values occurred, by powers of two: counted by one worker, read by anyone.

use super::Counter;

/// Counts values in `N` buckets. The first holds those up to 2^`LEAST`, each further one those up to twice as much, and
/// the last one the rest.
#[derive(Debug)]
pub struct Histogram<const LEAST: u32, const N: usize> {
    buckets: [Counter; N],
    sum: Counter,
}

impl<const LEAST: u32, const N: usize> Default for Histogram<LEAST, N> {
    fn default() -> Self {
        Histogram { buckets: std::array::from_fn(|_| Counter::default()), sum: Counter::default() }
    }
}

impl<const LEAST: u32, const N: usize> Histogram<LEAST, N> {
    /// Counts a value; only the histogram's writer may.
    #[inline]
    pub fn count(&self, value: u32) {
        // The power of two that it does not exceed.
        let power = u32::BITS - value.saturating_sub(1).leading_zeros();
        let bucket = (power.saturating_sub(LEAST) as usize).min(N - 1);
        self.buckets[bucket].add(1);
        self.sum.add(u64::from(value));
    }

    /// What was counted until now.
    pub fn get(&self) -> Distribution<LEAST, N> {
        Distribution { buckets: std::array::from_fn(|i| self.buckets[i].get()), sum: self.sum.get() }
    }
}

/// What a [`Histogram`] has counted, or several together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Distribution<const LEAST: u32, const N: usize> {
    /// How many values each bucket holds.
    pub buckets: [u64; N],
    /// All values together.
    pub sum: u64,
}

impl<const LEAST: u32, const N: usize> Default for Distribution<LEAST, N> {
    fn default() -> Self {
        Distribution { buckets: [0; N], sum: 0 }
    }
}

impl<const LEAST: u32, const N: usize> Distribution<LEAST, N> {
    /// The largest value that each bucket but the last holds.
    pub fn bounds() -> impl Iterator<Item = u64> {
        (0..N as u32 - 1).map(|i| 1 << (LEAST + i))
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Both together.
    pub fn plus(&self, other: &Self) -> Self {
        self.each(other, u64::wrapping_add)
    }

    /// What came since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        self.each(earlier, u64::saturating_sub)
    }

    fn each(&self, other: &Self, of: impl Fn(u64, u64) -> u64) -> Self {
        let buckets = std::array::from_fn(|i| of(self.buckets[i], other.buckets[i]));
        Distribution { buckets, sum: of(self.sum, other.sum) }
    }

    /// The value that this part of all does not exceed, as if those of a bucket lay evenly in it (PromQL's
    /// `histogram_quantile`); what is beyond the last bound counts as there. 0 if there were none.
    pub fn quantile(&self, part: f64) -> f64 {
        let wanted = part * self.count() as f64;
        let (mut below, mut least) = (0.0, 0.0);
        for (bound, &count) in Self::bounds().zip(&self.buckets) {
            let (bound, count) = (bound as f64, count as f64);
            if count > 0.0 && below + count >= wanted {
                return least + (bound - least) * ((wanted - below) / count).clamp(0.0, 1.0);
            }
            (below, least) = (below + count, bound);
        }
        if self.count() == 0 { 0.0 } else { least }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Four = Histogram<4, 4>;

    #[test]
    fn a_value_is_counted_in_the_first_bucket_that_holds_it_and_what_is_beyond_in_the_last() {
        let histogram = Four::default();
        [0, 1, 16, 17, 32, 33, 64, 65, u32::MAX].into_iter().for_each(|value| histogram.count(value));
        let counted = histogram.get();
        assert_eq!(Distribution::<4, 4>::bounds().collect::<Vec<_>>(), [16, 32, 64]);
        assert_eq!((counted.buckets, counted.count()), ([3, 2, 2, 2], 9));
        assert_eq!(counted.sum, 228 + u64::from(u32::MAX));
    }

    #[test]
    fn what_came_since_and_what_came_before_are_all_of_it() {
        let histogram = Four::default();
        histogram.count(20);
        let before = histogram.get();
        histogram.count(21);
        histogram.count(70);
        let since = histogram.get().since(&before);
        assert_eq!((since.buckets, since.sum), ([0, 1, 0, 1], 91));
        assert_eq!(since.plus(&before), histogram.get());
    }

    #[test]
    fn a_quantile_lies_within_its_bucket_as_prometheus_has_it() {
        let of = |buckets| Distribution::<4, 4> { buckets, sum: 0 };
        assert_eq!(of([0; 4]).quantile(0.5), 0.0);
        assert_eq!(of([4, 0, 0, 0]).quantile(0.5), 8.0);
        assert_eq!(of([2, 0, 2, 0]).quantile(0.5), 16.0);
        assert_eq!(of([2, 0, 2, 0]).quantile(0.75), 48.0);
        assert_eq!(of([1, 0, 0, 9]).quantile(0.99), 64.0, "beyond the last bound");
    }
}
