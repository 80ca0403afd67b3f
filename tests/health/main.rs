//! Health checks of real servers: nginx, haproxy, a gRPC server; and of servers that refuse, hang, or are not there.
#![cfg(all(target_os = "linux", feature = "health"))]
#![allow(clippy::unwrap_used, reason = "clippy does not take the functions that tests share for tests")]

mod bed;
mod faults;
mod grpc;
mod hooks;
mod http;
mod tls;
