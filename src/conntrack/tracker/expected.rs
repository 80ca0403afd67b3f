//! Connections whose client's port is not known yet (IPVS: `IP_VS_CONN_F_NO_CPORT`): an entry under a key that no packet
//! has, until the client comes.

use super::{Chosen, Ended, Opened, Refused, Tracker};
use crate::conntrack::table::Table;
use crate::net::{FlowKey, Mark, TcpFlags, Tick};
use crate::service::RealId;
use std::sync::atomic::Ordering::Relaxed;

/// A connection that was expected, and whose client has come.
#[derive(Debug, Clone, Copy)]
pub struct Claimed {
    /// The server.
    pub real: RealId,
    /// What the one who expected it has left.
    pub token: u64,
    /// The expectation's end, to be counted.
    pub ended: Ended,
}

impl Tracker {
    /// Expects a connection like this one, whatever the client's port, to this server: for as long as LISTEN lasts.
    ///
    /// # Errors
    /// [`Refused::Full`]; nothing has changed then.
    pub fn expect(&mut self, key: &FlowKey, real: RealId, token: u64, now: Tick) -> Result<Opened, Refused> {
        let key = expectation(key);
        let hash = self.table.hash(&key);
        let opened = self.open(&key, hash, TcpFlags::default(), now, || {
            let chosen = Chosen {
                real,
                replies_pass: false,
                hop: token,
                template: None,
                is_watched: false,
                listens: true,
            };
            Some(chosen)
        })?;
        match opened {
            Opened::New(_) => {
                self.table.expected.fetch_add(1, Relaxed);
            }
            // The server has said it again.
            Opened::Already(found) => self.table.slab[found.slot() as usize].see(now),
        }
        Ok(opened)
    }

    /// Ends the expectation of a connection of this key, if there is one: what it said of it.
    pub fn claim(&mut self, key: &FlowKey) -> Option<Claimed> {
        let key = expectation(key);
        let found = self.table.search(self.table.hash(&key), &key)?;
        let token = self.table.hop(found);
        let ended = self.end(&found)?;
        Some(Claimed { real: ended.real, token, ended })
    }

    /// An expectation is no more.
    pub(super) fn expects_less(&self) {
        let _ = self.table.expected.fetch_update(Relaxed, Relaxed, |expected| expected.checked_sub(1));
    }
}

impl Table {
    /// Whether any connections are expected.
    #[inline]
    pub fn expects(&self) -> bool {
        self.expected.load(Relaxed) > 0
    }
}

/// The key by which connections of this one to the same server's port are expected, whoever of the client's they come
/// from.
pub fn expectation(key: &FlowKey) -> FlowKey {
    let client = crate::net::Endpoint::new(key.src().addr, 0);
    FlowKey::new(key.proto(), client, key.dst()).marked(Mark::Expected)
}
