//! The control socket, from outside: real clients at a real socket, with a desk behind it that has no packets.

#![cfg(all(feature = "control", unix))]
#![allow(clippy::unwrap_used, reason = "clippy does not take the functions that tests share for tests")]

mod bounds;
mod changes;
mod document;
mod drains;
mod ipvsadm;
#[path = "../judges/mod.rs"]
mod judges;
mod metrics;
mod office;
mod overview;
mod remote;
#[path = "../terminal/mod.rs"]
mod terminal;
mod top;
