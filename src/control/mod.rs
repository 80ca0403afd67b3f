//! Floor 5: the desired state, and the only writer of what workers read.

pub mod allowance;
#[cfg(all(feature = "control", unix))]
pub mod api;
pub mod cause;
#[cfg(all(feature = "control", unix))]
pub mod client;
pub mod connections;
#[cfg(all(feature = "xdp", target_os = "linux"))]
pub mod daemon;
pub mod desired;
pub mod desk;
mod diary;
pub mod drains;
pub mod gather;
pub mod health;
pub mod history;
#[cfg(target_os = "linux")]
pub mod kernel;
#[cfg(feature = "control")]
pub mod metrics;
mod pressure;
pub mod publish;
pub mod rates;
pub mod report;
pub mod rounds;
pub mod starts;
#[cfg(any(test, all(target_os = "linux", feature = "xdp")))]
mod steering;
pub mod view;
