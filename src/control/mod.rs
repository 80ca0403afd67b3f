//! Floor 5: the desired state, and the only writer of what workers read.

#[cfg(all(feature = "control", unix))]
pub mod api;
#[cfg(all(feature = "control", unix))]
pub mod client;
pub mod connections;
#[cfg(all(feature = "xdp", target_os = "linux"))]
pub mod daemon;
pub mod desired;
pub mod desk;
pub mod drains;
pub mod gather;
pub mod health;
pub mod history;
#[cfg(target_os = "linux")]
pub mod kernel;
pub mod publish;
pub mod rates;
pub mod report;
pub mod rounds;
pub mod starts;
#[cfg(any(test, all(target_os = "linux", feature = "xdp")))]
mod steering;
pub mod view;
