//! What the director runs short of: the log has when it begins, and when it is over. Pure, but for the log.

use super::report::Port;
use crate::dataplane::counters::Counters;
use crate::dataplane::verdict::DropReason;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A shortage is over when nothing was counted for so long.
const CALM: Duration = Duration::from_secs(10);

/// The shortages there may be.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    table: Shortage,
    receive: Shortage,
    transmit: Shortage,
}

impl Pressure {
    /// Looks at what was counted by now.
    pub(super) fn look(&mut self, workers: &[Arc<Counters>], port: Port, now: Instant) {
        let sum =
            |count: &dyn Fn(&Counters) -> u64| workers.iter().map(|counters| count(counters)).sum::<u64>();
        let refused = sum(&|counters| counters.dropped(DropReason::TableFull));
        let evicted = sum(&|counters| counters.evicted_half_open.get() + counters.evicted_closing.get());
        match self.table.count(refused + evicted, now) {
            Some(Turn::Begins) => tracing::warn!(
                refused,
                evicted,
                "the connection table is full: new connections are refused or end others (max_connections)"
            ),
            Some(Turn::Ends(count)) => tracing::info!(count, "the connection table has room again"),
            None => {}
        }
        match self.receive.count(port.rx_ring_full + port.rx_dropped, now) {
            Some(Turn::Begins) => {
                tracing::warn!(
                    "packets arrive faster than the director takes them, and are dropped before it"
                );
            }
            Some(Turn::Ends(count)) => tracing::info!(count, "the director takes all packets again"),
            None => {}
        }
        match self.transmit.count(port.tx_ring_full, now) {
            Some(Turn::Begins) => {
                tracing::warn!("an interface sends slower than it is given packets; some are dropped")
            }
            Some(Turn::Ends(count)) => tracing::info!(count, "interfaces send all packets again"),
            None => {}
        }
    }
}

/// Something that is counted while it is short.
#[derive(Debug, Default)]
struct Shortage {
    /// What it stood at.
    last: u64,
    /// Since it began.
    spell: Option<Spell>,
}

#[derive(Debug)]
struct Spell {
    before: u64,
    counted_at: Instant,
}

/// What has become of a shortage.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Begins,
    /// And so much was counted.
    Ends(u64),
}

impl Shortage {
    fn count(&mut self, now_at: u64, now: Instant) -> Option<Turn> {
        let before = std::mem::replace(&mut self.last, now_at);
        if now_at != before {
            match &mut self.spell {
                Some(spell) => spell.counted_at = now,
                None => {
                    self.spell = Some(Spell { before, counted_at: now });
                    return Some(Turn::Begins);
                }
            }
        }
        let is_over = |spell: &mut Spell| now.saturating_duration_since(spell.counted_at) >= CALM;
        self.spell.take_if(is_over).map(|spell| Turn::Ends(now_at - spell.before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_begins_once_and_is_over_after_ten_seconds_of_calm() {
        let begun = Instant::now();
        let mut shortage = Shortage::default();
        let mut count = |seconds, count| shortage.count(count, begun + Duration::from_secs(seconds));
        assert_eq!([count(0, 0), count(1, 0)], [None, None]);
        assert_eq!(
            [count(2, 5), count(3, 5), count(4, 9), count(13, 9)],
            [Some(Turn::Begins), None, None, None]
        );
        assert_eq!([count(14, 9), count(15, 9)], [Some(Turn::Ends(9)), None]);
        assert_eq!([count(16, 10), count(40, 10)], [Some(Turn::Begins), Some(Turn::Ends(1))]);
    }
}
