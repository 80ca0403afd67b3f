//! Floor 3: the packet's road. Frames come from a [`port`], pass the pipeline in batches, and go back with a
//! verdict each.

pub mod nexthop;
pub mod port;
pub mod verdict;
