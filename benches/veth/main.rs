//! `make bench-veth`: the director at work on veth pairs, `lvx run` as it is, against the kernel's own forwarding and
//! against the least that an AF_XDP program can do, turn and turn about on one and the same network. Needs root.
//!
//! ```text
//! veth [idle] [http] [flood]     those parts of the page, all if none is named; rows in target/bench-veth.json
//! ```
//!
//! Rows are those of `make bench`, with the time of a packet (`flood*`), of a request (`http_*`), of a datagram there
//! and back (`first_packet_*`) in `ns_per_packet`; `idle_core` has the processor's nanoseconds per second, and as its
//! ratio the whole core by that. A figure is never a failure; a packet astray or an unanswered request is.

#[cfg(all(feature = "xdp", target_os = "linux"))]
mod bare;
#[cfg(all(feature = "xdp", target_os = "linux"))]
mod bed;
#[cfg(all(feature = "xdp", target_os = "linux"))]
mod contest;
#[cfg(all(feature = "xdp", target_os = "linux"))]
mod flood;
#[cfg(all(feature = "xdp", target_os = "linux"))]
mod http;
#[cfg(all(feature = "xdp", target_os = "linux"))]
mod idle;
#[cfg(all(feature = "xdp", target_os = "linux"))]
#[path = "../ratios/page.rs"]
mod page;

#[cfg(all(feature = "xdp", target_os = "linux"))]
fn main() -> std::process::ExitCode {
    contest::main()
}

#[cfg(not(all(feature = "xdp", target_os = "linux")))]
fn main() {
    println!("this build has no AF_XDP (feature `xdp`, Linux only): nothing to measure");
}
