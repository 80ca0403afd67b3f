//! Floor 5: the desired state, and the only writer of what workers read.

#[cfg(all(feature = "xdp", target_os = "linux"))]
pub mod daemon;
pub mod desired;
pub mod gather;
#[cfg(target_os = "linux")]
pub mod kernel;
pub mod publish;
pub mod report;
