//! Floor 3: the packet's road. Frames come from a [`port`], pass the [`pipeline`] in batches, and go back with a
//! verdict each.
//!
//! The rooms above use the [`snapshot`], [`counters`], [`nexthop`], the worker's handle, the ports'
//! constructors and the [`probe`]s, nothing else.

pub mod affinity;
mod answer;
pub mod counters;
pub mod decision;
mod forward;
pub mod nexthop;
pub mod pipeline;
pub mod port;
pub mod probe;
mod related;
pub mod snapshot;
mod suspect;
pub mod verdict;
pub mod worker;
