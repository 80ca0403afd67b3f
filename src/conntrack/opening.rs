//! How long servers take to answer. The entry says in which tick a connection was opened; beside the slab, two bytes
//! for each connection say when in it.
//!
//! ```text
//! client  SYN       opens the connection
//! server  SYN-ACK   is the answer, where replies pass here (NAT)
//! client  ACK       says that there was one, where they pass elsewhere: its own way there and back is in the time, too
//! ```
//!
//! A SYN that is sent again changes nothing: the client has waited since the first. Each connection is measured once, and
//! only if this is what comes next; one that goes on in the entry of another that has ended (`conn_reuse_mode` 0) is not.

use super::table::{Found, Table};
use crate::net::{Direction, Moment, TcpFlags};
use crate::service::State;
use std::sync::atomic::Ordering::Relaxed;

impl Table {
    /// Notes when the connection that was put into `slot` in this state was opened, if an answer is to come.
    #[inline]
    pub(super) fn note_opening(&self, slot: u32, state: State, now: Moment) {
        let note = if state == State::SynRecv { 1 + now.micros() } else { 0 };
        if let Some(opening) = self.openings.get(slot as usize) {
            opening.store(note, Relaxed);
        }
    }

    /// If a packet of these flags, which found the connection so, is the first to say that the server has answered: how
    /// many microseconds that took. To be asked when the packet has passed.
    #[inline]
    pub fn answered(&self, found: Found, flags: TcpFlags, now: Moment) -> Option<u32> {
        let (syn, ack) = (flags.has(TcpFlags::SYN), flags.has(TcpFlags::ACK));
        let is_from_client = found.direction() == Direction::Original;
        if found.state() != State::SynRecv || is_from_client && syn {
            return None;
        }
        let slot = found.slot() as usize;
        let (entry, opening) = (self.slab.get(slot)?, self.openings.get(slot)?);
        let opened = Moment::new(entry.created(), opening.swap(0, Relaxed).checked_sub(1)?);
        let ends = flags.has(TcpFlags::RST) || flags.has(TcpFlags::FIN);
        let is_answer = if is_from_client { found.meta.phase().is_input_only() } else { syn };
        (is_answer && ack && !ends && entry.still(found.meta)).then(|| now.micros_since(opened))
    }
}
