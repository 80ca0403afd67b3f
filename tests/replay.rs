//! `lvx replay` as its user meets it: what it says when something is wrong, and what it leaves behind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use etherparse::PacketBuilder;
use pcap_file::pcap::{PcapPacket, PcapReader, PcapWriter};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

const CONFIG: &str = r#"
interface = [{ name = "eth0", mac = "02:00:00:00:00:01", addresses = ["10.0.0.1/24", "10.0.0.100/32"] }]
neighbour = [{ address = "10.0.0.11", mac = "02:00:00:00:00:11" }]

[director]
max_connections = 1000

[[virtual_service]]
name = "web"
address = "10.0.0.100:80"
real_server = [{ address = "10.0.0.11", forward = "dr" }]
"#;

/// A folder with a configuration and a capture of five packets: three to the service, a ping, and one to nobody.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        fs::write(folder.path("c.toml"), CONFIG).unwrap();
        let mut writer = PcapWriter::new(Vec::new()).unwrap();
        for (n, frame) in packets().iter().enumerate() {
            let time = Duration::from_millis(1_700_000_000_000 + n as u64);
            writer.write_packet(&PcapPacket::new(time, frame.len() as u32, frame)).unwrap();
        }
        fs::write(folder.path("in.pcap"), writer.into_writer()).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn replay(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lvx"));
        command
            .current_dir(self.0.path())
            .args(["replay", "--config", "c.toml"])
            .args(arguments)
            .output()
            .unwrap()
    }

    /// What is said on standard error, with an exit code of 1.
    fn failure(&self, arguments: &[&str]) -> String {
        let output = self.replay(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(output.stdout.is_empty(), "no report");
        said
    }
}

fn packets() -> Vec<Vec<u8>> {
    let build = |host, port| {
        let mut frame = Vec::new();
        let ip =
            PacketBuilder::ethernet2([2; 6], [2, 0, 0, 0, 0, 1]).ipv4([10, 0, 0, host], [10, 0, 0, 100], 64);
        ip.tcp(4000, port, 0, 64240).syn().write(&mut frame, &[]).unwrap();
        frame
    };
    let mut ping = Vec::new();
    let ip = PacketBuilder::ethernet2([2; 6], [2, 0, 0, 0, 0, 1]).ipv4([10, 0, 0, 50], [10, 0, 0, 100], 64);
    ip.icmpv4_echo_request(1, 1).write(&mut ping, b"ping").unwrap();
    vec![build(50, 80), build(51, 80), ping, build(52, 22), build(53, 80)]
}

fn frames(path: &Path) -> Vec<(u128, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let mut reader = PcapReader::new(&bytes[..]).unwrap();
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.unwrap();
        frames.push((packet.timestamp.as_millis(), packet.data.into_owned()));
    }
    frames
}

#[test]
fn what_the_host_would_get_is_written_on_wish() {
    let folder = Folder::new();
    let arguments = ["--input", "in.pcap", "--output", "out.pcap", "--host-output", "host.pcap"];
    assert!(folder.replay(&arguments).status.success());
    let times = |name| frames(&folder.path(name)).iter().map(|(time, _)| time % 1000).collect::<Vec<_>>();
    assert_eq!((times("out.pcap"), times("host.pcap")), (vec![0, 1, 4], vec![2, 3]));
    assert_eq!(frames(&folder.path("host.pcap"))[0].1, packets()[2], "untouched");
}

#[test]
fn the_json_report_says_what_was_played_and_how_quickly() {
    let folder = Folder::new();
    let output = folder.replay(&["--input", "eth0=in.pcap", "--json", "--repeat", "4"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["packets"], &report["forwarded"], &report["repeat"]),
        (&5.into(), &3.into(), &4.into())
    );
    let input = &report["inputs"][0];
    assert_eq!(
        (&input["file"], &input["interface"], &input["packets"]),
        (&"in.pcap".into(), &"eth0".into(), &5.into())
    );
    let number = |key: &str| report[key].as_f64().unwrap();
    assert!(number("ns_per_packet") > 0.0 && number("ns_per_packet_first") > 0.0);
    assert!((number("mpps") * number("ns_per_packet") - 1000.0).abs() < 1e-6);
    assert_eq!(report["bytes_per_connection"], report["connections"]["bytes_each"]);
}

#[test]
fn a_capture_that_cannot_be_read_is_named_with_its_packet_and_nothing_is_written() {
    let folder = Folder::new();
    let mut bytes = fs::read(folder.path("in.pcap")).unwrap();
    // The second packet's captured length, in whatever byte order.
    let second = 24 + 16 + packets()[0].len();
    bytes[second + 8..second + 12].fill(0x7f);
    fs::write(folder.path("bad.pcap"), bytes).unwrap();
    let before = folder.names();
    let said = folder.failure(&["--input", "bad.pcap", "--output", "out.pcapng"]);
    assert!(said.starts_with("lvx replay: bad.pcap: packet 2: a captured length of "), "{said}");
    let said = folder.failure(&["--input", "absent.pcap", "--output", "out.pcapng"]);
    assert!(said.starts_with("lvx replay: absent.pcap: No such file"), "{said}");
    let said = folder.failure(&["--input", "c.toml", "--output", "out.pcapng"]);
    assert_eq!(said, "lvx replay: c.toml: neither a pcap nor a pcapng file\n");
    assert_eq!(folder.names(), before);
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let folder = Folder::new();
    let said = folder.failure(&["--input", "in.pcap", "--output", "absent/out.pcap"]);
    assert!(said.starts_with("lvx replay: absent/out.pcap: No such file"), "{said}");
    if Path::new("/dev/full").exists() {
        let said = folder.failure(&["--input", "in.pcap", "--output", "/dev/full"]);
        assert!(said.contains("/dev/full: No space left on device"), "{said}");
    }
    let said = folder.failure(&["--input", "in.pcap", "--output", "out.pcap", "--host-output", "out.pcap"]);
    assert!(said.starts_with("lvx replay: --output and --host-output are both out.pcap"), "{said}");
    assert_eq!(folder.names(), ["c.toml", "in.pcap"]);
}

#[test]
fn a_configuration_that_does_not_do_is_told_with_its_place() {
    let folder = Folder::new();
    fs::write(folder.path("c.toml"), CONFIG.replace("mac = \"02:00:00:00:00:01\", ", "")).unwrap();
    let said = folder.failure(&["--input", "in.pcap"]);
    assert!(said.contains("c.toml: interface \"eth0\": lvx replay needs `mac`"), "{said}");
    fs::write(folder.path("c.toml"), CONFIG.replace("\"dr\"", "\"direct\"")).unwrap();
    let said = folder.failure(&["--input", "in.pcap"]);
    assert!(said.contains("c.toml:11:"), "{said}");
    let said = folder.failure(&["--input", "eth9=in.pcap"]);
    assert!(said.contains("c.toml:11:"), "the configuration is read first: {said}");
}

#[test]
fn a_capture_that_ends_within_a_packet_is_played_as_far_as_it_goes_and_that_is_said() {
    let folder = Folder::new();
    let bytes = fs::read(folder.path("in.pcap")).unwrap();
    fs::write(folder.path("cut.pcap"), &bytes[..bytes.len() - 1]).unwrap();
    let output = folder.replay(&["--input", "cut.pcap", "--json"]);
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "lvx replay: cut.pcap: ends within a packet, which is left out\n");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["packets"], &report["inputs"][0]["truncated"]), (&4.into(), &true.into()));
}

#[test]
fn a_capture_without_packets_gives_an_output_without_packets() {
    let folder = Folder::new();
    let bytes = fs::read(folder.path("in.pcap")).unwrap();
    fs::write(folder.path("empty.pcap"), &bytes[..24]).unwrap();
    assert!(
        folder.replay(&["--input", "empty.pcap", "--output", "out.pcap", "--repeat", "3"]).status.success()
    );
    assert_eq!(frames(&folder.path("out.pcap")), []);
}

/// Every packet is a batch, and all but the second of every other one are pings: of two workers, one opens a single
/// connection and must not keep the places that it took for more.
#[test]
fn a_full_table_refuses_the_same_packets_whoever_is_at_work() {
    let folder = Folder::new();
    fs::write(
        folder.path("c.toml"),
        CONFIG.replace("max_connections = 1000", "max_connections = 2048\nwhen_full = \"refuse\""),
    )
    .unwrap();
    let mut writer = PcapWriter::new(Vec::new()).unwrap();
    for n in 0..4500u32 {
        let [_, _, high, low] = n.to_be_bytes();
        let ip = PacketBuilder::ethernet2([2; 6], [2, 0, 0, 0, 0, 1]).ipv4(
            [10, 1, high, low],
            [10, 0, 0, 100],
            64,
        );
        let mut frame = Vec::new();
        if n % 2 == 0 || n == 1 {
            ip.tcp(4000, 80, 0, 64240).syn().write(&mut frame, &[]).unwrap();
        } else {
            ip.icmpv4_echo_request(1, 1).write(&mut frame, &[]).unwrap();
        }
        let time = Duration::from_millis(1_700_000_000_000 + u64::from(n) * 10);
        writer.write_packet(&PcapPacket::new(time, frame.len() as u32, &frame)).unwrap();
    }
    fs::write(folder.path("many.pcap"), writer.into_writer()).unwrap();
    let run = |workers: &str| {
        let arguments = ["--input", "many.pcap", "--output", "out.pcapng", "--json", "--workers", workers];
        let report: Value = serde_json::from_slice(&folder.replay(&arguments).stdout).unwrap();
        (fs::read(folder.path("out.pcapng")).unwrap(), report["dropped_by_reason"].clone())
    };
    let one = run("1");
    assert_eq!(one.1["table_full"], 2251 - 2048);
    for workers in ["2", "3", "7"] {
        assert!(run(workers) == one, "{workers} workers");
    }
}

#[test]
fn a_servers_answer_time_is_that_of_the_capture_with_any_number_of_workers() {
    let folder = Folder::new();
    let mut writer = PcapWriter::new(Vec::new()).unwrap();
    for (micros, ack) in [(0, false), (1000, false), (3500, true), (3600, true)] {
        let mut frame = Vec::new();
        let ip =
            PacketBuilder::ethernet2([2; 6], [2, 0, 0, 0, 0, 1]).ipv4([10, 0, 0, 9], [10, 0, 0, 100], 64);
        let tcp = ip.tcp(4000, 80, 0, 64240);
        let tcp = if ack { tcp.ack(1) } else { tcp.syn() };
        tcp.write(&mut frame, &[]).unwrap();
        let time = Duration::from_micros(1_700_000_000_000_000 + micros);
        writer.write_packet(&PcapPacket::new(time, frame.len() as u32, &frame)).unwrap();
    }
    fs::write(folder.path("open.pcap"), writer.into_writer()).unwrap();
    for workers in ["1", "3"] {
        let output =
            folder.replay(&["--input", "open.pcap", "--json", "--workers", workers, "--repeat", "3"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let latency = &report["services"][0]["real_servers"][0]["latency"];
        assert_eq!((&latency["count"], &latency["sum_seconds"]), (&1.into(), &0.0035.into()), "{report}");
        assert_eq!(latency["buckets"][8], 1, "within 4.096 ms");
    }
}
