//! What is kept of FTP control connections beside their entries.
//!
//! Either direction may be seen by any worker, so it lies behind locks: one for each of [`SHARDS`] parts, held for a few
//! instructions. Only packets of watched connections come here. There is room for [`SHARDS`] * [`ROOM`] connections
//! that have announced data; memory is taken as they do.

use super::table::{Found, Table};
use crate::net::{FlowKey, Shift};
use hashbrown::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

const SHARDS: usize = 64;
const ROOM: usize = 1024;

/// Which connection: its slot, and the slot's generation.
type Number = (u32, u16);

/// What is kept of a control connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Control {
    /// How far the server's bytes are shifted on their way to the client.
    pub shift: Shift,
    /// The data connection announced last, or opened: while it lives, so does the control connection.
    pub data: Option<FlowKey>,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Controls(Box<[Mutex<HashMap<Number, Control>>]>);

impl Default for Controls {
    fn default() -> Controls {
        Controls((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl Controls {
    fn shard(&self, (slot, _): Number) -> MutexGuard<'_, HashMap<Number, Control>> {
        // Nobody panics while holding it; and what it holds is whole after every step.
        self.0[slot as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, number: Number) -> Option<Control> {
        self.shard(number).get(&number).copied()
    }

    fn change<T>(&self, number: Number, change: impl FnOnce(&mut Control) -> T) -> Option<T> {
        let mut shard = self.shard(number);
        if shard.len() >= ROOM && !shard.contains_key(&number) {
            return None;
        }
        Some(change(shard.entry(number).or_default()))
    }

    pub(super) fn forget(&self, number: Number) {
        self.shard(number).remove(&number);
    }
}

impl Found {
    fn number(&self) -> Number {
        (self.slot(), self.meta.generation())
    }

    /// What an expectation remembers its control connection by.
    pub fn token(&self) -> u64 {
        u64::from(self.meta.generation()) << 32 | u64::from(self.slot())
    }
}

impl Table {
    /// What is kept of a control connection; nothing if it has announced no data.
    pub fn control(&self, found: Found) -> Control {
        self.controls.get(found.number()).unwrap_or_default()
    }

    /// Changes what is kept of a control connection; `None` if there is no room for it.
    pub fn change_control<T>(&self, found: Found, change: impl FnOnce(&mut Control) -> T) -> Option<T> {
        self.controls.change(found.number(), change)
    }

    /// The data connection that was expected is there: the control connection of this [`Found::token`] goes by it.
    pub fn data_has_come(&self, token: u64, data: FlowKey) {
        let number = (token as u32, (token >> 32) as u16);
        if self.controls.get(number).is_some() {
            self.controls.change(number, |control| control.data = Some(data));
        }
    }

    /// Whether the data that the connection in `slot` has announced is on its way, or expected.
    pub(super) fn has_data(&self, slot: u32, generation: u16) -> bool {
        let data = self.controls.get((slot, generation)).and_then(|control| control.data);
        data.is_some_and(|data| self.search(self.hash(&data), &data).is_some())
    }
}
