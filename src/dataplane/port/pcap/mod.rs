//! Packets from captures and into captures: pcap and pcapng.
//!
//! A [`Capture`] is one file in memory. [`merge`] makes one [`Tape`] of several, in the order of time, each with
//! the interface that it stands for. A [`PcapPort`] plays the tape to the pipeline, and a [`CaptureWriter`]
//! writes what comes out.
//!
//! pcap-file writes. Reading is our own code, since neither library does: pcap-file 2.0 refuses packets whose
//! original length exceeds the snapshot length, which every capture with a short snapshot has, and pcapng
//! interfaces with a time zone; pcap-parser 0.17 knows no binary time resolution, takes every time offset for
//! little endian, and cannot tell a corrupt length from a file that was cut.

mod capture;
mod pcapng;
mod tape;
mod writer;

pub use capture::{Capture, CaptureError, Cause, LinkType, MAX_PACKET, Packet};
pub use tape::{PcapPort, Tape, merge};
pub use writer::CaptureWriter;
