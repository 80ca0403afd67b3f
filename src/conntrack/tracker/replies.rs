//! Where replies find a new connection: put into the table a few connections later.
//!
//! The bucket that a reply's key leads to is not in the cache when a connection opens, and waiting for it would take
//! longer than all the rest. So it is asked for, and the reference put in when it has come: when [`MOST`] wait, or when
//! [`Tracker::settle`] says that somebody may look for them. Until then a reference must not be missed: whoever decides
//! that there is no connection asks [`Tracker::find_for_certain`] or [`Tracker::find_fresh`].

use super::Tracker;
use crate::conntrack::bucket::Reference;
use crate::conntrack::entry::Meta;
use crate::conntrack::hash::FlowHash;
use crate::conntrack::table::Found;
use crate::net::FlowKey;
use arrayvec::ArrayVec;

/// References put off, at most. Half of them go in then: those whose buckets were asked for long enough ago.
pub(super) const MOST: usize = 16;

/// A reference to be put in, if the slot still holds the connection by then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reply {
    pub(super) hash: FlowHash,
    pub(super) slot: u32,
    pub(super) meta: Meta,
}

/// References put off, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Replies {
    put_off: ArrayVec<Reply, MOST>,
    /// A bit for each tag among them, of 64: most packets are of none of these connections.
    tags: u64,
}

impl Replies {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.put_off.len()
    }

    #[inline]
    fn push(&mut self, reply: Reply) {
        self.tags |= bit(reply.hash);
        self.put_off.push(reply);
    }

    #[inline]
    fn holds(&self, hash: FlowHash) -> bool {
        self.tags & bit(hash) != 0 && self.put_off.iter().any(|reply| reply.hash == hash)
    }

    fn forget(&mut self, oldest: usize) {
        self.put_off.drain(..oldest);
        self.tags = self.put_off.iter().fold(0, |tags, reply| tags | bit(reply.hash));
    }
}

#[inline]
fn bit(hash: FlowHash) -> u64 {
    1 << (hash.tag & 63)
}

impl Tracker {
    /// From here on every worker finds the replies of every connection opened: to be called before the packets that
    /// opened them leave.
    #[inline]
    pub fn settle(&mut self) {
        if self.is_fresh {
            self.settle_replies();
            self.is_fresh = false;
        }
    }

    /// The connection of a packet, with no other worker opening it at the same time: what a miss is decided on.
    pub fn find_for_certain(&mut self, hash: FlowHash, key: &FlowKey) -> Option<Found> {
        self.settle_before(hash);
        let chain = self.table.chain(hash).lock();
        self.table.find_in(&chain, hash, key)
    }

    /// The connection of a reply that may follow its request so closely that [`Tracker::settle`] came not between
    /// (as the two may in a capture).
    #[inline]
    pub fn find_fresh(&mut self, hash: FlowHash, key: &FlowKey) -> Option<Found> {
        if !self.is_fresh {
            return None;
        }
        self.settle_before(hash);
        self.table.search(hash, key)
    }

    /// Puts in what a packet of this hash might be looking for.
    #[inline]
    pub(super) fn settle_before(&mut self, hash: FlowHash) {
        if self.replies.holds(hash) {
            self.settle_replies();
        }
    }

    #[cold]
    pub(super) fn settle_replies(&mut self) {
        self.settle_oldest(MOST);
    }

    fn settle_oldest(&mut self, most: usize) {
        let count = self.replies.len().min(most);
        for at in 0..count {
            let reply = self.replies.put_off[at];
            let put = self.refer(&reply);
            debug_assert!(put, "a spare bucket is kept for each");
        }
        self.replies.forget(count);
    }

    /// Lets replies find the connection, now or (if it `may_put_off`) later; `false` if no bucket has room.
    ///
    /// Two connections of one client port to one server (through two virtual services) have the same replies, which go to
    /// one of them, as with IPVS; when it ends, to the other.
    #[inline]
    pub(super) fn expect_replies(&mut self, key: &FlowKey, found: Found, may_put_off: bool) -> bool {
        self.is_fresh = true;
        let Some(hash) = self.table.reply_hash(key, found.real()) else { return false };
        let reply = Reply { hash, slot: found.slot(), meta: found.meta };
        if !may_put_off {
            return self.refer(&reply);
        }
        self.table.prefetch(hash);
        self.replies.push(reply);
        if self.replies.len() == MOST {
            self.settle_oldest(MOST / 2);
        }
        true
    }

    /// Puts a reply's reference in beside whatever is there, unless its connection has ended: whoever ends it, and takes
    /// the reference out, needs the lock after he has ended it, and so comes before us and is seen, or after us and
    /// finds it. `false` if no bucket has room.
    #[inline]
    fn refer(&mut self, reply: &Reply) -> bool {
        let &Reply { hash, slot, meta } = reply;
        let mut chain = self.table.chain(hash).lock();
        let is_over = !self.table.slab.get(slot as usize).is_some_and(|entry| entry.still(meta));
        is_over || chain.put(hash.tag, Reference::new(slot, true), || self.spares.pop())
    }
}
