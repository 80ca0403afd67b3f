//! Packets from captures and into captures: pcap and pcapng.
//!
//! A [`Capture`] is one file in memory. [`merge`] makes one [`Tape`] of several, in the order of time, each with
//! the interface that it stands for. A [`PcapPort`] plays the tape to the pipeline, and a [`CaptureWriter`]
//! writes what comes out.
//!
//! The formats are read by our own code: pcap-file 2.0 refuses packets whose original length exceeds the
//! snapshot length, which every capture with a short snapshot has, and pcapng interfaces with a time zone. It is
//! the second opinion in the tests.

mod capture;
mod pcapng;
mod tape;
mod writer;

pub use capture::{Capture, CaptureError, Cause, LinkType, MAX_PACKET, Packet};
pub use tape::{PcapPort, Tape, merge};
pub use writer::CaptureWriter;
