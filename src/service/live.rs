//! A real server's live connection counts, kept as IPVS keeps them (`ActiveConn`, `InActConn`), and whether they
//! are more than it may have.

use super::Watch;
use super::watch::Seat;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

/// Whether a connection counts as active: TCP in ESTABLISHED, SYN_SENT, SYN_RECV or SYNACK. Everything else,
/// UDP always, is inactive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Counted in `ActiveConn`.
    Active,
    /// Counted in `InActConn`.
    Inactive,
}

/// When a server counts as overloaded (`ipvsadm -x` and `-y`), in connections, active and inactive together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Thresholds {
    /// With this many it is overloaded, and gets no new ones; 0 is never.
    pub upper: u32,
    /// With fewer than this it no longer is; 0 is three quarters of `upper`.
    pub lower: u32,
}

/// Connections of one real server, exact across workers: every change is one atomic operation, made when a
/// connection opens, changes its standing, or ends; never per packet.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Live {
    counts: AtomicU64,
    /// [`Thresholds`], the upper one in the upper half.
    thresholds: AtomicU64,
    seats: [Seat; SEATS],
    persistent: AtomicU64,
}

/// How many orders of a service's servers may be kept at a time.
pub const SEATS: usize = 2;

/// Both counts in one word, so that their sum and the flag always belong together:
/// active 31 bits | inactive 32 bits | overloaded 1 bit.
///
/// A connection's move may be counted by one worker a moment before its opening is by another. So each count has a
/// sign, and what is below zero shows as none, not as four billion. There are never 2^30 connections.
#[derive(Debug, Clone, Copy)]
struct Counts(u64);

const OVERLOADED: u64 = 1;

impl Counts {
    const fn one(standing: Standing) -> u64 {
        match standing {
            Standing::Active => 1 << 33,
            Standing::Inactive => 1 << 1,
        }
    }

    #[inline]
    fn both(self) -> (u32, u32) {
        let inactive = (self.0 >> 1) as i32;
        let active = (((self.0 as i64 >> 1) - inactive as i64) >> 32) as i32;
        (active.max(0) as u32, inactive.max(0) as u32)
    }

    fn sum(self) -> u64 {
        let (active, inactive) = self.both();
        active as u64 + inactive as u64
    }
}

impl Live {
    /// A connection with this standing was bound to the server.
    #[inline]
    pub fn opened(&self, standing: Standing) {
        let one = Counts::one(standing);
        match self.thresholds() {
            Thresholds { upper: 0, .. } => {
                self.counts.fetch_add(one, SeqCst);
            }
            Thresholds { upper, .. } => {
                self.change(one, |flag, sum| if sum >= upper as u64 { OVERLOADED } else { flag })
            }
        }
    }

    /// A connection with this standing ended.
    #[inline]
    pub fn closed(&self, standing: Standing) {
        let minus_one = Counts::one(standing).wrapping_neg();
        match self.thresholds() {
            Thresholds { upper: 0, .. } => {
                self.counts.fetch_add(minus_one, SeqCst);
            }
            limits => self.change(minus_one, |flag, sum| if limits.are_left(sum) { 0 } else { flag }),
        }
        self.tell();
    }

    /// A connection's standing changed from one to the other; nothing happens if they are the same.
    #[inline]
    pub fn moved(&self, from: Standing, to: Standing) {
        if from != to {
            self.counts.fetch_add(Counts::one(to).wrapping_sub(Counts::one(from)), SeqCst);
            if to == Standing::Inactive {
                self.tell();
            }
        }
    }

    /// A persistence template leads to the server. It is no connection: no scheduler and no threshold counts it.
    pub fn template_made(&self) {
        self.persistent.fetch_add(1, Relaxed);
    }

    /// A template leads to the server no more.
    pub fn template_gone(&self) {
        self.persistent.fetch_sub(1, Relaxed);
    }

    /// Persistence templates that lead to the server now (IPVS: `PersistConn`). As with connections, one that goes may
    /// be counted a moment before it has come.
    pub fn templates(&self) -> u32 {
        (self.persistent.load(Relaxed) as i64).max(0) as u32
    }

    /// Connections that the server has now, of either standing.
    pub fn connections(&self) -> u64 {
        u64::from(self.active()) + u64::from(self.inactive())
    }

    /// Whether anything in the connection table names the server.
    pub fn is_named(&self) -> bool {
        self.connections() > 0 || self.templates() > 0
    }

    /// Changes the counts, and sets the flag to what `flag` makes of it and of the new sum.
    #[cold]
    fn change(&self, by: u64, flag: impl Fn(u64, u64) -> u64) {
        let changed = |counts: u64| {
            let counts = counts.wrapping_add(by);
            Some(counts & !OVERLOADED | flag(counts & OVERLOADED, Counts(counts).sum()))
        };
        // It cannot fail: there always is a next value.
        let _ = self.counts.fetch_update(SeqCst, SeqCst, changed);
    }

    fn thresholds(&self) -> Thresholds {
        let both = self.thresholds.load(Relaxed);
        Thresholds { upper: (both >> 32) as u32, lower: both as u32 }
    }

    /// Sets when the server counts as overloaded. As with IPVS, an upper threshold that is raised or taken away ends
    /// the overload, and one that is lowered is noticed when the next connection opens.
    pub fn limit(&self, to: Thresholds) {
        let before = self.thresholds();
        if to == before {
            return;
        }
        self.thresholds.store((to.upper as u64) << 32 | to.lower as u64, SeqCst);
        if to.upper == 0 || to.upper > before.upper {
            self.counts.fetch_and(!OVERLOADED, SeqCst);
            self.tell();
        }
    }

    /// Whether the server has reached its upper threshold and not yet fallen below its lower one.
    #[inline]
    pub fn is_overloaded(&self) -> bool {
        // A worker that knew the threshold a moment longer may have set the flag after it was taken away.
        self.counts.load(SeqCst) & OVERLOADED != 0 && self.thresholds().upper > 0
    }

    /// From now on, when a load may have fallen, `watch` is told under this place, and whoever had the seat (below
    /// [`SEATS`]) is not. (A load that rises is not told: an order of servers notices that when it is about to pick
    /// one.)
    pub fn watched_by(&self, seat: usize, watch: &Watch, place: usize) {
        self.seats[seat].take(watch, place);
    }

    /// `watch` is told no longer.
    pub fn left_by(&self, seat: usize, watch: &Watch, place: usize) {
        self.seats[seat].leave(watch, place);
    }

    /// A load may have fallen.
    #[inline]
    fn tell(&self) {
        self.seats.iter().for_each(Seat::mark);
    }

    #[inline]
    fn both(&self) -> (u32, u32) {
        Counts(self.counts.load(SeqCst)).both()
    }

    /// Active connections now.
    #[inline]
    pub fn active(&self) -> u32 {
        self.both().0
    }

    /// Inactive connections now.
    #[inline]
    pub fn inactive(&self) -> u32 {
        self.both().1
    }

    /// The load that lc and wlc compare: an active connection weighs as much as 256 inactive ones
    /// (reference: IPVS's `ip_vs_dest_conn_overhead`).
    #[inline]
    pub fn overhead(&self) -> u64 {
        let (active, inactive) = self.both();
        ((active as u64) << 8) + inactive as u64
    }
}

impl Thresholds {
    /// Whether so few connections end an overload.
    fn are_left(self, sum: u64) -> bool {
        if self.lower > 0 { sum < self.lower as u64 } else { sum * 4 < self.upper as u64 * 3 }
    }
}

#[cfg(test)]
mod tests {
    use super::Standing::{Active, Inactive};
    use super::*;

    #[test]
    fn an_active_connection_weighs_as_much_as_256_inactive_ones() {
        let live = Live::default();
        live.opened(Inactive);
        assert_eq!(live.overhead(), 1);
        live.moved(Inactive, Active);
        assert_eq!((live.active(), live.inactive(), live.overhead()), (1, 0, 256));
        live.closed(Active);
        assert_eq!(live.overhead(), 0);
    }

    #[test]
    fn a_move_or_an_end_counted_before_its_opening_leaves_no_giant_load_behind() {
        let live = Live::default();
        live.moved(Active, Inactive);
        assert_eq!((live.active(), live.inactive(), live.overhead()), (0, 1, 1));
        live.opened(Active);
        assert_eq!((live.active(), live.inactive()), (0, 1));
        live.closed(Inactive);
        live.closed(Inactive);
        assert_eq!((live.active(), live.inactive(), live.is_overloaded()), (0, 0, false));
        live.opened(Active);
        live.opened(Inactive);
        assert_eq!((live.active(), live.inactive()), (1, 0));
    }

    #[test]
    fn templates_count_apart_from_connections() {
        let live = with(1, 0, 0);
        live.template_made();
        assert_eq!((live.templates(), live.active(), live.inactive(), live.overhead()), (1, 0, 0, 0));
        assert!(live.is_named() && !live.is_overloaded());
        live.template_gone();
        live.template_gone();
        assert_eq!(live.templates(), 0, "one went before it was seen to come");
        live.template_made();
        assert!(!live.is_named());
    }

    /// A server with these thresholds and `n` connections, opened one after the other.
    fn with(upper: u32, lower: u32, n: u32) -> Live {
        let live = Live::default();
        live.limit(Thresholds { upper, lower });
        (0..n).for_each(|i| live.opened(if i % 2 == 0 { Active } else { Inactive }));
        live
    }

    #[test]
    fn a_server_is_overloaded_from_its_upper_threshold_until_it_is_below_its_lower_one() {
        let live = with(4, 3, 3);
        assert!(!live.is_overloaded());
        live.opened(Active);
        assert!(live.is_overloaded());
        live.moved(Active, Inactive);
        live.closed(Inactive);
        assert!(live.is_overloaded(), "3 is not below 3");
        live.closed(Inactive);
        assert!(!live.is_overloaded());
        assert_eq!(live.active() + live.inactive(), 2);
    }

    #[test]
    fn without_a_lower_threshold_an_overload_ends_below_three_quarters_of_the_upper_one() {
        let live = with(8, 0, 8);
        live.closed(Active);
        live.closed(Active);
        assert!(live.is_overloaded(), "6 of 8");
        live.closed(Active);
        assert!(!live.is_overloaded(), "5 of 8");
    }

    #[test]
    fn a_raised_or_removed_threshold_ends_an_overload_and_a_lowered_one_waits_for_the_next_connection() {
        for upper in [0, 5] {
            let live = with(4, 1, 4);
            live.limit(Thresholds { upper, lower: 1 });
            assert!(!live.is_overloaded(), "{upper}");
        }
        let live = with(9, 0, 4);
        live.limit(Thresholds { upper: 2, lower: 0 });
        assert!(!live.is_overloaded());
        live.opened(Active);
        assert!(live.is_overloaded());
    }

    /// Workers open, move and end at random; whenever they pause, the flag is what the sum says, and the sum is right: set
    /// from the upper threshold on, clear below the lower one, and in between as it was last beyond either.
    #[test]
    fn the_flag_and_the_counts_are_exact_whenever_workers_pause() {
        const WORKERS: usize = 4;
        for (upper, lower) in [(40, 20), (40, 0), (1, 0), (40, 40)] {
            let live = with(upper, lower, 0);
            let left = |sum: u32| if lower > 0 { sum < lower } else { sum * 4 < upper * 3 };
            let mut own: [(Vec<Standing>, u64); WORKERS] =
                std::array::from_fn(|i| (Vec::new(), i as u64 + 1));
            for round in 0..200 {
                std::thread::scope(|scope| {
                    for (open, dice) in &mut own {
                        scope.spawn(|| {
                            for _ in 0..50 {
                                *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round);
                                match (*dice >> 33) % 5 {
                                    0 | 1 => {
                                        let standing = if *dice >> 40 & 1 == 0 { Active } else { Inactive };
                                        live.opened(standing);
                                        open.push(standing);
                                    }
                                    2 => open.last_mut().into_iter().for_each(|standing| {
                                        let to = if *standing == Active { Inactive } else { Active };
                                        live.moved(std::mem::replace(standing, to), to);
                                    }),
                                    _ => open.pop().into_iter().for_each(|standing| live.closed(standing)),
                                }
                            }
                        });
                    }
                });
                let all = own.iter().flat_map(|(open, _)| open);
                let active = all.clone().filter(|&&standing| standing == Active).count() as u32;
                let sum = all.count() as u32;
                assert_eq!((live.active(), live.inactive()), (active, sum - active), "round {round}");
                if sum >= upper {
                    // The last change may have been an end, which leaves the flag as it was: set on the way up.
                    assert!(live.is_overloaded(), "round {round}: {sum} of {upper}");
                }
                assert!(!(left(sum) && live.is_overloaded()), "round {round}: {sum} of {upper}");
            }
        }
    }

    #[test]
    fn the_flag_belongs_to_the_counts_whatever_order_workers_come_in() {
        let live = with(50, 20, 0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        (0..30).for_each(|_| live.opened(Active));
                        (0..30).for_each(|_| live.closed(Active));
                    }
                });
            }
        });
        assert_eq!((live.active(), live.is_overloaded()), (0, false));
    }
}
