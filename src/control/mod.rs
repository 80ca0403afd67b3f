//! Floor 5: the desired state, and the only writer of what workers read.

pub mod gather;
#[cfg(target_os = "linux")]
pub mod kernel;
pub mod publish;
pub mod report;
