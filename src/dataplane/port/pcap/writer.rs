//! Writing a capture, so that equal packets give equal bytes: no clock, no host name, little endian everywhere.

use super::capture::{CaptureError, Cause, MAX_PACKET};
use crate::net::InterfaceId;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{DataLink, Endianness, PcapError, PcapResult, TsResolution};
use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// if_tsresol of nanoseconds.
const NANOSECONDS: u8 = 9;

/// Writes Ethernet frames to a capture: pcap if the file's name ends in `.pcap`, which cannot tell the
/// interfaces apart, and otherwise pcapng with a block for each interface.
///
/// The file appears under its name when [`CaptureWriter::finish`] succeeds; until then, and if that does not
/// happen, whatever had that name is untouched.
pub struct CaptureWriter {
    path: PathBuf,
    /// Where the bytes go meanwhile; `None` if they go straight to `path`, or have arrived there.
    draft: Option<PathBuf>,
    /// `None` once finished.
    out: Option<Format>,
    interfaces: usize,
}

enum Format {
    Pcap(PcapWriter<BufWriter<File>>),
    PcapNg(PcapNgWriter<BufWriter<File>>),
}

impl CaptureWriter {
    /// A capture of `interfaces` (their names, by [`InterfaceId`]) without packets yet.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create<N: AsRef<str>>(path: &Path, interfaces: &[N]) -> Result<CaptureWriter, CaptureError> {
        let failed = |error| CaptureError { path: path.to_owned(), packet: None, cause: Cause::Io(error) };
        // A device, a pipe or a link such as /dev/stdout is written to, not replaced.
        let replaceable = fs::symlink_metadata(path).map_or(true, |there| there.is_file());
        let draft = replaceable.then(|| draft_beside(path));
        let out = BufWriter::new(File::create(draft.as_deref().unwrap_or(path)).map_err(failed)?);
        let mut writer =
            CaptureWriter { path: path.to_owned(), draft, out: None, interfaces: interfaces.len() };
        let pcap = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("pcap"));
        let format = if pcap { begin_pcap(out) } else { begin_pcapng(out, interfaces) };
        writer.out = Some(format.map_err(|error| failed(io_error(error)))?);
        Ok(writer)
    }

    /// The file that this will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a frame, seen on `interface` at `time_ns` since 1970.
    ///
    /// # Errors
    /// The system cannot write, or the frame cannot be told in the format: too long, of an interface that was
    /// not announced, or (pcap) of a time beyond the year 2106.
    pub fn write(&mut self, interface: InterfaceId, time_ns: u64, frame: &[u8]) -> io::Result<()> {
        let refused = |what| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        if frame.len() > MAX_PACKET {
            return refused("a frame longer than any capture may hold");
        }
        if interface.index() >= self.interfaces {
            return refused("a frame of an interface that the capture does not describe");
        }
        let (timestamp, original_len) = (Duration::from_nanos(time_ns), frame.len() as u32);
        let written = match &mut self.out {
            Some(Format::Pcap(out)) => out.write_packet(&PcapPacket::new(timestamp, original_len, frame)),
            Some(Format::PcapNg(out)) => out.write_pcapng_block(EnhancedPacketBlock {
                interface_id: u32::from(interface.0),
                timestamp,
                original_len,
                data: Cow::Borrowed(frame),
                options: Vec::new(),
            }),
            None => return refused("a frame for a capture that is finished"),
        };
        written.map(drop).map_err(io_error)
    }

    /// Writes out what is left and gives the file its name.
    ///
    /// # Errors
    /// The system cannot write or rename.
    pub fn finish(mut self) -> Result<(), CaptureError> {
        let flushed = match self.out.take() {
            Some(Format::Pcap(out)) => out.into_writer().flush(),
            Some(Format::PcapNg(mut out)) => out.get_mut().flush(),
            None => Ok(()),
        };
        let written = flushed.and_then(|()| match &self.draft {
            Some(draft) => fs::rename(draft, &self.path),
            None => Ok(()),
        });
        match written {
            Ok(()) => {
                self.draft = None;
                Ok(())
            }
            Err(error) => {
                Err(CaptureError { path: self.path.clone(), packet: None, cause: Cause::Io(error) })
            }
        }
    }
}

impl fmt::Debug for CaptureWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureWriter").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for CaptureWriter {
    fn drop(&mut self) {
        if let Some(draft) = &self.draft {
            // Not finished: there is nobody to tell if the draft cannot be removed either.
            let _ = fs::remove_file(draft);
        }
    }
}

/// A name in the same directory, so that renaming does not cross file systems.
fn draft_beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

fn begin_pcap(out: BufWriter<File>) -> PcapResult<Format> {
    let header = PcapHeader {
        snaplen: MAX_PACKET as u32,
        datalink: DataLink::ETHERNET,
        ts_resolution: TsResolution::NanoSecond,
        endianness: Endianness::Little,
        ..PcapHeader::default()
    };
    PcapWriter::with_header(out, header).map(Format::Pcap)
}

fn begin_pcapng<N: AsRef<str>>(out: BufWriter<File>, interfaces: &[N]) -> PcapResult<Format> {
    let mut out = PcapNgWriter::with_endianness(out, Endianness::Little)?;
    for name in interfaces {
        // A snapshot length of 0 is no limit. The library writes nanoseconds, whatever the resolution says.
        let options = vec![
            InterfaceDescriptionOption::IfName(Cow::Borrowed(name.as_ref())),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        out.write_pcapng_block(InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: 0,
            options,
        })?;
    }
    Ok(Format::PcapNg(out))
}

fn io_error(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        refused => io::Error::new(io::ErrorKind::InvalidInput, refused.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Capture;
    use super::*;
    use pcap_file::pcap::PcapReader;
    use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
    use pcap_file::pcapng::{Block, PcapNgReader};

    const TIME: u64 = 1_700_000_000_123_456_789;
    const FRAMES: [(u16, u64, &[u8]); 3] = [(0, 0, b"one"), (1, 1, b"four"), (0, 10_000_000_000, b"")];

    fn write(path: &Path) -> Result<(), CaptureError> {
        let mut writer = CaptureWriter::create(path, &["eth0", "servers"])?;
        for (interface, later, frame) in FRAMES {
            writer.write(InterfaceId(interface), TIME + later, frame).unwrap();
        }
        writer.finish()
    }

    #[test]
    fn what_is_written_is_what_is_read_in_both_formats() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["out.pcapng", "out.pcap"] {
            let path = dir.path().join(name);
            write(&path).unwrap();
            let capture = Capture::read(&path).unwrap();
            let read: Vec<_> = capture.packets().iter().map(|p| (p.time_ns, capture.bytes(p))).collect();
            assert_eq!(read, FRAMES.map(|(_, later, frame)| (TIME + later, frame)), "{name}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no draft is left");
    }

    #[test]
    fn another_implementation_reads_the_interfaces_and_the_packets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.pcapng");
        write(&path).unwrap();
        let mut reader = PcapNgReader::new(File::open(&path).unwrap()).unwrap();
        let (mut names, mut packets) = (Vec::new(), Vec::new());
        while let Some(block) = reader.next_block() {
            match block.unwrap().into_owned() {
                Block::InterfaceDescription(interface) => {
                    assert!(interface.options.contains(&InterfaceDescriptionOption::IfTsResol(9)));
                    names.extend(interface.options.into_iter().filter_map(|option| match option {
                        InterfaceDescriptionOption::IfName(name) => Some(name.into_owned()),
                        _ => None,
                    }));
                }
                Block::EnhancedPacket(packet) => {
                    packets.push((
                        packet.interface_id as u16,
                        packet.timestamp.as_nanos(),
                        packet.data.into_owned(),
                    ));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(names, ["eth0", "servers"]);
        let written = FRAMES.map(|(id, later, frame)| (id, u128::from(TIME + later), frame.to_vec()));
        assert_eq!(packets, written);
    }

    #[test]
    fn another_implementation_reads_plain_pcap() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.PCAP");
        write(&path).unwrap();
        let mut reader = PcapReader::new(File::open(&path).unwrap()).unwrap();
        for (_, later, frame) in FRAMES {
            let packet = reader.next_packet().unwrap().unwrap();
            assert_eq!((packet.timestamp.as_nanos(), &packet.data[..]), (u128::from(TIME + later), frame));
        }
        assert!(reader.next_packet().is_none());
    }

    #[test]
    fn the_same_packets_give_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a.pcapng", "b.pcapng"].map(|name| dir.path().join(name));
        write(&a).unwrap();
        write(&b).unwrap();
        assert_eq!(fs::read(a).unwrap(), fs::read(b).unwrap());
    }

    #[test]
    fn a_writer_that_is_given_up_leaves_the_old_file_and_no_draft() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.pcap");
        fs::write(&path, "precious").unwrap();
        let mut writer = CaptureWriter::create(&path, &["eth0"]).unwrap();
        writer.write(InterfaceId(0), 0, b"frame").unwrap();
        drop(writer);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        write(Path::new("/dev/null")).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_link_is_written_through_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file.pcap"), dir.path().join("link.pcap"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(Capture::read(&file).unwrap().packets().len(), FRAMES.len());
    }

    #[test]
    fn what_the_format_cannot_tell_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = CaptureWriter::create(&dir.path().join("out.pcap"), &["eth0"]).unwrap();
        assert!(writer.write(InterfaceId(1), 0, b"frame").is_err(), "an interface that was not announced");
        assert!(writer.write(InterfaceId(0), u64::MAX, b"frame").is_err(), "the year 2554");
        assert!(writer.write(InterfaceId(0), 0, &vec![0; MAX_PACKET + 1]).is_err());
    }

    #[test]
    fn a_file_that_cannot_be_created_is_named() {
        let error = CaptureWriter::create(Path::new("/nowhere/out.pcap"), &["eth0"]).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/out.pcap: No such file"), "{error}");
    }
}
