//! The director, end to end: the real binary between real clients and real servers, in network namespaces. Needs
//! root.
//!
//! Each test has a lab of its own, and two labs live at once at most: what a test waits for is bounded by seconds,
//! not by how busy the machine is.

#![cfg(all(feature = "xdp", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "clippy does not take the functions that tests share for tests")]

mod bed;
mod control;
mod drain;
mod errors;
mod fragments;
mod health;
#[path = "../judges/mod.rs"]
mod judges;
mod lifecycle;
mod limits;
mod log;
mod maintenance;
mod methods;
mod metrics;
mod modes;
mod network;
mod passive;
mod probes;
mod protocols;
mod reload;
mod sctp;
mod sessions;
mod slow_start;
mod start;
#[path = "../terminal/mod.rs"]
mod terminal;
mod top;
mod untouched;
