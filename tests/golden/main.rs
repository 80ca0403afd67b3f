//! Golden captures: `pcap-fixtures/` holds what goes in and what must come out, packet by packet and count by
//! count. The cases are made here, by etherparse and pcap-file; `LVX_BLESS=1 cargo test --test golden` writes
//! them, and a run without it holds `lvx replay` to them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod captures;
mod case;
mod errors;
mod errors6;
mod fragments;
mod malformed;
mod methods;
mod methods6;
mod network;
mod packet;
mod refused;
mod scheduling;
mod sessions;
mod six;
mod states;
mod vlans;

use case::{Case, Sent, read_pcap, read_pcapng};
use lvx::dataplane::verdict::{DropReason, HostReason};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn cases() -> Vec<Case> {
    [
        methods::cases(),
        methods6::cases(),
        refused::cases(),
        malformed::cases(),
        errors::cases(),
        errors6::cases(),
        fragments::cases(),
        scheduling::cases(),
        states::cases(),
        sessions::cases(),
        captures::cases(),
        vlans::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pcap-fixtures")
}

/// Every file below `pcap-fixtures/`, by its path in there.
fn generated(cases: &[Case]) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::from([(PathBuf::from("README.md"), readme(cases).into_bytes())]);
    for case in cases {
        let paths = case.files().into_iter().map(|(name, bytes)| (Path::new(case.name).join(name), bytes));
        files.extend(paths);
    }
    files
}

fn readme(cases: &[Case]) -> String {
    let mut text = "# Golden captures\n\n\
        Each folder is a case: `config.toml`, a capture for each interface (`eth0.pcap`, `eth1.pcap`), the frames \
        that\nmust come out of `lvx replay` (`out.pcapng`) and what it must count (`counters.json`). \
        `LVX_BLESS=1 cargo test\n--test golden` makes them anew from `tests/golden/`.\n\n| case | shows |\n|---|---|\n"
        .to_owned();
    for case in cases {
        text += &format!("| `{}` | {} |\n", case.name, case.sentence);
    }
    text
}

fn on_disk(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

fn bless(files: &BTreeMap<PathBuf, Vec<u8>>) {
    for stale in on_disk(&fixtures()).keys().filter(|path| !files.contains_key(*path)) {
        fs::remove_file(fixtures().join(stale)).unwrap();
    }
    for (path, bytes) in files {
        let path = fixtures().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Runs `lvx replay` on a case with its captures as they are on the disk.
fn replay(case: &Case, more: &[&str]) -> Output {
    let folder = fixtures().join(case.name);
    let mut command = Command::new(env!("CARGO_BIN_EXE_lvx"));
    command.arg("replay").arg("--config").arg(folder.join("config.toml")).args(more);
    for interface in case.interfaces() {
        let path = folder.join(format!("{interface}.pcap"));
        command.arg("--input").arg(format!("{interface}={}", path.display()));
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}: {}", case.name, String::from_utf8_lossy(&output.stderr));
    output
}

fn replay_to(case: &Case, path: &Path, more: &[&str]) -> Value {
    let arguments = [&["--json", "--output", path.to_str().unwrap()], more].concat();
    serde_json::from_slice(&replay(case, &arguments).stdout).unwrap()
}

/// Where `found` has not what `expected` says: objects may have more, arrays may not.
fn difference(expected: &Value, found: &Value, at: &str) -> Option<String> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(_)) => {
            expected.iter().find_map(|(key, value)| difference(value, &found[key], &format!("{at}.{key}")))
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => (0..expected.len())
            .find_map(|index| difference(&expected[index], &found[index], &format!("{at}[{index}]"))),
        _ => (expected != found).then(|| format!("{at} is {found}, not {expected}")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn assert_sent(case: &str, expected: &[Sent], found: &[Sent]) {
    for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
        let place = format!("{case}: frame {}", index + 1);
        assert_eq!(hex(&found.frame), hex(&expected.frame), "{place}");
        assert_eq!((&found.egress, found.time_ns), (&expected.egress, expected.time_ns), "{place}");
    }
    assert_eq!(found.len(), expected.len(), "{case}: frames");
}

#[test]
fn every_case_gives_its_frames_and_its_counts() {
    let cases = cases();
    let files = generated(&cases);
    if std::env::var_os("LVX_BLESS").is_some() {
        bless(&files);
    }
    let disk = on_disk(&fixtures());
    assert_eq!(
        disk.keys().collect::<Vec<_>>(),
        files.keys().collect::<Vec<_>>(),
        "the files of pcap-fixtures/"
    );
    for (path, bytes) in &files {
        assert!(disk[path] == *bytes, "pcap-fixtures/{} is not what tests/golden/ makes", path.display());
    }

    let folder = tempfile::tempdir().unwrap();
    for case in &cases {
        let out = folder.path().join("out.pcapng");
        let report = replay_to(case, &out, &[]);
        assert_sent(case.name, case.sent(), &read_pcapng(&fs::read(&out).unwrap()));
        let counters = disk[&Path::new(case.name).join("counters.json")].as_slice();
        let expected: Value = serde_json::from_slice(counters).unwrap();
        if let Some(difference) = difference(&expected, &report, case.name) {
            panic!("{difference}");
        }
        // What counters.json does not name, since it did not occur, was not counted either.
        for reasons in ["to_host_by_reason", "dropped_by_reason", "answered_by_reason"] {
            let counted = report[reasons].as_object().is_some_and(|counted| !counted.is_empty());
            assert!(!counted || report[reasons] == expected[reasons], "{}: {reasons}", case.name);
        }
    }
}

#[test]
fn the_number_of_workers_and_of_repeats_does_not_show() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for case in cases() {
        let one = replay_to(&case, &path("1.pcapng"), &["--workers", "1"]);
        for more in [&["--workers", "2"][..], &["--workers", "3"], &["--workers", "2", "--repeat", "3"]] {
            let several = replay_to(&case, &path("n.pcapng"), more);
            let same = fs::read(path("1.pcapng")).unwrap() == fs::read(path("n.pcapng")).unwrap();
            assert!(same, "{}: {more:?} gives another output", case.name);
            for counts in ["packets", "to_host_by_reason", "dropped_by_reason", "services", "connections"] {
                assert_eq!(several[counts], one[counts], "{}: {more:?}: {counts}", case.name);
            }
        }
    }
}

#[test]
fn plain_pcap_holds_the_same_frames() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.pcap");
    for case in cases() {
        replay_to(&case, &out, &[]);
        let expected: Vec<&[u8]> = case.sent().iter().map(|sent| &sent.frame[..]).collect();
        assert_eq!(read_pcap(&fs::read(&out).unwrap()), expected, "{}", case.name);
    }
}

#[test]
fn every_checksum_that_is_sent_is_right_by_etherparse() {
    let mut checked = 0;
    for case in cases().into_iter().filter(|case| !case.has_wrong_checksums) {
        for sent in case.sent() {
            assert_eq!(packet::bad_checksum(&sent.frame), None, "{}: {}", case.name, hex(&sent.frame));
            checked += 1;
        }
    }
    assert!(checked > 100, "only {checked} frames");
}

/// A third implementation, where there is one.
#[test]
fn tshark_finds_no_wrong_checksum_and_nothing_malformed_in_what_is_sent() {
    if Command::new("tshark").arg("--version").output().is_err() {
        eprintln!("tshark is not installed: its opinion is not asked");
        return;
    }
    // Sections of one file, since tshark takes half a second to start.
    let folder = tempfile::tempdir().unwrap();
    let [out, all] = ["out.pcapng", "all.pcapng"].map(|name| folder.path().join(name));
    let (mut sections, mut frames) = (Vec::new(), Vec::new());
    for case in cases().iter().filter(|case| !case.sent().is_empty() && !case.has_wrong_checksums) {
        replay_to(case, &out, &[]);
        sections.extend(fs::read(&out).unwrap());
        frames.extend(case.sent().iter().map(|sent| (case.name, sent.egress.clone())));
    }
    fs::write(&all, sections).unwrap();
    let tshark = |filter: &str, field: &str| -> Vec<String> {
        let mut command = Command::new("tshark");
        for layer in ["ip", "tcp", "udp"] {
            command.args(["-o", &format!("{layer}.check_checksum:TRUE")]);
        }
        command.args(["-o", "sctp.checksum:CRC 32c"]);
        // Each frame for itself: the cases have nothing to do with each other.
        for memory in ["ip.defragment", "ipv6.defragment", "tcp.analyze_sequence_numbers"] {
            command.args(["-o", &format!("{memory}:FALSE")]);
        }
        // The payloads are no real DNS or HTTP.
        for protocol in ["dns", "mdns", "http"] {
            command.args(["--disable-protocol", protocol]);
        }
        let output = command.arg("-r").arg(&all).args(["-Y", filter, "-T", "fields", "-e", field]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    };
    // 0 is bad; UDP without a checksum has none to be bad.
    // Of a quoted segment that was cut, and of one in a tunnel's fragment, tshark takes the checksum for wrong.
    let wrong = tshark(
        "ip.checksum.status == 0 || icmp.checksum.status == 0 || icmpv6.checksum.status == 0 \
         || (!icmp && !icmpv6 && !(ip.flags.mf == 1) && (tcp.checksum.status == 0 || udp.checksum.status == 0 \
         || sctp.checksum.status == 0 || _ws.malformed))",
        "frame.number",
    );
    let wrong: Vec<_> = wrong.iter().map(|number| frames[number.parse::<usize>().unwrap() - 1].0).collect();
    assert_eq!(wrong, [""; 0], "cases with such frames");
    let interfaces = tshark("ip.checksum.status == 1 || ipv6", "frame.interface_name");
    // It counts interfaces over all sections as if each had as many: those of VLANs, which have more, come last.
    let vlans: Vec<_> = vlans::cases().iter().map(|case| case.name).collect();
    let expected: Vec<_> =
        frames.into_iter().take_while(|(name, _)| !vlans.contains(name)).map(|(_, egress)| egress).collect();
    let interfaces = &interfaces[..expected.len()];
    assert_eq!(interfaces, expected, "egress interfaces");
}

/// Reasons that no capture provokes, and where they are.
const ELSEWHERE: [(&str, &str); 5] = [
    ("condemned", "src/dataplane/pipeline/tests/condemned.rs"),
    ("no_headroom", "src/dataplane/pipeline/tests.rs"),
    ("stray_probe", "src/dataplane/pipeline/tests/probe.rs"),
    ("tx_ring_full", "tests/xdp_port/losses.rs"),
    ("host_unreachable", "tests/xdp_port/losses.rs"),
];

#[test]
fn every_reason_that_there_is_has_a_case() {
    let counted: BTreeSet<String> = cases()
        .iter()
        .flat_map(|case| {
            let counters = case.counters();
            let names = ["to_host_by_reason", "dropped_by_reason"].map(|reasons| counters[reasons].clone());
            names.into_iter().flat_map(|names| names.as_object().unwrap().keys().cloned().collect::<Vec<_>>())
        })
        .collect();
    let drops = DropReason::ALL.iter().map(|reason| (reason.name(), format!("DropReason::{reason:?}")));
    let hosts = HostReason::ALL.iter().map(|reason| (reason.name(), format!("HostReason::{reason:?}")));
    for (name, variant) in drops.chain(hosts) {
        match ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == name) {
            Some((_, path)) => {
                let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
                assert!(text.contains(&variant), "{path} does not provoke {name}");
                assert!(!counted.contains(name), "{name} has a case: strike it from ELSEWHERE");
            }
            None => assert!(counted.contains(name), "no capture provokes {name}"),
        }
    }
}

#[test]
fn the_report_for_people_names_what_was_counted() {
    let case = cases().into_iter().find(|case| case.name == "ttl").unwrap();
    let text = String::from_utf8(replay(&case, &[]).stdout).unwrap();
    for part in ["packets", "ttl_expired 7", "web  tcp 192.0.2.100:80 rr", "10.0.0.11:8080", "ns/packet"] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}
