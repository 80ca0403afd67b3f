//! A real server's live connection counts, kept as IPVS keeps them (`ActiveConn`, `InActConn`).

use super::Watch;
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed, Ordering::SeqCst};

/// Whether a connection counts as active: TCP in ESTABLISHED, SYN_SENT, SYN_RECV or SYNACK. Everything else,
/// UDP always, is inactive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Counted in `ActiveConn`.
    Active,
    /// Counted in `InActConn`.
    Inactive,
}

/// Connections of one real server, exact across workers: every change is one atomic addition, made when a
/// connection opens, changes its standing, or ends; never per packet.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Live {
    active: AtomicU32,
    inactive: AtomicU32,
    is_watched: AtomicBool,
    seat: ArcSwapOption<Seat>,
}

/// Whom to tell of a change, and under which number.
#[derive(Debug)]
struct Seat {
    watch: Arc<Watch>,
    place: u32,
}

impl Live {
    fn count(&self, standing: Standing) -> &AtomicU32 {
        match standing {
            Standing::Active => &self.active,
            Standing::Inactive => &self.inactive,
        }
    }

    /// A connection with this standing was bound to the server.
    #[inline]
    pub fn opened(&self, standing: Standing) {
        self.count(standing).fetch_add(1, SeqCst);
        self.tell();
    }

    /// A connection with this standing ended.
    #[inline]
    pub fn closed(&self, standing: Standing) {
        self.count(standing).fetch_sub(1, SeqCst);
        self.tell();
    }

    /// From now on changes are told to `watch` under this place, and to nobody else.
    pub fn watched_by(&self, watch: &Arc<Watch>, place: u32) {
        self.seat.store(Some(Arc::new(Seat { watch: watch.clone(), place })));
        self.is_watched.store(true, SeqCst);
    }

    #[inline]
    fn tell(&self) {
        if self.is_watched.load(Relaxed) {
            self.tell_watch();
        }
    }

    fn tell_watch(&self) {
        if let Some(seat) = &*self.seat.load() {
            seat.watch.mark(seat.place);
        }
    }

    /// A connection's standing changed from one to the other; nothing happens if they are the same.
    #[inline]
    pub fn moved(&self, from: Standing, to: Standing) {
        if from != to {
            self.count(from).fetch_sub(1, SeqCst);
            self.opened(to);
        }
    }

    /// Active connections now.
    #[inline]
    pub fn active(&self) -> u32 {
        not_below_zero(&self.active)
    }

    /// Inactive connections now.
    #[inline]
    pub fn inactive(&self) -> u32 {
        not_below_zero(&self.inactive)
    }

    /// The load that lc and wlc compare: an active connection weighs as much as 256 inactive ones
    /// (reference: IPVS's `ip_vs_dest_conn_overhead`).
    #[inline]
    pub fn overhead(&self) -> u64 {
        ((self.active() as u64) << 8) + self.inactive() as u64
    }
}

/// A connection's move may be counted by one worker a moment before its opening is by another: what is then below
/// zero is none, and not four billion. There are never 2^31 connections.
#[inline]
fn not_below_zero(count: &AtomicU32) -> u32 {
    (count.load(SeqCst) as i32).max(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_active_connection_weighs_as_much_as_256_inactive_ones() {
        let live = Live::default();
        live.opened(Standing::Inactive);
        assert_eq!(live.overhead(), 1);
        live.moved(Standing::Inactive, Standing::Active);
        assert_eq!((live.active(), live.inactive(), live.overhead()), (1, 0, 256));
        live.closed(Standing::Active);
        assert_eq!(live.overhead(), 0);
    }

    #[test]
    fn a_move_counted_before_its_opening_leaves_no_giant_load_behind() {
        let live = Live::default();
        live.moved(Standing::Active, Standing::Inactive);
        assert_eq!((live.active(), live.inactive(), live.overhead()), (0, 1, 1));
        live.opened(Standing::Active);
        assert_eq!((live.active(), live.inactive()), (0, 1));
    }
}
