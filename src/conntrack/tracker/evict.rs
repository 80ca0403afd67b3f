//! Makes room in a full table, at the cost of a connection that never got beyond its opening, or else of one that is
//! closing. Nothing established is ever ended for another, nor is a connection that is closed on one side only and may
//! still carry data on the other; UDP, which says nothing of itself, counts as established. Templates stay, too.

use super::{Ended, Tracker};
use crate::conntrack::entry::Meta;
use crate::net::Tick;
use crate::service::State;

/// Slots looked at for one eviction, at most: some 3 microseconds.
const LOOKS: u32 = 256;

/// Of so many half-open connections, the one that was silent for the longest is ended: who opens one in earnest is seldom
/// among them.
const SAMPLE: u32 = 8;

/// A worker's clock hand.
#[derive(Debug)]
pub(super) struct Hand {
    /// The slot to be looked at next.
    at: u32,
    /// Looks since one was worth it.
    in_vain: u32,
    looked: Tick,
}

impl Hand {
    /// The hand of worker number `worker` of `workers`, each on a place of its own.
    pub(super) fn new(capacity: u32, worker: u32, workers: u32) -> Hand {
        let at = (capacity as u64 * worker as u64 / workers as u64) as u32;
        Hand { at, in_vain: 0, looked: Tick(0) }
    }
}

/// A connection that was ended for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evicted {
    /// What is no more.
    pub ended: Ended,
    /// Whether it was half-open, not closing.
    pub half_open: bool,
}

/// Of how little worth a connection is; `None` is of too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    HalfOpen,
    Closing,
}

/// A connection to be ended, as it was seen.
#[derive(Debug, Clone, Copy)]
struct Victim {
    slot: u32,
    meta: Meta,
    silence: u32,
}

impl Tracker {
    /// Makes room for one connection, if the table is full, by ending another: of the slots under the clock hand, a
    /// bounded number, a half-open connection or, without one, a closing one. `None` if there is room, or nothing to be
    /// ended.
    #[cold]
    pub fn make_room(&mut self, now: Tick) -> Option<Evicted> {
        if self.next_slot().is_some() {
            return None;
        }
        let (victim, worth) = self.look_for_victim(now)?;
        let place = self.place_of(victim.slot, victim.meta)?;
        // It may have been established since our look.
        self.table.slab.get(victim.slot as usize)?.end_as_seen(victim.meta)?;
        let ended = self.take_out_at(&place, victim.meta);
        // Not by way of the common stock, where another worker might take it.
        self.slots.push(victim.slot);
        Some(Evicted { ended, half_open: worth == Worth::HalfOpen })
    }

    /// Turns the hand until it has met enough, or far enough.
    fn look_for_victim(&mut self, now: Tick) -> Option<(Victim, Worth)> {
        let used = self.table.slots.unused();
        // After a round in vain, one slice in a tick: a flood of packets that are refused all the same is not to cost more.
        if used == 0 || (self.hand.in_vain >= used && self.hand.looked == now) {
            return None;
        }
        self.hand.looked = now;
        let (mut half_open, mut closing, mut met) = (None, None, 0);
        for _ in 0..LOOKS.min(used) {
            let slot = if self.hand.at < used { self.hand.at } else { 0 };
            self.hand.at = slot + 1;
            self.hand.in_vain = self.hand.in_vain.saturating_add(1);
            let Some((victim, worth)) = self.weigh(slot, now) else { continue };
            let best = if worth == Worth::HalfOpen { &mut half_open } else { &mut closing };
            if best.is_none_or(|best: Victim| victim.silence > best.silence) {
                *best = Some(victim);
            }
            met += u32::from(worth == Worth::HalfOpen);
            if met == SAMPLE {
                break;
            }
        }
        let found = half_open.map(|v| (v, Worth::HalfOpen)).or(closing.map(|v| (v, Worth::Closing)));
        if found.is_some() {
            self.hand.in_vain = 0;
        }
        found
    }

    /// The connection of a slot, if it may be ended for another.
    fn weigh(&self, slot: u32, now: Tick) -> Option<(Victim, Worth)> {
        let entry = self.table.slab.get(slot as usize)?;
        let meta = entry.meta();
        let silence = now.since(entry.seen());
        let worth = worth(meta, silence).filter(|_| meta.is_live() && !meta.is_template())?;
        Some((Victim { slot, meta, silence }, worth))
    }
}

fn worth(meta: Meta, silence: u32) -> Option<Worth> {
    match meta.state() {
        State::None | State::SynSent | State::SynRecv | State::SynAck => Some(Worth::HalfOpen),
        State::SctpNone | State::SctpInit1 | State::SctpInit | State::SctpCookieSent => Some(Worth::HalfOpen),
        State::SctpCookieReplied | State::SctpCookieWait => Some(Worth::HalfOpen),
        State::SctpCookie | State::SctpCookieEchoed => Some(Worth::HalfOpen),
        State::TimeWait | State::Close | State::LastAck => Some(Worth::Closing),
        State::SctpShutdownAckSent | State::SctpRejected | State::SctpClosed => Some(Worth::Closing),
        // The last state that is seen where replies pass elsewhere; but a client may still be listening.
        State::FinWait if meta.phase().is_input_only() && silence > Tick::PER_SECOND => Some(Worth::Closing),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Expiry, Found, Opened, Refused, Seed, Table};
    use super::super::Chosen;
    use super::*;
    use crate::net::{FlowKey, Proto, SctpEvent, TcpFlags};
    use crate::service::RealId;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

    const SYN: TcpFlags = TcpFlags::SYN;
    const ACK: TcpFlags = TcpFlags::ACK;
    const FIN: TcpFlags = TcpFlags(0x11);
    const RST: TcpFlags = TcpFlags::RST;
    const REAL: RealId = RealId(7);

    fn table(max: u32) -> Arc<Table> {
        let table = Table::new(max, Seed::new(1, 2)).unwrap();
        table.set_endpoint(REAL, "10.0.0.7:8080".parse().unwrap());
        Arc::new(table)
    }

    fn key(proto: Proto, i: u32) -> FlowKey {
        FlowKey::v4(proto, 0xc000_0200 + (i >> 16), 0x0a00_0064, i as u16, 80)
    }

    fn open(tracker: &mut Tracker, key: &FlowKey, flags: TcpFlags, nat: bool) -> Result<Found, Refused> {
        let hash = tracker.table().hash(key);
        let opened = tracker.open(key, hash, flags, Tick(0), || {
            Some(Chosen {
                real: REAL,
                replies_pass: nat,
                hop: 0,
                template: None,
                is_watched: false,
                listens: false,
            })
        });
        opened.map(|opened| match opened {
            Opened::New(found) | Opened::Already(found) => found,
        })
    }

    fn find(tracker: &Tracker, key: &FlowKey) -> Option<Found> {
        let hash = tracker.table().hash(key);
        tracker.table().find(tracker.table().glance(hash), hash, key)
    }

    /// Opens a connection and sends these flags after.
    fn walk(tracker: &mut Tracker, key: &FlowKey, nat: bool, flags: &[TcpFlags]) {
        assert!(open(tracker, key, flags[0], nat).is_ok());
        for &flags in &flags[1..] {
            let found = find(tracker, key).unwrap();
            tracker.table().touch(found, flags, Tick(0), &Expiry::default());
        }
    }

    #[test]
    fn a_full_table_gives_up_half_open_connections_then_closing_ones_and_no_other() {
        let data = SctpEvent::Data.as_flags();
        let all: [(Proto, bool, &[TcpFlags], Option<bool>); 10] = [
            (Proto::Tcp, true, &[SYN, ACK], None),
            (Proto::Tcp, true, &[SYN, ACK, FIN], None),
            (Proto::Udp, true, &[TcpFlags(0)], None),
            (Proto::Sctp, true, &[data], None),
            (Proto::Tcp, true, &[SYN], Some(true)),
            (Proto::Tcp, false, &[SYN], Some(true)),
            (Proto::Sctp, true, &[SctpEvent::Init.as_flags()], Some(true)),
            (Proto::Tcp, true, &[SYN, ACK, RST], Some(false)),
            (Proto::Tcp, false, &[SYN, ACK, FIN], Some(false)),
            (Proto::Sctp, true, &[data, SctpEvent::Abort.as_flags()], Some(false)),
        ];
        let mut tracker = Tracker::new(table(all.len() as u32), 0, 1);
        for (i, (proto, nat, flags, _)) in all.into_iter().enumerate() {
            assert_eq!(tracker.make_room(Tick(0)), None, "there is room");
            walk(&mut tracker, &key(proto, i as u32), nat, flags);
        }
        let later = Tick(2 * Tick::PER_SECOND);
        for step in 0..6 {
            let evicted = tracker.make_room(later).unwrap();
            assert_eq!((evicted.ended.real, evicted.half_open), (REAL, step < 3), "step {step}");
            assert_eq!(tracker.make_room(later), None, "there is room again");
            walk(&mut tracker, &key(Proto::Tcp, 100 + step), true, &[SYN, ACK]);
        }
        assert_eq!(tracker.make_room(later), None);
        assert!(matches!(open(&mut tracker, &key(Proto::Tcp, 200), SYN, true), Err(Refused::Full)));
        for (i, (proto, .., evicted)) in all.into_iter().enumerate() {
            assert_eq!(find(&tracker, &key(proto, i as u32)).is_none(), evicted.is_some(), "{i}");
        }
        tracker.settle();
        assert_eq!(tracker.table().references(), 2 * 10, "nothing is left of those that are gone");
    }

    #[test]
    fn of_a_few_the_longest_silent_is_ended() {
        let mut tracker = Tracker::new(table(8), 0, 1);
        (0..8).for_each(|i| walk(&mut tracker, &key(Proto::Tcp, i), true, &[SYN]));
        for i in [0, 1, 2, 4, 5, 6, 7] {
            let found = find(&tracker, &key(Proto::Tcp, i)).unwrap();
            tracker.table().touch(found, SYN, Tick(50), &Expiry::default());
        }
        assert!(tracker.make_room(Tick(60)).is_some());
        assert!(find(&tracker, &key(Proto::Tcp, 3)).is_none());
    }

    #[test]
    fn a_look_is_bounded_and_after_a_round_in_vain_there_is_one_in_a_tick() {
        let max = 10 * LOOKS;
        let mut tracker = Tracker::new(table(max), 0, 1);
        (0..max - 1).for_each(|i| walk(&mut tracker, &key(Proto::Tcp, i), true, &[SYN, ACK]));
        walk(&mut tracker, &key(Proto::Tcp, max), true, &[SYN]);
        let tries = (0..20).take_while(|_| tracker.make_room(Tick(5)).is_none()).count();
        assert!((1..=10).contains(&tries), "found in the round, not at once: {tries}");
        walk(&mut tracker, &key(Proto::Tcp, max + 1), true, &[SYN, ACK]);
        let mut ends = |tick: u32| {
            let before = tracker.hand.in_vain;
            assert_eq!(tracker.make_room(Tick(tick)), None);
            tracker.hand.in_vain - before
        };
        assert_eq!((0..10).map(|_| ends(6)).sum::<u32>(), max);
        assert_eq!((ends(6), ends(6), ends(7), ends(7)), (0, 0, LOOKS, 0));
    }

    /// Workers open more than the table holds, and establish what they have opened now and then: what was established
    /// stays, and what is counted by those who open and end agrees with the table.
    #[test]
    fn workers_that_evict_each_others_half_open_connections_count_each_once() {
        const MAX: u32 = 512;
        let table = table(MAX);
        let (balance, established) = (AtomicI64::new(0), AtomicI64::new(0));
        let work = |number: u32| {
            let mut tracker = Tracker::new(table.clone(), number, 2);
            let mut kept = Vec::new();
            for i in 0..60_000u32 {
                let key = key(Proto::Tcp, number << 16 | i);
                let mut opened = open(&mut tracker, &key, SYN, true);
                if matches!(opened, Err(Refused::Full)) {
                    if let Some(evicted) = tracker.make_room(Tick(0)) {
                        assert!(evicted.half_open);
                        balance.fetch_sub(1, Relaxed);
                    }
                    opened = open(&mut tracker, &key, SYN, true);
                }
                let Ok(found) = opened else { continue };
                balance.fetch_add(1, Relaxed);
                if i.is_multiple_of(400) {
                    use super::super::super::Touched;
                    let touched = tracker.table().touch(found, ACK, Tick(0), &Expiry::default());
                    if touched != Touched::Over {
                        established.fetch_add(1, Relaxed);
                        kept.push(key);
                    }
                }
                if i.is_multiple_of(64) {
                    tracker.settle();
                }
            }
            for key in kept {
                let found = find(&tracker, &key).map(|found| found.state());
                assert_eq!(found, Some(State::Established), "{key}");
            }
        };
        std::thread::scope(|scope| {
            let workers = [0, 1].map(|number| scope.spawn(move || work(number)));
            workers.into_iter().for_each(|worker| worker.join().unwrap());
        });
        let of_state = |state| table.connections().filter(|c| c.state == state).count() as i64;
        assert_eq!(table.connections().count() as i64, balance.into_inner());
        let established = established.into_inner();
        assert_eq!(of_state(State::Established), established);
        assert!(established > 200, "{established}");
        assert_eq!(table.references(), 2 * table.connections().count());
        assert_eq!(table.slots.left() + table.connections().count(), MAX as usize);
    }
}
