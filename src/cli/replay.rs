//! `lvx replay`: the director's pipeline over captures. Asks nothing of the live system, and needs no privilege.

mod play;
mod report;

use crate::config::{self, Config, ConfigErrors};
use crate::dataplane::port::Frame;
use crate::dataplane::port::pcap::{Capture, CaptureError, CaptureWriter, PcapPort, Tape, merge};
use crate::dataplane::verdict::Verdict;
use crate::net::{InterfaceId, Mac};
use crate::wire::ETHERNET;
use crate::wire::checksum::complete_partial_of;
use crate::wire::parse::parse;
use clap::Args;
use play::Director;
use report::{Input, Replayed, Timing};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use std::{fmt, io};

/// Play captures through the director: what it would have sent, dropped and left to the host
///
/// Time is the packets' own. Interfaces, routes and neighbours are those of the configuration, in which every
/// interface has its `mac`. The same captures and configuration give the same output, byte by byte, with any
/// number of workers.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The configuration file
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// A capture (pcap or pcapng; Ethernet, raw IP or Linux cooked), and the interface whose incoming packets
    /// it holds
    ///
    /// May be given several times; the packets are merged by time. The name can be left out if the configuration
    /// has one interface; a single input without a name comes in on the first.
    #[arg(long, value_name = "[IFACE=]FILE", required = true)]
    input: Vec<String>,
    /// Where the forwarded frames go: pcapng that tells their egress interfaces, or pcap if the name ends in
    /// `.pcap`. A frame has the time of the packet that it was
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where the frames go that the kernel would get, likewise, with their ingress interfaces
    #[arg(long, value_name = "FILE")]
    host_output: Option<PathBuf>,
    /// Report in JSON
    #[arg(long)]
    json: bool,
    /// Play the captures so many times, one after the other over the same connections, to measure
    ///
    /// Output and counts are those of the first time. The time per packet is the median of the others.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    repeat: u32,
    /// How many workers take batches in turn [default: the configuration's, or 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
}

/// Why there was nothing to report.
#[derive(Debug)]
enum Error {
    Config(ConfigErrors),
    Capture(CaptureError),
    /// Both outputs are to be this file.
    OneOutput(PathBuf),
    /// The input as given, and what is wrong with it.
    Input(String, String),
    /// What was tried.
    Io(String, io::Error),
    Services(crate::control::publish::TooManyServers),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Config(errors) => errors.fmt(f),
            Error::Capture(error) => error.fmt(f),
            Error::OneOutput(path) => {
                write!(
                    f,
                    "--output and --host-output are both {}; they are captures of their own",
                    path.display()
                )
            }
            Error::Input(input, wrong) => write!(f, "--input {input}: {wrong}"),
            Error::Io(tried, error) => write!(f, "{tried}: {error}"),
            Error::Services(error) => error.fmt(f),
        }
    }
}

impl From<CaptureError> for Error {
    fn from(error: CaptureError) -> Error {
        Error::Capture(error)
    }
}

/// Runs `lvx replay`.
pub fn run(args: &ReplayArgs) -> ExitCode {
    let replayed = match replay(args) {
        Ok(replayed) => replayed,
        Err(error) => {
            eprintln!("lvx replay: {error}");
            return ExitCode::FAILURE;
        }
    };
    for input in replayed.inputs.iter().filter(|input| input.truncated) {
        eprintln!("lvx replay: {}: ends within a packet, which is left out", input.file);
    }
    if args.json { replayed.print_json() } else { replayed.print_table() }
}

fn replay(args: &ReplayArgs) -> Result<Replayed, Error> {
    if let Some(path) = args.output.as_ref().filter(|path| args.host_output.as_ref() == Some(path)) {
        return Err(Error::OneOutput(path.clone()));
    }
    let config = config::read(&args.config).map_err(Error::Config)?;
    let name = args.config.display().to_string();
    let rib = config.rib().map_err(|errors| Error::Config(errors.in_file(&name)))?;
    let (tape, inputs) = read_inputs(&args.input, &config)?;
    let workers = args.workers.or(config.director.workers).unwrap_or(1);
    let macs: Vec<Mac> = rib.links.iter().map(|link| link.mac).collect();
    let mut director = Director::new(&config, &rib, workers, partial_checksums(&tape, &macs))?;

    let recording = RefCell::new(Some(Recording::start(args, &config)?));
    let sink = |index: usize, frame: &Frame<'_>| match &mut *recording.borrow_mut() {
        Some(recording) => recording.take(tape.time_ns(index), frame),
        None => Ok(()),
    };
    let mut port = PcapPort::new(&tape, &macs, sink);
    let first = director.play(&mut port, Duration::ZERO)?;
    if let Some(recording) = recording.take() {
        recording.finish()?;
    }
    let report = director.report();

    let length = tape_length(&tape);
    port.lend_whole_ticks();
    let later = (1..args.repeat).map(|pass| director.play(&mut port, length * pass));
    let later = later.collect::<Result<Vec<_>, _>>()?;
    let timing = Timing::new(tape.len(), first, &later);
    Ok(Replayed { bytes_per_connection: report.connections.bytes_each, report, timing, inputs })
}

/// The interfaces on which a packet came in whose checksum a network card was to complete, as in a capture taken
/// where packets are sent. On the others there is nothing to complete, and so the pipeline need not look.
fn partial_checksums(tape: &Tape, macs: &[Mac]) -> Vec<bool> {
    let mut partial = vec![false; macs.len()];
    for index in 0..tape.len() {
        let ingress = tape.ingress(index).index();
        if partial[ingress] {
            continue;
        }
        let (header, payload) = tape.frame(index, |_| macs[ingress]);
        let mut frame = [header.as_ref().map_or(&[][..], |made_up| made_up), payload].concat();
        let Ok(packet) = parse(&frame) else { continue };
        frame.truncate(ETHERNET + usize::from(packet.ip_len));
        let before = frame.clone();
        // A whole checksum may look partial; completing it changes nothing.
        partial[ingress] = complete_partial_of(&mut frame, packet.l4.into(), &packet.key) && frame != before;
    }
    partial
}

/// How much later the tape begins when it is played again: as soon as it has ended.
fn tape_length(tape: &Tape) -> Duration {
    match tape.len() {
        0 => Duration::ZERO,
        packets => {
            Duration::from_nanos(tape.time_ns(packets - 1) - tape.time_ns(0)) + Duration::from_millis(10)
        }
    }
}

fn read_inputs(given: &[String], config: &Config) -> Result<(Tape, Vec<Input>), Error> {
    let (mut captures, mut inputs) = (Vec::new(), Vec::new());
    for input in given {
        let (interface, path) = interface_of(input, given.len(), config)?;
        let capture = Capture::read(&path)?;
        inputs.push(Input {
            file: path.display().to_string(),
            interface: config.interfaces[interface.index()].name.clone(),
            packets: capture.packets().len(),
            truncated: capture.truncated(),
        });
        captures.push((interface, capture));
    }
    Ok((merge(captures), inputs))
}

/// The interface that an input is of, and its file. What stands before `=` is an interface, or `=` is part of the
/// file's name.
fn interface_of(input: &str, inputs: usize, config: &Config) -> Result<(InterfaceId, PathBuf), Error> {
    let named = |name| config.interfaces.iter().position(|interface| interface.name == name);
    let wrong = |wrong: String| {
        let names: Vec<&str> = config.interfaces.iter().map(|interface| interface.name.as_str()).collect();
        Err(Error::Input(input.to_owned(), format!("{wrong} (allowed: {})", names.join(", "))))
    };
    if let Some((name, path)) = input.split_once('=') {
        if let Some(index) = named(name) {
            return Ok((InterfaceId(index as u16), PathBuf::from(path)));
        }
        if !Path::new(input).exists() {
            return wrong(format!("interface {name:?} is unknown"));
        }
    }
    if inputs > 1 && config.interfaces.len() > 1 {
        return wrong("say which interface it is of, as in IFACE=FILE".to_owned());
    }
    Ok((InterfaceId(0), PathBuf::from(input)))
}

/// The captures that are being written.
struct Recording {
    sent: Option<CaptureWriter>,
    to_host: Option<CaptureWriter>,
}

impl Recording {
    fn start(args: &ReplayArgs, config: &Config) -> Result<Recording, CaptureError> {
        let names: Vec<&str> = config.interfaces.iter().map(|interface| interface.name.as_str()).collect();
        let create = |path: &Option<PathBuf>| {
            path.as_deref().map(|path| CaptureWriter::create(path, &names)).transpose()
        };
        Ok(Recording { sent: create(&args.output)?, to_host: create(&args.host_output)? })
    }

    fn take(&mut self, time_ns: u64, frame: &Frame<'_>) -> io::Result<()> {
        let (writer, interface) = match (frame.verdict, &mut self.sent, &mut self.to_host) {
            (Verdict::Forward(egress) | Verdict::Answer(egress, _), Some(sent), _) => (sent, egress),
            (Verdict::ToHost(_), _, Some(to_host)) => (to_host, frame.ingress()),
            _ => return Ok(()),
        };
        writer
            .write(interface, time_ns, frame.data())
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", writer.path().display())))
    }

    fn finish(self) -> Result<(), CaptureError> {
        [self.sent, self.to_host].into_iter().flatten().try_for_each(CaptureWriter::finish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(interfaces: &[&str]) -> Config {
        let tables: String =
            interfaces.iter().map(|name| format!("[[interface]]\nname = \"{name}\"\n")).collect();
        config::parse("f", &tables).unwrap()
    }

    fn interface(input: &str, inputs: usize, interfaces: &[&str]) -> Result<(u16, String), String> {
        interface_of(input, inputs, &config(interfaces))
            .map(|(id, path)| (id.0, path.display().to_string()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_input_names_its_interface_or_there_is_only_one_to_choose() {
        let found = |id, path: &str| Ok((id, path.to_owned()));
        assert_eq!(interface("eth1=a=b.pcap", 2, &["eth0", "eth1"]), found(1, "a=b.pcap"));
        assert_eq!(interface("a.pcap", 1, &["eth0", "eth1"]), found(0, "a.pcap"), "a single input");
        assert_eq!(interface("a.pcap", 2, &["eth0"]), found(0, "a.pcap"), "a single interface");
        let error = interface("a.pcap", 2, &["eth0", "eth1"]).unwrap_err();
        assert_eq!(
            error,
            "--input a.pcap: say which interface it is of, as in IFACE=FILE (allowed: eth0, eth1)"
        );
        let error = interface("eth7=a.pcap", 1, &["eth0"]).unwrap_err();
        assert_eq!(error, "--input eth7=a.pcap: interface \"eth7\" is unknown (allowed: eth0)");
    }

    #[test]
    fn a_file_whose_name_has_an_equals_sign_is_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("port=80.pcap").display().to_string();
        std::fs::write(&path, "").unwrap();
        assert_eq!(interface(&path, 1, &["eth0"]), Ok((0, path.clone())));
    }
}
