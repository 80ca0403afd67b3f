//! One connection in the slab: a cache line of atomics, written by whoever opens it and read by anyone.
//!
//! ```text
//!  0  key, 40 bytes: the client's packet, CIP:cport > VIP:vport
//! 40  meta: phase 8 | flags 8 | generation 16 | real server 32
//! 48  seen, created: ticks
//! 56  hop: where replies go, as the pipeline noted it
//!     of a template: connections that it has led to its server and are alive 32 | timeout in ticks 32
//! ```
//!
//! A reader takes `meta`, then the key, then `meta` again: if the generation stood still, they belong together
//! (a sequence lock). Whoever ends a connection first wins `meta` by compare-and-swap.

use super::sctp;
use super::state::Phase;
use super::tracker::Chosen;
use crate::net::{Direction, FlowKey, Mark, SctpEvent, TcpFlags, Tick};
use crate::service::{RealId, Reuse, State};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};

/// `Meta` flag: the entry holds a connection whose packets need no look beside that at its state.
const LIVE: u8 = 1;
/// `Meta` flag: replies find the connection too.
const BOTH_WAYS: u8 = 2;
/// `Meta` flag, in place of [`LIVE`]: each of the connection's packets is looked at.
const WATCHED: u8 = 1 << 7;
/// `Meta` flag: the entry is a persistence template, which no packet finds.
const TEMPLATE: u8 = 1 << 6;
/// `Meta` flag: the connection is one of a template's, which the table notes beside the slab.
const LED: u8 = 1 << 5;
/// `Meta` flag: the entry is a connection whose client's port is not known yet, and which no packet finds.
const EXPECTED: u8 = 1 << 4;
/// `Meta` flags, together with [`WATCHED`]: the connection is condemned, and this end of it may be open yet.
const CLIENT_OPEN: u8 = 1 << 2;
const SERVER_OPEN: u8 = 1 << 3;

/// The word that decides: who serves the connection, its state, and which connection of this slot it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta(u64);

impl Meta {
    /// The bits that stay as they are for as long as a connection lives.
    const STEADY: u32 = ((LIVE | WATCHED) as u32) << 8 | 0xffff << 16;

    fn new(phase: Phase, flags: u8, generation: u16, real: RealId) -> Meta {
        Meta(phase.0 as u64 | (flags as u64) << 8 | (generation as u64) << 16 | (real.0 as u64) << 32)
    }

    /// Of no connection.
    pub(super) fn of_nobody(real: RealId) -> Meta {
        Meta::new(Phase::new(State::None, false), 0, 0, real)
    }

    #[inline]
    pub(super) fn state(self) -> State {
        self.phase().state()
    }

    /// The state, and whether a reply was seen.
    #[inline]
    pub(super) fn phase(self) -> Phase {
        Phase(self.0 as u8 & Phase::BITS)
    }

    #[inline]
    fn flags(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// Whether it is of a connection, or of a template.
    #[inline]
    pub(super) fn is_live(self) -> bool {
        self.flags() & (LIVE | WATCHED) != 0
    }

    /// Whether it is of a connection whose packets need no look beside that at its state.
    #[inline]
    fn is_plain(self) -> bool {
        self.flags() & LIVE != 0
    }

    /// Whether every packet is looked at.
    #[inline]
    pub(super) fn is_watched(self) -> bool {
        self.flags() & WATCHED != 0
    }

    #[inline]
    pub(super) fn is_template(self) -> bool {
        self.flags() & TEMPLATE != 0
    }

    pub(super) fn is_expectation(self) -> bool {
        self.flags() & EXPECTED != 0
    }

    /// Whether none of its packets goes on, and both ends are being reset.
    #[inline]
    pub(super) fn is_condemned(self) -> bool {
        self.flags() & (CLIENT_OPEN | SERVER_OPEN) != 0
    }

    /// Whether that end of a condemned connection may be open yet: whoever sends in this direction.
    pub(super) fn is_open(self, sender: Direction) -> bool {
        self.flags() & open(sender) != 0
    }

    /// The same connection, condemned.
    pub(super) fn condemned(self) -> Meta {
        let flags = self.flags() & !LIVE | WATCHED | CLIENT_OPEN | SERVER_OPEN;
        Meta::new(self.phase(), flags, self.generation(), self.real())
    }

    /// The same condemned connection, with this end closed.
    pub(super) fn closed_by(self, sender: Direction) -> Meta {
        Meta::new(self.phase(), self.flags() & !open(sender), self.generation(), self.real())
    }

    #[inline]
    pub(super) fn is_led(self) -> bool {
        self.flags() & LED != 0
    }

    /// Whether both ends are done with it, so that the client may use its port for a new connection.
    pub(super) fn is_closed(self, reuse: Reuse) -> bool {
        match self.state() {
            State::TimeWait | State::Close | State::SctpClosed => reuse != Reuse::Never,
            State::FinWait => reuse == Reuse::Finished && self.phase().is_input_only(),
            _ => false,
        }
    }

    /// Whether a client's packet with these flags asks for a new connection: a SYN, or of SCTP an INIT.
    pub(super) fn is_opened_by(self, flags: TcpFlags) -> bool {
        match sctp::is_ours(self.state()) {
            true => SctpEvent::of_flags(flags) == SctpEvent::Init,
            false => flags.has(TcpFlags::SYN) && !flags.has(TcpFlags::RST),
        }
    }

    #[inline]
    pub(super) fn is_both_ways(self) -> bool {
        self.flags() & BOTH_WAYS != 0
    }

    #[inline]
    pub(super) fn generation(self) -> u16 {
        (self.0 >> 16) as u16
    }

    #[inline]
    pub(super) fn real(self) -> RealId {
        RealId((self.0 >> 32) as u32)
    }

    /// The same connection in another phase.
    pub(super) fn moved_to(self, phase: Phase) -> Meta {
        Meta((self.0 & !0xff) | phase.0 as u64)
    }

    /// The same template, which leads to another server.
    pub(super) fn led_to(self, real: RealId) -> Meta {
        Meta(self.0 & u64::from(u32::MAX) | (real.0 as u64) << 32)
    }

    fn ended(self) -> Meta {
        Meta::new(Phase::new(State::None, false), 0, self.generation().wrapping_add(1), self.real())
    }
}

/// The flag of the end that sends in this direction.
fn open(sender: Direction) -> u8 {
    match sender {
        Direction::Original => CLIENT_OPEN,
        Direction::Reply => SERVER_OPEN,
    }
}

/// A slot of the slab.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Entry {
    words: [AtomicU64; 4],
    tail: AtomicU64,
    meta: AtomicU64,
    seen: AtomicU32,
    created: AtomicU32,
    hop: AtomicU64,
}

const _: () = assert!(size_of::<Entry>() == 64);

impl Entry {
    /// Puts a connection into a slot that the caller owns (taken from the free slots).
    pub(super) fn occupy(&self, key: &FlowKey, chosen: &Chosen, state: State, now: Tick) -> Meta {
        let old = Meta(self.meta.load(Relaxed));
        // The slot's last connection was ended with `meta` first: a reader that sees a word of the new key also
        // sees that.
        fence(Release);
        for (word, &value) in self.words.iter().zip(key.words()) {
            word.store(value, Relaxed);
        }
        self.tail.store(key.tail(), Relaxed);
        self.seen.store(now.0, Relaxed);
        self.created.store(now.0, Relaxed);
        self.hop.store(chosen.hop, Relaxed);
        let flags = if chosen.is_watched { WATCHED } else { LIVE }
            | if chosen.replies_pass { BOTH_WAYS } else { 0 }
            | if chosen.template.is_some() { LED } else { 0 }
            | match key.mark() {
                Mark::Packet => 0,
                Mark::Template | Mark::GroupTemplate => TEMPLATE,
                Mark::Expected => EXPECTED,
            };
        let phase = Phase::new(state, !chosen.replies_pass);
        let meta = Meta::new(phase, flags, old.generation().wrapping_add(1), chosen.real);
        self.meta.store(meta.0, Release);
        meta
    }

    /// Who serves the connection and its state, as of now.
    #[inline]
    pub(super) fn meta(&self) -> Meta {
        Meta(self.meta.load(Acquire))
    }

    /// Whether `meta` is of a connection that is not watched, and nobody has taken the slot over since it was read.
    #[inline]
    pub(super) fn still_plain(&self, meta: Meta) -> bool {
        self.unchanged(meta) && meta.is_plain()
    }

    /// Whether `meta` is of a connection or a template, and nobody has taken the slot over since it was read.
    #[inline]
    pub(super) fn still(&self, meta: Meta) -> bool {
        self.unchanged(meta) && meta.is_live()
    }

    #[inline(always)]
    fn unchanged(&self, meta: Meta) -> bool {
        fence(Acquire);
        let changed = self.meta.load(Relaxed) ^ meta.0;
        changed as u32 & Meta::STEADY == 0
    }

    /// Replaces `old` by `new`; gives what stands there now if another worker was quicker.
    #[inline]
    pub(super) fn exchange(&self, old: Meta, new: Meta) -> Result<(), Meta> {
        self.meta.compare_exchange(old.0, new.0, AcqRel, Acquire).map(drop).map_err(Meta)
    }

    /// Ends the connection that `meta` is of. The last state if it was this call that ended it; the slot is then
    /// the caller's to free.
    pub(super) fn end(&self, meta: Meta) -> Option<Meta> {
        let mut current = meta;
        loop {
            match self.exchange(current, current.ended()) {
                Ok(()) => return Some(current),
                Err(now) if now.is_live() && now.generation() == meta.generation() => current = now,
                Err(_) => return None,
            }
        }
    }

    /// Ends the connection if `meta` is still all that is to be said of it. `None` if it is not; otherwise the slot is
    /// the caller's.
    pub(super) fn end_as_seen(&self, meta: Meta) -> Option<()> {
        self.exchange(meta, meta.ended()).ok()
    }

    /// The key of the client's packets. Belongs to the `meta` read before only if [`Entry::still`] says so.
    pub(super) fn key(&self) -> Option<FlowKey> {
        FlowKey::from_words(std::array::from_fn(|i| self.words[i].load(Relaxed)), self.tail.load(Relaxed))
    }

    /// Whether the connection's client sends packets of this key.
    #[inline]
    pub(super) fn is_of(&self, key: &FlowKey) -> bool {
        let [w0, rest @ ..] = key.words();
        self.tail.load(Relaxed) == key.tail()
            && self.words[0].load(Relaxed) == *w0
            && (key.is_v4() || rest.iter().zip(&self.words[1..]).all(|(w, own)| own.load(Relaxed) == *w))
    }

    /// Whether a packet of this key goes to the connection's client (from whatever server).
    #[inline]
    pub(super) fn is_to_client_of(&self, key: &FlowKey) -> bool {
        let (own, tail) = (self.tail.load(Relaxed), key.tail());
        let [w0, _, w2, w3] = *key.words();
        own as u16 == tail as u16
            && (own >> 48) as u16 == (tail >> 32) as u16
            && if key.is_v4() {
                self.words[0].load(Relaxed) >> 32 == w0 & 0xffff_ffff
            } else {
                self.words[0].load(Relaxed) == w2 && self.words[1].load(Relaxed) == w3
            }
    }

    /// The port that the client addresses.
    pub(super) fn vport(&self) -> u16 {
        (self.tail.load(Relaxed) >> 32) as u16
    }

    /// When the last packet was seen.
    #[inline]
    pub(super) fn seen(&self) -> Tick {
        Tick(self.seen.load(Relaxed))
    }

    /// A packet was seen.
    #[inline]
    pub(super) fn see(&self, now: Tick) {
        self.seen.store(now.0, Relaxed);
    }

    /// When the connection was opened.
    pub(super) fn created(&self) -> Tick {
        Tick(self.created.load(Relaxed))
    }

    /// What the pipeline noted about the way to the client; 0 for nothing.
    #[inline]
    pub(super) fn hop(&self) -> u64 {
        self.hop.load(Relaxed)
    }

    /// Notes something about the way to the client.
    #[inline]
    pub(super) fn set_hop(&self, hop: u64) {
        self.hop.store(hop, Relaxed);
    }

    /// Of a template: how many ticks of silence it outlives.
    pub(super) fn lasts(&self) -> u32 {
        self.hop.load(Relaxed) as u32
    }

    /// Of a template: from now on it outlives so many ticks of silence.
    pub(super) fn last(&self, ticks: u32, now: Tick) {
        self.see(now);
        let changed = |hop: u64| Some(hop & !u64::from(u32::MAX) | u64::from(ticks));
        // It cannot fail: there always is a next value.
        let _ = self.hop.fetch_update(AcqRel, Relaxed, changed);
    }

    /// Of a template: how many connections that it has led are alive.
    pub(super) fn leads(&self) -> u32 {
        (self.hop.load(Acquire) >> 32) as u32
    }

    /// Of a template: one connection more.
    pub(super) fn lead(&self) {
        self.hop.fetch_add(1 << 32, AcqRel);
    }

    /// Of a template: one connection less.
    pub(super) fn release(&self) {
        let one_less = |hop: u64| hop.checked_sub(1 << 32);
        // It fails when there is none, and then there are no fewer.
        let _ = self.hop.fetch_update(AcqRel, Relaxed, one_less);
    }
}
