//! Floor 2: memory: which connection a packet belongs to, in which state it is, and when it is forgotten.
//!
//! One table serves all workers. Looking up takes no lock and writes nothing shared; opening and ending a
//! connection takes the lock of one bucket for each direction. Nothing in the table is a pointer: connections name
//! servers by [`RealId`](crate::service::RealId), buckets name connections by number.
//!
//! ```text
//! key --hash--> bucket: 8 x (tag, reference) --reference--> slab: 64 bytes a connection
//!                                    a NAT connection is referred to twice: by its packets' two directions
//! ```

mod bucket;
mod condemned;
mod control;
pub mod datagrams;
mod entry;
mod expiry;
mod hash;
mod lanes;
mod memory;
mod opening;
mod sctp;
mod state;
mod stock;
mod table;
mod tcp;
mod tracker;

pub use crate::service::State;
pub use bucket::Reference;
pub use condemned::Condemned;
pub use control::Control;
pub use expiry::Expiry;
pub use hash::{FlowHash, Seed};
pub use memory::prefetch;
pub use table::{Connection, Found, Leading, Lookup, Table, Touched};
pub use tracker::{
    Chosen, Claimed, Ended, Evicted, Followed, Lead, Opened, Refused, Template, Tracker, expectation,
};
