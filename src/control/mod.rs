//! Floor 5: the desired state, and the only writer of what workers read.

pub mod publish;
pub mod report;
