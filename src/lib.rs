//! lvx: a Linux Virtual Server director that lives wholly in userspace.
//!
//! The rooms stand on floors; a room imports only from floors below its own (`tests/floors.rs` holds the table).
//!
//! | floor | room | what it is |
//! |---|---|---|
//! | 0 | [`net`] | the vocabulary: addresses, endpoints, flow keys, ticks |
//! | 1 | [`wire`] | bytes: parse, check, rewrite, encapsulate |
//! | 1 | [`service`] | nouns: virtual services and real servers |
//! | 2 | [`sched`] | judgement: which server gets a new connection |
//! | 2 | [`conntrack`] | memory: the connection table, its states and timeouts |
//! | 3 | [`dataplane`] | the packet's road, from a port through the pipeline and back |
//! | 4 | [`config`] | what the operator wrote, typed and checked |
//! | 4 | `health` | whether servers are well: checkers, and how soon they are believed |
//! | 5 | [`control`] | the desired state, and the only writer of what workers read |
//! | 5 | [`lab`] | namespaces and veth pairs: topologies to try it in |
//! | 6 | [`cli`] | the commands |

pub mod cli;
pub mod config;
pub mod conntrack;
pub mod control;
pub mod dataplane;
#[cfg(all(feature = "health", target_os = "linux"))]
pub mod health;
#[cfg(target_os = "linux")]
pub mod lab;
pub mod net;
pub mod sched;
pub mod service;
pub mod wire;
